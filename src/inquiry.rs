//! Questions to the agent that runs beside this process, over its local server on loopback.
//!
//! Owns the one exchange, and what `status` prints for people. It is how a container without a shell
//! is asked: `kubectl exec deploy/pipeops-agent -- /pipeops-agent status`. Owns not: what the server
//! answers (`local`). Invariant: loopback only, one deadline for all of it, and a bound on the
//! answer; what the answer lacks is left out, never invented.

mod report;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::limits;

pub use report::text;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum InquiryError {
    /// Nobody listens.
    #[error("nothing answers on port {port}; is the agent running, and is this its port (--port)?")]
    Connect {
        /// Where.
        port: u16,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It listens, and is stuck.
    #[error("no answer within {} s", limits::INQUIRY.as_secs())]
    Silent,
    /// Somebody else listens.
    #[error("what answers on port {port} is no agent")]
    Foreign {
        /// Where.
        port: u16,
    },
}

/// An answer of the local server.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status.
    pub code: StatusCode,
    /// The body; null where it is no JSON.
    pub body: Value,
}

/// Asks the agent on this port of loopback for `path`.
///
/// # Errors
/// See [`InquiryError`]; an answer of any status is none.
///
/// # Cancel safety
/// May be dropped and asked again.
pub async fn ask(port: u16, path: &'static str) -> Result<Answer, InquiryError> {
    timeout(limits::INQUIRY, exchange(port, path))
        .await
        .unwrap_or(Err(InquiryError::Silent))
}

/// Whether the agent is alive, or with `ready` whether it can serve; what it said.
///
/// # Errors
/// See [`InquiryError`].
pub async fn health(port: u16, ready: bool) -> Result<Answer, InquiryError> {
    ask(port, if ready { "/ready" } else { "/health" }).await
}

/// Everything that the agent tells of itself.
///
/// # Errors
/// See [`InquiryError`].
pub async fn status(port: u16) -> Result<Answer, InquiryError> {
    let answer = ask(port, "/api/status").await?;
    if answer.code != StatusCode::NOT_FOUND {
        return Ok(answer);
    }
    // A server whose interface is switched off still has its probes.
    ask(port, "/ready").await
}

async fn exchange(port: u16, path: &'static str) -> Result<Answer, InquiryError> {
    let foreign = |_| InquiryError::Foreign { port };
    let socket = connect(port).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket))
        .await
        .map_err(foreign)?;
    let request = Request::get(path)
        .header(HOST, format!("127.0.0.1:{port}"))
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .expect("the parts are literals");
    let answered = async {
        let (head, body) = sender
            .send_request(request)
            .await
            .map_err(foreign)?
            .into_parts();
        let body = Limited::new(body, limits::INQUIRY_ANSWER).collect().await;
        let body = body.map_err(|_| InquiryError::Foreign { port })?.to_bytes();
        Ok(Answer {
            code: head.status,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        })
    };
    // The connection must be driven for the answer to come, and may end before it was read.
    let (mut answered, mut connection) = (pin!(answered), pin!(connection));
    tokio::select! {
        biased;
        answer = &mut answered => answer,
        _ = &mut connection => answered.await,
    }
}

/// The agent may listen for either family alone.
async fn connect(port: u16) -> Result<TcpStream, InquiryError> {
    let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port);
    match TcpStream::connect(v4).await {
        Ok(socket) => Ok(socket),
        Err(source) => TcpStream::connect(v6)
            .await
            .map_err(|_| InquiryError::Connect { port, source }),
    }
}
