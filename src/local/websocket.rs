//! `/ws`: updates, answers and logs over one WebSocket.
//!
//! | client | server |
//! |---|---|
//! | | `welcome` with `connection_id` and `channels` |
//! | `subscribe`, `unsubscribe` with `channels` | `update` for each, the first of them how it stands |
//! | `ping` | `pong` |
//! | `get_status`, `get_metrics` | `status`, `metrics` with `data` |
//! | a type of the operator's own channels | the same type with `channel` and `data` |
//! | `logs.start` with `id` and what to read, `logs.stop` | `log`, `log_gap`, `log_note`, `log_end` |
//! | anything else | `error` with `code` and `message` |
//!
//! Owns the upgrade and one client's conversation. Owns not: the updates (`hub`), the reading of logs
//! (`logs`). Invariants: a client that does not read, or is silent for too long, is closed; nothing
//! that it sends ends anything but its own connection; nothing is executed.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{Future, SinkExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::accept::{Peer, Rate};
use super::answer::Failure;
use super::events::Counted;
use super::guard::PROTOCOL;
use super::hub::{Channels, Client};
use super::logs::{self, Wanted};
use super::{Shared, collect, own, view};
use crate::cluster::ObjectError;
use crate::cluster::logs::{Follower, News};
use crate::limits;

const NO_UPGRADE: Failure = Failure::new(
    StatusCode::UPGRADE_REQUIRED,
    "upgrade_required",
    "this is a WebSocket of version 13",
    "use a WebSocket client, or /api/realtime/events",
);

