//! A command that changes something runs once, however often it is sent (P-73).

use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use super::pair;
use crate::support::apiserver::{ApiServer, Then, answer};
use crate::support::eventually;
use crate::support::objects::{Instead, Objects};
use crate::support::pair::{Ask, Outcome, Pair, Setting};

const SCALE: &str = "workloads.scale";
const WEB: &str = "/apis/apps/v1/namespaces/shop/deployments/web";

fn web(replicas: u32) -> Value {
    json!({"kind": "Deployment", "namespace": "shop", "name": "web", "replicas": replicas})
}

fn scale(replicas: u32, key: &str) -> Ask {
    Ask::new(SCALE, &web(replicas)).key(key)
}

async fn rig(tasks: &Tasks) -> (Objects, Pair) {
    let objects = Objects::start(tasks).await;
    objects.put(WEB, json!({"spec": {"replicas": 1}}));
    let pair = pair(&objects.server, tasks, Setting::default()).await;
    (objects, pair)
}

fn replicas(outcome: &Outcome) -> (u64, u64) {
    let result = outcome.end.as_ref().unwrap().as_ref().unwrap();
    (
        result["from"].as_u64().unwrap(),
        result["to"].as_u64().unwrap(),
    )
}

#[tokio::test]
async fn a_key_that_has_ended_gets_its_outcome_again() {
    let tasks = Tasks::new();
    let (objects, pair) = rig(&tasks).await;
    for attempt in [1, 1, 2] {
        let outcome = pair.open(scale(3, "k").attempt(attempt)).outcome().await;
        assert_eq!(replicas(&outcome), (1, 3));
    }
    // The same words in another order are the same command.
    let shuffled = json!({"replicas": 3, "name": "web", "namespace": "shop", "kind": "Deployment"});
    let outcome = pair
        .open(Ask::new(SCALE, &shuffled).key("k"))
        .outcome()
        .await;
    assert_eq!(replicas(&outcome), (1, 3));
    assert_eq!(objects.arrived(), 1);
    assert_eq!(pair.metrics.count(SCALE, "ok"), 4);
}

#[tokio::test]
async fn a_key_belongs_to_one_command_of_one_actor() {
    let tasks = Tasks::new();
    let (objects, pair) = rig(&tasks).await;
    pair.open(scale(3, "k").actor("ada", &[])).outcome().await;
    let restart = json!({"kind": "Deployment", "namespace": "shop", "name": "web"});
    for other in [
        scale(4, "k").actor("ada", &[]),
        scale(3, "k").actor("bob", &[]),
        scale(3, "k").attempt(2),
        Ask::new("workloads.restart", &restart)
            .key("k")
            .actor("ada", &[]),
    ] {
        let outcome = pair.open(other).outcome().await;
        assert_eq!(outcome.code(), Some(ErrorCode::BadRequest));
    }
    assert_eq!(objects.arrived(), 1);
}

#[tokio::test]
async fn a_key_is_visible_characters_and_not_too_many() {
    let tasks = Tasks::new();
    let (objects, pair) = rig(&tasks).await;
    for key in ["", "a b", "ä", "\n", &"x".repeat(129)] {
        let outcome = pair.open(scale(3, key)).outcome().await;
        assert_eq!(outcome.code(), Some(ErrorCode::BadRequest), "{key:?}");
    }
    assert!(objects.server.seen().is_empty());
    let outcome = pair.open(scale(3, &"~".repeat(128))).outcome().await;
    assert_eq!(replicas(&outcome), (1, 3));
    // What changes nothing ignores its key.
    for _ in 0..2 {
        let ask = Ask::get(WEB).key("k").attempt(2);
        assert_eq!(pair.open(ask).outcome().await.status(), 200);
    }
}

#[tokio::test]
async fn an_attempt_that_is_not_the_first_never_runs_an_unknown_key() {
    let tasks = Tasks::new();
    let (objects, pair) = rig(&tasks).await;
    for ask in [
        scale(3, "k").attempt(2),
        Ask::new(SCALE, &web(3)).attempt(2),
    ] {
        let outcome = pair.open(ask).outcome().await;
        assert_eq!(outcome.code(), Some(ErrorCode::Indeterminate));
    }
    assert!(objects.server.seen().is_empty());
}

#[tokio::test]
async fn who_asks_while_it_runs_waits_for_the_outcome_or_its_own_deadline() {
    let tasks = Tasks::new();
    let (objects, pair) = rig(&tasks).await;
    objects.hold();
    let first = pair.open(scale(3, "k"));
    eventually("the patch has arrived", || objects.arrived() == 1).await;
    let second = pair.open(scale(3, "k").attempt(2));
    let hurried = pair.open(scale(3, "k").attempt(3).deadline_ms(100));
    let outcome = hurried.outcome().await;
    assert_eq!(outcome.code(), Some(ErrorCode::InProgress));
    objects.release();
    assert_eq!(replicas(&first.outcome().await), (1, 3));
    assert_eq!(replicas(&second.outcome().await), (1, 3));
    assert_eq!(objects.arrived(), 1);
}

