//! Requests that reach an agent: what it is asked, and what each of its answers becomes.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use super::rig::{Agent, Rig, Said, collected, request, rig};
use crate::support::soon;

const PODS: &str = "/clusters/prod/k8s/api/v1/pods";

/// A gateway, its one agent, and a user's token.
async fn connected() -> (Rig, Agent, String) {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &["dev"], &["*"]).unwrap();
    let agent = rig.agent(&token, "one").await;
    (rig, agent, user)
}

#[tokio::test]
async fn a_get_is_asked_as_its_user_and_answered_byte_for_byte() {
    let (rig, mut agent, user) = connected().await;
    let asking = request(&Method::GET, &format!("{PODS}?limit=5&x=%20"), &user)
        .header("accept", "application/json")
        .header("cookie", "no")
        .body(Full::default());
    let mut caller = rig.caller().await;
    let answering = async {
        let open = agent.opened().await;
        let command = &open["command"];
        assert_eq!(command["name"], "k8s.request");
        assert_eq!(
            command["actor"],
            json!({ "user": "alice", "groups": ["dev"] })
        );
        assert_eq!(command["deadline_ms"], 65_000);
        assert_eq!(command["args"]["path"], "/api/v1/pods");
        assert_eq!(command["args"]["query"], "limit=5&x=%20");
        assert_eq!(
            command["args"]["headers"],
            json!([["accept", "application/json"]])
        );
        assert!(
            !open.to_string().contains(&user),
            "the caller's token crossed"
        );
        let headers = [
            ("content-type", "application/json"),
            ("audit-id", "a-1"),
            ("warning", "299 - \"one\""),
            ("warning", "299 - \"two\""),
            ("set-cookie", "no"),
        ];
        agent.head(&open["stream"], 200, &headers).await;
        agent.data(&open["stream"], b"{\"kind\":", false).await;
        agent.data(&open["stream"], b"\"PodList\"}", true).await;
        agent.end(&open["stream"]).await;
    };
    let (answer, ()) = tokio::join!(caller.send(asking.unwrap()), answering);
    let answer = collected(answer).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body.unwrap(), "{\"kind\":\"PodList\"}");
    assert_eq!(answer.headers["audit-id"], "a-1");
    assert_eq!(answer.headers.get_all("warning").iter().count(), 2);
    assert!(!answer.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn a_head_that_breaks_off_never_looks_complete() {
    let (rig, mut agent, user) = connected().await;
    for way in ["end", "gone"] {
        let mut caller = rig.caller().await;
        let asking = request(&Method::GET, PODS, &user).body(Full::default());
        let answering = async {
            let open = agent.opened().await;
            agent.head(&open["stream"], 200, &[]).await;
            agent.data(&open["stream"], b"half", false).await;
            open["stream"].clone()
        };
        let (answer, stream) = tokio::join!(caller.send(asking.unwrap()), answering);
        if way == "end" {
            agent.fail(&stream, "upstream_failed").await;
            let answer = collected(answer).await;
            assert_eq!(answer.status, StatusCode::OK);
            assert!(answer.body.is_err(), "a cut body looked whole");
        } else {
            drop(agent);
            assert!(collected(answer).await.body.is_err());
            return;
        }
    }
}

#[tokio::test]
async fn each_failure_before_the_head_is_a_status_that_names_its_hop() {
    let (rig, mut agent, user) = connected().await;
    let mut caller = rig.caller().await;
    for (code, status, hop, retry) in [
        ("forbidden", 403, "Agent", false),
        ("busy", 429, "Agent", true),
        ("shutting_down", 503, "Agent", true),
        ("deadline_exceeded", 504, "ApiServer", false),
        ("upstream_unreachable", 502, "ApiServer", false),
        ("credential_refused", 502, "ApiServer", false),
        ("upstream_failed", 502, "ApiServer", false),
        ("redirect_refused", 502, "ApiServer", false),
        ("indeterminate", 504, "Agent", false),
        ("internal", 500, "Agent", false),
        ("unknown_command", 500, "Agent", false),
    ] {
        let answering = async {
            let open = agent.opened().await;
            agent.fail(&open["stream"], code).await;
            open["command"]["id"].as_str().unwrap().to_owned()
        };
        let (answer, id) = tokio::join!(caller.get(PODS, &user), answering);
        assert_eq!(answer.status.as_u16(), status, "{code}");
        assert_eq!(answer.hop(), hop, "{code}");
        assert_eq!(answer.headers.contains_key("retry-after"), retry, "{code}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(&id), "{message}");
    }
}

#[tokio::test]
async fn a_channel_lost_after_dispatch_is_a_504_without_retry() {
    let (rig, mut agent, user) = connected().await;
    let mut caller = rig.caller().await;
    let losing = async {
        agent.opened().await;
        drop(agent);
    };
    let (answer, ()) = tokio::join!(caller.get(PODS, &user), losing);
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(answer.hop(), "Channel");
    assert!(!answer.headers.contains_key("retry-after"));
    // And then it is known, and away.
    let answer = caller.get(PODS, &user).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        answer.json()["message"]
            .as_str()
            .unwrap()
            .contains("last seen")
    );
}

#[tokio::test]
async fn an_upload_goes_up_as_it_is_and_ends_with_fin() {
    let (rig, mut agent, user) = connected().await;
    let body = Bytes::from(vec![7_u8; 100_000]);
    let mut caller = rig.caller().await;
    let answering = async {
        let open = agent.opened().await;
        assert_eq!(open["command"]["args"]["body"], true);
        assert_eq!(open["command"]["args"]["method"], "POST");
        let mut received = Vec::new();
        loop {
            let Said::Frame(frame) = agent.hear().await else {
                continue;
            };
            if frame[0] == 1 {
                received.extend_from_slice(&frame[8..]);
                if frame[1] & 1 == 1 {
                    break;
                }
            }
        }
        agent.answer(&open["stream"], b"{}").await;
        received
    };
    let (answer, received) = tokio::join!(caller.post(PODS, &user, body.clone()), answering);
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(received, body);
}

#[tokio::test]
async fn what_a_leaving_replica_has_not_begun_is_done_by_another() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    let mut one = rig.agent(&token, "one").await;
    let mut two = rig.agent(&token, "two").await;
    let mut caller = rig.caller().await;
    let leaving = async {
        // Whichever is asked first leaves.
        let (open, leaver, other) = tokio::select! {
            open = one.opened() => (open, 1, None),
            open = two.opened() => (open, 2, Some(())),
        };
        let _ = other;
        let (first, second) = if leaver == 1 {
            (&mut one, &mut two)
        } else {
            (&mut two, &mut one)
        };
        first
            .say(&json!({ "type": "goaway", "code": "shutting_down", "message": "update" }))
            .await;
        first.fail(&open["stream"], "shutting_down").await;
        let again = second.opened().await;
        assert_eq!(again["command"]["id"], open["command"]["id"]);
        second.answer(&again["stream"], b"{}").await;
    };
    let (answer, ()) = tokio::join!(caller.post(PODS, &user, "{\"a\":1}"), leaving);
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_caller_who_goes_away_resets_the_stream() {
    let (rig, mut agent, user) = connected().await;
    let mut caller = rig.caller().await;
    let asking = request(&Method::GET, &format!("{PODS}?watch=1"), &user).body(Full::default());
    let answering = async {
        let open = agent.opened().await;
        assert!(open["command"]["deadline_ms"].is_null());
        agent.head(&open["stream"], 200, &[]).await;
        open["stream"].as_u64().unwrap()
    };
    let (answer, stream) = tokio::join!(caller.send(asking.unwrap()), answering);
    drop(answer);
    drop(caller);
    loop {
        if let Said::Frame(frame) = agent.hear().await
            && frame[0] == 3
        {
            assert_eq!(u64::from(frame[7]), stream);
            break;
        }
    }
}

#[tokio::test]
async fn one_user_at_the_cap_is_refused_and_another_is_not() {
    let rig = rig(|config| config.user_limits.requests = 2);
    let token = rig.tokens.add_agent("prod").unwrap();
    let alice = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    let again = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    let bob = rig.tokens.add_user("bob", &[], &["*"]).unwrap();
    let mut agent = rig.agent(&token, "one").await;
    let mut callers = [rig.caller().await, rig.caller().await];
    let [first, second] = &mut callers;
    let held = async { tokio::join!(first.get(PODS, &alice), second.get(PODS, &again)) };
    let checking = async {
        let opens = [agent.opened().await, agent.opened().await];
        let refused = rig.get(PODS, &alice).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.headers["retry-after"], "1");
        let mut other = rig.caller().await;
        // A watch of the same user, and another user's request, have room.
        let watching = format!("{PODS}?watch=1");
        for (path, user) in [(PODS, &bob), (watching.as_str(), &alice)] {
            let answering = async {
                let open = agent.opened().await;
                agent.answer(&open["stream"], b"{}").await;
            };
            let (answer, ()) = tokio::join!(other.get(path, user), answering);
            assert_eq!(answer.status, StatusCode::OK);
        }
        for open in opens {
            agent.answer(&open["stream"], b"{}").await;
        }
    };
    let ((one, two), ()) = tokio::join!(held, checking);
    assert_eq!((one.status, two.status), (StatusCode::OK, StatusCode::OK));
}

