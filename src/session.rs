//! One established session, either role: drives one `mux` over one `link`.
//!
//! Owns the channel from the moment both sides have agreed on it: reading, writing, pinging,
//! closing, the handles of its streams. Owns not: dialling and handshakes (`uplink`, `gateway`),
//! nor what a command means. Invariants: the reader never waits for a handler or for the socket's
//! write side; the lock never crosses an await; when the session ends, every stream handle learns
//! of it at once.

mod compress;
mod driver;
pub mod error;
pub mod lasting;
pub mod resume;
mod shared;
mod silence;
pub mod stream;
pub mod translate;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits;
use crate::link::Link;
use crate::mux;
use crate::protocol::error::ErrorCode;
use crate::protocol::hello::{PingTimes, ReconnectWindow, SessionRole};
use crate::protocol::message::{Class, Compression, Goaway, Heartbeat, Report, Warning};
use crate::protocol::{CommandEnvelope, Resume, StreamId};
use shared::Shared;

pub use crate::mux::{Counts, Role};
pub use error::{Ended, OpenError, StreamError};
pub use lasting::LastingReader;
pub use resume::Lines;
pub use silence::Silence;
pub use stream::{Ender, Item, StreamReader, StreamWriter};

/// What both sides agreed on, and what this side allows itself.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which end this is.
    pub role: Role,
    /// Bytes, credit and resets go as binary frames.
    pub binary: bool,
    /// The feature zstd is in force.
    pub zstd: bool,
    /// The liveness check's times.
    pub ping: PingTimes,
    /// A faster pace of this side's pings than the peer asks for.
    pub pace: Option<Duration>,
    /// Gateway: the first window that the agent's `hello` gave for uploads. Agent: unused.
    pub peer_window: u32,
    /// The window that this side stated: in `hello` (agent), in each `open` (gateway, at most).
    pub own_window: u32,
    /// How many streams may be open at once: the smaller of both sides' limits.
    pub max_streams: u32,
    /// Bytes that this session may hold for slow readers.
    pub pool: usize,
    /// One ceiling for all sessions of this process, if there are many.
    pub shared_pool: Option<Arc<SharedPool>>,
    /// How long running streams may go on after `goaway`.
    pub grace: Duration,
    /// How long commands that may be resumed outlive the session; nothing where the feature is not
    /// in force.
    pub resume: Option<Duration>,
}

/// Received bytes that all sessions of a process hold together.
#[derive(Debug)]
pub struct SharedPool {
    pub(crate) held: std::sync::atomic::AtomicUsize,
    pub(crate) limit: usize,
}

impl SharedPool {
    /// A pool of this many bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            held: std::sync::atomic::AtomicUsize::new(0),
            limit,
        })
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.held.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Config {
    /// The defaults of a role, before negotiation.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            binary: true,
            zstd: false,
            ping: PingTimes {
                every_ms: u64::try_from(limits::PING_EVERY.as_millis()).unwrap_or(u64::MAX),
                within_ms: u64::try_from(limits::PING_WITHIN.as_millis()).unwrap_or(u64::MAX),
            },
            pace: None,
            peer_window: limits::WINDOW_FIRST,
            own_window: limits::WINDOW_FIRST,
            max_streams: limits::STREAMS,
            pool: match role {
                Role::Agent => limits::AGENT_POOL,
                Role::Gateway => limits::GATEWAY_POOL,
            },
            shared_pool: None,
            grace: limits::CLOSING,
            resume: None,
        }
    }
}

/// A command that arrived with its stream (agent).
#[derive(Debug)]
pub struct Incoming {
    /// The stream's number.
    pub id: StreamId,
    /// What is asked.
    pub command: CommandEnvelope,
    /// The stream's class.
    pub class: Class,
    /// What the answer may be compressed with.
    pub compression: Option<Compression>,
    /// The command may be resumed, or is, where the feature is in force.
    pub resume: Option<Resume>,
    /// Bytes from the gateway.
    pub reader: StreamReader,
    /// Events and bytes towards it.
    pub writer: StreamWriter,
    /// The stream's one end.
    pub ender: Ender,
}

/// Something that the peer said about the session.
#[derive(Debug, Clone)]
pub enum Notice {
    /// Gateway: the agent's state; its acknowledgement is already on its way.
    Report(Report),
    /// Gateway: a sign of life.
    Heartbeat(Heartbeat),
    /// Agent: a report was taken.
    Ack(u32),
    /// Agent: the session's role from now on.
    Role(SessionRole),
    /// Agent: something that its operator should know.
    Warning(Warning),
    /// Either: the peer goes away and takes no new streams.
    Goaway(Goaway),
}

/// Who takes what arrives. Called with no lock held; must never wait.
pub trait Open: Send + Sync + 'static {
    /// A command (agent). To refuse it, end it.
    fn open(&self, incoming: Incoming);

    /// Something about the session.
    fn notice(&self, notice: Notice);
}

