//! `k8s.request`: one request to the Kubernetes API, streaming both ways (P-60 to P-66).
//!
//! Owns the order of things: request up, head down, then bytes. What travels is the API server's
//! own, byte for byte. Owns not: parsing and filtering (`kubeapi`, through the permit and
//! `cluster`). Invariants: nothing is read from the API server before the stream can take it; a
//! body that breaks off never ends well.

mod download;
mod tunnel;
mod upload;

use http::Method;

use super::{CommandError, Context, Done, run_as, within};
use crate::cluster::{Answer, AnswerBody, ClusterError, Outgoing, Upload};
use crate::kubeapi::Verb;
use crate::kubeapi::headers::Headers;
use crate::limits;
use crate::protocol::command::k8s_request::{Event, Head, Request};

pub(super) async fn run(context: Context, request: Request) -> Result<Done, CommandError> {
    let Context {
        shared,
        permit,
        id,
        actor,
        deadline,
        compression,
        reader,
        mut writer,
        sent: _,
    } = context;
    let path = permit.path().ok_or(CommandError::Misfit)?;
    let run_as = shared.impersonate.then(|| run_as(actor.as_ref()));
    // After an upgrade the stream's bytes belong to the upgraded connection.
    let upgrade = path.attributes().upgrade.is_some();
    let (upload, reader) = if request.body && !upgrade {
        (Some(Upload::new(upload::Body::new(reader))), None)
    } else {
        (None, Some(reader))
    };
    let outgoing = Outgoing {
        path,
        headers: &request.headers,
        run_as: run_as.as_ref(),
        upload,
    };
    let long_running = path.attributes().long_running;
    // Both cover the time to the head (P-60).
    let own = (!long_running).then_some(limits::HEAD_DEADLINE);
    // Boxed, so that a watch does not keep the room that dialling needed.
    let asked = Box::pin(shared.cluster.request(outgoing));
    let answered = within(deadline, async {
        let answered = match own {
            None => asked.await,
            Some(own) => tokio::time::timeout(own, asked)
                .await
                .unwrap_or(Err(ClusterError::Deadline(own))),
        };
        Ok(answered?)
    });
    let Answer {
        status,
        headers,
        body,
    } = answered.await.inspect_err(|error| failed(&id, error))?;

    let may_compress = compression
        && *path.method() != Method::HEAD
        && !upgrade
        // A watch is mostly idle, for hours: its context's memory is worth more than its bytes.
        && path.attributes().verb != Verb::Watch;
    let compress_after = may_compress
        .then(|| download::compress_after(&headers))
        .flatten();
    let head = Event::Head(Head {
        status: status.as_u16(),
        headers: texts(headers),
    });
    writer.event(&head).await?;
    // Without an upgrade, bytes that still come down are not for anybody (P-65).
    let reader = reader.filter(|_| matches!(body, AnswerBody::Upgraded(_)));
    match body {
        AnswerBody::Stream(body) => {
            let idle = (!long_running).then_some(limits::BODY_IDLE);
            download::run(body, &mut writer, idle, compress_after).await?;
            writer.fin();
        }
        AnswerBody::Upgraded(upgraded) => {
            let reader = reader.ok_or(CommandError::Misfit)?;
            tunnel::run(upgraded, reader, &mut writer).await?;
        }
    }
    Ok(None)
}

/// The agent's own record of what the caller learns in a few words.
fn failed(id: &str, error: &CommandError) {
    let CommandError::Cluster(error) = error else {
        return;
    };
    let source = std::error::Error::source(error).map(tracing::field::display);
    match error {
        ClusterError::CredentialRefused => {
            tracing::warn!(id, %error, "Credential refused by the API server");
        }
        error => tracing::debug!(id, %error, source, "Request failed"),
    }
}

/// JSON holds text; a value that is none passes in no header that kubectl reads.
fn texts(headers: Headers) -> Vec<(String, String)> {
    headers
        .into_iter()
        .filter_map(|(name, value)| {
            let value = std::str::from_utf8(value.as_bytes()).ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        })
        .collect()
}
