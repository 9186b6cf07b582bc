//! What a simulation puts in the place of the system: the network, and the source of randomness.
//!
//! Owns the seam alone; the simulation itself is a test (`tests/simulation`). With a network
//! installed, connecting and listening lead to it, and both ends leave TLS out. Owns not time, which
//! a paused runtime brings. Invariants: what is installed holds for the thread that installed it,
//! until the guard is dropped; without it the way is the system's, TLS and all. No program that is
//! shipped can have this: the feature does not build without debug assertions.

#[cfg(not(debug_assertions))]
compile_error!("the feature `simulation` leaves TLS out: it is for tests, never for a release");

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng, TryRng};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

thread_local! {
    static INSTALLED: RefCell<Option<Installed>> = const { RefCell::new(None) };
}

struct Installed {
    network: Rc<dyn Network>,
    random: StdRng,
}

/// Bytes both ways.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for T {}

/// One simulated connection.
pub struct Connection(Box<dyn Wire>);

/// What comes of connecting.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Connection>> + Send>>;

/// What comes of accepting.
pub type Accepting<'a> =
    Pin<Box<dyn Future<Output = io::Result<(Connection, SocketAddr)>> + Send + 'a>>;

/// The network that stands for the system's.
pub trait Network {
    /// A connection to an address.
    fn connect(&self, address: SocketAddr) -> Connecting;

    /// A listener on the host that runs now.
    ///
    /// # Errors
    /// When the address is taken.
    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listen>>;
}

/// A simulated listener.
pub trait Listen: std::fmt::Debug + Send + Sync {
    /// The next connection.
    fn accept(&self) -> Accepting<'_>;
}

/// Takes network and randomness away again.
#[derive(Debug)]
#[must_use = "dropping it ends what was installed"]
pub struct Guard(());

/// Puts a network and a seed in the place of the system's, on this thread.
pub fn install(network: Rc<dyn Network>, seed: u64) -> Guard {
    let random = StdRng::seed_from_u64(seed);
    INSTALLED.with_borrow_mut(|installed| *installed = Some(Installed { network, random }));
    Guard(())
}

impl Drop for Guard {
    fn drop(&mut self) {
        INSTALLED.with_borrow_mut(|installed| *installed = None);
    }
}

fn network() -> Option<Rc<dyn Network>> {
    INSTALLED.with_borrow(|installed| installed.as_ref().map(|it| Rc::clone(&it.network)))
}

/// A simulated connection, where there is a simulation.
pub(crate) fn connect(address: SocketAddr) -> Option<Connecting> {
    network().map(|network| network.connect(address))
}

/// Whether connections go without TLS.
pub(crate) fn is_installed() -> bool {
    network().is_some()
}

/// A simulated listener, where there is a simulation.
pub(crate) fn listen(address: SocketAddr) -> Option<io::Result<Box<dyn Listen>>> {
    network().map(|network| network.listen(address))
}

/// Draws from the seeded source, or from the system's where there is no simulation.
#[derive(Debug, Clone, Copy)]
pub struct Chance;

impl Chance {
    fn draw<T>(draw: impl FnOnce(&mut dyn Rng) -> T) -> T {
        INSTALLED.with_borrow_mut(|installed| match installed {
            Some(installed) => draw(&mut installed.random),
            None => draw(&mut rand::rng()),
        })
    }
}

impl TryRng for Chance {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(Self::draw(|random| random.next_u32()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(Self::draw(|random| random.next_u64()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        Self::draw(|random| random.fill_bytes(bytes));
        Ok(())
    }
}

impl Connection {
    /// Takes a connection of the simulated network.
    pub fn new(wire: impl Wire) -> Self {
        Self(Box::new(wire))
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
