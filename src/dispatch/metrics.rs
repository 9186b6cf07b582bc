//! What is counted of commands.
//!
//! | name | labels | what |
//! |---|---|---|
//! | `pipeops_agent_commands_total` | `command`, `outcome` | commands that ended; `ok` or an error code |
//! | `pipeops_agent_commands_running` | `command` | commands that run |
//! | `pipeops_agent_commands_denied_total` | | refusals by the owner's policy |
//! | `pipeops_agent_command_panics_total` | | handlers that panicked: a defect |
//!
//! Invariant: labels are bounded: a name that no command has is `unknown`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::protocol::{Command, ErrorCode};
use crate::status::{Shown, Status};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    command: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    command: &'static str,
}

/// The counters of one program. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    ended: Family<Outcome, Counter>,
    running: Family<Name, Gauge>,
    denied: Counter,
    panics: Counter,
    status: Option<Status>,
}

impl Metrics {
    /// The counters, registered.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "pipeops_agent_commands",
            "Commands that ended, by how",
            metrics.ended.clone(),
        );
        registry.register(
            "pipeops_agent_commands_running",
            "Commands that run",
            metrics.running.clone(),
        );
        registry.register(
            "pipeops_agent_commands_denied",
            "Commands that the owner's policy refused",
            metrics.denied.clone(),
        );
        registry.register(
            "pipeops_agent_command_panics",
            "Handlers that panicked",
            metrics.panics.clone(),
        );
        metrics
    }

    /// Tells `status` of each end as well, for heartbeats.
    #[must_use]
    pub fn telling(self, status: Status) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }

    /// Handlers that panicked so far.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.get()
    }

    /// Commands that ended so far with this outcome: `ok` or an error code's string.
    #[must_use]
    pub fn count(&self, command: &'static str, outcome: &'static str) -> u64 {
        self.ended
            .get(&Outcome { command, outcome })
            .map_or(0, |counter| counter.get())
    }

    /// Commands that run.
    #[must_use]
    pub fn in_flight(&self, command: &'static str) -> i64 {
        self.running
            .get(&Name { command })
            .map_or(0, |gauge| gauge.get())
    }

    pub(super) fn refused(&self, name: &str, code: ErrorCode) {
        let command = Command::NAMES
            .iter()
            .find(|known| **known == name)
            .copied()
            .unwrap_or("unknown");
        self.ended(command, Some(code));
    }

    pub(super) fn ended(&self, command: &'static str, code: Option<ErrorCode>) {
        let outcome = code.map_or("ok", ErrorCode::as_str);
        self.ended
            .get_or_create(&Outcome { command, outcome })
            .inc();
        if let Some(status) = &self.status {
            status.command_ended();
        }
    }

    pub(super) fn denied(&self) {
        self.denied.inc();
    }

    pub(super) fn panicked(&self) {
        self.panics.inc();
    }

    pub(super) fn running(&self, command: &'static str, id: &str, actor: Option<&str>) -> Running {
        let gauge = self.running.get_or_create(&Name { command }).clone();
        gauge.inc();
        let status = self.status.as_ref();
        let shown = status.map(|status| status.command_began(id, command, actor));
        Running { gauge, shown }
    }
}

/// Counts a command as running until it is dropped.
#[derive(Debug)]
pub(super) struct Running {
    gauge: Gauge,
    shown: Option<Shown>,
}

impl Running {
    /// How it ended; without this it was given up.
    pub(super) fn ended(mut self, code: Option<ErrorCode>) {
        if let Some(shown) = &mut self.shown {
            shown.ended(code.map_or("ok", ErrorCode::as_str));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}
