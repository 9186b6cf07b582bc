//! What changes something over lost channels: made once, and told once.

use http::StatusCode;
use pipeops_agent::limits;
use serde_json::json;

use super::super::rig::collected;
use super::{connected, post, returned};
use crate::support::step_by_step;

#[tokio::test]
async fn a_caller_that_sends_a_key_again_says_so_and_the_agent_hears_it() {
    let (rig, mut agent, user, _) = connected().await;
    for (key, attempt) in [(true, Some(3)), (false, None)] {
        let mut headers = vec![("idempotency-attempt", "3")];
        headers.extend(key.then_some(("idempotency-key", "k-9")));
        let asking = post("workloads.scale", &user, &headers, r#"{"replicas":3}"#);
        let mut caller = rig.caller().await;
        let answering = async {
            let open = agent.opened().await;
            let told = open["command"]["attempt"].as_u64();
            assert_eq!(told, attempt, "without a key it means nothing");
            agent.result(&open, json!({"changed": true})).await;
        };
        let (answer, ()) = tokio::join!(caller.send(asking), answering);
        assert_eq!(collected(answer).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_change_with_a_key_is_sent_again_and_one_without_never() {
    let (rig, mut agent, user, token) = connected().await;
    for accept in ["application/json", "text/event-stream"] {
        let headers = [("idempotency-key", "k-1"), ("accept", accept)];
        let asking = post("workloads.scale", &user, &headers, r#"{"replicas":3}"#);
        let mut caller = rig.caller().await;
        let answering = async {
            let open = agent.opened().await;
            assert_eq!(open["command"]["idempotency_key"], "k-1");
            assert!(open["command"].get("attempt").is_none());
            drop(agent);
            let (mut agent, open) = returned(&rig, &token, "one").await;
            assert_eq!(open["command"]["idempotency_key"], "k-1");
            assert_eq!(open["command"]["attempt"], 2);
            assert_eq!(open["command"]["args"], json!({"replicas": 3}));
            assert!(open["command"]["deadline_ms"].as_u64().unwrap() < 65_000);
            agent.result(&open, json!({"changed": true})).await;
            agent
        };
        let (answer, again) = tokio::join!(caller.send(asking), answering);
        agent = again;
        let answer = collected(answer).await;
        assert_eq!(answer.status, StatusCode::OK);
        let text = String::from_utf8(answer.body.unwrap().to_vec()).unwrap();
        assert!(text.contains(r#"{"changed":true}"#), "{text}");
    }
    let asking = post("workloads.scale", &user, &[], r#"{"replicas":3}"#);
    let mut caller = rig.caller().await;
    let answering = async {
        let open = agent.opened().await;
        assert!(open["command"].get("idempotency_key").is_none());
        drop(agent);
    };
    let (answer, ()) = tokio::join!(caller.send(asking), answering);
    let answer = collected(answer).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(answer.headers["x-pipeops-code"], "channel_lost");
    let mut agent = rig.agent(&token, "one").await;
    agent.say(&json!({"type": "ping", "nonce": 9})).await;
    assert_eq!(agent.hear().await.text()["nonce"], 9);
}

#[tokio::test]
async fn a_key_is_asked_of_the_agent_that_had_it_while_it_may_come_back() {
    let (rig, mut one, user, token) = connected().await;
    let json = [("accept", "application/json"), ("idempotency-key", "k-2")];
    let mut caller = rig.caller().await;
    let answering = async {
        one.opened().await;
        let mut two = rig.agent(&token, "two").await;
        drop(one);
        let (mut one, open) = returned(&rig, &token, "one").await;
        assert_eq!(open["command"]["attempt"], 2);
        one.end(&open["stream"]).await;
        two.say(&json!({"type": "ping", "nonce": 9})).await;
        let role = two.hear().await.text();
        assert_eq!(role["type"], "role", "it is the primary now");
        assert_eq!(
            two.hear().await.text()["nonce"],
            9,
            "the other was not asked"
        );
    };
    let asking = post("workloads.restart", &user, &json, "{}");
    let (answer, ()) = tokio::join!(caller.send(asking), answering);
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn what_was_not_begun_goes_to_another_replica_even_without_a_key() {
    let (rig, mut one, user, token) = connected().await;
    let mut two = rig.agent(&token, "two").await;
    let mut caller = rig.caller().await;
    let asking = post(
        "resources.delete",
        &user,
        &[("accept", "application/json")],
        "{}",
    );
    let answering = async {
        tokio::select! {
            open = one.opened() => {
                one.fail(&open["stream"], "busy").await;
                let open = two.opened().await;
                two.end(&open["stream"]).await;
            }
            open = two.opened() => {
                two.fail(&open["stream"], "busy").await;
                let open = one.opened().await;
                one.end(&open["stream"]).await;
            }
        }
    };
    let (answer, ()) = tokio::join!(caller.send(asking), answering);
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn who_knows_a_key_and_stays_away_is_waited_for_so_long_and_another_is_asked() {
    let (rig, mut one, user, token) = connected().await;
    step_by_step(&rig.tasks);
    let headers = [("accept", "application/json"), ("idempotency-key", "k-3")];
    let mut caller = rig.caller().await;
    let answering = async {
        one.opened().await;
        let mut two = rig.agent(&token, "two").await;
        drop(one);
        let began = tokio::time::Instant::now();
        let open = loop {
            // The other agent answers pings meanwhile.
            if let Ok(open) = tokio::time::timeout(limits::KEY_HOLDER_WAITS, two.opened()).await {
                break open;
            }
        };
        let waited = tokio::time::Instant::now() - began;
        assert!(waited >= limits::KEY_HOLDER_WAITS, "{waited:?}");
        assert!(waited < limits::KEY_HOLDER_WAITS * 4, "{waited:?}");
        assert_eq!(open["command"]["attempt"], 2);
        two.fail(&open["stream"], "indeterminate").await;
    };
    let asking = post("workloads.scale", &user, &headers, "{}");
    let (answer, ()) = tokio::join!(caller.send(asking), answering);
    let answer = collected(answer).await;
    assert_eq!(answer.headers["x-pipeops-code"], "indeterminate");
}
