//! Live logs, over either way: what may be asked, and how what is read is told.
//!
//! Owns the request, `/api/realtime/logs`, and the messages about logs. Owns not: the reading, every
//! line once or an explicit gap (`cluster::logs`). Invariants: nothing is read before it can be
//! sent; a name never changes what is asked for; no line gets into our own log.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::accept::{Hold, Peer};
use super::answer;
use super::connected::{Connected, Protocol};
use super::events;
use super::query::{self, Pairs};
use crate::cluster::ObjectError;
use crate::cluster::logs::{
    Containers, Ended, Event, Follower, Lost, News, Options, Pods, Spec, Told,
};
use crate::limits;

/// Which logs.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) namespace: String,
    pub(super) pod: Option<String>,
    pub(super) container: Option<String>,
    pub(super) selector: Option<String>,
    pub(super) tail: Option<u64>,
    pub(super) previous: bool,
}

impl Wanted {
    /// What is to be read.
    ///
    /// # Errors
    /// With what is wrong, in one line.
    pub(super) fn spec(self) -> Result<Spec, &'static str> {
        let named = |name: &str| name.is_empty() || is_name(name);
        if !named(&self.namespace) {
            return Err("the namespace is no name");
        }
        if !self.container.as_deref().is_none_or(named) {
            return Err("the container is no name");
        }
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let pods = match (some(self.pod), self.selector) {
            (Some(name), _) if !self.namespace.is_empty() && is_name(&name) => Pods::Named {
                namespace: self.namespace,
                name,
            },
            (Some(_), _) => return Err("a pod needs a name and a namespace"),
            (None, Some(labels)) => Pods::Selected {
                namespace: self.namespace,
                labels,
            },
            (None, None) => return Err("a pod or a selector is needed"),
        };
        Ok(Spec {
            pods,
            containers: some(self.container).map_or(Containers::Regular, Containers::Named),
            options: Options {
                follow: !self.previous,
                previous: self.previous,
                tail: Some(self.tail.unwrap_or(200).min(limits::LOCAL_TAIL)),
                since: None,
                budget: None,
            },
            resume: None,
        })
    }
}

/// As Kubernetes names objects: it goes into a path and into a selector, and changes neither.
fn is_name(name: &str) -> bool {
    let known = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    (1..=253).contains(&name.len()) && name.bytes().all(known) && !name.starts_with(['-', '.'])
}

/// What is told of some news: its kind and its fields; `ended` becomes the reason of the last end.
pub(super) fn told(news: News, ended: &mut Option<&'static str>) -> Option<(&'static str, Value)> {
    let Told { name, event, .. } = match news {
        News::Told(told) => told,
        News::LeftOut(count) => {
            let message = "more logs match than are followed at once";
            return Some((
                "log_note",
                json!({ "reason": "left_out", "count": count, "message": message }),
            ));
        }
        News::Trouble(message) => {
            return Some((
                "log_note",
                json!({ "reason": "trouble", "message": message }),
            ));
        }
        News::Forget(_) | News::Recovered => return None,
    };
    let about = |reason: &str, message: &str| {
        json!({
            "namespace": name.namespace, "pod": name.pod, "container": name.container,
            "reason": reason, "message": message,
        })
    };
    Some(match event {
        Event::Lines { batch, .. } => {
            let line = |entry: crate::cluster::logs::event::Entry| {
                let mut line = json!({
                    "namespace": name.namespace, "pod": name.pod, "container": name.container,
                    "time": entry.stamp, "text": entry.text,
                });
                if entry.more {
                    line["more"] = true.into();
                }
                line
            };
            let lines: Vec<_> = batch.into_entries().into_iter().map(line).collect();
            ("log", json!({ "lines": lines }))
        }
        Event::Gap { reason, .. } => ("log_gap", about(lost(reason), "")),
        Event::Waiting { reason } => ("log_note", about("waiting", &reason)),
        Event::Trouble { message } => ("log_note", about("trouble", &message)),
        Event::Ended { reason } => {
            let reason = why(reason);
            *ended = Some(reason);
            (
                "log_note",
                about(reason, "nothing more comes of this container"),
            )
        }
        Event::Started { .. } | Event::Recovered => return None,
    })
}

const fn lost(reason: Lost) -> &'static str {
    match reason {
        Lost::Rotated => "rotated",
        Lost::Restarted => "restarted",
        Lost::Gone => "gone",
    }
}

const fn why(reason: Ended) -> &'static str {
    match reason {
        Ended::Completed => "completed",
        Ended::Read => "read",
        Ended::Limited => "limited",
        Ended::NotStarted => "not_started",
        Ended::NoPrevious => "no_previous",
        Ended::Unknown => "unknown_container",
        Ended::Gone => "gone",
    }
}

/// The code of a failure to read.
pub(super) const fn code(error: &ObjectError) -> &'static str {
    match error {
        ObjectError::NotFound(_) => "not_found",
        ObjectError::Refused(refusal) if refusal.status == 403 => "forbidden",
        ObjectError::Cluster(_) => "upstream_unreachable",
        _ => "upstream_failed",
    }
}

