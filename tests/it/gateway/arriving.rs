//! Many agents that come at once: who is let in, who waits, who is asked back.

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;
use std::time::Duration;
use tokio_tungstenite::tungstenite;

use super::rig::{Answer, Caller, Rig, hello, rig};
use crate::support::soon;

/// So many registrations, each of a cluster of its own, on connections that are there already.
async fn storm(rig: &Rig, count: usize) -> Vec<(String, Answer, Caller)> {
    let mut callers = Vec::new();
    for number in 0..count {
        let token = rig.tokens.add_agent(&format!("c-{number}")).unwrap();
        callers.push((token, rig.caller().await));
    }
    let answers = callers.into_iter().map(|(token, mut caller)| async {
        let body = hello("one", "uid-1").to_string();
        let answer = caller.post("/register", &token, body).await;
        (token, answer, caller)
    });
    soon(join_all(answers)).await
}

fn wait(answer: &Answer) -> u64 {
    answer.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_storm_is_let_in_at_the_rate_and_starves_nobody_who_is_in() {
    let rig = rig(|config| config.admission_rate = 20);
    let token = rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    let mut agent = rig.agent(&token, "one").await;
    let mut bystander = rig.caller().await;
    let storming = storm(&rig, 120);
    let serving = async {
        for _ in 0..20 {
            let asking = bystander.get("/clusters/prod/k8s/api/v1/pods", &user);
            let answering = async {
                let open = agent.opened().await;
                agent.answer(&open["stream"], b"{}").await;
            };
            let (answer, ()) = tokio::join!(asking, answering);
            assert_eq!(answer.status, StatusCode::OK);
        }
    };
    let (answers, ()) = tokio::join!(storming, serving);
    let (mut refused, let_in): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|(_, answer, _)| answer.status == StatusCode::TOO_MANY_REQUESTS);
    // Two seconds of the queue, and what came and went before it was full.
    assert!((40..=110).contains(&let_in.len()), "{}", let_in.len());
    for (_, answer, _) in &let_in {
        assert_eq!(answer.status, StatusCode::OK);
        // A young gateway expects everybody who has a token.
        assert_eq!(answer.json()["reconnect"]["first_ms"], 1000);
    }
    for (_, answer, _) in &refused {
        assert_eq!(answer.json()["code"], "busy");
        assert!((2..=10).contains(&wait(answer)), "{}", wait(answer));
    }
    // Who comes when it was told to is let in.
    refused.sort_by_key(|(_, answer, _)| wait(answer));
    let (token, answer, mut caller) = refused.remove(0);
    tokio::time::sleep(Duration::from_secs(wait(&answer))).await;
    let body = hello("one", "uid-1").to_string();
    let again = caller.post("/register", &token, body).await;
    assert_eq!(again.status, StatusCode::OK);
    let metrics = rig.get("/metrics", &user).await;
    let metrics = String::from_utf8(metrics.body.unwrap().to_vec()).unwrap();
    for outcome in ["at_once", "in_turn", "later"] {
        let counted = format!("pipeops_gateway_arrivals_total{{outcome=\"{outcome}\"}}");
        assert!(metrics.contains(&counted), "{outcome}");
    }
}

#[tokio::test]
async fn a_channel_without_a_registration_is_let_in_or_asked_back_like_one() {
    let rig = rig(|config| config.admission_rate = 1);
    let token = rig.tokens.add_agent("prod").unwrap();
    let mut waiting = Vec::new();
    let refused = loop {
        match rig.channel(&token, "pipeops.agent.v2").await {
            Ok(agent) => waiting.push(agent),
            Err(tungstenite::Error::Http(response)) => break response,
            Err(other) => panic!("{other}"),
        }
        assert!(waiting.len() < 30, "it never refuses");
    };
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let seconds = refused.headers()["retry-after"].to_str().unwrap();
    assert!(seconds.parse::<u64>().unwrap() >= 2, "{seconds}");
    // The last one in the queue gets its turn.
    let mut last = waiting.pop().unwrap();
    last.say(&hello("one", "uid-1")).await;
    assert_eq!(last.hear().await.text()["type"], json!("welcome"));
}
