//! The end that is tested: a real session, and what its caller or its commands do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use pipeops_agent::link::WebSocket;
use pipeops_agent::protocol::message::Open as OpenMessage;
use pipeops_agent::protocol::{ErrorBody, ErrorCode, Resume};
use pipeops_agent::session::{
    self, Config, Ender, Incoming, Item, LastingReader, Lines, NewStream, Notice, Open, Session,
    StreamError, StreamReader, StreamWriter,
};
use pipeops_agent::tasks::Tasks;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::DuplexStream;
use tokio::sync::oneshot;

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
    stop: Option<oneshot::Sender<ErrorCode>>,
    /// The command may be resumed by it.
    key: Option<String>,
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
    ended: Option<tokio::task::JoinHandle<session::Ended>>,
    owner: Arc<Owner>,
    /// Agent: the commands that may be resumed, and the handles of each by its key.
    lines: Lines,
    lasting: HashMap<String, Handles>,
    /// Gateway: what reads such a command, once its channel was lost.
    readers: HashMap<String, oneshot::Receiver<LastingReader>>,
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
        Self {
            session,
            ended: Some(tasks.spawn("session", run)),
            owner,
            lines: Lines::default(),
            lasting: HashMap::new(),
            readers: HashMap::new(),
            tasks,
            streams: HashMap::new(),
            unread,
            opened: 0,
        }
    }

    /// The channel is lost, and there is another one. What was played is gone already.
    pub(super) async fn lost(&mut self, link: WebSocket<DuplexStream>, config: Config) {
        if let Some(ended) = self.ended.take() {
            let _ = ended.await;
        }
        let owner = Arc::clone(&self.owner) as Arc<dyn Open>;
        let (session, run) = session::establish(link, config, owner);
        self.session = session;
        self.ended = Some(self.tasks.spawn("session", run));
        for (_, handles) in self.streams.drain() {
            if let Some(key) = handles.key.clone() {
                self.lasting.insert(key, handles);
            }
        }
        self.opened = 0;
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
            Some("open") => return self.open(frame).await,
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
            self.tasks.spawn("end", ender.finish(outcome(frame)));
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

    async fn open(&mut self, frame: &Value) -> Result<(), String> {
        let open: OpenMessage = serde_json::from_value(frame.clone()).unwrap();
        let resume = open.resume;
        let stream = NewStream {
            command: open.command,
            class: open.class,
            compression: open.compression,
            upload: resume.is_none(),
        };
        if let Some(resume) = resume {
            return self.open_lasting(stream, &resume).await;
        }
        let opened = self.session.open(stream);
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

    /// Opens or resumes a command, and reads it until its channel is lost.
    async fn open_lasting(&mut self, stream: NewStream, resume: &Resume) -> Result<(), String> {
        let key = String::from(resume.key);
        let reader = match self.readers.remove(&key) {
            None => LastingReader::open(&self.session, stream, resume.key),
            Some(reader) => {
                let mut reader = reader.await.map_err(|_| "it was not lost")?;
                reader.resume(&self.session, stream).map(|()| reader)
            }
        };
        let mut reader = reader.map_err(|error| format!("not opened: {error}"))?;
        let (back, again) = oneshot::channel();
        self.readers.insert(key, again);
        self.opened += 1;
        let handles = Handles::default();
        let delivered = Arc::clone(&handles.delivered);
        self.streams.insert(self.opened, handles);
        self.tasks.spawn_logged("reader", async move {
            loop {
                match reader.recv().await {
                    Ok(Item::Data(bytes)) => delivered.lock().unwrap().bytes.extend(&bytes),
                    Ok(Item::Event(_) | Item::Fin) => {}
                    Ok(Item::End(_)) => return,
                    Err(error) => {
                        delivered.lock().unwrap().broken = true;
                        if error == StreamError::Lost {
                            let _ = back.send(reader);
                        }
                        return;
                    }
                }
            }
        });
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
            let Incoming {
                command,
                resume,
                reader,
                writer,
                ender,
                ..
            } = incoming;
            let mut handles = Handles::default();
            match resume {
                None => (handles.writer, handles.ender) = (Some(writer), Some(ender)),
                Some(resume) if resume.count == 0 => {
                    let (writer, ender) = self.lines.last(&resume, &command, writer, ender);
                    // This carries it on.
                    self.tasks.spawn("command", ender.cancelled());
                    (handles.writer, handles.ender) = (Some(writer), Some(ender));
                    handles.key = Some(resume.key.into());
                }
                Some(resume) => match self.lines.resume(&resume, &command, writer, ender) {
                    Ok(()) => {
                        let key = String::from(resume.key);
                        handles = self.lasting.remove(&key).expect("it is known");
                    }
                    Err(ender) => {
                        let body = ErrorBody::new(ErrorCode::ResumeGap, "it cannot go on");
                        ender.end(Err(body));
                    }
                },
            }
            self.streams.insert(stream, handles);
            self.read(stream, reader);
        }
    }

    /// Reads a stream to its end, or keeps its reader and reads nothing.
    fn read(&mut self, stream: u64, mut reader: StreamReader) {
        let handles = self.streams.get_mut(&stream).expect("just inserted");
        if self.unread.contains(&stream) {
            handles.unread = Some(reader);
            return;
        }
        let (stop, mut stopped) = oneshot::channel();
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
                        delivered.lock().unwrap().broken = error != StreamError::Ended;
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
