//! Tells the cluster's own list of events when the channel comes, goes or is refused.
//!
//! Owns what is told (`Connected`, `Disconnected`, `AuthFailed`), of which object (the Deployment
//! that the pod belongs to), and how often. Owns not: where the channel stands (`status`).
//! Invariants: it only watches the status, so the channel never waits for it; one write at a time,
//! each with a deadline, and one each [`limits::ANNOUNCE_EVERY`] at most, so that a channel that
//! flaps is told at its last; what repeats raises the count of the event that is there.

mod event;

use std::collections::BTreeMap;

use http::Method;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::cluster::{ObjectError, Objects, written};
use crate::limits;
use crate::status::{Phase, Snapshot, Status};
use crate::telemetry::error_chain;
use event::{Owned, Reference, Told};

/// The pod that this process runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where it is; the events are written there.
    pub namespace: String,
    /// What it is called.
    pub name: String,
}

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    Connected,
    Disconnected,
    AuthFailed,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "Connected",
            Self::Disconnected => "Disconnected",
            Self::AuthFailed => "AuthFailed",
        }
    }

    /// What there is to tell, if the channel stands still for a moment.
    fn of(now: &Snapshot) -> Option<Self> {
        // Going away by order is the pod's own story, and the kubelet tells it.
        if now.draining {
            return None;
        }
        match now.phase {
            Phase::Connected => Some(Self::Connected),
            Phase::Waiting => Some(Self::Disconnected),
            Phase::Refused | Phase::Stopped => Some(Self::AuthFailed),
            Phase::Starting | Phase::Connecting => None,
        }
    }
}

/// Tells every change from now on; never returns.
///
/// # Cancel safety
/// Dropping it ends the telling; what was being written may have been.
pub async fn run(objects: Objects, status: Status, pod: Config) {
    let mut watch = status.watch();
    let mut announcer = Announcer::new(objects.within(limits::ANNOUNCE_CALL), pod);
    loop {
        let now = watch.borrow_and_update().clone();
        let wait = match announcer.due(&now) {
            // What happens in between is seen when the time has come.
            Some(reason) if announcer.may() => {
                announcer.tell(reason, &now).await;
                continue;
            }
            Some(_) => Some(announcer.next),
            None => None,
        };
        if turn(&mut watch, wait).await.is_none() {
            return;
        }
    }
}

/// Waits for the time, or for a change where there is none; nothing when no change can come.
async fn turn(watch: &mut watch::Receiver<Snapshot>, until: Option<Instant>) -> Option<()> {
    match until {
        Some(until) => sleep_until(until).await,
        None => watch.changed().await.ok()?,
    }
    Some(())
}

struct Announcer {
    objects: Objects,
    pod: Config,
    /// The object that events are about, once found.
    regarding: Option<Reference>,
    /// What was told last, and in which session.
    last: Option<(Reason, u64)>,
    /// When the next may be told.
    next: Instant,
    /// The event of each reason, so that a repetition is counted there.
    told: BTreeMap<Reason, Told>,
    /// That it fails was logged.
    failing: bool,
}

impl Announcer {
    fn new(objects: Objects, pod: Config) -> Self {
        Self {
            objects,
            pod,
            regarding: None,
            last: None,
            next: Instant::now(),
            told: BTreeMap::new(),
            failing: false,
        }
    }

    /// What is to be told that was not.
    fn due(&self, now: &Snapshot) -> Option<Reason> {
        let reason = Reason::of(now)?;
        // A session that came and went unseen is news, though the phase is the same.
        let news = self.last.is_none_or(|last| last != (reason, now.sessions));
        news.then_some(reason)
    }

    fn may(&self) -> bool {
        Instant::now() >= self.next
    }

    async fn tell(&mut self, reason: Reason, now: &Snapshot) {
        let written = self.write(reason, now).await;
        let wait = match written {
            Ok(()) => {
                self.last = Some((reason, now.sessions));
                self.failing = false;
                limits::ANNOUNCE_EVERY
            }
            Err(error) => {
                // It stays due, and is said once: the log has the channel's own lines anyway.
                if !self.failing {
                    let error = error_chain(&error);
                    tracing::warn!(reason = reason.as_str(), %error, "Event not written");
                }
                self.failing = true;
                limits::ANNOUNCE_RETRY
            }
        };
        self.next = Instant::now() + wait;
    }

