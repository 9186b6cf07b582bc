//! Text messages, typed by direction.
//!
//! Owns the JSON shape of every message: one object with a `type` (P-16). Owns not: their order
//! (`mux`, `session`) nor their size limits (`codec`).
//!
//! | type | to the agent | to the gateway |
//! |---|---|---|
//! | handshake | `welcome`, `refused` | `hello` |
//! | session | `ack`, `role`, `warning`, `ping`, `pong`, `goaway` | `report`, `heartbeat`, `ping`, `pong`, `goaway` |
//! | stream | `open`, `data`\*, `credit`\*, `cancel`\* | `event`, `end`, `data`\*, `credit`\* |
//!
//! \* only where the feature `binary` is not in force.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::command::CommandEnvelope;
use super::error::{ErrorBody, ErrorCode};
use super::frame::StreamId;
use super::hello::{Hello, ReconnectWindow, Refused, SessionRole, Welcome};
use super::resume::Resume;

/// Which of a session's four classes carries a stream (P-23). Session messages go before all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Somebody types: exec, attach, port-forward.
    Interactive,
    /// Requests and watches.
    Api,
    /// Logs, big lists, and whatever has moved more than a mebibyte.
    Bulk,
}

impl Class {
    /// Every class, the most urgent first.
    pub const ALL: [Class; 3] = [Class::Interactive, Class::Api, Class::Bulk];
}

/// How a stream's bytes towards the gateway may be compressed (P-36).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// One zstd stream, flushed with each frame.
    Zstd,
}

/// Opens a stream with a command (P-20).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Open {
    /// The new stream: the last one plus one.
    pub stream: StreamId,
    /// Credit in bytes that the agent has for the answer.
    pub window: u32,
    /// The class of the stream's bytes, both ways.
    pub class: Class,
    /// What the agent may compress the answer with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// How the command may be found again when the channel was lost, or which one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
    /// What to do.
    pub command: CommandEnvelope,
}

/// Something that the command has to say, in its own shape (P-24).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// Whose event.
    pub stream: StreamId,
    /// The event: an object whose one key names it.
    #[cfg_attr(feature = "schema", schemars(with = "serde_json::Value"))]
    pub event: Box<RawValue>,
}

/// The end of a stream; exactly one a stream (P-25).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct End {
    /// Which stream.
    pub stream: StreamId,
    /// The result of a command that ended well and has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<serde_json::Value>"))]
    pub result: Option<Box<RawValue>>,
    /// Why it ended badly; absent when it ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// Bytes of a stream, without the feature `binary` (P-35).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Data {
    /// Whose bytes.
    pub stream: StreamId,
    /// The bytes in base64, standard alphabet, padded.
    pub data: String,
    /// No more bytes follow in this direction.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fin: bool,
    /// The bytes continue the stream's zstd stream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zstd: bool,
}

/// More credit, without the feature `binary` (P-35).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Credit {
    /// Which stream.
    pub stream: StreamId,
    /// How many bytes more may be sent.
    pub bytes: u32,
}

/// Gives a stream up, without the feature `binary` (P-35).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cancel {
    /// Which stream.
    pub stream: StreamId,
    /// Why.
    pub code: ErrorCode,
}

/// A ping, or its echo with the same number (P-40).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Ping {
    /// Any number; the echo carries the same.
    pub nonce: u32,
}

/// The sender goes away and takes no new streams (P-42).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Goaway {
    /// Why.
    pub code: ErrorCode,
    /// One sentence for a person.
    pub message: String,
    /// The last stream that the sender has taken; later ones were not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_stream: Option<StreamId>,
    /// When to come back, if the sender knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconnect: Option<ReconnectWindow>,
}

/// The agent's state: once after `welcome`, and again when it changes (P-17).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Report {
    /// 1 for the first report of a session, then rising by one.
    pub seq: u32,
    /// Whether the agent can serve.
    pub ready: bool,
    /// Whether the API server answers the agent.
    pub api_server: bool,
    /// The cluster's UID, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_uid: Option<String>,
    /// The API server's version, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<String>,
    /// The name of the access preset in force.
    pub access: String,
    /// The commands that the agent knows.
    pub commands: Vec<String>,
    /// How well the agent is; absent before its first look (P-110).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthState>,
    /// The components that are not `ok`, in alphabetical order (P-109).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// How well the agent, or one of its components, is (P-109).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// As it should be.
    Ok,
    /// It works, and something should be done.
    Degraded,
    /// It does not work.
    Failing,
}

/// The gateway has taken a report (P-17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Ack {
    /// The report's number.
    pub report: u32,
}

/// The session's role from now on (P-112).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoleNow {
    /// Whether it carries the cluster's telemetry.
    pub role: SessionRole,
}

/// Something that the agent's operator should know; the session goes on (P-113).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Warning {
    /// What it is about.
    pub code: ErrorCode,
    /// One sentence for a person.
    pub message: String,
}

