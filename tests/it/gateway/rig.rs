//! A bound gateway, callers that speak HTTP/1.1 to it, and agents that speak the protocol by hand.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use pipeops_agent::gateway::tls::dev::DevCertificate;
use pipeops_agent::gateway::{Config, Gateway, Tokens};
use pipeops_agent::tasks::Tasks;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;

use crate::support::soon;

/// A gateway that runs until this is dropped.
pub(crate) struct Rig {
    pub(crate) address: SocketAddr,
    pub(crate) tokens: Tokens,
    pub(crate) ca_pem: String,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: Tasks,
    /// Ends when the gateway has left.
    pub(crate) run: tokio::task::JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A gateway on any port, with a certificate of its own.
pub(crate) fn rig(tune: impl FnOnce(&mut Config)) -> Rig {
    let made = DevCertificate::make(&["localhost", "127.0.0.1"]).unwrap();
    let mut config = Config::new(made.certificate());
    config.listen = ([127, 0, 0, 1], 0).into();
    config.ca_pem = Some(made.ca_pem.clone());
    config.grace = std::time::Duration::from_millis(300);
    tune(&mut config);
    let gateway = Gateway::bind(config).unwrap();
    let address = gateway.local_addr().unwrap();
    let tokens = gateway.tokens();
    let stop = CancellationToken::new();
    let tasks = Tasks::new();
    let run = tasks.spawn("gateway", gateway.run(stop.clone()));
    Rig {
        address,
        tokens,
        ca_pem: made.ca_pem,
        stop,
        tasks,
        run,
    }
}

/// A TLS connection to `address` that trusts this CA.
pub(crate) async fn tls(
    address: SocketAddr,
    ca_pem: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The body's bytes, or that it broke off.
    pub(crate) body: Result<Bytes, ()>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(self.body.as_ref().unwrap()).unwrap()
    }

    /// The hop that a `Status` names.
    pub(crate) fn hop(&self) -> String {
        let status = self.json();
        status["details"]["causes"][0]["reason"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

/// A caller's connection.
pub(crate) struct Caller {
    sender: SendRequest<Full<Bytes>>,
}

impl Rig {
    pub(crate) async fn caller(&self) -> Caller {
        let io = TokioIo::new(tls(self.address, &self.ca_pem).await.unwrap());
        let (sender, connection) = http1::handshake(io).await.unwrap();
        self.tasks.spawn("caller", async move {
            let _ = connection.with_upgrades().await;
        });
        Caller { sender }
    }

    /// One request on a connection of its own.
    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.caller().await.get(path, token).await
    }
}

pub(crate) fn request(method: &Method, path: &str, token: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "gateway.test")
        .header("authorization", format!("Bearer {token}"))
}

pub(crate) async fn collected(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let body = soon(body.collect()).await;
    Answer {
        status: head.status,
        headers: head.headers,
        body: body.map(|body| body.to_bytes()).map_err(drop),
    }
}

impl Caller {
    /// The answer's head.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        soon(async {
            self.sender.ready().await.unwrap();
            self.sender.send_request(request).await.unwrap()
        })
        .await
    }

    pub(crate) async fn get(&mut self, path: &str, token: &str) -> Answer {
        let request = request(&Method::GET, path, token).body(Full::default());
        collected(self.send(request.unwrap()).await).await
    }

    pub(crate) async fn post(&mut self, path: &str, token: &str, body: impl Into<Bytes>) -> Answer {
        let request = request(&Method::POST, path, token).body(Full::new(body.into()));
        collected(self.send(request.unwrap()).await).await
    }
}

/// A registration's body, or a `hello`.
pub(crate) fn hello(instance: &str, uid: &str) -> Value {
    json!({
        "type": "hello",
        "protocols": ["pipeops.agent.v9", "pipeops.agent.v2"],
        "agent": { "id": "c-1", "instance": instance, "epoch": 1, "version": "0.0.1" },
        "cluster": { "name": "prod", "uid": uid, "labels": { "region": "eu" } },
        "features": ["binary", "zstd"],
        "window": 262_144,
        "max_streams": 100,
    })
}

/// An agent that speaks by hand.
pub(crate) struct Agent {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    /// What the gateway answered to `hello`.
    pub(crate) welcome: Value,
}

/// A text message or a frame.
#[derive(Debug)]
pub(crate) enum Said {
    Text(Value),
    Frame(Bytes),
    /// The close code.
    Closed(Option<u16>),
}

