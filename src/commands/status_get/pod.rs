//! Pods: what is read of one, and whether it is well.
//!
//! Pure. A pod is well when it is ready, done, or going away. Invariant: of one that is not, the
//! reason is the API's own word for it.

use serde::Deserialize;

use super::text::cut;
use crate::cluster::objects::Object;
use crate::protocol::command::status_get::{self as wire, Termination};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::commands) struct Pod {
    pub(super) metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) namespace: String,
    uid: String,
    resource_version: String,
    creation_timestamp: Option<String>,
    deletion_timestamp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    reason: String,
    message: String,
    conditions: Vec<Condition>,
    init_container_statuses: Vec<Container>,
    container_statuses: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
    last_transition_time: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: String,
    ready: bool,
    restart_count: u32,
    state: State,
    last_state: State,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<Waiting>,
    terminated: Option<Terminated>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    reason: String,
    message: String,
    exit_code: i32,
    finished_at: Option<String>,
}

impl Object for Pod {
    fn uid(&self) -> &str {
        &self.metadata.uid
    }

    fn version(&self) -> &str {
        &self.metadata.resource_version
    }
}

/// The phases that are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::commands) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
    #[default]
    Unknown,
}

impl Phase {
    /// The count of it.
    pub(in crate::commands) const fn of(self, pods: &mut wire::Pods) -> &mut u32 {
        match self {
            Self::Pending => &mut pods.pending,
            Self::Running => &mut pods.running,
            Self::Succeeded => &mut pods.succeeded,
            Self::Failed => &mut pods.failed,
            Self::Unknown => &mut pods.unknown,
        }
    }
}

impl Pod {
    pub(in crate::commands) fn namespace(&self) -> &str {
        &self.metadata.namespace
    }

    pub(in crate::commands) fn phase(&self) -> Phase {
        match self.status.phase.as_str() {
            "Pending" => Phase::Pending,
            "Running" => Phase::Running,
            "Succeeded" => Phase::Succeeded,
            "Failed" => Phase::Failed,
            _ => Phase::Unknown,
        }
    }

    fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status
            .conditions
            .iter()
            .find(|condition| condition.kind == kind)
    }

    pub(in crate::commands) fn is_well(&self) -> bool {
        let ready = || {
            self.condition("Ready")
                .is_some_and(|ready| ready.status == "True")
        };
        self.metadata.deletion_timestamp.is_some()
            || match self.phase() {
                Phase::Succeeded => true,
                Phase::Pending | Phase::Running | Phase::Unknown => ready(),
                Phase::Failed => false,
            }
    }

    /// Why it is not well; nothing where it is.
    pub(in crate::commands) fn unwell(&self) -> Option<wire::Pod> {
        if self.is_well() {
            return None;
        }
        let ready = self.condition("Ready");
        let since = ready
            .and_then(|ready| ready.last_transition_time.as_ref())
            .or(self.metadata.creation_timestamp.as_ref());
        let mut told = wire::Pod {
            namespace: cut(&self.metadata.namespace),
            name: cut(&self.metadata.name),
            phase: cut(&self.status.phase),
            since: cut(since.map_or("", String::as_str)),
            node: cut(&self.spec.node_name),
            ..wire::Pod::default()
        };
        let unscheduled = self
            .condition("PodScheduled")
            .filter(|scheduled| scheduled.status == "False");
        if let Some(container) = self.at_fault() {
            container.tell(&mut told);
        }
        if let Some(unscheduled) = unscheduled {
            told.reason = cut(&unscheduled.reason);
            told.message = cut(&unscheduled.message);
        } else if !self.status.reason.is_empty() {
            // Evicted, and the like: of the pod as a whole.
            told.reason = cut(&self.status.reason);
            told.message = cut(&self.status.message);
        } else if told.reason.is_empty() {
            let (reason, message) = match (self.phase(), ready) {
                (Phase::Running, Some(ready)) => ("NotReady", ready.message.as_str()),
                (Phase::Running, None) => ("NotReady", ""),
                _ => (self.status.phase.as_str(), ""),
            };
            told.reason = cut(reason);
            told.message = cut(message);
        }
        Some(told)
    }

    /// The container to be named: one that cannot start before one that ended badly, before one
    /// that is only not ready.
    fn at_fault(&self) -> Option<&Container> {
        let all = || {
            let init = self.status.init_container_statuses.iter();
            init.chain(&self.status.container_statuses)
        };
        // While init containers run, the others wait for them, which is no fault.
        let waits = |container: &&Container| {
            let waiting = container.state.waiting.as_ref();
            waiting.is_some_and(|waiting| waiting.reason != "PodInitializing")
        };
        let failed = |container: &&Container| {
            let ended = container.state.terminated.as_ref();
            ended.is_some_and(|ended| ended.exit_code != 0)
        };
        all()
            .find(waits)
            .or_else(|| all().find(failed))
            .or_else(|| {
                self.status
                    .container_statuses
                    .iter()
                    .find(|container| !container.ready)
            })
    }
}

