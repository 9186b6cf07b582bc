//! Container logs.
//!
//! Owns: which lines a request gets and when; `logs/lines` has their texts. Owns not: the pods.
//! Invariant: a line is a function of the container and of its number, so that the same second is
//! always told in the same words and nothing is kept.

mod lines;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Answer, Failure};
use super::clock::{self, Millis, SECOND, parse, rfc3339_nano};
use super::collection::not_found;
use super::request::{Query, Target};
use super::store::{Key, Store};
use lines::Voice;

/// Lines that can be asked for back from now; older ones count as rotated away. About twenty
/// minutes, 200 kB.
const BACKLOG: u64 = 2_000;
/// Text made at a time: enough for a fast reader, small for a slow one.
const PIECE: usize = 16 * 1024;
/// How often a followed log looks whether its container still runs.
const LOOK_EVERY: Millis = SECOND;

/// Answers a request for a log.
///
/// # Errors
/// 404 without the pod, 400 where the container is not said or has no log.
pub(super) fn answer(
    store: &Arc<Store>,
    target: &Target,
    name: &str,
    query: &Query,
    stop: CancellationToken,
) -> Result<Answer, Failure> {
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let key = Key::new(target.resource, namespace, name);
    let pod = store
        .get(&key)
        .ok_or_else(|| not_found(target.resource, name))?;
    let container = container(&pod, query.text("container"))?;
    let now = clock::now();
    let Some(run) = Run::of(&pod, &container, query.flag("previous"))? else {
        // A pod without a node has no log yet, which is no error on a real server.
        return Ok(answer::whole(StatusCode::OK, "text/plain", Bytes::new()));
    };
    let since = match (query.text("sinceTime"), query.number("sinceSeconds")?) {
        (Some(_), Some(_)) => {
            return Err(Failure::bad_request(
                "at most one of `sinceTime` or `sinceSeconds` may be specified",
            ));
        }
        (Some(text), None) => parse(text).ok_or_else(|| {
            Failure::bad_request(format!(
                "invalid value {text:?} of sinceTime: a time is expected"
            ))
        })?,
        (None, Some(seconds)) => {
            now - i64::try_from(seconds)
                .unwrap_or(i64::MAX / SECOND)
                .saturating_mul(SECOND)
        }
        (None, None) => Millis::MIN,
    };
    let voice = Voice::of(&pod, &container, run.restarts);
    let end = run.finished.unwrap_or(now);
    let last = voice.before(end + 1);
    let mut next = voice
        .first_from(run.started.max(since))
        .max(last.saturating_sub(BACKLOG));
    if let Some(tail) = query.number("tailLines")? {
        next = next.max(last.saturating_sub(tail));
    }
    let follow = query.flag("follow") && run.finished.is_none();
    let log = Log {
        store: Arc::clone(store),
        key,
        container,
        voice,
        run,
        next,
        until: if follow { Millis::MAX } else { end },
        timestamps: query.flag("timestamps"),
        left: query.number("limitBytes")?.unwrap_or(u64::MAX),
        stop,
    };
    let pieces = stream::unfold(log, |mut log| async move {
        let piece = log.next().await?;
        Some((piece, log))
    });
    Ok(answer::pieces("text/plain", pieces))
}

/// The container that is asked for, or the only one.
fn container(pod: &Value, asked: Option<&str>) -> Result<String, Failure> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let names: Vec<&str> = containers.filter_map(|it| it["name"].as_str()).collect();
    let pod = pod["metadata"]["name"].as_str().unwrap_or_default();
    match (asked, names.as_slice()) {
        (Some(asked), names) if names.contains(&asked) => Ok(asked.to_owned()),
        (Some(asked), _) => Err(Failure::bad_request(format!(
            "container {asked} is not valid for pod {pod}"
        ))),
        (None, [only]) => Ok((*only).to_owned()),
        (None, names) => Err(Failure::bad_request(format!(
            "a container name must be specified for pod {pod}, choose one of: [{}]",
            names.join(" ")
        ))),
    }
}

