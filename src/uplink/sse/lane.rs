//! One HTTP/1.1 connection to the control plane, for one request after the other.
//!
//! Owns the connection's task and the form of every request. Owns not the deadlines, which are the
//! callers'. Invariants: of an answer that is read whole at most 8 KiB are kept; dropping it closes
//! the connection.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

use super::SseError;
use crate::config::secret::Secret;
use crate::limits;
use crate::tasks::Tasks;
use crate::uplink::dial::Dialler;
use crate::uplink::register::{AGENT, bearer};

pub(super) type Request = http::Request<Full<Bytes>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Lane {
    sender: Sender,
    driver: AbortHandle,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What sends requests on a lane.
#[derive(Debug, Clone)]
pub(super) struct Sender(Arc<Mutex<SendRequest<Full<Bytes>>>>);

impl Sender {
    /// The head of the answer, once the lane is free.
    pub(super) fn send(
        &self,
        request: Request,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + Send + Sync + use<> {
        let sender = Arc::clone(&self.0);
        async move {
            let lock = || sender.lock().unwrap_or_else(PoisonError::into_inner);
            std::future::poll_fn(|cx| lock().poll_ready(cx)).await?;
            let answer = lock().send_request(request);
            answer.await
        }
    }
}

/// A request as this agent makes them; `path` is of the control plane's origin.
pub(super) fn request(
    dialler: &Dialler,
    method: Method,
    path: &str,
    token: &Secret,
    body: Bytes,
) -> Request {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("a path that was parsed before");
    dress(dialler, token, request.headers_mut());
    request
}

/// What each request says of us.
pub(super) fn dress(dialler: &Dialler, token: &Secret, headers: &mut HeaderMap) {
    let host = HeaderValue::from_str(&dialler.url().authority())
        .expect("the authority of a parsed URL is a header value");
    headers.insert(HOST, host);
    headers.insert(AUTHORIZATION, bearer(token));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

impl Lane {
    pub(super) async fn open(dialler: &Dialler, tasks: &Tasks) -> Result<Self, SseError> {
        let connection = dialler.dial().await?;
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(limits::SSE_BUFFER)
            .handshake(TokioIo::new(connection))
            .await?;
        let driver = tasks.spawn("lane", async move {
            // How it ends, the request on it learns.
            let _ = driver.await;
        });
        Ok(Self {
            sender: Sender(Arc::new(Mutex::new(sender))),
            driver: driver.abort_handle(),
        })
    }

    pub(super) fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// A request and its whole answer.
    pub(super) async fn exchange(
        &mut self,
        request: Request,
    ) -> Result<(StatusCode, HeaderMap, Bytes), SseError> {
        let answer = pin!(self.sender.send(request)).await?;
        let (head, body) = answer.into_parts();
        Ok((head.status, head.headers, whole(body).await?))
    }
}

/// A small answer's body.
pub(super) async fn whole(body: Incoming) -> Result<Bytes, SseError> {
    let body = Limited::new(body, limits::SSE_ANSWER).collect().await;
    match body {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(match error.downcast::<hyper::Error>() {
            Ok(error) => SseError::Http(*error),
            Err(_) => SseError::Strange("it is larger than any of ours"),
        }),
    }
}
