//! A scripted API server that answers with JSON, and everything that a command says.

use pipeops_agent::protocol::ErrorBody;
use pipeops_agent::session::Item;
use pipeops_agent::tasks::Tasks;
use serde_json::Value;

use crate::support::apiserver::{ApiServer, Peer, Seen, Then, answer};
use crate::support::pair::Running;

/// A server that answers each request, with its body, by `script`.
pub(super) async fn json_server(
    tasks: &Tasks,
    script: impl Fn(&Seen, &Value) -> (&'static str, Value) + Send + Sync + Clone + 'static,
) -> ApiServer {
    ApiServer::start(tasks, move |seen: Seen, mut peer: Peer| {
        let script = script.clone();
        async move {
            let length = seen.header("content-length").map(|text| text.parse());
            let body = match length {
                Some(length) => peer.exactly(length.unwrap()).await.unwrap_or_default(),
                None => Vec::new(),
            };
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let (status, said) = script(&seen, &body);
            peer.send(answer(status, "", &said.to_string())).await;
            (peer, Then::KeepAlive)
        }
    })
    .await
}

/// What the API server says where it has not what was asked for.
pub(super) fn not_found() -> (&'static str, Value) {
    let status = serde_json::json!({"kind": "Status", "code": 404, "reason": "NotFound",
                                    "message": "the server could not find the requested resource"});
    ("404 Not Found", status)
}

/// The next event.
pub(super) async fn event(running: &mut Running) -> Value {
    match running.next().await {
        Item::Event(event) => serde_json::from_str(event.get()).unwrap(),
        other => panic!("an event was expected, not {other:?}"),
    }
}

/// Every event, and the end.
pub(super) async fn all(mut running: Running) -> (Vec<Value>, Result<Option<Value>, ErrorBody>) {
    let mut events = Vec::new();
    loop {
        match running.next().await {
            Item::Event(event) => events.push(serde_json::from_str(event.get()).unwrap()),
            Item::End(end) => {
                let end = end.map(|end| end.map(|raw| serde_json::from_str(raw.get()).unwrap()));
                return (events, end);
            }
            Item::Data(_) | Item::Fin => panic!("no bytes were asked for"),
        }
    }
}
