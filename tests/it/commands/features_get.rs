//! `features.get` (P-106).

use pipeops_agent::limits;
use pipeops_agent::policy::Access;
use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use super::telling::{all, event, json_server, not_found};
use crate::dispatch::pair;
use crate::support::apiserver::{ApiServer, Peer, Seen, Then, answer};
use crate::support::eventually;
use crate::support::pair::{Ask, Setting};

fn readonly() -> Setting {
    Setting {
        access: Access::Readonly,
        ..Setting::default()
    }
}

/// An API server whose agent may list and watch everything, and get all but logs.
fn cluster(seen: &Seen, body: &Value) -> (&'static str, Value) {
    let path = seen.target.split('?').next().unwrap();
    let said = match path {
        "/version" => json!({"gitVersion": "v1.36.3", "minor": "36+", "platform": "linux/amd64"}),
        "/apis" => json!({"groups": [{"preferredVersion": {"groupVersion": "apps/v1"}}]}),
        "/api"
            if seen
                .header("accept")
                .unwrap()
                .contains("APIGroupDiscoveryList") =>
        {
            json!({"kind": "APIGroupDiscoveryList"})
        }
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews" => {
            let mut rules =
                vec![json!({"verbs": ["list", "watch"], "apiGroups": ["*"], "resources": ["*"]})];
            if body["spec"]["namespace"] == "team" {
                rules.push(
                    json!({"verbs": ["delete"], "apiGroups": [""], "resources": ["pods"],
                                  "resourceNames": ["one"]}),
                );
            }
            json!({"status": {"resourceRules": rules, "incomplete": false,
                "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/version", "/apis*"]}]}})
        }
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => {
            let asked = &body["spec"]["resourceAttributes"];
            let allowed = asked["subresource"] != "log" && asked["verb"] != "impersonate";
            json!({"status": {"allowed": allowed}})
        }
        _ => return not_found(),
    };
    ("200 OK", said)
}

async fn server(tasks: &Tasks, websocket: bool) -> ApiServer {
    ApiServer::start(tasks, move |seen: Seen, mut peer: Peer| async move {
        if seen.header("upgrade").is_some() {
            let head = if websocket {
                "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"
            } else {
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
            };
            peer.send(head).await;
            return (peer, Then::Close);
        }
        let length = seen.header("content-length").map_or(0, |text| text.parse().unwrap());
        let body = peer.exactly(length).await.unwrap_or_default();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let (status, said) = cluster(&seen, &body);
        peer.send(answer(status, "", &said.to_string())).await;
        (peer, Then::KeepAlive)
    })
    .await
}

#[tokio::test]
async fn what_is_missing_is_named_and_what_there_is_was_asked_for() {
    let tasks = Tasks::new();
    let server = server(&tasks, true).await;
    let pair = pair(&server, &tasks, readonly()).await;
    let args = json!({"namespaces": ["team"]});
    let (events, end) = all(pair.open(Ask::new("features.get", &args))).await;
    let rules = &events[0]["permissions"];
    assert_eq!(rules["namespace"], "team");
    assert_eq!(rules["rules"][1]["names"], json!(["one"]));
    assert_eq!(rules["rules"][2]["paths"], json!(["/version", "/apis*"]));
    assert!(rules.get("incomplete").is_none());

    let done = end.unwrap().unwrap();
    assert_eq!(done["kubernetes"]["version"], "v1.36.3");
    assert_eq!(done["kubernetes"]["groups"], json!(["apps/v1"]));
    assert_eq!(done["kubernetes"]["aggregated_discovery"], true);
    assert_eq!(
        done["metrics"],
        json!({"available": false, "reason": "not_installed"})
    );
    assert_eq!(done["upgrades"]["exec"][0], "v5.channel.k8s.io");
    assert_eq!(done["upgrades"]["websocket_proven"], true);
    assert_eq!(
        done["impersonation"],
        json!({"on": false, "users": false, "groups": false})
    );
    assert_eq!(done["preset"]["access"], "readonly");
    assert_eq!(done["preset"]["missing"], json!(["get pods/log"]));
    assert!(done["preset"].get("unknown").is_none());
    assert!(done["preset"]["checked"].as_u64().unwrap() > 100);
    // What the rules list is not asked about again, and nothing is asked twice.
    let mut asked = server.seen();
    asked.retain(|seen| seen.target.ends_with("selfsubjectaccessreviews"));
    assert!(asked.len() < 70, "{} questions", asked.len());
}