/// `GET /api/realtime/logs`.
pub(super) async fn logs(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    Query(query): Query<Pairs>,
    headers: HeaderMap,
) -> Response {
    let known = [
        "namespace",
        "pod",
        "container",
        "selector",
        "tail",
        "previous",
    ];
    if let Some(name) = query::other_than(&query, &known) {
        let name: String = name.chars().take(40).collect();
        return bad(&format!("there is no parameter {name:?}"));
    }
    let value = |name: &str| query::value(&query, name);
    let tail = match value("tail").map(str::parse) {
        None => None,
        Some(Ok(tail)) => Some(tail),
        Some(Err(_)) => return bad("tail is a number of lines"),
    };
    let text = |name: &str| value(name).map(str::to_owned);
    let wanted = Wanted {
        namespace: text("namespace").unwrap_or_default(),
        pod: text("pod"),
        container: text("container"),
        selector: text("selector"),
        tail,
        previous: matches!(value("previous"), Some("" | "true" | "1")),
    };
    let spec = match wanted.spec() {
        Ok(spec) => spec,
        Err(message) => return bad(message),
    };
    let sources = shared.sources().await;
    let mut follower = Follower::new(sources.cluster.objects(), spec);
    // What cannot be read is told as a status; a log without lines keeps nobody waiting.
    let first = match timeout(FIRST, follower.next()).await {
        Ok(Err(error)) => {
            let status = match &error {
                ObjectError::NotFound(_) => StatusCode::NOT_FOUND,
                _ => StatusCode::BAD_GATEWAY,
            };
            let remedy = "look at the name, and at /api/status/connectivity";
            return answer::told(status, code(&error), &error.to_string(), remedy);
        }
        Ok(Ok(first)) => Some(first),
        Err(_) => None,
    };
    let plain = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.starts_with("text/plain"));
    peer.hold.stream();
    let stream = Logs {
        follower,
        first,
        plain,
        ended: None,
        every: shared.config.sse_heartbeat,
        stop: shared.stop.clone(),
        over: false,
        connected: Connected::new(&shared.streams, Protocol::Logs, &peer),
        hold: Arc::clone(&peer.hold),
    };
    let body = Body::from_stream(stream.bytes());
    if plain {
        let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        (kind, body).into_response()
    } else {
        events::answer(body)
    }
}

/// Waiting for a refusal.
const FIRST: Duration = Duration::from_secs(2);

fn bad(message: &str) -> Response {
    let remedy = "namespace with pod, or selector; then container, tail and previous";
    answer::told(StatusCode::BAD_REQUEST, "bad_request", message, remedy)
}

struct Logs {
    follower: Follower,
    first: Option<Option<News>>,
    plain: bool,
    ended: Option<&'static str>,
    every: Duration,
    stop: CancellationToken,
    over: bool,
    #[expect(dead_code, reason = "it counts by being there")]
    connected: Connected,
    #[expect(dead_code, reason = "the connection takes room as long as it streams")]
    hold: Arc<Hold>,
}

impl Logs {
    fn bytes(self) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
        futures_util::stream::unfold(Box::new(self), async |mut it| {
            let bytes = it.next().await?;
            Some((Ok(bytes), it))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.over {
                return None;
            }
            let news = match self.first.take() {
                Some(first) => Ok(first),
                None => tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return None,
                    news = self.follower.next() => news,
                    // Text has no way to say that nothing happens.
                    () = tokio::time::sleep(self.every), if !self.plain => {
                        return Some(Bytes::from_static(b": heartbeat\n\n"));
                    }
                },
            };
            let (kind, data) = match news {
                Ok(Some(news)) => match told(news, &mut self.ended) {
                    Some(told) => told,
                    None => continue,
                },
                Ok(None) => {
                    self.over = true;
                    (
                        "log_end",
                        json!({ "reason": self.ended.unwrap_or("ended") }),
                    )
                }
                Err(error) => {
                    self.over = true;
                    let message = error.to_string();
                    (
                        "log_end",
                        json!({ "reason": code(&error), "message": message }),
                    )
                }
            };
            if !self.plain {
                return Some(format!("event: {kind}\ndata: {data}\n\n").into());
            }
            let text = plain(kind, &data);
            if !text.is_empty() {
                return Some(text.into());
            }
        }
    }
}

/// The same for people: a line each, with the pod and container before it.
fn plain(kind: &str, data: &Value) -> String {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let place = |value: &Value| format!("[{}/{}]", text(value, "pod"), text(value, "container"));
    match kind {
        "log" => {
            let mut out = String::new();
            for line in data["lines"].as_array().into_iter().flatten() {
                out.push_str(&place(line));
                out.push(' ');
                out.push_str(&text(line, "text"));
                out.push('\n');
            }
            out
        }
        "log_gap" => format!(
            "{} --- lines are missing: {} ---\n",
            place(data),
            text(data, "reason")
        ),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_what_is_read_and_no_name_changes_it() {
        let pod = |namespace: &str, pod: &str| Wanted {
            namespace: namespace.into(),
            pod: Some(pod.into()),
            ..Wanted::default()
        };
        assert!(pod("shop", "web-0").spec().is_ok());
        for (namespace, name) in [
            ("", "web"),
            ("shop", "web/../x"),
            ("shop", "web,metadata.name!=x"),
            ("sh/op", "web"),
            ("shop", "-web"),
            ("shop", "WEB"),
        ] {
            assert!(pod(namespace, name).spec().is_err(), "{namespace} {name}");
        }
        assert!(Wanted::default().spec().is_err());
        let all = Wanted {
            selector: Some("app=web".into()),
            tail: Some(u64::MAX),
            ..Wanted::default()
        };
        let spec = all.spec().unwrap();
        assert!(matches!(spec.pods, Pods::Selected { .. }));
        assert_eq!(spec.options.tail, Some(limits::LOCAL_TAIL));
        assert!(spec.options.follow);
    }
}
