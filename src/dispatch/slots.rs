//! How many commands run at once, per kind. Full means `busy`, never a queue.
//!
//! Owns the counts. Invariant: a slot is given back when it is dropped, however the command ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::limits;
use crate::policy::Subject;
use crate::protocol::message::Class;

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request to the API server: it holds a connection.
    Kubernetes(Class),
    /// A command of ours that reads, for as long as it is watched.
    Observe,
    /// A command of ours that changes something.
    Operate,
    /// Bytes for the channel's own sake: bounded by the session's streams alone.
    Channel,
}

impl Kind {
    pub(super) fn of(subject: &Subject, class: Class) -> Self {
        match subject {
            Subject::Kubernetes(_) => Self::Kubernetes(class),
            Subject::Operation(_) if subject.mutates() => Self::Operate,
            Subject::Operation(_) => Self::Observe,
            Subject::Channel => Self::Channel,
        }
    }

    const fn limit(self) -> u32 {
        match self {
            Self::Kubernetes(Class::Interactive) => limits::SLOTS_INTERACTIVE,
            Self::Kubernetes(Class::Api) => limits::SLOTS_API,
            Self::Kubernetes(Class::Bulk) => limits::SLOTS_BULK,
            Self::Observe => limits::SLOTS_OBSERVE,
            Self::Operate => limits::SLOTS_OPERATE,
            Self::Channel => limits::STREAMS,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Kubernetes(Class::Interactive) => 0,
            Self::Kubernetes(Class::Api) => 1,
            Self::Kubernetes(Class::Bulk) => 2,
            Self::Channel => 3,
            Self::Observe => 4,
            Self::Operate => 5,
        }
    }
}

/// The counts of all kinds.
#[derive(Debug)]
pub(super) struct Slots {
    taken: [Arc<AtomicU32>; 6],
}

impl Slots {
    pub(super) fn new() -> Self {
        Self {
            taken: std::array::from_fn(|_| Arc::new(AtomicU32::new(0))),
        }
    }

    /// A slot, if one is free.
    pub(super) fn take(&self, kind: Kind) -> Option<Slot> {
        let taken = &self.taken[kind.index()];
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < kind.limit()).then_some(taken + 1)
            })
            .ok()?;
        Some(Slot {
            taken: taken.clone(),
        })
    }
}

/// One command's place.
#[derive(Debug)]
pub(super) struct Slot {
    taken: Arc<AtomicU32>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_kind_refuses_and_leaves_the_others_their_room() {
        let slots = Slots::new();
        let kind = Kind::Kubernetes(Class::Interactive);
        let taken: Vec<_> = (0..limits::SLOTS_INTERACTIVE)
            .map(|_| slots.take(kind).expect("there is room"))
            .collect();
        assert!(slots.take(kind).is_none());
        assert!(slots.take(Kind::Kubernetes(Class::Api)).is_some());
        drop(taken);
        assert!(slots.take(kind).is_some());
    }
}
