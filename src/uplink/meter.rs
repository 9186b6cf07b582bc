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
    session: Option<Session>,
}

impl Meter {
    pub(super) fn new(status: Status) -> Self {
        Self {
            status,
            inner: Mutex::default(),
        }
    }

    /// A session begins.
    pub(super) fn begin(&self, session: Session) {
        self.lock().session = Some(session);
    }

    /// The session has ended; its counts are kept.
    pub(super) fn end(&self) {
        self.sample();
        let mut inner = self.lock();
        if let Some(session) = inner.session.take() {
            inner.past = total(inner.past, &session);
        }
    }

    /// Copies the counts into the status.
    pub(super) fn sample(&self) {
        let inner = self.lock();
        if let Some(session) = &inner.session {
            self.status.set_channel(total(inner.past, session));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn total(past: Channel, session: &Session) -> Channel {
    let counts = session.counts();
    Channel {
        streams: counts.streams,
        held: counts.held,
        credit_stalls: past.credit_stalls + counts.credit_stalls,
        sent: past.sent + counts.sent,
        received: past.received + counts.received,
        round_trip: counts.rtt,
    }
}
