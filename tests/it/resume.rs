//! A real agent and a real gateway over a channel that is cut in the middle (P-75 to P-79).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use pipeops_agent::agent::{Agent, Settings};
use pipeops_agent::cluster::{self, Credentials};
use pipeops_agent::config::secret::{Secret, SecretSource};
use pipeops_agent::config::value::ApiUrl;
use pipeops_agent::policy::Access;
use pipeops_agent::protocol::hello::ReconnectWindow;
use pipeops_agent::status::Status;
use pipeops_agent::tasks::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::gateway::rig::{Rig, collected, request, rig};
use crate::support::apiserver::{ApiServer, Peer, Then, answer};
use crate::support::{eventually, soon};

const PODS: &str = "/clusters/prod/k8s/api/v1/namespaces/d/pods";

/// Carries connections to `to` until they are cut.
pub(crate) struct Relay {
    address: SocketAddr,
    cut: watch::Sender<u64>,
}

impl Relay {
    async fn start(to: SocketAddr, tasks: &Tasks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, cuts) = watch::channel(0);
        let spawner = tasks.clone();
        tasks.spawn("relay", async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cuts = cuts.clone();
                cuts.mark_unchanged();
                spawner.spawn("carried", async move {
                    let mut far = TcpStream::connect(to).await.unwrap();
                    tokio::select! {
                        biased;
                        _ = cuts.changed() => {
                            // An RST: what is in the sockets is lost.
                            let _ = near.set_zero_linger();
                            let _ = far.set_zero_linger();
                        }
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    }
                });
            }
        });
        Self { address, cut }
    }

    pub(crate) fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

/// An agent that reaches its gateway at `gateway`, and whose API server is the scripted one.
pub(crate) fn settings(
    gateway: SocketAddr,
    token: &str,
    ca: &Path,
    server: &ApiServer,
) -> Settings {
    Settings {
        api_url: ApiUrl::parse(&format!("https://localhost:{}", gateway.port())).unwrap(),
        token: SecretSource::Given(Secret::token(token).unwrap()),
        ca_file: Some(ca.to_owned()),
        transports: Default::default(),
        binary: true,
        proxy: None,
        exit_when_refused: true,
        cluster_name: "prod".into(),
        labels: Default::default(),
        agent_id: Some("a-1".into()),
        cluster: cluster::Config {
            credentials: Credentials::Direct {
                url: format!("http://{}", server.address).parse().unwrap(),
                ca_pem: None,
                token: Some("agent-token".to_owned().into()),
            },
        },
        access: Access::Admin,
        impersonate: false,
        local: None,
        extensions: Default::default(),
        grace: Duration::from_millis(500),
        pod: None,
    }
}

pub(crate) struct Tunnel {
    pub(crate) rig: Rig,
    pub(crate) relay: Relay,
    pub(crate) user: String,
    pub(crate) token: String,
    pub(crate) status: Status,
    stop: CancellationToken,
    ca: PathBuf,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = std::fs::remove_file(&self.ca);
    }
}

impl Tunnel {
    async fn new(server: &ApiServer, tasks: &Tasks) -> Self {
        Self::with(server, tasks, |_| ()).await
    }

    /// One whose agent is told something else.
    pub(crate) async fn with(
        server: &ApiServer,
        tasks: &Tasks,
        tell: impl FnOnce(&mut Settings),
    ) -> Self {
        Self::behind(server, tasks, async |_, settings| tell(settings)).await
    }

    /// One with something before its gateway.
    pub(crate) async fn behind(
        server: &ApiServer,
        tasks: &Tasks,
        tell: impl AsyncFnOnce(&Rig, &mut Settings),
    ) -> Self {
        let rig = rig(|config| {
            config.reconnect = Some(ReconnectWindow {
                first_ms: 10,
                cap_ms: 500,
            });
        });
        let relay = Relay::start(rig.address, tasks).await;
        let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
        let ca = std::env::temp_dir().join(format!(
            "pipeops-it-resume-{}-{}",
            std::process::id(),
            relay.address.port()
        ));
        std::fs::write(&ca, &rig.ca_pem).unwrap();
        let token = rig.tokens.add_agent("prod").unwrap();
        let stop = CancellationToken::new();
        let mut settings = settings(relay.address, &token, &ca, server);
        tell(&rig, &mut settings).await;
        let agent = Agent::start(settings).await.unwrap();
        let status = agent.status();
        tasks.spawn("agent", agent.run(stop.clone()));
        let tunnel = Self {
            rig,
            relay,
            user,
            token,
            status,
            stop,
            ca,
        };
        tunnel.connected().await;
        tunnel
    }

    async fn state(&self) -> String {
        let all = self.rig.get("/clusters", &self.user).await.json();
        all["clusters"][0]["state"].as_str().unwrap().to_owned()
    }

