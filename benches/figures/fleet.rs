//! A fleet of agents on one gateway: what each costs, how fast they come, and how they come back.
//!
//! Owns the course of it: two processes of agents ([`agents`]), the program `pipeops-gateway`
//! between them and a caller ([`caller`]), a gateway that is killed, and half of the fleet that
//! returns beside the other half. Everything of an agent is real but its cluster: the agents of a
//! process share a sample cluster and its handlers. Invariant: a wait that is not over in time ends
//! the benchmark with an error, never with a figure.

pub(crate) mod agents;
mod caller;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use aws_lc_rs::digest::{SHA256, digest};
use pipeops_agent::gateway::{Grant, tokens::Stored};
use tokio::time::{Instant, sleep, timeout};

use crate::process::{Process, memory};
use crate::table::{Table, short};
use agents::Agents;
use caller::{Caller, Latencies};

#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// Agents in all; 10,000 unless given, 40 with --quick.
    #[arg(long)]
    agents: Option<usize>,
    /// Seconds instead of minutes.
    #[arg(long)]
    quick: bool,
    /// Understood and not needed: there is one round.
    #[arg(long, hide = true)]
    rounds: Option<usize>,
}

/// Processes of agents: descriptors are limited to 20,000 each.
const PROCESSES: usize = 2;
/// No step takes longer, whatever the machine does beside it.
const LONGEST: Duration = Duration::from_secs(300);
/// How long a killed gateway is away.
const AWAY: Duration = Duration::from_secs(2);
/// What counts as all.
const SHARE: f64 = 0.99;

pub(crate) async fn run(settings: &Settings) -> anyhow::Result<()> {
    let count = settings
        .agents
        .unwrap_or(if settings.quick { 40 } else { 10_000 });
    let calm = Duration::from_secs(if settings.quick { 1 } else { 10 });
    let folder = Folder::new()?;
    let user = folder.write_tokens(count)?;
    let port = free_port()?;
    let gateway = folder.gateway(port)?;
    let caller = Caller::new(port, &folder.ca(), &user, count).await?;
    caller.gateway_is_up(LONGEST).await?;
    let alone = memory(gateway.id(), "VmRSS")?;

    let each = count.div_ceil(PROCESSES);
    let mut fleet = Vec::new();
    let from = Instant::now();
    for number in 0..PROCESSES {
        fleet.push(Agents::start(&folder, port, number, each, count)?);
    }
    let enough = |of: usize| (of as f64 * SHARE).ceil() as usize;
    connected(&fleet, enough(count)).await?;
    let came = from.elapsed();
    connected(&fleet, count).await?;
    sleep(calm).await;
    let mut gateway_mib = memory(gateway.id(), "VmRSS")?;
    let mut fleet_mib = 0.0;
    for agents in &fleet {
        fleet_mib += memory(agents.id(), "VmRSS")? - agents.alone_mib();
    }
    gateway_mib -= alone;
    let quiet = caller.for_a_while(calm).await?;

    drop(gateway);
    sleep(AWAY).await;
    let mut meanwhile = caller.begin();
    let gateway = folder.gateway(port)?;
    let from = Instant::now();
    gone(&fleet, enough(count)).await?;
    connected(&fleet, enough(count)).await?;
    let back = from.elapsed();
    let after_kill = meanwhile.stop().await?;
    connected(&fleet, count).await?;
    sleep(calm).await;

    // One process's agents go and come again; the caller asks the others' only.
    drop(fleet.pop());
    let steady = each.min(count);
    meanwhile = caller.among(steady).begin();
    let from = Instant::now();
    fleet.push(Agents::start(&folder, port, PROCESSES - 1, each, count)?);
    connected(&fleet, enough(count)).await?;
    let half = from.elapsed();
    let beside = meanwhile.stop().await?;
    anyhow::ensure!(
        beside.refused == 0,
        "{} requests to sessions that stood were refused",
        beside.refused
    );
    drop(fleet);
    let peak = memory(gateway.id(), "VmHWM")?;
    drop(gateway);

    let per_agent = |mib: f64| short(mib * 1024.0 / count as f64);
    let rate = |agents: usize, time: Duration| short(agents as f64 / time.as_secs_f64());
    let mut table = Table::new(&[
        &format!("{count} agents, load {{load}}"),
        "99 % there after s",
        "sessions/s",
        "requests",
        "refused",
        "p50 ms",
        "p99 ms",
    ]);
    let timed = |name: &str, agents: usize, time: Option<Duration>, asked: &Latencies| {
        [
            name.to_owned(),
            time.map_or_else(String::new, |time| short(time.as_secs_f64())),
            time.map_or_else(String::new, |time| rate(agents, time)),
            asked.count().to_string(),
            asked.refused.to_string(),
            short(asked.percentile(50)),
            short(asked.percentile(99)),
        ]
    };
    table.row(&timed("all come at once", count, Some(came), &Latencies::default()).map(blank));
    table.row(&timed("all stand", count, None, &quiet));
    table.row(&timed(
        "gateway killed, away for 2 s",
        count,
        Some(back),
        &after_kill,
    ));
    table.row(&timed(
        "half comes beside half",
        count - steady,
        Some(half),
        &beside,
    ));
    let mut used = Table::new(&["memory", "KiB an agent", "alone MiB", "at most MiB"]);
    used.row(&[
        "gateway".to_owned(),
        per_agent(gateway_mib),
        short(alone),
        short(peak),
    ]);
    used.row(&[
        "agents' own, of those that share a process".to_owned(),
        per_agent(fleet_mib),
        String::new(),
        String::new(),
    ]);
    crate::say(&table.with_load())?;
    crate::say(&used.with_load())
}

