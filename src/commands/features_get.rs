//! `features.get`: what this cluster and this agent can do (P-106).
//!
//! Owns putting it together. Owns not: the questions (`cluster::discovery`) nor what a preset needs
//! (`health`, `policy`). Invariants: what is not known is left out or said to be unknown, never
//! guessed; a list has a bound, and says when it was cut.

use super::{CommandError, Context, Done, Shared};
use crate::cluster::discovery::{Access, Rules};
use crate::cluster::metrics::Absent;
use crate::cluster::{ObjectError, Objects};
use crate::health::Permissions;
use crate::limits;
use crate::protocol::Command;
use crate::protocol::command::features_get::{
    self, Agent, Event, Impersonation, Kubernetes, Metrics, Preset, Request, Rule, Upgrades,
};
use crate::protocol::version::Version;
use crate::session::StreamWriter;

/// The minor version of Kubernetes 1 that has it on by default.
const EXEC_V5: u32 = 30;
/// See [`EXEC_V5`].
const PORT_FORWARD: u32 = 31;
/// See [`EXEC_V5`].
const BOOKMARKS: u32 = 16;
/// See [`EXEC_V5`].
const APPLY: u32 = 18;

pub(super) async fn run(context: Context, request: Request) -> Result<Done, CommandError> {
    let objects = context.objects();
    let Context {
        shared, mut writer, ..
    } = context;
    for namespace in request.namespaces {
        permissions(
            &mut writer,
            namespace.clone(),
            objects.rules(&namespace).await?,
        )
        .await?;
    }
    let done = gather(&shared, &objects).await?;
    serde_json::value::to_raw_value(&done)
        .map(Some)
        .map_err(CommandError::Encode)
}

/// All but the permissions of namespaces, as `objects` see it.
pub(super) async fn gather(
    shared: &Shared,
    objects: &Objects,
) -> Result<features_get::Done, CommandError> {
    let own = shared.cluster.objects();
    let version = objects.version().await?;
    let groups = objects.groups().await?;
    let (aggregated, metrics, websocket, impersonation, preset) = tokio::join!(
        objects.aggregates_discovery(),
        metrics(objects),
        objects.opens_websocket(),
        impersonation(&own, shared.impersonate),
        shared.health.permissions(),
    );
    let minor = version.minor();
    Ok(features_get::Done {
        agent: agent(),
        kubernetes: Kubernetes {
            version: version.git_version,
            platform: version.platform,
            groups: groups.into_iter().take(limits::FEATURE_GROUPS).collect(),
            aggregated_discovery: aggregated.unwrap_or(false),
            watch_bookmarks: minor >= BOOKMARKS,
            server_side_apply: minor >= APPLY,
        },
        metrics,
        upgrades: upgrades(minor, websocket.unwrap_or(None)),
        impersonation,
        preset: preset_of(shared.health.config().access.as_str(), preset),
    })
}

fn agent() -> Agent {
    Agent {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocols: Version::ALL
            .iter()
            .map(|version| version.subprotocol().to_owned())
            .collect(),
        features: vec!["binary".to_owned(), "zstd".to_owned()],
        commands: Command::NAMES.iter().map(ToString::to_string).collect(),
    }
}

async fn permissions(
    writer: &mut StreamWriter,
    namespace: String,
    rules: Rules,
) -> Result<(), CommandError> {
    let Rules { rules, incomplete } = rules;
    let cut = rules.len() > limits::FEATURE_RULES;
    let mut rules = rules
        .into_iter()
        .take(limits::FEATURE_RULES)
        .map(|rule| Rule {
            verbs: rule.verbs,
            groups: rule.api_groups,
            resources: rule.resources,
            names: rule.resource_names,
            paths: rule.paths,
        });
    loop {
        let some: Vec<_> = rules.by_ref().take(limits::METRICS_CHUNK).collect();
        if some.is_empty() {
            return Ok(());
        }
        let event = Event::Permissions(features_get::Permissions {
            namespace: namespace.clone(),
            rules: some,
            incomplete: incomplete || cut,
        });
        writer.event(&event).await?;
    }
}

/// Whether somebody answers for metrics.k8s.io.
async fn metrics(objects: &Objects) -> Metrics {
    let asked = objects
        .get::<serde::de::IgnoredAny>("/apis/metrics.k8s.io/v1beta1")
        .await;
    let absent = asked.err().map(|error| match Absent::of(&error) {
        Some(absent) => super::metrics_watch::reason(absent),
        None => super::metrics_watch::reason(Absent::Failed),
    });
    Metrics {
        available: absent.is_none(),
        reason: absent,
    }
}

fn upgrades(minor: u32, websocket: Option<bool>) -> Upgrades {
    let spdy = "SPDY/3.1".to_owned();
    let mut exec = Vec::new();
    let mut port_forward = Vec::new();
    // What does not get through is not there, whatever the server could do.
    if websocket != Some(false) {
        if minor >= EXEC_V5 {
            exec.push("v5.channel.k8s.io".to_owned());
        }
        exec.push("v4.channel.k8s.io".to_owned());
        if minor >= PORT_FORWARD {
            port_forward.push("SPDY/3.1+portforward.k8s.io".to_owned());
        }
    }
    exec.push(spdy.clone());
    port_forward.push(spdy);
    Upgrades {
        exec,
        port_forward,
        websocket_proven: websocket,
    }
}

async fn impersonation(own: &Objects, on: bool) -> Impersonation {
    let (users, groups) = tokio::join!(may(own, "users"), may(own, "groups"));
    Impersonation {
        on,
        users: users.unwrap_or(false),
        groups: groups.unwrap_or(false),
    }
}

async fn may(own: &Objects, resource: &str) -> Result<bool, ObjectError> {
    let access = Access {
        verb: "impersonate".to_owned(),
        resource: resource.to_owned(),
        ..Access::default()
    };
    own.allowed(&access).await
}

fn preset_of(access: &str, found: Permissions) -> Preset {
    Preset {
        access: access.to_owned(),
        checked: u32::try_from(found.checked).unwrap_or(u32::MAX),
        missing: found.missing,
        unknown: found.unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_can_upgrade_follows_from_its_version_and_the_way_there() {
        let all = upgrades(36, Some(true));
        assert_eq!(
            all.exec,
            ["v5.channel.k8s.io", "v4.channel.k8s.io", "SPDY/3.1"]
        );
        assert_eq!(all.port_forward.len(), 2);
        let old = upgrades(29, None);
        assert_eq!(old.exec, ["v4.channel.k8s.io", "SPDY/3.1"]);
        assert_eq!(old.port_forward, ["SPDY/3.1"]);
        let stripped = upgrades(36, Some(false));
        assert_eq!(stripped.exec, ["SPDY/3.1"]);
    }
}
