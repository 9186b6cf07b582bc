//! Lists and watches kept up through faults: what is replayed is what the API server has.

use std::collections::BTreeMap;
use std::time::Duration;

use pipeops_agent::backoff::Window;
use pipeops_agent::cluster::ObjectError;
use pipeops_agent::cluster::objects::{
    Change, Collection, Event, Follower, Object, Objects, Synced, Uid,
};
use pipeops_agent::limits;
use pipeops_agent::tasks::Tasks;
use serde::Deserialize;
use serde_json::json;

use super::cluster;
use crate::support::apiserver::{ApiServer, Then};
use crate::support::oracle::Oracle;
use crate::support::{PATIENCE, soon};

const PODS: &str = "/api/v1/pods";

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Pod {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    uid: String,
    resource_version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Spec {
    at: u64,
}

impl Object for Pod {
    fn uid(&self) -> &str {
        &self.metadata.uid
    }

    fn version(&self) -> &str {
        &self.metadata.resource_version
    }
}

fn pods() -> Collection {
    Collection::new("", "v1", "pods")
}

fn put(oracle: &Oracle, name: usize, at: u64) {
    let pad = "x".repeat(oracle.random(0..300));
    oracle.put(
        PODS,
        json!({"metadata": {"name": format!("pod-{name}"), "namespace": "d", "pad": pad},
                      "spec": {"at": at}}),
    );
}

async fn objects(oracle: &Oracle, tasks: &Tasks) -> (ApiServer, Objects) {
    let server = oracle.serve(tasks).await;
    let objects = cluster(&server, tasks).await.objects();
    (server, objects)
}

fn quick<T: Object, V: Default>(follower: Follower<T, V>) -> Follower<T, V> {
    follower.retry(Window::from_millis(10, 1000))
}

/// What a reader of changes knows, and holds them to.
#[derive(Default)]
struct Model {
    pods: BTreeMap<Uid, Pod>,
    synced: Vec<Synced>,
    interrupted: u32,
    restored: u32,
}

impl Model {
    fn apply(&mut self, follower: &mut Follower<Pod, u64>, change: Change<Pod, u64>) {
        match change {
            Change::Added { uid, object } => {
                follower.keep(uid, object.spec.at);
                assert!(self.pods.insert(uid, object).is_none(), "added twice");
            }
            Change::Changed { uid, object, old } => {
                follower.keep(uid, object.spec.at);
                let before = self.pods.insert(uid, object).expect("it was added before");
                assert_eq!(before.spec.at, old, "what was kept is what was seen");
                let version = |pod: &Pod| pod.metadata.resource_version.parse::<u64>().unwrap();
                assert!(version(&before) < version(&self.pods[&uid]), "back in time");
            }
            Change::Deleted { uid, old } => {
                let before = self
                    .pods
                    .remove(&uid)
                    .expect("deleted twice, or never added");
                assert_eq!(before.spec.at, old);
            }
            Change::Synced(how) => self.synced.push(how),
            Change::Moved | Change::Relisting => {}
            Change::Interrupted(_) => {
                assert_eq!(self.interrupted, self.restored, "told once");
                self.interrupted += 1;
            }
            Change::Restored => self.restored += 1,
        }
    }

    fn equals(&self, oracle: &Oracle) -> bool {
        let theirs: BTreeMap<Uid, Pod> = oracle
            .objects(PODS)
            .into_iter()
            .map(|object| {
                let pod: Pod = serde_json::from_value(object).unwrap();
                (Uid::new(&pod.metadata.uid), pod)
            })
            .collect();
        self.pods == theirs
    }
}

/// Follows until the model is what the server has, which must then hold still.
async fn catch_up(follower: &mut Follower<Pod, u64>, model: &mut Model, oracle: &Oracle) {
    let caught = async {
        while !model.equals(oracle) || model.synced.is_empty() {
            let change = follower.next().await.expect("no fault here is for good");
            model.apply(follower, change);
        }
    };
    tokio::time::timeout(PATIENCE, caught)
        .await
        .expect("the state becomes the server's");
}

/// How many cuts, how often too old: in `tests/run` and in `tests/long`.
fn faults() -> (u32, u32, u64) {
    #[expect(clippy::disallowed_methods, reason = "tests/long says it this way")]
    let value = |name| std::env::var(name).ok();
    let seed = value("PIPEOPS_TEST_SEED").and_then(|seed| seed.parse().ok());
    let long = value("PIPEOPS_TEST_LENGTH").as_deref() == Some("long");
    let (cuts, gone) = if long { (1000, 50) } else { (100, 5) };
    (cuts, gone, seed.unwrap_or(20_260_301))
}

#[tokio::test]
async fn a_watch_over_many_cuts_and_410s_ends_with_the_servers_state() {
    let (cuts, gone, seed) = faults();
    let tasks = Tasks::new();
    let oracle = Oracle::new(seed);
    for name in 0..30 {
        put(&oracle, name, 0);
    }
    let (_server, objects) = objects(&oracle, &tasks).await;
    let mut follower = quick(objects.follow::<Pod, u64>(pods()));
    let mut model = Model::default();
    catch_up(&mut follower, &mut model, &oracle).await;

    oracle.cut(cuts);
    let mut at = 0;
    let mut compacted = 0;
    let begun = tokio::time::Instant::now();
    loop {
        let (cut, too_old) = oracle.faults();
        let compaction_due =
            too_old >= compacted && compacted < gone && cut * gone >= compacted * cuts;
        if cut >= cuts && too_old >= gone {
            break;
        }
        let limit = Duration::from_secs(u64::from(cuts)).max(PATIENCE);
        assert!(
            begun + limit > tokio::time::Instant::now(),
            "{cut} cuts, {too_old} 410s, seed {seed}"
        );
        for _ in 0..oracle.random(1..6) {
            at += 1;
            let name = oracle.random(0..60);
            if oracle.random(0..3) == 0 {
                oracle.remove(PODS, "d", &format!("pod-{name}"));
            } else {
                put(&oracle, name, at);
            }
        }
        if compaction_due {
            // Behind the back of a watch that has not seen the last changes.
            oracle.compact();
            compacted += 1;
        }
        // A while of following beside the changes.
        let a_while = Duration::from_millis(oracle.random(0..8) as u64);
        let _ = tokio::time::timeout(a_while, async {
            loop {
                let change = follower.next().await.expect("no fault here is for good");
                model.apply(&mut follower, change);
            }
        })
        .await;
    }
    catch_up(&mut follower, &mut model, &oracle).await;
    let relisted = model.synced.iter().filter(|how| **how == Synced::Relisted);
    assert!(relisted.count() > 0, "seed {seed}");
    assert_eq!(follower.count(), model.pods.len());
    println!(
        "{cuts} cuts, {} times 410, {at} changes, seed {seed}",
        oracle.faults().1
    );
}

#[tokio::test]
async fn a_state_that_was_seen_before_is_resumed_at_its_moment() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    for name in 0..20 {
        put(&oracle, name, 0);
    }
    let seen = oracle.version().to_string();
    put(&oracle, 3, 9);
    oracle.remove(PODS, "d", "pod-4");
    let (_server, objects) = objects(&oracle, &tasks).await;
    let mut follower = quick(objects.follow_state::<Pod, u64>(pods(), &seen));
    let mut model = Model::default();
    while model.synced.is_empty() {
        let change = soon(follower.next()).await.unwrap();
        model.apply(&mut follower, change);
    }
    assert_eq!(model.synced, [Synced::Resumed]);
    assert_eq!(model.pods.len(), 20);
    assert!(model.pods.values().all(|pod| pod.spec.at == 0));
    assert_eq!(follower.version(), seen);
    catch_up(&mut follower, &mut model, &oracle).await;
    assert_eq!(model.pods.len(), 19);
}

