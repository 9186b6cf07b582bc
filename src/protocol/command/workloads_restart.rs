//! `workloads.restart`: new pods for a workload, as `kubectl rollout restart` makes them (P-97,
//! P-102).

use serde::{Deserialize, Serialize};

use super::is_false;
use crate::protocol::object::{Manager, Name};

/// The kinds that are restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Kind {
    /// Of `apps/v1`.
    DaemonSet,
    /// Of `apps/v1`.
    Deployment,
    /// Of `apps/v1`.
    StatefulSet,
}

impl Kind {
    /// The plural name.
    pub const fn resource(self) -> &'static str {
        match self {
            Self::DaemonSet => "daemonsets",
            Self::Deployment => "deployments",
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
    /// Wait until the new pods serve, up to the deadline.
    #[serde(default, skip_serializing_if = "is_false")]
    pub wait: bool,
    /// Who owns the field from then on; `pipeops-agent` unless said otherwise.
    #[serde(default, skip_serializing_if = "Manager::is_ours")]
    pub field_manager: Manager,
    /// Let the API server say what would be, and change nothing; `wait` has no effect then.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

/// What the command says while it waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// How far the rollout is; said when it changes.
    Progress(Progress),
}

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Progress {
    /// Pods that there are to be.
    pub desired: u32,
    /// Pods of the new revision.
    pub updated: u32,
    /// Pods that serve.
    pub available: u32,
    /// Pods of old revisions that are still there.
    pub old: u32,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Done {
    /// The time that was written into the pods' template.
    pub restarted_at: String,
    /// Its generation before.
    pub generation_before: i64,
    /// Its generation afterwards.
    pub generation: i64,
    /// The revision of its pods before, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision_before: Option<String>,
    /// Their revision at the end of the wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How the rollout stands at the end of the wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Nothing was changed; this is what would have been.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

/// How a rollout stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rollout {
    /// Every pod is of the new revision and serves.
    pub complete: bool,
    /// Why it is not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How far it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}
