//! What happened: one line an event, in order, and what was found to be wrong.
//!
//! Owns the trace and its hash. Invariant: a line holds nothing that two runs of one seed need not
//! share (no wall clock, no address of memory, no id of a system).

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Lines that a failure shows.
const TAIL: usize = 80;

#[derive(Default)]
struct Inner {
    now: Duration,
    hash: u64,
    lines: u64,
    tail: VecDeque<String>,
    print: bool,
    broken: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}

/// The record of one run. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Inner>>);

impl Record {
    pub(crate) fn new(print: bool) -> Self {
        let record = Self::default();
        record.0.lock().unwrap().print = print;
        record.0.lock().unwrap().hash = 0xcbf2_9ce4_8422_2325;
        record
    }

    /// The simulation has come so far.
    pub(crate) fn at(&self, now: Duration) {
        self.0.lock().unwrap().now = now;
    }

    /// Panics of this thread are this record's from now on.
    pub(crate) fn hear(&self) {
        HEARING.with_borrow_mut(|hearing| *hearing = Some(self.clone()));
    }

    /// Something happened.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        let mut inner = self.0.lock().unwrap();
        let line = format!("{:>9.3} {}", inner.now.as_secs_f64(), text.as_ref());
        for byte in line.bytes() {
            inner.hash = (inner.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        inner.lines += 1;
        if inner.print {
            println!("{line}");
        }
        if inner.tail.len() == TAIL {
            inner.tail.pop_front();
        }
        inner.tail.push_back(line);
    }

    /// One more of a kind.
    pub(crate) fn count(&self, kind: &'static str) {
        *self.0.lock().unwrap().counts.entry(kind).or_default() += 1;
    }

    /// The greatest of a kind.
    pub(crate) fn most(&self, kind: &'static str, value: u64) {
        let mut inner = self.0.lock().unwrap();
        let most = inner.counts.entry(kind).or_default();
        *most = value.max(*most);
    }

    /// A sentence does not hold.
    pub(crate) fn broken(&self, sentence: &str, how: impl AsRef<str>) {
        self.note(format!("BROKEN {sentence}: {}", how.as_ref()));
        let mut inner = self.0.lock().unwrap();
        let now = inner.now.as_secs_f64();
        let text = format!(
            "at {now:.3} s, \"{sentence}\" does not hold: {}",
            how.as_ref()
        );
        inner.broken.push(text);
    }

    pub(crate) fn is_broken(&self) -> bool {
        !self.0.lock().unwrap().broken.is_empty()
    }

    pub(crate) fn outcome(&self) -> Outcome {
        let inner = self.0.lock().unwrap();
        Outcome {
            hash: inner.hash,
            lines: inner.lines,
            broken: inner.broken.clone(),
            tail: inner.tail.iter().cloned().collect(),
            counts: inner.counts.clone(),
        }
    }
}

thread_local! {
    /// The record of the run of this thread.
    static HEARING: RefCell<Option<Record>> = const { RefCell::new(None) };
}

/// A panic in a run is recorded, wherever it is caught.
pub(crate) fn hear_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let record = HEARING.with_borrow(Clone::clone);
        match record {
            Some(record) => record.broken("nothing panics", info.to_string()),
            None => before(info),
        }
    }));
}

/// What came of a run.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) hash: u64,
    pub(crate) lines: u64,
    pub(crate) broken: Vec<String>,
    pub(crate) tail: Vec<String>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}
