//! What the agent says of itself in a session: reports (P-17, P-110) and heartbeats (P-18, P-111).
//!
//! Owns what they hold, what is left out because the gateway knows it, and how often a report may
//! go out. Owns not: when the session asks (`uplink`), nor what is true (`status`). Invariants: the
//! last state always gets out, however often it flapped before; a flapping state never outruns the
//! peer's budget of reports (P-48).

use std::time::Duration;

use tokio::time::Instant;

use crate::limits;
use crate::protocol::Command;
use crate::protocol::message::{HealthState, Heartbeat, NodeCounts, PodCounts, Report, Summary};
use crate::status::{self, Snapshot, Status, Unready};

/// What one session has been told.
#[derive(Debug)]
pub(super) struct Telling {
    access: &'static str,
    said: Option<Report>,
    summary: Summary,
    pace: Pace,
    due: Option<Instant>,
}

impl Telling {
    pub(super) fn new(access: &'static str, now: Instant) -> Self {
        Self {
            access,
            said: None,
            summary: Summary::default(),
            pace: Pace::new(now),
            due: None,
        }
    }

    /// The report to send now, if there is something new and it may go out; otherwise
    /// [`Telling::due`] says when to ask again.
    pub(super) fn report(&mut self, snapshot: &Snapshot, now: Instant) -> Option<Report> {
        let report = report(self.access, snapshot);
        if self.said.as_ref() == Some(&report) {
            self.due = None;
            return None;
        }
        match self.pace.take(now) {
            Ok(()) => {
                self.due = None;
                self.said = Some(report.clone());
                Some(report)
            }
            Err(next) => {
                self.due = Some(next);
                None
            }
        }
    }

    /// When a report that is held back may go out.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The next heartbeat; `seq` and `streams` are the session's.
    pub(super) fn heartbeat(&mut self, status: &Status) -> Heartbeat {
        let snapshot = status.snapshot();
        let now = summary(&snapshot);
        let changed = now.since(&self.summary);
        if let Some(changed) = &changed {
            self.summary.update(changed);
        }
        Heartbeat {
            seq: 0,
            ready: report(self.access, &snapshot).ready,
            streams: 0,
            commands: status.commands(),
            uptime_s: status.uptime().as_secs(),
            summary: changed,
        }
    }
}

fn report(access: &str, now: &Snapshot) -> Report {
    // That there is a channel is clear to whoever reads this.
    let unready = now.unready();
    let other = [Unready::Channel, Unready::Auth];
    let (health, problems) = health(now);
    Report {
        seq: 0,
        ready: unready.iter().all(|reason| other.contains(reason)),
        api_server: now.api_server.is_up(),
        cluster_uid: now.api_server.uid().map(str::to_owned),
        kubernetes: now.api_server.version().map(str::to_owned),
        access: access.to_owned(),
        commands: Command::NAMES.iter().map(ToString::to_string).collect(),
        health,
        problems,
    }
}

/// The state and what is not ok in it, once there was a look.
fn health(now: &Snapshot) -> (Option<HealthState>, Vec<String>) {
    let mut health = now.health.clone();
    // Whoever reads this knows better: the last look was before there was a channel.
    health.components.retain(|component| {
        let finding = &component.finding;
        (finding.component, finding.state) != ("channel", status::HealthState::Failing)
    });
    let looked = !health.components.is_empty();
    let problems = health.problems().into_iter().map(Into::into).collect();
    (looked.then(|| state(health.state())), problems)
}

const fn state(state: status::HealthState) -> HealthState {
    match state {
        status::HealthState::Ok => HealthState::Ok,
        status::HealthState::Degraded => HealthState::Degraded,
        status::HealthState::Failing => HealthState::Failing,
    }
}

fn summary(now: &Snapshot) -> Summary {
    // What is true of the cluster is said once, however many replicas there are.
    let census = now.census.filter(|_| now.primary);
    Summary {
        health: health(now).0,
        rss_kib: now.process.rss_kib,
        cpu_ms: now.process.cpu_ms,
        reconnects: Some(now.reconnects.values().sum()),
        nodes: census.map(|census| NodeCounts {
            ready: census.nodes_ready,
            total: census.nodes,
        }),
        pods: census.map(|census| {
            let [pending, running, succeeded, failed, unknown] = census.pods;
            PodCounts {
                pending,
                running,
                succeeded,
                failed,
                unknown,
            }
        }),
        unhealthy: census.map(|census| census.unhealthy),
    }
}

