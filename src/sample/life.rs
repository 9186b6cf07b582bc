//! What happens in the sample cluster while it runs.
//!
//! Owns: the one writer of the store after the start, and the order of a second's work. Owns not:
//! each actor's doings, which are its submodules'.
//! Invariant: a step is a function of the store and of `now`; nothing here reads a clock, waits,
//! or grows with the time that the cluster has been up.

mod controllers;
mod cron;
mod events;
mod kubelet;
mod leases;
mod rollout;

use std::sync::Arc;

use super::catalog;
use super::clock::Millis;
use super::store::Store;

/// The actors and what they remember.
#[derive(Debug)]
pub(super) struct Life {
    store: Arc<Store>,
    rollout: rollout::Rollout,
    leases: leases::Leases,
    /// The version up to which the controllers have seen the pods.
    settled: u64,
}

impl Life {
    /// Completes the first objects with what controllers derive from them.
    pub(super) fn begin(store: Arc<Store>, now: Millis) -> Self {
        cron::fill(&store, now);
        events::fill(&store, now);
        controllers::settle(&store, now);
        let settled = store.version();
        Self {
            store,
            settled,
            rollout: rollout::Rollout::new(now),
            leases: leases::Leases::new(now),
        }
    }

    /// Does what is due by `now`. Meant to be called about once a second.
    pub(super) fn step(&mut self, now: Millis) {
        self.leases.step(&self.store, now);
        kubelet::step(&self.store, now);
        cron::step(&self.store, now);
        self.rollout.step(&self.store, now);
        self.settle(now);
        events::prune(&self.store, now);
    }

    /// Lets the controllers work, if there is something new to them: only pods matter to them.
    fn settle(&mut self, now: Millis) {
        let Some(pods) = catalog::find("", "v1", "pods") else {
            return;
        };
        let changes = self.store.since(self.settled, usize::MAX);
        self.settled = self.store.version();
        if changes.map_or(true, |changes| {
            changes.iter().any(|change| change.is_of(pods, None))
        }) {
            controllers::settle(&self.store, now);
        }
    }
}

#[cfg(test)]
mod tests;
