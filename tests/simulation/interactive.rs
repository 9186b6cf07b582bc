//! Callers that talk through an exec, whose other end says back what it hears.
//!
//! Owns the raw bytes after the upgrade. Invariants, as sentences: see the constants. An exec is never
//! resumed: whatever breaks its way ends it.

use std::time::Duration;

use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::caller::{Caller, PATIENCE};

const ECHO: &str = "an exec says back each byte once and in order, until it ends";

const PATH: &str = "/clusters/prod/k8s/api/v1/namespaces/d/pods/p/exec?command=cat";

/// An API server that is cut off is noticed by nobody who waits for it to speak.
const GIVEN_UP: Duration = Duration::from_secs(40);

/// Talks through one exec after the other until `stop` fires.
pub(crate) async fn talk(caller: Caller, seed: u64, stop: CancellationToken) {
    let mut random = StdRng::seed_from_u64(seed);
    while !stop.is_cancelled() {
        sleep(Duration::from_millis(random.random_range(500..4000))).await;
        let talking = once(&caller, &mut random);
        stop.run_until_cancelled(talking).await;
    }
}

async fn once(caller: &Caller, random: &mut StdRng) {
    let request = caller
        .request("POST", PATH)
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1")
        .body(Full::default())
        .unwrap();
    let record = &caller.record;
    let Ok(Some(answer)) = timeout(PATIENCE, caller.send(request)).await else {
        return record.note("exec not answered");
    };
    if answer.status() != 101 {
        return record.note(format!("exec refused {}", answer.status()));
    }
    let Ok(upgraded) = hyper::upgrade::on(answer).await else {
        return record.note("exec broken at once");
    };
    let mut io = TokioIo::new(upgraded);
    for _ in 0..random.random_range(1..40) {
        let said: Vec<u8> = (0..random.random_range(1..6000))
            .map(|_| random.random())
            .collect();
        let mut heard = vec![0; said.len()];
        let exchange = async {
            io.write_all(&said).await?;
            io.read_exact(&mut heard).await
        };
        match timeout(GIVEN_UP, exchange).await {
            Ok(Ok(_)) if heard == said => record.count("echoes"),
            Ok(Ok(_)) => record.broken(ECHO, format!("{} bytes differ", said.len())),
            Ok(Err(error)) => return record.note(format!("exec ended: {:?}", error.kind())),
            Err(_) => return record.note("exec given up"),
        }
        sleep(Duration::from_millis(random.random_range(0..1500))).await;
    }
    let _ = io.shutdown().await;
    record.note("exec done");
}
