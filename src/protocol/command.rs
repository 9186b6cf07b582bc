//! Commands: the envelope that opens a stream, and the list of what can be asked.
//!
//! One command is one stem in every layer: its types are `command/<name>.rs` here, its handler
//! `commands/<name>.rs`, its schema `proto/v2/commands/<name>.schema.json`.

pub mod channel_echo;
pub mod connectivity_check;
pub mod events_watch;
pub mod features_get;
pub mod health_run;
pub mod k8s_request;
pub mod logs_follow;
pub mod logs_get;
pub mod metrics_watch;
pub mod resources_apply;
pub mod resources_delete;
pub mod services_list;
pub mod services_watch;
pub mod status_get;
pub mod status_watch;
pub mod watched;
pub mod workloads_restart;
pub mod workloads_scale;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::error::{ErrorBody, ErrorCode};
use super::object::NoObject;
use crate::limits;

/// The person or program on whose behalf a command runs (P-28).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Actor {
    /// The name that the gateway knows them by.
    pub user: String,
    /// Their groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Further attributes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// A command on its way (P-21).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CommandEnvelope {
    /// The request's id, for logs and error messages on every hop.
    pub id: String,
    /// The command's name, `noun.verb`.
    pub name: String,
    /// Its arguments, in its own shape.
    #[cfg_attr(feature = "schema", schemars(with = "serde_json::Value"))]
    pub args: Box<RawValue>,
    /// Milliseconds within which it must have ended; absent where it may run for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// On whose behalf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// Names a mutation, so that it is never run twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// 1, or more when an earlier attempt may have reached an agent (P-29).
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub attempt: u32,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

const fn first() -> u32 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
const fn is_first(attempt: &u32) -> bool {
    *attempt == 1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// How many objects one command may be about (P-98).
const fn counted(objects: usize) -> Result<(), NoObject> {
    if objects == 0 || objects > limits::OPERATE_OBJECTS {
        Err(NoObject::Count)
    } else {
        Ok(())
    }
}

/// Reads objects, some and not too many.
fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let objects = Vec::deserialize(deserializer)?;
    counted(objects.len()).map_err(serde::de::Error::custom)?;
    Ok(objects)
}

/// Where a requester stands in what it observes: the newest cursor of each source (P-71). A cursor
/// is opaque to it.
pub type Cursors = BTreeMap<String, String>;

/// The commands that only observe (P-70): they may be resumed, and opened again with cursors.
const OBSERVING: [&str; 6] = [
    "logs.follow",
    "logs.get",
    "events.watch",
    "metrics.watch",
    "status.watch",
    "services.watch",
];

impl Command {
    /// Whether it only observes (P-70).
    #[must_use]
    pub fn observes(&self) -> bool {
        OBSERVING.contains(&self.name())
    }
}

macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident($request:ty) = $name:literal,)*) => {
        /// A command whose arguments were understood.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Command {
            $($(#[$doc])* $variant($request),)*
        }

        impl Command {
            /// Every command's name.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            /// The command's name.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            /// Reads a command.
            ///
            /// # Errors
            /// `unknown_command`, or `bad_request` with what is wrong with the arguments.
            pub fn parse(name: &str, args: &RawValue) -> Result<Self, ErrorBody> {
                match name {
                    $($name => serde_json::from_str(args.get())
                        .map(Self::$variant)
                        .map_err(|error| ErrorBody::new(
                            ErrorCode::BadRequest,
                            format!("arguments of {}: {error}", $name),
                        )),)*
                    _ => Err(ErrorBody::new(
                        ErrorCode::UnknownCommand,
                        format!("this agent knows {}", Self::NAMES.join(", ")),
                    )),
                }
            }
        }
    };
}

commands! {
    /// One request to the Kubernetes API.
    K8sRequest(k8s_request::Request) = "k8s.request",
    /// Bytes for the channel's own sake.
    ChannelEcho(channel_echo::Request) = "channel.echo",
    /// Objects as their owner wants them.
    ResourcesApply(resources_apply::Request) = "resources.apply",
    /// Objects that are to go.
    ResourcesDelete(resources_delete::Request) = "resources.delete",
    /// New pods for a workload.
    WorkloadsRestart(workloads_restart::Request) = "workloads.restart",
    /// How many replicas a workload is to have.
    WorkloadsScale(workloads_scale::Request) = "workloads.scale",
    /// What nodes, pods and containers use.
    MetricsWatch(metrics_watch::Request) = "metrics.watch",
    /// What the cluster and the agent can do.
    FeaturesGet(features_get::Request) = "features.get",
    /// Tests of the agent's connections.
    ConnectivityCheck(connectivity_check::Request) = "connectivity.check",
    /// The agent's checks of itself.
    HealthRun(health_run::Request) = "health.run",
    /// The cluster's events.
    EventsWatch(events_watch::Request) = "events.watch",
    /// The services and what is behind them.
    ServicesList(services_list::Request) = "services.list",
    /// The same, and what becomes of them.
    ServicesWatch(services_watch::Request) = "services.watch",
    /// Containers' logs as they are written.
    LogsFollow(logs_follow::Request) = "logs.follow",
    /// What there is of containers' logs, within bounds.
    LogsGet(logs_get::Request) = "logs.get",
    /// How the cluster is.
    StatusGet(status_get::Request) = "status.get",
    /// The same, and what changes of it.
    StatusWatch(status_watch::Request) = "status.watch",
}
