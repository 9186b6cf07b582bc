//! Sessions without a WebSocket, by agents that speak by hand (P-120 to P-126).

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use pipeops_agent::limits;
use pipeops_agent::link::carriage::{Parcel, begin_body, write_parcel};
use pipeops_agent::protocol::codec::Wire;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::rig::{Answer, Caller, Rig, collected, hello, request, rig, tls};
use crate::support::soon;

/// An agent's end of one channel.
struct Hand {
    caller: Caller,
    path: String,
    token: String,
    /// The number of the next message.
    next: u64,
    events: Option<Events>,
}

/// What comes down, event by event.
struct Events {
    body: Incoming,
    text: String,
    /// Bytes of all that came.
    bytes: usize,
    // Dropping it ends the answer.
    _caller: Caller,
}

#[derive(Debug)]
struct Event {
    id: u64,
    kind: String,
    data: String,
}

impl Events {
    /// The next event; nothing at the answer's end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let mut lines = block.lines().filter_map(|line| line.split_once(": "));
                    lines
                        .find(|(known, _)| *known == name)
                        .map(|(_, value)| value.to_owned())
                };
                if let Some(id) = field("id") {
                    return Some(Event {
                        id: id.parse().unwrap(),
                        kind: field("event").unwrap_or_default(),
                        data: field("data").unwrap(),
                    });
                }
            }
            let frame = soon(self.body.frame()).await?.ok()?;
            let bytes = frame.into_data().unwrap();
            self.bytes += bytes.len();
            self.text += std::str::from_utf8(&bytes).unwrap();
        }
    }
}

fn body(first: u64, acknowledged: u64, parcels: &[Parcel]) -> Bytes {
    let mut body = BytesMut::new();
    begin_body(first, acknowledged, &mut body);
    for parcel in parcels {
        write_parcel(parcel, &mut body);
    }
    body.freeze()
}

fn text(message: &Value) -> Parcel {
    Parcel::Message(Wire::Text(message.to_string()))
}

async fn open(rig: &Rig, token: &str) -> Answer {
    let request = request(&Method::POST, "/channel/sse", token)
        .header("pipeops-protocol", "pipeops.agent.v2")
        .body(Full::default());
    let mut caller = rig.caller().await;
    collected(caller.send(request.unwrap()).await).await
}

impl Hand {
    /// A channel, and nothing on it.
    async fn open(rig: &Rig, token: &str) -> Self {
        let answer = open(rig, token).await;
        assert_eq!(answer.status, StatusCode::CREATED);
        Self {
            caller: rig.caller().await,
            path: answer.json()["channel"].as_str().unwrap().to_owned(),
            token: token.to_owned(),
            next: 1,
            events: None,
        }
    }

    /// A session: `welcome` has come.
    async fn greeted(rig: &Rig, token: &str) -> Self {
        let mut hand = Self::open(rig, token).await;
        hand.say(&hello("one", "uid-1")).await;
        hand.listen(rig, 0).await;
        assert_eq!(hand.hear().await["type"], "welcome");
        hand
    }

    async fn listen(&mut self, rig: &Rig, last: u64) {
        let answer = self.ask(rig, last, false).await;
        assert_eq!(answer.0.status(), StatusCode::OK);
        assert_eq!(answer.0.headers()["x-accel-buffering"], "no");
        self.events = Some(Events {
            body: answer.0.into_body(),
            text: String::new(),
            bytes: 0,
            _caller: answer.1,
        });
    }

    async fn ask(&self, rig: &Rig, last: u64, poll: bool) -> (http::Response<Incoming>, Caller) {
        let mut get = request(&Method::GET, &self.path, &self.token);
        if last > 0 {
            get = get.header("last-event-id", last.to_string());
        }
        if poll {
            get = get.header("pipeops-poll", "1");
        }
        let mut caller = rig.caller().await;
        let answer = caller.send(get.body(Full::default()).unwrap()).await;
        (answer, caller)
    }

    async fn up(&mut self, body: Bytes) -> Answer {
        let (path, token) = (self.path.clone(), self.token.clone());
        self.caller.post(&path, &token, body).await
    }

    /// A message, which is taken.
    async fn say(&mut self, message: &Value) {
        let answer = self.up(body(self.next, 0, &[text(message)])).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        self.next += 1;
        assert_eq!(answer.json()["next"], self.next);
    }

    async fn event(&mut self) -> Option<Event> {
        self.events.as_mut().unwrap().next().await
    }

    /// The next text that is no ping.
    async fn hear(&mut self) -> Value {
        loop {
            let event = self.event().await.expect("an event");
            assert_eq!(event.kind, "", "{event:?}");
            let message: Value = serde_json::from_str(&event.data).unwrap();
            if message["type"] != "ping" {
                return message;
            }
        }
    }
}

