//! Callers that follow a log over whatever breaks, by the ordinals that its lines carry.
//!
//! Owns the reading of server-sent events and the count of lines. Invariants, as sentences: see the
//! constants.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::caller::Caller;

const ORDER: &str = "a follower's ordinals have no hole and no double";
const SIGNS: &str = "a follower hears a sign of life every 30 s";
const GAP: &str = "where nothing was lost no gap is told";
const ONE_END: &str = "a followed stream has at most one end, and nothing after it";

/// Twice the heartbeat of events.
const SILENCE: Duration = Duration::from_secs(30);

const PATH: &str = "/clusters/prod/logs?namespace=d&pod=p&follow=true";

/// A follower.
pub(crate) struct Follower {
    caller: Caller,
    random: StdRng,
    next: Option<u64>,
    last_id: Option<String>,
}

/// One event as it came.
#[derive(Default)]
struct Event {
    name: String,
    data: String,
    id: Option<String>,
}

impl Follower {
    pub(crate) fn new(caller: Caller, seed: u64) -> Self {
        Self {
            caller,
            random: StdRng::seed_from_u64(seed),
            next: None,
            last_id: None,
        }
    }

    /// Follows until `stop` fires; reads on where it stood whenever the answer ends.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            stop.run_until_cancelled(self.once()).await;
            let pause = self.random.random_range(200..3000);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn once(&mut self) {
        let mut request = self.caller.request("GET", PATH);
        request = request.header("accept", "text/event-stream");
        if let Some(id) = &self.last_id {
            request = request.header("last-event-id", id);
        }
        let record = self.caller.record.clone();
        let request = request.body(Full::default()).unwrap();
        let answer = timeout(crate::caller::PATIENCE, self.caller.send(request)).await;
        let Ok(Some(answer)) = answer else {
            return record.note("follower not answered");
        };
        if answer.status() != 200 {
            return record.note(format!("follower refused {}", answer.status()));
        }
        let mut body = answer.into_body();
        let mut text = String::new();
        let mut ended = false;
        loop {
            let Ok(frame) = timeout(SILENCE, body.frame()).await else {
                return record.broken(SIGNS, "silence");
            };
            let Some(Ok(frame)) = frame else {
                return record.note(format!("follower broken, ended {ended}"));
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            text.push_str(std::str::from_utf8(&data).unwrap());
            while let Some(end) = text.find("\n\n") {
                let event = Event::read(&text[..end]);
                text.drain(..end + 2);
                if event.name.is_empty() {
                    continue;
                }
                if ended {
                    record.broken(ONE_END, &event.name);
                }
                ended = matches!(event.name.as_str(), "end" | "error");
                self.take(&event);
            }
        }
    }

    fn take(&mut self, event: &Event) {
        let record = &self.caller.record;
        if let Some(id) = &event.id {
            self.last_id = Some(id.clone());
        }
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        match event.name.as_str() {
            "lines" => {
                for line in data["lines"].as_array().into_iter().flatten() {
                    let text = line[1].as_str().unwrap_or_default();
                    let ordinal = text
                        .strip_prefix("line ")
                        .and_then(|it| it.parse::<u64>().ok());
                    let Some(ordinal) = ordinal else {
                        record.broken(ORDER, format!("no ordinal: {text:?}"));
                        continue;
                    };
                    let expected = self.next.unwrap_or(0);
                    if ordinal != expected {
                        record.broken(ORDER, format!("{ordinal} instead of {expected}"));
                    }
                    self.next = Some(ordinal + 1);
                    record.count("lines");
                }
            }
            "gap" => record.broken(GAP, &event.data),
            "error" => {
                let code = data["code"].as_str().unwrap_or_default();
                record.note(format!("follower error {code}"));
            }
            other => record.note(format!("follower hears {other}")),
        }
    }
}

impl Event {
    fn read(text: &str) -> Self {
        let mut event = Self::default();
        for line in text.lines() {
            match line.split_once(": ") {
                Some(("event", name)) => name.clone_into(&mut event.name),
                Some(("data", data)) => data.clone_into(&mut event.data),
                Some(("id", id)) => event.id = Some(id.to_owned()),
                _ => {}
            }
        }
        event
    }
}
