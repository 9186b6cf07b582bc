//! How well the agent is: checks of itself and of what it stands on.
//!
//! | component | what |
//! |---|---|
//! | `api_server` | it answers and says that it is ready |
//! | `credentials` | it takes the agent's |
//! | `permissions` | the access preset has all that it needs |
//! | `channel` | it stands and does not flap |
//! | `runtime` | the event loop keeps time |
//! | `memory` | against the limit of the container |
//! | `descriptors` | against the limit of the process |
//! | `check/...` | what the operator declared (`extensions`), brought by [`Monitor::take`] |
//!
//! Owns the checks, for everybody who shows them: commands, the local server, the doctor, and the
//! status from which reports and heartbeats are made. Owns not: who may ask, nor how it is told.
//! Invariants: only the agent's own targets are ever contacted; each wait has a deadline; what goes
//! on by itself costs a request a minute.

mod components;
pub mod connectivity;
mod permissions;
mod process;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, ClusterError, ObjectError};
use crate::limits;
use crate::policy::Access;
use crate::status::{Census, Component, Finding, HealthState, Process, Status};
use crate::uplink::probe::{self, Prober};

pub use permissions::Permissions;
pub use process::Used as Usage;

/// What the process uses, now.
#[must_use]
pub fn usage() -> Usage {
    process::read()
}

/// What is checked against.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The preset whose needs are looked for.
    pub access: Access,
    /// The way to the control plane, as far as that is known.
    pub control_plane: Option<probe::Config>,
}

/// The checks. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Monitor {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cluster: Cluster,
    status: Status,
    config: Config,
    permissions: tokio::sync::Mutex<Option<(Instant, Permissions)>>,
    prober: Option<Prober>,
    /// How the way to the control plane was, and when.
    way: tokio::sync::Mutex<Option<(Instant, Vec<connectivity::Check>)>>,
    seen: Mutex<Seen>,
}

/// What the last minutes brought.
#[derive(Debug, Default)]
struct Seen {
    /// How late the loop woke up, newest last.
    lags: std::collections::VecDeque<Duration>,
    /// When sessions were lost or attempts failed, and how many there were then.
    reconnects: std::collections::VecDeque<(Instant, u64)>,
    /// What others found, and how long it took them.
    taken: BTreeMap<&'static str, Duration>,
}

/// One finding, and how long it took to come to it.
#[derive(Debug, Clone)]
pub struct Examined {
    /// What was found, and since when it is so.
    pub component: Component,
    /// How long it took.
    pub took: Duration,
}

impl Monitor {
    /// Checks that have not begun.
    #[must_use]
    pub fn new(cluster: Cluster, status: Status, config: Config) -> Self {
        Self {
            inner: Arc::new(Inner {
                cluster,
                status,
                prober: config.control_plane.clone().map(Prober::new),
                way: tokio::sync::Mutex::new(None),
                config,
                permissions: tokio::sync::Mutex::new(None),
                seen: Mutex::default(),
            }),
        }
    }

