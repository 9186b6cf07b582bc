//! A gateway that leaves: what it says to agents, callers, and what stands in front of it.

use http::{Method, StatusCode};
use http_body_util::Full;
use serde_json::json;
use std::time::Duration;
use tokio_tungstenite::tungstenite;

use super::rig::{collected, hello, request, rig};
use crate::support::soon;

const PODS: &str = "/clusters/prod/k8s/api/v1/pods";

#[tokio::test]
async fn whoever_asks_a_leaving_gateway_is_sent_elsewhere_while_what_runs_ends_well() {
    let mut rig = rig(|config| config.grace = Duration::from_secs(8));
    let token = rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    let mut agent = rig.agent(&token, "one").await;
    let asking = request(&Method::GET, &format!("{PODS}?watch=1"), &user);
    let mut caller = rig.caller().await;
    let asking = caller.send(asking.body(Full::default()).unwrap());
    let answering = async {
        let open = agent.opened().await;
        agent.head(&open["stream"], 200, &[]).await;
        open["stream"].clone()
    };
    let (watch, stream) = tokio::join!(asking, answering);
    rig.stop.cancel();
    assert_eq!(agent.hear().await.text()["type"], "goaway");

    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    let ready = rig.get("/ready", "").await;
    assert_eq!(ready.status, unavailable);
    let refused = rig.get(PODS, &user).await;
    assert_eq!(
        (refused.status, refused.hop()),
        (unavailable, "Gateway".into())
    );
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.headers["connection"], "close");
    let body = hello("two", "uid-1").to_string();
    let refused = rig.caller().await.post("/register", &token, body).await;
    assert_eq!(refused.status, unavailable);
    assert_eq!(refused.json()["code"], "shutting_down");
    assert_eq!(refused.headers["retry-after"], "1");
    match rig.channel(&token, "pipeops.agent.v2").await {
        Err(tungstenite::Error::Http(response)) => {
            assert_eq!(response.status(), unavailable);
            assert_eq!(response.headers()["retry-after"], "1");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the channel opened"),
    }

    agent.data(&stream, b"{}\n", true).await;
    agent.end(&stream).await;
    assert_eq!(collected(watch).await.body.unwrap(), "{}\n");
    assert_eq!(agent.hear().await.closed(), Some(1001));
    soon(&mut rig.run).await.unwrap();
}

#[tokio::test]
async fn a_watch_ends_whole_between_two_events_where_an_end_leaves() {
    for (said, gateway, whole) in [
        (&b"{}\n"[..], true, true),
        (b"{}\n", false, true),
        (b"{}\n{", true, false),
        (b"{}\n{", false, false),
        (b"", true, true),
    ] {
        let rig = rig(|_| {});
        let token = rig.tokens.add_agent("prod").unwrap();
        let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
        let mut agent = rig.agent(&token, "one").await;
        let asking = request(&Method::GET, &format!("{PODS}?watch=1"), &user);
        let mut caller = rig.caller().await;
        let asking = caller.send(asking.body(Full::default()).unwrap());
        let answering = async {
            let open = agent.opened().await;
            let head = [("content-type", "application/json")];
            agent.head(&open["stream"], 200, &head).await;
            if !said.is_empty() {
                agent.data(&open["stream"], said, false).await;
            }
            open["stream"].clone()
        };
        let (watch, stream) = tokio::join!(asking, answering);
        if gateway {
            // Its grace passes, and it ends what still runs.
            rig.stop.cancel();
        } else {
            agent.fail(&stream, "shutting_down").await;
        }
        let body = collected(watch).await.body;
        assert_eq!(body.is_ok(), whole, "{said:?}, gateway {gateway}");
    }
}

#[tokio::test]
async fn an_instance_that_moved_within_one_gateway_keeps_what_runs() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    let mut old = rig.agent(&token, "one").await;
    let mut caller = rig.caller().await;
    let asking = request(&Method::GET, PODS, &user);
    let asking = caller.send(asking.body(Full::default()).unwrap());
    let moving = async {
        let open = old.opened().await;
        // Its own wish: the gateway opens nothing more there.
        old.say(
            &json!({ "type": "goaway", "code": "shutting_down", "message": "moves",
            "last_stream": open["stream"] }),
        )
        .await;
        let new = rig.agent(&token, "one").await;
        old.answer(&open["stream"], b"{}").await;
        new
    };
    let (answer, mut new) = tokio::join!(asking, moving);
    assert_eq!(collected(answer).await.body.unwrap(), "{}");
    let mut caller = rig.caller().await;
    let asking = request(&Method::GET, PODS, &user);
    let asking = caller.send(asking.body(Full::default()).unwrap());
    let answering = async {
        let open = new.opened().await;
        new.answer(&open["stream"], b"[]").await;
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(collected(answer).await.body.unwrap(), "[]");
}
