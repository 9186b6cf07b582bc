//! Two clusters' agents with one id: who is refused, and who learns of it.
//!
//! Owns what is remembered of the newest that was refused, and the word to the incumbents (P-113).
//! Owns not: who answers whom (`register`, `handshake`). Invariant: an incumbent hears of it once a
//! minute at most, however often the other one tries.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::Cluster;
use crate::limits;
use crate::protocol::error::ErrorCode;
use crate::protocol::hello::{AgentFacts, ClusterFacts};

/// An agent of another cluster that asked for a place here.
#[derive(Debug, Clone)]
pub(super) struct Duplicate {
    name: String,
    instance: String,
    uid: String,
    at: Instant,
}

/// The same as `/clusters` shows it.
#[derive(Debug, Serialize)]
pub(super) struct DuplicateView {
    name: String,
    instance: String,
    uid: String,
    ago_s: u64,
}

fn clipped(text: &str) -> String {
    text[..text.floor_char_boundary(limits::DUPLICATE_NAME)].to_owned()
}

impl Duplicate {
    fn ago(&self) -> Duration {
        Instant::now().saturating_duration_since(self.at)
    }

    /// What is shown, as long as it is news.
    pub(super) fn view(&self) -> Option<DuplicateView> {
        (self.ago() < limits::DUPLICATE_SHOWN).then(|| DuplicateView {
            name: self.name.clone(),
            instance: self.instance.clone(),
            uid: self.uid.clone(),
            ago_s: self.ago().as_secs(),
        })
    }
}

impl Cluster {
    /// An agent of another cluster was refused this place; those who hold it are told.
    pub(crate) fn contested(&self, agent: &AgentFacts, facts: &ClusterFacts) {
        let Some(uid) = &facts.uid else {
            return;
        };
        let duplicate = Duplicate {
            name: clipped(&facts.name),
            instance: clipped(&agent.instance),
            uid: clipped(uid),
            at: Instant::now(),
        };
        let message = format!(
            "an agent of another cluster, {:?} with UID {}, asks for this agent's place",
            duplicate.name, duplicate.uid
        );
        let mut known = self.known();
        let told = known.told.is_some_and(|told| {
            Instant::now().saturating_duration_since(told) < limits::DUPLICATE_TOLD
        });
        known.duplicate = Some(duplicate);
        if told {
            return;
        }
        known.told = Some(Instant::now());
        let holders = known.sessions.clone();
        drop(known);
        tracing::warn!(
            cluster = &*self.id,
            instance = agent.instance,
            uid,
            "Another cluster's agent asks for this place"
        );
        for holder in holders {
            if holder.uid().is_some_and(|held| held != *uid)
                && let Some(session) = holder.session()
            {
                session.warn(ErrorCode::DuplicateAgent, &message);
            }
        }
    }
}
