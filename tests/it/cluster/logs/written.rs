//! What a container writes, and all that was written.
//!
//! Owns lines with stamps that are equal, repeat or go backwards, contents that repeat, long lines,
//! and when files are rotated and containers restarted.

use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::support::kubelet::{Kubelet, Record};

/// The longest record of a file.
const RECORD: usize = 16 * 1024;

#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) lines: usize,
    pub(super) cuts: u32,
    pub(super) seed: u64,
    /// Above 0 there are so many restarts, and no rotations.
    pub(super) restarts: u32,
}

impl Settings {
    /// Nanoseconds between two lines at most. Who resumes reads up to two seconds again, and that
    /// has to be less than a cut leaves, or nothing is got before the cuts are used up: rotations
    /// keep files short, and where there are none, lines come slowly.
    const fn pace(self) -> i64 {
        if self.restarts == 0 {
            1_000_000
        } else {
            50_000_000
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) nanos: i64,
    pub(super) text: String,
}

pub(super) struct State {
    pub(super) kubelet: Kubelet,
    pub(super) settings: Settings,
    pub(super) lines: Vec<Line>,
    /// The ordinals that files begin with.
    pub(super) starts: Vec<usize>,
    pub(super) run: u32,
    random: StdRng,
    nanos: i64,
    /// The API server's view is so many steps behind.
    behind: u32,
    done: bool,
    /// So many lines may be ahead of the reader.
    ahead: usize,
    read: usize,
}

#[derive(Clone)]
pub(super) struct Written(Arc<Mutex<State>>);

impl Written {
    pub(super) fn new(kubelet: &Kubelet, settings: Settings) -> Self {
        kubelet.start("p", "main");
        let state = State {
            kubelet: kubelet.clone(),
            settings,
            lines: Vec::new(),
            starts: vec![0],
            run: 0,
            random: StdRng::seed_from_u64(settings.seed),
            nanos: 1_764_000_000_123_456_789,
            behind: 0,
            done: false,
            ahead: 0,
            read: 0,
        };
        state.tell("Running", &json!({"running": {}}));
        let written = Self(Arc::new(Mutex::new(state)));
        // About as much as there is to be read for each, at 80 bytes a line: some is read more than
        // once.
        let reach = settings.lines * 2 * 80 / settings.cuts as usize;
        kubelet.cut(settings.cuts, reach);
        let at_cut = Arc::downgrade(&written.0);
        kubelet.on_cut(move || {
            if let Some(state) = at_cut.upgrade() {
                state.lock().unwrap().cut();
            }
        });
        written
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Writes on, as far as the reader at line `read` has come, or where it gets nothing.
    pub(super) fn go_on(&self, read: usize, silent: u32) {
        let mut state = self.lock();
        state.read = read;
        if state.behind > 0 {
            state.behind -= 1;
            if state.behind == 0 {
                state.tell("Running", &json!({"running": {}}));
            }
        }
        if state.done || (state.lines.len() > read + state.ahead && silent % 100 < 99) {
            return;
        }
        state.ahead = state.random.random_range(0..3000);
        let burst = state.random.random_range(1..200);
        state.write(burst);
        let odds = if state.settings.restarts == 0 { 12 } else { 3 };
        if state.random.random_range(0..odds) == 0 {
            state.turn();
        }
        state.end();
    }
}

impl State {
    fn tell(&self, phase: &str, state: &Value) {
        let status = json!({"name": "main", "restartCount": self.run, "state": state});
        self.kubelet.pod("p", "Never", phase, &[status]);
    }

    fn write(&mut self, count: usize) {
        let left = self.settings.lines - self.lines.len();
        let mut records = Vec::new();
        for _ in 0..count.min(left) {
            let line = self.line();
            let text = line.text.as_bytes();
            let mut parts = text.chunks(RECORD).peekable();
            while let Some(part) = parts.next() {
                records.push(Record {
                    nanos: line.nanos,
                    text: String::from_utf8(part.to_vec()).unwrap(),
                    full: parts.peek().is_none(),
                });
            }
            self.lines.push(line);
        }
        self.kubelet.write("p", "main", records);
    }

    fn line(&mut self) -> Line {
        let first = self.starts.last() == Some(&self.lines.len());
        let nanos = match self.random.random_range(0..100) {
            // A restart takes its time.
            _ if first && self.run > 0 => {
                self.nanos += 100_000_000;
                self.nanos
            }
            0..10 => self.lines.last().map_or(self.nanos, |line| line.nanos),
            10..15 => self.nanos - self.random.random_range(0..30_000_000),
            _ => {
                self.nanos += self.random.random_range(1..self.settings.pace());
                self.nanos
            }
        };
        let text = match self.random.random_range(0..2000) {
            0 => "x".repeat(self.random.random_range(RECORD..4 * RECORD)),
            1..500 => "GET /health 200".to_owned(),
            500..600 => " ".to_owned(),
            _ => format!(
                "request {:x} took \"{}\" ms",
                self.nanos,
                self.random.random_range(0..99)
            ),
        };
        Line { nanos, text }
    }

    /// A rotation, or a restart.
    fn turn(&mut self) {
        if self.read == 0 {
            // What was never begun to be read is nobody's loss.
            return;
        }
        if self.settings.restarts == 0 {
            self.kubelet.rotate("p", "main");
            self.starts.push(self.lines.len());
        } else if self.run < self.settings.restarts
            && self.behind == 0
            && self.starts.last() < Some(&self.read)
        {
            self.run += 1;
            self.kubelet.start("p", "main");
            self.starts.push(self.lines.len());
            self.behind = self.random.random_range(1..100);
            // A run says something.
            self.write(1);
        }
    }

    /// What happens while nobody reads.
    fn cut(&mut self) {
        if self.done || self.random.random_range(0..5) > 1 {
            return;
        }
        let (before, behind) = (
            self.random.random_range(1..200),
            self.random.random_range(0..100),
        );
        self.write(before);
        self.turn();
        self.write(behind);
        self.end();
    }

    fn end(&mut self) {
        if self.lines.len() == self.settings.lines && self.behind == 0 && !self.done {
            self.done = true;
            self.kubelet.stop("p", "main");
            self.tell("Succeeded", &json!({"terminated": {"exitCode": 0}}));
        }
    }
}
