//! The gateway's Prometheus families; `docs/metrics.md` lists them.
//!
//! Owns their names, labels and buckets. Figures of sessions are taken from the sessions at each
//! scrape; the others are counted where they happen. Invariant: every label is of a bounded set.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::arrivals::Arrival;
use crate::protocol::error::ErrorCode;
use crate::protocol::message::Class;
use crate::session::{Counts, Ended};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    verb: &'static str,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerbLabel {
    verb: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabel {
    direction: &'static str,
}

type Seconds = Family<VerbLabel, Histogram, fn() -> Histogram>;

/// What a session had counted when it was last looked at, so that only the growth is added.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    credit_stalls: u64,
    sent: u64,
    received: u64,
}

/// Every figure of a gateway.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    sessions: Gauge,
    session_ends: Family<CauseLabel, Counter>,
    handshakes_refused: Family<ReasonLabel, Counter>,
    arrivals: Family<OutcomeLabel, Counter>,
    streams: Family<ClassLabel, Gauge>,
    held: Gauge,
    credit_stalls: Counter,
    channel_bytes: Family<DirectionLabel, Counter>,
    round_trip: Histogram,
    requests: Family<RequestLabel, Counter>,
    request_seconds: Seconds,
    request_bytes: Family<DirectionLabel, Counter>,
    refusals: Family<ReasonLabel, Counter>,
    redispatched: Counter,
    resumes: Family<OutcomeLabel, Counter>,
    pub(crate) connections: Gauge,
    connection_failures: Family<ReasonLabel, Counter>,
    tokens: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("pipeops_gateway");
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.5, 12));
        let metrics = Self {
            sessions: Gauge::default(),
            session_ends: Family::default(),
            handshakes_refused: Family::default(),
            arrivals: Family::default(),
            streams: Family::default(),
            held: Gauge::default(),
            credit_stalls: Counter::default(),
            channel_bytes: Family::default(),
            round_trip: seconds(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds as fn() -> Histogram),
            request_bytes: Family::default(),
            refusals: Family::default(),
            redispatched: Counter::default(),
            resumes: Family::default(),
            connections: Gauge::default(),
            connection_failures: Family::default(),
            tokens: Gauge::default(),
            registry: Registry::default(),
        };
        let it = &metrics;
        registry.register("sessions", "Agents' sessions now", it.sessions.clone());
        registry.register(
            "session_ends",
            "Sessions ended, by cause",
            it.session_ends.clone(),
        );
        registry.register(
            "arrivals",
            "Agents that came to be let in, by outcome",
            it.arrivals.clone(),
        );
        registry.register(
            "handshakes_refused",
            "Agents refused, by error code",
            it.handshakes_refused.clone(),
        );
        registry.register("streams", "Streams open now, by class", it.streams.clone());
        registry.register(
            "held_bytes",
            "Received bytes held for slow callers",
            it.held.clone(),
        );
        registry.register(
            "credit_stalls",
            "Times that a stream with bytes to send had no credit",
            it.credit_stalls.clone(),
        );
        registry.register(
            "channel_bytes",
            "Stream bytes on channels, by direction",
            it.channel_bytes.clone(),
        );
        registry.register(
            "round_trip_seconds",
            "Round trips of pings to agents",
            it.round_trip.clone(),
        );
        registry.register(
            "resumes",
            "Requests whose channel was lost, by whether their agent came back",
            it.resumes.clone(),
        );
        registry.register(
            "requests",
            "Requests to clusters ended, by verb and status",
            it.requests.clone(),
        );
        registry.register(
            "request_seconds",
            "Time to the last byte of requests that are not long-running, by verb",
            it.request_seconds.clone(),
        );
        registry.register(
            "request_bytes",
            "Body bytes of requests, by direction",
            it.request_bytes.clone(),
        );
        registry.register(
            "refusals",
            "Requests answered by the gateway itself, by reason",
            it.refusals.clone(),
        );
        registry.register(
            "redispatched",
            "Requests sent to another replica because the first had not begun",
            it.redispatched.clone(),
        );
        registry.register(
            "connections",
            "Accepted connections now",
            it.connections.clone(),
        );
        registry.register(
            "connection_failures",
            "Connections that came to nothing, by reason",
            it.connection_failures.clone(),
        );
        registry.register("tokens", "Valid tokens", it.tokens.clone());
        Self {
            registry,
            ..metrics
        }
    }
}

