//! A gateway and an agent whose link can be cut, and a command that says what a script says.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role as WsRole;

use crate::link::{WebSocket, websocket};
use crate::protocol::error::{ErrorBody, ErrorCode};
use crate::protocol::message::Class;
use crate::protocol::{CommandEnvelope, ResumeKey};
use crate::session::{
    Config, Ended, Ender, Incoming, Item, LastingReader, Lines, NewStream, Notice, Open, OpenError,
    Role, Session, StreamError, StreamWriter, establish,
};
use crate::tasks::Tasks;

/// What the command does next.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Data(usize),
    Event(usize),
    Pause(u64),
}

#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) steps: Vec<Step>,
    /// How it ends.
    pub(super) well: bool,
}

/// What a reader has heard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) bytes: Vec<u8>,
    /// Each with the bytes before it.
    pub(super) events: Vec<(usize, String)>,
    pub(super) well: bool,
}

fn event(len: usize) -> String {
    format!("{{\"e\":\"{}\"}}", "-".repeat(len))
}

fn pattern(from: usize, len: usize) -> Bytes {
    (from..from + len).map(|at| (at % 251) as u8).collect()
}

impl Script {
    pub(super) fn said(&self) -> Said {
        let mut said = Said {
            well: self.well,
            ..Said::default()
        };
        for step in &self.steps {
            match *step {
                Step::Data(len) => said.bytes.extend(pattern(said.bytes.len(), len)),
                Step::Event(len) => said.events.push((said.bytes.len(), event(len))),
                Step::Pause(_) => {}
            }
        }
        said
    }

    async fn run(self, mut writer: StreamWriter) -> Result<(), StreamError> {
        let mut sent = 0;
        for step in self.steps {
            match step {
                Step::Data(len) => {
                    writer.send(pattern(sent, len)).await?;
                    sent += len;
                }
                Step::Event(len) => {
                    let text = RawValue::from_string(event(len)).unwrap();
                    writer.event(&text).await?;
                }
                Step::Pause(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            }
        }
        writer.fin();
        Ok(())
    }
}

impl Said {
    /// Takes an item; the end is handed back.
    pub(super) fn take(&mut self, item: Item) -> Option<Result<(), ErrorBody>> {
        match item {
            Item::Data(bytes) => self.bytes.extend_from_slice(&bytes),
            Item::Event(event) => self.events.push((self.bytes.len(), event.get().to_owned())),
            Item::Fin => {}
            Item::End(end) => {
                self.well = end.is_ok();
                return Some(end.map(drop));
            }
        }
        None
    }

    pub(super) fn begins_with(&self, other: &Self) -> bool {
        self.bytes.starts_with(&other.bytes) && self.events.starts_with(&other.events)
    }
}

/// A link's end that breaks after so many bytes, either way.
struct Cutting {
    io: DuplexStream,
    left: Option<usize>,
}

impl Cutting {
    fn broken(&self) -> bool {
        self.left == Some(0)
    }

    fn spend(&mut self, bytes: usize) {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(bytes);
        }
    }
}

impl AsyncRead for Cutting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.broken() {
            return Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        self.spend(buf.filled().len() - before);
        read
    }
}

impl AsyncWrite for Cutting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.broken() {
            return Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()));
        }
        let most = self.left.unwrap_or(buf.len()).min(buf.len());
        let wrote = Pin::new(&mut self.io).poll_write(cx, &buf[..most]);
        if let Poll::Ready(Ok(bytes)) = &wrote {
            self.spend(*bytes);
        }
        wrote
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The agent's end: runs the script for a new command, attaches what is resumed.
struct Agent {
    script: Script,
    lines: Lines,
    tasks: Tasks,
    /// Commands that have not ended.
    running: Arc<AtomicUsize>,
    /// How the last command ended.
    ended: Arc<Mutex<Option<StreamError>>>,
}

impl Open for Agent {
    fn open(&self, incoming: Incoming) {
        let Incoming {
            command,
            resume,
            writer,
            ender,
            ..
        } = incoming;
        let resume = resume.expect("the rig opens nothing else");
        if resume.count > 0 {
            if let Err(ender) = self.lines.resume(&resume, &command, writer, ender) {
                ender.end(Err(ErrorBody::new(ErrorCode::ResumeGap, "")));
            }
            return;
        }
        let (writer, ender) = self.lines.last(&resume, &command, writer, ender);
        let work = drive(self.script.clone(), writer, ender, Arc::clone(&self.ended));
        let running = Arc::clone(&self.running);
        running.fetch_add(1, Ordering::Relaxed);
        self.tasks.spawn_logged("command", async move {
            work.await;
            running.fetch_sub(1, Ordering::Relaxed);
        });
    }

