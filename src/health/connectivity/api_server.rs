//! The way to the API server: each step, the credentials, its readiness.
//!
//! Owns what an outcome means and the remedy. Owns not: going the way (`cluster`). Invariant: a
//! message names no address, but who issued a certificate.

use super::certificate::{Side, blame};
use super::{Check, Outcome, wall};
use crate::cluster::certificate::Certificate;
use crate::cluster::clock::Told;
use crate::cluster::error::Unreachable;
use crate::cluster::{Cluster, ClusterError, ObjectError, Shaken};
use crate::limits;

const TLS: &str = "api_server.tls";

/// Tests the way to the API server.
///
/// # Cancel safety
/// Dropping it closes what was opened.
pub async fn test(cluster: &Cluster) -> Vec<Check> {
    let mut checks = Vec::new();
    let probe = cluster.probe().await;
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
            Err(error) => untrusted(&error, probe.stranger.as_ref(), wall()),
        });
    }
    if !reached {
        return checks;
    }
    let objects = cluster.objects().within(limits::CLUSTER_CALL);
    let (version, ready) = tokio::join!(objects.head_of("/version"), objects.head_of("/readyz"));
    checks.push(auth_check(&version));
    checks.push(ready_check(&ready));
    checks
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
    match &shaken.certificate {
        None => Check::ok(TLS, None, "its certificate is trusted"),
        Some(certificate) => trusted(
            TLS,
            "its certificate",
            certificate,
            now,
            "renew the API server's certificate (kubeadm certs renew)",
        ),
    }
    .taking(shaken.took)
}

/// A certificate that is trusted may still end soon.
pub(super) fn trusted(
    name: &'static str,
    what: &str,
    certificate: &Certificate,
    now: i64,
    remedy: &'static str,
) -> Check {
    const DAY: i64 = 86_400;
    let Certificate {
        issuer, not_after, ..
    } = certificate;
    let days = (not_after - now).div_euclid(DAY);
    let message = format!("{what} is trusted; issued by {issuer}, {days} days left");
    if days < limits::CERTIFICATE_DAYS {
        return Check::bad(name, Outcome::Warn, message, remedy);
    }
    Check::ok(name, None, message)
}

fn untrusted(error: &ClusterError, stranger: Option<&Certificate>, now: i64) -> Check {
    let ClusterError::Unreachable {
        kind: Unreachable::Certificate,
        source: Some(source),
    } = error
    else {
        return unreachable(TLS, error);
    };
    let inner = source.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(refused) = inner else {
        return unreachable(TLS, error);
    };
    let side = Side {
        of: "the API server",
        authorities: &[],
        given_by: "the CA of the credentials",
        public: false,
    };
    let said = blame(&side, refused, stranger, now);
    Check::bad(TLS, Outcome::Fail, said.message, said.remedy)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
