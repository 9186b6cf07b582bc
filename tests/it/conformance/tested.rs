//! The end that is tested: a real session, and what its caller or its commands do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use pipeops_agent::link::WebSocket;
use pipeops_agent::protocol::message::Open as OpenMessage;
use pipeops_agent::protocol::{ErrorBody, ErrorCode};
use pipeops_agent::session::{
    self, Config, Ender, Incoming, Item, NewStream, Notice, Open, Session, StreamReader,
    StreamWriter,
};
use pipeops_agent::tasks::Tasks;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::DuplexStream;

use super::frames;

/// What a stream delivered so far.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    pub(super) bytes: Vec<u8>,
    pub(super) broken: bool,
}

#[derive(Default)]
struct Handles {
    writer: Option<StreamWriter>,
    ender: Option<Ender>,
    /// An unread stream's reader is kept, and nothing is taken from it.
    unread: Option<StreamReader>,
    stop: Option<tokio::sync::oneshot::Sender<ErrorCode>>,
    delivered: Arc<Mutex<Delivered>>,
}

struct Owner(Mutex<Vec<Incoming>>);

impl Open for Owner {
    fn open(&self, incoming: Incoming) {
        self.0.lock().unwrap().push(incoming);
    }

    fn notice(&self, _notice: Notice) {}
}

pub(super) struct Tested {
    session: Session,
    owner: Arc<Owner>,
    tasks: Tasks,
    streams: HashMap<u64, Handles>,
    unread: Vec<u64>,
    opened: u64,
}

impl Tested {
    pub(super) fn new(link: WebSocket<DuplexStream>, config: Config, unread: Vec<u64>) -> Self {
        let owner = Arc::new(Owner(Mutex::default()));
        let (session, run) = session::establish(link, config, Arc::clone(&owner) as Arc<dyn Open>);
        let tasks = Tasks::new();
        tasks.spawn("session", run);
        Self {
            session,
            owner,
            tasks,
            streams: HashMap::new(),
            unread,
            opened: 0,
        }
    }

    /// Does what brings a line of this end about.
    pub(super) async fn act(&mut self, frame: &Value) -> Result<(), String> {
        match tokio::time::timeout(Duration::from_secs(5), self.acts(frame)).await {
            Ok(done) => done,
            Err(_) => Err(format!("the tested end could not do {frame}")),
        }
    }

    async fn acts(&mut self, frame: &Value) -> Result<(), String> {
        match frame["type"].as_str() {
            Some("open") => return self.open(frame),
            Some("report") => {
                self.session
                    .report(serde_json::from_value(frame.clone()).unwrap());
                return Ok(());
            }
            Some("heartbeat") => {
                self.session
                    .heartbeat(serde_json::from_value(frame.clone()).unwrap());
                return Ok(());
            }
            Some("goaway") => {
                self.leave(frame);
                return Ok(());
            }
            _ => {}
        }
        let Some(stream) = frames::stream_of(frame) else {
            return Ok(());
        };
        self.take(stream).await?;
        let handles = self.streams.get_mut(&stream).ok_or("no such stream")?;
        if let Some(data) = frame.get("data") {
            let writer = handles.writer.as_mut().ok_or("the stream has no writer")?;
            if data["zstd"] == true {
                writer.compress();
            }
            let sent = writer.send(frames::bytes_of(data)).await;
            sent.map_err(|error| format!("sending failed: {error}"))?;
            if data["fin"] == true {
                writer.fin();
            }
        } else if frame["type"] == "event" {
            let writer = handles.writer.as_mut().ok_or("the stream has no writer")?;
            let sent = writer.event(&frame["event"]).await;
            sent.map_err(|error| format!("an event failed: {error}"))?;
        } else if frame["type"] == "end" {
            let ender = handles.ender.take().ok_or("the stream has ended")?;
            ender.end(outcome(frame));
        } else if let Some(reset) = frame.get("reset") {
            let code: ErrorCode = serde_json::from_value(reset["code"].clone()).unwrap();
            match (handles.unread.take(), handles.stop.take()) {
                (Some(reader), _) => reader.reset(code),
                (None, Some(stop)) => drop(stop.send(code)),
                (None, None) => return Err("the stream has no reader".into()),
            }
        }
        Ok(())
    }

