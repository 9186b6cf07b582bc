//! How the sample cluster lives, second by second, on a clock of its own.

use serde_json::Value;

use super::super::clock::{MINUTE, SECOND};
use super::super::objects::{self, pods};
use super::super::{catalog, selector::Selector, store::Key};
use super::*;

/// A Tuesday, ten seconds past a full minute.
const START: Millis = 1_764_000_010_000;

fn cluster() -> (Arc<Store>, Life) {
    let store = Arc::new(Store::new(1_000));
    objects::fill(&store, START);
    let life = Life::begin(Arc::clone(&store), START);
    (store, life)
}

fn list(store: &Store, group: &str, plural: &str) -> Vec<Arc<Value>> {
    let resource = catalog::RESOURCES
        .iter()
        .find(|it| it.is(group, plural))
        .unwrap();
    store
        .list(resource, None)
        .objects
        .into_iter()
        .map(|(_, object)| object)
        .collect()
}

fn of_app<'all>(pods: &'all [Arc<Value>], app: &str) -> Vec<&'all Value> {
    let of = |pod: &&Value| pod["metadata"]["labels"]["app.kubernetes.io/name"] == app;
    pods.iter().map(|pod| &**pod).filter(of).collect()
}

#[test]
fn the_cluster_begins_with_pods_in_several_states() {
    let (store, _) = cluster();
    let pods = list(&store, "", "pods");
    assert!((25..40).contains(&pods.len()), "{}", pods.len());
    for phase in ["Running", "Pending", "Succeeded"] {
        assert!(
            pods.iter().any(|pod| pod["status"]["phase"] == phase),
            "{phase}"
        );
    }
    let waits = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"].clone();
    for reason in ["CrashLoopBackOff", "ImagePullBackOff"] {
        assert!(
            pods.iter().any(|pod| waits(pod)["reason"] == reason),
            "{reason}"
        );
    }
    let unscheduled = of_app(&pods, "sample-recommender");
    assert_eq!(
        unscheduled[0]["status"]["conditions"][0]["reason"],
        "Unschedulable"
    );
}

#[test]
fn every_object_has_what_all_objects_have() {
    let (store, mut life) = cluster();
    for second in 0..200 {
        life.step(START + second * SECOND);
    }
    let mut uids = std::collections::BTreeSet::new();
    for resource in catalog::RESOURCES {
        for (_, object) in store.list(resource, None).objects {
            assert_eq!(object["kind"], resource.kind);
            assert_eq!(object["apiVersion"], resource.api_version());
            let metadata = &object["metadata"];
            assert!(metadata["creationTimestamp"].is_string(), "{object}");
            assert_eq!(
                metadata["namespace"].is_string(),
                resource.namespaced,
                "{object}"
            );
            assert!(
                uids.insert(metadata["uid"].to_string()),
                "a uid twice: {object}"
            );
        }
    }
}

#[test]
fn a_rollout_keeps_its_promise_and_comes_to_an_end() {
    let (store, mut life) = cluster();
    let mut revisions = std::collections::BTreeSet::new();
    let mut most = 0;
    for second in 0..600 {
        life.step(START + second * SECOND);
        let pods = list(&store, "", "pods");
        let alive: Vec<_> = of_app(&pods, "sample-catalog")
            .into_iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .collect();
        let ready = alive.iter().filter(|pod| pods::is_ready(pod)).count();
        assert!(ready >= 3, "second {second}: {ready} ready");
        most = most.max(alive.len());
        for pod in alive {
            revisions.insert(pod["metadata"]["labels"]["pod-template-hash"].to_string());
        }
        let addresses: Vec<_> = pods
            .iter()
            .filter(|pod| pod["spec"]["hostNetwork"] != true)
            .filter_map(|pod| pod["status"]["podIP"].as_str())
            .collect();
        let distinct: std::collections::BTreeSet<_> = addresses.iter().collect();
        assert_eq!(
            addresses.len(),
            distinct.len(),
            "an address twice at second {second}"
        );
    }
    assert_eq!(most, 4, "one above, never more");
    assert!(revisions.len() >= 5, "{}", revisions.len());
    let deployments = list(&store, "apps", "deployments");
    let rolled = deployments
        .iter()
        .find(|it| it["metadata"]["name"] == "sample-catalog")
        .unwrap();
    assert_eq!(rolled["status"]["updatedReplicas"], 3);
    assert_eq!(rolled["status"]["readyReplicas"], 3);
}

#[test]
fn nothing_grows_with_the_time_that_the_cluster_is_up() {
    let (store, mut life) = cluster();
    let count = |store: &Store| -> usize {
        catalog::RESOURCES
            .iter()
            .map(|it| store.list(it, None).objects.len())
            .sum()
    };
    let mut after_warm_up = 0;
    // Five seconds a step: the events of an hour must have come and gone.
    for step in 0..960 {
        life.step(START + step * 5 * SECOND);
        if step == 740 {
            after_warm_up = count(&store);
        }
    }
    assert!(
        count(&store) <= after_warm_up + 20,
        "{after_warm_up} became {}",
        count(&store)
    );
    assert!(list(&store, "", "events").len() <= 200);
    assert!(list(&store, "batch", "jobs").len() <= 6);
}

#[test]
fn a_crashing_pod_restarts_and_says_so() {
    let (store, mut life) = cluster();
    let restarts = |store: &Store| {
        let pods = list(store, "", "pods");
        let worker = of_app(&pods, "sample-worker")[0].clone();
        worker["status"]["containerStatuses"][0]["restartCount"]
            .as_u64()
            .unwrap()
    };
    let before = restarts(&store);
    for second in 0..200 {
        life.step(START + second * SECOND);
    }
    assert!(restarts(&store) >= before + 3);
    let events = list(&store, "", "events");
    assert!(
        events
            .iter()
            .any(|event| event["reason"] == "BackOff" && event["type"] == "Warning")
    );
}

#[test]
fn every_minute_has_its_job_and_each_comes_to_an_end() {
    let (store, mut life) = cluster();
    let minutes = 5;
    for second in 0..minutes * 60 + 30 {
        life.step(START + second * SECOND);
    }
    let jobs = list(&store, "batch", "jobs");
    let last = START.div_euclid(MINUTE) + minutes;
    let name = format!("sample-report-{last}");
    let job = jobs
        .iter()
        .find(|job| job["metadata"]["name"] == name.as_str())
        .unwrap();
    assert_eq!(job["status"]["succeeded"], 1, "{job}");
}

#[test]
fn endpoints_follow_the_pods() {
    let (store, mut life) = cluster();
    for second in 0..120 {
        life.step(START + second * SECOND);
        let pods = list(&store, "", "pods");
        let slices = list(&store, "discovery.k8s.io", "endpointslices");
        let slice = slices
            .iter()
            .find(|it| it["metadata"]["labels"]["kubernetes.io/service-name"] == "sample-catalog");
        for endpoint in slice.unwrap()["endpoints"].as_array().unwrap() {
            let name = &endpoint["targetRef"]["name"];
            let pod = pods
                .iter()
                .find(|pod| &pod["metadata"]["name"] == name)
                .unwrap();
            assert_eq!(endpoint["conditions"]["ready"], pods::is_ready(pod));
        }
    }
    let pods = catalog::find("", "v1", "pods").unwrap();
    let all = Selector::default();
    assert!(
        store
            .list(pods, None)
            .objects
            .iter()
            .all(|(_, pod)| all.matches(pod))
    );
    assert!(
        store
            .get(&Key::new(pods, "sample-shop", "sample-db-0"))
            .is_some()
    );
}
