//! One client's conversation.
//!
//! Owns the messages of `/ws` and the life of the connection. Owns not: the logs that are followed
//! over it (`followed`). Invariants: a client that does not read, or is silent for too long, is
//! closed; what it sends wrongly is named and ends nothing.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::followed::{Followed, LogsStart, Refused};
use crate::limits;
use crate::local::accept::{Peer, Rate};
use crate::local::connected::{Connected, Protocol};
use crate::local::hub::{Channels, Client};
use crate::local::{Shared, collect, own, view};

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

pub(super) struct Talk<'s> {
    shared: &'s Shared,
    socket: WebSocketStream<TokioIo<Upgraded>>,
    client: Client,
    logs: Followed,
    pace: Rate,
    cores: view::Pace,
    heard: Instant,
    connected: Connected,
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
    pub(super) async fn new(shared: &'s Shared, peer: &Peer, upgraded: Upgraded) -> Self {
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
            logs: Followed::default(),
            pace: Rate::new(limits::LOCAL_MESSAGES, now),
            cores: view::Pace::since(shared.status.started()),
            heard: now,
            connected: Connected::new(&shared.websockets, Protocol::WebSocket, peer),
            _peer: peer.clone(),
        }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let over = self.talk(&stop).await;
        if let Err(Over::With(code, reason)) = over {
            let frame = CloseFrame {
                code,
                reason: reason.into(),
            };
            let closing = self.socket.close(Some(frame));
            let _ = timeout(limits::LOCAL_GOODBYE, closing).await;
        }
    }

    async fn talk(&mut self, stop: &CancellationToken) -> Result<(), Over> {
        let channels = self.shared.hub.names();
        let welcome = json!({
            "type": "welcome", "connection_id": self.connected.id(), "channels": channels,
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
                told = self.logs.next() => {
                    for message in told {
                        self.say(&message).await?;
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
                        let own = own::types(&self.shared.config);
                        let types: Vec<_> = TYPES.into_iter().chain(own).collect();
                        let message =
                            format!("there is no such type; there are {}", types.join(", "));
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
            Said::LogsStart(asked) => {
                let sources = self.shared.sources.get().map(Arc::as_ref);
                match self.logs.start(sources, asked) {
                    Ok(()) => Ok(()),
                    Err(Refused { code, message, id }) => {
                        self.refuse(code, message, id.as_deref()).await
                    }
                }
            }
            Said::LogsStop { id } => {
                if self.logs.stop(&id) {
                    let told = json!({ "type": "log_end", "id": id, "reason": "stopped" });
                    return self.say(&told).await;
                }
                let message = "no log of this id is followed";
                self.refuse("not_found", message, Some(&id)).await
            }
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
}
