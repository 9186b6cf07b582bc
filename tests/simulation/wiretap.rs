//! What passes between agent and gateway, read at the agent's end and held to the protocol.
//!
//! Owns a decoder of WebSocket frames of its own and the count of streams and credit, neither of
//! which shares code with `mux`. Invariants, as sentences: see [`Streams`].

use std::collections::BTreeMap;

use bytes::Bytes;
use pipeops_agent::protocol::codec::{self, Decoded, Wire};
use pipeops_agent::protocol::frame::Frame;
use pipeops_agent::protocol::{ToAgent, ToGateway};

use crate::record::Record;

const ONE_END: &str = "no stream gets more than one end, and nothing after it";
const CREDIT: &str = "credit never exceeds what was granted";
const IDS: &str = "the ids of streams rise by one";
const READABLE: &str = "each side can read what the other says";

/// One direction's bytes.
#[derive(Default)]
struct Way {
    bytes: Vec<u8>,
    headed: bool,
}

/// Both directions of one connection.
pub(crate) struct Wiretap {
    record: Record,
    up: Way,
    down: Way,
    /// Nothing, until it is known whether this is a channel.
    channel: Option<bool>,
    streams: Streams,
}

/// The streams of one session.
#[derive(Default)]
struct Streams {
    last: u32,
    window: i64,
    by_id: BTreeMap<u32, Stream>,
}

/// What either side may still send.
#[derive(Default)]
struct Stream {
    up: i64,
    down: i64,
    ended: bool,
    reset: bool,
}

impl Wiretap {
    pub(crate) fn new(record: Record) -> Self {
        Self {
            record,
            up: Way::default(),
            down: Way::default(),
            channel: None,
            streams: Streams::default(),
        }
    }

    /// Bytes that the agent wrote.
    pub(crate) fn went(&mut self, bytes: &[u8]) {
        if self.channel.is_none() {
            self.channel = Some(bytes.starts_with(b"GET /channel HTTP/"));
        }
        if self.channel == Some(true) {
            self.up.bytes.extend_from_slice(bytes);
            while let Some(wire) = self.up.message() {
                match codec::decode::<ToGateway>(&wire) {
                    Ok(decoded) => self.streams.went(&self.record, decoded),
                    Err(code) => self.record.broken(READABLE, format!("agent: {code}")),
                }
            }
        }
    }

    /// Bytes that came to the agent.
    pub(crate) fn came(&mut self, bytes: &[u8]) {
        if self.channel == Some(true) {
            self.down.bytes.extend_from_slice(bytes);
            while let Some(wire) = self.down.message() {
                match codec::decode::<ToAgent>(&wire) {
                    Ok(decoded) => self.streams.came(&self.record, decoded),
                    Err(code) => self.record.broken(READABLE, format!("gateway: {code}")),
                }
            }
        }
    }
}

impl Drop for Wiretap {
    fn drop(&mut self) {
        if self.channel == Some(true) {
            let open = |stream: &&Stream| !stream.ended && !stream.reset;
            let left = self.streams.by_id.values().filter(open).count();
            self.record
                .note(format!("channel closed, {left} streams cut"));
        }
    }
}

impl Way {
    /// The next whole message; control frames of WebSocket are passed over.
    fn message(&mut self) -> Option<Wire> {
        if !self.headed {
            let end = self.bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
            self.bytes.drain(..end + 4);
            self.headed = true;
        }
        loop {
            let (&first, &second) = (self.bytes.first()?, self.bytes.get(1)?);
            let (length, mut at) = match second & 0x7f {
                126 => (be(self.bytes.get(2..4)?), 4),
                127 => (be(self.bytes.get(2..10)?), 10),
                short => (usize::from(short), 2),
            };
            let mask = if second & 0x80 == 0 {
                [0; 4]
            } else {
                at += 4;
                self.bytes.get(at - 4..at)?.try_into().unwrap()
            };
            let mut payload = self.bytes.get(at..at + length)?.to_vec();
            self.bytes.drain(..at + length);
            for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
                *byte ^= mask;
            }
            match first {
                0x81 => return Some(Wire::Text(String::from_utf8(payload).unwrap())),
                0x82 => return Some(Wire::Binary(Bytes::from(payload))),
                // Close, ping and pong.
                0x88..=0x8a => {}
                // Refused answers are HTTP and nothing of ours.
                _ => self.bytes.clear(),
            }
        }
    }
}

fn be(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |all, byte| all << 8 | usize::from(*byte))
}

