//! `logs.follow` (P-80 to P-85).

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::session::Item;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use crate::dispatch::pair;
use crate::support::apiserver::ApiServer;
use crate::support::eventually;
use crate::support::kubelet::{Kubelet, Record, stamp};
use crate::support::pair::{Ask, Pair, Running, Setting};

pub(super) const BEGIN: i64 = 1_764_000_000_000_000_000;

/// A pod `p` with lines, between a session and a kubelet.
pub(super) struct Rig {
    pub(super) kubelet: Kubelet,
    pub(super) server: ApiServer,
    pub(super) pair: Pair,
    _tasks: Tasks,
}

impl Rig {
    pub(super) async fn new(setting: Setting) -> Self {
        let tasks = Tasks::new();
        let kubelet = Kubelet::new(1);
        let server = kubelet.serve(&tasks).await;
        kubelet.start("p", "main");
        let state = json!({"name": "main", "restartCount": 0, "state": {"running": {}}});
        kubelet.pod("p", "Always", "Running", &[state]);
        let pair = pair(&server, &tasks, setting).await;
        Self {
            kubelet,
            server,
            pair,
            _tasks: tasks,
        }
    }

    pub(super) fn write(&self, lines: std::ops::Range<i64>, text: &str) {
        let record = |line: i64| Record {
            nanos: BEGIN + line * 1_000_000,
            text: format!("{line} {text}"),
            full: true,
        };
        self.kubelet.write("p", "main", lines.map(record).collect());
    }
}

/// The next event, its name and its value.
pub(super) async fn event(running: &mut Running) -> (String, Value) {
    match running.next().await {
        Item::Event(event) => {
            let event: Value = serde_json::from_str(event.get()).unwrap();
            let fields = event.as_object().unwrap();
            assert_eq!(fields.len(), 1, "one key: {event}");
            let (name, value) = fields.iter().next().unwrap();
            (name.clone(), value.clone())
        }
        other => panic!("an event was expected, not {other:?}"),
    }
}

async fn end(running: &mut Running) -> Result<Option<Value>, ErrorCode> {
    loop {
        match running.next().await {
            Item::End(end) => {
                return end
                    .map(|result| result.map(|raw| serde_json::from_str(raw.get()).unwrap()))
                    .map_err(|body| body.code);
            }
            Item::Event(_) | Item::Fin => {}
            Item::Data(_) => panic!("no bytes were expected"),
        }
    }
}

fn ask() -> Ask {
    Ask::new("logs.follow", &json!({"namespace": "d", "pod": "p"}))
}

