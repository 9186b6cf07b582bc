//! Tests of the connections that the agent needs, from where it runs.
//!
//! | check | what |
//! |---|---|
//! | `api_server.dns`, `.tcp`, `.tls` | the steps of one new connection |
//! | `api_server.auth` | `GET /version` with the agent's credentials |
//! | `api_server.ready` | `GET /readyz` |
//! | `control_plane.dns`, `.tcp`, `.proxy`, `.tls` | the steps of one new connection |
//! | `control_plane.auth` | what it makes of the agent's token |
//! | `control_plane.websocket` | the channel's upgrade, closed again before `hello` |
//! | `control_plane.clock` | this clock against the control plane's |
//! | `control_plane.channel` | the channel stands, with its last round trip |
//! | `control_plane.reconnects` | how often it was lost |
//! | `clock.skew` | this clock against the API server's |
//!
//! Owns the tests, what they mean and what to do. Invariants: no host comes from a caller; each
//! test has a deadline; a message names no address of the cluster, but who issued a certificate,
//! which names the middlebox that intercepts.

mod api_server;
mod certificate;
mod clock;
mod control_plane;

use std::borrow::Cow;
use std::time::Duration;

use tokio::time::Instant;

use super::Monitor;
use crate::limits;
use crate::status::Phase;

pub use api_server::test as api_server;
pub use clock::test as clock;
pub use control_plane::{idle, test as control_plane};

/// What to test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The API server.
    ApiServer,
    /// The control plane.
    ControlPlane,
    /// The clock.
    Clock,
}

/// How a test went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Not tried, because of what went wrong before it.
    Skipped,
    /// Well.
    Ok,
    /// Well enough, for now.
    Warn,
    /// Badly.
    Fail,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which, of the table above.
    pub name: &'static str,
    /// How it went.
    pub outcome: Outcome,
    /// How long it took, where that says something.
    pub latency: Option<Duration>,
    /// What was found.
    pub message: String,
    /// What to do; nothing when all is well.
    pub remedy: Option<Cow<'static, str>>,
}

impl Check {
    /// A test that went well.
    #[must_use]
    pub fn ok(name: &'static str, latency: Option<Duration>, message: impl Into<String>) -> Self {
        Self {
            name,
            outcome: Outcome::Ok,
            latency,
            message: message.into(),
            remedy: None,
        }
    }

    /// A test that did not.
    #[must_use]
    pub fn bad(
        name: &'static str,
        outcome: Outcome,
        message: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            name,
            outcome,
            latency: None,
            message: message.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// A test that was not tried.
    #[must_use]
    pub fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self {
            name,
            outcome: Outcome::Skipped,
            latency: None,
            message: why.into(),
            remedy: None,
        }
    }

    /// Where the test is explained: its heading in `docs/check.md`.
    #[must_use]
    pub fn reference(&self) -> String {
        reference(self.name)
    }

    fn taking(mut self, took: Duration) -> Self {
        self.latency = Some(took);
        self
    }
}

/// The place in the documentation that explains a check: a heading's anchor has no dots.
#[must_use]
pub fn reference(name: &str) -> String {
    format!("docs/check.md#{}", name.replace('.', ""))
}

impl Monitor {
    /// Tests one target; the checks come in the order of the steps. Who asks again at once is told
    /// the same of the control plane.
    ///
    /// # Cancel safety
    /// Dropping it closes what was opened.
    pub async fn test(&self, target: Target) -> Vec<Check> {
        match target {
            Target::ApiServer => api_server(&self.inner.cluster).await,
            Target::ControlPlane => {
                let mut checks = self.test_way().await;
                checks.extend(self.channel_checks());
                checks
            }
            Target::Clock => vec![clock(&self.inner.cluster).await],
        }
    }

    async fn test_way(&self) -> Vec<Check> {
        let Some(prober) = &self.inner.prober else {
            return Vec::new();
        };
        let mut known = self.inner.way.lock().await;
        let now = Instant::now();
        if let Some((at, checks)) = known.as_ref()
            && now.saturating_duration_since(*at) < limits::CHECK_LASTS
        {
            return checks.clone();
        }
        let checks = control_plane(prober).await;
        *known = Some((Instant::now(), checks.clone()));
        checks
    }

    fn channel_checks(&self) -> [Check; 2] {
        let now = self.inner.status.snapshot();
        let channel = match now.phase {
            Phase::Connected => Check::ok(
                "control_plane.channel",
                now.channel.round_trip,
                "the channel stands; the time is that of its last ping",
            ),
            Phase::Refused | Phase::Stopped => Check::bad(
                "control_plane.channel",
                Outcome::Fail,
                "the control plane refuses this agent",
                "check the token, and whether the cluster is still registered",
            ),
            Phase::Starting | Phase::Connecting | Phase::Waiting => Check::bad(
                "control_plane.channel",
                Outcome::Fail,
                "there is no channel",
                "see the other checks of the control plane, and the agent's log; it tries again by itself",
            ),
        };
        let losses: u64 = now.reconnects.values().sum();
        let flaps = self.seen().flaps(Instant::now(), losses);
        let last = now.last_error.map(|error| error.cause);
        let last = last.map_or(String::new(), |cause| format!(", the last by {cause}"));
        let minutes = limits::FLAP_WITHIN.as_secs() / 60;
        let message = format!("{losses} since the start, {flaps} in {minutes} minutes{last}");
        let reconnects = if flaps > limits::FLAPS {
            Check::bad(
                "control_plane.reconnects",
                Outcome::Warn,
                message,
                "look for a proxy or firewall that cuts long connections: pipeops-agent check --idle 60s",
            )
        } else {
            Check::ok("control_plane.reconnects", None, message)
        };
        [channel, reconnects]
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the clock itself is what is checked"
)]
fn wall() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
}