#[tokio::test]
async fn a_lost_channel_leaves_the_command_its_time_and_its_key_the_outcome() {
    let tasks = Tasks::new();
    let (objects, mut pair) = rig(&tasks).await;
    objects.hold();
    let lost = pair.open(scale(3, "k"));
    let unkeyed = pair.open(Ask::new(SCALE, &web(9)));
    eventually("both patches have arrived", || objects.arrived() == 2).await;
    pair.reconnect(&tasks, Setting::default(), usize::MAX).await;
    eventually("the one without a key is gone", || {
        pair.metrics.in_flight(SCALE) == 1
    })
    .await;
    drop((lost, unkeyed));
    let again = pair.open(scale(3, "k").attempt(2));
    objects.release();
    let outcome = again.outcome().await;
    let Ok(Some(result)) = outcome.end else {
        panic!("it ended with {outcome:?}");
    };
    assert_eq!(result["to"], 3);
    eventually("nothing runs any more", || pair.commands.is_empty()).await;
}

#[tokio::test]
async fn a_reset_ends_what_has_sent_nothing_and_not_what_has() {
    let tasks = Tasks::new();
    let (objects, pair) = rig(&tasks).await;
    objects.hold();
    drop({
        let running = pair.open(scale(3, "k"));
        eventually("the patch has arrived", || objects.arrived() == 1).await;
        running
    });
    let again = pair.open(scale(3, "k").attempt(2));
    objects.release();
    assert_eq!(replicas(&again.outcome().await), (1, 3));
    assert_eq!(objects.arrived(), 1);
}

#[tokio::test]
async fn what_was_reset_before_it_sent_anything_may_run_later() {
    let tasks = Tasks::new();
    // A server that does not answer questions, until it is another.
    let (open, gate) = tokio::sync::watch::channel(false);
    let server = ApiServer::start(&tasks, move |seen, mut peer| {
        let mut gate = gate.clone();
        async move {
            let _ = gate.wait_for(|open| *open).await;
            if let Some(length) = seen.header("content-length") {
                peer.exactly(length.parse().unwrap()).await;
            }
            let scale = r#"{"metadata":{"resourceVersion":"5"},"spec":{"replicas":3}}"#;
            peer.send(answer("200 OK", "", scale)).await;
            (peer, Then::KeepAlive)
        }
    })
    .await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let running = pair.open(scale(3, "k"));
    eventually("the question has arrived", || server.seen().len() == 1).await;
    drop(running);
    eventually("the task is gone", || pair.commands.is_empty()).await;
    assert_eq!(pair.metrics.count(SCALE, "cancelled"), 1);
    open.send_replace(true);
    let outcome = pair.open(scale(3, "k").attempt(2)).outcome().await;
    assert_eq!(replicas(&outcome), (3, 3));
    let patches = server
        .seen()
        .into_iter()
        .filter(|seen| seen.method == "PATCH");
    assert_eq!(patches.count(), 1);
}

#[tokio::test]
async fn a_refusal_is_kept_and_an_open_question_stays_open() {
    let tasks = Tasks::new();
    let (objects, pair) = rig(&tasks).await;
    let no = json!({"kind": "Status", "reason": "Invalid", "message": "no"});
    objects.instead(Instead::Refused("422 Unprocessable Entity", no));
    objects.instead(Instead::CarriedOutAndCut);
    for attempt in [1, 2] {
        let outcome = pair.open(scale(3, "a").attempt(attempt)).outcome().await;
        assert_eq!(outcome.code(), Some(ErrorCode::UpstreamRefused));
    }
    for attempt in [1, 2] {
        let outcome = pair.open(scale(3, "b").attempt(attempt)).outcome().await;
        assert_eq!(outcome.code(), Some(ErrorCode::Indeterminate));
    }
    assert_eq!((objects.arrived(), objects.changes().len()), (2, 1));
}

#[tokio::test]
async fn a_deadline_after_the_change_was_sent_is_kept_as_an_open_question() {
    let tasks = Tasks::new();
    let (objects, pair) = rig(&tasks).await;
    objects.hold();
    for attempt in [1, 2] {
        let ask = scale(3, "k").attempt(attempt).deadline_ms(200);
        let outcome = pair.open(ask).outcome().await;
        assert_eq!(outcome.code(), Some(ErrorCode::Indeterminate));
    }
    assert_eq!(objects.arrived(), 1);
}

#[tokio::test]
async fn a_request_of_bytes_with_a_key_is_never_run_again_and_never_answered_for() {
    let tasks = Tasks::new();
    let (open, gate) = tokio::sync::watch::channel(false);
    let server = ApiServer::start(&tasks, move |_, mut peer| {
        let mut gate = gate.clone();
        async move {
            let _ = gate.wait_for(|open| *open).await;
            peer.send(answer("201 Created", "", "ok")).await;
            (peer, Then::Close)
        }
    })
    .await;
    let pair = pair(&server, &tasks, Setting::default()).await;
    let post = || Ask::post("/api/v1/namespaces/d/pods").key("k");
    let running = pair.open(post());
    eventually("it has arrived", || server.seen().len() == 1).await;
    let meanwhile = pair.open(post().attempt(2)).outcome().await;
    assert_eq!(meanwhile.code(), Some(ErrorCode::InProgress));
    open.send_replace(true);
    assert_eq!(running.outcome().await.status(), 201);
    for attempt in [1, 2] {
        let after = pair.open(post().attempt(attempt)).outcome().await;
        assert_eq!(after.code(), Some(ErrorCode::Indeterminate));
    }
    assert_eq!(server.seen().len(), 1);
}
