//! What an operator adds to the agent in its configuration: checks, handlers, channels, panels.
//!
//! | section | what |
//! |---|---|
//! | `health_checks` | an HTTP answer, a TCP connection or a condition, beside the components of health ([`checks`]) |
//! | `event_handlers` | a webhook or a log line for events that match ([`handlers`]) |
//! | `channels` | values of a Kubernetes query or a Prometheus endpoint, for SSE and `/ws` ([`channels`]) |
//! | `panels` | what the dashboard shows of a channel ([`panels`]) |
//!
//! Owns these, their bounds and their one task each. Owns not: who is shown what they bring
//! (`health`, `local`). Invariants: nothing is run; targets come from the configuration alone, and
//! nothing that a target or the cluster sends names another; Kubernetes is asked under the agent's
//! own account and only for what the access preset allows; what a target does costs its own section
//! and nobody else.

mod channels;
mod checks;
mod config;
mod handlers;
mod http;
mod panels;
mod plan;
mod prometheus;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::health::Monitor;
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::tasks::Tasks;
use plan::Plan;

pub use channels::Live;
pub use config::Config;
pub use plan::{Invalid, Problem};

/// What was declared, read and found good, and not yet begun.
#[derive(Debug)]
pub struct Extensions {
    plan: Plan,
}

impl Extensions {
    /// Reads a configuration.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn read(config: &Config, policy: &Policy) -> Result<Self, Invalid> {
        Ok(Self {
            plan: Plan::of(config, policy)?,
        })
    }

    /// The answer to `GET /api/panels`.
    #[must_use]
    pub fn panels(&self) -> Value {
        panels::listed(&self.plan.panels)
    }

    /// Begins. Everything ends with `tasks`; the channels are for whoever shows them.
    #[must_use]
    pub fn start(
        self,
        cluster_name: &str,
        cluster: &Cluster,
        monitor: &Monitor,
        metrics: &Metrics,
        tasks: &Tasks,
    ) -> Vec<Live> {
        let Plan {
            client,
            checks,
            handlers,
            channels,
            panels: _,
        } = self.plan;
        let stop = tasks.stopping();
        if !checks.is_empty() {
            let run = checks::run(checks, client.clone(), cluster.clone(), monitor.clone());
            let stop = stop.clone();
            tasks.spawn_logged("checks", async move {
                stop.run_until_cancelled(run).await;
            });
        }
        if !handlers.is_empty() {
            let counted = handlers::Counted::register(metrics);
            let (name, cluster) = (cluster_name.to_owned(), cluster.clone());
            let run = handlers::run(handlers, name, client.clone(), cluster, counted);
            let stop = stop.clone();
            tasks.spawn_logged("handlers", async move {
                stop.run_until_cancelled(run).await;
            });
        }
        let (live, polling) = channels::open(channels, client, cluster.clone());
        if !live.is_empty() {
            tasks.spawn_logged("channels", async move {
                stop.run_until_cancelled(polling).await;
            });
        }
        live
    }
}