impl Metrics {
    /// The text of a scrape, after the sessions' figures were set.
    pub(crate) fn scrape(
        &self,
        sessions: usize,
        streams: [u32; 3],
        held: usize,
        tokens: usize,
    ) -> String {
        self.sessions
            .set(i64::try_from(sessions).unwrap_or(i64::MAX));
        self.held.set(i64::try_from(held).unwrap_or(i64::MAX));
        self.tokens.set(i64::try_from(tokens).unwrap_or(i64::MAX));
        for (class, count) in Class::ALL.into_iter().zip(streams) {
            let class = match class {
                Class::Interactive => "interactive",
                Class::Api => "api",
                Class::Bulk => "bulk",
            };
            self.streams
                .get_or_create(&ClassLabel { class })
                .set(i64::from(count));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text
    }

    /// Adds what a session has counted since it was last looked at.
    pub(crate) fn grown(&self, seen: &mut Seen, now: &Counts) {
        self.credit_stalls
            .inc_by(now.credit_stalls.saturating_sub(seen.credit_stalls));
        let add = |direction, bytes| {
            self.channel_bytes
                .get_or_create(&DirectionLabel { direction })
                .inc_by(bytes);
        };
        add("up", now.sent.saturating_sub(seen.sent));
        add("down", now.received.saturating_sub(seen.received));
        *seen = Seen {
            credit_stalls: now.credit_stalls,
            sent: now.sent,
            received: now.received,
        };
    }

    pub(crate) fn round_trip(&self, rtt: Duration) {
        self.round_trip.observe(rtt.as_secs_f64());
    }

    pub(crate) fn session_ended(&self, ended: &Ended) {
        let cause = match ended {
            Ended::Drained => "drained",
            Ended::PeerLeft(_) => "agent_left",
            Ended::PeerClosed(_) => "agent_closed",
            Ended::Failed(code, _) => code.as_str(),
            Ended::Link(_) => "connection_lost",
        };
        self.session_ends.get_or_create(&CauseLabel { cause }).inc();
    }

    pub(crate) fn arrived(&self, arrival: Arrival) {
        let outcome = match arrival {
            Arrival::In(Duration::ZERO) => "at_once",
            Arrival::In(_) => "in_turn",
            Arrival::Later(_) => "later",
        };
        self.arrivals.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn handshake_refused(&self, code: ErrorCode) {
        let reason = code.as_str();
        self.handshakes_refused
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A request lost its channel; whether it went on in another session.
    pub(crate) fn resumed(&self, resumed: bool) {
        let outcome = if resumed { "resumed" } else { "lost" };
        self.resumes.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn redispatched(&self) {
        self.redispatched.inc();
    }

    pub(crate) fn connection_failed(&self, reason: &'static str) {
        self.connection_failures
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    pub(crate) fn request(
        &self,
        verb: &'static str,
        code: u16,
        time: Duration,
        long_running: bool,
        up: u64,
        down: u64,
    ) {
        let verb = if verb.is_empty() { "none" } else { verb };
        self.requests
            .get_or_create(&RequestLabel { verb, code })
            .inc();
        if !long_running {
            self.request_seconds
                .get_or_create(&VerbLabel { verb })
                .observe(time.as_secs_f64());
        }
        for (direction, bytes) in [("up", up), ("down", down)] {
            if bytes > 0 {
                self.request_bytes
                    .get_or_create(&DirectionLabel { direction })
                    .inc_by(bytes);
            }
        }
    }
}
