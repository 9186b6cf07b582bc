//! The listener: from a TCP connection to HTTP/1.1 requests.
//!
//! Owns the accept loop, the TLS handshakes' ceilings and deadline, and the end of each connection.
//! Owns not what carries the bytes ([`super::wire`]) nor the deadlines within HTTP
//! ([`super::caller`]). Invariants: a failure to
//! accept neither ends nor spins the loop; beyond a ceiling a connection is closed at once, never
//! queued; after `stop` a connection has one answer more, after `closed` none but what it waits for,
//! after `kill` it is dropped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::Shared;
use super::caller::{Caller, Counted};
use super::routes;
use super::wire::{self, Listener};
use crate::limits;
use crate::reach::Socket;

/// Accepts connections until nothing is left that the gateway waits for.
pub(crate) async fn run(shared: Arc<Shared>, listener: Listener, tls: Arc<ServerConfig>) {
    let acceptor = TlsAcceptor::from(tls);
    let connections = Arc::new(Semaphore::new(shared.config.connections));
    let handshakes = Arc::new(Semaphore::new(limits::TLS_HANDSHAKES));
    let (least, most) = limits::ACCEPT_PAUSE;
    let mut pause = least;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.closed.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if gone_already(&error) => continue,
            Err(error) => {
                shared.metrics.connection_failed("accept");
                if pause == least {
                    tracing::error!(%error, "Accepting failed, pausing");
                }
                sleep(pause).await;
                pause = (pause * 2).min(most);
                continue;
            }
        };
        if pause > least {
            tracing::info!("Accepting again");
            pause = least;
        }
        let permits = (
            Arc::clone(&connections).try_acquire_owned(),
            Arc::clone(&handshakes).try_acquire_owned(),
        );
        let (Ok(connection), Ok(handshake)) = permits else {
            // Dropping the socket closes it.
            shared.metrics.connection_failed("too_many");
            continue;
        };
        let acceptor = acceptor.clone();
        let shared_ = Arc::clone(&shared);
        shared.tasks.spawn_logged("connection", async move {
            let counted = Counted::new(connection, Arc::clone(&shared_.metrics));
            serve(shared_, acceptor, socket, peer, (counted, handshake)).await;
        });
    }
}

/// Errors of one connection that broke before it was accepted: there is nothing to wait for.
fn gone_already(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

async fn serve(
    shared: Arc<Shared>,
    acceptor: TlsAcceptor,
    socket: Socket,
    peer: SocketAddr,
    (counted, handshake): (Counted, OwnedSemaphorePermit),
) {
    wire::tune(&socket);
    let secured = wire::secure(&acceptor, socket);
    // Boxed: a handshake's room is not kept for the connection's life.
    let tls = match Box::pin(timeout(limits::TLS_HANDSHAKE, secured)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => {
            shared.metrics.connection_failed("tls");
            tracing::debug!(%peer, %error, "TLS handshake failed");
            return;
        }
        Err(_) => {
            shared.metrics.connection_failed("tls_timeout");
            return;
        }
    };
    drop(handshake);
    let (caller, flow) = Caller::new(tls, counted);
    let service = {
        let shared = Arc::clone(&shared);
        service_fn(move |request| {
            let answer = routes::serve(Arc::clone(&shared), Arc::clone(&flow), peer, request);
            async move { Ok::<_, std::convert::Infallible>(answer.await) }
        })
    };
    let connection = http1::Builder::new()
        // The deadlines are the caller's; hyper's one timer would close idle connections early.
        .header_read_timeout(None)
        .max_buf_size(limits::REQUEST_HEAD)
        .max_headers(limits::KUBE_HEADERS)
        .serve_connection(TokioIo::new(caller), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        () = shared.kill.cancelled() => Ok(()),
        ended = connection.as_mut() => ended,
        () = shared.closed.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                () = shared.kill.cancelled() => Ok(()),
                ended = connection => ended,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "Connection ended");
    }
}

/// Raises the soft limit of open files to what the program may need, as far as the hard one lets it.
pub fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit
        .maximum
        .map_or(limits::OPEN_FILES, |most| most.min(limits::OPEN_FILES));
    if limit.current.is_some_and(|now| now < wanted) {
        limit.current = Some(wanted);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, wanted, "Open files stay limited");
        }
    }
}
