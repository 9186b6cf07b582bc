//! `metrics.watch` (P-104, P-105).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pipeops_agent::limits;
use pipeops_agent::policy::Access;
use pipeops_agent::protocol::ErrorCode;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use super::telling::{all, event, json_server, not_found};
use crate::dispatch::pair;
use crate::support::apiserver::{ApiServer, Seen, Then, answer};
use crate::support::pair::{Ask, Setting};
use crate::support::{eventually, soon};

const USAGE: &str = "/apis/metrics.k8s.io/v1beta1";

fn ask(args: &Value) -> Ask {
    Ask::new("metrics.watch", args)
}

fn readonly() -> Setting {
    Setting {
        access: Access::Readonly,
        ..Setting::default()
    }
}

/// A cluster of two nodes and three pods.
fn cluster(seen: &Seen, measured: bool) -> (&'static str, Value) {
    let used = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
    let pod = |namespace: &str, name: &str| {
        json!({"metadata": {"namespace": namespace, "name": name}, "timestamp": "2026-11-24T12:00:00Z",
               "containers": [{"name": "one", "usage": used("1500001n", "1Ki")},
                              {"name": "two", "usage": used("1m", "1")}]})
    };
    let path = seen.target.split('?').next().unwrap();
    let items = match path.strip_prefix(USAGE) {
        Some(_) if !measured => return not_found(),
        Some("/nodes") => json!([
            {"metadata": {"name": "a"}, "timestamp": "2026-11-24T12:00:00Z", "usage": used("100m", "1Mi")},
            {"metadata": {"name": "b"}, "timestamp": "2026-11-24T12:00:10Z", "usage": used("250000001n", "1000k")},
        ]),
        Some("/pods") => json!([pod("x", "p"), pod("x", "q"), pod("y", "r")]),
        Some("/namespaces/y/pods") => json!([pod("y", "r")]),
        _ if path == "/api/v1/nodes" => {
            let room = json!({"cpu": "2", "memory": "4Gi", "pods": "110"});
            json!([
                {"metadata": {"name": "a"}, "spec": {},
                 "status": {"capacity": room, "allocatable": {"cpu": "1900m", "memory": "4Gi", "pods": "110"},
                            "conditions": [{"type": "Ready", "status": "True"}]}},
                {"metadata": {"name": "b"}, "spec": {"unschedulable": true},
                 "status": {"capacity": room, "allocatable": room,
                            "conditions": [{"type": "Ready", "status": "Unknown"}]}},
            ])
        }
        _ if path == "/api/v1/pods" => json!([
            {"spec": {"nodeName": "a", "containers": [{"resources": {"requests": {"cpu": "100m", "memory": "1Gi"}}}]},
             "status": {"phase": "Running"}},
            {"spec": {"containers": [{"resources": {"limits": {"cpu": "2"}}}]}, "status": {"phase": "Pending"}},
        ]),
        _ => return not_found(),
    };
    (
        "200 OK",
        json!({"kind": "List", "metadata": {}, "items": items}),
    )
}

#[tokio::test]
async fn a_sample_has_sums_first_and_then_what_was_asked_for() {
    let tasks = Tasks::new();
    let server = json_server(&tasks, |seen, _| cluster(seen, true)).await;
    let pair = pair(&server, &tasks, readonly()).await;
    let args = json!({"what": ["containers", "nodes", "namespaces", "cluster"], "samples": 1});
    let (mut events, end) = all(pair.open(ask(&args))).await;
    assert_eq!(end, Ok(None));
    let took = events[4]["sampled"]["took_ms"].take();
    assert!(took.is_u64());
    let one = json!({"name": "one", "cpu_m": 2, "memory": 1024});
    let two = json!({"name": "two", "cpu_m": 1, "memory": 1});
    let pod = |namespace: &str, name: &str| {
        // Rounded once, after the sum.
        json!({"namespace": namespace, "name": name, "cpu_m": 3, "memory": 1025, "containers": [one, two]})
    };
    let wanted = [
        json!({"cluster": {"sample": 1, "measured": "2026-11-24T12:00:10Z", "nodes": 2,
                           "usage": {"cpu_m": 351, "memory": 2_048_576}}}),
        json!({"namespaces": {"sample": 1, "items": [
            {"name": "x", "pods": 2, "usage": {"cpu_m": 6, "memory": 2050}},
            {"name": "y", "pods": 1, "usage": {"cpu_m": 3, "memory": 1025}}]}}),
        json!({"nodes": {"sample": 1, "items": [{"name": "a", "cpu_m": 100, "memory": 1_048_576},
                                                {"name": "b", "cpu_m": 251, "memory": 1_000_000}]}}),
        json!({"pods": {"sample": 1, "items": [pod("x", "p"), pod("x", "q"), pod("y", "r")]}}),
        json!({"sampled": {"sample": 1, "took_ms": null}}),
    ];
    assert_eq!(events, wanted);
}

