//! A caller of the gateway that asks agents of the fleet, one after the other.
//!
//! Owns what is asked (`/version` of an agent's cluster, drawn at random) and how long it took. An
//! agent that is not connected is a refusal and no latency: what counts is how sessions that stand
//! are served. Invariant: a connection that broke is made anew, and counted as nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use pipeops_agent::tasks::Tasks;
use rand::RngExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::cluster;
use crate::kube::target::Target;
use crate::rounds::percentile;

/// Loops that ask at once.
const LOOPS: usize = 4;
/// Between two questions of a loop: it measures the fleet, and is not to be the load.
const PAUSE: Duration = Duration::from_millis(5);

/// Who asks.
#[derive(Clone)]
pub(crate) struct Caller {
    target: Target,
    /// Agents with a lower number are asked.
    among: usize,
}

/// How long answers took, in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    sorted: Vec<f64>,
    pub(crate) refused: usize,
}

impl Latencies {
    pub(crate) fn count(&self) -> usize {
        self.sorted.len()
    }

    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        percentile(&self.sorted, percent)
    }
}

/// Loops that go on until they are stopped.
pub(crate) struct Asking {
    stop: Arc<AtomicBool>,
    loops: Vec<JoinHandle<Latencies>>,
}

impl Caller {
    pub(crate) async fn new(
        port: u16,
        ca: &Path,
        token: &str,
        among: usize,
    ) -> anyhow::Result<Self> {
        // The certificate is made when the gateway starts.
        let made = async {
            while !ca.exists() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), made)
            .await
            .context("the gateway made no certificate")?;
        let pem = std::fs::read(ca)?;
        Ok(Self {
            target: Target::new(&format!("https://127.0.0.1:{port}"), &pem, token)?,
            among,
        })
    }

    /// The same, asking only the first agents.
    pub(crate) fn among(&self, among: usize) -> Self {
        Self {
            target: self.target.clone(),
            among,
        }
    }

    pub(crate) async fn gateway_is_up(&self, within: Duration) -> anyhow::Result<()> {
        let tasks = Tasks::new();
        timeout(within, async {
            while self.target.connect(&tasks).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .context("the gateway does not listen")
    }

    pub(crate) fn begin(&self) -> Asking {
        let stop = Arc::<AtomicBool>::default();
        let tasks = Tasks::new();
        let one = || {
            let (caller, stop) = (self.clone(), Arc::clone(&stop));
            tasks.spawn("loop", async move { caller.ask(&stop).await })
        };
        let loops = (0..LOOPS).map(|_| one()).collect();
        Asking { stop, loops }
    }

    pub(crate) async fn for_a_while(&self, time: Duration) -> anyhow::Result<Latencies> {
        let asking = self.begin();
        sleep(time).await;
        asking.stop().await
    }

    async fn ask(&self, stop: &AtomicBool) -> Latencies {
        let mut found = Latencies::default();
        let tasks = Tasks::new();
        let mut connection = None;
        while !stop.load(Ordering::Relaxed) {
            sleep(PAUSE).await;
            let mut open = match connection.take() {
                Some(open) => open,
                None => match self.target.connect(&tasks).await {
                    Ok(open) => open,
                    Err(_) => continue,
                },
            };
            let number = rand::rng().random_range(0..self.among);
            let path = format!("/clusters/{}/k8s/version", cluster(number));
            let from = Instant::now();
            match self.target.get(&mut open, &path).await {
                Ok(_) => found.sorted.push(from.elapsed().as_secs_f64() * 1e3),
                Err(_) => found.refused += 1,
            }
            connection = (!open.is_closed()).then_some(open);
        }
        found
    }
}

impl Asking {
    pub(crate) async fn stop(self) -> anyhow::Result<Latencies> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Latencies::default();
        for one in self.loops {
            let found = one.await?;
            all.sorted.extend(found.sorted);
            all.refused += found.refused;
        }
        all.sorted.sort_by(f64::total_cmp);
        Ok(all)
    }
}
