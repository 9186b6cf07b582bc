//! Which of a cluster's sessions says what is said once a cluster (P-15).
//!
//! Owns the choice and the telling (P-112). Owns not: what is said (`view`). Invariants: of the open
//! sessions that know their cluster's UID exactly one is primary, whenever there is one; a primary
//! stays it as long as it is open; roles are told in the order in which they were given.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Cluster, Connected};
use crate::protocol::hello::SessionRole;

impl Connected {
    /// Its role now.
    pub(crate) fn role(&self) -> SessionRole {
        if self.primary.load(Ordering::Relaxed) {
            SessionRole::Primary
        } else {
            SessionRole::Replica
        }
    }
}

impl Cluster {
    /// Whether a session carries the cluster's telemetry, other than the one that `beside` names.
    pub(crate) fn has_primary(&self, beside: Option<&str>) -> bool {
        self.known().sessions.iter().any(|other| {
            other.role() == SessionRole::Primary && other.is_open() && beside != Some(&other.id)
        })
    }

    /// Names a primary where there is none, and one alone where two were welcomed as such.
    pub(super) fn name_primary(&self) {
        let known = self.known();
        let able = || {
            let sessions = known.sessions.iter();
            sessions.filter(|session| session.is_open() && session.uid().is_some())
        };
        let chosen = able()
            .find(|session| session.role() == SessionRole::Primary)
            .or_else(|| able().next());
        for session in &known.sessions {
            let primary = chosen.is_some_and(|chosen| Arc::ptr_eq(chosen, session));
            let was = session.primary.swap(primary, Ordering::Relaxed);
            if was == primary || !session.is_open() {
                continue;
            }
            tracing::info!(
                session = session.id,
                cluster = &*self.id,
                role = ?session.role(),
                "Role given"
            );
            // Told under the lock, so that nobody else's word overtakes this one.
            if let Some(open) = session.session() {
                open.name(session.role());
            }
        }
    }
}
