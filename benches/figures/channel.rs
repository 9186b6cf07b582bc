//! The channel's rows: rounds interleaved with their baseline, then the tables.
//!
//! Owns which rows there are, their sizes and the goals that stand beside them. Goals are those of
//! the issue and of the measured prototype.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::Context;

use crate::process;
use crate::rounds::Figures;
use crate::table::{Table, median, ratio, short};

#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// Seconds instead of minutes: shows that everything runs, and gives no figures to quote.
    #[arg(long)]
    quick: bool,
    /// Rounds of each row.
    #[arg(long)]
    rounds: Option<usize>,
    /// Only these parts: bulk, small, events, slow, memory.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// A row's name, and the arguments of its rounds.
struct Row(&'static str, Vec<String>);

fn row(name: &'static str, arguments: &str) -> Row {
    Row(name, arguments.split(' ').map(str::to_owned).collect())
}

struct Measured(BTreeMap<&'static str, Vec<Figures>>);

impl Measured {
    fn all(&self, row: &str, figure: &str) -> Vec<f64> {
        let rounds = self.0.get(row).map(Vec::as_slice).unwrap_or_default();
        let values = rounds.iter().filter_map(|round| round.get(figure));
        values.copied().collect()
    }

    fn of(&self, row: &str, figure: &str) -> f64 {
        median(&self.all(row, figure))
    }

    fn ratio(&self, row: &str, base: &str, figure: &str) -> f64 {
        ratio(&self.all(row, figure), &self.all(base, figure))
    }
}

pub(crate) fn run(settings: &Settings) -> anyhow::Result<()> {
    let quick = settings.quick;
    let rounds = settings.rounds.unwrap_or(if quick { 1 } else { 5 });
    let wanted = |part: &str| settings.only.is_empty() || settings.only.iter().any(|o| o == part);
    if wanted("bulk") {
        let size = if quick { 64 } else { 1024 };
        let rows = [
            row("bare-down", &format!("bare-down --mib={size}")),
            row("down-1", &format!("down --mib={size} --streams=1")),
            row("down-8", &format!("down --mib={size} --streams=8")),
            row("bare-up", &format!("bare-up --mib={size}")),
            row("up-1", &format!("up --mib={size} --streams=1")),
            row("up-8", &format!("up --mib={size} --streams=8")),
        ];
        crate::say(&bulk(&measure(&rows, rounds)?))?;
    }
    if wanted("small") {
        let seconds = if quick { 0.2 } else { 2.0 };
        let mut rows = Vec::new();
        for (names, streams) in SMALL {
            for (name, kind) in names.into_iter().zip(["bare-small", "small", "new"]) {
                let arguments = format!("{kind} --seconds={seconds} --streams={streams}");
                rows.push(row(name, &arguments));
            }
        }
        crate::say(&small(&measure(&rows, rounds)?))?;
    }
    if wanted("events") {
        let seconds = if quick { 0.1 } else { 3.0 };
        let rows = EVENTS.map(|(name, streams)| {
            row(
                name,
                &format!("events --seconds={seconds} --streams={streams}"),
            )
        });
        crate::say(&events(&measure(&rows, rounds)?))?;
    }
    if wanted("slow") {
        let seconds = if quick { 1 } else { 10 };
        let rows = [
            row("idle", &format!("slow-idle --seconds={seconds}")),
            row(
                "busy",
                &format!("slow-busy --seconds={seconds} --streams=4"),
            ),
        ];
        crate::say(&slow(&measure(&rows, rounds.min(3))?))?;
    }
    if wanted("memory") {
        let streams = if quick { 500 } else { 10_000 };
        let rows = [row("idle", &format!("idle --streams={streams}"))];
        crate::say(&memory(&measure(&rows, rounds.min(3))?, streams))?;
    }
    Ok(())
}

/// The names of the rows of small requests, and how many are in flight.
const SMALL: [([&str; 3], usize); 3] = [
    (["bare-1", "open-1", "new-1"], 1),
    (["bare-16", "open-16", "new-16"], 16),
    (["bare-64", "open-64", "new-64"], 64),
];

/// The rows of small events, and on how many streams they come.
const EVENTS: [(&str, usize); 3] = [("events-1", 1), ("events-8", 8), ("events-64", 64)];

/// Runs every row once, then every row again: what disturbs a round disturbs its neighbours too.
fn measure(rows: &[Row], rounds: usize) -> anyhow::Result<Measured> {
    let mut measured = BTreeMap::<_, Vec<_>>::new();
    for _ in 0..rounds {
        for Row(name, arguments) in rows {
            let mut all = vec!["round".to_owned()];
            all.extend(arguments.iter().cloned());
            let output = process::again(&all)?
                .stderr(Stdio::inherit())
                .output()
                .with_context(|| format!("cannot run {name}"))?;
            anyhow::ensure!(output.status.success(), "the round {name} failed");
            let figures = serde_json::from_slice(&output.stdout)
                .with_context(|| format!("the round {name} said something else"))?;
            measured.entry(*name).or_default().push(figures);
        }
    }
    Ok(Measured(measured))
}

fn bulk(measured: &Measured) -> String {
    let mut table = Table::new(&[
        "bulk, load {load}",
        "CPU s/GiB",
        "gateway",
        "agent",
        "GiB/s",
        "x bare TLS",
        "goal",
    ]);
    for (name, base, label, goal) in [
        ("bare-down", "bare-down", "bare TLS, from the agent", ""),
        ("down-1", "bare-down", "1 stream", "1.6"),
        ("down-8", "bare-down", "8 streams", "1.9"),
        ("bare-up", "bare-up", "bare TLS, to the agent", ""),
        ("up-1", "bare-up", "1 stream", ""),
        ("up-8", "bare-up", "8 streams", ""),
    ] {
        let mut cells = vec![label.to_owned()];
        for figure in [
            "cpu_s_per_gib",
            "gateway_cpu_s_per_gib",
            "agent_cpu_s_per_gib",
            "gib_per_s",
        ] {
            cells.push(short(measured.of(name, figure)));
        }
        cells.push(short(measured.ratio(name, base, "cpu_s_per_gib")));
        cells.push(goal.to_owned());
        table.row(&cells);
    }
    table.with_load()
}

fn small(measured: &Measured) -> String {
    let mut table = Table::new(&[
        "small requests, load {load}",
        "in flight",
        "req/s",
        "CPU us",
        "gateway",
        "agent",
        "p50 us",
        "p99 us",
        "added p50 us",
    ]);
    for (names, streams) in SMALL {
        let labels = ["bare TLS, a connection each", "open streams", "new streams"];
        for (name, label) in names.into_iter().zip(labels) {
            let mut cells = vec![label.to_owned(), streams.to_string()];
            for figure in [
                "per_s",
                "cpu_us",
                "gateway_cpu_us",
                "agent_cpu_us",
                "p50_us",
                "p99_us",
            ] {
                cells.push(short(measured.of(name, figure)));
            }
            let added: Vec<f64> = measured
                .all(name, "p50_us")
                .iter()
                .zip(measured.all(names[0], "p50_us"))
                .map(|(ours, bare)| ours - bare)
                .collect();
            cells.push(short(median(&added)));
            table.row(&cells);
        }
    }
    table.with_load()
}

fn events(measured: &Measured) -> String {
    let mut table = Table::new(&[
        "small events, load {load}",
        "bytes",
        "events/s",
        "gateway CPU us",
        "agent CPU us",
        "one core of the agent, events/s",
        "goal",
        "the seed",
    ]);
    for (name, streams) in EVENTS {
        let label = match streams {
            1 => "events on 1 stream".to_owned(),
            several => format!("events on {several} streams"),
        };
        let mut cells = vec![label];
        for figure in [
            "bytes",
            "per_s",
            "gateway_cpu_us",
            "agent_cpu_us",
            "agent_core_per_s",
        ] {
            cells.push(short(measured.of(name, figure)));
        }
        cells.extend(["20,000".to_owned(), "2,000".to_owned()]);
        table.row(&cells);
    }
    table.with_load()
}

fn slow(measured: &Measured) -> String {
    let mut table = Table::new(&[
        "100 Mbit/s, 50 ms round trip, 50 ms queue; load {load}",
        "p50 ms",
        "p99 ms",
        "Mbit/s",
        "goal p99",
    ]);
    for (name, label, goal) in [
        ("idle", "nothing beside", ""),
        ("busy", "4 bulk streams beside", "110"),
    ] {
        table.row(&[
            label.to_owned(),
            short(measured.of(name, "p50_us") / 1e3),
            short(measured.of(name, "p99_us") / 1e3),
            short(measured.of(name, "mbit_per_s")),
            goal.to_owned(),
        ]);
    }
    table.with_load()
}

fn memory(measured: &Measured, streams: usize) -> String {
    let mut table = Table::new(&["memory, load {load}", "gateway", "agent"]);
    let of = |figure| short(measured.of("idle", figure));
    table.row(&[
        "idle session, MiB".to_owned(),
        of("gateway_idle_mib"),
        of("agent_idle_mib"),
    ]);
    table.row(&[
        format!("{streams} idle streams, MiB"),
        of("gateway_mib"),
        of("agent_mib"),
    ]);
    table.row(&[
        "KiB a stream".to_owned(),
        of("gateway_kib_per_stream"),
        of("agent_kib_per_stream"),
    ]);
    table.with_load()
}
