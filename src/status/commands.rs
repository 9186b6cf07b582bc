//! The commands that run and those that have just ended, for whoever looks at the agent itself.
//!
//! Owns the table. Owns not: the commands (`dispatch`). Invariant: it holds no more than the limits
//! say, whatever is dispatched; arguments and answers never get in.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::limits;

/// A command that runs.
#[derive(Debug, Clone)]
pub struct RunningCommand {
    /// Its id.
    pub id: String,
    /// Of a bounded set.
    pub name: &'static str,
    /// On whose behalf.
    pub actor: Option<String>,
    /// Since when.
    pub started: Instant,
}

/// A command that has ended.
#[derive(Debug, Clone)]
pub struct EndedCommand {
    /// As it ran.
    pub command: RunningCommand,
    /// `ok`, or an error code.
    pub outcome: &'static str,
    /// How long it ran.
    pub took: Duration,
}

/// The table.
#[derive(Debug, Clone, Default)]
pub struct Commands {
    /// Those that run and are shown, oldest first.
    pub running: BTreeMap<u64, RunningCommand>,
    /// Those that run and are only a number.
    pub more: usize,
    /// Those that have ended, newest last.
    pub recent: VecDeque<EndedCommand>,
    next: u64,
}

/// A command's place in the table, until it is dropped.
#[derive(Debug)]
pub struct Shown {
    table: watch::Sender<Commands>,
    key: Option<u64>,
    command: Option<RunningCommand>,
    outcome: &'static str,
}

impl Shown {
    pub(super) fn begin(table: &watch::Sender<Commands>, command: RunningCommand) -> Self {
        let mut key = None;
        table.send_modify(|table| {
            if table.running.len() < limits::COMMANDS_SHOWN {
                table.next += 1;
                key = Some(table.next);
                table.running.insert(table.next, command.clone());
            } else {
                table.more += 1;
            }
        });
        Self {
            table: table.clone(),
            key,
            command: Some(command),
            outcome: "cancelled",
        }
    }

    /// How it ended; without this it was given up.
    pub const fn ended(&mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let (outcome, key, command) = (self.outcome, self.key, self.command.take());
        self.table.send_modify(|table| {
            match key {
                Some(key) => drop(table.running.remove(&key)),
                None => table.more = table.more.saturating_sub(1),
            }
            if let Some(command) = command {
                if table.recent.len() >= limits::COMMANDS_RECENT {
                    table.recent.pop_front();
                }
                let took = Instant::now().saturating_duration_since(command.started);
                table.recent.push_back(EndedCommand {
                    command,
                    outcome,
                    took,
                });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_is_shown_than_fits_and_all_are_counted() {
        let table = watch::Sender::new(Commands::default());
        let begin = |id: usize| {
            let command = RunningCommand {
                id: id.to_string(),
                name: "k8s.request",
                actor: None,
                started: Instant::now(),
            };
            Shown::begin(&table, command)
        };
        let mut all: Vec<_> = (0..limits::COMMANDS_SHOWN + 5).map(begin).collect();
        assert_eq!(table.borrow().running.len(), limits::COMMANDS_SHOWN);
        assert_eq!(table.borrow().more, 5);
        all[0].ended("ok");
        drop(all);
        let now = table.borrow();
        assert_eq!((now.running.len(), now.more), (0, 0));
        assert_eq!(now.recent.len(), limits::COMMANDS_RECENT);
        assert_eq!(now.recent[0].outcome, "cancelled");
    }
}