    fn notice(&self, _notice: Notice) {}
}

async fn drive(
    script: Script,
    writer: StreamWriter,
    ender: Ender,
    ended: Arc<Mutex<Option<StreamError>>>,
) {
    let well = script.well;
    let work = script.run(writer);
    let outcome = tokio::select! {
        biased;
        cancelled = ender.cancelled() => Err(cancelled),
        done = work => done,
    };
    *ended.lock().unwrap() = outcome.err();
    let bad = || ErrorBody::new(ErrorCode::UpstreamFailed, "as the script says");
    ender
        .finish(if well && outcome.is_ok() {
            Ok(None)
        } else {
            Err(bad())
        })
        .await;
}

struct Nobody;

impl Open for Nobody {
    fn open(&self, incoming: Incoming) {
        drop(incoming);
    }

    fn notice(&self, _notice: Notice) {}
}

struct Link {
    gateway: Session,
    ended: [tokio::task::JoinHandle<Ended>; 2],
}

/// Both ends.
pub(super) struct Rig {
    pub(super) lines: Lines,
    agent: Arc<Agent>,
    tasks: Tasks,
    window: u32,
    binary: bool,
    resume_for: Duration,
    link: Option<Link>,
}

impl Rig {
    pub(super) fn new(script: Script, window: u32, binary: bool) -> Self {
        let (lines, tasks) = (Lines::default(), Tasks::new());
        let agent = Agent {
            script,
            lines: lines.clone(),
            tasks: tasks.clone(),
            running: Arc::default(),
            ended: Arc::default(),
        };
        Self {
            lines,
            agent: Arc::new(agent),
            tasks,
            window,
            binary,
            resume_for: Duration::from_secs(60),
            link: None,
        }
    }

    /// A link that breaks after so many bytes.
    pub(super) async fn connect(&mut self, cut: Option<usize>) {
        let (near, far) = tokio::io::duplex(4096);
        let near = Cutting {
            io: near,
            left: cut,
        };
        let config = websocket::config(4096);
        let agent = WebSocketStream::from_raw_socket(near, WsRole::Client, Some(config)).await;
        let gateway = WebSocketStream::from_raw_socket(far, WsRole::Server, Some(config)).await;
        let config = |role| Config {
            binary: self.binary,
            own_window: self.window,
            resume: Some(self.resume_for),
            ..Config::new(role)
        };
        let owner = Arc::clone(&self.agent) as Arc<dyn Open>;
        let (_, run) = establish(WebSocket::new(agent), config(Role::Agent), owner);
        let agent_ended = self.tasks.spawn("agent", run);
        let (session, run) = establish(
            WebSocket::new(gateway),
            config(Role::Gateway),
            Arc::new(Nobody),
        );
        self.link = Some(Link {
            gateway: session,
            ended: [agent_ended, self.tasks.spawn("gateway", run)],
        });
    }

    /// Breaks the link from outside, and waits until both ends know.
    pub(super) async fn cut(&mut self) {
        if let Some(link) = self.link.take() {
            for ended in link.ended {
                ended.abort();
                let _ = ended.await;
            }
        }
    }

    pub(super) fn session(&self) -> &Session {
        &self.link.as_ref().expect("there is a link").gateway
    }

    pub(super) fn open(&self) -> Result<LastingReader, OpenError> {
        LastingReader::open(self.session(), stream(), ResumeKey::new([7; 16]))
    }

    /// The next link, of which an agent dials one at a time.
    pub(super) async fn again<'a>(
        &mut self,
        reader: &mut LastingReader,
        cuts: &mut impl Iterator<Item = &'a usize>,
    ) {
        loop {
            if let Some(link) = self.link.take() {
                for ended in link.ended {
                    let _ = ended.await;
                }
            }
            self.connect(cuts.next().copied()).await;
            if reader.resume(self.session(), stream()).is_ok() {
                return;
            }
        }
    }

    /// How the last command ended, once it has.
    pub(super) fn ended(&self) -> Option<StreamError> {
        *self.agent.ended.lock().unwrap()
    }

    pub(super) fn running(&self) -> usize {
        self.agent.running.load(Ordering::Relaxed)
    }

    /// Waits until no command is left.
    pub(super) async fn settle(&self) {
        while self.running() > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

pub(super) fn command() -> CommandEnvelope {
    CommandEnvelope {
        id: "1".into(),
        name: "test".into(),
        args: serde_json::value::to_raw_value(&()).unwrap(),
        deadline_ms: None,
        actor: None,
        idempotency_key: None,
        attempt: 1,
        traceparent: None,
    }
}

pub(super) fn stream() -> NewStream {
    NewStream {
        command: command(),
        class: Class::Api,
        compression: None,
        upload: false,
    }
}
