//! The uplink through proxies on loopback that speak `CONNECT`: let through, wanting credentials,
//! denying, reached by TLS, misbehaving.
//!
//! Owns a small proxy that really tunnels. The real squid stands in
//! `tests/cluster/checks/67-proxies`.

use std::sync::Arc;

use pipeops_agent::config::proxy::Proxy;
use pipeops_agent::gateway::tls::dev::DevCertificate;
use pipeops_agent::status::Phase;
use pipeops_agent::tasks::Tasks;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::peer::{Peer, Reply, Versions, acceptor, registered};
use super::{Scratch, start_with};

/// What the proxy does with a request.
#[derive(Clone)]
enum Manner {
    /// Tunnels.
    Open,
    /// Tunnels for who sends this, and otherwise answers 407.
    Wants(&'static str),
    /// Answers so.
    Says(String),
    /// Tunnels, and speaks in the tunnel at once.
    Babbles,
}

/// A proxy that listens until its test ends.
struct Middle {
    address: std::net::SocketAddr,
    heads: mpsc::Receiver<String>,
    tasks: Tasks,
}

impl Drop for Middle {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Middle {
    fn start(manner: Manner, tls: Option<TlsAcceptor>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket of ours");
        let address = listener.local_addr().expect("an address");
        let listener = TcpListener::from_std(listener).expect("a socket of ours");
        let (seen, heads) = mpsc::channel(64);
        let tasks = Tasks::new();
        let (all, stop) = (tasks.clone(), tasks.stopping());
        let accepting = async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (manner, seen, tls) = (manner.clone(), seen.clone(), tls.clone());
                let stop = all.stopping();
                all.spawn_logged("proxy", async move {
                    let serving = async {
                        match tls {
                            None => serve(socket, manner, seen).await,
                            Some(tls) => {
                                let Ok(socket) = tls.accept(socket).await else {
                                    return;
                                };
                                serve(socket, manner, seen).await;
                            }
                        }
                    };
                    stop.run_until_cancelled(serving).await;
                });
            }
        };
        tasks.spawn_logged("proxy", async move {
            stop.run_until_cancelled(accepting).await;
        });
        Self {
            address,
            heads,
            tasks,
        }
    }

    fn url(&self, user: &str) -> String {
        format!("http://{user}{}", self.address)
    }
}

async fn serve<S>(mut from: S, manner: Manner, seen: mpsc::Sender<String>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if !matches!(from.read(&mut byte).await, Ok(1)) || head.len() > 8192 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let wanted = |value: &str| head.contains(&format!("proxy-authorization: {value}\r\n"));
    let says = match &manner {
        Manner::Open | Manner::Babbles => None,
        Manner::Wants(value) if wanted(value) => None,
        Manner::Wants(_) => Some(
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\
             Content-Length: 0\r\n\r\n"
                .to_owned(),
        ),
        Manner::Says(answer) => Some(answer.clone()),
    };
    let _ = seen.send(head).await;
    if let Some(answer) = says {
        let _ = from.write_all(answer.as_bytes()).await;
        let _ = from.shutdown().await;
        return;
    }
    let Ok(mut to) = TcpStream::connect(&target).await else {
        return;
    };
    let mut yes = b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec();
    if matches!(manner, Manner::Babbles) {
        yes.extend_from_slice(b"SSH-2.0-hello\r\n");
    }
    if from.write_all(&yes).await.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
    }
}

fn gateway() -> Peer {
    Peer::start(|_, head| match head.path() {
        "/register" => registered(),
        _ => Reply::session(1_000),
    })
}

#[tokio::test]
async fn the_channel_goes_through_a_proxy_that_sees_only_name_and_port() {
    let (peer, mut middle) = (gateway(), Middle::start(Manner::Open, None));
    let proxy = Proxy::parse(&middle.url("")).expect("a proxy");
    let agent = start_with(&peer, &peer.ca_pem, |config| config.proxy = Some(proxy));
    agent.until(|now| now.phase == Phase::Connected).await;
    let target = peer.url.trim_start_matches("https://").to_owned();
    for _ in ["registration", "channel"] {
        let head = middle.heads.recv().await.expect("a request");
        assert!(
            head.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")),
            "{head}"
        );
        assert!(
            !head.contains("t0ken") && !head.contains("uthorization"),
            "{head}"
        );
    }
    agent.stop().await;
}

