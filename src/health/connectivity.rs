//! Tests of the connections that the agent needs, from where it runs.
//!
//! | check | what |
//! |---|---|
//! | `api_server.dns`, `.tcp`, `.tls` | the steps of one new connection |
//! | `api_server.auth` | `GET /version` with the agent's credentials |
//! | `api_server.ready` | `GET /readyz` |
//! | `control_plane.dns` | its name resolves here |
//! | `control_plane.channel` | the channel stands, with its last round trip |
//! | `control_plane.reconnects` | how often it was lost |
//! | `clock.skew` | this clock against the API server's |
//!
//! Owns the tests, what they mean and what to do. Invariants: no host comes from a caller; each
//! test has a deadline; a message names no address, but who issued a certificate, which names the
//! middlebox that intercepts.

use std::time::Duration;

use tokio::time::Instant;

use super::{Monitor, since};
use crate::cluster::certificate::Certificate;
use crate::cluster::clock::Told;
use crate::cluster::error::Unreachable;
use crate::cluster::{ClusterError, ObjectError, Shaken};
use crate::limits;
use crate::status::Phase;

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
    /// Well.
    Ok,
    /// Well enough, for now.
    Warn,
    /// Badly.
    Fail,
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
    pub remedy: Option<&'static str>,
}

impl Check {
    fn ok(name: &'static str, latency: Option<Duration>, message: impl Into<String>) -> Self {
        Self {
            name,
            outcome: Outcome::Ok,
            latency,
            message: message.into(),
            remedy: None,
        }
    }

    fn bad(
        name: &'static str,
        outcome: Outcome,
        message: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self {
            name,
            outcome,
            latency: None,
            message: message.into(),
            remedy: Some(remedy),
        }
    }
}

impl Monitor {
    /// Tests one target; the checks come in the order of the steps.
    ///
    /// # Cancel safety
    /// Dropping it closes what was opened.
    pub async fn test(&self, target: Target) -> Vec<Check> {
        match target {
            Target::ApiServer => self.test_api_server().await,
            Target::ControlPlane => self.test_control_plane().await,
            Target::Clock => vec![self.test_clock().await],
        }
    }

    async fn test_api_server(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        let probe = self.inner.cluster.probe().await;
        let mut reached = true;
        if let Some(name) = probe.name {
            reached &= name.is_ok();
            checks.push(match name {
                Ok(took) => Check::ok("api_server.dns", Some(took), "its name resolves"),
                Err(error) => unreachable("api_server.dns", &error),
            });
        }
        if let Some(tcp) = probe.tcp {
            reached &= tcp.is_ok();
            checks.push(match tcp {
                Ok(took) => Check::ok("api_server.tcp", Some(took), "it takes connections"),
                Err(error) => unreachable("api_server.tcp", &error),
            });
        }
        if let Some(tls) = probe.tls {
            reached &= tls.is_ok();
            checks.push(match tls {
                Ok(shaken) => tls_check(&shaken, wall()),
                Err(error) => unreachable("api_server.tls", &error),
            });
        }
        if !reached {
            return checks;
        }
        let objects = self.inner.cluster.objects().within(limits::CLUSTER_CALL);
        let (version, ready) =
            tokio::join!(objects.head_of("/version"), objects.head_of("/readyz"));
        checks.push(auth_check(&version));
        checks.push(ready_check(&ready));
        checks
    }

    async fn test_control_plane(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        if let Some(url) = &self.inner.config.control_plane {
            checks.push(name_check(url.host(), url.port()).await);
        }
        let now = self.inner.status.snapshot();
        checks.push(match now.phase {
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
                "see control_plane.dns and the agent's log; it tries again by itself",
            ),
        });
        let losses: u64 = now.reconnects.values().sum();
        let flaps = self.seen().flaps(Instant::now(), losses);
        let last = now.last_error.map(|error| error.cause);
        let last = last.map_or(String::new(), |cause| format!(", the last by {cause}"));
        let minutes = limits::FLAP_WITHIN.as_secs() / 60;
        let message = format!("{losses} since the start, {flaps} in {minutes} minutes{last}");
        checks.push(if flaps > limits::FLAPS {
            Check::bad(
                "control_plane.reconnects",
                Outcome::Warn,
                message,
                "look for a proxy or firewall that cuts long connections",
            )
        } else {
            Check::ok("control_plane.reconnects", None, message)
        });
        checks
    }

    async fn test_clock(&self) -> Check {
        let objects = self.inner.cluster.objects().within(limits::CLUSTER_CALL);
        let before = wall();
        let told = objects.head_of("/version").await;
        skew_check(&told, before)
    }
}