#[tokio::test]
async fn only_the_pods_that_were_named_are_asked_for() {
    let tasks = Tasks::new();
    let server = json_server(&tasks, |seen, _| cluster(seen, true)).await;
    let pair = pair(&server, &tasks, readonly()).await;
    let args =
        json!({"what": ["pods"], "namespaces": ["y"], "selector": "app in (a,b)", "samples": 1});
    let (events, end) = all(pair.open(ask(&args))).await;
    assert_eq!(end, Ok(None));
    assert_eq!(events[0]["pods"]["items"].as_array().unwrap().len(), 1);
    assert!(events[0]["pods"]["items"][0].get("containers").is_none());
    let targets: Vec<_> = server.seen().into_iter().map(|seen| seen.target).collect();
    let pods = format!("{USAGE}/namespaces/y/pods?labelSelector=app%20in%20%28a%2Cb%29");
    assert_eq!(targets, [format!("{USAGE}/nodes"), pods]);
}

#[tokio::test]
async fn without_metrics_server_what_remains_is_told_until_it_is_there() {
    let tasks = Tasks::new();
    let installed = Arc::new(AtomicBool::new(false));
    let measured = Arc::clone(&installed);
    let server = json_server(&tasks, move |seen, _| {
        cluster(seen, measured.load(Ordering::SeqCst))
    })
    .await;
    let pair = pair(&server, &tasks, readonly()).await;
    let mut running = pair.open(ask(&json!({"every_s": 5})));
    let unavailable = event(&mut running).await;
    assert_eq!(unavailable["unavailable"]["reason"], "not_installed");
    let capacity = event(&mut running).await["capacity"].take();
    let nodes = json!({"total": 2, "ready": 1, "unschedulable": 1,
        "capacity": {"cpu_m": 4000, "memory": 8_589_934_592_i64, "pods": 220},
        "allocatable": {"cpu_m": 3900, "memory": 8_589_934_592_i64, "pods": 220}});
    assert_eq!(capacity["nodes"], nodes);
    let pods = json!({"pending": 1, "running": 1, "succeeded": 0, "failed": 0, "unknown": 0,
        "requests": {"cpu_m": 100, "memory": 1_073_741_824}, "limits": {"cpu_m": 2000, "memory": 0}});
    assert_eq!(capacity["pods"], pods);
    let by_node = event(&mut running).await["node_capacity"]["items"].take();
    assert_eq!(by_node[0]["requests"]["cpu_m"], 100);
    assert_eq!(by_node[0]["pods"], 1);
    assert_eq!(by_node[1]["pods"], 0);

    installed.store(true, Ordering::SeqCst);
    // It comes by itself, at the next interval.
    let mut next = event(&mut running).await;
    while next.get("capacity").is_some() || next.get("node_capacity").is_some() {
        next = event(&mut running).await;
    }
    assert_eq!(next, json!({"available": {}}));
    assert_eq!(event(&mut running).await["cluster"]["nodes"], 2);
}

#[tokio::test]
async fn a_reader_who_stalls_gets_the_newest_sample_afterwards_and_costs_no_request() {
    let tasks = Tasks::new();
    let server = json_server(&tasks, |seen, _| {
        if seen.target.ends_with("/pods") {
            let pods: Vec<_> = (0..20_000)
                .map(|n| json!({"metadata": {"namespace": "n", "name": format!("pod-{n}")}}))
                .collect();
            return ("200 OK", json!({"items": pods}));
        }
        cluster(seen, true)
    })
    .await;
    let pair = pair(&server, &tasks, readonly()).await;
    let mut running = pair.open(ask(&json!({"every_s": 5, "what": ["cluster", "pods"]})));
    assert_eq!(event(&mut running).await["cluster"]["sample"], 1);
    // Nothing is read: the window fills, and the sample is given up with its connection.
    let connections = server.open();
    eventually("the list is given up", || server.open() < connections).await;
    let asked = server.seen().len();
    // The rest of the window, then how the sample ended, then a new one.
    let mut cut = event(&mut running).await;
    while cut.get("pods").is_some() {
        assert_eq!(cut["pods"]["sample"], 1);
        cut = event(&mut running).await;
    }
    assert_eq!(
        server.seen().len(),
        asked,
        "nothing was asked for meanwhile"
    );
    assert_eq!(cut["sampled"]["cut"], true);
    assert_eq!(event(&mut running).await["cluster"]["sample"], 2);
}

