//! The agent's own figures.
//!
//! | name | labels | what |
//! |---|---|---|
//! | `pipeops_agent_status` | | 1 while the agent is ready |
//! | `pipeops_agent_uptime_seconds` | | since the start |
//! | `pipeops_agent_build` | `version` | always 1 |
//! | `pipeops_cluster_nodes_total` | | nodes, as last counted; absent until then |
//! | `pipeops_cluster_pods_total` | | pods, likewise |
//!
//! The last two keep the names of the specification, though gauges have no `_total` elsewhere.

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
    let nodes = Family::<[(&'static str, &'static str); 0], Gauge>::default();
    let pods = Family::<[(&'static str, &'static str); 0], Gauge>::default();
    let version = env!("CARGO_PKG_VERSION");
    build.get_or_create(&Build { version }).set(1);
    metrics.register(|to| {
        let name = "pipeops_agent_status";
        to.register(name, "1 while the agent is ready", ready.clone());
        let name = "pipeops_agent_uptime_seconds";
        to.register(name, "Seconds since the start", uptime.clone());
        to.register("pipeops_agent_build", "The program's version", build);
        let name = "pipeops_cluster_nodes_total";
        to.register(name, "Nodes of the cluster, as last counted", nodes.clone());
        let name = "pipeops_cluster_pods_total";
        to.register(name, "Pods of the cluster, as last counted", pods.clone());
    });
    let status = status.clone();
    metrics.observe(move || {
        ready.set(i64::from(status.snapshot().unready().is_empty()));
        let seconds = status.uptime().as_secs();
        uptime.set(i64::try_from(seconds).unwrap_or(i64::MAX));
        // What is not known is not 0.
        match status.snapshot().census {
            Some(census) => {
                nodes.get_or_create(&[]).set(i64::from(census.nodes));
                let all: i64 = census.pods.into_iter().map(i64::from).sum();
                pods.get_or_create(&[]).set(all);
            }
            None => {
                nodes.clear();
                pods.clear();
            }
        }
    });
}
