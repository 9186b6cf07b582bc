//! What the cluster must grant and have: clock, upgrade, permissions, version, metrics-server.
//!
//! Owns these lines. Owns not: the questions (`cluster`, `health`). Invariant: only what leaves no
//! trace is asked.

use super::{Line, Setting, rules};
use crate::cluster::discovery::Access as Asked;
use crate::cluster::metrics::Absent;
use crate::cluster::{Cluster, Objects};
use crate::health::Permissions;
use crate::health::connectivity::{self, Check, Outcome};
use crate::limits;

const UPGRADE: &str = "api_server.websocket";
const CLOCK: &str = "clock.skew";
const PERMISSIONS: &str = "permissions.preset";
const VERSION: &str = "cluster.version";
const METRICS: &str = "cluster.metrics";

/// The minor versions of Kubernetes 1 that this agent is known to work with: the oldest has all
/// reviews that it asks for, the newest is three beyond what it is tested against.
const VERSIONS: std::ops::RangeInclusive<u32> = 28..=39;

/// The lines where nobody can be asked.
pub(super) fn skipped(why: &str) -> Vec<Line> {
    [UPGRADE, CLOCK, PERMISSIONS, VERSION, METRICS]
        .map(|name| Line::of(Check::skipped(name, why)))
        .into()
}

pub(super) async fn examine(cluster: &Cluster, setting: &Setting) -> Vec<Line> {
    let objects = cluster.objects().within(limits::CLUSTER_CALL);
    let (upgrade, clock, permissions, version, metrics) = tokio::join!(
        upgrade(&objects),
        connectivity::clock(cluster),
        permissions(&objects, setting),
        version(&objects),
        metrics(&objects),
    );
    vec![
        Line::of(upgrade),
        Line::of(clock),
        permissions,
        Line::of(version),
        Line::of(metrics),
    ]
}

async fn upgrade(objects: &Objects) -> Check {
    match objects.opens_websocket().await {
        Ok(Some(true)) => Check::ok(UPGRADE, None, "a WebSocket to it was opened"),
        Ok(Some(false)) => Check::bad(
            UPGRADE,
            Outcome::Warn,
            "it does not open a WebSocket: something in between strips Upgrade; exec and port-forward may fail",
            "reach the API server directly, or let the proxy before it pass Upgrade",
        ),
        Ok(None) => Check::skipped(UPGRADE, "the agent may not watch namespaces"),
        Err(error) => Check::skipped(UPGRADE, error.to_string()),
    }
}

async fn permissions(objects: &Objects, setting: &Setting) -> Line {
    let mut found = Permissions::ask(objects, setting.access).await;
    if setting.impersonate {
        for resource in ["users", "groups"] {
            found.checked += 1;
            let asked = Asked {
                verb: "impersonate".to_owned(),
                resource: resource.to_owned(),
                ..Asked::default()
            };
            match objects.allowed(&asked).await {
                Ok(true) => {}
                Ok(false) => found.missing.push(format!("impersonate {resource}")),
                Err(_) => found.unknown.push(format!("impersonate {resource}")),
            }
        }
    }
    let Permissions {
        checked,
        missing,
        unknown,
    } = found;
    let access = setting.access;
    if missing.is_empty() && unknown.is_empty() {
        let message = format!("the preset {access} has all {checked} permissions that it needs");
        return Line::of(Check::ok(PERMISSIONS, None, message));
    }
    if missing.is_empty() {
        return Line::of(Check::bad(
            PERMISSIONS,
            Outcome::Warn,
            format!(
                "the API server did not say whether the agent may {}",
                unknown.join(", ")
            ),
            "allow the account to create selfsubjectaccessreviews (the role system:basic-user)",
        ));
    }
    let user = objects.whoami().await.unwrap_or_default();
    let shown = if user.is_empty() { "the agent" } else { &user };
    Line {
        check: Check::bad(
            PERMISSIONS,
            Outcome::Fail,
            format!(
                "{shown} lacks {} of {checked} permissions of the preset {access}: {}",
                missing.len(),
                missing.join(", ")
            ),
            "apply the YAML below with kubectl apply -f -, as an administrator",
        ),
        details: Some(rules::yaml(&missing, &user)),
    }
}

async fn version(objects: &Objects) -> Check {
    match objects.version().await {
        Ok(version) if VERSIONS.contains(&version.minor()) => {
            Check::ok(VERSION, None, format!("it is {}", version.git_version))
        }
        Ok(version) => Check::bad(
            VERSION,
            Outcome::Warn,
            format!(
                "it is {}; this agent ({}) is for Kubernetes 1.{} to 1.{}",
                version.git_version,
                env!("CARGO_PKG_VERSION"),
                VERSIONS.start(),
                VERSIONS.end()
            ),
            if version.minor() < *VERSIONS.start() {
                "upgrade the cluster"
            } else {
                "upgrade the agent"
            },
        ),
        Err(error) => Check::bad(
            VERSION,
            Outcome::Warn,
            error.to_string(),
            "let the agent's account read /version (the role system:public-info-viewer)",
        ),
    }
}

async fn metrics(objects: &Objects) -> Check {
    let asked = objects
        .get::<serde::de::IgnoredAny>("/apis/metrics.k8s.io/v1beta1")
        .await;
    let warn =
        |message: &str, remedy: &'static str| Check::bad(METRICS, Outcome::Warn, message, remedy);
    match asked.as_ref().map_err(Absent::of) {
        Ok(_) => Check::ok(METRICS, None, "metrics-server answers"),
        Err(Some(Absent::NotInstalled)) => warn(
            "metrics-server is missing: there is no usage of nodes and pods",
            "install metrics-server (kubectl apply -f its components.yaml)",
        ),
        Err(Some(Absent::NotReady)) => warn(
            "metrics-server is registered, and nobody answers for it",
            "see kubectl get apiservice v1beta1.metrics.k8s.io, and its pods in kube-system",
        ),
        Err(Some(Absent::Forbidden)) => warn(
            "the agent may not ask for metrics (403)",
            "see permissions.preset",
        ),
        Err(_) => warn(
            "metrics.k8s.io gives no usable answer",
            "see kubectl get --raw /apis/metrics.k8s.io/v1beta1",
        ),
    }
}
