//! A Pod's cells, which sum up its containers.
//!
//! Owns: Ready, Status and Restarts. Owns not: the plain cells (`cells`).
//! Invariant: the words are the API server's.

use serde_json::Value;

use super::super::clock::{Millis, human, parse};

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["status"]["containerStatuses"]
        .as_array()
        .into_iter()
        .flatten()
}

pub(super) fn ready(pod: &Value, _: Millis) -> Value {
    let ready = statuses(pod)
        .filter(|status| status["ready"] == true)
        .count();
    let all = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
    format!("{ready}/{all}").into()
}

/// The phase, or the reason of the last container that does not run.
pub(super) fn status(pod: &Value, _: Millis) -> Value {
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return "Terminating".into();
    }
    let mut word = pod["status"]["phase"].clone();
    for status in statuses(pod) {
        for state in ["waiting", "terminated"] {
            let reason = &status["state"][state]["reason"];
            if !reason.is_null() {
                word = reason.clone();
            }
        }
    }
    word
}

pub(super) fn restarts(pod: &Value, now: Millis) -> Value {
    let count: u64 = statuses(pod)
        .filter_map(|status| status["restartCount"].as_u64())
        .sum();
    let last = statuses(pod)
        .filter_map(|status| status["lastState"]["terminated"]["finishedAt"].as_str())
        .filter_map(parse)
        .max();
    match last {
        Some(last) if count > 0 => format!("{count} ({} ago)", human(now - last)).into(),
        _ => count.to_string().into(),
    }
}
