//! What is known without usage: capacity, allocatable, requests, limits and counts (P-105).
//!
//! Owns when it is read again: it costs a list of every pod, so that it may take a twentieth of the
//! time and no more. Invariant: what may not be read is left out, and the rest is still told.

use std::time::Duration;

use tokio::time::Instant;

use super::{Cut, Watch};
use crate::cluster::capacity::{self, Demand, NodeRoom, PodDemand};
use crate::cluster::metrics::{Absent, Used};
use crate::cluster::{ObjectError, capacity::Room as Has};
use crate::limits;
use crate::protocol::command::metrics_watch::{
    Amount, Capacity, Event, NodeCapacities, NodeCapacity, NodeTotals, PodTotals, Room, What,
};

/// When the next survey is due; the first at once.
#[derive(Debug, Default)]
pub(super) struct Due(Option<Instant>);

impl Due {
    fn is_now(&self, now: Instant) -> bool {
        self.0.is_none_or(|due| due <= now)
    }

    fn after(&mut self, now: Instant, took: Duration) {
        self.0 = now.checked_add(took * limits::SURVEY_SHARE);
    }
}

impl Watch {
    /// Reads and tells it, if it is due.
    pub(super) async fn survey(&mut self) -> Result<(), Cut> {
        let began = Instant::now();
        if !self.survey.is_now(began) {
            return Ok(());
        }
        let nodes = readable(capacity::nodes(&self.objects).await)?;
        let pods = readable(capacity::pods(&self.objects).await)?;
        let now = Instant::now();
        self.survey.after(now, now.saturating_duration_since(began));
        let event = Event::Capacity(Capacity {
            nodes: nodes.as_deref().map(node_totals),
            pods: pods.as_ref().map(pod_totals),
        });
        self.out.event(&event).await?;
        if self.wants(What::Nodes) {
            for some in nodes
                .iter()
                .flat_map(|all| all.chunks(limits::METRICS_CHUNK))
            {
                let items = some.iter().map(|node| node_capacity(node, pods.as_ref()));
                let items = items.collect();
                let event = Event::NodeCapacity(NodeCapacities { items });
                self.out.event(&event).await?;
            }
        }
        Ok(())
    }
}

/// Nothing where it may not be read.
fn readable<T>(read: Result<T, ObjectError>) -> Result<Option<T>, Cut> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if Absent::of(&error) == Some(Absent::Forbidden) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn amount(used: Used) -> Amount {
    super::amount(used)
}

fn room(has: Has) -> Room {
    let Amount { cpu_m, memory } = amount(has.used);
    Room {
        cpu_m,
        memory,
        pods: has.pods,
    }
}

fn node_totals(nodes: &[NodeRoom]) -> NodeTotals {
    let count = |is: fn(&NodeRoom) -> bool| {
        u32::try_from(nodes.iter().filter(|node| is(node)).count()).unwrap_or(u32::MAX)
    };
    let sum = |of: fn(&NodeRoom) -> Has| {
        let mut sum = Has::default();
        for node in nodes {
            let has = of(node);
            sum.used.add(has.used);
            sum.pods = sum.pods.saturating_add(has.pods);
        }
        room(sum)
    };
    NodeTotals {
        total: count(|_| true),
        ready: count(|node| node.ready),
        unschedulable: count(|node| node.unschedulable),
        capacity: sum(|node| node.capacity),
        allocatable: sum(|node| node.allocatable),
    }
}

fn pod_totals(pods: &PodDemand) -> PodTotals {
    let [pending, running, succeeded, failed, unknown] = pods.phases;
    PodTotals {
        pending,
        running,
        succeeded,
        failed,
        unknown,
        requests: amount(pods.total.requests),
        limits: amount(pods.total.limits),
    }
}

fn node_capacity(node: &NodeRoom, pods: Option<&PodDemand>) -> NodeCapacity {
    let demand: Option<Demand> =
        pods.map(|pods| pods.nodes.get(&node.name).copied().unwrap_or_default());
    NodeCapacity {
        name: node.name.clone(),
        ready: node.ready,
        unschedulable: node.unschedulable,
        capacity: room(node.capacity),
        allocatable: room(node.allocatable),
        pods: demand.map(|demand| demand.pods),
        requests: demand.map(|demand| amount(demand.requests)),
        limits: demand.map(|demand| amount(demand.limits)),
    }
}
