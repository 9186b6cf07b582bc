//! The agent's own figures.
//!
//! | name | labels | what |
//! |---|---|---|
//! | `pipeops_agent_status` | | 1 while the agent is ready |
//! | `pipeops_agent_uptime_seconds` | | since the start |
//! | `pipeops_agent_build` | `version` | always 1 |

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::Metrics;
use crate::status::Status;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

pub(super) fn register(metrics: &Metrics, status: &Status) {
    let ready = Gauge::<i64>::default();
    let uptime = Gauge::<i64>::default();
    let build = Family::<Build, Gauge>::default();
    let version = env!("CARGO_PKG_VERSION");
    build.get_or_create(&Build { version }).set(1);
    metrics.register(|to| {
        let name = "pipeops_agent_status";
        to.register(name, "1 while the agent is ready", ready.clone());
        let name = "pipeops_agent_uptime_seconds";
        to.register(name, "Seconds since the start", uptime.clone());
        to.register("pipeops_agent_build", "The program's version", build);
    });
    let status = status.clone();
    metrics.observe(move || {
        ready.set(i64::from(status.snapshot().unready().is_empty()));
        let seconds = status.uptime().as_secs();
        uptime.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    });
}
