//! What a gateway does when an agent's channel is lost under a watch, and what it does not wait for.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::rig::{Agent, Answer, Rig, Said, collected, hello, request, rig};

const WATCH: &str = "/clusters/prod/k8s/api/v1/namespaces/a/pods?watch=1";
const LONG: Duration = Duration::from_secs(60);
const PODS: &str = "/clusters/prod/k8s/api/v1/namespaces/a/pods";

/// A rig whose agent can resume, its token and a user's.
async fn connected(resume_for: Duration) -> (Rig, Agent, String, String) {
    // What was taken is returned with each ping.
    let rig = rig(|config| {
        config.ping.every_ms = 200;
        config.ping.within_ms = 2_000;
        config.resume = Some(resume_for);
    });
    let token = rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    let agent = rig.agent_saying(&token, &able("one")).await;
    assert_eq!(
        agent.welcome["features"],
        json!(["binary", "zstd", "resume"])
    );
    let ms = u64::try_from(resume_for.as_millis()).unwrap();
    assert_eq!(agent.welcome["resume_ms"], ms);
    (rig, agent, token, user)
}

/// A `hello` that offers resuming.
fn able(instance: &str) -> Value {
    let mut hello = hello(instance, "uid-1");
    hello["features"] = json!(["binary", "zstd", "resume"]);
    hello
}

/// Waits until the gateway has returned so much credit on this stream, and no more.
async fn taken(agent: &mut Agent, bytes: usize) {
    let mut returned = 0;
    while returned < bytes {
        if let Said::Frame(frame) = agent.hear().await
            && frame[0] == 2
        {
            let more = u32::from_be_bytes(frame[8..12].try_into().unwrap());
            returned += usize::try_from(more).unwrap();
        }
    }
    assert_eq!(returned, bytes);
}

/// A watch's answer, read to its end.
async fn watch(rig: &Rig, user: &str) -> Answer {
    let mut caller = rig.caller().await;
    let asking = request(&Method::GET, WATCH, user).body(Full::default());
    let answer = caller.send(asking.unwrap()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    collected(answer).await
}

#[tokio::test]
async fn a_watch_goes_on_where_its_reader_was() {
    let (rig, mut agent, token, user) = connected(LONG).await;
    let agents = async {
        let open = agent.opened().await;
        let stream = &open["stream"];
        assert!(open.get("compression").is_none());
        let key = open["resume"]["key"].as_str().unwrap().to_owned();
        assert_eq!(open["resume"], json!({ "key": key }));
        agent.head(stream, 200, &[]).await;
        agent.data(stream, b"one ", false).await;
        let head = json!({ "head": { "status": 200, "headers": [] } }).to_string();
        let first = head.len() + 4;
        taken(&mut agent, first).await;
        drop(agent);

        let mut back = rig.agent_saying(&token, &able("one")).await;
        let again = back.opened().await;
        let stream = &again["stream"];
        let resume = json!({ "key": key, "count": 1, "offset": first });
        assert_eq!(again["resume"], resume);
        assert_eq!(again["command"], open["command"]);
        back.data(stream, b"two ", false).await;
        taken(&mut back, 4).await;
        drop(back);

        let mut back = rig.agent_saying(&token, &able("one")).await;
        let again = back.opened().await;
        let stream = &again["stream"];
        let resume = json!({ "key": key, "count": 2, "offset": first + 4 });
        assert_eq!(again["resume"], resume);
        back.data(stream, b"three", true).await;
        back.end(stream).await;
        back
    };
    let (answer, _agent) = tokio::join!(watch(&rig, &user), agents);
    assert_eq!(answer.body.unwrap(), "one two three");
}

/// How long a caller of `path` waits after its channel was lost, until its answer breaks off.
async fn broken_after(
    path: &str,
    resume_for: Duration,
    then: impl AsyncFnOnce(&Rig, &str) -> Option<Agent>,
) -> Duration {
    let (rig, mut agent, token, user) = connected(resume_for).await;
    let begun = async {
        let open = agent.opened().await;
        assert_eq!(open.get("resume").is_some(), path.contains("watch=1"));
        agent.head(&open["stream"], 200, &[]).await;
        agent.data(&open["stream"], b"part", false).await;
        agent
    };
    let mut caller = rig.caller().await;
    let asking = request(&Method::GET, path, &user).body(Full::default());
    let (answer, agent) = tokio::join!(caller.send(asking.unwrap()), begun);
    drop(agent);
    let begun = Instant::now();
    let (answer, _agent) = tokio::join!(collected(answer), then(&rig, &token));
    assert!(answer.body.is_err(), "a cut answer never looks complete");
    Instant::now() - begun
}

#[tokio::test]
async fn a_gap_breaks_the_answer_off() {
    broken_after(WATCH, LONG, async |rig: &Rig, token: &str| {
        let mut back = rig.agent_saying(token, &able("one")).await;
        let again = back.opened().await;
        back.fail(&again["stream"], "resume_gap").await;
        Some(back)
    })
    .await;
}

#[tokio::test]
async fn a_new_process_in_its_place_is_not_waited_for() {
    let took = broken_after(WATCH, LONG, async |rig: &Rig, token: &str| {
        Some(rig.agent_saying(token, &able("two")).await)
    })
    .await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_gateway_that_leaves_does_not_wait() {
    let took = broken_after(WATCH, LONG, async |rig: &Rig, _: &str| {
        rig.stop.cancel();
        None
    })
    .await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn an_agent_that_comes_back_too_late_is_not_waited_for() {
    let short = Duration::from_millis(300);
    let took = broken_after(WATCH, short, async |_: &Rig, _: &str| None).await;
    assert!(took >= short, "{took:?}");
}

#[tokio::test]
async fn what_does_not_only_listen_has_no_key_and_ends_with_its_channel() {
    let took = broken_after(PODS, LONG, async |_: &Rig, _: &str| None).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn an_agent_whose_token_was_removed_is_not_waited_for() {
    let (rig, mut agent, token, user) = connected(LONG).await;
    let agents = async {
        let open = agent.opened().await;
        agent.head(&open["stream"], 200, &[]).await;
        let head = json!({ "head": { "status": 200, "headers": [] } }).to_string();
        taken(&mut agent, head.len()).await;
        assert!(rig.tokens.remove(&token));
    };
    let (answer, ()) = tokio::join!(watch(&rig, &user), agents);
    assert!(answer.body.is_err());
}
