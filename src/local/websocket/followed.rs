//! The logs that one connection follows.
//!
//! Owns which there are, under the ids that the client gave them. Owns not: their reading (`logs`).
//! Invariants: at most [`limits::LOCAL_LOGS`]; each is read on only while the client is told; one that
//! was stopped tells nothing more.

use std::collections::BTreeMap;
use std::pin::Pin;

use futures_util::Future;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cluster::ObjectError;
use crate::cluster::logs::{Follower, News};
use crate::commands::Shared as Sources;
use crate::limits;
use crate::local::logs::{self, Wanted};

/// `logs.start`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LogsStart {
    id: String,
    namespace: String,
    pod: Option<String>,
    container: Option<String>,
    selector: Option<String>,
    tail: Option<u64>,
    previous: bool,
}

/// Why a log is not followed.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: &'static str,
    pub(super) message: &'static str,
    pub(super) id: Option<String>,
}

/// A log that is followed, and what came of it.
type Step = (Following, Result<Option<News>, ObjectError>);

struct Following {
    id: String,
    follower: Box<Follower>,
    stop: CancellationToken,
    ended: Option<&'static str>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Followed {
    stops: BTreeMap<String, CancellationToken>,
    steps: FuturesUnordered<Pin<Box<dyn Future<Output = Option<Step>> + Send>>>,
}

impl Followed {
    /// Begins to follow one more.
    pub(super) fn start(
        &mut self,
        sources: Option<&Sources>,
        asked: LogsStart,
    ) -> Result<(), Refused> {
        let id = asked.id;
        if !(1..=64).contains(&id.len()) {
            return Err(Refused {
                code: "bad_message",
                message: "an id has 1 to 64 bytes",
                id: None,
            });
        }
        let refused = |code, message| Refused {
            code,
            message,
            id: Some(id.clone()),
        };
        if self.stops.contains_key(&id) {
            let message = "a log of this id is followed already";
            return Err(refused("bad_message", message));
        }
        if self.stops.len() >= limits::LOCAL_LOGS {
            let message = "one connection follows eight logs at most";
            return Err(refused("too_many", message));
        }
        let wanted = Wanted {
            namespace: asked.namespace,
            pod: asked.pod,
            container: asked.container,
            selector: asked.selector,
            tail: asked.tail,
            previous: asked.previous,
        };
        let spec = wanted.spec();
        let spec = spec.map_err(|message| refused("bad_message", message))?;
        let starting = || refused("starting", "the agent has only just begun");
        let sources = sources.ok_or_else(starting)?;
        let stop = CancellationToken::new();
        let follower = Box::new(Follower::new(sources.cluster.objects(), spec));
        self.stops.insert(id.clone(), stop.clone());
        self.step(Following {
            id,
            follower,
            stop,
            ended: None,
        });
        Ok(())
    }

    /// Stops following one; says whether there was one.
    pub(super) fn stop(&mut self, id: &str) -> bool {
        let stop = self.stops.remove(id);
        stop.inspect(CancellationToken::cancel).is_some()
    }

    /// What is to be told next; waits as long as there is nothing.
    ///
    /// # Cancel safety
    /// News are taken only when they are returned.
    pub(super) async fn next(&mut self) -> Vec<Value> {
        loop {
            let Some(step) = self.steps.next().await else {
                return std::future::pending().await;
            };
            let told = step.map(|(following, news)| self.told(following, news));
            if let Some(told) = told.filter(|told| !told.is_empty()) {
                return told;
            }
        }
    }

    fn step(&self, mut following: Following) {
        self.steps.push(Box::pin(async move {
            let stop = following.stop.clone();
            let news = stop.run_until_cancelled(following.follower.next()).await?;
            Some((following, news))
        }));
    }

    fn told(
        &mut self,
        mut following: Following,
        news: Result<Option<News>, ObjectError>,
    ) -> Vec<Value> {
        if following.stop.is_cancelled() {
            return Vec::new();
        }
        let id = following.id.clone();
        let told = match news {
            Ok(Some(news)) => {
                let told = logs::told(news, &mut following.ended);
                self.step(following);
                told.into_iter().collect()
            }
            Ok(None) => {
                self.stops.remove(&id);
                let reason = following.ended.unwrap_or("ended");
                vec![("log_end", json!({ "reason": reason }))]
            }
            Err(error) => {
                self.stops.remove(&id);
                let (code, message) = (logs::code(&error), error.to_string());
                vec![
                    ("error", json!({ "code": code, "message": message })),
                    ("log_end", json!({ "reason": code, "message": message })),
                ]
            }
        };
        let addressed = |(kind, mut data): (&str, Value)| {
            data["type"] = kind.into();
            data["id"] = id.as_str().into();
            data
        };
        told.into_iter().map(addressed).collect()
    }
}