/// So many reports at once, and then one each [`limits::REPORT_EVERY`].
#[derive(Debug)]
struct Pace {
    /// The moment that one more report of the burst is counted from; never far in the past.
    counted: Instant,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self {
            counted: now.checked_sub(Self::burst()).unwrap_or(now),
        }
    }

    const fn burst() -> Duration {
        Duration::from_secs(limits::REPORT_EVERY.as_secs() * limits::REPORT_BURST)
    }

    /// Counts a report, or says when one may go out.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let oldest = now.checked_sub(Self::burst()).unwrap_or(self.counted);
        let next = self.counted.max(oldest) + limits::REPORT_EVERY;
        if next > now {
            return Err(next);
        }
        self.counted = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Census, Finding};

    fn found(status: &Status, state: status::HealthState) {
        status.set_health(vec![Finding {
            component: "memory",
            state,
            message: String::new(),
        }]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_state_is_told_at_once_and_a_flapping_one_at_the_pace() {
        let status = Status::default();
        let mut telling = Telling::new("readonly", Instant::now());
        let first = telling.report(&status.snapshot(), Instant::now()).unwrap();
        assert_eq!((first.health, first.problems.len()), (None, 0));
        assert!(telling.report(&status.snapshot(), Instant::now()).is_none());
        assert_eq!(telling.due(), None);

        let mut sent = 1;
        let began = Instant::now();
        for flap in 0..100 {
            found(
                &status,
                if flap % 2 == 0 {
                    status::HealthState::Failing
                } else {
                    status::HealthState::Ok
                },
            );
            sent += u64::from(telling.report(&status.snapshot(), Instant::now()).is_some());
        }
        assert_eq!(sent, limits::REPORT_BURST);
        // The state came back to what was said, so that nothing is owed; then it changes for good.
        found(&status, status::HealthState::Degraded);
        assert!(telling.report(&status.snapshot(), Instant::now()).is_none());
        let due = telling.due().expect("it is owed");
        assert_eq!(due, began + limits::REPORT_EVERY);
        tokio::time::sleep_until(due).await;
        let last = telling.report(&status.snapshot(), Instant::now()).unwrap();
        assert_eq!(last.health, Some(HealthState::Degraded));
        assert_eq!(last.problems, ["memory"]);
        assert_eq!(telling.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_holds_what_is_new_and_only_a_primary_speaks_for_the_cluster() {
        let status = Status::default();
        let mut telling = Telling::new("readonly", Instant::now());
        let first = telling.heartbeat(&status).summary.unwrap();
        assert_eq!(first.reconnects, Some(0));
        assert_eq!(telling.heartbeat(&status).summary, None, "nothing is new");

        let census = Census {
            nodes_ready: 2,
            nodes: 3,
            pods: [1, 5, 0, 0, 0],
            unhealthy: 1,
        };
        status.set_census(Some(census));
        assert_eq!(telling.heartbeat(&status).summary, None, "a replica's");
        status.set_primary(true);
        let counted = telling.heartbeat(&status).summary.unwrap();
        assert_eq!(counted.nodes, Some(NodeCounts { ready: 2, total: 3 }));
        assert_eq!(counted.pods.unwrap().running, 5);
        assert_eq!((counted.unhealthy, counted.reconnects), (Some(1), None));
        assert_eq!(telling.heartbeat(&status).summary, None);

        status.failed("dns", "gone".into());
        let failed = telling.heartbeat(&status).summary.unwrap();
        let wanted = Summary {
            reconnects: Some(1),
            ..Summary::default()
        };
        assert_eq!(failed, wanted);
        // The other end puts them together again.
        let mut known = first;
        known.update(&counted);
        known.update(&failed);
        assert_eq!(known.since(&summary(&status.snapshot())), None);
    }
}