impl Container {
    fn tell(&self, told: &mut wire::Pod) {
        told.container = cut(&self.name);
        told.restarts = self.restart_count;
        let ended = self
            .state
            .terminated
            .as_ref()
            .or(self.last_state.terminated.as_ref());
        told.last = ended.map(|ended| Termination {
            reason: cut(&ended.reason),
            exit_code: ended.exit_code,
            finished: cut(ended.finished_at.as_deref().unwrap_or_default()),
        });
        if let Some(waiting) = &self.state.waiting {
            told.reason = cut(&waiting.reason);
            told.message = cut(&waiting.message);
        } else if let Some(ended) = self
            .state
            .terminated
            .as_ref()
            .filter(|ended| ended.exit_code != 0)
        {
            told.reason = cut(&ended.reason);
            told.message = cut(&ended.message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[expect(clippy::needless_pass_by_value, reason = "the tests write it in place")]
    fn unwell(status: Value) -> Option<wire::Pod> {
        let pod = json!({"metadata": {"namespace": "d", "name": "web", "uid": "u",
            "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"nodeName": "n"},
            "status": status});
        serde_json::from_value::<Pod>(pod).unwrap().unwell()
    }

    fn reason(status: Value) -> (String, String) {
        let told = unwell(status).expect("it is not well");
        (told.reason, told.container)
    }

    fn named(reason: &str, container: &str) -> (String, String) {
        (reason.to_owned(), container.to_owned())
    }

    #[test]
    fn what_is_ready_or_done_or_going_away_is_well() {
        let ready = json!([{"type": "Ready", "status": "True"}]);
        assert_eq!(
            unwell(json!({"phase": "Running", "conditions": ready})),
            None
        );
        assert_eq!(unwell(json!({"phase": "Succeeded"})), None);
        let going: Pod = serde_json::from_value(json!({
            "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}}))
        .unwrap();
        assert!(going.is_well());
    }

    #[test]
    fn a_container_that_crashes_is_named_with_how_it_ended_last() {
        let told = unwell(json!({"phase": "Running",
            "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady",
                            "lastTransitionTime": "2026-01-01T00:03:00Z"}],
            "containerStatuses": [
                {"name": "side", "ready": true, "state": {"running": {}}},
                {"name": "app", "ready": false, "restartCount": 7,
                 "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}},
                 "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137,
                                              "finishedAt": "2026-01-01T00:02:59Z"}}}]}))
        .unwrap();
        assert_eq!(told.reason, "CrashLoopBackOff");
        assert_eq!((told.container.as_str(), told.restarts), ("app", 7));
        assert_eq!(told.since, "2026-01-01T00:03:00Z");
        let last = told.last.unwrap();
        assert_eq!((last.reason.as_str(), last.exit_code), ("OOMKilled", 137));
    }

    #[test]
    fn the_reason_is_the_apis_word_for_it() {
        let unscheduled = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
             "message": "0/3 nodes are available"}]});
        assert_eq!(reason(unscheduled), named("Unschedulable", ""));
        let pulling = json!({"phase": "Pending", "containerStatuses": [
            {"name": "app", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]});
        assert_eq!(reason(pulling), named("ImagePullBackOff", "app"));
        let init = json!({"phase": "Pending",
            "initContainerStatuses": [
                {"name": "migrate", "state": {"terminated": {"exitCode": 0}}},
                {"name": "seed", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}],
            "containerStatuses": [
                {"name": "app", "state": {"waiting": {"reason": "PodInitializing"}}}]});
        assert_eq!(reason(init), named("CrashLoopBackOff", "seed"));
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"});
        assert_eq!(reason(evicted), named("Evicted", ""));
        let failed = json!({"phase": "Failed", "containerStatuses": [
            {"name": "job", "state": {"terminated": {"exitCode": 3, "reason": "Error"}}}]});
        assert_eq!(reason(failed), named("Error", "job"));
        let probed = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}],
            "containerStatuses": [{"name": "app", "ready": false, "state": {"running": {}}}]});
        assert_eq!(reason(probed), named("NotReady", "app"));
        assert_eq!(reason(json!({"phase": "Pending"})), named("Pending", ""));
        assert_eq!(reason(json!({"phase": "Unknown"})), named("Unknown", ""));
    }
}
