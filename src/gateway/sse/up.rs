//! `POST` of a channel: messages of the agent's, and what it acknowledges (P-122, P-125).
//!
//! Owns the reading of the body, its bounds and what each fault is answered. Invariant: a body is
//! taken whole or not at all; one that breaks off says nothing.

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use serde_json::json;
use tokio::time::timeout;

use super::{Channel, not_taken};
use crate::gateway::answers::{self, RETRY};
use crate::gateway::body::Body;
use crate::limits;
use crate::link::LinkError;
use crate::link::carriage::{self, Parcel};
use crate::link::sse::NotTaken;
use crate::protocol::error::{ErrorBody, ErrorCode};

pub(super) async fn serve(channel: &Channel, request: Request<Incoming>) -> Response<Body> {
    let Ok(_reading) = channel.reading.try_acquire() else {
        return not_taken(NotTaken::Full);
    };
    let body = request.into_body();
    if body.size_hint().lower() > limits::SSE_BODY as u64 {
        return fault(channel, ErrorCode::TooLarge);
    }
    let body = Limited::new(body, limits::SSE_BODY).collect();
    let body = match timeout(limits::HEADER_DEADLINE, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return fault(channel, ErrorCode::TooLarge);
        }
        // It broke off on its way: the agent sends it again.
        Ok(Err(_)) => {
            return refused(
                StatusCode::BAD_REQUEST,
                ErrorCode::ChannelLost,
                "it broke off",
            );
        }
        Err(_) => {
            let message = "the body took too long";
            return refused(
                StatusCode::REQUEST_TIMEOUT,
                ErrorCode::DeadlineExceeded,
                message,
            );
        }
    };
    let body = match carriage::read_body(body) {
        Ok(body) => body,
        Err(code) => return fault(channel, code),
    };
    let port = &channel.port;
    let parcels: Vec<Option<Parcel>> = body.parcels.into_iter().map(Some).collect();
    let taken = port
        .acknowledged(body.acknowledged)
        .and_then(|()| port.arrived(body.first, parcels));
    match taken {
        Ok(()) => answers::json(StatusCode::OK, &json!({"next": port.taken() + 1})),
        Err(error) => not_taken(error),
    }
}

/// A body that no honest agent sends: its session ends.
fn fault(channel: &Channel, code: ErrorCode) -> Response<Body> {
    if code == ErrorCode::TooLarge {
        channel.port.refuse(LinkError::TooLarge);
        refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            code,
            "a body or message above its size",
        )
    } else {
        let error = "a body that is none of P-122";
        channel.port.refuse(LinkError::Protocol(error.into()));
        refused(StatusCode::BAD_REQUEST, code, error)
    }
}

fn refused(status: StatusCode, code: ErrorCode, message: &str) -> Response<Body> {
    let mut response = answers::refusal(status, &ErrorBody::new(code, message));
    if status == StatusCode::REQUEST_TIMEOUT {
        answers::retry_after(&mut response, RETRY);
    }
    response
}
