//! The accept loop of the local server.
//!
//! Owns the rooms that connections stand in, the deadlines of each, and the pause after a failed
//! accept. Owns not: the routes. Invariants: what a peer does or fails to do keeps a connection no
//! longer than a minute and a bit, unless it streams, and never ends the loop; when people have
//! taken all of their room, or come faster than they may, probes still get through.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::Config;
use crate::limits;
use crate::tasks::Tasks;

/// Who is at the other end of a connection. Cloning shares the hold on it.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// What it called.
    pub(super) local: SocketAddr,
    /// It stands in the room that is kept for probes.
    pub(super) reserved: bool,
    pub(super) hold: Arc<Hold>,
}

/// A hold on a connection: it takes room until the last one is dropped.
#[derive(Debug, Default)]
pub(super) struct Hold {
    streams: AtomicBool,
    cut: CancellationToken,
    _permit: Option<OwnedSemaphorePermit>,
    _place: Option<Place>,
}

impl Hold {
    /// From now on the connection has no end of life of its own.
    pub(super) fn stream(&self) {
        self.streams.store(true, Ordering::Relaxed);
    }

    /// Cuts the connection off: whoever is at the other end does not read.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }

    /// Fires when it is to be cut off.
    pub(super) fn is_cut(&self) -> CancellationToken {
        self.cut.clone()
    }
}

impl Peer {
    #[cfg(test)]
    pub(super) fn of_test(address: SocketAddr, local: SocketAddr) -> Self {
        Self {
            address,
            local,
            reserved: false,
            hold: Arc::default(),
        }
    }
}