impl Said {
    pub(crate) fn closed(&self) -> Option<u16> {
        match self {
            Self::Closed(code) => *code,
            other => panic!("not a close: {other:?}"),
        }
    }

    pub(crate) fn text(self) -> Value {
        match self {
            Self::Text(text) => text,
            other => panic!("not a text message: {other:?}"),
        }
    }
}

impl Rig {
    /// The channel's upgrade, and nothing else.
    pub(crate) async fn channel(
        &self,
        token: &str,
        protocol: &'static str,
    ) -> Result<Agent, tungstenite::Error> {
        let mut request = format!("wss://localhost:{}/channel", self.address.port())
            .into_client_request()
            .unwrap();
        let headers = request.headers_mut();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        headers.insert("sec-websocket-protocol", protocol.parse().unwrap());
        let io = tls(self.address, &self.ca_pem).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(request, io).await?;
        Ok(Agent {
            socket,
            welcome: Value::Null,
        })
    }

    /// An agent whose `hello` was answered, by `welcome` or `refused`.
    pub(crate) async fn agent_saying(&self, token: &str, hello: &Value) -> Agent {
        let mut agent = soon(self.channel(token, "pipeops.agent.v2")).await.unwrap();
        agent.say(hello).await;
        agent.welcome = agent.hear().await.text();
        agent
    }

    /// A connected agent, which has reported.
    pub(crate) async fn agent(&self, token: &str, instance: &str) -> Agent {
        let mut agent = self.agent_saying(token, &hello(instance, "uid-1")).await;
        assert_eq!(agent.welcome["type"], "welcome", "{}", agent.welcome);
        agent
            .say(&json!({
                "type": "report", "seq": 1, "ready": true, "api_server": true,
                "cluster_uid": "uid-1", "kubernetes": "v1.36.0", "access": "admin",
                "commands": ["k8s.request", "channel.echo"],
            }))
            .await;
        // Its own last session may have been the primary.
        let mut ack = agent.hear().await.text();
        if ack["type"] == "role" {
            ack = agent.hear().await.text();
        }
        assert_eq!(ack["report"], 1);
        agent
    }
}

impl Agent {
    pub(crate) async fn say(&mut self, message: &Value) {
        self.send(Message::text(message.to_string())).await;
    }

    pub(crate) async fn send(&mut self, message: Message) {
        soon(self.socket.send(message)).await.unwrap();
    }

    /// What comes next; pings are answered on the way.
    pub(crate) async fn hear(&mut self) -> Said {
        soon(async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        let mut message: Value = serde_json::from_str(&text).unwrap();
                        if message["type"] == "ping" {
                            message["type"] = json!("pong");
                            let pong = Message::text(message.to_string());
                            self.socket.send(pong).await.unwrap();
                            continue;
                        }
                        return Said::Text(message);
                    }
                    Some(Ok(Message::Binary(frame))) => return Said::Frame(frame),
                    Some(Ok(Message::Close(frame))) => {
                        return Said::Closed(frame.map(|frame| frame.code.into()));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Said::Closed(None),
                }
            }
        })
        .await
    }

    /// The next command that is opened.
    pub(crate) async fn opened(&mut self) -> Value {
        loop {
            if let Said::Text(message) = self.hear().await
                && message["type"] == "open"
            {
                return message;
            }
        }
    }

    pub(crate) async fn head(&mut self, stream: &Value, status: u16, headers: &[(&str, &str)]) {
        let head = json!({ "head": { "status": status, "headers": headers } });
        self.say(&json!({ "type": "event", "stream": stream, "event": head }))
            .await;
    }

    pub(crate) async fn data(&mut self, stream: &Value, bytes: &[u8], fin: bool) {
        let id = u32::try_from(stream.as_u64().unwrap()).unwrap();
        let mut frame = vec![1, u8::from(fin), 0, 0];
        frame.extend(id.to_be_bytes());
        frame.extend(bytes);
        self.send(Message::binary(frame)).await;
    }

    pub(crate) async fn end(&mut self, stream: &Value) {
        self.say(&json!({ "type": "end", "stream": stream })).await;
    }

    pub(crate) async fn fail(&mut self, stream: &Value, code: &str) {
        let error = json!({ "code": code, "message": "so it is" });
        self.say(&json!({ "type": "end", "stream": stream, "error": error }))
            .await;
    }

    /// A whole answer of 200.
    pub(crate) async fn answer(&mut self, stream: &Value, body: &[u8]) {
        self.head(stream, 200, &[("content-type", "application/json")])
            .await;
        self.data(stream, body, true).await;
        self.end(stream).await;
    }
}
