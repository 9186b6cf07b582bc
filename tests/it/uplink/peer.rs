//! A scripted gateway: TLS on loopback, one reply a connection, everything recorded.
//!
//! Owns reading heads and the WebSocket upgrade. What is answered is the test's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt, StreamExt};
use pipeops_agent::gateway::tls::dev::DevCertificate;
use pipeops_agent::tasks::Tasks;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::SOON;

/// The head of a request and what came with it.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Head {
    pub(crate) fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What a connection gets.
pub(crate) enum Reply {
    /// These bytes, and then the end.
    Raw(String),
    /// Nothing, for ever.
    Silence,
    /// An upgrade, and after `hello` these messages; then it is cut, or echoes pings until the end.
    Channel { says: Vec<String>, cut: bool },
}

impl Reply {
    pub(crate) fn raw(text: String) -> Self {
        Self::Raw(text)
    }

    pub(crate) fn silence() -> Self {
        Self::Silence
    }

    pub(crate) fn status(status: &str) -> Self {
        Self::Raw(answer(status, "application/json", ""))
    }

    /// A whole session, whose times are these milliseconds.
    pub(crate) fn session(ms: u64) -> Self {
        Self::says(&welcome(ms))
    }

    pub(crate) fn says(message: &str) -> Self {
        Self::Channel {
            says: vec![message.to_owned()],
            cut: false,
        }
    }

    pub(crate) fn cut_after(message: String) -> Self {
        Self::Channel {
            says: vec![message],
            cut: true,
        }
    }

    pub(crate) fn upgrade_without_protocol(head: &Head) -> Self {
        Self::Raw(switching(head, ""))
    }
}

fn switching(head: &Head, more: &str) -> String {
    let key = head.header("sec-websocket-key").unwrap_or_default();
    let accept = derive_accept_key(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{more}\r\n"
    )
}

pub(crate) fn answer(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}")
}

pub(crate) fn registered() -> Reply {
    let body = r#"{"cluster_id":"it","channels":["/channel"],"reconnect":{"first_ms":100,"cap_ms":60000}}"#;
    Reply::Raw(answer("200 OK", "application/json", body))
}

pub(crate) fn welcome(ms: u64) -> String {
    format!(
        r#"{{"type":"welcome","session":"s-1","features":["binary"],"heartbeat_ms":{ms},"ping":{{"every_ms":15000,"within_ms":10000}},"reconnect":{{"first_ms":{ms},"cap_ms":60000}},"role":"primary"}}"#
    )
}

/// The TLS that the peer speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Versions {
    All,
    Tls12,
}

/// A gateway that listens until its test ends.
pub(crate) struct Peer {
    pub(crate) url: String,
    pub(crate) ca_pem: String,
    heads: mpsc::Receiver<Head>,
    messages: mpsc::Receiver<serde_json::Value>,
    tasks: Tasks,
}

type Script = Arc<dyn Fn(usize, &Head) -> Reply + Send + Sync>;

impl Drop for Peer {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Peer {
    pub(crate) fn start(script: impl Fn(usize, &Head) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(Versions::All, script)
    }