/// Accepts until `stop` fires.
pub(super) async fn run(
    listener: TcpListener,
    router: Router,
    config: &Config,
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    let mut rooms = Rooms::new(config, Instant::now());
    let mut pause = limits::LOCAL_ACCEPT_PAUSE.0;
    loop {
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else {
            return;
        };
        match accepted {
            Ok((socket, address)) => {
                pause = limits::LOCAL_ACCEPT_PAUSE.0;
                // Full: the connection is closed at once. Waiting would only fill the backlog.
                let Some((reserved, hold)) = rooms.enter(address.ip(), Instant::now()) else {
                    continue;
                };
                let Ok(local) = socket.local_addr() else {
                    continue;
                };
                let peer = Peer {
                    address,
                    local,
                    reserved,
                    hold: Arc::new(hold),
                };
                let head = if reserved {
                    config.header_timeout.min(limits::LOCAL_PROBE_HEAD)
                } else {
                    config.header_timeout
                };
                let (router, stop) = (router.clone(), stop.clone());
                tasks.spawn_logged("local connection", async move {
                    serve(socket, router, peer, head, &stop).await;
                });
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

async fn serve(
    socket: TcpStream,
    router: Router,
    peer: Peer,
    head: Duration,
    stop: &CancellationToken,
) {
    let _ = socket.set_nodelay(true);
    let _ = socket2::SockRef::from(&socket).set_send_buffer_size(limits::LOCAL_UNSENT);
    let hold = Arc::clone(&peer.hold);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|e| match e {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(limits::LOCAL_HEAD)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let life = async {
        tokio::time::sleep(limits::LOCAL_LIFE).await;
        if hold.streams.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = hold.cut.cancelled() => return,
        // How it ended is the peer's business.
        _ = &mut connection => return,
        () = life => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(limits::LOCAL_GOODBYE, connection).await;
}

/// Where connections stand.
struct Rooms {
    people: Arc<Semaphore>,
    probes: Arc<Semaphore>,
    each: Arc<Mutex<HashMap<IpAddr, usize>>>,
    rate: Rate,
}

impl Rooms {
    fn new(config: &Config, now: Instant) -> Self {
        Self {
            people: Arc::new(Semaphore::new(config.max_connections)),
            probes: Arc::new(Semaphore::new(limits::LOCAL_PROBES)),
            each: Arc::default(),
            rate: Rate::new(config.rate_limit, now),
        }
    }

    /// Room for one more from `peer`, and whether it is for probes.
    fn enter(&mut self, peer: IpAddr, now: Instant) -> Option<(bool, Hold)> {
        let hold = |permit, place| Hold {
            _permit: Some(permit),
            _place: place,
            ..Hold::default()
        };
        if self.rate.allows(now)
            && let Ok(permit) = Arc::clone(&self.people).try_acquire_owned()
        {
            self.rate.take(now);
            return Some((false, hold(permit, None)));
        }
        let permit = Arc::clone(&self.probes).try_acquire_owned().ok()?;
        let place = Place::take(&self.each, peer)?;
        Some((true, hold(permit, Some(place))))
    }
}

/// One peer's place among the probes. The map has no more entries than there are places.
#[derive(Debug)]
struct Place {
    each: Arc<Mutex<HashMap<IpAddr, usize>>>,
    peer: IpAddr,
}

impl Place {
    fn take(each: &Arc<Mutex<HashMap<IpAddr, usize>>>, peer: IpAddr) -> Option<Self> {
        let mut counts = each.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        if *count >= limits::LOCAL_PROBES_EACH {
            return None;
        }
        *count += 1;
        Some(Self {
            each: Arc::clone(each),
            peer,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

/// So many in a second, and as many at once.
pub(super) struct Rate {
    every: Duration,
    burst: Duration,
    /// When all of the burst is there again.
    full: Instant,
}

impl Rate {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let every = Duration::from_secs(1) / per_second.max(1);
        Self {
            every,
            burst: Duration::from_secs(1).saturating_sub(every),
            full: now,
        }
    }

    pub(super) fn allows(&self, now: Instant) -> bool {
        self.full.saturating_duration_since(now) <= self.burst
    }

    pub(super) fn take(&mut self, now: Instant) {
        self.full = self.full.max(now) + self.every;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_have_room_that_neither_people_nor_one_peer_can_take() {
        let now = Instant::now();
        let mut rooms = Rooms::new(&Config::default(), now);
        let flood: IpAddr = [10, 0, 0, 1].into();
        let mut held = Vec::new();
        let mut people = 0;
        for _ in 0..1000 {
            let entered = rooms.enter(flood, now + Duration::from_secs(9));
            people += usize::from(entered.as_ref().is_some_and(|(reserved, _)| !reserved));
            held.extend(entered);
        }
        assert_eq!(people, limits::LOCAL_CONNECTIONS);
        assert_eq!(held.len(), people + limits::LOCAL_PROBES_EACH);
        let kubelet = rooms.enter([10, 0, 0, 2].into(), now);
        assert!(kubelet.is_some_and(|(reserved, _)| reserved));
        for peer in 3..255_u8 {
            for _ in 0..10 {
                held.extend(rooms.enter([10, 0, 0, peer].into(), now));
            }
        }
        assert_eq!(held.len(), people + limits::LOCAL_PROBES);
        held.clear();
        assert!(rooms.each.lock().unwrap().is_empty());
        let again = rooms.enter(flood, now + Duration::from_secs(20));
        assert!(again.is_some_and(|(reserved, _)| !reserved));
    }

    #[test]
    fn more_than_the_rate_of_people_is_for_probes() {
        let now = Instant::now();
        let config = Config {
            rate_limit: 5,
            ..Config::default()
        };
        let mut rooms = Rooms::new(&config, now);
        let peer: IpAddr = [10, 0, 0, 1].into();
        let people = |rooms: &mut Rooms, now| {
            let entered: Vec<_> = (0..9).filter_map(|_| rooms.enter(peer, now)).collect();
            entered.iter().filter(|(reserved, _)| !reserved).count()
        };
        assert_eq!(people(&mut rooms, now), 5);
        assert_eq!(people(&mut rooms, now + Duration::from_millis(200)), 1);
        assert_eq!(people(&mut rooms, now + Duration::from_secs(9)), 5);
    }
}
