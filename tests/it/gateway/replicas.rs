//! Several agents of one cluster: who speaks for it, and what the loss of one costs.

use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::rig::{Agent, Rig, hello, request, rig};
use crate::support::soon;

const WATCH: &str = "/clusters/prod/k8s/api/v1/pods?watch=1";

fn two(rig: &Rig) -> (String, String) {
    let token = rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    (token, user)
}

/// The roles by instance, as `/clusters` tells them.
async fn roles(rig: &Rig, user: &str) -> Vec<(String, String)> {
    let clusters = rig.get("/clusters", user).await.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let replicas = clusters["clusters"][0]["replicas"].as_array().unwrap();
    replicas
        .iter()
        .map(|replica| (text(&replica["instance"]), text(&replica["role"])))
        .collect()
}

fn role(name: &str) -> Value {
    json!({ "type": "role", "role": name })
}

#[tokio::test]
async fn a_replica_is_named_when_the_primary_leaves_and_when_it_is_lost() {
    let rig = rig(|_| {});
    let (token, user) = two(&rig);
    let mut one = rig.agent(&token, "one").await;
    let mut second = rig.agent(&token, "two").await;
    let mut third = rig.agent(&token, "three").await;
    assert_eq!(one.welcome["role"], "primary");
    assert_eq!(third.welcome["role"], "replica");
    // It still finishes what it does, and speaks for the cluster no more.
    one.say(&json!({ "type": "goaway", "code": "shutting_down", "message": "update" }))
        .await;
    assert_eq!(second.hear().await.text(), role("primary"));
    let told = roles(&rig, &user).await;
    assert_eq!(told[1], ("two".into(), "primary".into()));
    assert!(told.iter().filter(|(_, role)| role == "primary").count() == 1);
    drop(second);
    assert_eq!(third.hear().await.text(), role("primary"));
    drop(third);
    let last = rig.agent(&token, "four").await;
    assert_eq!(last.welcome["role"], "primary");
}

#[tokio::test]
async fn a_session_that_knows_no_cluster_speaks_for_none_until_it_does() {
    let rig = rig(|_| {});
    let (token, _) = two(&rig);
    let mut early = hello("one", "");
    early["cluster"].as_object_mut().unwrap().remove("uid");
    let mut agent = rig.agent_saying(&token, &early).await;
    assert_eq!(agent.welcome["role"], "replica");
    let report = |seq: u32, uid: Option<&str>| {
        let mut report = json!({ "type": "report", "seq": seq, "ready": true, "api_server": true,
            "access": "admin", "commands": [] });
        if let Some(uid) = uid {
            report["cluster_uid"] = json!(uid);
        }
        report
    };
    agent.say(&report(1, None)).await;
    assert_eq!(agent.hear().await.text()["report"], 1);
    agent.say(&report(2, Some("uid-1"))).await;
    assert_eq!(agent.hear().await.text()["report"], 2);
    assert_eq!(agent.hear().await.text(), role("primary"));
}

#[tokio::test]
async fn an_instance_that_comes_again_is_primary_again() {
    let rig = rig(|_| {});
    let (token, user) = two(&rig);
    let _first = rig.agent(&token, "one").await;
    let mut second = rig.agent_saying(&token, &hello("one", "uid-1")).await;
    // Its own last session was still there.
    assert_eq!(second.welcome["role"], "replica");
    assert_eq!(second.hear().await.text(), role("primary"));
    let told = roles(&rig, &user).await;
    assert_eq!(told, [("one".to_owned(), "primary".to_owned())]);
}

/// Watches that are open at an agent, each with a first event.
async fn begun(agent: &mut Agent, count: usize) -> Vec<Value> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let open = agent.opened().await;
        agent.head(&open["stream"], 200, &[]).await;
        streams.push(open["stream"].clone());
    }
    streams
}

#[tokio::test]
async fn a_lost_replica_costs_its_own_streams_and_no_other() {
    let rig = rig(|config| config.resume = None);
    let (token, user) = two(&rig);
    let mut one = rig.agent(&token, "one").await;
    let mut second = rig.agent(&token, "two").await;
    let asking = async {
        let mut answers = Vec::new();
        for _ in 0..16 {
            let asking = request(&Method::GET, WATCH, &user).body(Full::default());
            let mut caller = rig.caller().await;
            answers.push((caller.send(asking.unwrap()).await, caller));
        }
        answers
    };
    // Each is the less loaded one in turn.
    let (answers, _, streams) = tokio::join!(asking, begun(&mut one, 8), begun(&mut second, 8));
    drop(one);
    assert_eq!(second.hear().await.text(), role("primary"));
    let (mut cut, mut whole) = (0, 0);
    for stream in &streams {
        second.data(stream, b"{}\n", true).await;
        second.end(stream).await;
    }
    for (answer, _caller) in answers {
        assert_eq!(answer.status(), StatusCode::OK);
        match soon(answer.into_body().collect()).await {
            Ok(body) => {
                assert_eq!(body.to_bytes(), "{}\n");
                whole += 1;
            }
            Err(_) => cut += 1,
        }
    }
    assert_eq!((cut, whole), (8, 8));
    // The one that is left takes everything.
    let asking = request(&Method::GET, WATCH, &user).body(Full::default());
    let mut caller = rig.caller().await;
    let (answer, _) = tokio::join!(caller.send(asking.unwrap()), begun(&mut second, 1));
    assert_eq!(answer.status(), StatusCode::OK);
}
