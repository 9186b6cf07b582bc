//! Custom health checks: an HTTP answer, a TCP connection, a condition of a Kubernetes object.
//!
//! Owns asking again and again, and what an answer makes of the component. Owns not: how it is
//! shown (`health`). Invariants: a message names no host and no address; one attempt of a check at
//! a time, each within its deadline; one failure of several that are waited for changes no state.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use rand::RngExt;
use serde::Deserialize;
use tokio::time::Instant;

use super::http::{self, Ask, Bearer, Client, HttpError, Target};
use crate::cluster::Cluster;
use crate::health::Monitor;
use crate::limits;
use crate::status::{Finding, HealthState};

/// One check.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) component: &'static str,
    pub(super) what: What,
    pub(super) every: Duration,
    pub(super) timeout: Duration,
    /// Failures in a row before it counts.
    pub(super) failures: u32,
    /// What the component is then.
    pub(super) severity: HealthState,
}

/// What is looked at.
#[derive(Debug)]
pub(super) enum What {
    Http {
        target: Target,
        bearer: Option<Bearer>,
        /// Every 2xx where there are none.
        statuses: Vec<u16>,
        contains: Option<String>,
    },
    Tcp {
        host: String,
        port: u16,
    },
    Condition {
        path: String,
        condition: String,
        status: String,
    },
}

/// An object, as far as its conditions are read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conditioned {
    status: Conditions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
}

/// The component of a check. Findings are passed around by names that live as long as the program;
/// of these there are as many as checks were ever declared in it.
pub(super) fn component(name: &str) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let component = format!("check/{name}");
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.get(component.as_str()) {
        return known;
    }
    let component: &'static str = component.leak();
    known.insert(component);
    component
}

/// Carries the checks out until it is dropped.
pub(super) async fn run(checks: Vec<Check>, client: Client, cluster: Cluster, monitor: Monitor) {
    let (client, cluster, monitor) = (&client, &cluster, &monitor);
    join_all(
        checks
            .into_iter()
            .map(|check| async move { repeat(&check, client, cluster, monitor).await }),
    )
    .await;
}

async fn repeat(check: &Check, client: &Client, cluster: &Cluster, monitor: &Monitor) {
    let mut judge = Judge::default();
    loop {
        let began = Instant::now();
        let found = check.look(client, cluster).await;
        let took = Instant::now().saturating_duration_since(began);
        let (state, message) = judge.judge(check, found);
        let component = check.component;
        let finding = Finding {
            component,
            state,
            message,
        };
        monitor.take(finding, took);
        // Checks that were declared together do not stay together.
        let wait = check.every.mul_f64(rand::rng().random_range(0.9..1.1));
        tokio::time::sleep(wait).await;
    }
}

/// How often a check has failed in a row, and what its component is.
#[derive(Debug, Default)]
struct Judge {
    failed: u32,
    state: HealthState,
}

impl Judge {
    fn judge(&mut self, check: &Check, found: Result<String, String>) -> (HealthState, String) {
        match found {
            Ok(message) => {
                *self = Self::default();
                (self.state, message)
            }
            Err(message) => {
                self.failed = self.failed.saturating_add(1);
                if self.failed >= check.failures {
                    self.state = check.severity;
                    return (self.state, message);
                }
                let (failed, of) = (self.failed, check.failures);
                (
                    self.state,
                    format!("failed {failed} of {of} times: {message}"),
                )
            }
        }
    }
}

impl Check {
    /// One look: what is good about it, or what is not.
    async fn look(&self, client: &Client, cluster: &Cluster) -> Result<String, String> {
        match &self.what {
            What::Http {
                target,
                bearer,
                statuses,
                contains,
            } => {
                let ask = Ask {
                    target,
                    bearer: bearer.as_ref(),
                    post: None,
                    accept: "*/*",
                    timeout: self.timeout,
                };
                answer(client, &ask, statuses, contains.as_deref()).await
            }
            What::Tcp { host, port } => {
                let connecting = http::connect(host, *port);
                tokio::time::timeout(self.timeout, connecting)
                    .await
                    .unwrap_or(Err(HttpError::Late(self.timeout)))
                    .map(|_| "it takes connections".to_owned())
                    .map_err(|error| error.to_string())
            }
            What::Condition {
                path,
                condition,
                status,
            } => {
                let objects = cluster.objects().within(self.timeout);
                let object: Conditioned =
                    objects.get(path).await.map_err(|error| error.to_string())?;
                holds(&object.status.conditions, condition, status)
            }
        }
    }
}