fn report(seq: u32) -> Value {
    json!({
        "type": "report", "seq": seq, "ready": true, "api_server": true, "cluster_uid": "uid-1",
        "kubernetes": "v1.36.0", "access": "admin", "commands": ["k8s.request"],
    })
}

#[tokio::test]
async fn a_request_passes_as_over_a_websocket() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    let register = json!({
        "protocols": ["pipeops.agent.v2"], "cluster": { "name": "prod" },
        "agent": { "id": "c-1", "instance": "one", "epoch": 1, "version": "0.0.1" },
    });
    let registered = rig
        .caller()
        .await
        .post("/register", &token, register.to_string())
        .await;
    assert_eq!(registered.json()["sse"], "/channel/sse");
    let mut hand = Hand::greeted(&rig, &token).await;
    hand.say(&report(1)).await;
    assert_eq!(hand.hear().await["report"], 1);
    let mut caller = rig.caller().await;
    let answering = async {
        let open = hand.hear().await;
        assert_eq!(open["command"]["args"]["path"], "/api/v1/pods");
        let stream = &open["stream"];
        hand.say(&json!({
            "type": "event", "stream": stream, "event": { "head": { "status": 200, "headers": [] } },
        }))
        .await;
        let frame = Bytes::from_static(b"\x01\x01\0\0\0\0\0\x01answer");
        let answer = hand
            .up(body(hand.next, 0, &[Parcel::Message(Wire::Binary(frame))]))
            .await;
        assert_eq!(answer.status, StatusCode::OK);
        hand.next += 1;
        hand.say(&json!({ "type": "end", "stream": stream })).await;
    };
    let get = caller.get("/clusters/prod/k8s/api/v1/pods", &user);
    let (answer, ()) = tokio::join!(get, answering);
    assert_eq!(answer.body.unwrap(), "answer");
}

#[tokio::test]
async fn what_is_repeated_is_taken_once_and_what_was_lost_comes_again() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let mut hand = Hand::greeted(&rig, &token).await;
    let lost = body(hand.next, 0, &[text(&report(1))]);
    for _ in 0..3 {
        let answer = hand.up(lost.clone()).await;
        assert_eq!(
            (answer.status, &answer.json()["next"]),
            (StatusCode::OK, &json!(3))
        );
    }
    // With more after it, as an agent sends that had something to say meanwhile.
    let more = body(hand.next, 0, &[text(&report(1)), text(&report(2))]);
    assert_eq!(hand.up(more).await.json()["next"], 4);
    assert_eq!(hand.hear().await["report"], 1);
    let second = loop {
        let event = hand.event().await.unwrap();
        if event.data.contains("\"ack\"") {
            break event;
        }
    };
    assert!(second.data.contains('2'), "each report once: {second:?}");
    // The answer is cut, and asked for again after what was taken.
    hand.listen(&rig, second.id - 1).await;
    let again = hand.event().await.unwrap();
    assert_eq!((again.id, again.data), (second.id, second.data));
    // Before what was acknowledged nothing is kept.
    let answer = hand.ask(&rig, 0, false).await.0;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_new_get_ends_the_one_before_it() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let mut hand = Hand::greeted(&rig, &token).await;
    let mut first = hand.events.take().unwrap();
    hand.listen(&rig, 0).await;
    while let Some(event) = first.next().await {
        assert!(event.id > 0);
    }
    assert_eq!(hand.hear().await["type"], "welcome");
}

#[tokio::test]
async fn a_polled_answer_ends_after_what_there_is() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let mut hand = Hand::open(&rig, &token).await;
    hand.say(&hello("one", "uid-1")).await;
    let (answer, _caller) = hand.ask(&rig, 0, true).await;
    let whole = collected(answer).await.body.unwrap();
    assert!(std::str::from_utf8(&whole).unwrap().contains("welcome"));
}

#[tokio::test]
async fn a_channel_is_nobody_else_s() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let strangers = [
        (
            "of the same cluster",
            rig.tokens.add_agent("prod").unwrap(),
            404,
        ),
        (
            "of another cluster",
            rig.tokens.add_agent("test").unwrap(),
            404,
        ),
        (
            "a user's",
            rig.tokens.add_user("eve", &[], &["*"]).unwrap(),
            403,
        ),
        ("no token", "x".to_owned(), 401),
    ];
    let mut hand = Hand::greeted(&rig, &token).await;
    for (whose, stranger, status) in strangers {
        let mut caller = rig.caller().await;
        let get = caller.get(&hand.path, &stranger).await;
        assert_eq!(get.status, status, "GET, {whose}");
        let post = caller.post(&hand.path, &stranger, body(2, 0, &[])).await;
        assert_eq!(post.status, status, "POST, {whose}");
    }
    for path in ["/channel/sse/", "/channel/sse/0", "/channel/sse/x/y"] {
        assert_eq!(rig.get(path, &token).await.status, 404, "{path}");
    }
    let put = request(&Method::PUT, &hand.path, &token).body(Full::default());
    let put = rig.caller().await.send(put.unwrap()).await;
    assert_eq!(put.status(), StatusCode::METHOD_NOT_ALLOWED);
    // It still stands.
    hand.say(&report(1)).await;
    assert_eq!(hand.hear().await["report"], 1);
}

