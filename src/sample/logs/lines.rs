//! What a container says, and when.
//!
//! Owns: the numbers, stamps and texts of a container's lines. Owns not: who asks for them.
//! Invariant: stamps rise with the line's number and are never more than a second apart.

use serde_json::Value;

use super::super::clock::{Millis, rfc3339_micro};
use super::super::seed;

/// The manner in which a container speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// One line for each HTTP request.
    Access,
    /// One JSON object a line.
    Json,
    /// A database's lines.
    Database,
    /// The format of Kubernetes' own components.
    Component,
    /// A batch job's progress.
    Batch,
    /// A program that cannot reach what it needs.
    Failing,
}

/// One run of a container: enough to say any of its lines.
#[derive(Debug)]
pub(super) struct Voice {
    uid: String,
    container: String,
    restarts: u64,
    manner: Manner,
    /// Between two lines.
    interval: Millis,
}

impl Voice {
    pub(super) fn of(pod: &Value, container: &str, restarts: u64) -> Self {
        let uid = pod["metadata"]["uid"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let manner = match container {
            "web" | "proxy" => Manner::Access,
            "postgres" => Manner::Database,
            "report" | "migrate" => Manner::Batch,
            "worker" => Manner::Failing,
            "catalog" | "cart" | "agent" => Manner::Json,
            _ => Manner::Component,
        };
        // A line at least every two thirds of a second, at most five a second.
        let spread = seed::mix(&[&uid, container], 0) % 450;
        let interval = 200 + Millis::try_from(spread).unwrap_or_default();
        Self {
            uid,
            container: container.to_owned(),
            restarts,
            manner,
            interval,
        }
    }

    /// When line `number` is written: on its beat, and a little after.
    pub(super) fn stamp(&self, number: u64) -> Millis {
        let late = self.hash(number, "late") % self.interval.unsigned_abs().div_euclid(2);
        Millis::try_from(number * self.interval.unsigned_abs() + late).unwrap_or(Millis::MAX)
    }

    /// The number of the first line at or after a moment.
    pub(super) fn first_from(&self, at: Millis) -> u64 {
        let number = at.max(0).unsigned_abs() / self.interval.unsigned_abs();
        if self.stamp(number) < at {
            number + 1
        } else {
            number
        }
    }

    /// How many lines there are before a moment, counted from the epoch.
    pub(super) fn before(&self, at: Millis) -> u64 {
        self.first_from(at)
    }

    fn hash(&self, number: u64, purpose: &str) -> u64 {
        seed::mix(
            &[&self.uid, &self.container, purpose],
            number ^ self.restarts.rotate_left(48),
        )
    }

    /// The text of line `number`, without its end.
    pub(super) fn line(&self, number: u64, stamp: Millis) -> String {
        let hash = self.hash(number, "text");
        match self.manner {
            Manner::Access => access(hash),
            Manner::Json => self.json(hash, stamp),
            Manner::Database => database(hash, stamp),
            Manner::Component => component(&self.container, hash, stamp),
            Manner::Batch => {
                format!(
                    "sample report: {} of 4000 rows done, {} skipped",
                    number % 40 * 100,
                    hash % 7
                )
            }
            Manner::Failing => failing(hash),
        }
    }

    fn json(&self, hash: u64, stamp: Millis) -> String {
        let (level, message) = pick(
            hash,
            &[
                ("info", "request served"),
                ("info", "cache refreshed"),
                ("info", "request served"),
                ("debug", "cache hit"),
                ("info", "request served"),
                ("warn", "slow query"),
            ],
        );
        format!(
            "{{\"time\":\"{}\",\"level\":\"{level}\",\"component\":\"sample-{}\",\
            \"message\":\"{message}\",\"duration_ms\":{},\"request\":\"sample-{:08x}\"}}",
            rfc3339_micro(stamp),
            self.container,
            1 + (hash >> 8) % 340,
            hash >> 32
        )
    }
}

fn pick<T: Copy>(hash: u64, choices: &[T]) -> T {
    let index = usize::try_from(hash % choices.len() as u64).unwrap_or_default();
    choices[index]
}

fn access(hash: u64) -> String {
    let path = pick(
        hash,
        &[
            "/",
            "/api/catalog?page=1",
            "/api/catalog/42",
            "/api/cart",
            "/assets/shop.css",
            "/checkout",
        ],
    );
    let code = pick(
        hash >> 4,
        &[200, 200, 200, 200, 200, 304, 200, 404, 200, 200, 200, 502],
    );
    format!(
        "10.244.{}.{} - \"GET {path} HTTP/1.1\" {code} {} 0.{:03} \"shop.sample.invalid\"",
        1 + (hash >> 12) % 2,
        2 + (hash >> 16) % 250,
        180 + (hash >> 24) % 9000,
        1 + (hash >> 40) % 400
    )
}

fn database(hash: u64, stamp: Millis) -> String {
    let text = pick(
        hash,
        &[
            "LOG:  checkpoint complete: wrote 42 buffers (0.3%)",
            "LOG:  connection authorized: user=sample database=sample_shop",
            "LOG:  duration: 12.402 ms  statement: SELECT id, name FROM sample_products LIMIT 50",
            "LOG:  disconnection: session time: 0:00:03.211 user=sample database=sample_shop",
            "LOG:  automatic vacuum of table \"sample_shop.public.sample_orders\": index scans: 0",
        ],
    );
    format!(
        "{} UTC [{}] {text}",
        rfc3339_micro(stamp).replace(['T', 'Z'], " ").trim_end(),
        40 + hash % 900
    )
}

fn component(name: &str, hash: u64, stamp: Millis) -> String {
    let text = pick(
        hash,
        &[
            "\"Synced\" controller=\"sample\"",
            "\"Observed change\" resource=\"endpointslices\"",
            "\"Lease renewed\" namespace=\"kube-system\"",
            "\"Health check passed\" endpoint=\"/healthz\"",
            "\"Reconciled\" items=12",
        ],
    );
    let time = rfc3339_micro(stamp);
    let (month, day, clock) = (&time[5..7], &time[8..10], &time[11..26]);
    format!(
        "I{month}{day} {clock}       1 sample.go:{}] {name}: {text}",
        40 + hash % 600
    )
}

fn failing(hash: u64) -> String {
    pick(
        hash,
        &[
            "sample worker: connecting to sample-queue.sample-shop:5672",
            "sample worker: dial tcp: lookup sample-queue.sample-shop: no such host",
            "sample worker: no queue, trying again",
            "sample worker: error: cannot start without a queue",
        ],
    )
    .to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::clock::SECOND;
    use super::*;

    #[test]
    fn every_container_says_a_line_a_second_or_more_in_rising_order() {
        for name in ["web", "catalog", "postgres", "etcd", "report", "worker"] {
            let pod = json!({"metadata": {"uid": format!("uid-of-{name}")}});
            let voice = Voice::of(&pod, name, 3);
            let first = voice.first_from(1_700_000_000_000);
            let mut last = voice.stamp(first);
            assert!((0..2 * SECOND).contains(&(last - 1_700_000_000_000)));
            for number in first + 1..first + 500 {
                let stamp = voice.stamp(number);
                assert!(stamp > last && stamp - last <= SECOND, "{name} {number}");
                assert_eq!(voice.line(number, stamp), voice.line(number, stamp));
                last = stamp;
            }
        }
    }
}
