//! One handler's queue: event after event, each with its attempts.
//!
//! | name | labels | what |
//! |---|---|---|
//! | `pipeops_event_handler_events` | `handler`, `outcome` | `delivered`; `failed`, after all attempts or refused; `dropped`, because the queue was full or the log had enough |
//!
//! Owns delivering, its waits and its figures. Invariants: a redirect and a refusal are no delivery
//! and not tried again; no wait is longer than a minute; neither URL nor secret is logged.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::event::Event;
use super::{Action, LogLevel};
use crate::backoff::{Backoff, Pace, Window};
use crate::extensions::http::{Ask, Bearer, Client, Target};
use crate::limits;
use crate::metrics::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    handler: String,
    outcome: &'static str,
}

/// What became of events. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(in crate::extensions) struct Counted {
    events: Family<Label, Counter>,
}

impl Counted {
    pub(in crate::extensions) fn register(metrics: &Metrics) -> Self {
        let counted = Self::default();
        metrics.register(|registry| {
            registry.register(
                "pipeops_event_handler_events",
                "Events that matched a handler, by what became of them",
                counted.events.clone(),
            );
        });
        counted
    }

    pub(super) fn dropped(&self, handler: &str) {
        self.count(handler, "dropped");
    }

    fn count(&self, handler: &str, outcome: &'static str) {
        let handler = handler.to_owned();
        self.events.get_or_create(&Label { handler, outcome }).inc();
    }
}

/// Whoever takes a handler's events.
pub(super) struct Worker {
    pub(super) name: String,
    /// Whose events they are.
    pub(super) cluster: String,
    pub(super) action: Action,
    pub(super) client: Client,
    pub(super) counted: Counted,
}

/// A webhook's body.
#[derive(Serialize)]
struct Body<'a> {
    handler: &'a str,
    cluster: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

impl Worker {
    pub(super) async fn run(self, mut waiting: mpsc::Receiver<Arc<Event>>) {
        let mut lines = Lines::default();
        let mut working = true;
        while let Some(event) = waiting.recv().await {
            let outcome = match &self.action {
                Action::Webhook {
                    target,
                    bearer,
                    timeout,
                } => {
                    let delivered = self
                        .deliver(target, bearer.as_ref(), *timeout, &event)
                        .await;
                    self.changed(&delivered, &mut working);
                    match delivered {
                        Ok(()) => "delivered",
                        Err(_) => "failed",
                    }
                }
                Action::Log(level) if lines.one(Instant::now()) => {
                    self.log(*level, &event);
                    "delivered"
                }
                Action::Log(_) => "dropped",
            };
            self.counted.count(&self.name, outcome);
        }
    }

    async fn deliver(
        &self,
        target: &Target,
        bearer: Option<&Bearer>,
        timeout: Duration,
        event: &Event,
    ) -> Result<(), String> {
        let body = Body {
            handler: &self.name,
            cluster: &self.cluster,
            event,
        };
        let body = serde_json::to_vec(&body).map_err(|_| "it does not serialise")?;
        let ask = Ask {
            target,
            bearer,
            post: Some((Bytes::from(body), &event.id)),
            accept: "*/*",
            timeout,
        };
        let window = Window::new(limits::HANDLER_RETRY_FIRST, limits::HANDLER_RETRY_CAP);
        let mut backoff = Backoff::new(window);
        let mut attempt = 1;
        loop {
            let (problem, hint) = match self.client.exchange(&ask, usize::MAX, |_| true).await {
                Ok(reply) if (200..300).contains(&reply.status) => return Ok(()),
                Ok(reply) => {
                    let problem = format!("it answers {}", reply.status);
                    // The others say that this event is not wanted, now or later.
                    if !matches!(reply.status, 408 | 425 | 429 | 500..=599) {
                        return Err(problem);
                    }
                    (problem, reply.retry_after)
                }
                Err(error) => (error.to_string(), None),
            };
            if attempt == limits::HANDLER_ATTEMPTS {
                return Err(problem);
            }
            attempt += 1;
            let wait = match hint.map(|hint| hint.min(limits::HANDLER_RETRY_ASKED)) {
                Some(hint) => backoff.after(hint, &mut rand::rng()),
                None => backoff.next(Pace::Usual, &mut rand::rng()),
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// One line when it begins to fail, and one when it works again.
    fn changed(&self, delivered: &Result<(), String>, working: &mut bool) {
        let handler = self.name.as_str();
        match delivered {
            Ok(()) if !*working => tracing::info!(handler, "Webhook takes events again"),
            Err(error) if *working => tracing::warn!(handler, error, "Webhook takes no events"),
            _ => {}
        }
        *working = delivered.is_ok();
    }

    fn log(&self, level: LogLevel, event: &Event) {
        let handler = self.name.as_str();
        let (reason, kind) = (event.reason.as_str(), event.object.kind.as_str());
        let (namespace, name) = (event.namespace(), event.object.name.as_str());
        let (message, count) = (event.message.as_str(), event.count);
        // A level is a constant of the place that logs.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    handler,
                    reason,
                    kind,
                    namespace,
                    name,
                    count,
                    event = message,
                    "Event matched"
                )
            };
        }
        match level {
            LogLevel::Info => line!(info),
            LogLevel::Warn => line!(warn),
        }
    }
}