fn unreachable(name: &'static str, error: &ClusterError) -> Check {
    let remedy = match error {
        ClusterError::Unreachable { kind, .. } => match kind {
            Unreachable::Name => "check the cluster's DNS, and the server's name in the kubeconfig",
            Unreachable::Refused => "check that the API server runs, and its port",
            Unreachable::Slow => "check the network policies and firewalls towards the API server",
            Unreachable::Certificate => {
                "check the cluster's CA in the credentials; something may intercept the connection"
            }
            Unreachable::Tls => "check that the address is an API server's",
            _ => "check the network of the agent's node",
        },
        _ => "see the agent's log",
    };
    Check::bad(name, Outcome::Fail, error.to_string(), remedy)
}

fn tls_check(shaken: &Shaken, now: i64) -> Check {
    const DAY: i64 = 86_400;
    let name = "api_server.tls";
    let Some(Certificate {
        issuer, not_after, ..
    }) = &shaken.certificate
    else {
        return Check::ok(name, Some(shaken.took), "its certificate is trusted");
    };
    let days = (not_after - now).div_euclid(DAY);
    let message = format!("its certificate is trusted; issued by {issuer}, {days} days left");
    if days < limits::CERTIFICATE_DAYS {
        let remedy = "renew the API server's certificate (kubeadm certs renew)";
        let check = Check::bad(name, Outcome::Warn, message, remedy);
        return Check {
            latency: Some(shaken.took),
            ..check
        };
    }
    Check::ok(name, Some(shaken.took), message)
}

fn auth_check(told: &Result<Told, ObjectError>) -> Check {
    let name = "api_server.auth";
    match told {
        Ok(told) if told.status == 200 => {
            Check::ok(name, Some(told.took), "it accepts the agent's credentials")
        }
        Ok(told) => Check::bad(
            name,
            Outcome::Warn,
            format!("it answers {} to the question for its version", told.status),
            "bind the agent's account to the role system:discovery",
        ),
        Err(ObjectError::Cluster(error @ ClusterError::CredentialRefused)) => Check::bad(
            name,
            Outcome::Fail,
            error.to_string(),
            "check the ServiceAccount and that its token is mounted and not expired",
        ),
        Err(error) => Check::bad(
            name,
            Outcome::Fail,
            error.to_string(),
            "see the agent's log",
        ),
    }
}

fn ready_check(told: &Result<Told, ObjectError>) -> Check {
    let name = "api_server.ready";
    match told {
        Ok(told) if told.status == 200 => Check::ok(name, Some(told.took), "it is ready"),
        Ok(told) if told.status == 403 => Check::bad(
            name,
            Outcome::Warn,
            "the agent may not ask whether it is ready (403)",
            "bind the agent's account to the role system:public-info-viewer",
        ),
        Ok(told) => Check::bad(
            name,
            Outcome::Fail,
            format!("it says that it is not ready ({})", told.status),
            "see kubectl get --raw '/readyz?verbose'",
        ),
        Err(error) => Check::bad(
            name,
            Outcome::Fail,
            error.to_string(),
            "see the agent's log",
        ),
    }
}

async fn name_check(host: &str, port: u16) -> Check {
    let name = "control_plane.dns";
    let remedy = "check the DNS of the agent's node, and the control plane's URL";
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Check::ok(name, None, "given by its address: no name to resolve");
    }
    let began = Instant::now();
    let looked = tokio::net::lookup_host((host, port));
    match tokio::time::timeout(limits::CLUSTER_CONNECT, looked).await {
        Ok(found) => match found.ok().and_then(|mut found| found.next()) {
            Some(_) => Check::ok(name, Some(since(began)), "its name resolves"),
            None => Check::bad(name, Outcome::Fail, "its name does not resolve", remedy),
        },
        Err(_) => Check::bad(
            name,
            Outcome::Fail,
            "no name server answers in time",
            remedy,
        ),
    }
}

