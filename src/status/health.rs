//! How well the agent is, and what its cluster amounts to: as last found, for whoever tells it.
//!
//! Owns the shape and how findings make one state. Owns not: the checks (`health`, the module).
//! Invariants: the whole is never better than its worst component; a component's `since` moves
//! only with its state, so that a message that is worded anew starts no clock.

use tokio::time::Instant;

/// How well something is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HealthState {
    /// As it should be.
    #[default]
    Ok,
    /// It works, and something should be done.
    Degraded,
    /// It does not work.
    Failing,
}

impl HealthState {
    /// For logs and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of a bounded set.
    pub component: &'static str,
    /// How well it is.
    pub state: HealthState,
    /// One line for a person.
    pub message: String,
}

/// A component, as last found.
#[derive(Debug, Clone)]
pub struct Component {
    /// What was found.
    pub finding: Finding,
    /// Since when it has this state.
    pub since: Instant,
}

/// All components.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// As last found, in the order of the checks; empty before the first.
    pub components: Vec<Component>,
}

impl Health {
    /// The worst of all.
    pub fn state(&self) -> HealthState {
        let states = self.components.iter().map(|c| c.finding.state);
        states.max().unwrap_or_default()
    }

    /// The components that are not ok.
    pub fn problems(&self) -> Vec<&'static str> {
        let bad = |component: &&Component| component.finding.state != HealthState::Ok;
        let bad = self.components.iter().filter(bad);
        let mut names: Vec<_> = bad.map(|component| component.finding.component).collect();
        names.sort_unstable();
        names
    }

    /// Takes findings over; components that were not looked at stay. Says whether a state changed.
    pub(super) fn take(&mut self, findings: Vec<Finding>, now: Instant) -> bool {
        let mut changed = false;
        for finding in findings {
            let known = self
                .components
                .iter_mut()
                .find(|known| known.finding.component == finding.component);
            match known {
                Some(known) => {
                    if known.finding.state != finding.state {
                        known.since = now;
                        changed = true;
                    }
                    known.finding = finding;
                }
                None => {
                    changed = true;
                    self.components.push(Component {
                        finding,
                        since: now,
                    });
                }
            }
        }
        changed
    }
}

/// What the cluster amounts to, as last counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Nodes that are ready.
    pub nodes_ready: u32,
    /// All nodes.
    pub nodes: u32,
    /// Pods by phase: pending, running, succeeded, failed, unknown.
    pub pods: [u32; 5],
    /// Pods that should run and do not, or are not ready.
    pub unhealthy: u32,
}

/// What the process uses, as last looked at; nothing where the system does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Process {
    /// Resident memory, in KiB.
    pub rss_kib: Option<u64>,
    /// CPU time since the start, in milliseconds.
    pub cpu_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(component: &'static str, state: HealthState, message: &str) -> Finding {
        Finding {
            component,
            state,
            message: message.into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_worst_component_is_the_state_and_words_move_no_clock() {
        let mut health = Health::default();
        assert_eq!(health.state(), HealthState::Ok);
        let first = Instant::now();
        let all = vec![
            finding("memory", HealthState::Ok, "9 MiB"),
            finding("channel", HealthState::Degraded, "waits"),
        ];
        assert!(health.take(all, first));
        assert_eq!(health.state(), HealthState::Degraded);
        assert_eq!(health.problems(), ["channel"]);

        tokio::time::advance(std::time::Duration::from_secs(9)).await;
        let again = vec![finding("channel", HealthState::Degraded, "still waits")];
        assert!(
            !health.take(again, Instant::now()),
            "only the words are new"
        );
        assert_eq!(health.components[1].since, first);
        let worse = vec![finding("channel", HealthState::Failing, "refused")];
        assert!(health.take(worse, Instant::now()));
        assert_ne!(health.components[1].since, first);
        assert_eq!(health.components[0].since, first, "not looked at, and kept");
        assert_eq!(health.state(), HealthState::Failing);
    }
}
