//! Logs: where they go, in what shape, and what never gets in.
//!
//! Owns the subscriber, the writer and the panic hook. Owns not: what is logged. Invariants: a
//! reader of standard error that stalls costs log lines, never the program's progress; panics are
//! logged without their message, which may quote data; code that is not ours logs warnings only,
//! because its lower levels quote requests.

mod json;

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Thread;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

use crate::limits;
use json::Json;

/// Of which shape a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line, with `time`, `level`, `msg` and `component`.
    Json,
}

/// What to log.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which events.
    pub level: Level,
    /// Unless given: text on a terminal, JSON elsewhere.
    pub format: Option<Format>,
    /// Colours, where the format is text and standard error a terminal.
    pub color: bool,
}

/// The level of all our modules, and of some of them: `info,uplink=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    base: LevelFilter,
    modules: Vec<(String, LevelFilter)>,
}

impl Default for Level {
    fn default() -> Self {
        Self::of(LevelFilter::INFO)
    }
}

impl Level {
    /// One level for everything.
    pub const fn of(base: LevelFilter) -> Self {
        Self {
            base,
            modules: Vec::new(),
        }
    }

    /// Reads a level, or a comma-separated list of a level and `module=level`.
    ///
    /// # Errors
    /// With the part that is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut level = Self::default();
        for part in text.split(',').map(str::trim) {
            let (module, name) = match part.split_once('=') {
                Some((module, name)) => (Some(module), name),
                None => (None, part),
            };
            let filter = match name.to_ascii_lowercase().as_str() {
                "off" => LevelFilter::OFF,
                "error" => LevelFilter::ERROR,
                "warn" | "warning" => LevelFilter::WARN,
                "info" => LevelFilter::INFO,
                "debug" => LevelFilter::DEBUG,
                "trace" => LevelFilter::TRACE,
                _ => return Err(part.to_owned()),
            };
            match module {
                None => level.base = filter,
                Some(module) if is_module(module) => level.modules.push((module.into(), filter)),
                Some(_) => return Err(part.to_owned()),
            }
        }
        Ok(level)
    }

    fn filter(&self) -> EnvFilter {
        let base = self.base;
        let mut filter = EnvFilter::new(format!("warn,{CRATE}={base},{AUDIT}={base}"));
        for (module, level) in &self.modules {
            let target = match module.as_str() {
                AUDIT => AUDIT.to_owned(),
                module => format!("{CRATE}::{module}"),
            };
            if let Ok(directive) = format!("{target}={level}").parse() {
                filter = filter.add_directive(directive);
            }
        }
        filter
    }
}

const CRATE: &str = "pipeops_agent";
/// The target of the policy's records, which are no module's.
const AUDIT: &str = "audit";

fn is_module(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':')
}

