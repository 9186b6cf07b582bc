//! An API server whose objects a test changes, and which it makes fail: lists and watches by the
//! rules of Kubernetes, over `apiserver`.
//!
//! Owns one history of changes, as etcd has: every list and watch is answered from it. What is
//! compacted away is 410, as a status or in the stream; connections are cut at random bytes; a
//! bookmark comes now and then. Discovery, selectors and writes over HTTP are not its business.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipeops_agent::tasks::Tasks;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::apiserver::{ApiServer, Peer, Seen, Then, answer};

/// What one change did.
#[derive(Clone)]
struct Entry {
    kind: &'static str,
    path: &'static str,
    key: String,
    object: Arc<Value>,
}

#[derive(Default)]
struct History {
    /// The change at index i made version i + 1 + FIRST.
    log: Vec<Entry>,
    compacted: u64,
    objects: BTreeMap<(&'static str, String), Arc<Value>>,
    /// How far the watch is that has sent the most, by path.
    sent: BTreeMap<String, u64>,
    made: u64,
    /// Statuses to answer with instead, by path, until they are lifted.
    refused: BTreeMap<String, (u16, &'static str)>,
    /// How often all watches were broken off.
    broken: u32,
    cuts: u32,
    cut: u32,
    gone: u32,
}

/// The first version; small numbers hide what is compared as text.
const FIRST: u64 = 95;

/// The server. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Oracle {
    history: Arc<Mutex<History>>,
    changed: Arc<Notify>,
    seed: Arc<Mutex<StdRng>>,
    /// Items of a page, whatever is asked for.
    page: usize,
}

impl Oracle {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            history: Arc::default(),
            changed: Arc::default(),
            seed: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))),
            page: 7,
        }
    }

    /// The same, with pages of so many items.
    pub(crate) fn paged(mut self, page: usize) -> Self {
        self.page = page;
        self
    }

    pub(crate) async fn serve(&self, tasks: &Tasks) -> ApiServer {
        let oracle = self.clone();
        ApiServer::start(tasks, move |seen, peer| {
            let oracle = oracle.clone();
            async move { oracle.answer(seen, peer).await }
        })
        .await
    }

    pub(crate) fn random<R: rand::distr::uniform::SampleRange<usize>>(&self, range: R) -> usize {
        self.seed.lock().unwrap().random_range(range)
    }

    /// Creates or changes an object of the collection at `path`, a cluster-wide one.
    pub(crate) fn put(&self, path: &'static str, mut object: Value) {
        let mut history = self.history.lock().unwrap();
        let key = key(&object);
        let version = FIRST + history.log.len() as u64 + 1;
        let before = history.objects.get(&(path, key.clone()));
        let kind = if before.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        let uid = match before {
            Some(before) => before["metadata"]["uid"].clone(),
            None => {
                history.made += 1;
                json!(format!("6f1c3a52-0b7e-4a58-9a30-{:012x}", history.made))
            }
        };
        object["metadata"]["uid"] = uid;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let object = Arc::new(object);
        history.objects.insert((path, key.clone()), object.clone());
        history.log.push(Entry {
            kind,
            path,
            key,
            object,
        });
        drop(history);
        self.changed.notify_waiters();
    }

    /// Removes an object; its namespace may be empty.
    pub(crate) fn remove(&self, path: &'static str, namespace: &str, name: &str) {
        let mut history = self.history.lock().unwrap();
        let key = format!("{namespace}/{name}");
        let version = FIRST + history.log.len() as u64 + 1;
        if let Some(object) = history.objects.remove(&(path, key.clone())) {
            let mut object = Value::clone(&object);
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            history.log.push(Entry {
                kind: "DELETED",
                path,
                key,
                object: Arc::new(object),
            });
        }
        drop(history);
        self.changed.notify_waiters();
    }

    /// Forgets all history up to now, also of watches that have not caught up.
    pub(crate) fn compact(&self) {
        let mut history = self.history.lock().unwrap();
        history.compacted = FIRST + history.log.len() as u64;
        drop(history);
        self.changed.notify_waiters();
    }

    /// Cuts so many answers from now on, each somewhere in its middle.
    pub(crate) fn cut(&self, count: u32) {
        self.history.lock().unwrap().cuts += count;
        self.changed.notify_waiters();
    }

    /// Breaks every watch off that is open.
    pub(crate) fn break_off(&self) {
        self.history.lock().unwrap().broken += 1;
        self.changed.notify_waiters();
    }

    /// Whether a watch has sent all there is.
    pub(crate) fn sent_all(&self, path: &str) -> bool {
        let history = self.history.lock().unwrap();
        history.sent.get(path) == Some(&(FIRST + history.log.len() as u64))
    }

    /// How many were cut, and how often something was too old.
    pub(crate) fn faults(&self) -> (u32, u32) {
        let history = self.history.lock().unwrap();
        (history.cut, history.gone)
    }

    /// Answers with this status wherever the path begins so.
    pub(crate) fn refuse(&self, path: &str, status: u16, reason: &'static str) {
        let mut history = self.history.lock().unwrap();
        history.refused.insert(path.to_owned(), (status, reason));
        drop(history);
        self.changed.notify_waiters();
    }

    /// Answers again.
    pub(crate) fn accept(&self, path: &str) {
        self.history.lock().unwrap().refused.remove(path);
    }

    /// The version now.
    pub(crate) fn version(&self) -> u64 {
        FIRST + self.history.lock().unwrap().log.len() as u64
    }

    /// The objects now.
    pub(crate) fn objects(&self, path: &str) -> Vec<Value> {
        let history = self.history.lock().unwrap();
        let of = history.objects.iter().filter(|((of, _), _)| *of == path);
        of.map(|(_, object)| Value::clone(object)).collect()
    }

    pub(crate) async fn answer(&self, seen: Seen, mut peer: Peer) -> (Peer, Then) {
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        let query: BTreeMap<&str, &str> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        if let Some((status, reason)) = self.refused(path) {
            let body = json!({"kind": "Status", "code": status, "reason": reason,
                              "message": format!("{path} is refused")});
            peer.send(answer(&format!("{status} No"), "", &body.to_string()))
                .await;
            return (peer, Then::KeepAlive);
        }
        if path == "/version" {
            let body = json!({"gitVersion": "v1.36.3"}).to_string();
            peer.send(answer("200 OK", "", &body)).await;
            return (peer, Then::KeepAlive);
        }
        let (path, namespace) = cluster_wide(path);
        if query.contains_key("watch") {
            let from = query["resourceVersion"].parse().unwrap();
            self.watch(&path, &namespace, from, peer).await
        } else {
            let then = self.list(&path, &namespace, &query, &mut peer).await;
            (peer, then)
        }
    }

    pub(crate) fn refused(&self, path: &str) -> Option<(u16, &'static str)> {
        let history = self.history.lock().unwrap();
        let mut refused = history.refused.iter();
        refused
            .find(|(begin, _)| path.starts_with(begin.as_str()))
            .map(|(_, refusal)| *refusal)
    }

    async fn list(
        &self,
        path: &str,
        namespace: &str,
        query: &BTreeMap<&str, &str>,
        peer: &mut Peer,
    ) -> Then {
        let (version, after) = match query.get("continue") {
            Some(next) => {
                let (version, after) = next.split_once("-").unwrap();
                (version.parse().unwrap(), after.replace("%2F", "/"))
            }
            None => {
                let exact = query.get("resourceVersion");
                let exact = exact.map(|version| version.parse().unwrap());
                // Version 0 is any, such as the newest.
                (
                    exact
                        .filter(|version| *version > 0)
                        .unwrap_or_else(|| self.version()),
                    String::new(),
                )
            }
        };
        let state = self.state(path, namespace, version);
        let Some(state) = state else {
            let body = status_gone().to_string();
            peer.send(answer("410 Gone", "", &body)).await;
            return Then::KeepAlive;
        };
        let mut rest = state.range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
        let mut items = Vec::new();
        let mut last = String::new();
        for (key, object) in rest.by_ref().take(self.page) {
            items.push(Value::clone(object));
            last.clone_from(key);
        }
        let next = match rest.next() {
            Some(_) => format!("{version}-{last}"),
            None => String::new(),
        };
        let body = json!({"kind": "List", "items": items,
                          "metadata": {"resourceVersion": version.to_string(), "continue": next}});
        let text = answer("200 OK", "", &body.to_string());
        // Heads are not cut: a GET on a kept connection that breaks there is sent again by rule.
        let head = text.find("\r\n\r\n").unwrap() + 4;
        match self.room_before_cut(text.len() - head, 8) {
            None => {
                peer.send(text).await;
                Then::KeepAlive
            }
            Some(room) => {
                peer.send(&text[..head + room]).await;
                Then::Close
            }
        }
    }

    /// The objects as they were at `version`, unless that is compacted away.
    fn state(
        &self,
        path: &str,
        namespace: &str,
        version: u64,
    ) -> Option<BTreeMap<String, Arc<Value>>> {
        let mut history = self.history.lock().unwrap();
        if version < history.compacted {
            history.gone += 1;
            return None;
        }
        let mut state = BTreeMap::new();
        let count = usize::try_from(version - FIRST).unwrap();
        let of = |entry: &&Entry| entry.path == path && within(entry, namespace);
        for entry in history.log[..count].iter().filter(of) {
            if entry.kind == "DELETED" {
                state.remove(&entry.key);
            } else {
                state.insert(entry.key.clone(), entry.object.clone());
            }
        }
        Some(state)
    }

    async fn watch(&self, path: &str, namespace: &str, from: u64, mut peer: Peer) -> (Peer, Then) {
        if from < self.history.lock().unwrap().compacted {
            self.history.lock().unwrap().gone += 1;
            peer.send(answer("410 Gone", "", &status_gone().to_string()))
                .await;
            return (peer, Then::KeepAlive);
        }
        peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        let mut at = from;
        let broken = self.history.lock().unwrap().broken;
        loop {
            let changed = self.changed.notified();
            if broken != self.history.lock().unwrap().broken {
                return (peer, Then::Close);
            }
            let (mut lines, told) = match self.since(path, namespace, at) {
                Ok(told) => told,
                Err(()) => {
                    let event = json!({"type": "ERROR", "object": status_gone()});
                    peer.send(chunk(&format!("{event}\n"))).await;
                    return (peer, Then::Close);
                }
            };
            at = told;
            if self.random(0..10) == 0 {
                let bookmark = json!({"type": "BOOKMARK", "object": {
                    "kind": "Pod", "metadata": {"resourceVersion": at.to_string()}}});
                lines.push_str(&format!("{bookmark}\n"));
            }
            if let Some(room) = self.room_before_cut(lines.len(), 2) {
                peer.send(chunk(&lines[..room])).await;
                return (peer, Then::Close);
            }
            // In pieces, so that a line's end is not a piece's.
            let mut rest = lines.as_str();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(self.random(1..400)));
                peer.send(chunk(piece)).await;
                rest = after;
            }
            self.history
                .lock()
                .unwrap()
                .sent
                .insert(path.to_owned(), at);
            if self.random(0..40) == 0 {
                // The server's own end.
                peer.send("0\r\n\r\n").await;
                return (peer, Then::KeepAlive);
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    }

    /// The lines of all changes after a version, and the newest version.
    fn since(&self, path: &str, namespace: &str, at: u64) -> Result<(String, u64), ()> {
        let mut history = self.history.lock().unwrap();
        if at < history.compacted {
            history.gone += 1;
            return Err(());
        }
        let first = usize::try_from(at - FIRST).unwrap();
        let of = |entry: &&Entry| entry.path == path && within(entry, namespace);
        let lines = history.log[first..]
            .iter()
            .filter(of)
            .map(|entry| format!("{}\n", json!({"type": entry.kind, "object": *entry.object})))
            .collect();
        Ok((lines, FIRST + history.log.len() as u64))
    }

    /// Where to cut an answer of so many bytes, if it is one of those to be cut.
    fn room_before_cut(&self, length: usize, odds: usize) -> Option<usize> {
        if length == 0 || self.random(0..odds) > 0 {
            return None;
        }
        let mut history = self.history.lock().unwrap();
        history.cuts = history.cuts.checked_sub(1)?;
        history.cut += 1;
        drop(history);
        Some(self.random(0..length))
    }
}

fn within(entry: &Entry, namespace: &str) -> bool {
    namespace.is_empty() || entry.object["metadata"]["namespace"] == namespace
}

/// `/api/v1/namespaces/d/pods` is `/api/v1/pods` of namespace `d`.
fn cluster_wide(path: &str) -> (String, String) {
    match path.split_once("/namespaces/") {
        Some((prefix, rest)) => match rest.split_once('/') {
            Some((namespace, resource)) => (format!("{prefix}/{resource}"), namespace.to_owned()),
            None => (path.to_owned(), String::new()),
        },
        None => (path.to_owned(), String::new()),
    }
}

fn key(object: &Value) -> String {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
    format!("{}/{}", text("namespace"), text("name"))
}

fn chunk(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn status_gone() -> Value {
    json!({"kind": "Status", "code": 410, "reason": "Expired",
           "message": "the resource version is too old"})
}