#[tokio::test]
async fn who_breaks_the_rules_ends_their_session_and_no_other() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let other = rig.tokens.add_agent("test").unwrap();
    let mut bystander = Hand::greeted(&rig, &other).await;
    let large = vec![0; limits::SSE_BODY + 1];
    let many = vec![text(&json!({})); limits::SSE_BODY_MESSAGES + 1];
    for (what, body, status) in [
        ("a gap", body(3, 0, &[text(&report(1))]), 409),
        ("an event that was never sent", body(2, 99, &[]), 409),
        ("no body", Bytes::new(), 400),
        (
            "an unknown kind",
            [&body(2, 0, &[])[..], &[9, 0, 0, 0, 0]].concat().into(),
            400,
        ),
        ("a large body", large.into(), 413),
        ("many messages", body(2, 0, &many), 413),
    ] {
        let mut hand = Hand::greeted(&rig, &token).await;
        assert_eq!(hand.up(body).await.status, status, "{what}");
        // The goodbye names it, and then there is nothing.
        let mut said = String::new();
        while let Some(event) = hand.event().await {
            said = event.kind;
            if said == "close" {
                break;
            }
        }
        assert_eq!(said, "close", "{what}");
        drop(hand.events.take());
        soon(async {
            while rig.get(&hand.path, &token).await.status != StatusCode::NOT_FOUND {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
    }
    bystander.say(&report(1)).await;
    assert_eq!(bystander.hear().await["report"], 1);
}

#[tokio::test]
async fn channels_without_a_word_are_bounded() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let other = rig.tokens.add_agent("test").unwrap();
    for _ in 0..limits::SSE_OPENING {
        assert_eq!(open(&rig, &token).await.status, StatusCode::CREATED);
    }
    let refused = open(&rig, &token).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.json()["code"], "busy");
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(open(&rig, &other).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn who_acknowledges_nothing_is_sent_no_more_than_a_window() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    let mut hand = Hand::greeted(&rig, &token).await;
    hand.say(&report(1)).await;
    let mut caller = rig.caller().await;
    let path = "/clusters/prod/k8s/api/v1/namespaces/d/configmaps";
    let upload = request(&Method::POST, path, &user);
    let upload = upload.body(Full::new(vec![b'x'; 4 * 1024 * 1024].into()));
    let sent = rig.tasks.spawn("upload", async move {
        caller.send(upload.unwrap()).await;
    });
    while hand.hear().await["type"] != "open" {}
    // Credit for all of it.
    hand.say(&json!({ "type": "ping", "nonce": 1 })).await;
    let window = Bytes::from_static(b"\x02\0\0\0\0\0\0\x01\x00\x80\x00\x00");
    let answer = hand
        .up(body(hand.next, 0, &[Parcel::Message(Wire::Binary(window))]))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    let events = hand.events.as_mut().unwrap();
    let more = async { while events.next().await.is_some() {} };
    let quiet = tokio::time::timeout(std::time::Duration::from_secs(2), more).await;
    assert!(quiet.is_err(), "the answer stays open");
    // In base64, with what stands around each.
    let most = (limits::SSE_WINDOW + limits::TEXT_MESSAGE) * 3 / 2;
    assert!(events.bytes > limits::SSE_WINDOW, "{} came", events.bytes);
    assert!(events.bytes < most, "{} came", events.bytes);
    sent.abort();
}

#[tokio::test]
async fn bodies_that_do_not_come_hold_two_places_and_no_more() {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let mut hand = Hand::greeted(&rig, &token).await;
    let mut slow = Vec::new();
    for _ in 0..limits::SSE_REQUESTS {
        let mut io = tls(rig.address, &rig.ca_pem).await.unwrap();
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 99\r\n\r\n",
            hand.path
        );
        io.write_all(head.as_bytes()).await.unwrap();
        io.flush().await.unwrap();
        slow.push(io);
    }
    soon(async {
        loop {
            let answer = hand.up(body(hand.next, 0, &[])).await;
            if answer.status == StatusCode::TOO_MANY_REQUESTS {
                assert_eq!(answer.headers["retry-after"], "1");
                assert_eq!(answer.json()["code"], "busy");
                break;
            }
        }
    })
    .await;
    drop(slow);
    // A body that breaks off says nothing.
    soon(async {
        while hand.up(body(hand.next, 0, &[])).await.status != StatusCode::OK {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    hand.say(&report(1)).await;
    assert_eq!(hand.hear().await["report"], 1);
}