#[tokio::test]
async fn credentials_come_from_the_url_or_a_file_that_is_read_again() {
    let manner = Manner::Wants("Basic dXNlcjpwQHNz");
    let (peer, middle) = (gateway(), Middle::start(manner, None));
    let proxy = Proxy::parse(&middle.url("user:p%40ss@")).expect("a proxy");
    let agent = start_with(&peer, &peer.ca_pem, |config| config.proxy = Some(proxy));
    agent.until(|now| now.phase == Phase::Connected).await;
    agent.stop().await;

    let file = Scratch::new("user:wrong\n");
    let proxy = Proxy::parse(&middle.url("")).expect("a proxy");
    let proxy = proxy.with_credentials_file(file.0.clone());
    let agent = start_with(&peer, &peer.ca_pem, |config| config.proxy = Some(proxy));
    let failed = agent.until(|now| now.last_error.is_some()).await;
    let error = failed.last_error.expect("just waited for");
    assert_eq!(error.cause, "proxy_unauthorized");
    assert!(
        error.message.contains("those that were sent are refused"),
        "{}",
        error.message
    );
    assert!(!error.message.contains("wrong"), "{}", error.message);
    agent.stop().await;
    file.replace("user:p@ss\n");
    let proxy = Proxy::parse(&middle.url("")).expect("a proxy");
    let proxy = proxy.with_credentials_file(file.0.clone());
    let agent = start_with(&peer, &peer.ca_pem, |config| config.proxy = Some(proxy));
    agent.until(|now| now.phase == Phase::Connected).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_proxy_that_makes_no_tunnel_is_named_with_what_it_says() {
    let denies = "HTTP/1.1 403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\n\
                  Content-Length: 9\r\n\r\n<html>no!";
    for (manner, cause, said) in [
        (
            Manner::Says(denies.into()),
            "proxy",
            "403 Forbidden (ERR_ACCESS_DENIED)",
        ),
        (
            Manner::Says("SSH-2.0-x\r\n".into()),
            "proxy",
            "does not answer in HTTP",
        ),
        (
            Manner::Says(String::new()),
            "proxy",
            "does not answer in HTTP",
        ),
        (
            Manner::Says(format!(
                "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
                "x".repeat(20_000)
            )),
            "proxy",
            "does not answer in HTTP",
        ),
        (
            Manner::Babbles,
            "proxy",
            "something spoke in the tunnel before us",
        ),
        (
            Manner::Wants("Basic x"),
            "proxy_unauthorized",
            "it wants credentials (Basic)",
        ),
    ] {
        let (peer, middle) = (gateway(), Middle::start(manner, None));
        let proxy = Proxy::parse(&middle.url("")).expect("a proxy");
        let agent = start_with(&peer, &peer.ca_pem, |config| config.proxy = Some(proxy));
        let failed = agent.until(|now| now.last_error.is_some()).await;
        let error = failed.last_error.expect("just waited for");
        assert_eq!(error.cause, cause, "{}", error.message);
        assert!(error.message.contains(said), "{}", error.message);
        assert!(
            error.message.contains(&middle.address.to_string()),
            "{}",
            error.message
        );
        agent.stop().await;
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_not_mistaken_for_the_control_plane() {
    let peer = gateway();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    let proxy = Proxy::parse(&format!("http://{address}")).expect("a proxy");
    let agent = start_with(&peer, &peer.ca_pem, |config| config.proxy = Some(proxy));
    assert_eq!(agent.cause().await, "proxy");
    agent.stop().await;
}

#[tokio::test]
async fn a_proxy_may_be_reached_by_tls_even_of_version_1_2() {
    for versions in [Versions::All, Versions::Tls12] {
        let peer = gateway();
        let certificate = DevCertificate::make(&["127.0.0.1"]).expect("a certificate");
        let tls = acceptor(&certificate, versions);
        let middle = Middle::start(Manner::Open, Some(tls));
        let proxy = format!("https://{}", middle.address);
        let proxy = Arc::new(Proxy::parse(&proxy).expect("a proxy"));
        let ca = format!("{}{}", peer.ca_pem, certificate.ca_pem);
        let with = |ca: &str| {
            let proxy = Proxy::clone(&proxy);
            start_with(&peer, ca, |config| config.proxy = Some(proxy))
        };
        let agent = with(&ca);
        agent.until(|now| now.phase == Phase::Connected).await;
        agent.stop().await;
        let agent = with(&peer.ca_pem);
        let failed = agent.until(|now| now.last_error.is_some()).await;
        let error = failed.last_error.expect("just waited for");
        assert_eq!(error.cause, "proxy");
        assert!(
            error.message.contains("is not trusted"),
            "{}",
            error.message
        );
        agent.stop().await;
    }
}
