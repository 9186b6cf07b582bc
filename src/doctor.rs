//! `pipeops-agent check`: is everything there that the agent needs, and if not, whose fault is it.
//!
//! | category | what |
//! |---|---|
//! | `configuration` | every setting can be used |
//! | `control_plane` | name, TCP, proxy, TLS, token, upgrade, clock, a silent channel |
//! | `api_server` | credentials, name, TCP, TLS, readiness, upgrade |
//! | `clock` | this clock against the API server's |
//! | `permissions` | the access preset has all that it needs; what is missing as YAML |
//! | `cluster` | its version, and metrics-server |
//!
//! Owns the order, the lines and the exit code. Owns not: the tests themselves (`health`), nor
//! printing (`main`). Invariants: nothing is registered and nothing is changed, neither in the
//! control plane nor in the cluster; what follows from a failure is skipped and says so; the whole
//! has a bound, because each part has.

mod cluster;
mod line;
mod report;
mod rules;

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::{Cluster, Config as ClusterConfig};
use crate::config::ConfigErrors;
use crate::config::proxy::Proxy;
use crate::config::secret::SecretSource;
use crate::config::value::ApiUrl;
use crate::health::connectivity::{self, Check, Outcome};
use crate::limits;
use crate::policy::Access;
use crate::tasks::Tasks;
use crate::telemetry::error_chain;
use crate::uplink::probe::{self, Prober};

pub use line::Line;
pub use report::{Report, heading, text};

/// What is checked.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The control plane's base URL.
    pub api_url: ApiUrl,
    /// The agent's token.
    pub token: SecretSource,
    /// Authorities to trust beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// The proxy on the way.
    pub proxy: Option<Proxy>,
    /// The way to the API server.
    pub cluster: ClusterConfig,
    /// What the control plane may do.
    pub access: Access,
    /// Whether requests run as the gateway's user.
    pub impersonate: bool,
    /// How long a channel is held without a byte.
    pub idle: Duration,
}

/// The lines for settings that cannot be used.
#[must_use]
pub fn misconfigured(errors: &ConfigErrors) -> Report {
    let mut report = Report::default();
    for error in &errors.0 {
        report.push(Line::of(Check::bad(
            "configuration.settings",
            Outcome::Fail,
            format!("{}: {}", error.name, error.problem),
            error.remedy.clone(),
        )));
    }
    report.misconfigured = true;
    report
}

/// Looks again and again until nothing fails, or the time is over.
///
/// # Cancel safety
/// Dropping it closes what was opened.
pub async fn wait(setting: &Setting, most: Duration, mut again: impl FnMut(&Report)) -> Report {
    let until = Instant::now() + most;
    loop {
        let report = examine(setting, |_| {}).await;
        let next = Instant::now() + limits::CHECK_AGAIN;
        if report.outcome() != Outcome::Fail || next >= until {
            return report;
        }
        again(&report);
        tokio::time::sleep_until(next).await;
    }
}

/// Looks at everything once; `told` gets each line as soon as it is known.
///
/// # Cancel safety
/// Dropping it closes what was opened.
pub async fn examine(setting: &Setting, mut told: impl FnMut(&Line)) -> Report {
    let mut report = Report::default();
    let mut tell = |lines: Vec<Line>| {
        for line in lines {
            told(&line);
            report.push(line);
        }
    };
    tell(vec![Line::of(Check::ok(
        "configuration.settings",
        None,
        format!(
            "every setting can be used; the control plane is {}",
            setting.api_url
        ),
    ))]);
    let prober = Prober::new(probe::Config {
        api_url: setting.api_url.clone(),
        token: setting.token.clone(),
        ca_file: setting.ca_file.clone(),
        proxy: setting.proxy.clone(),
    });
    let checks = connectivity::control_plane(&prober).await;
    let opened = checks
        .iter()
        .any(|check| check.name == "control_plane.websocket" && check.outcome == Outcome::Ok);
    tell(checks.into_iter().map(Line::of).collect());
    let idle = match (opened, setting.idle.is_zero()) {
        (true, false) => connectivity::idle(&prober, setting.idle).await,
        (true, true) => Check::skipped("control_plane.idle", "not asked for"),
        (false, _) => Check::skipped(
            "control_plane.idle",
            "there is no channel; see control_plane.websocket",
        ),
    };
    tell(vec![Line::of(idle)]);

    let tasks = Tasks::new();
    match Cluster::connect(setting.cluster.clone(), &tasks).await {
        Ok(way) => {
            let checks = connectivity::api_server(&way).await;
            let reached = checks
                .iter()
                .all(|check| check.outcome != Outcome::Fail || check.name == "api_server.ready");
            tell(checks.into_iter().map(Line::of).collect());
            if reached {
                tell(cluster::examine(&way, setting).await);
            } else {
                tell(cluster::skipped(
                    "the API server is not reached, or refuses the credentials",
                ));
            }
        }
        Err(error) => {
            tell(vec![Line::of(Check::bad(
                "api_server.credentials",
                Outcome::Fail,
                error_chain(&error).to_string(),
                "in a pod, let its ServiceAccount be mounted; elsewhere name a kubeconfig with --kubeconfig",
            ))]);
            tell(cluster::skipped(
                "there are no credentials for the API server",
            ));
        }
    }
    tasks.stop();
    report
}
