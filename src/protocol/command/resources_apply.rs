//! `resources.apply`: objects as their owner wants them, by server-side apply (P-97 to P-99, P-103).

use serde::{Deserialize, Serialize};

use super::is_false;
use crate::protocol::error::ErrorBody;
use crate::protocol::object::{ApiVersion, Manager, Manifest, Name};

/// The arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Request {
    /// The objects, in the order in which they are applied.
    #[serde(deserialize_with = "super::objects")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 64)))]
    pub manifests: Vec<Manifest>,
    /// Where objects are that have a namespace and do not say which; `default` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Name>,
    /// Who owns the fields from then on; `pipeops-agent` unless said otherwise.
    #[serde(default, skip_serializing_if = "Manager::is_ours")]
    pub field_manager: Manager,
    /// Take fields over that others own, instead of ending with `conflict`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
    /// Let the API server say what would be, and change nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Done {
    /// Each object, in the order of the request.
    pub objects: Vec<Applied>,
    /// Nothing was changed; this is what would have been.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Applied {
    /// `v1`, `apps/v1`.
    pub api_version: ApiVersion,
    /// `Deployment`.
    pub kind: Name,
    /// Its namespace, where the kind has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Name>,
    /// Its name.
    pub name: Name,
    /// What was done.
    pub action: Action,
    /// Its UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Its resourceVersion afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// Its generation afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// What is different: the first two fields of each path, `spec.replicas`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// Warnings of the API server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// What was done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It was not there before.
    Created,
    /// It is different now.
    Configured,
    /// It is as it was.
    Unchanged,
    /// See `error`.
    Failed,
}
