//! Goes through the lines of one session.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pipeops_agent::link::{WebSocket, websocket};
use pipeops_agent::session::{Config, Role};
use serde_json::Value;
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role as WsRole;

use super::frames::{self, Captures};
use super::played::{Got, Played};
use super::tested::Tested;

/// How long a line of the tested end is waited for. The clock is paused: it passes at once.
const WAIT: Duration = Duration::from_secs(40);

fn config(end: &str, head: &Value, lines: &[Value]) -> Config {
    let hello = &lines[0]["frame"];
    let welcome = &lines[1]["frame"];
    let has = |feature: &str| {
        welcome["features"]
            .as_array()
            .unwrap()
            .iter()
            .any(|name| name == feature)
    };
    let number = |value: &Value| u32::try_from(value.as_u64().unwrap()).unwrap();
    let role = if end == "agent" {
        Role::Agent
    } else {
        Role::Gateway
    };
    let mut config = Config::new(role);
    config.binary = has("binary");
    config.zstd = has("zstd");
    config.resume = has("resume").then(|| {
        Duration::from_millis(
            welcome["resume_ms"]
                .as_u64()
                .expect("said with the feature"),
        )
    });
    config.ping = serde_json::from_value(welcome["ping"].clone()).unwrap();
    config.peer_window = number(&hello["window"]);
    config.max_streams = number(&hello["max_streams"]).min(config.max_streams);
    let open = lines.iter().find(|line| line["frame"]["type"] == "open");
    config.own_window = match (role, open) {
        (Role::Gateway, Some(open)) => number(&open["frame"]["window"]),
        _ => number(&hello["window"]),
    };
    if let Some(pool) = head["pool"].as_u64() {
        config.pool = usize::try_from(pool).unwrap();
    }
    config
}

struct Replay {
    end: String,
    played: Played,
    tested: Tested,
    captures: Captures,
    /// What the tested end must have delivered, by stream.
    expected: HashMap<u64, BytesMut>,
}

/// Both ends of a new link: the tested one, and the played one.
async fn link(end: &str) -> (WebSocket<DuplexStream>, WebSocket<DuplexStream>) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let (own, other) = match end {
        "agent" => (WsRole::Client, WsRole::Server),
        _ => (WsRole::Server, WsRole::Client),
    };
    let socket =
        |io, role| WebSocketStream::from_raw_socket(io, role, Some(websocket::config(8192)));
    // The played end may say what no honest one can.
    let wide = websocket::config(8192)
        .max_message_size(None)
        .max_frame_size(None);
    let tested = WebSocket::new(socket(ours, own).await);
    let played = WebSocket::new(WebSocketStream::from_raw_socket(theirs, other, Some(wide)).await);
    (tested, played)
}

/// Replays a session against `end`, or several one after the other.
pub(super) async fn run(end: &str, head: &Value, lines: &[Value]) -> Result<(), String> {
    let (tested, played) = link(end).await;
    let config = config(end, head, lines);
    let unread = head["unread"].as_array().map_or(Vec::new(), |streams| {
        streams
            .iter()
            .map(|stream| stream.as_u64().unwrap())
            .collect()
    });
    let scripted = head["scripted_pings"] == true;
    let mut replay = Replay {
        end: end.to_owned(),
        played: Played::new(played, config.binary, scripted),
        tested: Tested::new(tested, config.clone(), unread),
        captures: Captures::default(),
        expected: HashMap::new(),
    };
    // The handshake is each program's own, and tested there.
    let mut handshake = 2;
    for (number, line) in lines.iter().enumerate() {
        if handshake > 0 {
            handshake -= 1;
            continue;
        }
        if line["lost"] == true {
            let (tested, played) = link(end).await;
            replay.finish().await?;
            replay.played = Played::new(played, config.binary, scripted);
            replay.tested.lost(tested, config.clone()).await;
            replay.expected.clear();
            handshake = 2;
            continue;
        }
        replay
            .line(line)
            .await
            .map_err(|why| format!("line {}: {why}", number + 2))?;
    }
    replay.finish().await
}

impl Replay {
    async fn line(&mut self, line: &Value) -> Result<(), String> {
        if let Some(stream) = line["stream"]
            .as_u64()
            .filter(|_| line.get("quiet").is_some())
        {
            return self.quiet(stream).await;
        }
        let frame = &line["frame"];
        if line["from"] == self.end.as_str() {
            if line["own"] != true {
                self.tested.act(&self.captures.fill(frame)).await?;
            }
            return self.expect(frame, line["may"] == true).await;
        }
        let frame = self.captures.fill(frame);
        for _ in 0..line["times"].as_u64().unwrap_or(1) {
            self.played.send(&frame).await;
        }
        // What the commands of the tested end read gives credit, and needs their streams.
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.tested.accept();
        if let Some(data) = frame.get("data").filter(|_| line["dropped"] != true) {
            let stream = data["stream"].as_u64().unwrap();
            self.expected
                .entry(stream)
                .or_default()
                .extend_from_slice(&frames::bytes_of(data));
        }
        Ok(())
    }

    async fn quiet(&mut self, stream: u64) -> Result<(), String> {
        while let Some(got) = self.played.receive(Duration::from_secs(1)).await {
            let about = got.stream() == Some(stream) && !matches!(got, Got::Window { .. });
            if about || matches!(got, Got::Close(_)) {
                return Err(format!("not quiet: {got:?}"));
            }
            self.keep(got);
        }
        Ok(())
    }

