//! One request to the gateway over the simulated network, and what came of it.
//!
//! Owns the deadline of a caller. Invariant: a request that is neither answered nor broken off within
//! [`PATIENCE`] is a defect of the gateway, and is recorded as one.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use turmoil::net::TcpStream;

use crate::record::Record;

/// The gateway answers within 65 s whatever happens behind it; the rest is the way and its grace.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

const ANSWERED: &str = "every request is answered or broken off within 90 s";

/// What every caller needs.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) gateway: SocketAddr,
    pub(crate) token: String,
    pub(crate) record: Record,
}

/// What came of a request.
pub(crate) enum Came {
    /// An answer, whole.
    Answer(u16, Bytes),
    /// The connection was refused, or broke before the answer was whole.
    Broken,
}

impl Caller {
    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "gateway")
            .header("authorization", format!("Bearer {}", self.token))
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn ask(&self, request: Request<Full<Bytes>>) -> Came {
        let what = format!("{} {}", request.method(), request.uri());
        let asked = async {
            let (head, body) = self.send(request).await?.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            Some((head.status.as_u16(), body))
        };
        match timeout(PATIENCE, asked).await {
            Ok(Some((status, body))) => Came::Answer(status, body),
            Ok(None) => Came::Broken,
            Err(_) => {
                self.record.broken(ANSWERED, what);
                Came::Broken
            }
        }
    }

    /// Sends a request; the body is the caller's to read.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Option<Response<Incoming>> {
        let socket = TcpStream::connect(self.gateway).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.ok()?;
        tokio::task::spawn_local(connection.with_upgrades());
        sender.send_request(request).await.ok()
    }
}