#[tokio::test]
async fn a_state_that_is_too_old_is_the_present_one_and_says_so() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    put(&oracle, 1, 0);
    let seen = oracle.version().to_string();
    put(&oracle, 2, 0);
    oracle.compact();
    let (_server, objects) = objects(&oracle, &tasks).await;
    let mut follower = quick(objects.follow_state::<Pod, u64>(pods(), &seen));
    let mut model = Model::default();
    catch_up(&mut follower, &mut model, &oracle).await;
    assert_eq!(model.synced, [Synced::First]);
}

#[tokio::test]
async fn changes_after_a_version_come_alone_or_after_a_relisting() {
    for compacted in [false, true] {
        let tasks = Tasks::new();
        let oracle = Oracle::new(1);
        put(&oracle, 1, 0);
        let seen = oracle.version().to_string();
        put(&oracle, 2, 5);
        if compacted {
            oracle.compact();
        }
        let (_server, objects) = objects(&oracle, &tasks).await;
        let mut follower = quick(objects.follow_changes::<Pod, u64>(pods(), &seen));
        let mut names = Vec::new();
        let mut relisted = false;
        while names.last().is_none_or(|name| name != "pod-2") {
            match soon(follower.next()).await.unwrap() {
                Change::Added { object, .. } => names.push(object.metadata.name),
                Change::Synced(how) => relisted = how == Synced::Relisted,
                Change::Moved | Change::Relisting => {}
                other => panic!("{other:?} was not to come"),
            }
        }
        if compacted {
            assert_eq!(names, ["pod-1", "pod-2"]);
            while !relisted {
                relisted = matches!(
                    soon(follower.next()).await.unwrap(),
                    Change::Synced(Synced::Relisted)
                );
            }
        } else {
            assert_eq!(names, ["pod-2"]);
        }
    }
}

