//! Connections to the sample cluster.
//!
//! Owns: the accept loop, TLS, HTTP/1.1, and their ceilings. Owns not: answers (`api`).
//! Invariant: a connection that does not speak costs a place only until a deadline; one more than
//! the ceiling is closed at once, never queued.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::api::Api;
use crate::tasks::Tasks;

/// Connections at a time: every watch, followed log and request of the demo has one of its own.
/// One costs about 40 kB, so that all of them stay below 50 MB.
const MAX_CONNECTIONS: usize = 1_024;
/// How long a handshake may take, on loopback.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may be silent between requests. hyper counts idle time and the time of a
/// head as one; above the 90 s that a client's pool keeps a connection, so that the client closes
/// first and no request meets a closing connection.
const HEAD_DEADLINE: Duration = Duration::from_secs(120);
/// The most that is buffered of what a client sends or does not yet read.
const BUFFER: usize = 64 * 1024;
/// The pause after a failed accept, which mostly means that descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until the tasks are stopped.
pub(super) async fn run(listener: TcpListener, tls: TlsAcceptor, api: Arc<Api>, tasks: Tasks) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let stop = tasks.stopping();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "Sample cluster cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(limit = MAX_CONNECTIONS, "Sample cluster is full");
            continue;
        };
        let (tls, api, stop) = (tls.clone(), Arc::clone(&api), stop.clone());
        tasks.spawn_logged("sample connection", async move {
            serve(socket, &tls, api, stop).await;
            drop(place);
        });
    }
}

async fn serve(socket: TcpStream, tls: &TlsAcceptor, api: Arc<Api>, stop: CancellationToken) {
    // Small frames of a watch must not wait for each other.
    let _ = socket.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_DEADLINE, tls.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "Sample cluster's handshake failed"),
        Err(_) => return tracing::debug!("Sample cluster's handshake timed out"),
    };
    let service = service_fn(move |request| {
        let api = Arc::clone(&api);
        async move { Ok::<_, std::convert::Infallible>(api.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = connection.as_mut() => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "Sample cluster's connection failed");
    }
}