/// `GET /ws`.
pub(super) async fn upgrade(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
) -> Response {
    let headers = request.headers();
    let Some(key) = key(headers) else {
        let mut response = NO_UPGRADE.into_response();
        let websocket = HeaderValue::from_static("websocket");
        response.headers_mut().insert(header::UPGRADE, websocket);
        return response;
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let ours = offers(headers, PROTOCOL);
    let upgrading = hyper::upgrade::on(&mut request);
    let tasks = shared.tasks.clone();
    tasks.spawn_logged("local websocket", async move {
        let cut = peer.hold.is_cut();
        let stop = shared.stop.clone();
        let Ok(Ok(upgraded)) = timeout(limits::HEADER_DEADLINE, upgrading).await else {
            return;
        };
        let talking = Talk::new(&shared, &peer, upgraded).await.run(stop);
        cut.run_until_cancelled(talking).await;
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = accept {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if ours {
        let protocol = HeaderValue::from_static(PROTOCOL);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

fn listed(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let values: Vec<_> = headers.get_all(name).iter().collect();
    values
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    listed(headers, header::SEC_WEBSOCKET_PROTOCOL).any(|one| one == protocol)
}

fn key(headers: &HeaderMap) -> Option<&HeaderValue> {
    let has = |name, token: &str| listed(headers, name).any(|one| one.eq_ignore_ascii_case(token));
    let asked = has(header::CONNECTION, "upgrade")
        && has(header::UPGRADE, "websocket")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asked)
}

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Said {
    #[serde(rename = "subscribe")]
    Subscribe { channels: Vec<String> },
    #[serde(rename = "unsubscribe")]
    Unsubscribe { channels: Vec<String> },
    #[serde(rename = "ping")]
    Ping {
        #[serde(default)]
        id: Value,
    },
    #[serde(rename = "get_status")]
    GetStatus,
    #[serde(rename = "get_metrics")]
    GetMetrics,
    #[serde(rename = "logs.start")]
    LogsStart(LogsStart),
    #[serde(rename = "logs.stop")]
    LogsStop { id: String },
}

const TYPES: [&str; 7] = [
    "subscribe",
    "unsubscribe",
    "ping",
    "get_status",
    "get_metrics",
    "logs.start",
    "logs.stop",
];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LogsStart {
    id: String,
    namespace: String,
    pod: Option<String>,
    container: Option<String>,
    selector: Option<String>,
    tail: Option<u64>,
    previous: bool,
}

/// A log that is followed, and what came of it.
type Step = (Following, Result<Option<News>, ObjectError>);

struct Following {
    id: String,
    follower: Box<Follower>,
    stop: CancellationToken,
    ended: Option<&'static str>,
}

type Steps = FuturesUnordered<Pin<Box<dyn Future<Output = Option<Step>> + Send>>>;

struct Talk<'s> {
    shared: &'s Shared,
    socket: WebSocketStream<TokioIo<Upgraded>>,
    client: Client,
    logs: BTreeMap<String, CancellationToken>,
    steps: Steps,
    pace: Rate,
    cores: view::Pace,
    heard: Instant,
    id: String,
    _counted: Counted,
    _peer: Peer,
}

/// Why a conversation is over.
enum Over {
    Closed,
    With(CloseCode, &'static str),
}

impl From<Error> for Over {
    fn from(error: Error) -> Self {
        match error {
            Error::Capacity(_) => Self::With(CloseCode::Size, "the message is too large"),
            Error::Utf8(_) => Self::With(CloseCode::Invalid, "text is UTF-8"),
            Error::Protocol(_) => Self::With(CloseCode::Protocol, "this is no WebSocket"),
            _ => Self::Closed,
        }
    }
}

impl<'s> Talk<'s> {
    async fn new(shared: &'s Shared, peer: &Peer, upgraded: Upgraded) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(4 * 1024)
            .write_buffer_size(0)
            .max_write_buffer_size(4 * limits::TEXT_MESSAGE)
            .max_message_size(Some(limits::LOCAL_MESSAGE))
            .max_frame_size(Some(limits::LOCAL_MESSAGE));
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let hold = Arc::clone(&peer.hold);
        let now = Instant::now();
        Self {
            shared,
            socket,
            client: shared.hub.enter(Channels::default(), None, hold),
            logs: BTreeMap::new(),
            steps: FuturesUnordered::new(),
            pace: Rate::new(limits::LOCAL_MESSAGES, now),
            cores: view::Pace::since(shared.status.started()),
            heard: now,
            id: format!("{:016x}", rand::random::<u64>()),
            _counted: Counted::new(&shared.websockets),
            _peer: peer.clone(),
        }
    }

    async fn run(mut self, stop: CancellationToken) {
        tracing::debug!(connection = self.id, "WebSocket connection established");
        let over = self.talk(&stop).await;
        if let Err(Over::With(code, reason)) = over {
            let frame = CloseFrame {
                code,
                reason: reason.into(),
            };
            let closing = self.socket.close(Some(frame));
            let _ = timeout(limits::LOCAL_GOODBYE, closing).await;
        }
        tracing::debug!(connection = self.id, "WebSocket connection closed");
    }

    async fn talk(&mut self, stop: &CancellationToken) -> Result<(), Over> {
        let channels = self.shared.hub.names();
        let welcome = json!({
            "type": "welcome", "connection_id": self.id, "channels": channels,
            "version": env!("CARGO_PKG_VERSION"),
        });
        self.say(&welcome).await?;
        let every = self.shared.config.sse_heartbeat;
        let mut beat = tokio::time::interval_at(Instant::now() + every, every);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    return Err(Over::With(CloseCode::Away, "the agent is stopping"));
                }
                message = self.socket.next() => match message {
                    Some(Ok(message)) => self.hear(message).await?,
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(Over::Closed),
                },
                update = self.client.next() => match update {
                    Some(update) => self.send(Message::Text(update.websocket.clone())).await?,
                    None => return Err(Over::Closed),
                },
                Some(step) = self.steps.next(), if !self.steps.is_empty() => {
                    if let Some((following, news)) = step {
                        self.read(following, news).await?;
                    }
                }
                _ = beat.tick() => {
                    let silent = Instant::now().saturating_duration_since(self.heard);
                    if silent > self.shared.config.connection_timeout.max(2 * every) {
                        return Err(Over::With(CloseCode::Policy, "nothing was heard for too long"));
                    }
                    self.send(Message::Ping(bytes::Bytes::new())).await?;
                }
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Over> {
        // A client that does not read for so long is not there.
        match timeout(limits::LOCAL_STALL, self.socket.send(message)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(Over::Closed),
        }
    }

    async fn say(&mut self, message: &Value) -> Result<(), Over> {
        self.send(Message::Text(message.to_string().into())).await
    }

    async fn refuse(&mut self, code: &str, message: &str, id: Option<&str>) -> Result<(), Over> {
        let mut error = json!({ "type": "error", "code": code, "message": message });
        if let Some(id) = id {
            error["id"] = id.into();
        }
        self.say(&error).await
    }

    async fn hear(&mut self, message: Message) -> Result<(), Over> {
        self.heard = Instant::now();
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => {
                return self.refuse("bad_message", "messages are text", None).await;
            }
            Message::Close(_) => return Err(Over::Closed),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
        };
        if !self.pace.allows(self.heard) {
            let message = "there are more messages a second than one may send";
            return self.refuse("too_many", message, None).await;
        }
        self.pace.take(self.heard);
        match serde_json::from_str::<Said>(&text) {
            Ok(said) => self.answer(said).await,
            Err(_) => {
                let value: Value = serde_json::from_str(&text).unwrap_or_default();
                match value["type"].as_str() {
                    Some(kind) if !TYPES.contains(&kind) => {
                        if let Some(told) = own::answer(&self.shared.config, kind) {
                            return self.say(&told).await;
                        }
                        let message =
                            format!("there is no such type; there are {}", TYPES.join(", "));
                        self.refuse("unknown_type", &message, None).await
                    }
                    Some(_) => {
                        let message = "a field is missing or of the wrong kind";
                        self.refuse("bad_message", message, None).await
                    }
                    None => {
                        let message = "a message is a JSON object with a type";
                        self.refuse("bad_message", message, None).await
                    }
                }
            }
        }
    }

    async fn answer(&mut self, said: Said) -> Result<(), Over> {
        match said {
            Said::Subscribe { channels } => match self.parse(&channels) {
                Some(channels) => {
                    self.client.subscribe(channels);
                    Ok(())
                }
                None => self.unknown_channel().await,
            },
            Said::Unsubscribe { channels } => match self.parse(&channels) {
                Some(channels) => {
                    self.client.unsubscribe(channels);
                    Ok(())
                }
                None => self.unknown_channel().await,
            },
            Said::Ping { id } => {
                let at = self.shared.clock.now();
                let id = if id.is_string() || id.is_number() {
                    id
                } else {
                    Value::Null
                };
                self.say(&json!({ "type": "pong", "id": id, "at": at }))
                    .await
            }
            Said::GetStatus => {
                self.shared.metrics.refresh();
                let data = self.shared.status_now();
                self.say(&json!({ "type": "status", "data": data })).await
            }
            Said::GetMetrics if !self.shared.config.features.runtime_metrics => {
                let message = "features.runtime_metrics is off";
                self.refuse("disabled", message, None).await
            }
            Said::GetMetrics => {
                self.shared.metrics.refresh();
                let at = self.shared.clock.now();
                let lag = std::time::Duration::ZERO;
                let data = collect::runtime(self.shared, &mut self.cores, lag, &at);
                self.say(&json!({ "type": "metrics", "data": data })).await
            }
            Said::LogsStart(start) => self.start(start).await,
            Said::LogsStop { id } => match self.logs.remove(&id) {
                Some(stop) => {
                    stop.cancel();
                    self.say(&json!({ "type": "log_end", "id": id, "reason": "stopped" }))
                        .await
                }
                None => {
                    self.refuse("not_found", "no log of this id is followed", Some(&id))
                        .await
                }
            },
        }
    }

    /// The channels of these names; none where one of them is none.
    fn parse(&self, names: &[String]) -> Option<Channels> {
        let channels = self.shared.hub.parse(names.iter().map(String::as_str));
        channels.ok().filter(|channels| !channels.is_empty())
    }

    async fn unknown_channel(&mut self) -> Result<(), Over> {
        let message = format!("there are {}", self.shared.hub.names().join(", "));
        self.refuse("unknown_channel", &message, None).await
    }

    async fn start(&mut self, start: LogsStart) -> Result<(), Over> {
        let id = start.id;
        if !(1..=64).contains(&id.len()) {
            return self
                .refuse("bad_message", "an id has 1 to 64 bytes", None)
                .await;
        }
        if self.logs.contains_key(&id) {
            let message = "a log of this id is followed already";
            return self.refuse("bad_message", message, Some(&id)).await;
        }
        if self.logs.len() >= limits::LOCAL_LOGS {
            let message = "one connection follows eight logs at most";
            return self.refuse("too_many", message, Some(&id)).await;
        }
        let wanted = Wanted {
            namespace: start.namespace,
            pod: start.pod,
            container: start.container,
            selector: start.selector,
            tail: start.tail,
            previous: start.previous,
        };
        let spec = match wanted.spec() {
            Ok(spec) => spec,
            Err(message) => return self.refuse("bad_message", message, Some(&id)).await,
        };
        let Some(sources) = self.shared.sources.get() else {
            let message = "the agent has only just begun";
            return self.refuse("starting", message, Some(&id)).await;
        };
        let stop = CancellationToken::new();
        let follower = Box::new(Follower::new(sources.cluster.objects(), spec));
        self.logs.insert(id.clone(), stop.clone());
        self.step(Following {
            id,
            follower,
            stop,
            ended: None,
        });
        Ok(())
    }

    fn step(&self, mut following: Following) {
        self.steps.push(Box::pin(async move {
            let stop = following.stop.clone();
            let news = stop.run_until_cancelled(following.follower.next()).await?;
            Some((following, news))
        }));
    }

    async fn read(
        &mut self,
        mut following: Following,
        news: Result<Option<News>, ObjectError>,
    ) -> Result<(), Over> {
        if following.stop.is_cancelled() {
            return Ok(());
        }
        let id = following.id.clone();
        let news = match news {
            Ok(Some(news)) => {
                let told = logs::told(news, &mut following.ended);
                self.step(following);
                told
            }
            Ok(None) => {
                self.logs.remove(&id);
                let reason = following.ended.unwrap_or("ended");
                Some(("log_end", json!({ "reason": reason })))
            }
            Err(error) => {
                self.logs.remove(&id);
                let (code, message) = (logs::code(&error), error.to_string());
                self.refuse(code, &message, Some(&id)).await?;
                Some(("log_end", json!({ "reason": code, "message": message })))
            }
        };
        if let Some((kind, mut data)) = news {
            data["type"] = kind.into();
            data["id"] = id.into();
            self.say(&data).await?;
        }
        Ok(())
    }
}
