//! `connectivity.check` (P-107).

use pipeops_agent::cluster::{Cluster, Config, Credentials};
use pipeops_agent::policy::Access;
use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use super::telling::all;
use crate::dispatch::pair;
use crate::support::apiserver::{ApiServer, Then, answer};
use crate::support::eventually;
use crate::support::pair::{Ask, Pair, Setting};

fn readonly() -> Setting {
    Setting {
        access: Access::Readonly,
        ..Setting::default()
    }
}

fn named<'a>(events: &'a [Value], name: &str) -> &'a Value {
    events
        .iter()
        .map(|event| &event["check"])
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no check {name} in {events:?}"))
}

#[tokio::test]
async fn each_step_is_told_with_its_time_and_what_fails_with_a_remedy() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |seen, mut peer| {
        let (status, headers) = match seen.target.as_str() {
            "/version" => ("200 OK", "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
            _ => ("500 Internal Server Error", ""),
        };
        peer.send(answer(status, headers, "{}")).await;
        (peer, Then::KeepAlive)
    })
    .await;
    let pair = pair(&server, &tasks, readonly()).await;
    let (events, end) = all(pair.open(Ask::new("connectivity.check", &json!({})))).await;
    assert_eq!(
        end.unwrap().unwrap(),
        json!({"outcome": "fail", "checks": events.len()})
    );
    let tcp = named(&events, "api_server.tcp");
    assert_eq!(tcp["outcome"], "ok");
    assert!(tcp["latency_us"].is_u64() && tcp.get("remedy").is_none());
    assert_eq!(named(&events, "api_server.auth")["outcome"], "ok");
    let ready = named(&events, "api_server.ready");
    assert_eq!(ready["outcome"], "fail");
    assert!(ready["remedy"].is_string());
    let clock = named(&events, "clock.skew");
    assert_eq!(clock["outcome"], "fail");
    assert!(clock["message"].as_str().unwrap().contains("ahead"));
    // There is no session behind this dispatch.
    assert_eq!(named(&events, "control_plane.channel")["outcome"], "fail");
    assert!(
        !events
            .iter()
            .any(|event| event["check"]["name"] == "api_server.dns"),
        "an address"
    );
}

#[tokio::test]
async fn a_refused_credential_and_a_closed_port_are_told_apart() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.send(answer("401 Unauthorized", "", "{}")).await;
        (peer, Then::KeepAlive)
    })
    .await;
    let refused = pair(&server, &tasks, readonly()).await;
    let args = json!({"targets": ["api_server"]});
    let (events, _) = all(refused.open(Ask::new("connectivity.check", &args))).await;
    assert_eq!(named(&events, "api_server.tcp")["outcome"], "ok");
    let auth = named(&events, "api_server.auth");
    assert_eq!(auth["outcome"], "fail");
    assert!(auth["remedy"].as_str().unwrap().contains("token"));

    // Bound and let go again, so that nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let credentials = Credentials::Direct {
        url: format!("http://{address}").parse().unwrap(),
        ca_pem: None,
        token: None,
    };
    let cluster = Cluster::connect(Config { credentials }, &tasks)
        .await
        .unwrap();
    let closed = Pair::new(cluster, &tasks, readonly()).await;
    let (events, _) = all(closed.open(Ask::new("connectivity.check", &args))).await;
    let tcp = named(&events, "api_server.tcp");
    assert_eq!(tcp["outcome"], "fail");
    assert!(tcp["remedy"].as_str().unwrap().contains("port"));
    assert_eq!(events.len(), 1, "what comes after it is not tried");
}

#[tokio::test]
async fn a_check_that_hangs_ends_with_its_deadline_or_its_requester() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        peer.closed().await;
        (peer, Then::Close)
    })
    .await;
    let pair = pair(&server, &tasks, readonly()).await;
    let args = json!({"targets": ["clock"]});
    let late = Ask::new("connectivity.check", &args).deadline_ms(50);
    let (_, end) = all(pair.open(late)).await;
    assert_eq!(end.unwrap_err().code, ErrorCode::DeadlineExceeded);
    eventually("its connection is closed", || server.open() == 0).await;
    let running = pair.open(Ask::new("connectivity.check", &args));
    eventually("it waits", || server.open() == 1).await;
    drop(running);
    eventually("its connection is closed", || server.open() == 0).await;
}
