//! `POST /register`, and who may have an agent's place.
//!
//! Owns the answer to a registration, the refusals of agents over HTTP (P-3), the rule of duplicates
//! (P-4) and the reconnect window. Owns not the channel ([`super::handshake`]). Invariant: an
//! incumbent that answers is never displaced by another cluster's agent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};

use super::Shared;
use super::agents::{Cluster, Connected};
use super::answers;
use super::arrivals::Arrival;
use super::body::Body;
use super::handshake::{CHANNEL, leaving};
use super::sse::SSE;
use super::tokens::Entry;
use crate::chance;
use crate::limits;
use crate::protocol::CommandEnvelope;
use crate::protocol::error::{ErrorBody, ErrorCode};
use crate::protocol::hello::{AgentFacts, ClusterFacts, ReconnectWindow, Registered};
use crate::protocol::message::Class;
use crate::protocol::version::Version;
use crate::session::NewStream;

/// `POST /register`, with the names of protocols unread: those that nobody knows are ignored.
#[derive(Debug, Deserialize)]
struct Registration {
    protocols: Vec<String>,
    agent: AgentFacts,
    cluster: ClusterFacts,
}

/// Answers `POST /register` (P-1 to P-4).
pub(crate) async fn register(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    cluster_id: &str,
    request: Request<Incoming>,
) -> Response<Body> {
    if shared.stop.is_cancelled() {
        return leaving(shared);
    }
    let body = Limited::new(request.into_body(), limits::REGISTER_BODY).collect();
    let bytes = match timeout(limits::HEADER_DEADLINE, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => {
            let (status, code) = if error.is::<http_body_util::LengthLimitError>() {
                (StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::TooLarge)
            } else {
                (StatusCode::BAD_REQUEST, ErrorCode::Malformed)
            };
            return refuse(shared, status, code, "the body could not be read");
        }
        Err(_) => {
            let status = StatusCode::REQUEST_TIMEOUT;
            return refuse(
                shared,
                status,
                ErrorCode::Malformed,
                "the body took too long",
            );
        }
    };
    let registration = match parse(&bytes) {
        Ok(registration) => registration,
        Err(message) => {
            return refuse(
                shared,
                StatusCode::BAD_REQUEST,
                ErrorCode::Malformed,
                &message,
            );
        }
    };
    if Version::negotiate(registration.protocols.iter().map(String::as_str)).is_none() {
        return unsupported(shared);
    }
    let cluster = shared.agents.cluster(cluster_id);
    match shared.admit(|all, now| all.register(&cluster.id, now, &mut chance::rng())) {
        Arrival::In(Duration::ZERO) => {}
        Arrival::In(wait) => sleep(wait).await,
        Arrival::Later(wait) => return crowded(shared, wait),
    }
    if taken(&cluster, &registration.agent, &registration.cluster).await {
        let message = "another live agent of another cluster has this id";
        return refuse(
            shared,
            StatusCode::CONFLICT,
            ErrorCode::DuplicateAgent,
            message,
        );
    }
    tracing::info!(
        cluster = cluster_id,
        agent = registration.agent.id,
        instance = registration.agent.instance,
        version = registration.agent.version,
        token = entry.stored.id,
        "Agent registered"
    );
    answers::json(
        StatusCode::OK,
        &Registered {
            cluster_id: cluster_id.to_owned(),
            channels: vec![CHANNEL.to_owned()],
            sse: Some(SSE.to_owned()),
            reconnect: shared.reconnect(),
        },
    )
}

fn parse(bytes: &Bytes) -> Result<Registration, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the body is not UTF-8".to_owned())?;
    serde_json::from_str(text).map_err(|error| format!("the body is not a registration: {error}"))
}

pub(super) fn refuse(
    shared: &Shared,
    status: StatusCode,
    code: ErrorCode,
    message: &str,
) -> Response<Body> {
    shared.metrics.handshake_refused(code);
    tracing::warn!(status = status.as_u16(), %code, reason = message, "Agent refused");
    answers::refusal(status, &ErrorBody::new(code, message))
}

