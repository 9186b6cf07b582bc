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
use channels::Told;
use checks::Check;
use handlers::Handler;
use http::Client;
use plan::Plan;

pub use channels::Live;
pub use config::Config;
pub use plan::{Invalid, Problem};

/// What was declared, read and found good, and not yet begun.
#[derive(Debug)]
pub struct Extensions {
    client: Client,
    checks: Vec<Check>,
    handlers: Vec<Handler>,
    channels: Vec<Told>,
    live: Vec<Live>,
    panels: Value,
}

impl Extensions {
    /// Reads a configuration.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn read(config: &Config, policy: &Policy) -> Result<Self, Invalid> {
        let plan = Plan::of(config, policy)?;
        let (live, channels) = channels::open(plan.channels);
        Ok(Self {
            client: plan.client,
            checks: plan.checks,
            handlers: plan.handlers,
            channels,
            live,
            panels: panels::listed(&plan.panels),
        })
    }

    /// The channels, for whoever shows them; there is no data before [`Extensions::start`].
    #[must_use]
    pub fn channels(&self) -> &[Live] {
        &self.live
    }

    /// The answer to `GET /api/panels`.
    #[must_use]
    pub fn panels(&self) -> Value {
        self.panels.clone()
    }

    /// Begins. Everything ends with `tasks`.
    pub fn start(
        self,
        cluster_name: &str,
        cluster: &Cluster,
        monitor: &Monitor,
        metrics: &Metrics,
        tasks: &Tasks,
    ) {
        let Self {
            client,
            checks,
            handlers,
            channels,
            live: _,
            panels: _,
        } = self;
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
        if !channels.is_empty() {
            let run = channels::run(channels, client, cluster.clone());
            tasks.spawn_logged("channels", async move {
                stop.run_until_cancelled(run).await;
            });
        }
    }
}
