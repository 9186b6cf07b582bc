//! Any request to the API server, streaming both ways, and raw upgrades.
//!
//! Owns what a request looks like on its way up and an answer on its way down: both header lists,
//! the caller's identity, which connection is used, and what becomes of it. Owns not: deadlines
//! (the caller races and drops) nor what the API server means by its answer.
//! Invariants: the target is rebuilt from the parsed path; no redirect is followed; an upgrade
//! has a connection of its own, which is closed when the answer is not 101; a body is never
//! replayed.

mod body;
mod upgraded;

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use http::header::{CONTENT_LENGTH, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;

use super::Cluster;
use super::calls;
use super::connection::Live;
use super::error::ClusterError;
use super::run_as::{RunAs, RunAsError};
use crate::kubeapi::headers::{self, Headers, Impersonation, Place};
use crate::kubeapi::{RequestPath, Upgrade, Verb};

pub(super) use body::RequestBody;
pub use body::{ResponseBody, Upload};
pub use upgraded::{Upgraded, UpgradedReader, UpgradedWriter};

/// A request on its way to the API server.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Method, target and upgrade, as decided on.
    pub path: &'a RequestPath,
    /// The caller's headers; they are filtered here, whoever filtered them before.
    pub headers: &'a [(String, String)],
    /// The identity to run under; the agent's own without one.
    pub run_as: Option<&'a RunAs>,
    /// The body, if there is one.
    pub upload: Option<Upload>,
}

/// An answer whose head has arrived.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers that may go down.
    pub headers: Headers,
    /// What follows the head.
    pub body: AnswerBody,
}

/// What follows the head of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// A body.
    Stream(ResponseBody),
    /// The upgraded connection, after a 101.
    Upgraded(Upgraded),
}

/// Why a connection brought no answer, and the request if it was not begun.
struct Broken {
    error: ClusterError,
    unsent: Option<Request<RequestBody>>,
}

impl Cluster {
    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// [`ClusterError::not_sent`] tells whether the API server can have seen the request.
    ///
    /// # Cancel safety
    /// Dropping the future, or the answer's body, closes the connection: the API server stops.
    pub async fn request(&self, outgoing: Outgoing<'_>) -> Result<Answer, ClusterError> {
        let path = outgoing.path;
        let answer = self.exchange(outgoing).await;
        let status = match &answer {
            Ok(answer) => Some(answer.status),
            Err(ClusterError::CredentialRefused) => Some(StatusCode::UNAUTHORIZED),
            Err(_) => None,
        };
        calls::count(&self.inner.calls, path.method(), status);
        answer
    }

    async fn exchange(&self, outgoing: Outgoing<'_>) -> Result<Answer, ClusterError> {
        let Outgoing {
            path,
            headers,
            run_as,
            upload,
        } = outgoing;
        let upgrade = path.attributes().upgrade;
        let mut head = upward(path, headers, upload.is_some())?;
        if let Some(run_as) = run_as {
            if self.inner.acts_as_another {
                return Err(RunAsError::Taken.into());
            }
            head.extend(run_as.headers()?);
        }
        let mut parts = self
            .inner
            .signer
            .sign(path.method().clone(), path.path_and_query(), head)
            .await?;
        parts.headers.insert(HOST, self.inner.dialler.authority());
        // A connection may be closed just when a request is written on it. What has no body and
        // changes nothing is sent once more, as every HTTP client does.
        let again = (upload.is_none()
            && upgrade.is_none()
            && matches!(*path.method(), Method::GET | Method::HEAD))
        .then(|| parts.clone());
        let (body, uploading) = RequestBody::new(upload);
        let request = Request::from_parts(parts, body);

        let pooled = match upgrade {
            None => self.inner.pool.take().await,
            Some(_) => None,
        };
        let (response, live) = match pooled {
            None => self.first(request).await?,
            Some(live) => match exchange(live, request).await {
                Ok(answered) => answered,
                Err(Broken {
                    unsent: Some(request),
                    ..
                }) => self.first(request).await?,
                Err(Broken { error, .. }) => match (again, &error) {
                    (Some(parts), ClusterError::Failed(cause)) if closed(cause) => {
                        let (body, _) = RequestBody::new(None);
                        self.first(Request::from_parts(parts, body)).await?
                    }
                    _ => return Err(error),
                },
            },
        };

        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            return Err(ClusterError::CredentialRefused);
        }
        let place = Place {
            prefix: "",
            path: path.canonical(),
        };
        let headers = headers::downward(status, headers::pairs(response.headers()), upgrade, place)
            .map_err(ClusterError::AnswerHeaders)?;
        let body = if status == StatusCode::SWITCHING_PROTOCOLS {
            AnswerBody::Upgraded(upgraded::take_over(live).await?)
        } else {
            let pool = upgrade.is_none().then(|| self.inner.pool.clone());
            AnswerBody::Stream(ResponseBody::new(
                response.into_body(),
                live,
                pool,
                uploading,
            ))
        };
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    /// On a new connection.
    async fn first(
        &self,
        request: Request<RequestBody>,
    ) -> Result<(http::Response<Incoming>, Live), ClusterError> {
        let live = self.inner.dialler.dial().await?;
        exchange(live, request).await.map_err(|broken| broken.error)
    }
}