#[tokio::test]
async fn an_api_server_that_fails_for_a_while_is_waited_for_and_told_of_once() {
    let tasks = Tasks::new();
    let oracle = Oracle::new(1);
    put(&oracle, 1, 0);
    let (_server, objects) = objects(&oracle, &tasks).await;
    let mut follower = quick(objects.follow::<Pod, u64>(pods()));
    let mut model = Model::default();
    catch_up(&mut follower, &mut model, &oracle).await;
    oracle.refuse(PODS, 503, "ServiceUnavailable");
    oracle.cut(1);
    put(&oracle, 2, 0);
    while model.interrupted == 0 {
        put(&oracle, 2, 0);
        let change = soon(follower.next()).await.unwrap();
        model.apply(&mut follower, change);
    }
    put(&oracle, 3, 0);
    oracle.accept(PODS);
    catch_up(&mut follower, &mut model, &oracle).await;
    assert_eq!((model.interrupted, model.restored), (1, 1));
}

#[tokio::test]
async fn a_refusal_ends_a_follower_at_once_whenever_it_comes() {
    for established in [false, true] {
        let tasks = Tasks::new();
        let oracle = Oracle::new(1);
        put(&oracle, 1, 0);
        let (_server, objects) = objects(&oracle, &tasks).await;
        let mut follower = quick(objects.follow::<Pod, u64>(pods()));
        let mut model = Model::default();
        if established {
            catch_up(&mut follower, &mut model, &oracle).await;
            oracle.cut(1);
        }
        oracle.refuse(PODS, 403, "Forbidden");
        let error = loop {
            put(&oracle, 2, 0);
            match soon(follower.next()).await {
                Ok(change) => model.apply(&mut follower, change),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ObjectError::Refused(refusal) if refusal.status == 403));
    }
}

#[tokio::test]
async fn a_server_that_calls_every_version_too_old_is_not_hammered() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |seen, mut peer| {
        let (status, body) = if seen.target.contains("watch=1") {
            let gone = json!({"kind": "Status", "code": 410, "reason": "Expired"});
            ("410 Gone", gone)
        } else {
            (
                "200 OK",
                json!({"metadata": {"resourceVersion": "5"}, "items": []}),
            )
        };
        let text = crate::support::apiserver::answer(status, "", &body.to_string());
        peer.send(text).await;
        (peer, Then::KeepAlive)
    })
    .await;
    let objects = cluster(&server, &tasks).await.objects();
    // The waits as they are in service: 250 ms or more each.
    let mut follower = objects.follow::<Pod, u64>(pods());
    let second = Duration::from_secs(1);
    let _ = tokio::time::timeout(second, async { while follower.next().await.is_ok() {} }).await;
    let lists = server
        .seen()
        .iter()
        .filter(|seen| !seen.target.contains("watch=1"))
        .count();
    assert!((2..=4).contains(&lists), "{lists} lists in a second");
}

