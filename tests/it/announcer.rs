//! Changes of the channel as events of the Deployment, against a scripted API server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipeops_agent::announcer::{self, Config};
use pipeops_agent::limits;
use pipeops_agent::status::{Phase, Status};
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use crate::cluster::cluster;
use crate::support::apiserver::{ApiServer, Then, answer};

const JSON: &str = "content-type: application/json\r\n";
const EVENTS: &str = "/api/v1/namespaces/pipeops-system/events";

/// What was written, as method, target and body.
type Written = Arc<Mutex<Vec<(String, String, Value)>>>;

/// An API server that knows the pod, its ReplicaSet, and answers writes with `status`.
async fn api_server(tasks: &Tasks, written: &Written, status: &'static str) -> ApiServer {
    let written = Arc::clone(written);
    ApiServer::start(tasks, move |seen, mut peer| {
        let written = Arc::clone(&written);
        async move {
            let owned = |name: &str, uid: &str, kind: &str, owner: &str| {
                json!({"metadata": {"name": name, "uid": uid, "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": format!("{owner}-uid"),
                    "controller": true,
                }]}})
                .to_string()
            };
            let (status, body) = match (seen.method.as_str(), seen.target.as_str()) {
                ("GET", "/api/v1/namespaces/pipeops-system/pods/agent-1-x") => {
                    ("200 OK", owned("agent-1-x", "p", "ReplicaSet", "agent-1"))
                }
                ("GET", "/apis/apps/v1/namespaces/pipeops-system/replicasets/agent-1") => {
                    ("200 OK", owned("agent-1", "r", "Deployment", "agent"))
                }
                ("POST" | "PATCH", _) => {
                    let length = seen.header("content-length").unwrap().parse().unwrap();
                    let body = peer.exactly(length).await.unwrap();
                    let body = serde_json::from_slice(&body).unwrap();
                    let write = (seen.method.clone(), seen.target.clone(), body);
                    written.lock().unwrap().push(write);
                    (status, "{}".to_owned())
                }
                other => panic!("nobody should ask {other:?}"),
            };
            peer.send(answer(status, JSON, &body)).await;
            (peer, Then::KeepAlive)
        }
    })
    .await
}

/// An announcer over this API server, and its status.
async fn announcing(tasks: &Tasks, server: &ApiServer) -> Status {
    let status = Status::default();
    let objects = cluster(server, tasks).await.objects();
    let pod = Config {
        namespace: "pipeops-system".into(),
        name: "agent-1-x".into(),
    };
    tasks.spawn_logged("announcer", announcer::run(objects, status.clone(), pod));
    status
}

async fn count(written: &Written, wanted: usize) -> Vec<(String, String, Value)> {
    for _ in 0..2000 {
        let now = written.lock().unwrap().clone();
        if now.len() >= wanted {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!(
        "{wanted} writes did not come: {:?}",
        written.lock().unwrap()
    );
}

/// Moves the clock on, while nothing is under way.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn the_channels_changes_are_events_of_the_deployment_and_repetitions_are_counted() {
    let (tasks, written) = (Tasks::new(), Written::default());
    let server = api_server(&tasks, &written, "201 Created").await;
    let status = announcing(&tasks, &server).await;

    status.connected("s-1");
    let (method, target, event) = count(&written, 1).await.remove(0);
    assert_eq!((method.as_str(), target.as_str()), ("POST", EVENTS));
    assert_eq!(event["reason"], "Connected");
    assert_eq!(event["type"], "Normal");
    assert_eq!(event["count"], 1);
    let about = &event["involvedObject"];
    assert_eq!(about["kind"], "Deployment");
    assert_eq!(
        (&about["name"], &about["uid"]),
        (&json!("agent"), &json!("agent-uid"))
    );

    // A flap within the pause is told at its last: a second session, counted on the same event.
    status.failed("closed", "gone".into());
    status.set_phase(Phase::Waiting);
    status.connected("s-2");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(written.lock().unwrap().len(), 1, "one write in the pause");
    later(limits::ANNOUNCE_EVERY).await;
    let (method, again, patch) = count(&written, 2).await.remove(1);
    let name = event["metadata"]["name"].as_str().unwrap();
    assert_eq!(
        (method, again),
        ("PATCH".to_owned(), format!("{EVENTS}/{name}"))
    );
    assert_eq!(patch["count"], 2);

    status.set_phase(Phase::Refused);
    tokio::time::sleep(Duration::from_millis(50)).await;
    later(limits::ANNOUNCE_EVERY).await;
    let (method, _, event) = count(&written, 3).await.remove(2);
    assert_eq!(
        (method.as_str(), &event["reason"]),
        ("POST", &json!("AuthFailed"))
    );
    assert_eq!(event["type"], "Warning");
    assert!(
        event["message"]
            .as_str()
            .unwrap()
            .ends_with(": closed: gone")
    );

    // Repeated after so long, it is an event of its own.
    later(limits::ANNOUNCE_COUNTED).await;
    status.connected("s-3");
    let (method, _, event) = count(&written, 4).await.remove(3);
    assert_eq!((method.as_str(), &event["count"]), ("POST", &json!(1)));
    // Who the owner is was asked once.
    let reads = server
        .seen()
        .iter()
        .filter(|seen| seen.method == "GET")
        .count();
    assert_eq!(reads, 2);
}

#[tokio::test]
async fn an_event_that_is_refused_stays_due_and_is_not_hammered() {
    let (tasks, written) = (Tasks::new(), Written::default());
    let server = api_server(&tasks, &written, "403 Forbidden").await;
    let status = announcing(&tasks, &server).await;
    status.connected("s-1");
    count(&written, 1).await;
    later(limits::ANNOUNCE_EVERY).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(written.lock().unwrap().len(), 1, "not again so soon");
    later(limits::ANNOUNCE_RETRY).await;
    let (method, ..) = count(&written, 2).await.remove(1);
    assert_eq!(method, "POST");
}
