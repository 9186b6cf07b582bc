//! From what was seen to how well each component is.
//!
//! Owns the judgement and its words. Pure. Invariant: a message names no host, address or secret:
//! it may be shown to whoever may ask.

use std::time::Duration;

use super::permissions::Permissions;
use super::process::Used;
use super::refuses_credential;
use crate::cluster::ObjectError;
use crate::limits;
use crate::status::{Finding, HealthState, Phase, Snapshot};

fn finding(component: &'static str, state: HealthState, message: impl Into<String>) -> Finding {
    Finding {
        component,
        state,
        message: message.into(),
    }
}

/// `api_server` and `credentials`, from the status of `GET /readyz`.
pub(super) fn api_server(heard: &Result<u16, ObjectError>) -> [Finding; 2] {
    let server = |state, message: String| finding("api_server", state, message);
    let credentials = |state, message: String| finding("credentials", state, message);
    match heard {
        Ok(200) => [
            server(HealthState::Ok, "it answers and is ready".into()),
            credentials(HealthState::Ok, "they are accepted".into()),
        ],
        // To ask whether it is ready is itself a permission.
        Ok(403) => [
            server(HealthState::Ok, "it answers".into()),
            credentials(HealthState::Ok, "they are accepted".into()),
        ],
        Ok(status) => [
            server(
                HealthState::Degraded,
                format!("it says that it is not ready ({status})"),
            ),
            credentials(HealthState::Ok, "they are accepted".into()),
        ],
        Err(error) => match refuses_credential(error) {
            Some(refused) => [
                server(HealthState::Ok, "it answers".into()),
                credentials(HealthState::Failing, refused.to_string()),
            ],
            None => [
                server(HealthState::Failing, error.to_string()),
                credentials(
                    HealthState::Degraded,
                    "not checked: the API server does not answer".into(),
                ),
            ],
        },
    }
}

/// `permissions`.
pub(super) fn permissions(found: Option<&Permissions>) -> Finding {
    let (state, message) = match found {
        None => (
            HealthState::Degraded,
            "not checked: the API server does not answer".to_owned(),
        ),
        Some(found) if found.are_whole() => (
            HealthState::Ok,
            format!("all {} that the access preset needs", found.checked),
        ),
        Some(found) => (HealthState::Degraded, lacking(found)),
    };
    finding("permissions", state, message)
}

fn lacking(found: &Permissions) -> String {
    let (kind, list) = if found.missing.is_empty() {
        ("no answer about", &found.unknown)
    } else {
        ("missing", &found.missing)
    };
    let shown: Vec<_> = list.iter().take(3).map(String::as_str).collect();
    let more = list.len() - shown.len();
    let mut message = format!("{kind} {}", shown.join(", "));
    if more > 0 {
        message.push_str(&format!(", and {more} more"));
    }
    message
}

/// `channel`.
pub(super) fn channel(now: &Snapshot, flaps: u64) -> Finding {
    let minutes = limits::FLAP_WITHIN.as_secs() / 60;
    let (state, message) = match now.phase {
        Phase::Connected if flaps > limits::FLAPS => (
            HealthState::Degraded,
            format!("lost or not had {flaps} times in {minutes} minutes"),
        ),
        Phase::Connected if now.warning.is_some() => {
            let code = now.warning.as_ref().map_or("", |warning| warning.code);
            (HealthState::Degraded, format!("the gateway warns: {code}"))
        }
        Phase::Connected => (HealthState::Ok, "connected".to_owned()),
        Phase::Starting | Phase::Connecting | Phase::Waiting => {
            let cause = now.last_error.as_ref().map(|error| error.cause);
            let cause = cause.map_or(String::new(), |cause| format!(", last time {cause}"));
            (
                HealthState::Failing,
                format!("not connected: {}{cause}", now.phase.as_str()),
            )
        }
        Phase::Refused => (
            HealthState::Failing,
            "the control plane refuses this agent".to_owned(),
        ),
        Phase::Stopped => (HealthState::Failing, "stopped".to_owned()),
    };
    finding("channel", state, message)
}

/// `runtime`.
pub(super) fn runtime(lag: Duration) -> Finding {
    let (degraded, failing) = limits::LAG;
    let state = match lag {
        lag if lag >= failing => HealthState::Failing,
        lag if lag >= degraded => HealthState::Degraded,
        _ => HealthState::Ok,
    };
    // Rounded, so that a report does not change with each look.
    let message = match state {
        HealthState::Ok => "the event loop keeps time".to_owned(),
        _ => format!("the event loop was {} ms late", lag.as_millis()),
    };
    finding("runtime", state, message)
}