/// Starts logging to standard error. Lines that are still queued are written when the guard is
/// dropped, or given up after half a second.
///
/// # Errors
/// When logging was started before, or the writer's thread cannot be.
pub fn init(config: &Config) -> io::Result<Guard> {
    let terminal = io::stderr().is_terminal();
    let (filter, levels) = reload::Layer::new(config.level.filter());
    let (queue, guard) = Queue::start(io::stderr(), Levels(Some(levels)))?;
    let format = config
        .format
        .unwrap_or(if terminal { Format::Text } else { Format::Json });
    let layer = match format {
        Format::Text => tracing_subscriber::fmt::layer()
            .with_writer(queue)
            .with_ansi(terminal && config.color)
            .boxed(),
        Format::Json => Json::new(queue).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .map_err(|error| io::Error::new(io::ErrorKind::AlreadyExists, error))?;
    std::panic::set_hook(Box::new(panicked));
    Ok(guard)
}

/// Changes what is logged while the program runs.
#[derive(Debug, Clone, Default)]
pub struct Levels(Option<reload::Handle<EnvFilter, Registry>>);

impl Levels {
    /// From now on this.
    pub fn set(&self, level: &Level) {
        if let Some(handle) = &self.0 {
            // It fails when the subscriber is gone, and then nobody logs.
            let _ = handle.reload(level.filter());
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.base)?;
        for (module, level) in &self.modules {
            write!(f, ",{module}={level}")?;
        }
        Ok(())
    }
}

/// The module of ours that a target names, or the crate of somebody else.
fn component(target: &'static str) -> &'static str {
    let mut parts = target.split("::");
    match (parts.next(), parts.next()) {
        (Some(CRATE), Some(module)) => module,
        (first, _) => first.unwrap_or(target),
    }
}

fn panicked(info: &std::panic::PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(
        location,
        thread = thread.name().unwrap_or_default(),
        "Panicked"
    );
}

/// An error and its sources, joined by colons.
pub fn error_chain<'e>(error: &'e (dyn Error + 'static)) -> impl fmt::Display + 'e {
    struct Chain<'e>(&'e (dyn Error + 'static));
    impl fmt::Display for Chain<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}", self.0)?;
            let mut said = self.0.to_string();
            let mut next = self.0.source();
            while let Some(source) = next {
                let text = source.to_string();
                // Some crates repeat their source in their own text.
                if !said.ends_with(&text) {
                    write!(f, ": {text}")?;
                }
                said = text;
                next = source.source();
            }
            Ok(())
        }
    }
    Chain(error)
}

// === The writer ===

#[derive(Debug, Default)]
struct Waiting {
    lines: AtomicUsize,
    bytes: AtomicUsize,
    lost: AtomicU64,
}

impl Waiting {
    /// Counts a line in; says whether the writer had better not wait any longer.
    fn add(&self, bytes: usize) -> bool {
        let lines = self.lines.fetch_add(1, Ordering::Relaxed);
        let held = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        lines == limits::LOG_LINES / 2 || (held..held + bytes).contains(&(limits::LOG_BYTES / 2))
    }

    fn remove(&self, lines: usize, bytes: usize) {
        self.lines.fetch_sub(lines, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Lines on their way to a thread that may block on its output.
#[derive(Debug, Clone)]
struct Queue {
    lines: SyncSender<Vec<u8>>,
    waiting: Arc<Waiting>,
    writer: Thread,
}

/// Keeps logging until the end; see [`init`].
#[derive(Debug)]
pub struct Guard {
    waiting: Arc<Waiting>,
    writer: Thread,
    levels: Levels,
}

impl Guard {
    /// The means to change what is logged.
    pub fn levels(&self) -> Levels {
        self.levels.clone()
    }
}

impl Queue {
    fn start(output: impl Write + Send + 'static, levels: Levels) -> io::Result<(Self, Guard)> {
        // Full means that nobody reads: the line is dropped and counted.
        let (lines, queued) = sync_channel(limits::LOG_LINES);
        let waiting = Arc::new(Waiting::default());
        let counts = Arc::clone(&waiting);
        let writer = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write_lines(&queued, output, &counts))?
            .thread()
            .clone();
        let guard = Guard {
            waiting: Arc::clone(&waiting),
            writer: writer.clone(),
            levels,
        };
        let queue = Self {
            lines,
            waiting,
            writer,
        };
        Ok((queue, guard))
    }
}

/// How long lines may gather after one was written, unless they become many: on a busy program one
/// write and one wake-up serve all of them, and a lone line does not wait.
const GATHER: Duration = Duration::from_millis(100);

fn write_lines(queued: &Receiver<Vec<u8>>, mut output: impl Write, waiting: &Waiting) {
    let mut batch = Vec::new();
    while let Ok(first) = queued.recv() {
        let lost = waiting.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let note =
                format!("{{\"level\":\"warn\",\"msg\":\"Log lines lost\",\"lines\":{lost}}}\n");
            batch.extend_from_slice(note.as_bytes());
        }
        let (mut lines, mut bytes) = (0, 0);
        let all = std::iter::once(first).chain(queued.try_iter());
        for line in all.take(limits::LOG_LINES) {
            lines += 1;
            bytes += line.len();
            batch.extend_from_slice(&line);
        }
        // There is nowhere to say that saying failed.
        let _ = output.write_all(&batch);
        batch.clear();
        waiting.remove(lines, bytes);
        std::thread::park_timeout(GATHER);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let step = Duration::from_millis(5);
        for _ in 0..100 {
            self.writer.unpark();
            if self.waiting.bytes.load(Ordering::Relaxed) == 0 {
                return;
            }
            std::thread::sleep(step);
        }
    }
}

impl Write for &Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let hurry = self.waiting.add(line.len());
        let full = self.waiting.bytes.load(Ordering::Relaxed) > limits::LOG_BYTES;
        if full || self.lines.try_send(line.to_vec()).is_err() {
            self.waiting.remove(1, line.len());
            self.waiting.lost.fetch_add(1, Ordering::Relaxed);
        }
        if hurry {
            self.writer.unpark();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'q> MakeWriter<'q> for Queue {
    type Writer = &'q Self;

    fn make_writer(&'q self) -> &'q Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    #[derive(Clone, Default)]
    pub(super) struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Memory {
        pub(super) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Memory {
        type Writer = Self;
        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn levels_are_read_by_module_and_only_ours_are_lowered() {
        let level = Level::parse("warn,uplink=debug").unwrap();
        assert_eq!(level.base, LevelFilter::WARN);
        assert_eq!(level.modules, [("uplink".into(), LevelFilter::DEBUG)]);
        let filter = level.filter().to_string();
        assert!(filter.contains("pipeops_agent::uplink=debug"), "{filter}");
        assert!(filter.contains("audit=warn"), "{filter}");
        let filter = Level::parse("info,audit=off").unwrap().filter().to_string();
        assert!(filter.contains("audit=off"), "{filter}");
        assert!(filter.contains("pipeops_agent=info"), "{filter}");
        assert_eq!(Level::parse("verbose").unwrap_err(), "verbose");
        assert_eq!(
            Level::parse("info,hyper{x}=trace").unwrap_err(),
            "hyper{x}=trace"
        );
    }

    #[test]
    fn a_level_changes_while_the_program_runs() {
        let memory = Memory::default();
        let (filter, handle) = reload::Layer::new(Level::default().filter());
        let levels = Levels(Some(handle));
        let layer = Json::new(memory.clone()).with_filter(filter);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("Unseen");
            levels.set(&Level::parse("info,telemetry=debug").unwrap());
            tracing::debug!("Seen");
        });
        let text = memory.text();
        assert!(
            text.contains("\"Seen\"") && !text.contains("Unseen"),
            "{text}"
        );
    }

    #[test]
    fn a_reader_that_stalls_loses_lines_but_blocks_nobody() {
        struct Stalled(Sender<()>, Receiver<()>, Sender<Vec<u8>>);
        impl Write for Stalled {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.send(());
                let _ = self.1.recv();
                let _ = self.2.send(bytes.to_vec());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (go, gate) = channel();
        let (written, read) = channel();
        let (enter, entered) = channel();
        let (queue, _guard) =
            Queue::start(Stalled(enter, gate, written), Levels::default()).unwrap();
        (&queue).write_all(b"x").unwrap();
        // The writer is in its write and takes nothing more.
        entered.recv_timeout(Duration::from_secs(10)).unwrap();
        for _ in 0..limits::LOG_LINES + 10 {
            (&queue).write_all(b"x").unwrap();
        }
        assert!(queue.waiting.lost.load(Ordering::Relaxed) >= 10);
        drop(go);
        let mut text = Vec::new();
        while !text.windows(14).any(|part| part == b"Log lines lost") {
            text.extend(read.recv_timeout(Duration::from_secs(10)).unwrap());
        }
    }

    #[test]
    fn a_chain_says_each_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("the dial failed")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("refused"));
        assert_eq!(error_chain(&error).to_string(), "the dial failed: refused");
    }
}