    fn keep(&mut self, got: Got) {
        match got {
            Got::Window { stream, bytes } => {
                *self.played.credit.entry(stream).or_default() += bytes;
            }
            got => self.played.kept.push_back(got),
        }
    }

    /// Waits for a line of the tested end.
    async fn expect(&mut self, frame: &Value, may: bool) -> Result<(), String> {
        let mut frame = frame.clone();
        if frame["type"] == "open" {
            // A gateway chooses its windows by what it holds.
            frame["window"] = Value::from("$any");
        }
        let frame = &frame;
        let stream = frames::stream_of(frame);
        if let Some(window) = frame.get("window").filter(|window| window.is_object()) {
            return self.expect_credit(window, may).await;
        }
        if let Some(data) = frame.get("data") {
            return self.expect_data(data).await;
        }
        loop {
            let Some(got) = self.next(stream, frame).await else {
                return if may {
                    Ok(())
                } else {
                    Err(format!("nothing came for {frame}"))
                };
            };
            let matched = match &got {
                Got::Text(message) => {
                    frame.get("type").is_some() && self.captures.matches(frame, Some(message))
                }
                Got::Reset { code, .. } => frame["reset"]["code"] == code.as_str(),
                Got::Close(code) => frame
                    .get("close")
                    .is_some_and(|close| code.is_some_and(|code| close == &Value::from(code))),
                // FIN may come in an empty frame of its own, behind the bytes of its line.
                Got::Data { bytes, .. } if bytes.is_empty() => continue,
                Got::Data { .. } | Got::Window { .. } => false,
            };
            if matched {
                return Ok(());
            }
            if may {
                self.played.kept.push_front(got);
                return Ok(());
            }
            return Err(format!("{got:?} came instead of {frame}"));
        }
    }

    /// The next thing on this stream, or of the session; what is about others is kept.
    async fn next(&mut self, stream: Option<u64>, frame: &Value) -> Option<Got> {
        let kept = self
            .played
            .kept
            .iter()
            .position(|got| relevant(got, stream, frame));
        if let Some(kept) = kept {
            return self.played.kept.remove(kept);
        }
        loop {
            let got = self.played.receive(WAIT).await?;
            if relevant(&got, stream, frame) {
                return Some(got);
            }
            self.keep(got);
        }
    }

    async fn expect_data(&mut self, data: &Value) -> Result<(), String> {
        let stream = data["stream"].as_u64().unwrap();
        let (expected, fin) = (frames::bytes_of(data), data["fin"] == true);
        let mut got = BytesMut::new();
        let mut finished = false;
        while got.len() < expected.len() || fin && !finished {
            match self.next(Some(stream), &Value::Null).await {
                Some(Got::Data { bytes, fin, .. }) => {
                    let more = expected.len() - got.len();
                    if bytes.len() > more {
                        let rest = bytes.slice(more..);
                        self.played.kept.push_front(Got::Data {
                            stream,
                            bytes: rest,
                            fin,
                        });
                        got.extend_from_slice(&bytes[..more]);
                    } else {
                        got.extend_from_slice(&bytes);
                        finished |= fin;
                    }
                }
                Some(other) => return Err(format!("{other:?} came instead of {data}")),
                None => return Err(format!("{} of {} bytes came", got.len(), expected.len())),
            }
        }
        if got == expected {
            Ok(())
        } else {
            Err(format!("other bytes than {data}"))
        }
    }

    async fn expect_credit(&mut self, window: &Value, may: bool) -> Result<(), String> {
        let stream = window["stream"].as_u64().unwrap();
        let wanted = window["bytes"].as_u64().unwrap();
        while self.played.credit.get(&stream).copied().unwrap_or(0) < wanted {
            match self.played.receive(WAIT).await {
                Some(Got::Close(code)) => return Err(format!("closed with {code:?}")),
                Some(got) => self.keep(got),
                None if may => return Ok(()),
                None => return Err(format!("no {wanted} bytes of credit came")),
            }
        }
        self.played.credit.insert(stream, 0);
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), String> {
        // A moment for what is on its way; anything that no line expects is a failure.
        tokio::time::sleep(Duration::from_millis(10)).await;
        for (stream, bytes) in &self.expected {
            self.tested
                .delivered(*stream, &Bytes::copy_from_slice(bytes))?;
        }
        let unexpected = self.played.kept.iter().find(|got| match got {
            Got::Close(_) => false,
            Got::Text(message) => !["ping", "pong", "heartbeat"]
                .iter()
                .any(|kind| message["type"] == *kind),
            _ => true,
        });
        match unexpected {
            Some(Got::Data { bytes, .. }) if bytes.is_empty() => Ok(()),
            Some(got) => Err(format!("no line expects {got:?}")),
            None => Ok(()),
        }
    }
}

/// Whether a line about `frame` has to do with what came. The end of the link ends every wait.
fn relevant(got: &Got, stream: Option<u64>, frame: &Value) -> bool {
    match got {
        Got::Window { .. } => false,
        Got::Close(_) => true,
        // Session messages of one type keep their order; others may come between them.
        Got::Text(message) if message.get("stream").is_none() => {
            stream.is_none() && message["type"] == frame["type"]
        }
        got => got.stream() == stream,
    }
}
