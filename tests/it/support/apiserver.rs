//! A scripted API server: plain HTTP/1.1 over loopback, one script for every request.
//!
//! Owns reading heads and counting connections. What is answered, in what pieces and when, is the
//! test's: the script writes raw bytes, so that it can also misbehave.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pipeops_agent::tasks::Tasks;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// Any connection, with TLS or without.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The head of a request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    /// Which connection it came on, from 1.
    pub(crate) connection: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

/// One connection, with what was read too far.
pub(crate) struct Peer {
    io: Box<dyn Stream>,
    read: VecDeque<u8>,
    gone: bool,
}

impl Peer {
    pub(crate) fn new(io: impl Stream + 'static) -> Self {
        Self {
            io: Box::new(io),
            read: VecDeque::new(),
            gone: false,
        }
    }

    /// Writes and flushes; a closed peer is the test's to notice.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let written = self.io.write_all(bytes.as_ref()).await;
        self.gone |= written.and(self.io.flush().await).is_err();
    }

    /// Whether something could not be written any more.
    pub(crate) fn gone(&self) -> bool {
        self.gone
    }

    /// Up to and with `end`; nothing once the peer has closed.
    pub(crate) async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let mut taken = Vec::new();
        while !taken.ends_with(end) {
            taken.push(self.byte().await?);
        }
        Some(taken)
    }

    pub(crate) async fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut taken = Vec::with_capacity(count);
        for _ in 0..count {
            taken.push(self.byte().await?);
        }
        Some(taken)
    }

    /// What comes next; nothing at the end.
    pub(crate) async fn some(&mut self) -> Option<Vec<u8>> {
        if self.read.is_empty() {
            let mut part = vec![0; 16 * 1024];
            let count = self
                .io
                .read(&mut part)
                .await
                .ok()
                .filter(|count| *count > 0)?;
            part.truncate(count);
            return Some(part);
        }
        Some(self.read.drain(..).collect())
    }

    /// Reads until the peer closes or breaks off.
    pub(crate) async fn closed(&mut self) {
        while self.byte().await.is_some() {}
    }

    pub(crate) async fn shutdown(&mut self) {
        let _ = self.io.shutdown().await;
    }

    async fn byte(&mut self) -> Option<u8> {
        if self.read.is_empty() {
            let bytes = self.some().await?;
            self.read.extend(bytes);
        }
        self.read.pop_front()
    }

    /// The next request's head; nothing once the peer has closed.
    pub(crate) async fn head(&mut self, connection: usize) -> Option<Seen> {
        let head = self.until(b"\r\n\r\n").await?;
        let head = String::from_utf8(head).expect("a head is text");
        let mut lines = head.trim_end().split("\r\n");
        let mut first = lines.next()?.split(' ');
        Some(Seen {
            method: first.next()?.to_owned(),
            target: first.next()?.to_owned(),
            headers: lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect(),
            connection,
        })
    }
}

/// Whether the connection goes on after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    KeepAlive,
    Close,
}

type Script =
    Arc<dyn Fn(Seen, Peer) -> Pin<Box<dyn Future<Output = (Peer, Then)> + Send>> + Send + Sync>;

/// A running server; it ends with its tasks.
pub(crate) struct ApiServer {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    open: Arc<AtomicUsize>,
}

impl ApiServer {
    /// Answers each request by `script`, without TLS.
    pub(crate) async fn start<F, R>(tasks: &Tasks, script: F) -> Self
    where
        F: Fn(Seen, Peer) -> R + Send + Sync + 'static,
        R: Future<Output = (Peer, Then)> + Send + 'static,
    {
        Self::serve(tasks, script, None).await
    }

    /// The same behind TLS.
    pub(crate) async fn start_tls<F, R>(
        tasks: &Tasks,
        tls: Arc<rustls::ServerConfig>,
        script: F,
    ) -> Self
    where
        F: Fn(Seen, Peer) -> R + Send + Sync + 'static,
        R: Future<Output = (Peer, Then)> + Send + 'static,
    {
        Self::serve(tasks, script, Some(tls)).await
    }

    async fn serve<F, R>(tasks: &Tasks, script: F, tls: Option<Arc<rustls::ServerConfig>>) -> Self
    where
        F: Fn(Seen, Peer) -> R + Send + Sync + 'static,
        R: Future<Output = (Peer, Then)> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a port");
        let address = listener.local_addr().expect("a bound listener has one");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::new(AtomicUsize::new(0));
        let script: Script = Arc::new(move |seen, peer| Box::pin(script(seen, peer)));
        let all = (seen.clone(), open.clone());
        let spawner = tasks.clone();
        tasks.spawn("apiserver", async move {
            let (seen, open) = all;
            let mut connection = 0;
            while let Ok((socket, _)) = listener.accept().await {
                connection += 1;
                let (seen, open, script) = (seen.clone(), open.clone(), script.clone());
                let tls = tls.clone();
                open.fetch_add(1, Ordering::SeqCst);
                spawner.spawn("connection", async move {
                    let peer = match tls {
                        None => Some(Peer::new(socket)),
                        Some(tls) => tokio_rustls::TlsAcceptor::from(tls)
                            .accept(socket)
                            .await
                            .ok()
                            .map(Peer::new),
                    };
                    if let Some(mut peer) = peer {
                        while let Some(head) = peer.head(connection).await {
                            seen.lock().unwrap().push(head.clone());
                            let (back, then) = script(head, peer).await;
                            peer = back;
                            if then == Then::Close {
                                peer.shutdown().await;
                                break;
                            }
                        }
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            seen,
            open,
        }
    }

    /// The requests so far, in their order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Connections that the client holds open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// A whole answer with this body.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}