#[tokio::test]
async fn a_cancelled_command_closes_what_it_reads() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, mut peer| {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\na\r\n{\"items\":[\r\n";
        peer.send(head).await;
        peer.closed().await;
        (peer, Then::Close)
    })
    .await;
    let pair = pair(&server, &tasks, readonly()).await;
    let running = pair.open(ask(&json!({})));
    eventually("the list is being read", || server.seen().len() == 1).await;
    drop(running);
    eventually("its connection is closed", || server.open() == 0).await;
}

#[tokio::test]
async fn an_api_server_that_goes_away_is_a_reason_and_no_end() {
    let tasks = Tasks::new();
    let server = ApiServer::start(&tasks, async |_, peer| (peer, Then::Close)).await;
    let pair = pair(&server, &tasks, readonly()).await;
    let mut running = pair.open(ask(&json!({})));
    let said = event(&mut running).await;
    assert_eq!(said["unavailable"]["reason"], "failed");
    for (status, reason) in [
        ("403 Forbidden", "forbidden"),
        ("503 Service Unavailable", "not_ready"),
    ] {
        let server = json_server(&tasks, move |_, _| (status, json!({}))).await;
        let pair = crate::dispatch::pair(&server, &tasks, readonly()).await;
        let said = event(&mut pair.open(ask(&json!({})))).await;
        assert_eq!(said["unavailable"]["reason"], reason);
    }
    let empty = json_server(&tasks, |_, _| ("200 OK", json!({"items": []}))).await;
    let pair = crate::dispatch::pair(&empty, &tasks, readonly()).await;
    let said = event(&mut pair.open(ask(&json!({})))).await;
    assert_eq!(said["unavailable"]["reason"], "no_data");
}

#[tokio::test]
async fn a_selector_that_is_none_ends_the_command() {
    let tasks = Tasks::new();
    let server = json_server(&tasks, |seen, _| {
        if seen.target.contains("labelSelector") {
            return (
                "400 Bad Request",
                json!({"reason": "BadRequest", "message": "unable to parse"}),
            );
        }
        cluster(seen, true)
    })
    .await;
    let pair = pair(&server, &tasks, readonly()).await;
    let args = json!({"what": ["pods"], "selector": "a b"});
    let (_, end) = soon(all(pair.open(ask(&args)))).await;
    assert_eq!(end.unwrap_err().code, ErrorCode::UpstreamRefused);
}

#[tokio::test]
async fn namespaces_beyond_the_bound_are_one_sum_without_a_name() {
    let tasks = Tasks::new();
    let server = json_server(&tasks, |seen, _| {
        if !seen.target.starts_with(&format!("{USAGE}/pods")) {
            return cluster(seen, true);
        }
        let pod = |n: usize| {
            json!({"metadata": {"namespace": format!("n{n:05}"), "name": "p"},
                   "containers": [{"name": "c", "usage": {"cpu": "1m", "memory": "1"}}]})
        };
        let pods: Vec<_> = (0..limits::METRICS_NAMESPACES + 3).map(pod).collect();
        ("200 OK", json!({ "items": pods }))
    })
    .await;
    let pair = pair(&server, &tasks, readonly()).await;
    let args = json!({"what": ["namespaces"], "samples": 1});
    let (events, end) = all(pair.open(ask(&args))).await;
    assert_eq!(end, Ok(None));
    let items = events
        .iter()
        .filter_map(|event| event["namespaces"]["items"].as_array());
    let items: Vec<&Value> = items.flatten().collect();
    assert_eq!(items.len(), limits::METRICS_NAMESPACES + 1);
    let rest: Vec<_> = items.iter().filter(|item| item["name"] == "").collect();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0]["pods"], 3);
}

#[tokio::test]
async fn so_many_read_every_pod_at_once_and_the_others_wait_for_their_turn() {
    let tasks = Tasks::new();
    let (open, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (now, peak) = (Arc::clone(&open), Arc::clone(&most));
    let server = ApiServer::start(&tasks, move |seen: Seen, mut peer| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        async move {
            let (status, said) = cluster(&seen, false);
            let survey = seen.target.starts_with("/api/v1/pods?");
            if survey {
                peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                now.fetch_sub(1, Ordering::SeqCst);
            }
            peer.send(answer(status, "", &said.to_string())).await;
            (peer, Then::KeepAlive)
        }
    })
    .await;
    let pair = pair(&server, &tasks, readonly()).await;
    let args = json!({"samples": 1});
    let mut running: Vec<_> = (0..3 * limits::SURVEYS)
        .map(|_| pair.open(ask(&args)))
        .collect();
    for running in &mut running {
        while event(running).await.get("node_capacity").is_none() {}
    }
    assert_eq!(most.load(Ordering::SeqCst), limits::SURVEYS);
}