    /// The script gets the connection's number, from 1, and its head.
    pub(crate) fn start_with(
        versions: Versions,
        script: impl Fn(usize, &Head) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let certificate = DevCertificate::make(&["127.0.0.1"]).expect("a certificate");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket of ours");
        let address = listener.local_addr().expect("an address");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket of ours");
        let acceptor = acceptor(&certificate, versions);
        let (tasks, script): (_, Script) = (Tasks::new(), Arc::new(script));
        let (seen, heads) = mpsc::channel(64);
        let (said, messages) = mpsc::channel(256);
        let (all, stop) = (tasks.clone(), tasks.stopping());
        let accepting = async move {
            let connections = Arc::new(AtomicUsize::new(0));
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, script) = (acceptor.clone(), Arc::clone(&script));
                let (seen, said) = (seen.clone(), said.clone());
                let connections = Arc::clone(&connections);
                let stop = all.stopping();
                all.spawn_logged("peer", async move {
                    let serving = async {
                        let Ok(mut io) = acceptor.accept(socket).await else {
                            return;
                        };
                        let Some(head) = head(&mut io).await else {
                            return;
                        };
                        let number = connections.fetch_add(1, Ordering::SeqCst) + 1;
                        let reply = script(number, &head);
                        let _ = seen.send(head.clone()).await;
                        serve(io, &head, reply, &said).await;
                    };
                    stop.run_until_cancelled(serving).await;
                });
            }
        };
        tasks.spawn_logged("peer", async move {
            stop.run_until_cancelled(accepting).await;
        });
        Self {
            url: format!("https://{address}"),
            ca_pem: certificate.ca_pem,
            heads,
            messages,
            tasks,
        }
    }

    /// The next request's head.
    pub(crate) async fn seen(&mut self) -> Head {
        let head = timeout(SOON, self.heads.recv()).await;
        head.expect("a request in time").expect("the peer lives")
    }

    /// Whether no request came since the last look.
    pub(crate) fn nothing_seen(&mut self) -> bool {
        self.heads.try_recv().is_err()
    }

    /// The agent's next message.
    pub(crate) async fn message(&mut self) -> serde_json::Value {
        let message = timeout(SOON, self.messages.recv()).await;
        message.expect("a message in time").expect("the peer lives")
    }

    /// The agent's next message of this type; others are skipped.
    pub(crate) async fn message_of(&mut self, kind: &str) -> serde_json::Value {
        loop {
            let message = self.message().await;
            if message["type"] == kind {
                return message;
            }
        }
    }
}

pub(crate) fn acceptor(certificate: &DevCertificate, versions: Versions) -> TlsAcceptor {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes())
        .collect::<Result<_, _>>()
        .expect("PEM");
    let key =
        PrivateKeyDer::from_pem_slice(certificate.key_pem.expose_secret().as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions: &[_] = match versions {
        Versions::All => rustls::ALL_VERSIONS,
        Versions::Tls12 => &[&rustls::version::TLS12],
    };
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate");
    TlsAcceptor::from(Arc::new(config))
}

async fn head(io: &mut TlsStream<TcpStream>) -> Option<Head> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(io.read_u8().await.ok()?);
    }
    let text = String::from_utf8(bytes).ok()?;
    let mut lines = text.lines();
    let line = lines.next()?.to_owned();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    io.read_exact(&mut body).await.ok()?;
    Some(Head {
        line,
        headers,
        body,
    })
}

async fn serve(
    mut io: TlsStream<TcpStream>,
    head: &Head,
    reply: Reply,
    said: &mpsc::Sender<serde_json::Value>,
) {
    match reply {
        Reply::Raw(text) => {
            let _ = io.write_all(text.as_bytes()).await;
            let _ = io.shutdown().await;
        }
        Reply::Silence => std::future::pending().await,
        Reply::Channel { says, cut } => {
            let upgrade = switching(head, "Sec-WebSocket-Protocol: pipeops.agent.v2\r\n");
            let _ = io.write_all(upgrade.as_bytes()).await;
            let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
            let mut says = Some(says);
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else {
                    continue;
                };
                let message: serde_json::Value =
                    serde_json::from_str(text.as_str()).expect("the agent speaks JSON");
                let ping = (message["type"] == "ping").then(|| message["nonce"].clone());
                let _ = said.send(message).await;
                for text in says.take().into_iter().flatten() {
                    let _ = socket.send(Message::text(text)).await;
                    if cut {
                        return;
                    }
                }
                if let Some(nonce) = ping {
                    let pong = serde_json::json!({"type": "pong", "nonce": nonce});
                    let _ = socket.send(Message::text(pong.to_string())).await;
                }
            }
        }
    }
}
