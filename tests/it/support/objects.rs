//! A scripted API server that keeps objects: discovery of a few kinds, GET, the patches that our
//! commands send, DELETE, the subresource scale.
//!
//! Owns as much of Kubernetes as those commands can see, and the list of what was carried out. A
//! test can hold changes back, and choose what is answered to the next one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::apiserver::{ApiServer, Peer, Seen, Then, answer};

/// What becomes of a change instead of the ordinary.
#[derive(Debug, Clone)]
pub(crate) enum Instead {
    /// It is carried out, and the connection breaks before its answer.
    CarriedOutAndCut,
    /// It is not carried out; this is the answer, status line's end and body.
    Refused(&'static str, Value),
    /// Another change of the object comes first.
    AnotherFirst,
    /// It is carried out, and a warning is given.
    Warned(&'static str),
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    changes: Vec<String>,
    instead: VecDeque<Instead>,
    bodies: Vec<Value>,
}

/// The server.
pub(crate) struct Objects {
    pub(crate) server: ApiServer,
    state: Arc<Mutex<State>>,
    open: watch::Sender<bool>,
}

impl Objects {
    pub(crate) async fn start(tasks: &Tasks) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (open, gate) = watch::channel(true);
        let kept = state.clone();
        let server = ApiServer::start(tasks, move |seen, peer| {
            serve(kept.clone(), gate.clone(), seen, peer)
        })
        .await;
        Self {
            server,
            state,
            open,
        }
    }

    /// Changes wait until they are released.
    pub(crate) fn hold(&self) {
        self.open.send_replace(false);
    }

    pub(crate) fn release(&self) {
        self.open.send_replace(true);
    }

    /// What becomes of the next change.
    pub(crate) fn instead(&self, instead: Instead) {
        self.state.lock().unwrap().instead.push_back(instead);
    }

    pub(crate) fn put(&self, path: &str, object: Value) {
        self.state.lock().unwrap().put(path, object);
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    /// `METHOD path` of each change that was carried out, dry runs not counted.
    pub(crate) fn changes(&self) -> Vec<String> {
        self.state.lock().unwrap().changes.clone()
    }

    /// The bodies of changes, in the order of their arrival.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.state.lock().unwrap().bodies.clone()
    }

    /// Changes that have arrived, carried out or not.
    pub(crate) fn arrived(&self) -> usize {
        self.server
            .seen()
            .iter()
            .filter(|seen| seen.method != "GET")
            .count()
    }
}

impl State {
    fn put(&mut self, path: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = format!("uid-{}", self.version).into();
        }
        self.objects.insert(path.to_owned(), object);
    }
}

fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (name, value) in patch {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}

