//! A real agent whose gateways leave one after another (P-42, P-43), behind one address.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::Full;
use pipeops_agent::agent::Agent;
use pipeops_agent::gateway::{Grant, TokenFile};
use pipeops_agent::status::{Phase, Status};
use pipeops_agent::tasks::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::gateway::rig::{Rig, collected, request, rig};
use crate::resume::settings;
use crate::support::apiserver::{ApiServer, Peer, Then, answer};
use crate::support::soon;

const PODS: &str = "/clusters/prod/k8s/api/v1/namespaces/d/pods";

/// Carries each connection to where it leads when it comes.
async fn front(to: watch::Receiver<SocketAddr>, tasks: &Tasks) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let spawner = tasks.clone();
    tasks.spawn("front", async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let to = *to.borrow();
            spawner.spawn("carried", async move {
                if let Ok(mut far) = TcpStream::connect(to).await {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    address
}

/// A watch that says a line and ends when it is told to, and plain answers.
async fn server(tasks: &Tasks, end: watch::Receiver<bool>) -> ApiServer {
    ApiServer::start(tasks, move |seen, mut peer: Peer| {
        let mut end = end.clone();
        async move {
            if seen.target.contains("watch=1") {
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nfirst\n\r\n";
                peer.send(head).await;
                let _ = end.wait_for(|end| *end).await;
                peer.send("5\r\nlast\n\r\n0\r\n\r\n").await;
                return (peer, Then::KeepAlive);
            }
            peer.send(answer("200 OK", "", "{}")).await;
            (peer, Then::KeepAlive)
        }
    })
    .await
}

/// Two gateways with the same tokens, and an agent at the first.
struct Pair {
    first: Rig,
    second: Rig,
    to: watch::Sender<SocketAddr>,
    user: String,
    status: Status,
    stop: CancellationToken,
    files: [PathBuf; 2],
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.stop.cancel();
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
    }
}

impl Pair {
    async fn new(server: &ApiServer, tasks: &Tasks) -> Self {
        let name = format!("pipeops-it-moving-{:016x}", rand::random::<u64>());
        let tokens = TokenFile::new(std::env::temp_dir().join(&name));
        let agent = Grant::Agent {
            cluster: "prod".into(),
        };
        let token = tokens.add(agent).unwrap();
        let user = Grant::User {
            name: "alice".into(),
            groups: Vec::new(),
            clusters: vec!["*".into()],
        };
        let user = tokens.add(user).unwrap();
        let gateway = || {
            rig(|config| {
                config.token_file = Some(tokens.clone());
                config.grace = Duration::from_secs(8);
            })
        };
        let (first, second) = (gateway(), gateway());
        let (to, leads) = watch::channel(first.address);
        let front = front(leads, tasks).await;
        let ca = std::env::temp_dir().join(format!("{name}-ca"));
        std::fs::write(&ca, format!("{}{}", first.ca_pem, second.ca_pem)).unwrap();
        let stop = CancellationToken::new();
        let agent = Agent::start(settings(front, &token, &ca, server))
            .await
            .unwrap();
        let status = agent.status();
        tasks.spawn("agent", agent.run(stop.clone()));
        let files = [tokens.path().to_owned(), ca];
        let pair = Self {
            first,
            second,
            to,
            user,
            status,
            stop,
            files,
        };
        pair.sessions(1).await;
        pair
    }

    /// Waits until the agent has had so many sessions, and is connected.
    async fn sessions(&self, count: u64) {
        let mut watch = self.status.watch();
        soon(watch.wait_for(|now| now.sessions == count && now.phase == Phase::Connected))
            .await
            .unwrap();
    }

    async fn pods(&self, rig: &Rig) -> StatusCode {
        rig.get(PODS, &self.user).await.status
    }
}

/// Whether anybody takes connections there.
async fn listens(rig: &Rig) -> bool {
    TcpStream::connect(rig.address).await.is_ok()
}

#[tokio::test]
async fn an_agent_moves_to_the_next_gateway_while_what_runs_goes_on() {
    let tasks = Tasks::new();
    let (end, ends) = watch::channel(false);
    let server = server(&tasks, ends).await;
    let pair = Pair::new(&server, &tasks).await;
    let mut caller = pair.first.caller().await;
    let asking = request(&Method::GET, &format!("{PODS}?watch=1"), &pair.user);
    let watch = caller.send(asking.body(Full::default()).unwrap()).await;
    assert_eq!(watch.status(), StatusCode::OK);
    let mut idle = pair.first.caller().await;
    assert_eq!(idle.get("/ready", "").await.status, StatusCode::OK);

    pair.to.send_replace(pair.second.address);
    pair.first.stop.cancel();
    pair.sessions(2).await;
    assert_eq!(pair.pods(&pair.second).await, StatusCode::OK);

    // The first one says to whoever asks that it leaves, and nobody is cut off.
    let ready = idle.get("/ready", "").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.headers["connection"], "close");
    let refused = pair.first.get(PODS, &pair.user).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(pair.status.running().borrow().running.len(), 1);
    end.send_replace(true);
    assert_eq!(collected(watch).await.body.unwrap(), "first\nlast\n");
    soon(async {
        while listens(&pair.first).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(pair.status.snapshot().sessions, 2);
    assert_eq!(pair.status.snapshot().phase, Phase::Connected);
}

#[tokio::test]
async fn an_agent_that_stops_ends_what_it_moved_away_from_too() {
    let tasks = Tasks::new();
    let (_end, ends) = watch::channel(false);
    let server = server(&tasks, ends).await;
    let pair = Pair::new(&server, &tasks).await;
    let mut caller = pair.first.caller().await;
    let asking = request(&Method::GET, &format!("{PODS}?watch=1"), &pair.user);
    let watch = caller.send(asking.body(Full::default()).unwrap()).await;
    pair.to.send_replace(pair.second.address);
    pair.first.stop.cancel();
    pair.sessions(2).await;
    let mut stopped = pair.status.watch();
    pair.stop.cancel();
    soon(stopped.wait_for(|now| now.phase == Phase::Stopped))
        .await
        .unwrap();
    // The agent's grace of half a second is over: its command was ended, on both sides.
    assert!(collected(watch).await.body.is_err());
    assert!(pair.status.running().borrow().running.is_empty());
}
