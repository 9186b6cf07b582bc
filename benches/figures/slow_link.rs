//! A slow link between the two ends: a relay with a rate, a delay and a bounded queue each way.
//!
//! It stands in for netem, which many kernels lack. A relay cannot drop: where a router's queue is
//! full, this one stops reading, so that its queue is full whenever there is bulk. That is the worst
//! case of a router with the same queue. The sockets that it reads from have a small receive buffer:
//! what lies there queues as well.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pipeops_agent::tasks::Tasks;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Bytes that the relay takes at once: two packets' worth, so that the delay is even.
const PIECE: usize = 4 * 1024;
/// The receive buffer of the relay's sockets; the kernel doubles it and uses half for itself.
const RECEIVE_BUFFER: usize = 32 * 1024;

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Link {
    /// The link's rate in Mbit/s, each way.
    #[arg(long, default_value_t = 100)]
    pub(crate) mbit: u32,
    /// Its round trip in ms.
    #[arg(long, default_value_t = 50)]
    pub(crate) rtt: u32,
    /// Its queue in ms, each way.
    #[arg(long, default_value_t = 50)]
    pub(crate) queue: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// Where the link leads.
    to: SocketAddr,
    #[command(flatten)]
    link: Link,
}

/// Prints its address, then relays until it is killed.
pub(crate) async fn run(settings: &Settings) -> anyhow::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Accepted sockets inherit it, and it must be known before the handshake.
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into())?;
    socket.listen(16)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket.into())?;
    crate::say(&listener.local_addr()?.to_string())?;
    let tasks = Tasks::new();
    loop {
        let (near, _) = listener.accept().await?;
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(u32::try_from(RECEIVE_BUFFER)?)?;
        let far = socket.connect(settings.to).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        relay(&tasks, near, far, settings.link);
    }
}

fn relay(tasks: &Tasks, near: TcpStream, far: TcpStream, link: Link) {
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    for (read, write) in [(near_read, far_write), (far_read, near_write)] {
        // The queue is bounded by time below; this only has to be longer.
        let (into, out) = mpsc::channel(8 * 1024);
        tasks.spawn("link", take(read, into, link));
        tasks.spawn("link", give(write, out));
    }
}

/// The queue and the rate: a piece leaves when all before it have.
async fn take(mut read: OwnedReadHalf, into: mpsc::Sender<(Instant, Bytes)>, link: Link) {
    let delay = Duration::from_micros(u64::from(link.rtt) * 500);
    let queue = Duration::from_millis(u64::from(link.queue));
    let per_byte = 8.0 / (f64::from(link.mbit) * 1e6);
    let mut free = Instant::now();
    loop {
        tokio::time::sleep_until(free.checked_sub(queue).unwrap_or(free)).await;
        let mut piece = BytesMut::with_capacity(PIECE);
        match read.read_buf(&mut piece).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        let takes = Duration::from_secs_f64(piece.len() as f64 * per_byte);
        free = free.max(Instant::now()) + takes;
        if into.send((free + delay, piece.freeze())).await.is_err() {
            return;
        }
    }
}

/// The delay.
async fn give(mut write: OwnedWriteHalf, mut out: mpsc::Receiver<(Instant, Bytes)>) {
    while let Some((at, piece)) = out.recv().await {
        tokio::time::sleep_until(at).await;
        if write.write_all(&piece).await.is_err() {
            return;
        }
    }
}
