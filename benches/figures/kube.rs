//! The rows through `k8s.request` to a real API server: the tunnel against direct, turn by turn.
//!
//! Owns the rows' sizes, the goals beside them, and what the two programs used. The cluster is
//! brought up and filled by `benches/run`.

mod rows;
pub(crate) mod target;

use std::collections::BTreeMap;
use std::path::PathBuf;

use rows::{Found, Row};
use target::{Cluster, Tunnel};

use crate::process::{self, memory};
use crate::table::{Table, median, ratio, short};

#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// The env file of the test cluster.
    #[arg(long)]
    env: PathBuf,
    /// Seconds instead of minutes.
    #[arg(long)]
    quick: bool,
    /// Rounds of each row.
    #[arg(long)]
    rounds: Option<usize>,
    /// What the gateway lets agents compress with.
    #[arg(long, default_value = "zstd")]
    compression: String,
}

/// A row through the tunnel, with what the programs used.
#[derive(Debug, Clone, Copy)]
struct Used {
    found: Found,
    gateway_cpu: f64,
    agent_cpu: f64,
    gateway_mib: f64,
    agent_mib: f64,
}

#[derive(Debug, Default)]
struct Both {
    direct: Vec<Found>,
    tunnel: Vec<Used>,
}

impl Both {
    fn direct(&self, of: impl Fn(&Found) -> f64) -> Vec<f64> {
        self.direct.iter().map(of).collect()
    }

    fn tunnel(&self, of: impl Fn(&Found) -> f64) -> Vec<f64> {
        self.tunnel.iter().map(|used| of(&used.found)).collect()
    }

    fn used(&self, of: impl Fn(&Used) -> f64) -> f64 {
        let all: Vec<f64> = self.tunnel.iter().map(of).collect();
        median(&all)
    }
}

pub(crate) async fn run(settings: &Settings) -> anyhow::Result<()> {
    let rounds = settings
        .rounds
        .unwrap_or(if settings.quick { 1 } else { 3 });
    let seconds = if settings.quick { 0.5 } else { 4.0 };
    let watches = if settings.quick { 20 } else { 200 };
    let rows = [
        Row::List(1),
        Row::List(4),
        Row::Get(1),
        Row::Get(64),
        Row::GetNew,
        Row::Watch(watches),
        Row::GetBesideStalled,
    ];
    let cluster = Cluster::read(&settings.env)?;
    let direct = cluster.direct()?;
    let tunnel = Tunnel::start(&cluster, &settings.compression).await?;
    let ids = [tunnel.gateway.id(), tunnel.agent.id()];
    let idle = [memory(ids[0], "VmRSS")?, memory(ids[1], "VmRSS")?];
    let mut measured = BTreeMap::<Row, Both>::new();
    for round in 0..rounds {
        for row in rows {
            let both = measured.entry(row).or_default();
            // Who goes first changes, so that neither always finds the caches warm.
            if round % 2 == 0 {
                both.direct.push(row.run(&direct, seconds).await?);
            }
            for id in ids {
                // The high-water mark of memory begins anew.
                std::fs::write(format!("/proc/{id}/clear_refs"), "5")?;
            }
            let before = [process::cpu(ids[0])?, process::cpu(ids[1])?];
            let found = row.run(&tunnel.target, seconds).await?;
            both.tunnel.push(Used {
                found,
                gateway_cpu: process::cpu(ids[0])? - before[0],
                agent_cpu: process::cpu(ids[1])? - before[1],
                gateway_mib: memory(ids[0], "VmHWM")?,
                agent_mib: memory(ids[1], "VmHWM")?,
            });
            if round % 2 == 1 {
                both.direct.push(row.run(&direct, seconds).await?);
            }
        }
    }
    crate::say(&times(&measured, watches))?;
    crate::say(&costs(&measured, watches))?;
    crate::say(&format!(
        "Idle, MiB: gateway {}, agent {}.\n",
        short(idle[0]),
        short(idle[1])
    ))
}

type Of = fn(&Found) -> f64;