#[tokio::test]
async fn a_stripped_upgrade_takes_what_needs_it_off_the_list() {
    let tasks = Tasks::new();
    let server = server(&tasks, false).await;
    let pair = pair(&server, &tasks, readonly()).await;
    let (_, end) = all(pair.open(Ask::new("features.get", &json!({})))).await;
    let upgrades = end.unwrap().unwrap()["upgrades"].take();
    assert_eq!(upgrades["websocket_proven"], false);
    assert_eq!(upgrades["exec"], json!(["SPDY/3.1"]));
}

#[tokio::test]
async fn an_api_server_that_is_away_is_an_error() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, peer| (peer, Then::Close)).await;
    let pair = pair(&server, &tasks, readonly()).await;
    let (events, end) = all(pair.open(Ask::new("features.get", &json!({})))).await;
    assert!(events.is_empty());
    assert_eq!(end.unwrap_err().code, ErrorCode::UpstreamFailed);
}

#[tokio::test]
async fn a_slow_or_cancelled_reader_takes_its_connections_along() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |seen, mut peer| {
        if seen.target.ends_with("selfsubjectaccessreviews") {
            peer.closed().await;
            return (peer, Then::Close);
        }
        let length = seen
            .header("content-length")
            .map_or(0, |text| text.parse().unwrap());
        let body = peer.exactly(length).await.unwrap_or_default();
        let (status, said) = cluster(&seen, &serde_json::from_slice(&body).unwrap_or_default());
        peer.send(answer(status, "", &said.to_string())).await;
        (peer, Then::KeepAlive)
    })
    .await;
    let pair = pair(&server, &tasks, readonly()).await;
    let mut running = pair.open(Ask::new("features.get", &json!({"namespaces": ["a"]})));
    event(&mut running).await;
    eventually("it waits for answers", || server.open() > 3).await;
    drop(running);
    // What is kept for the next request is idle, not waiting.
    eventually("they are closed", || server.open() < 4).await;
}

#[tokio::test]
async fn groups_and_rules_beyond_their_bounds_are_left_out_and_the_rules_say_so() {
    let tasks = Tasks::new();
    let server = json_server(&tasks, |seen, body| {
        let path = seen.target.split('?').next().unwrap();
        if path == "/apis" {
            let group =
                |n| json!({"preferredVersion": {"groupVersion": format!("g{n}.example/v1")}});
            let groups: Vec<_> = (0..limits::FEATURE_GROUPS + 5).map(group).collect();
            return ("200 OK", json!({ "groups": groups }));
        }
        if path.ends_with("selfsubjectrulesreviews") {
            let rule =
                |n| json!({"verbs": ["get"], "apiGroups": [""], "resources": [format!("r{n}")]});
            let rules: Vec<_> = (0..=limits::FEATURE_RULES).map(rule).collect();
            return (
                "200 OK",
                json!({"status": {"resourceRules": rules, "nonResourceRules": []}}),
            );
        }
        cluster(seen, body)
    })
    .await;
    let pair = pair(&server, &tasks, readonly()).await;
    let args = json!({"namespaces": ["team"]});
    let (events, end) = all(pair.open(Ask::new("features.get", &args))).await;
    let told = |event: &Value| event["permissions"]["rules"].as_array().unwrap().len();
    assert_eq!(
        events.iter().map(told).sum::<usize>(),
        limits::FEATURE_RULES
    );
    assert!(
        events
            .iter()
            .all(|event| event["permissions"]["incomplete"] == true)
    );
    let groups = end.unwrap().unwrap()["kubernetes"]["groups"].take();
    assert_eq!(groups.as_array().unwrap().len(), limits::FEATURE_GROUPS);
}
