//! `resources.delete`: objects by kind and name (P-97, P-98, P-100, P-103).

use serde::{Deserialize, Serialize};

use super::is_false;
use crate::protocol::error::ErrorBody;
use crate::protocol::object::{ApiVersion, Manifest, Name, NoObject, Reference};

/// The arguments; at least one object in `objects` or `manifests`, and at most 64 in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "Unchecked")]
pub struct Request {
    /// The objects, in the order in which they are deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<Reference>,
    /// The same as manifests, of which only kind, name, namespace, UID and resourceVersion are
    /// read; deleted after `objects`, the last first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<Manifest>,
    /// Where objects are that have a namespace and do not say which; `default` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Name>,
    /// What becomes of what the objects own; the API server's own choice for the kind otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<Propagation>,
    /// Seconds that an object may take to end; the object's own otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_seconds: Option<u32>,
    /// An object that is not there is no failure.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ignore_not_found: bool,
    /// Let the API server say what would be, and change nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Unchecked {
    #[serde(default)]
    objects: Vec<Reference>,
    #[serde(default)]
    manifests: Vec<Manifest>,
    #[serde(default)]
    namespace: Option<Name>,
    #[serde(default)]
    propagation: Option<Propagation>,
    #[serde(default)]
    grace_seconds: Option<u32>,
    #[serde(default)]
    ignore_not_found: bool,
    #[serde(default)]
    dry_run: bool,
}

impl TryFrom<Unchecked> for Request {
    type Error = NoObject;

    fn try_from(request: Unchecked) -> Result<Self, NoObject> {
        super::counted(request.objects.len() + request.manifests.len())?;
        Ok(Self {
            objects: request.objects,
            manifests: request.manifests,
            namespace: request.namespace,
            propagation: request.propagation,
            grace_seconds: request.grace_seconds,
            ignore_not_found: request.ignore_not_found,
            dry_run: request.dry_run,
        })
    }
}

impl Request {
    /// All objects, in the order in which they are deleted.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        let manifests = self.manifests.iter().rev().map(Manifest::reference);
        self.objects.iter().chain(manifests)
    }
}

/// What becomes of what an object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    /// It is deleted afterwards.
    Background,
    /// It is deleted first.
    Foreground,
    /// It stays.
    Orphan,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Done {
    /// Each object, in the order of deletion.
    pub objects: Vec<Deleted>,
    /// Nothing was changed; this is what would have been.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Deleted {
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
    /// The UID of the one that was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
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
    /// It is gone.
    Deleted,
    /// It is marked, and goes when its grace, its finalizers or what it owns let it.
    Deleting,
    /// It was not there, which `ignore_not_found` allows.
    Absent,
    /// See `error`.
    Failed,
}
