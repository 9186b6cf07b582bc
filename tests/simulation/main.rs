//! Agent and gateway whole, over a simulated network, under faults that come from a seed.
//!
//! Owns the runs and what is printed of them. `SIM_SEED=n` replays one seed, twice; `SIM_SEEDS=n` runs
//! so many from `SIM_FROM` on (1), for `SIM_SECONDS` at most; `SIM_MINUTES` is how long each is, in
//! simulated time (3); `SIM_TRACE=1` prints every line of the trace. Of each hundred seeds two are run
//! twice and must do the same, in a build with `RUSTFLAGS="--cfg tokio_unstable"`: without it tokio
//! does not draw from a seed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "a run tells of its seeds")]

mod backend;
mod caller;
mod faults;
mod follow;
mod interactive;
mod load;
mod network;
mod raw;
mod record;
mod schedule;
mod support;
mod wiretap;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use record::Outcome;
use schedule::Schedule;
use tokio::time::Instant;

#[expect(
    clippy::disallowed_methods,
    reason = "how long a test is to run is told from outside"
)]
fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => default,
    }
}

fn length() -> Duration {
    Duration::from_secs(60 * number("SIM_MINUTES", 3))
}

/// What a failure must show to be found again.
fn explain(seed: u64, outcome: &Outcome) -> String {
    let mut text = format!("seed {seed}\n");
    for fault in &Schedule::of(seed, length()).0 {
        text.push_str(&format!("  {fault}\n"));
    }
    for line in &outcome.tail {
        text.push_str(&format!("  | {line}\n"));
    }
    for broken in &outcome.broken {
        text.push_str(&format!("  {broken}\n"));
    }
    let minutes = length().as_secs() / 60;
    text + &format!(
        "  again: SIM_SEED={seed} SIM_MINUTES={minutes} cargo test --features simulation --test simulation\n"
    )
}

/// What came of all seeds.
#[derive(Default)]
struct Summary {
    counts: BTreeMap<&'static str, u64>,
    seeds: u64,
    failed: Vec<u64>,
}

impl Summary {
    fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.seeds += 1;
        for (kind, value) in &outcome.counts {
            let sum = self.counts.entry(kind).or_default();
            *sum = if kind.ends_with("_ms") {
                *value.max(sum)
            } else {
                *sum + value
            };
        }
        if !outcome.broken.is_empty() {
            println!("{}", explain(seed, outcome));
            self.failed.push(seed);
        }
    }
}

/// Runs a seed, some of them twice.
fn run(seed: u64, alone: bool) -> Outcome {
    let print = number("SIM_TRACE", 0) == 1;
    let mut outcome = world::run(seed, length(), print);
    // Without that flag tokio draws from the system's randomness which waiter of several it wakes first.
    if cfg!(tokio_unstable) && (seed % 50 == 1 || alone) {
        let again = world::run(seed, length(), print);
        if outcome.hash != again.hash {
            let hashes = format!("{:016x} and {:016x}", outcome.hash, again.hash);
            outcome
                .broken
                .push(format!("two runs of a seed give the same trace: {hashes}"));
        }
    }
    if alone {
        println!(
            "seed {seed}: trace {:016x} of {} lines",
            outcome.hash, outcome.lines
        );
    }
    outcome
}

#[test]
fn every_seed_recovers_and_breaks_no_promise() {
    let (from, count) = match number("SIM_SEED", 0) {
        0 => (number("SIM_FROM", 1), number("SIM_SEEDS", 8)),
        seed => (seed, 1),
    };
    let began = Instant::now();
    let until = began + Duration::from_secs(number("SIM_SECONDS", 24 * 3600));
    let mut summary = Summary::default();
    record::hear_panics();
    // One after the other: the ids of tasks are the process's, and decide the order of a crash.
    for seed in (from..from + count).take_while(|_| Instant::now() < until) {
        summary.add(seed, &run(seed, count == 1));
    }
    let Summary {
        counts,
        seeds,
        failed,
    } = summary;
    let seconds = (Instant::now() - began).as_secs();
    let minutes = length().as_secs() / 60;
    println!(
        "FIGURE simulation, {seeds} of {count} seeds from {from}, {minutes} min each = {seconds} s, {counts:?}"
    );
    assert!(failed.is_empty(), "seeds that broke a promise: {failed:?}");
}
