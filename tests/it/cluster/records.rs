//! Answers over TLS whose records come in pieces, or several at once.
//!
//! Owns a server that decides where its records end and how few of their bytes go out at a time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use pipeops_agent::cluster::{Cluster, Config, Credentials};
use pipeops_agent::gateway::tls::dev::DevCertificate;
use pipeops_agent::tasks::Tasks;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::{Ask, text};
use crate::support::soon;
use crate::uplink::peer::{Versions, acceptor};

/// Sends so many bytes at most, and lets the other side run before the next.
struct Shredder {
    socket: TcpStream,
    most: usize,
    rested: bool,
}

impl AsyncRead for Shredder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Shredder {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.rested = !self.rested;
        if self.rested {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let most = self.most.min(buf.len());
        Pin::new(&mut self.socket).poll_write(cx, &buf[..most])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// The lengths of the records that carry the body: the least, the most, and around what one read
/// takes.
const RECORDS: [usize; 9] = [1, 16_384, 7, 4_091, 4_096, 300, 16_384, 16_000, 2];

fn body() -> String {
    let length: usize = RECORDS.iter().sum();
    let mut body: String = (0..length / 8).map(|at| format!("{at:08}")).collect();
    body.extend(std::iter::repeat_n('.', length % 8));
    body
}

async fn answer(socket: TcpStream, certificate: &DevCertificate, versions: Versions, most: usize) {
    socket.set_nodelay(true).unwrap();
    let shredder = Shredder {
        socket,
        most,
        rested: false,
    };
    let mut tls = acceptor(certificate, versions)
        .accept(shredder)
        .await
        .unwrap();
    // Twice, because what a connection has kept of the first answer meets the second.
    for _ in 0..2 {
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(tls.read_u8().await.unwrap());
        }
        let body = body();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        tls.write_all(head.as_bytes()).await.unwrap();
        let mut rest = body.as_bytes();
        for length in RECORDS {
            let (record, more) = rest.split_at(length);
            tls.write_all(record).await.unwrap();
            rest = more;
        }
        tls.flush().await.unwrap();
    }
    let _ = tls.read_u8().await;
}

#[tokio::test]
async fn an_answer_comes_whole_however_its_records_are_cut() {
    for versions in [Versions::All, Versions::Tls12] {
        for most in [1, 6, 4_096, 1 << 20] {
            let certificate = DevCertificate::make(&["127.0.0.1"]).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let credentials = Credentials::Direct {
                url: format!("https://{}", listener.local_addr().unwrap())
                    .parse()
                    .unwrap(),
                ca_pem: Some(certificate.ca_pem.clone()),
                token: None,
            };
            let tasks = Tasks::new();
            tasks.spawn_logged("api server", async move {
                // One connection, which is used again.
                let (socket, _) = listener.accept().await.unwrap();
                answer(socket, &certificate, versions, most).await;
            });
            let cluster = Cluster::connect(Config { credentials }, &tasks)
                .await
                .unwrap();
            for _ in 0..2 {
                let asked = async {
                    let answer = Ask::get("/api/v1/pods").of(&cluster).await.unwrap();
                    text(answer).await.unwrap()
                };
                let told = soon(asked).await;
                assert!(told == body(), "{versions:?}, {most} at a time");
            }
            tasks.stop();
        }
    }
}
