//! Counts of sessions, carried over from one to the next.
//!
//! Owns the sums of what ended sessions had counted. Owns not: who looks at them (`status`,
//! `metrics`). Invariant: counters never fall, and no session is counted twice.

use std::sync::{Mutex, PoisonError};

use crate::session::Session;
use crate::status::{Channel, Status};

#[derive(Debug)]
pub(super) struct Meter {
    status: Status,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    past: Channel,
    begun: u64,
    /// The newest is the last.
    sessions: Vec<(Reading, Session)>,
}

/// A session that is counted, until [`Meter::end`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading(u64);

impl Meter {
    pub(super) fn new(status: Status) -> Self {
        Self {
            status,
            inner: Mutex::default(),
        }
    }

    /// A session begins.
    pub(super) fn begin(&self, session: Session) -> Reading {
        let mut inner = self.lock();
        inner.begun += 1;
        let reading = Reading(inner.begun);
        inner.sessions.push((reading, session));
        reading
    }

    /// The session has ended; its counts are kept.
    pub(super) fn end(&self, reading: Reading) {
        self.sample();
        let mut inner = self.lock();
        let ended = inner
            .sessions
            .extract_if(.., |(known, _)| *known == reading);
        let ended: Vec<_> = ended.collect();
        for (_, session) in ended {
            let sum = total(inner.past, &session);
            inner.past = Channel {
                streams: [0; 3],
                held: 0,
                ..sum
            };
        }
    }

    /// Copies the counts into the status.
    pub(super) fn sample(&self) {
        let inner = self.lock();
        if inner.sessions.is_empty() {
            return;
        }
        let sessions = inner.sessions.iter();
        let sum = sessions.fold(inner.past, |sum, (_, session)| total(sum, session));
        self.status.set_channel(sum);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn total(past: Channel, session: &Session) -> Channel {
    let counts = session.counts();
    let mut streams = past.streams;
    for (sum, count) in streams.iter_mut().zip(counts.streams) {
        *sum = sum.saturating_add(count);
    }
    Channel {
        streams,
        held: past.held + counts.held,
        credit_stalls: past.credit_stalls + counts.credit_stalls,
        sent: past.sent + counts.sent,
        received: past.received + counts.received,
        round_trip: counts.rtt.or(past.round_trip),
    }
}