/// How many lines were written in this minute.
#[derive(Debug, Default)]
struct Lines {
    since: Option<Instant>,
    written: u32,
}

impl Lines {
    /// Whether there may be one more.
    fn one(&mut self, now: Instant) -> bool {
        let fresh = self
            .since
            .is_some_and(|since| now.saturating_duration_since(since) < Duration::from_secs(60));
        if !fresh {
            self.since = Some(now);
            self.written = 0;
        }
        self.written += 1;
        self.written <= limits::HANDLER_LINES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker, and the receiver that it delivers to.
    async fn webhook() -> (tokio::net::TcpListener, Target, Worker) {
        let receiver = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", receiver.local_addr().unwrap());
        let worker = Worker {
            name: "h".into(),
            cluster: "c".into(),
            action: Action::Log(LogLevel::Info),
            client: Client::new(None),
            counted: Counted::default(),
        };
        (receiver, Target::parse(&url).unwrap(), worker)
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_given_up_after_its_attempts() {
        let (receiver, target, worker) = webhook().await;
        let event = Event::default();
        let began = Instant::now();
        let delivering = worker.deliver(&target, None, Duration::from_secs(5), &event);
        tokio::pin!(delivering);
        let mut tried = 0;
        let delivered = loop {
            tokio::select! {
                biased;
                accepted = receiver.accept() => {
                    drop(accepted.unwrap());
                    tried += 1;
                }
                delivered = &mut delivering => break delivered,
            }
        };
        assert!(delivered.is_err());
        assert_eq!(tried, limits::HANDLER_ATTEMPTS);
        let most = (limits::HANDLER_RETRY_CAP + Duration::from_secs(5)) * limits::HANDLER_ATTEMPTS;
        assert!(Instant::now().saturating_duration_since(began) < most);
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_asks_for_a_day_is_asked_again_within_the_bound() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let (receiver, target, worker) = webhook().await;
        let event = Event::default();
        let answering = async {
            for answer in ["503 Busy\r\nretry-after: 86400", "204 Taken"] {
                let (mut socket, _) = receiver.accept().await.unwrap();
                let mut read = Vec::new();
                while !read.windows(4).any(|end| end == b"\r\n\r\n") {
                    assert_ne!(socket.read_buf(&mut read).await.unwrap(), 0);
                }
                let answer =
                    format!("HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let began = Instant::now();
        let delivering = worker.deliver(&target, None, Duration::from_secs(5), &event);
        let (delivered, ()) = tokio::join!(delivering, answering);
        assert_eq!(delivered, Ok(()));
        let waited = Instant::now().saturating_duration_since(began);
        let bounds = limits::HANDLER_RETRY_ASKED..limits::HANDLER_RETRY_ASKED * 3 / 2;
        assert!(bounds.contains(&waited), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_of_events_is_no_storm_of_lines() {
        let mut lines = Lines::default();
        let written = |lines: &mut Lines| (0..1000).filter(|_| lines.one(Instant::now())).count();
        let most = usize::try_from(limits::HANDLER_LINES).unwrap();
        assert_eq!(written(&mut lines), most);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(written(&mut lines), 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(written(&mut lines), most);
    }
}
