//! How far a workload's rollout is, by its own status.
//!
//! Owns the fields that are read of the three kinds, and when a rollout is complete: as `kubectl
//! rollout status` sees it. Pure.

use serde::Deserialize;

use crate::protocol::command::workloads_restart::{Kind, Progress};

/// Any of the three kinds, as far as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Workload {
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metadata {
    pub(super) generation: i64,
    annotations: Annotations,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "deployment.kubernetes.io/revision")]
    revision: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    pub(super) paused: bool,
    replicas: Option<u32>,
    update_strategy: Strategy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Strategy {
    r#type: String,
    rolling_update: Option<Rolling>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rolling {
    partition: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    observed_generation: i64,
    replicas: u32,
    updated_replicas: u32,
    ready_replicas: u32,
    available_replicas: u32,
    current_revision: String,
    update_revision: String,
    desired_number_scheduled: u32,
    current_number_scheduled: u32,
    updated_number_scheduled: u32,
    number_available: u32,
    conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: String,
    reason: String,
}

/// Whether a rollout goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Every pod is new and serves.
    Complete,
    /// Not yet.
    Going,
    /// It will not be without somebody's help.
    Stuck(&'static str),
}

impl Workload {
    /// The name of its pods' revision; a DaemonSet does not tell its own.
    pub(super) fn revision(&self, kind: Kind) -> Option<String> {
        match kind {
            Kind::Deployment => self.metadata.annotations.revision.clone(),
            Kind::StatefulSet => Some(self.status.update_revision.clone()),
            Kind::DaemonSet => None,
        }
        .filter(|revision| !revision.is_empty())
    }

    /// How far the rollout of `generation` is.
    pub(super) fn rollout(&self, kind: Kind, generation: i64) -> (Progress, State) {
        let (progress, state) = match kind {
            Kind::Deployment => self.deployment(),
            Kind::StatefulSet => self.stateful_set(),
            Kind::DaemonSet => self.daemon_set(),
        };
        // Before its controller has seen the change, its status speaks of the old one.
        if self.status.observed_generation < generation && state != self.on_delete() {
            return (progress, State::Going);
        }
        (progress, state)
    }

    fn on_delete(&self) -> State {
        if self.spec.update_strategy.r#type == "OnDelete" {
            State::Stuck("its strategy OnDelete replaces pods only when they are deleted")
        } else {
            State::Going
        }
    }

    fn deployment(&self) -> (Progress, State) {
        let status = &self.status;
        let progress = Progress {
            desired: self.spec.replicas.unwrap_or(1),
            updated: status.updated_replicas,
            available: status.available_replicas,
            old: status.replicas.saturating_sub(status.updated_replicas),
        };
        let stalled = status.conditions.iter().any(|condition| {
            condition.r#type == "Progressing" && condition.reason == "ProgressDeadlineExceeded"
        });
        let state = if stalled {
            State::Stuck("it made no progress within its progressDeadlineSeconds")
        } else if progress.updated >= progress.desired
            && progress.old == 0
            && progress.available >= progress.updated
        {
            State::Complete
        } else {
            State::Going
        };
        (progress, state)
    }

    fn stateful_set(&self) -> (Progress, State) {
        let status = &self.status;
        let desired = self.spec.replicas.unwrap_or(1);
        let progress = Progress {
            desired,
            updated: status.updated_replicas,
            available: status.ready_replicas,
            old: status.replicas.saturating_sub(status.updated_replicas),
        };
        let rolling = self.spec.update_strategy.rolling_update.as_ref();
        let partition = rolling.map_or(0, |rolling| rolling.partition);
        let complete = progress.available >= desired
            && if partition > 0 {
                progress.updated >= desired.saturating_sub(partition)
            } else {
                status.update_revision == status.current_revision
            };
        let state = match self.on_delete() {
            State::Going if complete => State::Complete,
            state => state,
        };
        (progress, state)
    }

    fn daemon_set(&self) -> (Progress, State) {
        let status = &self.status;
        let progress = Progress {
            desired: status.desired_number_scheduled,
            updated: status.updated_number_scheduled,
            available: status.number_available,
            old: status
                .current_number_scheduled
                .saturating_sub(status.updated_number_scheduled),
        };
        let complete =
            progress.updated >= progress.desired && progress.available >= progress.desired;
        let state = match self.on_delete() {
            State::Going if complete => State::Complete,
            state => state,
        };
        (progress, state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn state(kind: Kind, object: &Value) -> State {
        let workload: Workload = serde_json::from_str(&object.to_string()).unwrap();
        workload.rollout(kind, 2).1
    }

    #[test]
    fn a_deployment_is_complete_when_no_old_pod_is_left_and_every_new_one_serves() {
        let with = |seen: i64, all: u32, updated: u32, available: u32| {
            json!({"spec": {"replicas": 3}, "status": {"observedGeneration": seen, "replicas": all,
                   "updatedReplicas": updated, "availableReplicas": available}})
        };
        for (object, expected) in [
            (with(1, 3, 3, 3), State::Going),
            (with(2, 3, 2, 3), State::Going),
            (with(2, 4, 3, 3), State::Going),
            (with(2, 3, 3, 2), State::Going),
            (with(2, 3, 3, 3), State::Complete),
        ] {
            assert_eq!(state(Kind::Deployment, &object), expected, "{object}");
        }
        let mut stuck = with(2, 4, 1, 3);
        stuck["status"]["conditions"] =
            json!([{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]);
        assert!(matches!(state(Kind::Deployment, &stuck), State::Stuck(_)));
    }

    #[test]
    fn a_stateful_set_is_complete_by_revision_or_by_partition() {
        let with = |strategy: Value, ready: u32, updated: u32, current: &str| {
            json!({"spec": {"replicas": 3, "updateStrategy": strategy},
                   "status": {"observedGeneration": 2, "replicas": 3, "readyReplicas": ready,
                              "updatedReplicas": updated, "currentRevision": current,
                              "updateRevision": "b"}})
        };
        let rolling = json!({"type": "RollingUpdate"});
        let parted = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}});
        for (object, expected) in [
            (with(rolling.clone(), 3, 3, "a"), State::Going),
            (with(rolling.clone(), 2, 3, "b"), State::Going),
            (with(rolling, 3, 3, "b"), State::Complete),
            (with(parted.clone(), 3, 1, "a"), State::Going),
            (with(parted, 3, 2, "a"), State::Complete),
        ] {
            assert_eq!(state(Kind::StatefulSet, &object), expected, "{object}");
        }
        let on_delete = with(json!({"type": "OnDelete"}), 3, 0, "a");
        assert!(matches!(
            state(Kind::StatefulSet, &on_delete),
            State::Stuck(_)
        ));
    }

    #[test]
    fn a_daemon_set_is_complete_when_every_node_has_a_new_pod_that_serves() {
        let with = |updated: u32, available: u32| {
            json!({"status": {"observedGeneration": 2, "desiredNumberScheduled": 2,
                   "currentNumberScheduled": 2, "updatedNumberScheduled": updated,
                   "numberAvailable": available}})
        };
        assert_eq!(state(Kind::DaemonSet, &with(1, 2)), State::Going);
        assert_eq!(state(Kind::DaemonSet, &with(2, 1)), State::Going);
        assert_eq!(state(Kind::DaemonSet, &with(2, 2)), State::Complete);
    }
}
