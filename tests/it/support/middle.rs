//! What stands on the way and ends TLS: it passes requests on, but not as they are.
//!
//! Owns one connection to the gateway for each of the agent's. How it meddles can change at any time,
//! for the connections that begin then.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use pipeops_agent::gateway::tls::dev::DevCertificate;
use pipeops_agent::tasks::Tasks;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::gateway::rig::{Rig, tls};
use crate::uplink::peer::{Versions, acceptor};

/// How it meddles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It does not.
    Passes,
    /// `Upgrade` and `Connection` are dropped from requests.
    Strips,
    /// The bytes after a 101 are kept back.
    Holds,
    /// `Upgrade` is dropped, and answers are kept back until they are whole.
    KeepsBack,
    /// `Upgrade` is dropped, and every fourth connection is answered 502.
    Fails,
}

const MANNERS: [Manner; 5] = [
    Manner::Passes,
    Manner::Strips,
    Manner::Holds,
    Manner::KeepsBack,
    Manner::Fails,
];

pub(crate) struct Middle {
    pub(crate) url: String,
    pub(crate) ca_pem: String,
    manner: Arc<AtomicU8>,
}

impl Middle {
    pub(crate) async fn start(rig: &Rig, manner: Manner, tasks: &Tasks) -> Self {
        let made = DevCertificate::make(&["localhost", "127.0.0.1"]).unwrap();
        let acceptor = acceptor(&made, Versions::All);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let chosen = Arc::new(AtomicU8::new(0));
        let (to, ca_pem, manners) = (rig.address, rig.ca_pem.clone(), Arc::clone(&chosen));
        let spawner = tasks.clone();
        tasks.spawn("middle", async move {
            let mut count = 0;
            while let Ok((socket, _)) = listener.accept().await {
                count += 1;
                let manner = MANNERS[usize::from(manners.load(Ordering::Relaxed))];
                let (acceptor, ca_pem) = (acceptor.clone(), ca_pem.clone());
                spawner.spawn("carried", async move {
                    if let Ok(near) = acceptor.accept(socket).await {
                        let _ = carry(near, to, &ca_pem, manner, count).await;
                    }
                });
            }
        });
        let middle = Self {
            url,
            ca_pem: made.ca_pem,
            manner: chosen,
        };
        middle.does(manner);
        middle
    }

    pub(crate) fn does(&self, manner: Manner) {
        let at = MANNERS.iter().position(|one| *one == manner).unwrap();
        self.manner
            .store(u8::try_from(at).unwrap(), Ordering::Relaxed);
    }
}

/// A head, line by line, with the empty one; nothing at the end.
async fn head(from: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let last = line == "\r\n";
        lines.push(line);
        if last {
            return Some(lines);
        }
    }
}

async fn carry(
    near: impl AsyncRead + AsyncWrite,
    to: SocketAddr,
    ca_pem: &str,
    manner: Manner,
    count: usize,
) -> std::io::Result<()> {
    let (near_read, mut near_write) = tokio::io::split(near);
    let (far_read, mut far_write) = tokio::io::split(tls(to, ca_pem).await?);
    let (mut near_read, mut far_read) = (BufReader::new(near_read), BufReader::new(far_read));
    if manner == Manner::Fails && count.is_multiple_of(4) {
        let _ = head(&mut near_read).await;
        let bad = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 13\r\nconnection: close\r\n\r\n<html></html>";
        near_write.write_all(bad.as_bytes()).await?;
        return near_write.shutdown().await;
    }
    let up = async {
        while let Some(lines) = head(&mut near_read).await {
            let mut length = 0;
            for line in &lines {
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap_or(0);
                }
                let meddles = !matches!(manner, Manner::Passes | Manner::Holds);
                let hop = lower.starts_with("upgrade:") || lower.starts_with("connection:");
                if !(meddles && hop) {
                    far_write.write_all(line.as_bytes()).await?;
                }
            }
            let mut body = (&mut near_read).take(length);
            tokio::io::copy(&mut body, &mut far_write).await?;
            far_write.flush().await?;
            let upgrades = lines
                .iter()
                .any(|line| line.to_ascii_lowercase().starts_with("upgrade:"));
            if upgrades && matches!(manner, Manner::Passes | Manner::Holds) {
                tokio::io::copy(&mut near_read, &mut far_write).await?;
            }
        }
        far_write.shutdown().await
    };
    let down = async {
        match manner {
            Manner::Passes | Manner::Strips | Manner::Fails => {
                tokio::io::copy(&mut far_read, &mut near_write).await?;
            }
            Manner::Holds => {
                let lines = head(&mut far_read).await.unwrap_or_default();
                near_write.write_all(lines.concat().as_bytes()).await?;
                near_write.flush().await?;
                if lines[0].contains(" 101 ") {
                    std::future::pending::<()>().await;
                }
                tokio::io::copy(&mut far_read, &mut near_write).await?;
            }
            Manner::KeepsBack => {
                while let Some(lines) = head(&mut far_read).await {
                    let whole = answer(&mut far_read, &lines).await?;
                    let kept = lines.iter().filter(|line| {
                        let line = line.to_ascii_lowercase();
                        !line.starts_with("transfer-encoding:")
                            && !line.starts_with("content-length:")
                            && line != "\r\n"
                    });
                    let head: String = kept.map(String::as_str).collect();
                    let length = whole.len();
                    let head = format!("{head}content-length: {length}\r\n\r\n");
                    near_write.write_all(head.as_bytes()).await?;
                    near_write.write_all(&whole).await?;
                    near_write.flush().await?;
                }
            }
        }
        near_write.shutdown().await
    };
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}

/// The whole body of an answer.
async fn answer(
    from: &mut (impl AsyncBufReadExt + Unpin),
    head: &[String],
) -> std::io::Result<Vec<u8>> {
    let mut whole = Vec::new();
    let find = |name: &str| {
        let mut lines = head.iter().map(|line| line.to_ascii_lowercase());
        lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    if let Some(length) = find("content-length:") {
        let length: usize = length.parse().unwrap_or(0);
        whole.resize(length, 0);
        from.read_exact(&mut whole).await?;
        return Ok(whole);
    }
    if find("transfer-encoding:").is_none() {
        return Ok(whole);
    }
    loop {
        let mut size = String::new();
        if from.read_line(&mut size).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let mut chunk = vec![0; size + 2];
        from.read_exact(&mut chunk).await?;
        if size == 0 {
            return Ok(whole);
        }
        whole.extend_from_slice(&chunk[..size]);
    }
}