/// The refusal of one that comes with too many others (P-114). They come by the thousand, and are
/// counted: a line for each would be the storm's own cost.
pub(super) fn crowded(shared: &Shared, wait: Duration) -> Response<Body> {
    let message = format!(
        "{} agents a second are being admitted",
        shared.config.admission_rate
    );
    let status = StatusCode::TOO_MANY_REQUESTS;
    shared.metrics.handshake_refused(ErrorCode::Busy);
    tracing::debug!(?wait, "Agent asked to come back");
    let mut refused = answers::refusal(status, &ErrorBody::new(ErrorCode::Busy, message));
    // Whole seconds, never fewer than were meant.
    answers::retry_after(&mut refused, wait + Duration::from_millis(999));
    refused
}

pub(super) fn unsupported(shared: &Shared) -> Response<Body> {
    let known = Version::ALL[0].subprotocol();
    refuse(
        shared,
        StatusCode::UPGRADE_REQUIRED,
        ErrorCode::Unsupported,
        &format!("this gateway speaks {known}"),
    )
}

/// Whether a live agent of another cluster holds this place; if so, it learns who wants it.
pub(super) async fn taken(cluster: &Cluster, agent: &AgentFacts, facts: &ClusterFacts) -> bool {
    let Some(uid) = &facts.uid else {
        return false;
    };
    for incumbent in cluster.sessions() {
        let other = incumbent.uid().is_some_and(|theirs| theirs != *uid);
        if other && incumbent.hello.agent.instance != agent.instance && answers(&incumbent).await {
            cluster.contested(agent, facts);
            return true;
        }
    }
    false
}

/// Whether an incumbent still answers. A command without effect is its ping: that any answer at all
/// comes is what counts.
async fn answers(incumbent: &Connected) -> bool {
    let Some(session) = incumbent.session() else {
        return false;
    };
    let args = RawValue::from_string(r#"{"mode":"source"}"#.to_owned())
        .expect("this text is a JSON object");
    let deadline = u64::try_from(limits::INCUMBENT_ANSWERS.as_millis()).unwrap_or(u64::MAX);
    let opened = session.open(NewStream {
        command: CommandEnvelope {
            id: format!("{}-alive", incumbent.id),
            name: "channel.echo".to_owned(),
            args,
            deadline_ms: Some(deadline),
            actor: None,
            idempotency_key: None,
            attempt: 1,
            traceparent: None,
        },
        class: Class::Interactive,
        compression: None,
        upload: false,
    });
    let Ok((mut reader, _writer)) = opened else {
        return false;
    };
    matches!(
        timeout(limits::INCUMBENT_ANSWERS, reader.recv()).await,
        Ok(Ok(_))
    )
}

/// The window within which agents come back, by how many there are: a thousand a second (P-14).
pub(crate) fn window(fleet: usize) -> ReconnectWindow {
    let fleet = u64::try_from(fleet).unwrap_or(u64::MAX);
    let cap = u64::try_from(limits::RECONNECT_CAP.as_millis()).unwrap_or(u64::MAX);
    let first = u64::try_from(limits::RECONNECT_FIRST.as_millis()).unwrap_or(u64::MAX);
    ReconnectWindow {
        first_ms: fleet.clamp(first, cap),
        cap_ms: cap,
    }
}

/// The window of a gateway that leaves in good order: its agents come to the next one in turn (P-42).
pub(crate) fn farewell(fleet: usize) -> ReconnectWindow {
    let fleet = u64::try_from(fleet).unwrap_or(u64::MAX);
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let (least, cap) = (
        millis(limits::RECONNECT_FIRST_LEAST),
        millis(limits::RECONNECT_CAP),
    );
    ReconnectWindow {
        first_ms: (fleet.saturating_mul(1000) / limits::DRAINED_A_SECOND).clamp(least, cap),
        cap_ms: cap,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_with_the_fleet_to_its_cap() {
        assert_eq!(window(0).first_ms, 1000);
        assert_eq!(window(999).first_ms, 1000);
        assert_eq!(window(10_000).first_ms, 10_000);
        assert_eq!(window(1_000_000).first_ms, 60_000);
    }

    #[test]
    fn a_gateway_that_leaves_sends_two_hundred_agents_a_second_elsewhere() {
        assert_eq!(farewell(0).first_ms, 10);
        assert_eq!(farewell(100).first_ms, 500);
        assert_eq!(farewell(10_000).first_ms, 50_000);
        assert_eq!(farewell(usize::MAX).first_ms, 60_000);
    }
}
