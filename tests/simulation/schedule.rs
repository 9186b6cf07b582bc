//! Which faults come when: drawn from a seed, and nothing else.
//!
//! Owns the kinds of faults and their times. Owns not: what each does (`world`). Invariants: on one
//! target one fault follows another; every fault is over [`QUIET`] before the end, so that what must
//! come back has its time.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Without faults at the end: a dead session is found (25 s), the longest wait between two attempts
/// (60 s), and five seconds.
pub(crate) const QUIET: Duration = Duration::from_secs(25 + 60 + 5);

/// Faults begin after so long, when the load runs.
const SETTLED: Duration = Duration::from_secs(8);

/// What a fault strikes; of one target, one fault at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The way between agent and gateway.
    Uplink,
    /// The way between agent and API server.
    Cluster,
    /// The agent's process.
    Agent,
    /// The gateway's process.
    Gateway,
    /// The disk of the gateway's tokens.
    GatewayDisk,
    /// The disk of the agent's token.
    AgentDisk,
}

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing passes, and new connections are refused.
    Partition,
    /// Nothing passes one way: from the agent, or towards it.
    OneWay { from_agent: bool },
    /// What is sent is delayed until the end.
    Hold,
    /// Everything is delayed by so many milliseconds.
    Delay(u64),
    /// What is under way at one moment is lost: the connection is there and carries nothing more.
    Drop,
    /// The process dies and is started again at the end.
    Crash,
    /// The other end of each connection vanishes without a word.
    HalfOpen,
    /// The process is told to stop and is started again.
    Restart,
    /// The API server ends all answers that are under way.
    HangUp,
    /// The file cannot be read: the gateway's is half written, the agent's is not there.
    Unreadable,
}

/// A fault and its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) target: Target,
    pub(crate) kind: Kind,
    pub(crate) at: Duration,
    pub(crate) until: Duration,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, until) = (self.at.as_secs_f64(), self.until.as_secs_f64());
        write!(
            f,
            "{at:>8.2} to {until:>8.2} {:?}: {:?}",
            self.target, self.kind
        )
    }
}

/// The faults of a run, in the order of their begin.
#[derive(Debug, Clone)]
pub(crate) struct Schedule(pub(crate) Vec<Fault>);

impl Schedule {
    /// The schedule of a seed for a run of this length.
    pub(crate) fn of(seed: u64, length: Duration) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ 0x5ced);
        let last = length - QUIET;
        // Of three minutes two to five, which is more than the five an hour that there must be.
        let pieces = (length.as_secs() / 180).max(1);
        let count = random.random_range(2 * pieces..=5 * pieces);
        let mut faults: Vec<Fault> = Vec::new();
        for _ in 0..count {
            let (target, kind) = draw(&mut random);
            let at = random.random_range(SETTLED..last - Duration::from_secs(2));
            let longest = match kind {
                Kind::Drop | Kind::HangUp => Duration::from_millis(50),
                _ => (last - at).min(Duration::from_secs(45)),
            };
            let until = at + random.random_range(Duration::from_millis(20)..longest);
            let fault = Fault {
                target,
                kind,
                at,
                until,
            };
            if faults.iter().all(|other| !other.meets(&fault)) {
                faults.push(fault);
            }
        }
        faults.sort_by_key(|fault| fault.at);
        Self(faults)
    }
}

impl Fault {
    fn meets(&self, other: &Self) -> bool {
        // What cuts the way and what kills a process at its end use the same means.
        let alike = |target| match target {
            Target::Gateway | Target::Uplink => Target::Uplink,
            other => other,
        };
        let gap = Duration::from_secs(1);
        alike(self.target) == alike(other.target)
            && self.at < other.until + gap
            && other.at < self.until + gap
    }
}

fn draw(random: &mut StdRng) -> (Target, Kind) {
    match random.random_range(0..17) {
        0 => (Target::Uplink, Kind::Partition),
        1 => (Target::Uplink, Kind::OneWay { from_agent: true }),
        2 => (Target::Uplink, Kind::OneWay { from_agent: false }),
        3 => (Target::Uplink, Kind::Hold),
        4 => (Target::Uplink, Kind::Delay(random.random_range(50..3000))),
        5 | 6 => (Target::Uplink, Kind::Drop),
        7 => (Target::Gateway, Kind::Crash),
        8 => (Target::Gateway, Kind::HalfOpen),
        9 => (Target::Gateway, Kind::Restart),
        10 => (Target::Agent, Kind::Crash),
        11 => (Target::Agent, Kind::Restart),
        // The API server's connections have no ping of ours, and turmoil's TCP sends nothing again:
        // what is lost there would be waited for until keepalive, which it does not have either.
        12 => (Target::Cluster, Kind::Hold),
        13 => (Target::Cluster, Kind::HangUp),
        14 => (Target::Cluster, Kind::Crash),
        15 => (Target::GatewayDisk, Kind::Unreadable),
        _ => (Target::AgentDisk, Kind::Unreadable),
    }
}
