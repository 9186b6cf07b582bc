//! The end that the test plays: frames out as lines say, frames in as lines expect.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use pipeops_agent::link::{Link as _, WebSocket};
use pipeops_agent::protocol::codec::Wire;
use pipeops_agent::protocol::{ErrorCode, Frame};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use zstd::stream::raw::{Decoder, Encoder, InBuffer, Operation as _, OutBuffer};

use super::frames;
use crate::protocol::fixture;

/// What the tested end sent: a text message, or a frame in the notation of the lines whose bytes
/// are restored.
#[derive(Debug)]
pub(super) enum Got {
    Text(Value),
    Data {
        stream: u64,
        bytes: Bytes,
        fin: bool,
    },
    Window {
        stream: u64,
        bytes: u64,
    },
    Reset {
        stream: u64,
        code: String,
    },
    Close(Option<u16>),
}

impl Got {
    pub(super) fn stream(&self) -> Option<u64> {
        match self {
            Self::Text(message) => message["stream"].as_u64(),
            Self::Data { stream, .. }
            | Self::Window { stream, .. }
            | Self::Reset { stream, .. } => Some(*stream),
            Self::Close(_) => None,
        }
    }
}

pub(super) struct Played {
    link: WebSocket<DuplexStream>,
    binary: bool,
    scripted_pings: bool,
    gone: bool,
    encoders: HashMap<u64, Encoder<'static>>,
    decoders: HashMap<u64, Decoder<'static>>,
    pub(super) kept: VecDeque<Got>,
    /// Credit given on a stream since a line asked for it.
    pub(super) credit: HashMap<u64, u64>,
}

impl Played {
    pub(super) fn new(link: WebSocket<DuplexStream>, binary: bool, scripted_pings: bool) -> Self {
        Self {
            link,
            binary,
            scripted_pings,
            gone: false,
            encoders: HashMap::new(),
            decoders: HashMap::new(),
            kept: VecDeque::new(),
            credit: HashMap::new(),
        }
    }

    /// Sends one frame of a line. A link that the tested end has closed takes nothing, which is
    /// for the lines that follow to judge.
    pub(super) async fn send(&mut self, frame: &Value) {
        if let Some(code) = frame["close"].as_u64() {
            self.link.set_close(u16::try_from(code).unwrap(), "");
            let _ = self.link.close().await;
            return;
        }
        if let Some(flood) = frame.get("open_and_reset") {
            let first = flood["first"].as_u64().unwrap();
            for stream in first..first + flood["count"].as_u64().unwrap() {
                let command =
                    json!({"id": "flood", "name": "channel.echo", "args": {"mode": "echo"}});
                let open = json!({"type": "open", "stream": stream, "window": 16384, "class": "api", "command": command});
                self.feed(Wire::Text(open.to_string())).await;
                let (stream, code) = (frames::id(stream), ErrorCode::Cancelled);
                self.feed(Wire::Binary(Frame::Reset { stream, code }.encode()))
                    .await;
            }
            return;
        }
        let wire = if frame.get("type").is_some() {
            Wire::Text(frame.to_string())
        } else if let Some(text) = frame.get("raw_text") {
            Wire::Text(fixture::pieces(text))
        } else if let Some(hex) = frame.get("raw_hex") {
            Wire::Binary(fixture::hex(hex))
        } else if let Some(data) = frame.get("data") {
            return self.send_data(data).await;
        } else if let Some(window) = frame.get("window") {
            let (stream, bytes) = (window["stream"].as_u64().unwrap(), &window["bytes"]);
            if self.binary {
                let bytes = u32::try_from(bytes.as_u64().unwrap()).unwrap();
                Wire::Binary(
                    Frame::Window {
                        stream: frames::id(stream),
                        bytes,
                    }
                    .encode(),
                )
            } else {
                Wire::Text(json!({"type": "credit", "stream": stream, "bytes": bytes}).to_string())
            }
        } else if let Some(reset) = frame.get("reset") {
            let (stream, code) = (reset["stream"].as_u64().unwrap(), &reset["code"]);
            if self.binary {
                let code: ErrorCode = serde_json::from_value(code.clone()).unwrap();
                Wire::Binary(
                    Frame::Reset {
                        stream: frames::id(stream),
                        code,
                    }
                    .encode(),
                )
            } else {
                Wire::Text(json!({"type": "cancel", "stream": stream, "code": code}).to_string())
            }
        } else {
            panic!("not a frame: {frame}")
        };
        self.feed(wire).await;
    }

    async fn feed(&mut self, wire: Wire) {
        self.gone |= self.link.send(wire).await.is_err();
    }

