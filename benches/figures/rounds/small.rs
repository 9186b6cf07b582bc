//! Small requests: how many a second, what each costs, how long one takes.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use pipeops_agent::protocol::command::channel_echo::Mode;
use pipeops_agent::protocol::message::Class;
use pipeops_agent::session::{Item, Session, StreamReader, StreamWriter};
use pipeops_agent::tasks::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::{Ends, Figures, Settings};
use crate::peer::EXCHANGE;
use crate::process::Meter;
use crate::wire::{self, ANSWER, REQUEST, Server};

static QUESTION: [u8; REQUEST] = [b'x'; REQUEST];

/// One way to ask something small.
trait Ask: Send + 'static {
    fn ask(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

struct Bare(Server);

impl Ask for Bare {
    async fn ask(&mut self) -> anyhow::Result<()> {
        let mut answer = [0; ANSWER];
        self.0.write_all(&QUESTION).await?;
        self.0.flush().await?;
        self.0.read_exact(&mut answer).await?;
        Ok(())
    }
}

struct OnOpen(StreamReader, StreamWriter);

impl Ask for OnOpen {
    async fn ask(&mut self) -> anyhow::Result<()> {
        let Self(reader, writer) = self;
        writer.send(Bytes::from_static(&QUESTION)).await?;
        let mut left = ANSWER;
        while left > 0 {
            match reader.recv().await? {
                Item::Data(bytes) => left -= bytes.len(),
                other => anyhow::bail!("{other:?} instead of an answer"),
            }
        }
        Ok(())
    }
}

struct OnNew(Session);

impl Ask for OnNew {
    async fn ask(&mut self) -> anyhow::Result<()> {
        let (mut reader, _writer) =
            super::open_echo(&self.0, Class::Api, Mode::Source, ANSWER as u64)?;
        super::to_end(&mut reader).await.map(drop)
    }
}

pub(super) async fn bare(settings: &Settings) -> anyhow::Result<Figures> {
    let (connections, agent) = super::bare(settings.streams).await?;
    let mut ready = Vec::new();
    for mut io in connections {
        wire::Bare::Exchange.ask(&mut io).await?;
        ready.push(Bare(io));
    }
    count(settings, agent.id(), &Tasks::new(), ready).await
}

pub(super) async fn open_streams(settings: &Settings) -> anyhow::Result<Figures> {
    let ends = Ends::connect().await?;
    let mut ready = Vec::new();
    for _ in 0..settings.streams {
        let args = serde_json::value::to_raw_value(&())?;
        let (reader, writer) =
            super::open(&ends.session, Class::Interactive, EXCHANGE, args, true)?;
        ready.push(OnOpen(reader, writer));
    }
    count(settings, ends.agent.id(), &ends.tasks, ready).await
}

pub(super) async fn new_streams(settings: &Settings) -> anyhow::Result<Figures> {
    let ends = Ends::connect().await?;
    let ready = (0..settings.streams)
        .map(|_| OnNew(ends.session.clone()))
        .collect();
    count(settings, ends.agent.id(), &ends.tasks, ready).await
}

/// Lets each ask once, then again and again until the time is over.
async fn count<A: Ask>(
    settings: &Settings,
    agent: u32,
    tasks: &Tasks,
    mut ready: Vec<A>,
) -> anyhow::Result<Figures> {
    for one in &mut ready {
        one.ask().await?;
    }
    let (meter, from) = (Meter::start(agent)?, Instant::now());
    let end = from + Duration::from_secs_f64(settings.seconds);
    let loops: Vec<_> = ready
        .into_iter()
        .map(|one| tasks.spawn("loop", timed(end, one)))
        .collect();
    let mut all = Vec::new();
    for task in loops {
        all.extend(task.await??);
    }
    let seconds = from.elapsed().as_secs_f64();
    let [gateway, agent] = meter.stop()?;
    let requests = all.len() as f64;
    let mut figures = Figures::from([
        ("per_s".to_owned(), requests / seconds),
        ("cpu_us".to_owned(), (gateway + agent) * 1e6 / requests),
        ("gateway_cpu_us".to_owned(), gateway * 1e6 / requests),
        ("agent_cpu_us".to_owned(), agent * 1e6 / requests),
    ]);
    super::latencies(&mut figures, all);
    Ok(figures)
}

/// How long each took.
async fn timed<A: Ask>(end: Instant, mut one: A) -> anyhow::Result<Vec<f64>> {
    let mut all = Vec::new();
    loop {
        let from = Instant::now();
        if from >= end {
            return Ok(all);
        }
        one.ask().await?;
        all.push(from.elapsed().as_secs_f64());
    }
}
