//! What nodes and pods use: metrics.k8s.io, which a metrics-server answers for.
//!
//! Owns the paths, the reading and why there may be nothing ([`Absent`]). Owns not: how often it
//! is asked, and what is made of it (`commands`). Invariant: lists come unpaged and are read item
//! by item, so that a cluster's size is no size of ours.

use serde::Deserialize;

use super::ClusterError;
use super::objects::{Collection, ObjectError, Objects, Shape, Unpaged};
use crate::kubeapi::Quantity;

const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "v1beta1";

/// What something uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// CPU.
    pub cpu: Quantity,
    /// Memory.
    pub memory: Quantity,
}

impl Used {
    /// Adds what another uses.
    pub fn add(&mut self, other: Self) {
        self.cpu = self.cpu.plus(other.cpu);
        self.memory = self.memory.plus(other.memory);
    }

    /// The larger of two, in each respect.
    #[must_use]
    pub fn most(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
        }
    }
}

/// What one node uses.
#[derive(Debug, Deserialize)]
pub struct NodeUse {
    /// Its name.
    pub metadata: Named,
    /// When it was measured.
    #[serde(default)]
    pub timestamp: String,
    #[serde(default)]
    usage: Usage,
}

impl NodeUse {
    /// CPU and memory; what cannot be read counts as nothing.
    #[must_use]
    pub fn used(&self) -> Used {
        self.usage.read()
    }
}

/// What one pod uses.
#[derive(Debug, Deserialize)]
pub struct PodUse {
    /// Its name and namespace.
    pub metadata: Named,
    /// Its containers.
    #[serde(default)]
    pub containers: Vec<ContainerUse>,
}

impl PodUse {
    /// All containers together.
    #[must_use]
    pub fn used(&self) -> Used {
        let mut all = Used::default();
        for container in &self.containers {
            all.add(container.used());
        }
        all
    }
}

/// What one container uses.
#[derive(Debug, Deserialize)]
pub struct ContainerUse {
    /// Its name.
    pub name: String,
    #[serde(default)]
    usage: Usage,
}

impl ContainerUse {
    /// CPU and memory.
    #[must_use]
    pub fn used(&self) -> Used {
        self.usage.read()
    }
}

/// A name, and a namespace where there is one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The namespace.
    pub namespace: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Usage {
    cpu: String,
    memory: String,
}

impl Usage {
    fn read(&self) -> Used {
        let read = |text: &str| Quantity::parse(text).unwrap_or_default();
        Used {
            cpu: read(&self.cpu),
            memory: read(&self.memory),
        }
    }
}

/// Why there is no usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// No metrics-server is installed.
    NotInstalled,
    /// It is registered, and nobody answers for it.
    NotReady,
    /// It may not be read.
    Forbidden,
    /// The API server cannot be reached.
    Unreachable,
    /// Another answer that is no success.
    Failed,
}

impl Absent {
    /// What an error of [`nodes`] or [`pods`] means; `None` is an error in the question itself.
    #[must_use]
    pub fn of(error: &ObjectError) -> Option<Self> {
        Some(match error {
            ObjectError::NotFound(_) => Self::NotInstalled,
            ObjectError::Refused(refusal) => match refusal.status {
                // A namespace or selector that is none.
                400 | 422 => return None,
                403 => Self::Forbidden,
                503 => Self::NotReady,
                _ => Self::Failed,
            },
            ObjectError::Cluster(
                ClusterError::Unreachable { .. }
                | ClusterError::Deadline(_)
                | ClusterError::Credential(_),
            ) => Self::Unreachable,
            ObjectError::Path(_) => return None,
            _ => Self::Failed,
        })
    }
}

/// All nodes' usage.
///
/// # Errors
/// See [`Absent::of`].
pub async fn nodes(objects: &Objects) -> Result<Unpaged<NodeUse>, ObjectError> {
    let nodes = Collection::new(GROUP, VERSION, "nodes");
    objects.unpaged(&nodes.path(), Shape::List).await
}

/// All pods' usage: of one namespace, or of all where it is empty; those that a selector picks.
///
/// # Errors
/// See [`Absent::of`].
pub async fn pods(
    objects: &Objects,
    namespace: &str,
    selector: &str,
) -> Result<Unpaged<PodUse>, ObjectError> {
    let pods = Collection::new(GROUP, VERSION, "pods")
        .within(namespace)
        .labels(selector);
    objects.unpaged(&pods.target(&[]), Shape::List).await
}
