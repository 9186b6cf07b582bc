//! What callers do all the time: reads, changes with and without a key, and followers of a log.
//!
//! Owns the load and the judgement of each answer. Invariants, as sentences: see the constants.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::caller::{Caller, Came};
use crate::record::Record;

const TRUE: &str = "an answer is what the API server said, whole";
const ONCE: &str = "no change is carried out twice";
const DONE: &str = "what is answered as done was carried out once";
const CODES: &str = "a refusal has one of the statuses that name a hop";

/// Statuses with which a gateway may refuse while something is broken.
const REFUSALS: [u16; 5] = [409, 429, 502, 503, 504];

/// How often a change is sent again under its key.
const ATTEMPTS: u32 = 4;

/// What was asked to be changed, and what was said of it: whether it was done.
pub(crate) type Changes = Rc<RefCell<BTreeMap<String, bool>>>;

/// Reads one object after the other until `stop` fires.
pub(crate) async fn read(caller: Caller, seed: u64, stop: CancellationToken) {
    let mut random = StdRng::seed_from_u64(seed);
    while !stop.is_cancelled() {
        sleep(Duration::from_millis(random.random_range(100..1500))).await;
        let name = format!("read-{}", random.random_range(0..12_000));
        let path = format!("/clusters/prod/k8s/api/v1/namespaces/d/configmaps/{name}");
        let request = caller.request("GET", &path).body(Full::default()).unwrap();
        match caller.ask(request).await {
            Came::Answer(200, body) => {
                let said: Result<Value, _> = serde_json::from_slice(&body);
                if said.ok() != Some(Backend::content(&name)) {
                    let how = format!("{name}: {} bytes of something else", body.len());
                    caller.record.broken(TRUE, how);
                }
                caller.record.count("reads");
            }
            Came::Answer(status, body) => refused(&caller, "read", status, &body),
            Came::Broken => caller.record.note(format!("{name} broken")),
        }
    }
}

/// Changes one object after the other, half of them under a key.
pub(crate) async fn change(caller: Caller, seed: u64, stop: CancellationToken, changes: Changes) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut number = 0;
    while !stop.is_cancelled() {
        sleep(Duration::from_millis(random.random_range(200..2500))).await;
        number += 1;
        let name = format!("change-{seed:x}-{number}");
        changes.borrow_mut().insert(name.clone(), false);
        let done = if random.random() {
            scale(&caller, &name, &mut random).await
        } else {
            create(&caller, &name).await
        };
        if done {
            changes.borrow_mut().insert(name, true);
        }
    }
}

/// A command with a key, sent again as long as nobody knows what came of it.
async fn scale(caller: &Caller, name: &str, random: &mut StdRng) -> bool {
    let arguments = json!({"kind": "Deployment", "namespace": "d", "name": name, "replicas": 3});
    for attempt in 1..=ATTEMPTS {
        let request = caller
            .request("POST", "/clusters/prod/commands/workloads.scale")
            .header("accept", "application/json")
            .header("content-type", "application/json")
            .header("idempotency-key", name)
            .header("idempotency-attempt", attempt.to_string())
            .body(Full::from(arguments.to_string()))
            .unwrap();
        match caller.ask(request).await {
            Came::Answer(200, _) => return true,
            Came::Answer(status, body) => {
                refused(caller, name, status, &body);
                if status == 409 {
                    return false;
                }
            }
            Came::Broken => caller.record.note(format!("{name} broken")),
        }
        sleep(Duration::from_millis(random.random_range(500..5000))).await;
    }
    false
}

/// A request of Kubernetes, sent once: nobody else may send it again.
async fn create(caller: &Caller, name: &str) -> bool {
    let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}});
    let request = caller
        .request("POST", "/clusters/prod/k8s/api/v1/namespaces/d/configmaps")
        .header("content-type", "application/json")
        .body(Full::from(object.to_string()))
        .unwrap();
    match caller.ask(request).await {
        Came::Answer(201, _) => return true,
        Came::Answer(status, body) => refused(caller, name, status, &body),
        Came::Broken => caller.record.note(format!("{name} broken")),
    }
    false
}

fn refused(caller: &Caller, what: &str, status: u16, body: &Bytes) {
    caller.record.note(format!("{what} refused {status}"));
    caller.record.count("refusals");
    if !REFUSALS.contains(&status) {
        let text = String::from_utf8_lossy(body);
        caller
            .record
            .broken(CODES, format!("{what} {status} {text}"));
    }
}

/// Holds the count of every change to what was said of it.
pub(crate) fn judge(
    record: &Record,
    counts: &BTreeMap<String, u32>,
    asked: &BTreeMap<String, bool>,
) {
    for (name, count) in counts {
        if *count > 1 {
            record.broken(ONCE, format!("{name} {count} times"));
        }
        if !asked.contains_key(name) {
            record.broken(ONCE, format!("nobody asked for {name}"));
        }
    }
    for (name, done) in asked {
        if *done && !counts.contains_key(name) {
            record.broken(DONE, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_carried_out_twice_or_not_at_all_is_noticed() {
        let judged = |counts: &[(&str, u32)], asked: &[(&str, bool)]| {
            let record = Record::new(false);
            let counts = counts
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count));
            let asked = asked.iter().map(|(name, done)| ((*name).to_owned(), *done));
            judge(&record, &counts.collect(), &asked.collect());
            record.outcome().broken.len()
        };
        assert_eq!(judged(&[("a", 1)], &[("a", true), ("b", false)]), 0);
        assert_eq!(judged(&[("a", 2)], &[("a", false)]), 1);
        assert_eq!(judged(&[], &[("a", true)]), 1);
        assert_eq!(judged(&[("a", 1)], &[]), 1);
    }
}
