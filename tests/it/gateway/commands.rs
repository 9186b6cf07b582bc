//! Commands over HTTP: their events as they come, their failures, and how they outlive a channel.

mod asking;
mod changing;
mod surviving;
mod wire;

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::rig::{Agent, Caller, Rig, hello, request, rig};
use crate::support::soon;

/// A gateway, its one agent, and a user's token.
async fn connected() -> (Rig, Agent, String, String) {
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &["dev"], &["*"]).unwrap();
    let agent = rig.agent(&token, "one").await;
    (rig, agent, user, token)
}

/// An agent that comes back, and the command that was waiting for it: it may come before the
/// report's acknowledgement.
async fn returned(rig: &Rig, token: &str, instance: &str) -> (Agent, Value) {
    let mut agent = rig.agent_saying(token, &hello(instance, "uid-1")).await;
    let open = agent.opened().await;
    (agent, open)
}

fn path(command: &str) -> String {
    format!("/clusters/prod/commands/{command}")
}

fn post(
    command: &str,
    user: &str,
    headers: &[(&str, &str)],
    args: &str,
) -> http::Request<Full<Bytes>> {
    let mut builder = request(&Method::POST, &path(command), user);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::from(args.to_owned())).unwrap()
}

/// One event of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sse {
    id: Option<String>,
    event: String,
    data: Value,
}

/// An answer in events that is being read.
struct Reading {
    answer: Response<Incoming>,
    text: String,
    /// Comments that were passed over.
    comments: usize,
    _caller: Caller,
}

impl Reading {
    /// Sends a request; its answer is read as events.
    async fn begin(rig: &Rig, asking: http::Request<Full<Bytes>>) -> Self {
        let mut caller = rig.caller().await;
        let answer = caller.send(asking).await;
        Self {
            answer,
            text: String::new(),
            comments: 0,
            _caller: caller,
        }
    }

    /// The next event; nothing at a good end, an error where the body breaks off.
    async fn next(&mut self) -> Option<Result<Sse, ()>> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let event = parsed(block);
                self.text = rest.to_owned();
                match event {
                    Some(event) => return Some(Ok(event)),
                    None => {
                        self.comments += 1;
                        continue;
                    }
                }
            }
            match soon(self.answer.body_mut().frame()).await {
                Some(Ok(frame)) => {
                    let bytes = frame.into_data().unwrap();
                    self.text.push_str(std::str::from_utf8(&bytes).unwrap());
                }
                Some(Err(_)) => return Some(Err(())),
                None => {
                    assert_eq!(self.text, "", "half an event");
                    return None;
                }
            }
        }
    }

    async fn event(&mut self) -> Sse {
        self.next().await.expect("an event").expect("a whole one")
    }
}

fn parsed(block: &str) -> Option<Sse> {
    let (mut id, mut event, mut data) = (None, None, None);
    for line in block.lines() {
        let (field, value) = line.split_once(": ").expect("a field");
        match field {
            "id" => id = Some(value.to_owned()),
            "event" => event = Some(value.to_owned()),
            "data" => data = Some(serde_json::from_str(value).unwrap()),
            "retry" | "" => {}
            other => panic!("a field {other}"),
        }
    }
    Some(Sse {
        id,
        event: event?,
        data: data.unwrap(),
    })
}

impl Agent {
    async fn event(&mut self, open: &Value, event: Value) {
        self.say(&json!({"type": "event", "stream": open["stream"], "event": event}))
            .await;
    }

    async fn line(&mut self, open: &Value, source: &str, number: u32) {
        let line =
            json!({"source": source, "cursor": format!("{source}-{number}"), "text": number});
        self.event(open, json!({ "line": line })).await;
    }

    async fn result(&mut self, open: &Value, result: Value) {
        self.say(&json!({"type": "end", "stream": open["stream"], "result": result}))
            .await;
    }
}
