//! One round of one row: the gateway's end, with the agent's end as a child process.
//!
//! Owns what is done and counted in each row. Every figure comes out by name; `channel` makes
//! medians and ratios of them.

mod bulk;
mod events;
mod memory;
mod saturated;
mod small;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pipeops_agent::protocol::CommandEnvelope;
use pipeops_agent::protocol::command::channel_echo::{Mode, Request};
use pipeops_agent::protocol::message::Class;
use pipeops_agent::session::{
    Incoming, Item, NewStream, Notice, Open, Session, StreamReader, StreamWriter,
};
use pipeops_agent::tasks::Tasks;

use crate::process::{self, Process};
use crate::slow_link::Link;
use crate::wire::{Listener, Server};

/// What a round found, by name.
pub(crate) type Figures = BTreeMap<String, f64>;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Settings {
    /// What is measured.
    #[arg(value_enum)]
    pub(crate) row: Row,
    /// Bytes for a bulk row, in MiB.
    #[arg(long, default_value_t = 1024)]
    pub(crate) mib: u64,
    /// How long a row lasts that is counted by time.
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// Streams, or requests in flight.
    #[arg(long, default_value_t = 1)]
    pub(crate) streams: usize,
    #[command(flatten)]
    pub(crate) link: Link,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Row {
    /// Bytes from the agent over bare TLS.
    BareDown,
    /// Bytes to the agent over bare TLS.
    BareUp,
    /// Bytes from the agent on streams.
    Down,
    /// Bytes to the agent on streams.
    Up,
    /// Small requests over bare TLS connections.
    BareSmall,
    /// Small requests on streams that stay open.
    Small,
    /// Small requests, a stream for each.
    New,
    /// Commands on a slow link that carries nothing else.
    SlowIdle,
    /// Commands on a slow link beside bulk streams.
    SlowBusy,
    /// Memory of idle streams.
    Idle,
    /// Small events from the agent.
    Events,
}

/// A round that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(300);

pub(crate) async fn run(settings: &Settings) -> anyhow::Result<Figures> {
    tokio::time::timeout(LONGEST, run_row(settings))
        .await
        .with_context(|| format!("{:?} hangs", settings.row))?
}

async fn run_row(settings: &Settings) -> anyhow::Result<Figures> {
    match settings.row {
        Row::BareDown => bulk::bare(settings, false).await,
        Row::BareUp => bulk::bare(settings, true).await,
        Row::Down => bulk::streams(settings, false).await,
        Row::Up => bulk::streams(settings, true).await,
        Row::BareSmall => small::bare(settings).await,
        Row::Small => small::open_streams(settings).await,
        Row::New => small::new_streams(settings).await,
        Row::SlowIdle => saturated::run(settings, 0).await,
        Row::SlowBusy => saturated::run(settings, settings.streams).await,
        Row::Idle => memory::run(settings).await,
        Row::Events => events::run(settings).await,
    }
}

/// The two ends, connected by a session.
pub(crate) struct Ends {
    pub(crate) session: Session,
    pub(crate) agent: Process,
    pub(crate) tasks: Tasks,
}

impl Ends {
    async fn connect() -> anyhow::Result<Self> {
        let listener = Listener::bind().await?;
        let agent = peer(listener.address, &listener.ca, 0)?;
        Self::meet(&listener, agent).await
    }

    async fn meet(listener: &Listener, agent: Process) -> anyhow::Result<Self> {
        let tasks = Tasks::new();
        let (session, driver) = listener.session(Arc::new(Nobody)).await?;
        tasks.spawn("session", driver);
        Ok(Self {
            session,
            agent,
            tasks,
        })
    }

    /// A stream with a `channel.echo`.
    fn echo(
        &self,
        class: Class,
        mode: Mode,
        bytes: u64,
    ) -> anyhow::Result<(StreamReader, StreamWriter)> {
        open_echo(&self.session, class, mode, bytes)
    }
}

/// The agent's end, told where to go.
fn peer(address: SocketAddr, ca: &str, bare: usize) -> anyhow::Result<Process> {
    let mut arguments = vec!["peer".to_owned(), address.to_string(), format!("--ca={ca}")];
    if bare > 0 {
        arguments.extend(["--bare".to_owned(), bare.to_string()]);
    }
    Process::start(&mut process::again(&arguments)?)
}

/// Bare TLS connections to an agent's end.
async fn bare(count: usize) -> anyhow::Result<(Vec<Server>, Process)> {
    let listener = Listener::bind().await?;
    let agent = peer(listener.address, &listener.ca, count)?;
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(listener.accept().await?);
    }
    Ok((connections, agent))
}

fn open_echo(
    session: &Session,
    class: Class,
    mode: Mode,
    bytes: u64,
) -> anyhow::Result<(StreamReader, StreamWriter)> {
    let args = serde_json::value::to_raw_value(&Request { mode, bytes })?;
    open(session, class, "channel.echo", args, mode != Mode::Source)
}

fn open(
    session: &Session,
    class: Class,
    name: &str,
    args: Box<serde_json::value::RawValue>,
    upload: bool,
) -> anyhow::Result<(StreamReader, StreamWriter)> {
    let command = CommandEnvelope {
        id: "0123456789abcdef".to_owned(),
        name: name.to_owned(),
        args,
        deadline_ms: Some(60_000),
        actor: None,
        idempotency_key: None,
        attempt: 1,
        traceparent: None,
    };
    Ok(session.open(NewStream {
        command,
        class,
        compression: None,
        upload,
    })?)
}

/// Reads a stream to its end and says how many bytes came.
async fn to_end(reader: &mut StreamReader) -> anyhow::Result<u64> {
    let mut count = 0;
    loop {
        match reader.recv().await? {
            Item::Data(bytes) => count += bytes.len() as u64,
            Item::Event(_) | Item::Fin => {}
            Item::End(outcome) => {
                outcome
                    .map_err(|error| anyhow::anyhow!("{}: {}", error.code, error.message))
                    .context("a stream ended badly")?;
                return Ok(count);
            }
        }
    }
}

/// A gateway takes no commands.
struct Nobody;

impl Open for Nobody {
    fn open(&self, _incoming: Incoming) {}

    fn notice(&self, _notice: Notice) {}
}

/// The value below which so many of a hundred lie, of sorted ones.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((sorted.len() * percent / 100).min(last))
        .copied()
        .unwrap_or(f64::NAN)
}

/// Adds p50 and p99 of durations in seconds, as microseconds.
fn latencies(figures: &mut Figures, mut seconds: Vec<f64>) {
    seconds.sort_by(f64::total_cmp);
    figures.insert("p50_us".to_owned(), percentile(&seconds, 50) * 1e6);
    figures.insert("p99_us".to_owned(), percentile(&seconds, 99) * 1e6);
    figures.insert("requests".to_owned(), seconds.len() as f64);
}