impl Streams {
    fn went(&mut self, record: &Record, decoded: Decoded<ToGateway>) {
        match decoded {
            Decoded::Message(ToGateway::Hello(hello)) => {
                self.window = hello.window.into();
                record.note("hello");
            }
            Decoded::Message(ToGateway::Event(event)) => {
                let id = event.stream.get();
                let length = event.event.get().len();
                record.note(format!("{id} event {length}"));
                let stream = self.known(record, id);
                stream.alive(record, id);
                if stream.up <= 0 {
                    record.broken(CREDIT, format!("an event on stream {id} at {}", stream.up));
                }
                stream.up -= i64::try_from(length).unwrap();
            }
            Decoded::Message(ToGateway::End(end)) => {
                let id = end.stream.get();
                let how = end.error.as_ref().map_or("ok", |error| error.code.as_str());
                record.note(format!("{id} end {how}"));
                record.count("ends");
                let stream = self.known(record, id);
                stream.alive(record, id);
                stream.ended = true;
            }
            Decoded::Frame(Frame::Data {
                stream: id,
                payload,
                fin,
                ..
            }) => {
                let id = id.get();
                record.note(format!("{id} up {} {fin}", payload.len()));
                let stream = self.known(record, id);
                stream.alive(record, id);
                stream.up -= i64::try_from(payload.len()).unwrap();
                if stream.up < 0 {
                    record.broken(CREDIT, format!("stream {id} up by {}", -stream.up));
                }
            }
            Decoded::Frame(Frame::Window { stream: id, bytes }) => {
                let id = id.get();
                self.known(record, id).down += i64::from(bytes);
            }
            Decoded::Frame(Frame::Reset { .. }) => {
                record.broken(READABLE, "the agent sends RESET");
            }
            Decoded::Message(ToGateway::Goaway(goaway)) => {
                record.note(format!("agent goes away: {}", goaway.code));
            }
            Decoded::Message(_) | Decoded::Ignored => {}
        }
    }

    fn came(&mut self, record: &Record, decoded: Decoded<ToAgent>) {
        match decoded {
            Decoded::Message(ToAgent::Open(open)) => {
                let id = open.stream.get();
                record.note(format!("{id} open {}", open.command.name));
                record.count("streams");
                if id != self.last + 1 {
                    record.broken(IDS, format!("{id} after {}", self.last));
                }
                self.last = id;
                let stream = Stream {
                    up: open.window.into(),
                    down: self.window,
                    ..Stream::default()
                };
                self.by_id.insert(id, stream);
            }
            Decoded::Frame(Frame::Data {
                stream: id,
                payload,
                fin,
                ..
            }) => {
                let id = id.get();
                record.note(format!("{id} down {} {fin}", payload.len()));
                let stream = self.known(record, id);
                stream.down -= i64::try_from(payload.len()).unwrap();
                if stream.down < 0 {
                    record.broken(CREDIT, format!("stream {id} down by {}", -stream.down));
                }
            }
            Decoded::Frame(Frame::Window { stream: id, bytes }) => {
                let id = id.get();
                self.known(record, id).up += i64::from(bytes);
            }
            Decoded::Frame(Frame::Reset { stream: id, code }) => {
                let id = id.get();
                record.note(format!("{id} reset {code}"));
                self.known(record, id).reset = true;
            }
            Decoded::Message(ToAgent::Goaway(goaway)) => {
                record.note(format!("gateway goes away: {}", goaway.code));
            }
            Decoded::Message(_) | Decoded::Ignored => {}
        }
    }

    fn known(&mut self, record: &Record, id: u32) -> &mut Stream {
        if id > self.last || id == 0 {
            record.broken(IDS, format!("{id} was not opened"));
        }
        self.by_id.entry(id).or_default()
    }
}

impl Stream {
    fn alive(&self, record: &Record, id: u32) {
        if self.ended {
            record.broken(ONE_END, format!("stream {id}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of WebSocket, unmasked.
    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap();
        let mut bytes = vec![kind, 126];
        bytes.extend(length.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    /// A session with one open stream whose answer may be ten bytes.
    fn opened(record: &Record) -> Wiretap {
        let mut tap = Wiretap::new(record.clone());
        tap.went(b"GET /channel HTTP/1.1\r\n\r\n");
        tap.came(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
        let open = r#"{"type":"open","stream":1,"window":10,"class":"api",
            "command":{"id":"r-1","name":"channel.echo","args":{}}}"#;
        tap.came(&frame(0x81, open.as_bytes()));
        tap
    }

    const END: &[u8] = br#"{"type":"end","stream":1}"#;

    #[test]
    fn a_second_end_and_too_many_bytes_are_noticed() {
        let record = Record::new(false);
        let mut tap = opened(&record);
        let ten = b"\x01\x00\x00\x00\x00\x00\x00\x010123456789";
        tap.went(&frame(0x82, ten));
        // In pieces, as a connection may bring them.
        for byte in frame(0x81, END) {
            tap.went(&[byte]);
        }
        assert!(!record.is_broken());
        tap.went(&frame(0x81, END));
        assert_eq!(record.outcome().broken.len(), 1);

        let record = Record::new(false);
        let mut tap = opened(&record);
        tap.went(&frame(0x82, &[&ten[..], b"x"].concat()));
        assert_eq!(record.outcome().broken.len(), 1);

        let record = Record::new(false);
        let mut tap = opened(&record);
        let second = r#"{"type":"open","stream":3,"window":10,"class":"api",
            "command":{"id":"r-2","name":"channel.echo","args":{}}}"#;
        tap.came(&frame(0x81, second.as_bytes()));
        assert_eq!(record.outcome().broken.len(), 1);
    }
}