/// Nothing was asked in this row.
fn blank(cell: String) -> String {
    if cell == "?" || cell == "0" {
        String::new()
    } else {
        cell
    }
}

/// Waits until so many of the fleet are connected.
async fn connected(fleet: &[Agents], enough: usize) -> anyhow::Result<()> {
    reach(fleet, |now| now >= enough).await
}

/// Waits until the fleet has noticed that so many channels are lost.
async fn gone(fleet: &[Agents], enough: usize) -> anyhow::Result<()> {
    reach(fleet, |now| now < enough).await
}

async fn reach(fleet: &[Agents], is: impl Fn(usize) -> bool) -> anyhow::Result<()> {
    let counted = || fleet.iter().map(Agents::connected).sum::<usize>();
    timeout(LONGEST, async {
        while !is(counted()) {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .with_context(|| format!("{} agents are connected, and no more", counted()))
}

/// The name of an agent's cluster.
fn cluster(number: usize) -> String {
    format!("fleet-{number}")
}

/// A token that is the same for both ends: it guards nothing but this benchmark's own loopback.
fn token(number: usize) -> (String, String) {
    let id = format!("{number:08x}");
    let secret = format!("{:064x}", 0x5eed_u64 + number as u64);
    let text = format!("pgt_{id}_{secret}");
    (id, text)
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The files of a run; removed with it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("pipeops-fleet-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.path("cert").join("ca.crt")
    }

    /// A token for each agent and one for the caller, which is returned: made at once, because
    /// `token add` writes the whole file each time.
    fn write_tokens(&self, count: usize) -> anyhow::Result<String> {
        let stored = |number, grant| {
            let (id, text) = token(number);
            let hash = digest(&SHA256, text.as_bytes());
            let sha256 = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
            Stored {
                id,
                sha256: sha256.collect(),
                grant,
            }
        };
        let agent = |number| Grant::Agent {
            cluster: cluster(number),
        };
        let user = Grant::User {
            name: "bench".to_owned(),
            groups: Vec::new(),
            clusters: vec!["*".to_owned()],
        };
        let mut tokens: Vec<Stored> = (0..count).map(|n| stored(n, agent(n))).collect();
        tokens.push(stored(count, user));
        let document = serde_json::json!({"version": 1, "tokens": tokens});
        std::fs::write(self.path("tokens.json"), document.to_string())?;
        Ok(token(count).1)
    }

    /// The gateway, as its users start it; log lines go nowhere.
    fn gateway(&self, port: u16) -> anyhow::Result<Process> {
        Process::start(
            Command::new(env!("CARGO_BIN_EXE_pipeops-gateway"))
                .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
                .arg("--dev-cert")
                .arg(self.path("cert"))
                .arg("--tokens")
                .arg(self.path("tokens.json"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )
    }

    fn as_path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
