//! Callers that follow a log as kubectl does: one answer, which nobody can ask to go on.
//!
//! Owns the count of lines within one answer. Invariants, as sentences: see the constants.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::caller::{Caller, PATIENCE};

const WHOLE: &str = "the bytes of one answer are the API server's, without a hole or a double";

const PATH: &str = "/clusters/prod/k8s/api/v1/namespaces/d/pods/p/log\
    ?container=main&follow=true&timestamps=true&tailLines=3";

/// Reads one answer after the other until `stop` fires.
pub(crate) async fn read(caller: Caller, seed: u64, stop: CancellationToken) {
    let mut random = StdRng::seed_from_u64(seed);
    while !stop.is_cancelled() {
        sleep(Duration::from_millis(random.random_range(200..3000))).await;
        stop.run_until_cancelled(once(&caller)).await;
    }
}

async fn once(caller: &Caller) {
    let record = &caller.record;
    let request = caller.request("GET", PATH).body(Full::default()).unwrap();
    let Ok(Some(answer)) = timeout(PATIENCE, caller.send(request)).await else {
        return record.note("log not answered");
    };
    if answer.status() != 200 {
        return record.note(format!("log refused {}", answer.status()));
    }
    let mut body = answer.into_body();
    let mut text = String::new();
    let mut next = None;
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else {
            continue;
        };
        text.push_str(std::str::from_utf8(&data).unwrap());
        while let Some(end) = text.find('\n') {
            let line: String = text.drain(..=end).collect();
            let ordinal = line.trim_end().rsplit_once(" line ");
            let ordinal = ordinal.and_then(|(_, number)| number.parse::<u64>().ok());
            if ordinal.is_none() || next.is_some_and(|next| ordinal != Some(next)) {
                record.broken(WHOLE, format!("{line:?} instead of {next:?}"));
            }
            next = ordinal.map(|ordinal| ordinal + 1);
            record.count("raw_lines");
        }
    }
    record.note(format!("log broken at {next:?}"));
}