    fn leave(&self, frame: &Value) {
        let code: ErrorCode = serde_json::from_value(frame["code"].clone()).unwrap();
        let message = frame["message"].as_str().unwrap_or_default();
        let reconnect = frame
            .get("reconnect")
            .map(|window| serde_json::from_value(window.clone()).unwrap());
        if code == ErrorCode::ShuttingDown {
            self.session.leave(code, message, reconnect);
        } else {
            self.session.abort(code, message);
        }
    }

    fn open(&mut self, frame: &Value) -> Result<(), String> {
        let open: OpenMessage = serde_json::from_value(frame.clone()).unwrap();
        let opened = self.session.open(NewStream {
            command: open.command,
            class: open.class,
            compression: open.compression,
            upload: true,
        });
        let (reader, writer) = opened.map_err(|error| format!("not opened: {error}"))?;
        self.opened += 1;
        let handles = Handles {
            writer: Some(writer),
            ..Handles::default()
        };
        self.streams.insert(self.opened, handles);
        self.read(self.opened, reader);
        Ok(())
    }

    /// Takes over the streams that have arrived, up to this one.
    async fn take(&mut self, stream: u64) -> Result<(), String> {
        while !self.streams.contains_key(&stream) {
            self.accept();
            if self.streams.contains_key(&stream) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    pub(super) fn accept(&mut self) {
        let arrived = std::mem::take(&mut *self.owner.0.lock().unwrap());
        for incoming in arrived {
            let stream = u64::from(incoming.id.get());
            let (writer, ender) = (Some(incoming.writer), Some(incoming.ender));
            self.streams.insert(
                stream,
                Handles {
                    writer,
                    ender,
                    ..Handles::default()
                },
            );
            self.read(stream, incoming.reader);
        }
    }

    /// Reads a stream to its end, or keeps its reader and reads nothing.
    fn read(&mut self, stream: u64, mut reader: StreamReader) {
        let handles = self.streams.get_mut(&stream).expect("just inserted");
        if self.unread.contains(&stream) {
            handles.unread = Some(reader);
            return;
        }
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        handles.stop = Some(stop);
        let delivered = Arc::clone(&handles.delivered);
        self.tasks.spawn_logged("reader", async move {
            loop {
                let item = tokio::select! {
                    Ok(code) = &mut stopped => {
                        delivered.lock().unwrap().broken = true;
                        return reader.reset(code);
                    }
                    item = reader.recv() => item,
                };
                match item {
                    Ok(Item::Data(bytes)) => delivered.lock().unwrap().bytes.extend(&bytes),
                    Ok(Item::Event(_) | Item::Fin) => {}
                    Ok(Item::End(_)) => return,
                    Err(error) => {
                        delivered.lock().unwrap().broken = error != session::StreamError::Ended;
                        return;
                    }
                }
            }
        });
    }

    /// Whether the stream has delivered these bytes, no fewer and no more.
    pub(super) fn delivered(&mut self, stream: u64, expected: &Bytes) -> Result<(), String> {
        self.accept();
        let Some(handles) = self.streams.get(&stream) else {
            return Ok(());
        };
        let delivered = handles.delivered.lock().unwrap();
        let whole = delivered.bytes == *expected;
        if handles.unread.is_some()
            || whole
            || delivered.broken && expected.starts_with(&delivered.bytes)
        {
            return Ok(());
        }
        Err(format!(
            "stream {stream}: {} bytes delivered, {} sent",
            delivered.bytes.len(),
            expected.len()
        ))
    }
}

fn outcome(frame: &Value) -> Result<Option<Box<RawValue>>, ErrorBody> {
    if let Some(error) = frame.get("error") {
        return Err(serde_json::from_value(error.clone()).unwrap());
    }
    Ok(frame
        .get("result")
        .map(|result| serde_json::value::to_raw_value(result).unwrap()))
}
