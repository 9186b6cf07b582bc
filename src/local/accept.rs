//! The accept loop of the local server.
//!
//! Owns the cap on connections, the deadlines of each, and the pause after a failed accept. Owns
//! not: the routes. Invariant: nothing that a peer does or fails to do keeps a connection longer
//! than a minute and a bit, or ends the loop.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::limits;
use crate::tasks::Tasks;

/// Accepts until `stop` fires.
pub(super) async fn run(
    listener: TcpListener,
    router: Router,
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    let room = Arc::new(Semaphore::new(limits::LOCAL_CONNECTIONS));
    let mut pause = limits::LOCAL_ACCEPT_PAUSE.0;
    loop {
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else {
            return;
        };
        match accepted {
            Ok((socket, _)) => {
                pause = limits::LOCAL_ACCEPT_PAUSE.0;
                // Full: the connection is closed at once. Waiting would only fill the backlog.
                if let Ok(permit) = Arc::clone(&room).try_acquire_owned() {
                    let (router, stop) = (router.clone(), stop.clone());
                    tasks.spawn_logged("local connection", async move {
                        serve(socket, router, &stop).await;
                        drop(permit);
                    });
                }
            }
            Err(error) if is_of_one_peer(&error) => {}
            Err(error) => {
                // Out of descriptors or memory: others may give some back.
                tracing::warn!(%error, "Accept failed");
                stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                pause = (pause * 2).min(limits::LOCAL_ACCEPT_PAUSE.1);
            }
        }
    }
}

fn is_of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

async fn serve(socket: TcpStream, router: Router, stop: &CancellationToken) {
    let _ = socket.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_DEADLINE)
        .max_buf_size(limits::LOCAL_HEAD)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        // How it ended is the peer's business.
        _ = &mut connection => return,
        () = tokio::time::sleep(limits::LOCAL_LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(limits::LOCAL_GOODBYE, connection).await;
}
