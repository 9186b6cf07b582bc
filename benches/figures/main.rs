//! The benchmark: what the channel costs and how fast it answers, as ratios to a baseline that is
//! measured in the same run, turn by turn.
//!
//! Owns the command line. One round of one row is a process of its own (the gateway's end, with the
//! agent's end as its child), so that no row sees another's heap. `benches/run` is the one command
//! that calls this; `benches/README.md` says what each row means.

mod channel;
mod fleet;
mod idle;
mod kube;
mod peer;
mod process;
mod rounds;
mod slow_link;
mod table;
mod wire;

use std::io::Write;

use clap::{Parser, Subcommand};

/// As in both programs: the allocator is part of what is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the channel.
#[derive(Debug, Parser)]
#[command(name = "figures")]
struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
    /// What `cargo bench` adds.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// From stream handle to stream handle, between two processes on loopback.
    Channel(channel::Settings),
    /// Through `k8s.request` to a real API server, beside the same requests sent straight to it.
    Kube(kube::Settings),
    /// What an idle channel costs in bytes.
    Idle(idle::Settings),
    /// Ten thousand agents on one gateway.
    Fleet(fleet::Settings),
    /// A process of them (for the above).
    #[command(hide = true)]
    FleetAgents(fleet::agents::Settings),
    /// One round of one row, as JSON (for the above).
    #[command(hide = true)]
    Round(rounds::Settings),
    /// The agent's end of a round.
    #[command(hide = true)]
    Peer(peer::Settings),
    /// A slow link of a round.
    #[command(hide = true)]
    SlowLink(slow_link::Settings),
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match Arguments::parse().task {
        Some(Task::Channel(settings)) => channel::run(&settings),
        Some(Task::Idle(settings)) => runtime.block_on(idle::run(&settings)),
        Some(Task::Fleet(settings)) => runtime.block_on(fleet::run(&settings)),
        Some(Task::FleetAgents(settings)) => runtime.block_on(fleet::agents::run(&settings)),
        Some(Task::Kube(settings)) => runtime.block_on(kube::run(&settings)),
        Some(Task::Round(settings)) => {
            let figures = runtime.block_on(rounds::run(&settings))?;
            say(&serde_json::to_string(&figures)?)
        }
        Some(Task::Peer(settings)) => runtime.block_on(peer::run(&settings)),
        Some(Task::SlowLink(settings)) => runtime.block_on(slow_link::run(&settings)),
        // `cargo test --benches` runs this without arguments: there is nothing to test here.
        None => say("figures: see --help"),
    }
}

/// One line on standard output.
fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