fn status(code: u16, reason: &str, message: &str) -> (String, Value) {
    let line = format!("{code} {reason}");
    let body = json!({"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code});
    (line, body)
}

fn discovery(path: &str) -> Option<Value> {
    let resources = match path {
        "/api/v1" => json!([
            {"name": "configmaps", "kind": "ConfigMap", "namespaced": true},
            {"name": "namespaces", "kind": "Namespace", "namespaced": false},
            {"name": "pods", "kind": "Pod", "namespaced": true},
            {"name": "pods/eviction", "kind": "Eviction", "namespaced": true},
            {"name": "secrets", "kind": "Secret", "namespaced": true},
        ]),
        "/apis/apps/v1" => json!([
            {"name": "deployments", "kind": "Deployment", "namespaced": true},
            {"name": "deployments/scale", "kind": "Scale", "namespaced": true},
        ]),
        _ => return None,
    };
    Some(json!({"kind": "APIResourceList", "resources": resources}))
}

async fn serve(
    state: Arc<Mutex<State>>,
    mut gate: watch::Receiver<bool>,
    seen: Seen,
    mut peer: Peer,
) -> (Peer, Then) {
    let length = seen
        .header("content-length")
        .and_then(|length| length.parse().ok());
    let body = match peer.exactly(length.unwrap_or(0)).await {
        Some(body) => serde_json::from_slice(&body).unwrap_or(Value::Null),
        None => return (peer, Then::Close),
    };
    let (path, query) = seen
        .target
        .split_once('?')
        .unwrap_or((seen.target.as_str(), ""));
    if seen.method == "GET" {
        let (line, body) = match discovery(path) {
            Some(list) => ("200 OK".to_owned(), list),
            None => read(&state.lock().unwrap(), path),
        };
        peer.send(answer(&line, "", &body.to_string())).await;
        return (peer, Then::KeepAlive);
    }
    let _ = gate.wait_for(|open| *open).await;
    let instead = {
        let mut state = state.lock().unwrap();
        state.bodies.push(body.clone());
        state.instead.pop_front()
    };
    let mut headers = String::new();
    match instead {
        Some(Instead::Refused(line, body)) => {
            peer.send(answer(line, "", &body.to_string())).await;
            return (peer, Then::KeepAlive);
        }
        Some(Instead::AnotherFirst) => {
            let mut state = state.lock().unwrap();
            let path = path.trim_end_matches("/scale");
            if let Some(object) = state.objects.get(path).cloned() {
                state.put(path, object);
            }
        }
        Some(Instead::Warned(text)) => headers = format!("warning: 299 - \"{text}\"\r\n"),
        Some(Instead::CarriedOutAndCut) | None => {}
    }
    let dry = query.contains("dryRun=All") || body["dryRun"] == json!(["All"]);
    let (line, answered) = change(&mut state.lock().unwrap(), &seen, path, &body, dry);
    if matches!(instead, Some(Instead::CarriedOutAndCut)) {
        return (peer, Then::Close);
    }
    peer.send(answer(&line, &headers, &answered.to_string()))
        .await;
    (peer, Then::KeepAlive)
}

fn scale(object: &Value) -> Value {
    json!({"kind": "Scale", "metadata": {"resourceVersion": object["metadata"]["resourceVersion"]},
           "spec": {"replicas": object["spec"]["replicas"]}})
}

fn read(state: &State, path: &str) -> (String, Value) {
    let (own, scaled) = match path.strip_suffix("/scale") {
        Some(own) => (own, true),
        None => (path, false),
    };
    match state.objects.get(own) {
        None => status(404, "NotFound", "there is none"),
        Some(object) if scaled => ("200 OK".into(), scale(object)),
        Some(object) => ("200 OK".into(), object.clone()),
    }
}

fn change(state: &mut State, seen: &Seen, path: &str, body: &Value, dry: bool) -> (String, Value) {
    let apply = seen.header("content-type") == Some("application/apply-patch+yaml");
    let own = path.strip_suffix("/scale").unwrap_or(path);
    let before = state.objects.get(own).cloned();
    let Some(before) = before.or_else(|| apply.then_some(Value::Null)) else {
        return status(404, "NotFound", "there is none");
    };
    let wanted = match body.pointer("/preconditions/uid") {
        Some(uid) => *uid == before["metadata"]["uid"],
        None => match body.pointer("/metadata/resourceVersion") {
            Some(version) => *version == before["metadata"]["resourceVersion"],
            None => true,
        },
    };
    if !wanted {
        return status(409, "Conflict", "it is another one");
    }
    if !dry {
        state.changes.push(format!("{} {path}", seen.method));
    }
    if seen.method == "DELETE" {
        if !dry {
            state.objects.remove(own);
        }
        let uid = &before["metadata"]["uid"];
        let deleted = json!({"kind": "Status", "status": "Success", "details": {"uid": uid}});
        return ("200 OK".into(), deleted);
    }
    let mut after = before.clone();
    merge(&mut after, body);
    if dry {
        return ("200 OK".into(), after);
    }
    if after != before {
        if before["spec"] != after["spec"] {
            let generation = before["metadata"]["generation"].as_i64().unwrap_or(0);
            after["metadata"]["generation"] = (generation + 1).into();
        }
        state.put(own, after);
    }
    let line = if before.is_null() {
        "201 Created"
    } else {
        "200 OK"
    };
    let after = &state.objects[own];
    let answered = if path == own {
        after.clone()
    } else {
        scale(after)
    };
    (line.into(), answered)
}