    async fn send_data(&mut self, data: &Value) {
        let stream = data["stream"].as_u64().unwrap();
        let fin = data["fin"].as_bool().unwrap_or(false);
        let zstd = data["zstd"].as_bool().unwrap_or(false);
        let mut bytes = frames::bytes_of(data);
        if zstd {
            bytes = self.compress(stream, &bytes);
        }
        if self.binary {
            let stream = frames::id(stream);
            let frame = Frame::Data {
                stream,
                fin,
                zstd,
                payload: bytes,
            };
            return self.feed(Wire::Binary(frame.encode())).await;
        }
        let data = STANDARD.encode(&bytes);
        let message =
            json!({"type": "data", "stream": stream, "data": data, "fin": fin, "zstd": zstd});
        self.feed(Wire::Text(message.to_string())).await;
    }

    fn compress(&mut self, stream: u64, bytes: &[u8]) -> Bytes {
        let encoder = self
            .encoders
            .entry(stream)
            .or_insert_with(|| Encoder::new(1).unwrap());
        let mut out = vec![0; bytes.len() + 1024];
        let mut output = OutBuffer::around(&mut out[..]);
        encoder
            .run(&mut InBuffer::around(bytes), &mut output)
            .unwrap();
        assert_eq!(encoder.flush(&mut output).unwrap(), 0);
        let written = output.pos();
        out.truncate(written);
        out.into()
    }

    fn restore(&mut self, stream: u64, bytes: &[u8]) -> Bytes {
        let decoder = self
            .decoders
            .entry(stream)
            .or_insert_with(|| Decoder::new().unwrap());
        let mut out = vec![0; 1 << 20];
        let mut output = OutBuffer::around(&mut out[..]);
        decoder
            .run(&mut InBuffer::around(bytes), &mut output)
            .expect("a zstd stream");
        let written = output.pos();
        out.truncate(written);
        out.into()
    }

    /// The next thing that a line may be about, `None` when nothing comes within `time`.
    pub(super) async fn receive(&mut self, time: Duration) -> Option<Got> {
        let deadline = tokio::time::Instant::now() + time;
        loop {
            let next = tokio::time::timeout_at(deadline, self.link.next())
                .await
                .ok()?;
            let message = match next {
                Some(Ok(Wire::Text(text))) => serde_json::from_str(&text).expect("JSON"),
                Some(Ok(Wire::Binary(bytes))) => {
                    let frame = Frame::decode(&bytes)
                        .expect("a frame")
                        .expect("a known one");
                    assert!(self.binary, "a binary frame without the feature");
                    fixture::meaning(&frame)
                }
                Some(Err(_)) | None => {
                    self.gone = true;
                    return Some(Got::Close(self.link.peer_close().map(|(code, _)| code)));
                }
            };
            if let Some(got) = self.understand(message).await {
                return Some(got);
            }
        }
    }

    async fn understand(&mut self, message: Value) -> Option<Got> {
        if let Some(data) = message.get("data").filter(|data| data.is_object()) {
            let stream = data["stream"].as_u64().unwrap();
            let bytes = fixture::hex(&data["hex"]);
            let zstd = data["zstd"].as_bool().unwrap();
            let bytes = if zstd {
                self.restore(stream, &bytes)
            } else {
                bytes
            };
            return Some(Got::Data {
                stream,
                bytes,
                fin: data["fin"].as_bool().unwrap(),
            });
        }
        if let Some(window) = message.get("window").filter(|window| window.is_object()) {
            let (stream, bytes) = (window["stream"].as_u64()?, window["bytes"].as_u64()?);
            return Some(Got::Window { stream, bytes });
        }
        if let Some(reset) = message.get("reset").filter(|reset| reset.is_object()) {
            let code = reset["code"].as_str().unwrap().to_owned();
            return Some(Got::Reset {
                stream: reset["stream"].as_u64()?,
                code,
            });
        }
        let stream = message["stream"].as_u64();
        match message["type"].as_str().expect("a type") {
            "ping" if !self.scripted_pings => {
                let pong = json!({"type": "pong", "nonce": message["nonce"]});
                self.feed(Wire::Text(pong.to_string())).await;
                None
            }
            "pong" if !self.scripted_pings => None,
            "data" => {
                let mut bytes = Bytes::from(STANDARD.decode(message["data"].as_str()?).unwrap());
                if message["zstd"].as_bool().unwrap_or(false) {
                    bytes = self.restore(stream?, &bytes);
                }
                let fin = message["fin"].as_bool().unwrap_or(false);
                Some(Got::Data {
                    stream: stream?,
                    bytes,
                    fin,
                })
            }
            "credit" => Some(Got::Window {
                stream: stream?,
                bytes: message["bytes"].as_u64()?,
            }),
            "cancel" => Some(Got::Reset {
                stream: stream?,
                code: message["code"].as_str()?.to_owned(),
            }),
            _ => Some(Got::Text(message)),
        }
    }
}
