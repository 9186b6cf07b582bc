//! Processes: starting this program again, and what one has used.
//!
//! Owns the reading of `/proc`. CPU is user and system time of every thread alive, from the
//! scheduler's own count, which is exact to a tick. Invariant: a child dies with its handle.

use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// This program once more, with other arguments.
pub(crate) fn again(arguments: &[String]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).stdin(Stdio::null());
    Ok(command)
}

/// A running process that is killed when it is no longer needed.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self(child))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// What it writes to standard output, if that is a pipe.
    pub(crate) fn output(&mut self) -> Option<std::process::ChildStdout> {
        self.0.stdout.take()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU seconds that the process has used.
pub(crate) fn cpu(id: u32) -> anyhow::Result<f64> {
    let mut total = 0.0;
    for task in std::fs::read_dir(format!("/proc/{id}/task"))? {
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse()?;
        total += nanoseconds / 1e9;
    }
    Ok(total)
}

/// A line of `/proc/<id>/status` that is in kB, as MiB: `VmRSS` now, `VmHWM` at most so far.
pub(crate) fn memory(id: u32, field: &str) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let kib: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .context("no such line")?
        .parse()?;
    Ok(kib / 1024.0)
}

/// The machine's load over the last minute.
pub(crate) fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().unwrap_or(f64::NAN)
}

/// CPU of two processes over a stretch of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter {
    ids: [u32; 2],
    before: [f64; 2],
}

impl Meter {
    /// Starts counting for this process and another.
    pub(crate) fn start(other: u32) -> anyhow::Result<Self> {
        let ids = [std::process::id(), other];
        Ok(Self {
            ids,
            before: [cpu(ids[0])?, cpu(ids[1])?],
        })
    }

    /// Seconds since the start: this process, the other.
    pub(crate) fn stop(self) -> anyhow::Result<[f64; 2]> {
        Ok([
            cpu(self.ids[0])? - self.before[0],
            cpu(self.ids[1])? - self.before[1],
        ])
    }
}
