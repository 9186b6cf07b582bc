//! Workloads of all kinds: what is read of one, and whether it is as it should be.
//!
//! Pure. The reasons are the API's own words of its conditions where it has one.

use serde::Deserialize;

use super::condition::Condition;
use super::text::cut;
use crate::cluster::objects::{Collection, Object};
use crate::protocol::command::status_get::{self as wire, Kind};

/// All kinds, each with where it is.
pub(in crate::commands) const KINDS: [(Kind, &str, &str); 5] = [
    (Kind::Deployment, "apps", "deployments"),
    (Kind::StatefulSet, "apps", "statefulsets"),
    (Kind::DaemonSet, "apps", "daemonsets"),
    (Kind::Job, "batch", "jobs"),
    (Kind::CronJob, "batch", "cronjobs"),
];

/// The workloads of one kind.
pub(in crate::commands) fn collection(group: &str, resource: &str, namespace: &str) -> Collection {
    Collection::new(group, "v1", resource).within(namespace)
}

/// The fields of all kinds that any of them has.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::commands) struct Workload {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
    generation: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    replicas: Option<u32>,
    completions: Option<u32>,
    parallelism: Option<u32>,
    paused: bool,
    suspend: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    observed_generation: i64,
    ready_replicas: u32,
    updated_replicas: u32,
    available_replicas: u32,
    desired_number_scheduled: u32,
    updated_number_scheduled: u32,
    number_ready: u32,
    number_available: u32,
    succeeded: u32,
    conditions: Vec<Condition>,
}

impl Object for Workload {
    fn uid(&self) -> &str {
        &self.metadata.uid
    }

    fn version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl Workload {
    /// What is told of one of this kind.
    pub(in crate::commands) fn told(self, kind: Kind) -> wire::Workload {
        let Self {
            metadata,
            spec,
            status,
        } = self;
        let mut told = wire::Workload {
            kind,
            namespace: cut(&metadata.namespace),
            name: cut(&metadata.name),
            ..wire::Workload::default()
        };
        // What the controller has not seen yet it cannot have done.
        let seen = status.observed_generation >= metadata.generation;
        let available = match kind {
            Kind::Deployment | Kind::StatefulSet => {
                told.desired = spec.replicas.unwrap_or(1);
                told.ready = status.ready_replicas;
                told.updated = status.updated_replicas;
                status.available_replicas
            }
            Kind::DaemonSet => {
                told.desired = status.desired_number_scheduled;
                told.ready = status.number_ready;
                told.updated = status.updated_number_scheduled;
                status.number_available
            }
            Kind::Job => {
                told.desired = spec.completions.or(spec.parallelism).unwrap_or(1);
                told.ready = status.succeeded;
                told.updated = told.desired;
                told.desired
            }
            Kind::CronJob => 0,
        };
        let is = |kind: &str, value: &str| {
            let of = |condition: &&Condition| condition.kind == kind && condition.status == value;
            status.conditions.iter().find(of)
        };
        let why = match kind {
            Kind::Job => is("Failed", "True"),
            Kind::CronJob => None,
            Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet => is("ReplicaFailure", "True")
                .or_else(|| is("Progressing", "False"))
                .or_else(|| is("Available", "False")),
        };
        let short = available < told.desired;
        let old = told.updated < told.desired && !spec.paused;
        let rolls = matches!(kind, Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet);
        told.unhealthy = why.is_some() || rolls && (short || old || !seen);
        if let Some(why) = why {
            told.reason = cut(&why.reason);
            told.message = cut(&why.message);
            told.since = cut(why.last_transition_time.as_deref().unwrap_or_default());
        } else {
            let reason = match () {
                () if spec.suspend => "Suspended",
                () if !told.unhealthy && spec.paused => "Paused",
                () if !told.unhealthy => "",
                () if !seen => "NotObserved",
                () if old => "Updating",
                () => "Unavailable",
            };
            reason.clone_into(&mut told.reason);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[expect(
        clippy::needless_pass_by_value,
        reason = "the tests write them in place"
    )]
    fn told(kind: Kind, spec: Value, status: Value) -> wire::Workload {
        let object = json!({"metadata": {"name": "a", "generation": 2}, "spec": spec,
                            "status": status});
        serde_json::from_value::<Workload>(object)
            .unwrap()
            .told(kind)
    }

    fn verdict(kind: Kind, spec: Value, status: Value) -> (bool, String) {
        let told = told(kind, spec, status);
        (told.unhealthy, told.reason)
    }

    #[test]
    fn what_has_all_its_pods_in_its_newest_form_is_well() {
        let deployment = json!({"observedGeneration": 2, "readyReplicas": 3, "updatedReplicas": 3,
            "availableReplicas": 3, "conditions": [{"type": "Available", "status": "True"}]});
        let spec = json!({"replicas": 3});
        assert_eq!(
            verdict(Kind::Deployment, spec, deployment),
            (false, String::new())
        );
        let none = json!({"observedGeneration": 2});
        assert!(!verdict(Kind::StatefulSet, json!({"replicas": 0}), none).0);
        let daemons = json!({"observedGeneration": 2, "desiredNumberScheduled": 5,
            "updatedNumberScheduled": 5, "numberReady": 5, "numberAvailable": 5});
        let told = told(Kind::DaemonSet, json!({}), daemons);
        assert_eq!(
            (told.desired, told.ready, told.updated, told.unhealthy),
            (5, 5, 5, false)
        );
    }

    #[test]
    fn what_falls_short_says_why() {
        let short = json!({"observedGeneration": 2, "updatedReplicas": 1});
        let one = (true, "Unavailable".to_owned());
        assert_eq!(verdict(Kind::Deployment, json!({}), short), one);
        let stuck = json!({"observedGeneration": 2, "conditions": [
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]});
        let reason = (true, "ProgressDeadlineExceeded".to_owned());
        assert_eq!(verdict(Kind::Deployment, json!({}), stuck), reason);
        let unseen = json!({"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": 1});
        let reason = (true, "NotObserved".to_owned());
        assert_eq!(verdict(Kind::Deployment, json!({}), unseen), reason);
        let old = json!({"observedGeneration": 2, "availableReplicas": 1});
        let reason = (true, "Updating".to_owned());
        assert_eq!(verdict(Kind::Deployment, json!({}), old.clone()), reason);
        let paused = (false, "Paused".to_owned());
        assert_eq!(
            verdict(Kind::Deployment, json!({"paused": true}), old),
            paused
        );
    }

    #[test]
    fn a_job_fails_by_its_condition_and_a_cron_job_never() {
        let failed = json!({"conditions": [
            {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]});
        let reason = (true, "BackoffLimitExceeded".to_owned());
        assert_eq!(
            verdict(Kind::Job, json!({"completions": 3}), failed),
            reason
        );
        let runs = json!({"active": 1, "succeeded": 1});
        let job = told(Kind::Job, json!({"completions": 3}), runs);
        assert_eq!((job.desired, job.ready, job.unhealthy), (3, 1, false));
        let cron = verdict(
            Kind::CronJob,
            json!({"suspend": true}),
            json!({"active": [{}]}),
        );
        assert_eq!(cron, (false, "Suspended".to_owned()));
    }
}