    /// The status that findings go to.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.inner.status
    }

    /// What is checked against.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Looks at everything now, and keeps what it finds.
    pub async fn examine(&self) -> Vec<Examined> {
        let began = Instant::now();
        let api_server = async {
            let objects = self.inner.cluster.objects().within(limits::CLUSTER_CALL);
            let heard = objects.head_of("/readyz").await;
            let heard = heard.map(|told| told.status);
            let [server, credentials] = components::api_server(&heard);
            let took = since(began);
            // The rules are asked for only where anybody answers.
            let permissions = match &heard {
                Ok(_) => Some(self.permissions().await),
                Err(_) => None,
            };
            let permissions = components::permissions(permissions.as_ref());
            [
                (server, took),
                (credentials, took),
                (permissions, since(began)),
            ]
        };
        let (remote, lag) = tokio::join!(api_server, lag());
        let local = self
            .local(lag)
            .into_iter()
            .map(|found| (found, since(began)));
        let found: Vec<_> = remote.into_iter().chain(local).collect();
        let taken = self.seen().taken.clone();
        let times: Vec<_> = found
            .iter()
            .map(|(found, took)| (found.component, *took))
            .chain(taken)
            .collect();
        self.keep(found.into_iter().map(|(found, _)| found).collect());
        let health = self.inner.status.snapshot().health;
        times
            .into_iter()
            .filter_map(|(name, took)| {
                let of = |component: &&Component| component.finding.component == name;
                let component = health.components.iter().find(of)?.clone();
                Some(Examined { component, took })
            })
            .collect()
    }

    /// Which of the preset's needs the agent's account has not; asked for again only after ten
    /// minutes, or one while something is missing.
    pub async fn permissions(&self) -> Permissions {
        let mut known = self.inner.permissions.lock().await;
        let now = Instant::now();
        if let Some((at, permissions)) = known.as_ref() {
            let lasts = if permissions.are_whole() {
                limits::PERMISSIONS_LAST
            } else {
                limits::HEALTH_EVERY
            };
            if now.saturating_duration_since(*at) < lasts {
                return permissions.clone();
            }
        }
        let objects = self.inner.cluster.objects();
        let permissions = Permissions::ask(&objects, self.inner.config.access).await;
        *known = Some((now, permissions.clone()));
        permissions
    }

    /// Keeps what a check of somebody else found, as a component beside our own. Its name is of a
    /// bounded set.
    pub fn take(&self, found: Finding, took: Duration) {
        self.seen().taken.insert(found.component, took);
        self.keep(vec![found]);
    }

    /// Looks again and again until `stop` fires: at the process every few seconds, at the API
    /// server every minute and whenever the status says that something changed.
    pub async fn run(self, stop: CancellationToken) {
        let mut watch = self.inner.status.watch();
        let mut up = None;
        let mut next = Instant::now();
        loop {
            let before = Instant::now();
            let due = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // Both ends of this live as long as the monitor.
                _ = watch.changed() => {
                    let now = watch.borrow_and_update();
                    up.replace(now.api_server.is_up()) != Some(now.api_server.is_up())
                }
                () = tokio::time::sleep(limits::HEALTH_TICK) => {
                    self.late(since(before).saturating_sub(limits::HEALTH_TICK));
                    Instant::now() >= next
                }
            };
            if due {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    _ = self.examine() => {}
                }
                next = Instant::now() + limits::HEALTH_EVERY;
            } else {
                let found = self.local(Duration::ZERO);
                self.keep(found);
            }
        }
    }

    /// Counts nodes and pods again and again, as long as this agent speaks for the cluster.
    pub async fn count(self, stop: CancellationToken) {
        let mut watch = self.inner.status.watch();
        loop {
            let counted = async {
                // The sender lives as long as the status that we hold.
                let _ = watch
                    .wait_for(|now| now.primary && now.api_server.is_up())
                    .await;
                let began = Instant::now();
                let counts = self.inner.cluster.census().await;
                let took = since(began);
                if !self.inner.status.snapshot().primary {
                    // Meanwhile it has become another's to say.
                    return;
                }
                self.inner.status.set_census(match counts {
                    Ok(counts) => Some(Census {
                        nodes_ready: counts.nodes_ready,
                        nodes: counts.nodes,
                        pods: counts.pods,
                        unhealthy: counts.unhealthy,
                    }),
                    Err(error) => {
                        tracing::debug!(%error, "Nodes and pods not counted");
                        None
                    }
                });
                let pause = limits::CENSUS_EVERY.max(took * limits::CENSUS_SHARE);
                // One that is named again counts anew.
                let _ = tokio::time::timeout(pause, watch.wait_for(|now| !now.primary)).await;
            };
            if stop.run_until_cancelled(counted).await.is_none() {
                return;
            }
        }
    }

    /// What needs no request.
    fn local(&self, lag: Duration) -> Vec<Finding> {
        let now = Instant::now();
        let snapshot = self.inner.status.snapshot();
        let reconnects = snapshot.reconnects.values().sum();
        let mut seen = self.seen();
        let flaps = seen.flaps(now, reconnects);
        let lag = seen.lags.iter().copied().max().unwrap_or_default().max(lag);
        drop(seen);
        let process = process::read();
        self.inner.status.set_process(Process {
            rss_kib: process.rss.map(|bytes| bytes / 1024),
            cpu_ms: process.cpu_ms,
        });
        vec![
            components::channel(&snapshot, flaps),
            components::runtime(lag),
            components::memory(&process),
            components::descriptors(&process),
        ]
    }

    fn keep(&self, found: Vec<Finding>) {
        let before = self.inner.status.snapshot().health.state();
        if self.inner.status.set_health(found) {
            let health = self.inner.status.snapshot().health;
            let (state, problems) = (health.state(), health.problems().join(","));
            match state {
                HealthState::Ok if before == HealthState::Ok => {}
                HealthState::Ok => tracing::info!("Healthy again"),
                state => tracing::warn!(state = state.as_str(), problems, "Health changed"),
            }
        }
    }

    fn late(&self, lag: Duration) {
        let mut seen = self.seen();
        seen.lags.push_back(lag);
        if seen.lags.len() > LAGS {
            seen.lags.pop_front();
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.inner
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A minute of ticks.
const LAGS: usize = 12;

impl Seen {
    /// Losses within the last [`limits::FLAP_WITHIN`].
    fn flaps(&mut self, now: Instant, total: u64) -> u64 {
        if self.reconnects.back().map(|(_, known)| *known) != Some(total) {
            self.reconnects.push_back((now, total));
        }
        // The newest before the window is what is counted from.
        while self.reconnects.len() > limits::FLAP_MOST
            || self
                .reconnects
                .get(1)
                .is_some_and(|(at, _)| now.saturating_duration_since(*at) > limits::FLAP_WITHIN)
        {
            self.reconnects.pop_front();
        }
        let first = self.reconnects.front().map_or(total, |(_, known)| *known);
        total - first
    }
}

/// How late the event loop wakes what sleeps, now.
async fn lag() -> Duration {
    let mut worst = Duration::ZERO;
    for _ in 0..10 {
        let began = Instant::now();
        tokio::time::sleep(limits::LAG_PROBE).await;
        worst = worst.max(since(began).saturating_sub(limits::LAG_PROBE));
    }
    worst
}

fn since(began: Instant) -> Duration {
    Instant::now().saturating_duration_since(began)
}

/// What an error of our own call says about the credential: `None` when nothing.
fn refuses_credential(error: &ObjectError) -> Option<&ClusterError> {
    match error {
        ObjectError::Cluster(
            error @ (ClusterError::CredentialRefused | ClusterError::Credential(_)),
        ) => Some(error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_losses_of_the_last_minutes_are_flaps() {
        let mut seen = Seen::default();
        assert_eq!(
            seen.flaps(Instant::now(), 3),
            0,
            "what was before is not counted"
        );
        for total in 4..7 {
            tokio::time::advance(Duration::from_secs(60)).await;
            assert_eq!(seen.flaps(Instant::now(), total), total - 3);
        }
        tokio::time::advance(limits::FLAP_WITHIN).await;
        assert_eq!(seen.flaps(Instant::now(), 6), 1, "the last is just within");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(seen.flaps(Instant::now(), 6), 0);
        for total in 7..10_000 {
            seen.flaps(Instant::now(), total);
        }
        assert!(seen.reconnects.len() <= limits::FLAP_MOST);
    }
}
