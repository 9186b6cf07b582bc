//! `workloads.scale`: how many replicas a workload is to have (P-97, P-101).

use serde::{Deserialize, Serialize};

use super::is_false;
use crate::protocol::object::{Manager, Name};

/// The kinds that are scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Kind {
    /// Of `apps/v1`.
    Deployment,
    /// Of `apps/v1`.
    ReplicaSet,
    /// Of `apps/v1`.
    StatefulSet,
}

impl Kind {
    /// The plural name.
    pub const fn resource(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::ReplicaSet => "replicasets",
            Self::StatefulSet => "statefulsets",
        }
    }
}

/// The arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Request {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// How many it is to have.
    #[serde(deserialize_with = "crate::protocol::object::replicas")]
    #[cfg_attr(feature = "schema", schemars(range(max = 2_147_483_647)))]
    pub replicas: u32,
    /// How many it must have now; otherwise nothing is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_replicas: Option<u32>,
    /// The resourceVersion that it must have now; otherwise nothing is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_resource_version: Option<String>,
    /// Who owns the field from then on; `pipeops-agent` unless said otherwise.
    #[serde(default, skip_serializing_if = "Manager::is_ours")]
    pub field_manager: Manager,
    /// Let the API server say what would be, and change nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Done {
    /// How many replicas it was to have before.
    pub from: u32,
    /// How many it is to have now.
    pub to: u32,
    /// Its resourceVersion afterwards.
    pub resource_version: String,
    /// Nothing was changed; this is what would have been.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}