#[tokio::test]
async fn lines_come_with_pod_and_container_and_go_on_after_their_cursor() {
    let rig = Rig::new(Setting::default()).await;
    rig.write(0..2, "a");
    let mut running = rig.pair.open(ask());
    let (name, started) = event(&mut running).await;
    assert_eq!((name.as_str(), &started["run"]), ("started", &json!(0)));
    let (name, lines) = event(&mut running).await;
    assert_eq!(name, "lines");
    let expected = json!([[stamp(BEGIN), "0 a"], [stamp(BEGIN + 1_000_000), "1 a"]]);
    assert_eq!(lines["lines"], expected);
    assert_eq!(lines["namespace"], "d");
    assert_eq!(lines["pod"], "p");
    assert_eq!(lines["container"], "main");
    let source = lines["source"].as_str().unwrap();
    assert!(source.ends_with("/main"), "{source}");
    drop(running);

    rig.write(2..3, "b");
    let args = json!({"namespace": "d", "pod": "p", "resume": {source: lines["cursor"]}});
    let mut running = rig.pair.open(Ask::new("logs.follow", &args));
    let (name, lines) = event(&mut running).await;
    assert_eq!(
        (name.as_str(), &lines["lines"][0][1]),
        ("lines", &json!("2 b"))
    );
    assert_eq!(lines["lines"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_follow_of_a_pod_ends_well_with_its_containers() {
    let rig = Rig::new(Setting::default()).await;
    rig.write(0..1, "a");
    let mut running = rig.pair.open(ask());
    event(&mut running).await;
    event(&mut running).await;
    rig.kubelet.stop("p", "main");
    let state =
        json!({"name": "main", "restartCount": 0, "state": {"terminated": {"exitCode": 0}}});
    rig.kubelet.pod("p", "Never", "Succeeded", &[state]);
    let (name, ended) = event(&mut running).await;
    assert_eq!(
        (name.as_str(), &ended["reason"]),
        ("ended", &json!("completed"))
    );
    assert_eq!(end(&mut running).await, Ok(None));
}

#[tokio::test]
async fn arguments_that_make_no_sense_are_refused() {
    let rig = Rig::new(Setting::default()).await;
    let cases = [
        json!({}),
        json!({"namespace": "d"}),
        json!({"pod": "p"}),
        json!({"namespace": "d", "pod": "p", "selector": "a=b"}),
        json!({"namespace": "d", "pod": "p", "container": "c", "all_containers": true}),
        json!({"namespace": "d", "pod": "p", "since": "yesterday"}),
        json!({"namespace": "d", "pod": "p", "since": "2026-11-24T11:41:00Z", "since_seconds": 1}),
        json!({"namespace": "d", "pod": "p", "resume": {"u/main": "AQ"}}),
        json!({"namespace": "d", "pod": "../x"}),
        json!({"namespace": "d/pods/x", "selector": ""}),
    ];
    for args in cases {
        let mut running = rig.pair.open(Ask::new("logs.follow", &args));
        assert_eq!(
            end(&mut running).await,
            Err(ErrorCode::BadRequest),
            "{args}"
        );
    }
    let seen = rig.server.seen();
    assert!(seen.is_empty(), "nothing was asked: {seen:?}");
}

#[tokio::test]
async fn without_an_identity_to_run_under_it_is_refused() {
    let impersonate = Setting {
        impersonate: true,
        ..Setting::default()
    };
    let rig = Rig::new(impersonate).await;
    let mut running = rig.pair.open(ask());
    assert_eq!(end(&mut running).await, Err(ErrorCode::Forbidden));
    rig.write(0..1, "a");
    let mut running = rig.pair.open(ask().actor("jane", &["dev"]));
    event(&mut running).await;
    event(&mut running).await;
    for seen in rig.server.seen() {
        assert_eq!(seen.header("impersonate-user"), Some("jane"), "{seen:?}");
        assert_eq!(seen.all("impersonate-group"), ["dev"]);
    }
}

#[tokio::test]
async fn what_the_cluster_says_no_to_is_the_commands_error() {
    let rig = Rig::new(Setting::default()).await;
    let args = json!({"namespace": "d", "pod": "none"});
    let mut running = rig.pair.open(Ask::new("logs.follow", &args));
    assert_eq!(end(&mut running).await, Err(ErrorCode::NotFound));
    let log = "/api/v1/namespaces/d/pods/p/log";
    rig.kubelet.oracle.refuse(log, 403, "Forbidden");
    let mut running = rig.pair.open(ask());
    assert_eq!(end(&mut running).await, Err(ErrorCode::UpstreamRefused));
}

#[tokio::test]
async fn an_api_server_that_goes_away_in_the_middle_is_waited_for() {
    let rig = Rig::new(Setting::default()).await;
    rig.write(0..1, "a");
    let mut running = rig.pair.open(ask());
    event(&mut running).await;
    event(&mut running).await;
    rig.kubelet.oracle.refuse("/", 503, "ServiceUnavailable");
    rig.kubelet.hang_up();
    let (name, trouble) = event(&mut running).await;
    assert_eq!(name, "trouble");
    assert!(
        trouble["message"].as_str().unwrap().contains("503"),
        "{trouble}"
    );
    rig.write(1..2, "b");
    rig.kubelet.oracle.accept("/");
    loop {
        let (name, value) = event(&mut running).await;
        if name == "lines" {
            assert_eq!(value["lines"][0][1], "1 b");
            return;
        }
    }
}

#[tokio::test]
async fn a_cancel_in_the_middle_closes_what_was_opened() {
    let rig = Rig::new(Setting::default()).await;
    rig.write(0..1, "a");
    let mut running = rig.pair.open(ask());
    event(&mut running).await;
    event(&mut running).await;
    running.reader.reset(ErrorCode::Cancelled);
    drop(running.writer);
    // Idle connections are kept; what streams is not. The server notices with its next bytes.
    eventually("the log is not read any more", || {
        rig.write(1..2, &"x".repeat(1000));
        rig.server.open() <= 2
    })
    .await;
}

#[tokio::test]
async fn a_slow_reader_keeps_the_lines_in_the_cluster() {
    let rig = Rig::new(Setting::default()).await;
    let text = "x".repeat(10_000);
    rig.write(0..2_000, &text);
    let mut slow = rig.pair.open(ask());
    event(&mut slow).await;
    // 20 MB are there; a window of credit and the sockets' buffers are all that is taken of it.
    let sent = || rig.kubelet.sent.load(SeqCst);
    let (before, still) = (AtomicUsize::new(0), AtomicUsize::new(0));
    eventually("the log stands still", || {
        let same = before.swap(sent(), SeqCst) == sent() && sent() > 0;
        let times = still.load(SeqCst);
        still.store(if same { times + 1 } else { 0 }, SeqCst);
        times > 100
    })
    .await;
    assert!(sent() < 15_000_000, "{}", sent());
    let mut quick = rig.pair.open(ask());
    event(&mut quick).await;
    let (_, lines) = event(&mut quick).await;
    assert_eq!(lines["lines"][0][1], format!("0 {text}"));
    drop(quick);
    let mut count = 0;
    let all = async {
        while count < 2_000 {
            let (name, lines) = event(&mut slow).await;
            assert_eq!(name, "lines");
            for line in lines["lines"].as_array().unwrap() {
                assert_eq!(line[1], format!("{count} {text}"));
                count += 1;
            }
        }
    };
    let patience = std::time::Duration::from_secs(60);
    let all = tokio::time::timeout(patience, all).await;
    all.expect("all lines come");
}
