//! What must be known of a pod to read its logs.
//!
//! Owns the few fields that are read of a Pod, and what they mean for a log: whether a container
//! has one, which run it is of, and whether it will ever run again. Owns not: any request. Pure.

use serde::Deserialize;

use crate::cluster::objects::Object;

/// A Pod, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    /// Who it is.
    pub metadata: Metadata,
    spec: Spec,
    status: Status,
}

/// Who a pod is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID: another pod of the same name has another.
    pub uid: String,
    /// The version of the object.
    pub resource_version: String,
    deletion_timestamp: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    restart_policy: String,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: String,
    restart_policy: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: String,
    restart_count: u32,
    state: State,
    last_state: State,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct State {
    running: Option<Running>,
    terminated: Option<Terminated>,
    waiting: Option<Waiting>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Running {}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    exit_code: i32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: String,
}

/// Which containers of a pod are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Containers {
    /// Those that make up the pod.
    #[default]
    Regular,
    /// Init and ephemeral ones as well.
    All,
    /// The one of this name, of whatever kind.
    Named(String),
}

/// Where a container stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Run {
    /// The pod has no container of this name.
    Unknown,
    /// It has not run yet, for this reason.
    Pending(String),
    /// It runs.
    Running {
        /// How often it was started again.
        restart: u32,
    },
    /// It has run.
    Stopped {
        /// How often it was started again.
        restart: u32,
        /// It will not run again.
        for_good: bool,
        /// Why it waits for its next run, if it does.
        reason: String,
    },
}

impl Object for Pod {
    fn uid(&self) -> &str {
        &self.metadata.uid
    }

    fn version(&self) -> &str {
        &self.metadata.resource_version
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Regular,
    Init,
    Ephemeral,
}

impl Pod {
    /// The names of the containers that are meant, the regular ones first.
    #[must_use]
    pub fn containers(&self, which: &Containers) -> Vec<&str> {
        let spec = &self.spec;
        let regular = spec.containers.iter();
        let others = spec
            .init_containers
            .iter()
            .chain(&spec.ephemeral_containers);
        match which {
            Containers::Regular => regular.map(|it| &*it.name).collect(),
            Containers::All => regular.chain(others).map(|it| &*it.name).collect(),
            Containers::Named(name) => regular
                .chain(others)
                .map(|it| &*it.name)
                .filter(|known| known == name)
                .collect(),
        }
    }

    /// Where a container stands.
    #[must_use]
    pub fn run(&self, container: &str) -> Run {
        let kinds = [
            (
                Kind::Regular,
                &self.spec.containers,
                &self.status.container_statuses,
            ),
            (
                Kind::Init,
                &self.spec.init_containers,
                &self.status.init_container_statuses,
            ),
            (
                Kind::Ephemeral,
                &self.spec.ephemeral_containers,
                &self.status.ephemeral_container_statuses,
            ),
        ];
        let found = kinds.into_iter().find_map(|(kind, specs, statuses)| {
            let spec = specs.iter().find(|it| it.name == container)?;
            Some((kind, spec, statuses.iter().find(|it| it.name == container)))
        });
        let Some((kind, spec, status)) = found else {
            return Run::Unknown;
        };
        let over = matches!(&*self.status.phase, "Succeeded" | "Failed");
        let Some(status) = status else {
            return Run::Pending(if over { "NeverRan" } else { "PodInitializing" }.into());
        };
        let restart = status.restart_count;
        if status.state.running.is_some() {
            return Run::Running { restart };
        }
        let waiting = status.state.waiting.as_ref();
        let reason = waiting.map(|it| it.reason.clone()).unwrap_or_default();
        if let Some(ended) = &status.state.terminated {
            let for_good = over
                || self.metadata.deletion_timestamp.is_some()
                || !self.restarts(kind, spec, ended);
            return Run::Stopped {
                restart,
                for_good,
                reason,
            };
        }
        if status.last_state.terminated.is_some() {
            return Run::Stopped {
                restart,
                for_good: over,
                reason,
            };
        }
        Run::Pending(if over { "NeverRan".into() } else { reason })
    }

