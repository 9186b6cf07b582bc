//! The CronJob and its Jobs.
//!
//! Owns: one Job every minute and the end of old ones. Owns not: how long a Job's pod works
//! (`kubelet`), nor the Jobs' status (`controllers`).
//! Invariant: at most [`HISTORY`] finished Jobs of the CronJob exist.

use serde_json::{Value, json};

use super::super::catalog;
use super::super::clock::{DAY, MINUTE, Millis, SECOND, rfc3339};
use super::super::objects::{controller_uid, metadata, owned_by, pods, templates, workloads};
use super::super::store::{Key, Store};
use super::events::{Report, record};
use super::kubelet;

const NAMESPACE: &str = "sample-shop";
const NAME: &str = "sample-report";
/// Finished Jobs kept, as the CronJob's `successfulJobsHistoryLimit` says.
const HISTORY: usize = 3;

/// Makes the CronJob, the Jobs of the last minutes, and one Job that ran once.
pub(super) fn fill(store: &Store, now: Millis) {
    let created = now - 5 * DAY;
    let mut cron_metadata = metadata("CronJob", NAMESPACE, NAME, created, &[]);
    cron_metadata["generation"] = 1.into();
    store.put(json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": cron_metadata,
        "spec": {
            "schedule": "* * * * *",
            "concurrencyPolicy": "Forbid",
            "suspend": false,
            "successfulJobsHistoryLimit": HISTORY,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {"metadata": {}, "spec": job_spec("report", "shop-report:1.2.0")},
        },
        "status": {},
    }));
    let minute = now.div_euclid(MINUTE) * MINUTE;
    for back in (0..=3).rev() {
        run(store, minute - back * MINUTE);
    }
    finish(store, now);
    let spec = job_spec("migrate", "shop-migrate:3.9.0");
    let migration = job(&spec, "sample-migrate", now - 6 * DAY, None);
    start(store, &migration, now - 6 * DAY);
    store.put(migration);
    finish(store, now);
}

/// Starts the minute's Job and forgets old ones.
pub(super) fn step(store: &Store, now: Millis) {
    let minute = now.div_euclid(MINUTE) * MINUTE;
    if let Some(jobs) = catalog::find("batch", "v1", "jobs")
        && store
            .get(&Key::new(jobs, NAMESPACE, &job_name(minute)))
            .is_none()
    {
        run(store, minute);
    }
    forget(store);
}

fn job_name(minute: Millis) -> String {
    format!("{NAME}-{}", minute.div_euclid(MINUTE))
}

fn cron_job(store: &Store) -> Option<(Key, std::sync::Arc<Value>)> {
    let key = Key::new(catalog::find("batch", "v1", "cronjobs")?, NAMESPACE, NAME);
    let object = store.get(&key)?;
    Some((key, object))
}

fn run(store: &Store, minute: Millis) {
    let Some((key, cron_job)) = cron_job(store) else {
        return;
    };
    let spec = &cron_job["spec"]["jobTemplate"]["spec"];
    let job = job(spec, &job_name(minute), minute, Some(&cron_job));
    let pod = start(store, &job, minute);
    kubelet::report_scheduled(store, &pod, minute);
    let created = format!(
        "Created pod: {}",
        pod["metadata"]["name"].as_str().unwrap_or_default()
    );
    record(
        store,
        &job,
        Report::normal("job-controller", "SuccessfulCreate", &created),
        minute,
    );
    let message = format!(
        "Created job {}",
        job["metadata"]["name"].as_str().unwrap_or_default()
    );
    let report = Report::normal("cronjob-controller", "SuccessfulCreate", &message);
    record(store, &cron_job, report, minute);
    store.update(&key, |cron_job| {
        cron_job["status"]["lastScheduleTime"] = rfc3339(minute).into();
        cron_job["status"]["active"] = json!([{
            "apiVersion": "batch/v1", "kind": "Job", "namespace": NAMESPACE,
            "name": job["metadata"]["name"], "uid": job["metadata"]["uid"],
        }]);
    });
    store.put(job);
}

/// Ends the pods of Jobs that lie in the past when the cluster starts.
fn finish(store: &Store, now: Millis) {
    let Some(resource) = catalog::find("", "v1", "pods") else {
        return;
    };
    for (key, pod) in store.list(resource, None).objects {
        let started = pod["status"]["startTime"]
            .as_str()
            .and_then(super::super::clock::parse);
        let started = started.unwrap_or(now);
        let job = pod["metadata"]["ownerReferences"][0]["kind"] == "Job";
        if job && pod["status"]["phase"] == "Pending" && started < now - 15 * SECOND {
            let address = pods::free_address(store, &pod);
            store.update(&key, |pod| {
                pods::start(pod, &address, started + 2 * SECOND);
                pods::exit(pod, 0, started + 11 * SECOND);
            });
        }
    }
}

fn forget(store: &Store) {
    let (Some(jobs), Some(pods), Some((_, cron_job))) = (
        catalog::find("batch", "v1", "jobs"),
        catalog::find("", "v1", "pods"),
        cron_job(store),
    ) else {
        return;
    };
    let owner = cron_job["metadata"]["uid"].as_str();
    let finished: Vec<_> = store
        .list(jobs, Some(NAMESPACE))
        .objects
        .into_iter()
        .filter(|(_, job)| controller_uid(job) == owner && job["status"]["succeeded"] == 1)
        .collect();
    let excess = finished.len().saturating_sub(HISTORY);
    for (key, job) in finished.into_iter().take(excess) {
        let uid = job["metadata"]["uid"].as_str();
        for (pod_key, pod) in store.list(pods, Some(NAMESPACE)).objects {
            if controller_uid(&pod) == uid {
                store.remove(&pod_key);
            }
        }
        store.remove(&key);
    }
}

fn start(store: &Store, job: &Value, created: Millis) -> Value {
    let mut pod = templates::new_pod(job, 0, created);
    let number = created.div_euclid(MINUTE).unsigned_abs();
    pods::schedule(&mut pod, workloads::worker(NAME, number), created);
    store.put(pod.clone());
    pod
}

fn job(spec: &Value, name: &str, created: Millis, owner: Option<&Value>) -> Value {
    let mut metadata = metadata("Job", NAMESPACE, name, created, &[]);
    let uid = metadata["uid"].clone();
    let labels = json!({
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    });
    metadata["generation"] = 1.into();
    metadata["labels"] = labels.clone();
    if let Some(owner) = owner {
        metadata["ownerReferences"] = owned_by(owner);
        metadata["annotations"] =
            json!({"batch.kubernetes.io/cronjob-scheduled-timestamp": rfc3339(created)});
    }
    let mut spec = spec.clone();
    spec["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
    spec["template"]["metadata"]["labels"] = labels;
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": spec,
        "status": {"startTime": rfc3339(created), "active": 1, "ready": 0},
    })
}

fn job_spec(container: &str, image: &str) -> Value {
    json!({
        "parallelism": 1,
        "completions": 1,
        "completionMode": "NonIndexed",
        "backoffLimit": 6,
        "manualSelector": false,
        "podReplacementPolicy": "TerminatingOrFailed",
        "suspend": false,
        "template": {
            "metadata": {},
            "spec": {
                "containers": [{
                    "name": container,
                    "image": format!("sample.invalid/{image}"),
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["--sample"],
                    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                }],
                "restartPolicy": "Never",
                "dnsPolicy": "ClusterFirst",
                "enableServiceLinks": true,
                "schedulerName": "default-scheduler",
                "securityContext": {},
                "serviceAccount": "default",
                "serviceAccountName": "default",
                "terminationGracePeriodSeconds": 30,
            },
        },
    })
}