#[tokio::test]
async fn a_removed_users_token_cuts_what_is_in_flight() {
    let (rig, mut agent, user) = connected().await;
    let mut caller = rig.caller().await;
    let asking = request(&Method::GET, &format!("{PODS}?watch=1"), &user).body(Full::default());
    let answering = async {
        let open = agent.opened().await;
        agent.head(&open["stream"], 200, &[]).await;
    };
    let (answer, ()) = tokio::join!(caller.send(asking.unwrap()), answering);
    assert!(rig.tokens.remove(&user));
    assert!(collected(answer).await.body.is_err());
    assert_eq!(rig.get(PODS, &user).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_upgrade_carries_raw_bytes_with_half_closes_both_ways() {
    let (rig, mut agent, user) = connected().await;
    let mut caller = rig.caller().await;
    let exec = "/clusters/prod/k8s/api/v1/namespaces/a/pods/b/exec?command=sh";
    let asking = request(&Method::POST, exec, &user)
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1")
        .body(Full::default());
    let answering = async {
        let open = agent.opened().await;
        assert_eq!(open["class"], "interactive");
        assert_eq!(open["command"]["args"]["upgrade"], "spdy");
        let headers = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
        agent.head(&open["stream"], 101, &headers).await;
        agent.data(&open["stream"], b"hello", false).await;
        open["stream"].clone()
    };
    let (answer, stream) = tokio::join!(caller.send(asking.unwrap()), answering);
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(answer.headers()["upgrade"], "SPDY/3.1");
    let upgraded = soon(hyper::upgrade::on(answer)).await.unwrap();
    let mut io = hyper_util::rt::TokioIo::new(upgraded);
    let mut buffer = [0; 5];
    soon(io.read_exact(&mut buffer)).await.unwrap();
    assert_eq!(&buffer, b"hello");
    io.write_all(b"stdin").await.unwrap();
    io.shutdown().await.unwrap();
    let mut received = Vec::new();
    let fin = loop {
        if let Said::Frame(frame) = agent.hear().await
            && frame[0] == 1
        {
            received.extend_from_slice(&frame[8..]);
            if frame[1] & 1 == 1 {
                break true;
            }
        }
    };
    assert!(fin);
    assert_eq!(received, b"stdin");
    agent.data(&stream, b"bye", true).await;
    agent.end(&stream).await;
    let mut rest = Vec::new();
    soon(io.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"bye");
}

#[tokio::test]
async fn an_upgrade_that_the_api_server_refuses_is_an_ordinary_answer() {
    let (rig, mut agent, user) = connected().await;
    let mut caller = rig.caller().await;
    let exec = "/clusters/prod/k8s/api/v1/namespaces/a/pods/b/exec?command=sh";
    let asking = request(&Method::GET, exec, &user)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-version", "13")
        .body(Full::default());
    let answering = async {
        let open = agent.opened().await;
        agent
            .head(
                &open["stream"],
                404,
                &[("content-type", "application/json")],
            )
            .await;
        agent.data(&open["stream"], b"{}", true).await;
        agent.end(&open["stream"]).await;
    };
    let (answer, ()) = tokio::join!(caller.send(asking.unwrap()), answering);
    let answer = collected(answer).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.body.unwrap(), "{}");
}

#[tokio::test]
async fn a_caller_who_does_not_read_stalls_nobody_else() {
    let (rig, mut agent, user) = connected().await;
    let mut stalled = rig.caller().await;
    let asking = request(&Method::GET, PODS, &user).body(Full::default());
    let answering = async {
        let open = agent.opened().await;
        agent.head(&open["stream"], 200, &[]).await;
        open
    };
    let (answer, open) = tokio::join!(stalled.send(asking.unwrap()), answering);
    // As much as the window allows, and not a byte more.
    let mut window = open["window"].as_u64().unwrap();
    let mut sent = 0;
    let stream = open["stream"].clone();
    let quiet = Duration::from_millis(300);
    loop {
        while window >= 16_384 {
            agent.data(&stream, &[0; 16_384], false).await;
            window -= 16_384;
            sent += 16_384;
        }
        match tokio::time::timeout(quiet, agent.hear()).await {
            Ok(Said::Frame(frame)) if frame[0] == 2 => {
                window += u64::from(u32::from_be_bytes([
                    frame[8], frame[9], frame[10], frame[11],
                ]));
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    // What a stalled caller can hold: socket buffers of this machine, ours, and the window.
    assert!(
        sent < 24 * 1024 * 1024,
        "{sent} bytes were taken for nobody"
    );
    let mut other = rig.caller().await;
    let answering = async {
        let open = agent.opened().await;
        agent.answer(&open["stream"], b"{}").await;
    };
    let (fine, ()) = tokio::join!(other.get(PODS, &user), answering);
    assert_eq!(fine.status, StatusCode::OK);
    drop(answer);
}

#[tokio::test]
async fn a_caller_may_expect_a_continue() {
    let (rig, mut agent, user) = connected().await;
    let mut io = super::rig::tls(rig.address, &rig.ca_pem).await.unwrap();
    let head = format!(
        "POST {PODS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {user}\r\n\
         content-length: 2\r\nexpect: 100-continue\r\n\r\n"
    );
    io.write_all(head.as_bytes()).await.unwrap();
    let mut read = [0; 1024];
    let n = soon(io.read(&mut read)).await.unwrap();
    assert!(read[..n].starts_with(b"HTTP/1.1 100"));
    io.write_all(b"{}").await.unwrap();
    let open = agent.opened().await;
    agent.answer(&open["stream"], b"{}").await;
    let n = soon(io.read(&mut read)).await.unwrap();
    assert!(read[..n].starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn bytes_before_the_head_are_the_agents_fault() {
    let (rig, mut agent, user) = connected().await;
    let mut caller = rig.caller().await;
    let answering = async {
        let open = agent.opened().await;
        agent.data(&open["stream"], b"x", false).await;
        agent.send(Message::Ping(Bytes::new())).await;
    };
    let (answer, ()) = tokio::join!(caller.get(PODS, &user), answering);
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
}
