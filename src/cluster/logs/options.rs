//! How logs are to be read.
//!
//! Owns what one request for logs may ask for, and what it may cost ([`Budget`]). Pure.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// How a log is to be read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Goes on as lines are written, and through restarts.
    pub follow: bool,
    /// The run before the present one, and only that.
    pub previous: bool,
    /// Only so many lines of what there is at first, the last.
    pub tail: Option<u64>,
    /// Only lines from then on.
    pub since: Option<Since>,
    /// What may be read at most, of all containers together.
    pub budget: Option<Arc<Budget>>,
}

/// Lines and bytes that may still be read.
#[derive(Debug)]
pub struct Budget {
    lines: AtomicU64,
    bytes: AtomicU64,
}

impl Budget {
    /// So much.
    #[must_use]
    pub const fn new(lines: u64, bytes: u64) -> Self {
        Self {
            lines: AtomicU64::new(lines),
            bytes: AtomicU64::new(bytes),
        }
    }

    /// Whether another line may be read; the last one may go beyond the bytes.
    #[must_use]
    pub fn spent(&self) -> bool {
        self.lines.load(Relaxed) == 0 || self.bytes.load(Relaxed) == 0
    }

    pub(super) fn spend(&self, bytes: usize) {
        let less = |of: &AtomicU64, by: u64| {
            let _ = of.fetch_update(Relaxed, Relaxed, |left| Some(left.saturating_sub(by)));
        };
        less(&self.lines, 1);
        less(&self.bytes, bytes as u64);
    }
}

/// A time to begin at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// A second since the epoch.
    Second(i64),
    /// So many seconds before the request, by the node's clock.
    Ago(u64),
}
