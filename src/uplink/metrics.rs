//! What is counted of the channel.
//!
//! | name | labels | what |
//! |---|---|---|
//! | `pipeops_agent_connected` | | 1 while a session is established |
//! | `pipeops_agent_transport` | `transport` | 1 for what carries the session: `wss`, `sse` |
//! | `pipeops_agent_primary` | | 1 while this replica speaks for the cluster |
//! | `pipeops_agent_sessions_total` | | sessions established |
//! | `pipeops_agent_reconnects_total` | `cause` | sessions lost and attempts failed |
//! | `pipeops_agent_streams` | `class` | streams open now |
//! | `pipeops_agent_held_bytes` | | received bytes held for slow readers |
//! | `pipeops_agent_credit_stalls_total` | | times that a stream with bytes to send had no credit |
//! | `pipeops_agent_channel_bytes_total` | `direction` | payload bytes |
//! | `pipeops_agent_round_trip_seconds` | | the last ping's |
//!
//! Everything is copied from the status at each scrape: nothing is counted twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::meter::Meter;
use crate::metrics::Metrics;
use crate::protocol::message::Class;
use crate::status::{Phase, Status, Transport};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransportLabel {
    transport: &'static str,
}

#[derive(Debug, Default)]
struct Families {
    connected: Gauge,
    transport: Family<TransportLabel, Gauge>,
    primary: Gauge,
    sessions: Counter,
    reconnects: Family<Cause, Counter>,
    streams: Family<ClassLabel, Gauge>,
    held: Gauge,
    credit_stalls: Counter,
    bytes: Family<Direction, Counter>,
    round_trip: Gauge<f64, std::sync::atomic::AtomicU64>,
}

const fn class(class: Class) -> &'static str {
    match class {
        Class::Interactive => "interactive",
        Class::Api => "api",
        Class::Bulk => "bulk",
    }
}

fn set(counter: &Counter, value: u64) {
    counter.inner().store(value, Ordering::Relaxed);
}

pub(super) fn register(metrics: &Metrics, status: &Status, meter: &Arc<Meter>) {
    let families = Families::default();
    let it = &families;
    metrics.register(|to| {
        let name = "pipeops_agent_connected";
        to.register(
            name,
            "1 while a session is established",
            it.connected.clone(),
        );
        let name = "pipeops_agent_transport";
        let help = "1 for what carries the session";
        to.register(name, help, it.transport.clone());
        let name = "pipeops_agent_primary";
        let help = "1 while this replica speaks for the cluster";
        to.register(name, help, it.primary.clone());
        let name = "pipeops_agent_sessions";
        to.register(name, "Sessions established", it.sessions.clone());
        let name = "pipeops_agent_reconnects";
        let help = "Sessions lost and attempts failed, by cause";
        to.register(name, help, it.reconnects.clone());
        let name = "pipeops_agent_streams";
        to.register(name, "Streams open now, by class", it.streams.clone());
        let name = "pipeops_agent_held_bytes";
        to.register(
            name,
            "Received bytes held for slow readers",
            it.held.clone(),
        );
        let name = "pipeops_agent_credit_stalls";
        let help = "Times that a stream with bytes to send had no credit";
        to.register(name, help, it.credit_stalls.clone());
        let name = "pipeops_agent_channel_bytes";
        to.register(name, "Payload bytes, by direction", it.bytes.clone());
        let name = "pipeops_agent_round_trip_seconds";
        to.register(name, "The last ping's round trip", it.round_trip.clone());
    });
    let (status, meter) = (status.clone(), Arc::clone(meter));
    metrics.observe(move || {
        meter.sample();
        families.copy(&status);
    });
}

impl Families {
    fn copy(&self, status: &Status) {
        let now = status.snapshot();
        self.connected.set(i64::from(now.phase == Phase::Connected));
        for transport in Transport::ALL.map(Transport::as_str) {
            let label = TransportLabel { transport };
            let carries = i64::from(now.transport() == transport);
            self.transport.get_or_create(&label).set(carries);
        }
        self.primary.set(i64::from(now.is_primary()));
        set(&self.sessions, now.sessions);
        for (cause, count) in &now.reconnects {
            set(&self.reconnects.get_or_create(&Cause { cause }), *count);
        }
        let channel = now.channel;
        for (at, count) in Class::ALL.into_iter().zip(channel.streams) {
            let label = ClassLabel { class: class(at) };
            self.streams.get_or_create(&label).set(i64::from(count));
        }
        self.held
            .set(i64::try_from(channel.held).unwrap_or(i64::MAX));
        set(&self.credit_stalls, channel.credit_stalls);
        for (direction, bytes) in [("sent", channel.sent), ("received", channel.received)] {
            set(&self.bytes.get_or_create(&Direction { direction }), bytes);
        }
        if let Some(round_trip) = channel.round_trip {
            self.round_trip.set(round_trip.as_secs_f64());
        }
    }
}