    async fn connected(&self) {
        soon(async {
            while self.state().await != "connected" {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

const LINES: usize = 600;

fn line(number: usize) -> String {
    format!("{number:08} {}\n", "x".repeat(number % 300))
}

/// A watch and a followed log of so many lines, a list that never ends, and an exec.
async fn server(tasks: &Tasks) -> ApiServer {
    ApiServer::start(tasks, async |seen, mut peer: Peer| {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        if seen.target.contains("watch=1") || seen.target.contains("follow=true") {
            peer.send(chunked).await;
            for number in 0..LINES {
                let line = line(number);
                peer.send(format!("{:x}\r\n{line}\r\n", line.len())).await;
                if number % 7 == 0 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            peer.send("0\r\n\r\n").await;
            return (peer, Then::KeepAlive);
        }
        if seen.target.ends_with("/exec") {
            let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                        upgrade: SPDY/3.1\r\n\r\n";
            peer.send(head).await;
            peer.closed().await;
            return (peer, Then::Close);
        }
        if seen.target.ends_with("/pods") {
            peer.send(format!("{chunked}5\r\nfirst\r\n")).await;
            peer.closed().await;
            return (peer, Then::Close);
        }
        peer.send(answer("404 Not Found", "", "{}")).await;
        (peer, Then::KeepAlive)
    })
    .await
}

fn asked(server: &ApiServer, what: &str) -> usize {
    let seen = server.seen();
    seen.iter().filter(|one| one.target.contains(what)).count()
}

#[tokio::test]
async fn a_watch_and_a_log_go_on_over_a_channel_that_is_cut_five_times() {
    let tasks = Tasks::new();
    let server = server(&tasks).await;
    let tunnel = Arc::new(Tunnel::new(&server, &tasks).await);
    let expected: String = (0..LINES).map(line).collect();
    let follow = |path: String| {
        let tunnel = Arc::clone(&tunnel);
        tasks.spawn("follower", async move {
            let mut caller = tunnel.rig.caller().await;
            let request = request(&Method::GET, &path, &tunnel.user);
            let answer = caller.send(request.body(Full::default()).unwrap()).await;
            assert_eq!(answer.status(), StatusCode::OK);
            collected(answer).await.body
        })
    };
    let watch = follow(format!("{PODS}?watch=1"));
    let log = follow(format!("{PODS}/web/log?follow=true"));
    eventually("both have begun", || {
        asked(&server, "watch=1") + asked(&server, "follow=true") == 2
    })
    .await;
    for _ in 0..5 {
        tunnel.connected().await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        tunnel.relay.cut();
    }
    for body in [watch, log] {
        let body = soon(body).await.unwrap().expect("it did not break off");
        assert!(body == expected, "{} of {}", body.len(), expected.len());
    }
    assert_eq!(asked(&server, "watch=1") + asked(&server, "follow=true"), 2);
    let metrics = tunnel.rig.get("/metrics", &tunnel.user).await;
    let metrics = String::from_utf8(metrics.body.unwrap().to_vec()).unwrap();
    let resumed = metrics
        .lines()
        .find(|line| line.starts_with("pipeops_gateway_resumes_total{outcome=\"resumed\"}"))
        .and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok());
    assert!(resumed.is_some_and(|count| count >= 6), "{resumed:?}");
}

#[tokio::test]
async fn what_must_not_be_resumed_ends_at_once_on_both_sides() {
    let tasks = Tasks::new();
    let server = server(&tasks).await;
    let tunnel = Tunnel::new(&server, &tasks).await;
    let mut lister = tunnel.rig.caller().await;
    let list = request(&Method::GET, PODS, &tunnel.user).body(Full::default());
    let mut list = lister.send(list.unwrap()).await;
    let first = soon(list.body_mut().frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), Bytes::from_static(b"first"));
    let mut executor = tunnel.rig.caller().await;
    let exec = request(&Method::POST, &format!("{PODS}/web/exec"), &tunnel.user)
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1")
        .body(Full::default());
    let exec = executor.send(exec.unwrap()).await;
    assert_eq!(exec.status(), StatusCode::SWITCHING_PROTOCOLS);
    let upgraded = soon(hyper::upgrade::on(exec)).await.unwrap();
    let mut upgraded = hyper_util::rt::TokioIo::new(upgraded);
    // Only these two are under way; a connection for the next question may be open besides.
    let before = server.open();
    tunnel.relay.cut();
    assert!(soon(list.body_mut().frame()).await.unwrap().is_err());
    let mut rest = Vec::new();
    let _ = soon(tokio::io::AsyncReadExt::read_to_end(
        &mut upgraded,
        &mut rest,
    ))
    .await;
    assert!(rest.is_empty());
    eventually("both requests are given up", || server.open() + 2 <= before).await;
}
