//! What an agent gets: handshakes, refusals, duplicates, its token's end, the gateway's leaving.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{self, Message};

use super::rig::{Said, hello, rig};

#[tokio::test]
async fn the_channel_opens_only_for_an_agents_token_and_a_known_protocol() {
    let rig = rig(|_| {});
    let agent = rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    for (token, protocol, expected) in [
        ("x", "pipeops.agent.v2", StatusCode::UNAUTHORIZED),
        (user.as_str(), "pipeops.agent.v2", StatusCode::FORBIDDEN),
        (
            agent.as_str(),
            "pipeops.agent.v9",
            StatusCode::UPGRADE_REQUIRED,
        ),
    ] {
        match rig.channel(token, protocol).await {
            Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), expected),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("the channel opened"),
        }
    }
    rig.channel(&agent, "pipeops.agent.v9, pipeops.agent.v2")
        .await
        .map(drop)
        .unwrap();
}

#[tokio::test]
async fn a_first_message_that_is_no_hello_is_refused_and_closed_by_its_code() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    for (first, code, close) in [
        (
            json!({ "type": "ping", "nonce": 1 }).to_string(),
            "protocol_error",
            4400,
        ),
        ("nonsense".to_owned(), "malformed", 4400),
        (json!({ "type": "hello" }).to_string(), "malformed", 4400),
        (deep, "too_deep", 4400),
    ] {
        let mut agent = rig.channel(&token, "pipeops.agent.v2").await.unwrap();
        agent.send(Message::text(first)).await;
        let refused = agent.hear().await.text();
        assert_eq!(refused["type"], "refused");
        assert_eq!(refused["code"], code);
        assert_eq!(refused["permanent"], true);
        assert_eq!(agent.hear().await.closed(), Some(close));
    }
}

#[tokio::test]
async fn beyond_its_sessions_the_gateway_names_a_time_to_come_back() {
    let rig = rig(|config| config.sessions = 1);
    let token = rig.tokens.add_agent("prod").unwrap();
    let _first = rig.agent(&token, "one").await;
    let mut second = rig.agent_saying(&token, &hello("two", "uid-1")).await;
    assert_eq!(second.welcome["code"], "busy");
    assert_eq!(second.welcome["permanent"], false);
    assert!(second.welcome["retry_after_ms"].as_u64().unwrap() >= 1000);
    assert_eq!(second.hear().await.closed(), Some(4429));
}

#[tokio::test]
async fn features_are_those_of_both_sides() {
    let rig = rig(|config| config.compression = false);
    let token = rig.tokens.add_agent("prod").unwrap();
    let agent = rig.agent(&token, "one").await;
    assert_eq!(agent.welcome["features"], json!(["binary"]));
    assert_eq!(agent.welcome["role"], "primary");
    let replica = rig.agent(&token, "two").await;
    assert_eq!(replica.welcome["role"], "replica");
}

#[tokio::test]
async fn another_cluster_is_refused_while_the_incumbent_answers_and_let_in_when_it_does_not() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let mut incumbent = rig.agent(&token, "one").await;
    let body = hello("two", "uid-2").to_string();
    let mut caller = rig.caller().await;
    let register = caller.post("/register", &token, body.clone());
    let answering = async {
        let asked = incumbent.opened().await;
        assert_eq!(asked["command"]["name"], "channel.echo");
        incumbent.fail(&asked["stream"], "unknown_command").await;
    };
    let (answer, ()) = tokio::join!(register, answering);
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(answer.json()["code"], "duplicate_agent");
    // Both are told.
    let warning = incumbent.hear().await.text();
    assert_eq!(warning["type"], "warning");
    assert_eq!(warning["code"], "duplicate_agent");
    assert!(warning["message"].as_str().unwrap().contains("uid-2"));
    let user = rig.tokens.add_user("alice", &[], &["prod"]).unwrap();
    let clusters = rig.get("/clusters", &user).await.json();
    let duplicate = &clusters["clusters"][0]["duplicate"];
    assert_eq!(duplicate["instance"], "two");
    assert_eq!(duplicate["uid"], "uid-2");
    // Now it is silent: it answers no command, though it may be there.
    let answer = rig.caller().await.post("/register", &token, body).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn an_instance_that_comes_again_takes_its_own_place() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let mut first = rig.agent(&token, "one").await;
    let _second = rig.agent(&token, "one").await;
    loop {
        if let Said::Closed(code) = first.hear().await {
            assert_eq!(code, Some(4409));
            break;
        }
    }
    let mut older = hello("one", "uid-1");
    older["agent"]["epoch"] = json!(0);
    let refused = rig.agent_saying(&token, &older).await;
    assert_eq!(refused.welcome["code"], "duplicate_agent");
}

#[tokio::test]
async fn a_removed_token_closes_its_session_and_no_other() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let other = rig.tokens.add_agent("test").unwrap();
    let mut agent = rig.agent(&token, "one").await;
    let mut bystander = rig.agent(&other, "one").await;
    let began = Instant::now();
    assert!(rig.tokens.remove(&token));
    let code = loop {
        if let Said::Closed(code) = agent.hear().await {
            break code;
        }
    };
    assert_eq!(code, Some(4401));
    assert!(Instant::now() - began < Duration::from_secs(5));
    bystander.say(&json!({ "type": "ping", "nonce": 7 })).await;
    assert_eq!(bystander.hear().await.text()["nonce"], 7);
}