/// The agent's regular sign of life, with counts (P-18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Heartbeat {
    /// 1 for the first of a session, then rising by one.
    pub seq: u32,
    /// Whether the agent can serve.
    pub ready: bool,
    /// Streams open now.
    pub streams: u32,
    /// Commands ended since the agent's start.
    pub commands: u64,
    /// Seconds since the agent's start.
    pub uptime_s: u64,
    /// What has changed of the summary (P-111).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// The agent and its cluster in a few numbers. In a heartbeat a field that is absent is as the
/// session's last heartbeat that had it said, or not known (P-111).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Summary {
    /// How well the agent is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthState>,
    /// Memory that the agent holds, in KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_kib: Option<u64>,
    /// CPU time that the agent has used, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// Sessions lost and attempts failed since the agent's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconnects: Option<u64>,
    /// The cluster's nodes; of the primary alone, as are the next two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,
    /// Its pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodCounts>,
    /// Pods that should run and do not, or are not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy: Option<u32>,
}

impl Summary {
    /// What of `self` is not as `said`.
    #[must_use]
    pub fn since(&self, said: &Self) -> Option<Self> {
        fn new<T: Copy + PartialEq>(now: Option<T>, said: Option<T>) -> Option<T> {
            now.filter(|now| Some(*now) != said)
        }
        let changed = Self {
            health: new(self.health, said.health),
            rss_kib: new(self.rss_kib, said.rss_kib),
            cpu_ms: new(self.cpu_ms, said.cpu_ms),
            reconnects: new(self.reconnects, said.reconnects),
            nodes: new(self.nodes, said.nodes),
            pods: new(self.pods, said.pods),
            unhealthy: new(self.unhealthy, said.unhealthy),
        };
        (changed != Self::default()).then_some(changed)
    }

    /// Takes over what a heartbeat says.
    pub fn update(&mut self, said: &Self) {
        *self = Self {
            health: said.health.or(self.health),
            rss_kib: said.rss_kib.or(self.rss_kib),
            cpu_ms: said.cpu_ms.or(self.cpu_ms),
            reconnects: said.reconnects.or(self.reconnects),
            nodes: said.nodes.or(self.nodes),
            pods: said.pods.or(self.pods),
            unhealthy: said.unhealthy.or(self.unhealthy),
        };
    }
}

/// Nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodeCounts {
    /// Those that are ready.
    pub ready: u32,
    /// All.
    pub total: u32,
}

/// Pods by phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PodCounts {
    /// Accepted, and not all containers have been started.
    pub pending: u32,
    /// Bound to a node, and at least one container runs.
    pub running: u32,
    /// All containers have ended well.
    pub succeeded: u32,
    /// All containers have ended, and not all well.
    pub failed: u32,
    /// The node does not say.
    pub unknown: u32,
}

macro_rules! messages {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident($body:ty) = $tag:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Serialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(tag = "type", rename_all = "snake_case")]
        pub enum $name {
            $($(#[$vdoc])* $variant($body),)*
        }

        impl $name {
            /// The `type` of every message of this direction.
            pub const TYPES: &'static [&'static str] = &[$($tag,)*];

            /// The message's `type`.
            pub const fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $tag,)* }
            }

            /// Reads the body of a message of this type; `None` is a type that is not in the list.
            pub(crate) fn parse(kind: &str, json: &str) -> Option<Result<Self, serde_json::Error>> {
                match kind {
                    $($tag => Some(serde_json::from_str(json).map(Self::$variant)),)*
                    _ => None,
                }
            }
        }
    };
}

messages! {
    /// What the gateway says.
    ToAgent {
        /// The session begins.
        Welcome(Welcome) = "welcome",
        /// No session.
        Refused(Refused) = "refused",
        /// A report was taken.
        Ack(Ack) = "ack",
        /// The session has another role.
        Role(RoleNow) = "role",
        /// Something to know.
        Warning(Warning) = "warning",
        /// A command.
        Open(Open) = "open",
        /// Upload bytes without `binary`.
        Data(Data) = "data",
        /// Credit without `binary`.
        Credit(Credit) = "credit",
        /// A reset without `binary`.
        Cancel(Cancel) = "cancel",
        /// Are you there?
        Ping(Ping) = "ping",
        /// I am.
        Pong(Ping) = "pong",
        /// The gateway goes away.
        Goaway(Goaway) = "goaway",
    }
}

messages! {
    /// What the agent says.
    ToGateway {
        /// Who I am.
        Hello(Hello) = "hello",
        /// How I am.
        Report(Report) = "report",
        /// I am still here.
        Heartbeat(Heartbeat) = "heartbeat",
        /// A command's event.
        Event(Event) = "event",
        /// A stream's end.
        End(End) = "end",
        /// Answer bytes without `binary`.
        Data(Data) = "data",
        /// Credit without `binary`.
        Credit(Credit) = "credit",
        /// Are you there?
        Ping(Ping) = "ping",
        /// I am.
        Pong(Ping) = "pong",
        /// The agent goes away.
        Goaway(Goaway) = "goaway",
    }
}