/// The server's date is that of some moment between question and answer, cut to a second.
fn skew_check(told: &Result<Told, ObjectError>, before: i64) -> Check {
    let name = "clock.skew";
    let told = match told {
        Ok(told) => told,
        Err(error) => {
            let remedy = "mend the way to the API server first";
            return Check::bad(name, Outcome::Warn, error.to_string(), remedy);
        }
    };
    let Some(date) = told.date else {
        let message = "the API server does not say what time it is";
        return Check::bad(name, Outcome::Warn, message, "look for a proxy in between");
    };
    let took = i64::try_from(told.took.as_secs()).unwrap_or(i64::MAX);
    // What the second and the way may explain is no skew.
    let skew = if date < before - 1 {
        date - before
    } else if date > before.saturating_add(took) + 1 {
        date - before - took
    } else {
        0
    };
    let message = match skew {
        0 => "within a second of the API server's".to_owned(),
        ahead if ahead < 0 => format!("this clock is {} s ahead of the API server's", -ahead),
        behind => format!("this clock is {behind} s behind the API server's"),
    };
    let remedy = "set the clock of the agent's node by NTP";
    let (warn, fail) = limits::SKEW;
    match skew.unsigned_abs() {
        by if by >= fail => Check::bad(name, Outcome::Fail, message, remedy),
        by if by >= warn => Check::bad(name, Outcome::Warn, message, remedy),
        _ => Check::ok(name, None, message),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(date: Option<i64>, took: u64) -> Result<Told, ObjectError> {
        Ok(Told {
            took: Duration::from_secs(took),
            date,
            status: 200,
        })
    }

    #[test]
    fn a_clock_is_wrong_only_beyond_what_the_way_explains() {
        let (warn, fail) = limits::SKEW;
        let (warn, fail) = (i64::try_from(warn).unwrap(), i64::try_from(fail).unwrap());
        for (date, took, outcome) in [
            (1000, 0, Outcome::Ok),
            (999, 0, Outcome::Ok),
            (1001, 0, Outcome::Ok),
            (1009, 9, Outcome::Ok),
            (1000 - warn + 1, 0, Outcome::Ok),
            (1000 - warn, 0, Outcome::Warn),
            (1000 + warn, 0, Outcome::Warn),
            (1000 + warn, 9, Outcome::Ok),
            (1000 - fail, 0, Outcome::Fail),
            (1000 + fail, 0, Outcome::Fail),
        ] {
            let check = skew_check(&told(Some(date), took), 1000);
            assert_eq!(check.outcome, outcome, "{date} {took}: {}", check.message);
            assert_eq!(check.remedy.is_none(), outcome == Outcome::Ok);
        }
        assert_eq!(skew_check(&told(None, 0), 1000).outcome, Outcome::Warn);
        let behind = skew_check(&told(Some(1100), 0), 1000);
        assert_eq!(
            behind.message,
            "this clock is 100 s behind the API server's"
        );
    }

    #[test]
    fn a_certificate_that_ends_soon_is_a_warning_and_names_its_issuer() {
        let shaken = |days: i64| Shaken {
            took: Duration::from_millis(3),
            certificate: Some(Certificate {
                issuer: "kubernetes".into(),
                not_before: 0,
                not_after: days * 86_400 + 60,
            }),
        };
        let fine = tls_check(&shaken(limits::CERTIFICATE_DAYS), 0);
        assert_eq!(fine.outcome, Outcome::Ok);
        assert!(fine.message.contains("issued by kubernetes"));
        let soon = tls_check(&shaken(limits::CERTIFICATE_DAYS - 1), 0);
        assert_eq!(soon.outcome, Outcome::Warn);
        assert!(soon.latency.is_some() && soon.remedy.is_some());
    }

    #[test]
    fn whatever_fails_has_a_remedy() {
        for kind in [
            Unreachable::Name,
            Unreachable::Refused,
            Unreachable::Slow,
            Unreachable::Network,
            Unreachable::Certificate,
            Unreachable::Tls,
        ] {
            let error = ClusterError::Unreachable { kind, source: None };
            let check = unreachable("api_server.tcp", &error);
            assert_eq!(check.outcome, Outcome::Fail);
            assert!(check.remedy.is_some_and(|remedy| !remedy.is_empty()));
        }
        let refused = Err(ClusterError::CredentialRefused.into());
        assert!(
            auth_check(&refused)
                .remedy
                .is_some_and(|it| it.contains("token"))
        );
        let status = |status| {
            Ok(Told {
                took: Duration::ZERO,
                date: None,
                status,
            })
        };
        assert_eq!(ready_check(&status(403)).outcome, Outcome::Warn);
        assert_eq!(ready_check(&status(500)).outcome, Outcome::Fail);
        assert_eq!(auth_check(&status(403)).outcome, Outcome::Warn);
    }
}