async fn answer(
    client: &Client,
    ask: &Ask<'_>,
    statuses: &[u16],
    contains: Option<&str>,
) -> Result<String, String> {
    let mut body = Vec::new();
    // Without a text to look for, the head is enough.
    let most = limits::EXTENSION_BODY;
    let reply = client
        .exchange(ask, usize::MAX, |bytes| {
            let room = most - body.len();
            if contains.is_some() {
                body.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            contains.is_none() || body.len() >= most
        })
        .await
        .map_err(|error| error.to_string())?;
    let status = reply.status;
    let good = match statuses {
        [] => (200..300).contains(&status),
        listed => listed.contains(&status),
    };
    if !good {
        return Err(format!("it answers {status}"));
    }
    let Some(text) = contains else {
        return Ok(format!("it answers {status}"));
    };
    if body.windows(text.len()).any(|part| part == text.as_bytes()) {
        Ok(format!("it answers {status} and what is looked for"))
    } else {
        Err(format!("it answers {status} without what is looked for"))
    }
}

fn holds(conditions: &[Condition], wanted: &str, status: &str) -> Result<String, String> {
    let found = conditions.iter().find(|known| known.kind == wanted);
    let Some(found) = found else {
        return Err(format!("it has no condition {wanted}"));
    };
    let mut message = format!("{wanted} is {}", word(&found.status));
    if !found.reason.is_empty() {
        message.push_str(&format!(" ({})", word(&found.reason)));
    }
    if found.status == status {
        Ok(message)
    } else {
        Err(message)
    }
}

/// A word of the API server's, as long as words are.
fn word(text: &str) -> &str {
    &text[..text.floor_char_boundary(limits::EXTENSION_NAME * 2)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failures: u32) -> Check {
        Check {
            component: component("web"),
            what: What::Tcp {
                host: "h".into(),
                port: 1,
            },
            every: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            failures,
            severity: HealthState::Failing,
        }
    }

    #[test]
    fn only_failures_in_a_row_change_the_state() {
        let check = check(3);
        let mut judge = Judge::default();
        let mut look = |good: bool| {
            let found = if good {
                Ok("up".into())
            } else {
                Err("down".into())
            };
            judge.judge(&check, found)
        };
        assert_eq!(look(true), (HealthState::Ok, "up".into()));
        assert_eq!(look(false).1, "failed 1 of 3 times: down");
        assert_eq!(look(false).0, HealthState::Ok);
        assert_eq!(look(true).0, HealthState::Ok);
        look(false);
        look(false);
        assert_eq!(look(false), (HealthState::Failing, "down".into()));
        assert_eq!(look(false).0, HealthState::Failing);
        assert_eq!(look(true).0, HealthState::Ok);
    }

    #[test]
    fn a_component_is_named_once_however_often_it_is_declared() {
        assert!(std::ptr::eq(component("again"), component("again")));
        assert_eq!(component("again"), "check/again");
    }

    #[test]
    fn a_condition_is_told_with_its_reason_and_cut() {
        let conditions = [Condition {
            kind: "Available".into(),
            status: "False".into(),
            reason: "x".repeat(10_000),
        }];
        let told = holds(&conditions, "Available", "True").unwrap_err();
        assert!(told.starts_with("Available is False (xx") && told.len() < 200);
        assert!(holds(&conditions, "Available", "False").is_ok());
        let none = holds(&conditions, "Progressing", "True").unwrap_err();
        assert_eq!(none, "it has no condition Progressing");
    }
}