#[tokio::test]
async fn a_gateway_that_leaves_says_goaway_and_when_to_come_back() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let mut agent = rig.agent(&token, "one").await;
    rig.stop.cancel();
    let goaway = agent.hear().await.text();
    assert_eq!(goaway["type"], "goaway");
    assert_eq!(goaway["code"], "shutting_down");
    assert_eq!(goaway["reconnect"]["first_ms"], 10);
    assert_eq!(agent.hear().await.closed(), Some(1001));
}

#[tokio::test]
async fn clusters_tells_what_is_known_of_those_that_a_user_may_use() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    rig.tokens.add_agent("other").unwrap();
    rig.tokens.add_agent("test").unwrap();
    let user = rig
        .tokens
        .add_user("alice", &[], &["prod", "test"])
        .unwrap();
    let agent = rig.agent(&token, "one").await;
    let clusters = rig.get("/clusters", &user).await.json();
    let list = clusters["clusters"].as_array().unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(list[0]["id"], "prod");
    assert_eq!(list[0]["state"], "connected");
    assert_eq!(list[0]["kubernetes"], "v1.36.0");
    assert_eq!(list[0]["labels"], json!({"region": "eu"}));
    assert_eq!(list[1]["labels"], json!(null));
    assert_eq!(list[0]["replicas"][0]["instance"], "one");
    assert_eq!(list[1]["state"], "never");
    drop(agent);
    let mut caller = rig.caller().await;
    let gone = async {
        loop {
            let clusters = caller.get("/clusters", &user).await.json();
            if clusters["clusters"][0]["state"] == "disconnected" {
                return clusters;
            }
        }
    };
    let clusters = crate::support::soon(gone).await;
    assert!(clusters["clusters"][0]["last_error"].is_string());
}

#[tokio::test]
async fn health_and_counts_are_put_together_from_reports_and_heartbeats() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["prod"]).unwrap();
    let mut agent = rig.agent(&token, "one").await;
    let beat = |seq: u32, summary: serde_json::Value| {
        json!({"type": "heartbeat", "seq": seq, "ready": true, "streams": 0, "commands": 0,
               "uptime_s": seq * 30, "summary": summary})
    };
    let counts = json!({"health": "ok", "rss_kib": 9000, "reconnects": 0, "unhealthy": 1,
        "nodes": {"ready": 1, "total": 2},
        "pods": {"pending": 0, "running": 5, "succeeded": 0, "failed": 0, "unknown": 0}});
    agent.say(&beat(1, counts)).await;
    agent.say(&beat(2, json!({"rss_kib": 9100}))).await;
    let report = json!({"type": "report", "seq": 2, "ready": true, "api_server": true,
        "access": "readonly", "commands": [], "health": "degraded", "problems": ["memory"]});
    agent.say(&report).await;
    let mut caller = rig.caller().await;
    let told = async {
        loop {
            let clusters = caller.get("/clusters", &user).await.json();
            if clusters["clusters"][0]["health"] == "degraded" {
                return clusters["clusters"][0].clone();
            }
        }
    };
    let cluster = crate::support::soon(told).await;
    assert_eq!(cluster["nodes"], json!({"ready": 1, "total": 2}));
    assert_eq!(cluster["pods"]["running"], 5);
    assert_eq!(cluster["unhealthy"], 1);
    let replica = &cluster["replicas"][0];
    assert_eq!(replica["health"], "degraded");
    assert_eq!(replica["problems"], json!(["memory"]));
    assert_eq!(replica["memory_kib"], 9100, "the newest");
    assert_eq!(replica["reconnects"], 0, "as it was");
}

#[tokio::test]
async fn a_session_beside_another_has_its_role_and_lets_it_drain() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    let mut first = rig.agent(&token, "one").await;
    assert_eq!(first.welcome["role"], "primary");
    let running = async {
        let mut caller = rig.caller().await;
        caller.get("/clusters/prod/k8s/api/v1/pods", &user).await
    };
    let taking_over = async {
        let open = first.opened().await;
        let mut beside = hello("one", "uid-1");
        beside["beside"] = first.welcome["session"].clone();
        let second = rig.agent_saying(&token, &beside).await;
        assert_eq!(second.welcome["role"], "primary", "{}", second.welcome);
        let goaway = first.hear().await.text();
        assert_eq!(goaway["type"], "goaway");
        assert_eq!(goaway["code"], "shutting_down");
        first.answer(&open["stream"], b"late").await;
        second
    };
    let (answer, mut second) = tokio::join!(running, taking_over);
    assert_eq!(answer.body.unwrap(), "late");
    // Nothing runs there any more.
    assert_eq!(first.hear().await.closed(), Some(1001));
    // Another name is no word for the session: the newer one stays, as ever.
    let mut stranger = hello("one", "uid-1");
    stranger["beside"] = "s-0".into();
    let _third = rig.agent_saying(&token, &stranger).await;
    let goaway = second.hear().await.text();
    assert_eq!(goaway["code"], "duplicate_agent");
}
