//! Commands on a slow link, with and without bulk beside them.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use pipeops_agent::protocol::command::channel_echo::Mode;
use pipeops_agent::protocol::message::Class;
use tokio::time::Instant;

use super::{Ends, Figures, Settings};
use crate::process::{self, Process};
use crate::wire::{ANSWER, Listener};

/// Time between two commands, which do not wait for each other.
const EVERY: Duration = Duration::from_millis(20);
/// Time for the bulk to fill the link before commands are counted.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) async fn run(settings: &Settings, bulk: usize) -> anyhow::Result<Figures> {
    let listener = Listener::bind().await?;
    let link = settings.link;
    let arguments = [
        "slow-link".to_owned(),
        listener.address.to_string(),
        format!("--mbit={}", link.mbit),
        format!("--rtt={}", link.rtt),
        format!("--queue={}", link.queue),
    ];
    let mut relay = Process::start(process::again(&arguments)?.stdout(Stdio::piped()))?;
    let mut line = String::new();
    let output = relay.output().context("the link has an output")?;
    BufReader::new(output).read_line(&mut line)?;
    let agent = super::peer(line.trim().parse()?, &listener.ca, 0)?;
    let ends = Ends::meet(&listener, agent).await?;

    for _ in 0..bulk {
        // More than the link carries in the time; the end of the process is their end.
        let (mut reader, _) = ends.echo(Class::Bulk, Mode::Source, u64::MAX)?;
        ends.tasks
            .spawn("bulk", async move { while reader.recv().await.is_ok() {} });
    }
    let settle = if bulk > 0 { SETTLE } else { Duration::ZERO };
    tokio::time::sleep(settle).await;

    let received = ends.session.counts().received;
    let from = Instant::now();
    let end = from + Duration::from_secs_f64(settings.seconds);
    let mut ticks = tokio::time::interval(EVERY);
    let mut commands = Vec::new();
    while Instant::now() < end {
        ticks.tick().await;
        let session = ends.session.clone();
        commands.push(ends.tasks.spawn("command", async move {
            let from = Instant::now();
            let (mut reader, _writer) =
                super::open_echo(&session, Class::Interactive, Mode::Source, ANSWER as u64)?;
            super::to_end(&mut reader).await?;
            anyhow::Ok(from.elapsed().as_secs_f64())
        }));
    }
    let carried = ends.session.counts().received - received;
    let seconds = from.elapsed().as_secs_f64();
    let mut all = Vec::new();
    for command in commands {
        all.push(command.await??);
    }
    let mut figures = Figures::from([(
        "mbit_per_s".to_owned(),
        carried as f64 * 8.0 / seconds / 1e6,
    )]);
    super::latencies(&mut figures, all);
    Ok(figures)
}