/// One run of a container, which has one log.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    restarts: u64,
    started: Millis,
    finished: Option<Millis>,
}

impl Run {
    /// The run whose log is meant. `None` where the pod has no node.
    fn of(pod: &Value, container: &str, previous: bool) -> Result<Option<Self>, Failure> {
        let statuses = pod["status"]["containerStatuses"].as_array();
        let status = statuses
            .into_iter()
            .flatten()
            .find(|status| status["name"] == container);
        let Some(status) = status else {
            return Ok(None);
        };
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let restarts = status["restartCount"].as_u64().unwrap_or_default();
        let time = |value: &Value| value.as_str().and_then(parse);
        let ended = |state: &Value, restarts| {
            let started = time(&state["terminated"]["startedAt"])?;
            Some(Self {
                restarts,
                started,
                finished: time(&state["terminated"]["finishedAt"]),
            })
        };
        if previous {
            return ended(&status["lastState"], restarts.saturating_sub(1))
                .map(Some)
                .ok_or_else(|| {
                    Failure::bad_request(format!(
                        "previous terminated container \"{container}\" in pod \"{name}\" not found"
                    ))
                });
        }
        if let Some(started) = time(&status["state"]["running"]["startedAt"]) {
            return Ok(Some(Self {
                restarts,
                started,
                finished: None,
            }));
        }
        // While a container waits for its next start, its last run is its log.
        let last =
            ended(&status["state"], restarts).or_else(|| ended(&status["lastState"], restarts));
        let reason = status["state"]["waiting"]["reason"]
            .as_str()
            .unwrap_or("ContainerCreating");
        last.map(Some).ok_or_else(|| {
            Failure::bad_request(format!(
                "container \"{container}\" in pod \"{name}\" is waiting to start: {reason}"
            ))
        })
    }
}

struct Log {
    store: Arc<Store>,
    key: Key,
    container: String,
    voice: Voice,
    run: Run,
    /// The number of the next line.
    next: u64,
    /// The last moment whose lines belong to the answer.
    until: Millis,
    timestamps: bool,
    /// Bytes that may still be sent.
    left: u64,
    stop: CancellationToken,
}

impl Log {
    /// The next piece of text, or the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.left == 0 {
                return None;
            }
            let now = clock::now();
            let piece = self.lines_until(now.min(self.until));
            if !piece.is_empty() {
                let allowed = usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(piece.len());
                self.left -= allowed as u64;
                return Some(Bytes::from(piece).slice(..allowed));
            }
            if now >= self.until {
                return None;
            }
            let wait = (self.voice.stamp(self.next) - now).clamp(1, LOOK_EVERY);
            let wait = Duration::from_millis(wait.unsigned_abs());
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(wait) => {}
            }
            if self.until == Millis::MAX {
                self.look();
            }
        }
    }

    /// The log of a container that ended, ends with it.
    fn look(&mut self) {
        let run = self
            .store
            .get(&self.key)
            .and_then(|pod| Run::of(&pod, &self.container, false).ok().flatten());
        match run {
            Some(run) if run == self.run => {}
            Some(Run {
                restarts,
                finished: Some(finished),
                ..
            }) if restarts == self.run.restarts => {
                self.until = finished;
            }
            _ => self.until = clock::now(),
        }
    }

    fn lines_until(&mut self, end: Millis) -> String {
        let mut text = String::new();
        while text.len() < PIECE {
            let stamp = self.voice.stamp(self.next);
            if stamp > end {
                break;
            }
            if self.timestamps {
                text.push_str(&rfc3339_nano(stamp));
                text.push(' ');
            }
            text.push_str(&self.voice.line(self.next, stamp));
            text.push('\n');
            self.next += 1;
        }
        text
    }
}