/// What a gateway asks for.
#[derive(Debug)]
pub struct NewStream {
    /// The command.
    pub command: CommandEnvelope,
    /// Its class.
    pub class: Class,
    /// What the agent may compress the answer with.
    pub compression: Option<Compression>,
    /// Bytes will be sent to the agent; otherwise the writer is finished from the start.
    pub upload: bool,
}

/// A handle on an established session. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

impl Session {
    /// Opens a stream (gateway). Never waits: the open is queued, and gets its id when written.
    ///
    /// Dropping the reader before `End`, or the writer before [`StreamWriter::fin`], resets the
    /// stream with `cancelled`.
    ///
    /// # Errors
    /// When the session is full, going away or gone; nothing was sent then.
    pub fn open(&self, stream: NewStream) -> Result<(StreamReader, StreamWriter), OpenError> {
        self.open_with(stream, None)
    }

    fn open_with(
        &self,
        stream: NewStream,
        resume: Option<Resume>,
    ) -> Result<(StreamReader, StreamWriter), OpenError> {
        let zstd = self.shared.zstd && resume.is_none();
        let new = mux::NewStream {
            command: stream.command,
            class: stream.class,
            compression: stream.compression.filter(|_| zstd),
            upload: stream.upload,
            resume,
        };
        let key = self.shared.with(|mux, now| mux.open(now, new))?;
        let reader = StreamReader::new(Arc::clone(&self.shared), key);
        Ok((
            reader,
            StreamWriter::new(Arc::clone(&self.shared), key, false),
        ))
    }

    /// Tells the agent its role from now on (gateway).
    pub fn name(&self, role: SessionRole) {
        self.shared.say(mux::Signal::Role(role));
    }

    /// Tells the agent something that its operator should know (gateway).
    pub fn warn(&self, code: ErrorCode, message: &str) {
        self.shared.say(mux::Signal::Warning(Warning {
            code,
            message: message.to_owned(),
        }));
    }

    /// Sends the agent's state (agent); `seq` is set by the session.
    pub fn report(&self, mut report: Report) {
        report.seq = self.shared.next_report();
        self.shared.say(mux::Signal::Report(report));
    }

    /// Sends a heartbeat (agent); `seq` and `streams` are set by the session.
    pub fn heartbeat(&self, mut heartbeat: Heartbeat) {
        heartbeat.seq = self.shared.next_heartbeat();
        heartbeat.streams = self.counts().streams.iter().sum();
        self.shared.say(mux::Signal::Heartbeat(heartbeat));
    }

    /// Begins to leave: says `goaway`, takes no new streams, lets running ones go on for the
    /// configured grace, then ends the rest with `shutting_down` and closes.
    pub fn leave(&self, code: ErrorCode, message: &str, reconnect: Option<ReconnectWindow>) {
        self.shared
            .with(|mux, now| mux.leave(now, code, message, reconnect));
        self.shared.timer.notify_one();
    }

    /// Begins to leave because the same process has another session now (gateway): running streams
    /// have [`limits::BESIDE`].
    pub fn yield_to_another(&self) {
        let (code, message) = (ErrorCode::ShuttingDown, "another session takes over");
        self.shared
            .with(|mux, now| mux.leave_within(now, limits::BESIDE, code, message, None));
        self.shared.timer.notify_one();
    }

    /// Ends the session now, saying why (for example `unauthorized` after a token was removed).
    pub fn abort(&self, code: ErrorCode, message: &str) {
        self.shared.fail(code, message.to_owned());
    }

    /// A number that moves every few seconds as long as the session's task does.
    pub fn beats(&self) -> u64 {
        self.shared.beats()
    }

    /// Counts, at this moment.
    pub fn counts(&self) -> Counts {
        self.shared.with(|mux, _| mux.counts())
    }

    /// The silences of the session, once it has ended; none before that.
    pub fn silence(&self) -> Silence {
        self.shared.silence()
    }

    /// How long the agent keeps commands that may be resumed, where it does.
    pub fn resume_for(&self) -> Option<Duration> {
        self.shared.resume
    }

    /// Whether new streams can still be opened here.
    pub fn is_open(&self) -> bool {
        self.shared.with(|mux, _| mux.is_open())
    }
}

/// Makes a session of a link whose handshake is done. The future drives it and must be polled
/// (by a task of the caller's `Tasks`); dropping it ends the session.
pub fn establish<L: Link>(
    link: L,
    config: Config,
    owner: Arc<dyn Open>,
) -> (Session, impl Future<Output = Ended> + Send + 'static) {
    let shared = Arc::new(Shared::new(config, Instant::now().into_std()));
    let session = Session {
        shared: Arc::clone(&shared),
    };
    // Made before the future runs, so that a future that is never polled still tells the handles.
    let gone = driver::Gone(Arc::clone(&shared));
    (session, driver::run(link, shared, owner, gone))
}

#[cfg(test)]
mod tests;