#[tokio::test]
async fn an_event_above_the_bound_ends_a_watch_before_it_is_held() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.send(
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"type\":\"ADDED\",\"object\":{\"a\":\"",
        )
        .await;
        let block = "x".repeat(64 * 1024);
        for _ in 0..=limits::OBJECT_BYTES / block.len() {
            peer.send(&block).await;
        }
        (peer, Then::Close)
    })
    .await;
    let objects = cluster(&server, &tasks).await.objects();
    let mut watch = objects.watch::<Pod>(&pods(), "5").await.unwrap();
    assert!(matches!(
        soon(watch.next()).await,
        Err(ObjectError::TooLarge(limits::OBJECT_BYTES))
    ));
}

/// A pod of so many bytes, as an event.
fn large(bytes: usize) -> String {
    let event = json!({"type": "ADDED", "object": {"spec": {"at": 1}, "pad": "x".repeat(bytes),
        "metadata": {"name": "a", "uid": "u", "resourceVersion": "9"}}});
    format!("{event}\n")
}

#[tokio::test]
async fn large_events_are_read_by_a_few_watches_at_a_time() {
    let tasks = Tasks::new();
    let (go, wait) = tokio::sync::watch::channel(false);
    let server = ApiServer::start(&tasks, move |_, mut peer| {
        let mut wait = wait.clone();
        async move {
            peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
                .await;
            let event = large(2 * limits::WATCH_LARGE);
            let (begin, end) = event.split_at(limits::WATCH_LARGE + 64 * 1024);
            peer.send(begin).await;
            let _ = wait.wait_for(|go| *go).await;
            peer.send(end).await;
            (peer, Then::Close)
        }
    })
    .await;
    let objects = cluster(&server, &tasks).await.objects();
    let mut watches = Vec::new();
    for _ in 0..limits::WATCH_LARGE_AT_ONCE + 1 {
        watches.push(objects.watch::<Pod>(&pods(), "5").await.unwrap());
    }
    // All begin to read; the last gets no turn until one is done.
    let short = Duration::from_millis(100);
    for watch in &mut watches {
        assert!(tokio::time::timeout(short, watch.next()).await.is_err());
    }
    go.send(true).unwrap();
    let mut last = watches.pop().unwrap();
    assert!(
        tokio::time::timeout(short, last.next()).await.is_err(),
        "it waits for its turn"
    );
    for watch in &mut watches {
        assert!(matches!(
            soon(watch.next()).await,
            Ok(Some(Event::Added(_)))
        ));
    }
    assert_eq!(soon(watches[0].next()).await.unwrap(), None);
    assert!(matches!(soon(last.next()).await, Ok(Some(Event::Added(_)))));
}

#[tokio::test]
async fn a_watch_that_falls_silent_is_given_up() {
    // With bookmarks seen after two missed ones, without them after the time it was asked to last.
    for (bookmarks, least, most) in [(true, 149, 152), (false, 269, 332)] {
        let tasks = Tasks::new();
        let server = ApiServer::start(&tasks, move |_, mut peer| async move {
            peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
            if bookmarks {
                peer.send("{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"7\"}}}\n")
                    .await;
            }
            peer.closed().await;
            (peer, Then::Close)
        })
        .await;
        let objects = cluster(&server, &tasks).await.objects();
        let mut watch = objects.watch::<Pod>(&pods(), "5").await.unwrap();
        if bookmarks {
            assert_eq!(watch.next().await.unwrap(), Some(Event::Bookmark));
            assert_eq!(watch.version(), "7");
        }
        // What comes over the network comes in real time; from here on nothing does.
        tokio::time::pause();
        let begun = tokio::time::Instant::now();
        assert!(matches!(watch.next().await, Err(ObjectError::Cluster(_))));
        let took = (tokio::time::Instant::now() - begun).as_secs();
        tokio::time::resume();
        assert!((least..=most).contains(&took), "{took} s");
    }
}
