//! The API server behind the agent: an oracle that counts what it carried out.
//!
//! Owns the objects that the load reads and changes, and the count of changes by name. Logs, lists
//! and watches are the kubelet's and the oracle's of `tests/it`. Its memory outlives its host.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};
use turmoil::net::TcpListener;

use crate::record::Record;
use crate::support::apiserver::{Peer, Seen, Then, answer};
use crate::support::kubelet::{self, Kubelet};

/// Its port.
pub(crate) const PORT: u16 = 6443;

/// One line a quarter of a second.
const LINE: Duration = Duration::from_millis(250);

/// Seconds since the epoch at which lines begin.
const BEGIN: i64 = 1_800_000_000;

/// The server. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Backend {
    pub(crate) kubelet: Kubelet,
    record: Record,
    done: Arc<Mutex<BTreeMap<String, u32>>>,
    written: Arc<Mutex<u64>>,
}

impl Backend {
    pub(crate) fn new(seed: u64, record: Record) -> Self {
        let kubelet = Kubelet::new(seed);
        kubelet.start("p", "main");
        let running = json!({"name": "main", "restartCount": 0, "state": {"running": {}}});
        kubelet.pod("p", "Always", "Running", &[running]);
        Self {
            kubelet,
            record,
            done: Arc::default(),
            written: Arc::default(),
        }
    }

    /// How often the change of this name was carried out.
    pub(crate) fn done(&self, name: &str) -> u32 {
        self.done.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    /// Every change, and how often it was carried out.
    pub(crate) fn all(&self) -> BTreeMap<String, u32> {
        self.done.lock().unwrap().clone()
    }

    /// What a read of this name says.
    pub(crate) fn content(name: &str) -> Value {
        let number: usize = name.trim_start_matches("read-").parse().unwrap_or(0);
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name},
               "data": {"text": name.repeat(1 + number % 4000)}})
    }

    /// Serves until its host ends.
    pub(crate) async fn serve(self) -> turmoil::Result {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
        let tasks = Tasks::new();
        let writing = self.clone();
        tasks.spawn("writer", async move {
            loop {
                tokio::time::sleep(LINE).await;
                writing.write();
            }
        });
        let mut connection = 0;
        loop {
            let (socket, _) = listener.accept().await?;
            connection += 1;
            let backend = self.clone();
            tasks.spawn("connection", async move {
                let mut peer = Peer::new(socket);
                while let Some(seen) = peer.head(connection).await {
                    let (back, then) = backend.answer(seen, peer).await;
                    peer = back;
                    if then == Then::Close {
                        peer.shutdown().await;
                        break;
                    }
                }
            });
        }
    }

    fn write(&self) {
        let mut written = self.written.lock().unwrap();
        let line = kubelet::Record {
            nanos: BEGIN * 1_000_000_000 + i64::try_from(*written).unwrap() * 250_000_000 + 5,
            text: format!("line {written}"),
            full: true,
        };
        *written += 1;
        self.kubelet.write("p", "main", vec![line]);
    }

    async fn carry_out(&self, name: &str) {
        self.record.note(format!("carried out {name}"));
        self.record.count("changes");
        *self
            .done
            .lock()
            .unwrap()
            .entry(name.to_owned())
            .or_default() += 1;
        // The answer takes its time, in which it may be lost.
        let millis = self.kubelet.oracle.random(0..600);
        tokio::time::sleep(Duration::from_millis(millis as u64)).await;
    }

    async fn answer(&self, seen: Seen, mut peer: Peer) -> (Peer, Then) {
        let body = read_body(&seen, &mut peer).await;
        let path = seen.target.split('?').next().unwrap_or_default().to_owned();
        let parts: Vec<&str> = path.split('/').collect();
        let (status, body) = match (seen.method.as_str(), &parts[..]) {
            ("GET", ["", "api", "v1", "namespaces", "kube-system"]) => {
                let uid = "6f1c3a52-0b7e-4a58-9a30-000000000001";
                (
                    "200 OK",
                    json!({"metadata": {"uid": uid, "name": "kube-system"}}),
                )
            }
            ("GET", ["", "api", "v1", "namespaces", "d", "configmaps", name]) => {
                ("200 OK", Self::content(name))
            }
            ("POST", ["", "api", "v1", "namespaces", "d", "configmaps"]) => {
                let Ok(object) = serde_json::from_slice::<Value>(&body) else {
                    return (peer, Then::Close);
                };
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                self.carry_out(name).await;
                ("201 Created", object)
            }
            (
                method,
                [
                    "",
                    "apis",
                    "apps",
                    "v1",
                    "namespaces",
                    "d",
                    "deployments",
                    name,
                    "scale",
                ],
            ) => {
                if method != "GET" {
                    self.carry_out(name).await;
                }
                let replicas = self.done(name) + 1;
                (
                    "200 OK",
                    json!({"kind": "Scale", "apiVersion": "autoscaling/v1",
                    "metadata": {"name": name, "namespace": "d", "resourceVersion": "7"},
                    "spec": {"replicas": replicas}}),
                )
            }
            (_, ["", "api", "v1", "namespaces", "d", "pods", "p", "exec"]) => {
                peer.send("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: SPDY/3.1\r\n\r\n")
                    .await;
                while let Some(bytes) = peer.some().await {
                    peer.send(bytes).await;
                }
                return (peer, Then::Close);
            }
            _ => return self.kubelet.answer(seen, peer).await,
        };
        let headers = "content-type: application/json\r\n";
        peer.send(answer(status, headers, &body.to_string())).await;
        (peer, Then::KeepAlive)
    }
}

async fn read_body(seen: &Seen, peer: &mut Peer) -> Vec<u8> {
    if let Some(length) = seen.header("content-length") {
        let length = length.parse().unwrap_or(0);
        return peer.exactly(length).await.unwrap_or_default();
    }
    let mut body = Vec::new();
    if seen.header("transfer-encoding").is_some() {
        while let Some(line) = peer.until(b"\r\n").await {
            let line = String::from_utf8_lossy(&line);
            let length = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
            let Some(chunk) = peer.exactly(length + 2).await else {
                return Vec::new();
            };
            body.extend_from_slice(&chunk[..length]);
            if length == 0 {
                break;
            }
        }
    }
    body
}