    /// Whether a pod that has ended leaves a container that never ran.
    #[must_use]
    pub fn over(&self) -> bool {
        matches!(&*self.status.phase, "Succeeded" | "Failed")
    }

    fn restarts(&self, kind: Kind, spec: &Container, ended: &Terminated) -> bool {
        let own = spec.restart_policy.as_deref();
        match (kind, own.unwrap_or(&self.spec.restart_policy)) {
            (Kind::Ephemeral, _) => false,
            // A sidecar runs as long as the pod; any other init container only until it succeeds.
            (Kind::Init, _) if own == Some("Always") => true,
            (Kind::Init, "Never") | (Kind::Regular, "Never") => false,
            (Kind::Init, _) | (Kind::Regular, "OnFailure") => ended.exit_code != 0,
            (Kind::Regular, _) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(policy: &str, status: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "d", "uid": "u", "labels": {"a": "b"}},
            "spec": {"restartPolicy": policy, "nodeName": "n", "containers": [{"name": "main", "image": "i"}],
                     "initContainers": [{"name": "first"}, {"name": "side", "restartPolicy": "Always"}],
                     "ephemeralContainers": [{"name": "debug"}]},
            "status": status,
        }))
        .unwrap()
    }

    fn main_is(state: &serde_json::Value, last: &serde_json::Value) -> serde_json::Value {
        json!({"phase": "Running", "containerStatuses": [
            {"name": "main", "restartCount": 2, "state": state, "lastState": last}]})
    }

    #[test]
    fn containers_of_every_kind_are_found_by_what_is_asked() {
        let pod = pod("Always", &json!({}));
        assert_eq!(pod.containers(&Containers::Regular), ["main"]);
        let all = ["main", "first", "side", "debug"];
        assert_eq!(pod.containers(&Containers::All), all);
        let named = |name: &str| pod.containers(&Containers::Named(name.into())).len();
        assert_eq!((named("debug"), named("none")), (1, 0));
        assert_eq!(pod.run("none"), Run::Unknown);
        assert_eq!(pod.run("main"), Run::Pending("PodInitializing".into()));
    }

    #[test]
    fn a_container_between_two_runs_has_the_log_of_the_last() {
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let ended = json!({"terminated": {"exitCode": 1}});
        let run = pod("Always", &main_is(&waiting, &ended)).run("main");
        let stopped = Run::Stopped {
            restart: 2,
            for_good: false,
            reason: "CrashLoopBackOff".into(),
        };
        assert_eq!(run, stopped);
        let run = pod("Always", &main_is(&waiting, &json!({}))).run("main");
        assert_eq!(run, Run::Pending("CrashLoopBackOff".into()));
        let running = json!({"running": {"startedAt": "2026-11-24T11:41:00Z"}});
        let run = pod("Always", &main_is(&running, &ended)).run("main");
        assert_eq!(run, Run::Running { restart: 2 });
    }

    #[test]
    fn whether_it_runs_again_is_decided_by_its_kind_its_policy_and_its_exit() {
        let good = |policy: &str, code: i32| {
            let state = json!({"terminated": {"exitCode": code}});
            let run = pod(policy, &main_is(&state, &json!({}))).run("main");
            matches!(run, Run::Stopped { for_good: true, .. })
        };
        let table = [
            ("Always", 0, false),
            ("Always", 1, false),
            ("OnFailure", 0, true),
            ("OnFailure", 1, false),
            ("Never", 1, true),
        ];
        for (policy, code, expected) in table {
            assert_eq!(good(policy, code), expected, "{policy} {code}");
        }
        let ended = json!([
            {"name": "first", "state": {"terminated": {"exitCode": 0}}},
            {"name": "side", "state": {"terminated": {"exitCode": 0}}}]);
        let debug = json!([{"name": "debug", "state": {"terminated": {"exitCode": 1}}}]);
        let status = json!({"phase": "Running", "initContainerStatuses": ended,
                            "ephemeralContainerStatuses": debug});
        let pod = pod("Always", &status);
        let good = |name: &str| matches!(pod.run(name), Run::Stopped { for_good: true, .. });
        assert!(good("first") && good("debug") && !good("side"));
    }
}