/// The origin of a watch over WebSocket: the API server's own name in its cluster.
const WATCHER: &str = "https://kubernetes.default.svc";

/// The head that goes up: the list's headers, and a length that fits the body.
fn upward(
    path: &RequestPath,
    headers: &[(String, String)],
    has_body: bool,
) -> Result<HeaderMap, ClusterError> {
    let pairs = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    let passed = headers::upward(pairs, path.attributes().upgrade, Impersonation::Drop)
        .map_err(ClusterError::RequestHeaders)?;
    let mut head = HeaderMap::with_capacity(passed.len() + 4);
    for (name, value) in passed {
        head.append(name, value);
    }
    if !has_body {
        head.remove(CONTENT_LENGTH);
        if matches!(*path.method(), Method::POST | Method::PUT | Method::PATCH) {
            head.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
    }
    // The API server refuses a watch over WebSocket that names no origin (403, without a word),
    // and compares it with nothing. An application behind a proxied path may well compare.
    let attributes = path.attributes();
    if attributes.upgrade == Some(Upgrade::WebSocket) && attributes.verb == Verb::Watch {
        head.insert(ORIGIN, HeaderValue::from_static(WATCHER));
    }
    Ok(head)
}

/// Sends a request on a connection and drives it until the head of the answer is there.
async fn exchange(
    mut live: Live,
    request: Request<RequestBody>,
) -> Result<(http::Response<Incoming>, Live), Broken> {
    let mut response = pin!(live.sender.try_send_request(request));
    let answered = std::future::poll_fn(|cx| {
        if let Poll::Ready(answered) = response.as_mut().poll(cx) {
            return Poll::Ready(Some(answered));
        }
        let driven = live.poll_drive(cx);
        match response.as_mut().poll(cx) {
            Poll::Ready(answered) => Poll::Ready(Some(answered)),
            // The driver reports to the sender before it ends; should it not, nothing will come.
            Poll::Pending if driven.is_ready() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    match answered {
        Some(Ok(response)) => Ok((response, live)),
        Some(Err(mut error)) => Err(Broken {
            unsent: error.take_message(),
            error: ClusterError::http(error.into_error()),
        }),
        None => Err(Broken {
            unsent: None,
            error: ClusterError::Unusable("the connection ended without an answer"),
        }),
    }
}

/// Whether a kept connection was closed before it brought anything.
fn closed(error: &hyper::Error) -> bool {
    use std::error::Error;
    error.is_incomplete_message()
        || error.is_canceled()
        || error
            .source()
            .and_then(|source| source.downcast_ref::<std::io::Error>())
            .is_some_and(|error| {
                matches!(
                    error.kind(),
                    std::io::ErrorKind::ConnectionReset
                        | std::io::ErrorKind::BrokenPipe
                        | std::io::ErrorKind::UnexpectedEof
                )
            })
}
