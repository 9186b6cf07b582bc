//! Whether an agent's process comes back after its session was lost.
//!
//! Owns the waiting for its next session, and the signs that there will be none. Owns not: what goes
//! on in it (`gateway::resume`). Invariant: a session that is handed out is of the very process that
//! is waited for.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Cluster, Connected};
use crate::limits;
use crate::protocol::error::ErrorCode;
use crate::protocol::hello::AgentFacts;
use crate::session::Ended;

/// The agent's processes that a cluster has had lately.
#[derive(Debug, Default)]
pub(super) struct Processes {
    known: VecDeque<(String, u64)>,
    /// How many were new when they came.
    new: u64,
}

impl Processes {
    pub(super) fn met(&mut self, agent: &AgentFacts) {
        let is = |(instance, epoch): &(String, u64)| {
            *instance == agent.instance && *epoch == agent.epoch
        };
        if self.known.iter().any(is) {
            return;
        }
        self.new += 1;
        if self.known.len() >= limits::GATEWAY_PROCESSES {
            self.known.pop_front();
        }
        self.known.push_back((agent.instance.clone(), agent.epoch));
    }
}

impl Connected {
    /// Remembers how the session ended.
    pub(crate) fn ended(&self, ended: &Ended) {
        let finally = match ended {
            Ended::Failed(code, _) => {
                matches!(code, ErrorCode::Unauthorized | ErrorCode::Decommissioned)
            }
            Ended::PeerLeft(goaway) => goaway.code == ErrorCode::ShuttingDown,
            Ended::Drained => true,
            Ended::PeerClosed(_) | Ended::Link(_) => false,
        };
        self.finally.store(finally, Ordering::Relaxed);
    }

    /// Waits for the next session of the same process; nothing once it will surely not come: the
    /// process has said that it goes, its token was removed, or another one has taken its place.
    /// The caller brings the deadline.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn next(&self) -> Option<Arc<Self>> {
        let cluster = &self.cluster;
        let before = cluster.known().processes.new;
        let mut changed = pin!(cluster.joined.notified());
        loop {
            changed.as_mut().enable();
            if let Some(next) = cluster.session_of(self) {
                return Some(next);
            }
            let replaced = cluster.known().processes.new > before;
            if replaced || self.finally.load(Ordering::Relaxed) {
                return None;
            }
            changed.as_mut().await;
            changed.set(cluster.joined.notified());
        }
    }
}

impl Cluster {
    /// An open session of the same process, other than this one.
    fn session_of(&self, lost: &Connected) -> Option<Arc<Connected>> {
        let agent = &lost.hello.agent;
        self.sessions().into_iter().find(|other| {
            let theirs = &other.hello.agent;
            (&theirs.instance, theirs.epoch) == (&agent.instance, agent.epoch)
                && other.id != lost.id
                && other.is_open()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_new_once() {
        let agent = |number: usize, epoch| AgentFacts {
            id: "a".into(),
            instance: format!("i-{number}"),
            epoch,
            version: "1".into(),
        };
        let mut processes = Processes::default();
        for _ in 0..2 {
            for number in 0..limits::GATEWAY_PROCESSES {
                processes.met(&agent(number, 7));
            }
        }
        assert_eq!(processes.new, limits::GATEWAY_PROCESSES as u64);
        processes.met(&agent(0, 8));
        assert_eq!(processes.new, limits::GATEWAY_PROCESSES as u64 + 1);
        assert_eq!(processes.known.len(), limits::GATEWAY_PROCESSES);
    }
}