/// The state of something of which so much is used.
fn share(used: u64, most: u64) -> (HealthState, u64) {
    let percent = used.saturating_mul(100) / most.max(1);
    let (degraded, failing) = limits::SHARES;
    let state = match percent {
        percent if percent >= failing => HealthState::Failing,
        percent if percent >= degraded => HealthState::Degraded,
        _ => HealthState::Ok,
    };
    (state, percent)
}

const MIB: u64 = 1024 * 1024;

/// `memory`.
pub(super) fn memory(used: &Used) -> Finding {
    let (state, message) = match (used.memory, used.rss) {
        (Some((now, limit)), _) => {
            let (state, percent) = share(now, limit);
            let (now, limit) = (now / MIB, limit / MIB);
            (state, format!("{now} of {limit} MiB ({percent} %)"))
        }
        (None, Some(rss)) => (HealthState::Ok, format!("{} MiB, no limit", rss / MIB)),
        (None, None) => (HealthState::Ok, "not known on this system".to_owned()),
    };
    finding("memory", state, message)
}

/// `descriptors`.
pub(super) fn descriptors(used: &Used) -> Finding {
    let (state, message) = match (used.descriptors, used.most_descriptors) {
        (Some(now), Some(most)) => {
            let (state, percent) = share(now, most);
            (state, format!("{now} of {most} ({percent} %)"))
        }
        (Some(now), None) => (HealthState::Ok, format!("{now}, no limit")),
        (None, _) => (HealthState::Ok, "not known on this system".to_owned()),
    };
    finding("descriptors", state, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterError;
    use crate::status::Status;

    #[test]
    fn each_limit_has_a_state_below_and_above_it() {
        use HealthState::{Degraded, Failing, Ok};
        let (late, stuck) = limits::LAG;
        let just = Duration::from_millis(1);
        for (lag, state) in [
            (late - just, Ok),
            (late, Degraded),
            (stuck - just, Degraded),
            (stuck, Failing),
        ] {
            assert_eq!(runtime(lag).state, state, "{lag:?}");
        }
        let (high, full) = limits::SHARES;
        for (used, state) in [
            (high - 1, Ok),
            (high, Degraded),
            (full - 1, Degraded),
            (full, Failing),
        ] {
            let memory = memory(&Used {
                memory: Some((used * MIB, 100 * MIB)),
                ..Used::default()
            });
            assert_eq!(memory.state, state, "{used}");
            let descriptors = descriptors(&Used {
                descriptors: Some(used),
                most_descriptors: Some(100),
                ..Used::default()
            });
            assert_eq!(descriptors.state, state, "{used}");
        }
        assert_eq!(memory(&Used::default()).state, Ok);
    }

    #[tokio::test]
    async fn a_channel_that_flaps_is_worse_than_one_that_stands() {
        let status = Status::default();
        assert_eq!(channel(&status.snapshot(), 0).state, HealthState::Failing);
        status.connected("s");
        assert_eq!(
            channel(&status.snapshot(), limits::FLAPS).state,
            HealthState::Ok
        );
        let flapping = channel(&status.snapshot(), limits::FLAPS + 1);
        assert_eq!(flapping.state, HealthState::Degraded);
        status.set_phase(Phase::Waiting);
        status.failed("dns", "secret host".into());
        let lost = channel(&status.snapshot(), 0);
        assert_eq!(lost.state, HealthState::Failing);
        assert_eq!(lost.message, "not connected: waiting, last time dns");
    }

    #[test]
    fn a_refused_credential_is_not_a_server_that_is_away() {
        let [server, credentials] = api_server(&Err(ClusterError::CredentialRefused.into()));
        assert_eq!(server.state, HealthState::Ok);
        assert_eq!(credentials.state, HealthState::Failing);
        let away = ClusterError::Deadline(Duration::from_secs(1));
        let [server, credentials] = api_server(&Err(away.into()));
        assert_eq!(server.state, HealthState::Failing);
        assert_eq!(credentials.state, HealthState::Degraded);
        assert_eq!(api_server(&Ok(503))[0].state, HealthState::Degraded);
        assert_eq!(api_server(&Ok(200))[0].state, HealthState::Ok);
        assert_eq!(api_server(&Ok(403))[0].state, HealthState::Ok);
    }

    #[test]
    fn what_is_missing_is_named() {
        let found = Permissions {
            checked: 9,
            missing: ["a", "b", "c", "d"].map(Into::into).into(),
            unknown: vec!["e".into()],
        };
        let finding = permissions(Some(&found));
        assert_eq!(finding.message, "missing a, b, c, and 1 more");
        assert_eq!(finding.state, HealthState::Degraded);
        let whole = Permissions {
            checked: 9,
            ..Permissions::default()
        };
        assert_eq!(permissions(Some(&whole)).state, HealthState::Ok);
        assert_eq!(permissions(None).state, HealthState::Degraded);
    }
}