fn times(measured: &BTreeMap<Row, Both>, watches: usize) -> String {
    let mut table = Table::new(&[
        "`k8s.request`, load {load}",
        "direct",
        "tunnel",
        "x direct",
        "goal",
    ]);
    let per_second: Of = |found| found.count / found.seconds;
    let lines: [(Row, &str, Of, &str); 8] = [
        (Row::List(1), "LIST, s", |f| f.seconds, "1.10"),
        (
            Row::Get(1),
            "GET, 1 in flight, p50 ms",
            |f| f.p50 * 1e3,
            "1.25",
        ),
        (Row::Get(64), "GET, 64 in flight, req/s", per_second, "0.85"),
        (
            Row::GetNew,
            "GET on a new connection each, req/s",
            per_second,
            "1.0",
        ),
        (
            Row::Watch(watches),
            "watches opened, s",
            |f| f.seconds,
            "1.5",
        ),
        (
            Row::Watch(watches),
            "watch delay, p50 ms",
            |f| f.p50 * 1e3,
            "2.5 (5 ms)",
        ),
        (
            Row::Watch(watches),
            "watch delay, p99 ms",
            |f| f.p99 * 1e3,
            "2 (12 ms)",
        ),
        (
            Row::GetBesideStalled,
            "GET beside a watcher that stopped reading, p99 ms",
            |f| f.p99 * 1e3,
            "1.1",
        ),
    ];
    for (row, label, of, goal) in lines {
        let Some(both) = measured.get(&row) else {
            continue;
        };
        let label = match row {
            Row::List(_) => {
                let bytes = median(&both.direct(|found| found.bytes));
                format!("LIST of {:.1} MB, s", bytes / 1e6)
            }
            Row::Watch(count) => format!("{count} {label}"),
            Row::Get(_) | Row::GetNew | Row::GetBesideStalled => label.to_owned(),
        };
        let (direct, tunnel) = (both.direct(of), both.tunnel(of));
        table.row(&[
            label,
            short(median(&direct)),
            short(median(&tunnel)),
            short(ratio(&tunnel, &direct)),
            goal.to_owned(),
        ]);
    }
    table.with_load()
}

fn costs(measured: &BTreeMap<Row, Both>, watches: usize) -> String {
    const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
    let mut table = Table::new(&[
        "what the programs use, load {load}",
        "gateway",
        "agent",
        "both",
        "goal",
    ]);
    let lines: [(Row, &str, Of, &str); 5] = [
        (
            Row::List(1),
            "CPU s per GiB, one LIST",
            |f| f.bytes / GIB,
            "6",
        ),
        (
            Row::List(4),
            "CPU s per GiB, four at once",
            |f| f.bytes / GIB,
            "4",
        ),
        (
            Row::Get(1),
            "CPU s per 1,000 GETs, 1 in flight",
            |f| f.count / 1e3,
            "0.14",
        ),
        (
            Row::Get(64),
            "CPU s per 1,000 GETs, 64 in flight",
            |f| f.count / 1e3,
            "0.12",
        ),
        (
            Row::GetNew,
            "CPU s per 1,000 GETs on new connections",
            |f| f.count / 1e3,
            "1.0",
        ),
    ];
    for (row, label, unit, goal) in lines {
        let Some(both) = measured.get(&row) else {
            continue;
        };
        table.row(&[
            label.to_owned(),
            short(both.used(|used| used.gateway_cpu / unit(&used.found))),
            short(both.used(|used| used.agent_cpu / unit(&used.found))),
            short(both.used(|used| (used.gateway_cpu + used.agent_cpu) / unit(&used.found))),
            goal.to_owned(),
        ]);
    }
    for (row, label, goal) in [
        (Row::Get(64), "peak MiB, GET 64 in flight", "30"),
        (Row::Watch(watches), "peak MiB, watches", "40"),
        (Row::List(4), "peak MiB, four LISTs", "43"),
    ] {
        let Some(both) = measured.get(&row) else {
            continue;
        };
        table.row(&[
            label.to_owned(),
            short(both.used(|used| used.gateway_mib)),
            short(both.used(|used| used.agent_mib)),
            short(both.used(|used| used.gateway_mib + used.agent_mib)),
            goal.to_owned(),
        ]);
    }
    table.with_load()
}