    async fn write(&mut self, reason: Reason, now: &Snapshot) -> Result<(), ObjectError> {
        let regarding = match &self.regarding {
            Some(found) => found.clone(),
            None => self.find().await?,
        };
        let Config { namespace, name } = &self.pod;
        let events = format!("/api/v1/namespaces/{namespace}/events");
        let message = message(reason, now);
        let at = written::now();
        let fresh = |told: &&mut Told| told.still_counts(Instant::now());
        if let Some(told) = self.told.get_mut(&reason).filter(fresh) {
            let target = format!("{events}/{}", told.name);
            let patch = event::repeated(told.count + 1, &message, &at);
            let kind = "application/merge-patch+json";
            let sent: Result<serde::de::IgnoredAny, _> = self
                .objects
                .send(&Method::PATCH, &target, kind, patch)
                .await;
            match sent {
                Ok(_) => {
                    told.count += 1;
                    self.regarding = Some(regarding);
                    return Ok(());
                }
                // The API server forgets events after an hour, or as it was told.
                Err(ObjectError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let told = Told::new(&regarding.name, Instant::now());
        let event = event::first(&told.name, &regarding, reason, &message, &at, name);
        let _: serde::de::IgnoredAny = self.objects.post(&events, &event).await?;
        self.told.insert(reason, told);
        self.regarding = Some(regarding);
        Ok(())
    }

    /// The Deployment that the pod belongs to, by its ReplicaSet; what else controls the pod; or the
    /// pod itself.
    async fn find(&self) -> Result<Reference, ObjectError> {
        let Config { namespace, name } = &self.pod;
        let pod: Owned = self
            .objects
            .get(&format!("/api/v1/namespaces/{namespace}/pods/{name}"))
            .await?;
        let Some(owner) = pod.controller(namespace) else {
            return Ok(pod.reference("v1", "Pod", namespace));
        };
        if owner.kind != "ReplicaSet" {
            return Ok(owner);
        }
        let name = &owner.name;
        let set: Owned = self
            .objects
            .get(&format!(
                "/apis/apps/v1/namespaces/{namespace}/replicasets/{name}"
            ))
            .await?;
        Ok(set.controller(namespace).unwrap_or(owner))
    }
}

fn message(reason: Reason, now: &Snapshot) -> String {
    let cause = || {
        let error = now.last_error.as_ref();
        error.map_or_else(String::new, |error| {
            format!(": {}: {}", error.cause, error.message)
        })
    };
    let text = match reason {
        Reason::Connected => "The channel to the control plane is up".to_owned(),
        Reason::Disconnected => format!("There is no channel to the control plane{}", cause()),
        Reason::AuthFailed => format!("The control plane refuses this agent{}", cause()),
    };
    text[..text.floor_char_boundary(limits::ANNOUNCE_MESSAGE)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(change: impl FnOnce(&Status)) -> Option<Reason> {
        let status = Status::default();
        change(&status);
        Reason::of(&status.snapshot())
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_channel_that_stands_still_is_told_of() {
        assert_eq!(reason(|_| {}), None);
        assert_eq!(reason(|status| status.set_phase(Phase::Connecting)), None);
        assert_eq!(
            reason(|status| status.connected("s")),
            Some(Reason::Connected)
        );
        let waiting = reason(|status| status.set_phase(Phase::Waiting));
        assert_eq!(waiting, Some(Reason::Disconnected));
        let refused = reason(|status| status.set_phase(Phase::Refused));
        assert_eq!(refused, Some(Reason::AuthFailed));
        let leaving = reason(|status| {
            status.set_phase(Phase::Waiting);
            status.drain();
        });
        assert_eq!(leaving, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_tells_the_cause_within_its_bound() {
        let status = Status::default();
        status.failed("dns", "ü".repeat(limits::ANNOUNCE_MESSAGE));
        let now = status.snapshot();
        assert_eq!(
            message(Reason::Connected, &now),
            "The channel to the control plane is up"
        );
        let text = message(Reason::Disconnected, &now);
        assert!(text.contains(": dns: ü"), "{text}");
        assert!((limits::ANNOUNCE_MESSAGE - 1..=limits::ANNOUNCE_MESSAGE).contains(&text.len()));
    }
}
