//! Channels and panels.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pipeops_agent::limits;
use pipeops_agent::policy::Access;
use pipeops_agent::tasks::Tasks;
use serde_json::{Value, json};

use super::{Running, read, start};
use crate::support::apiserver::{ApiServer, Then, answer};
use crate::support::soon;

/// A server that answers everything with this body, until it is told to be away.
async fn server(tasks: &Tasks, body: String) -> (ApiServer, Arc<AtomicBool>) {
    let away = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&away);
    let server = ApiServer::start(tasks, move |_, mut peer| {
        let away = now.load(Ordering::SeqCst);
        let status = if away { "503 Away" } else { "200 OK" };
        let answer = answer(status, "", if away { "{}" } else { &body });
        async move {
            peer.send(answer).await;
            (peer, Then::Close)
        }
    })
    .await;
    (server, away)
}

/// The data of the channel, once `good` says so.
async fn data(running: &Running, name: &str, good: impl Fn(&Value) -> bool) -> Value {
    let live = running.live.iter().find(|live| live.name == name).unwrap();
    let mut data = live.data.clone();
    let found = data.wait_for(|data| good(data));
    soon(found).await.unwrap().as_ref().clone()
}

#[tokio::test]
async fn a_query_tells_what_was_picked_and_keeps_it_while_its_source_is_away() {
    let tasks = Tasks::new();
    let pods = json!({"kind": "PodList", "items": [
        {"metadata": {"name": "a", "managedFields": "x"}, "spec": {"env": "hunter2"},
         "status": {"phase": "Running"}},
        {"metadata": {"name": "<b>"}, "status": {"phase": "Pending"}}]});
    let (api, away) = server(&tasks, pods.to_string()).await;
    let config = json!({"channels": [{"name": "shop-pods", "message_type": "get_shop_pods",
        "every": "2s", "kubernetes": {
            "path": "/api/v1/namespaces/shop/pods?limit=100",
            "fields": {"count": "/items/#", "table": {"each": "/items",
                "pick": {"name": "/metadata/name", "phase": "/status/phase"}}}}}]});
    let running = start(config, &api).await;
    assert_eq!(
        running.live[0].message_type.as_deref(),
        Some("get_shop_pods")
    );
    let told = data(&running, "shop-pods", |data| data["count"] == 2).await;
    let wanted = json!({"count": 2, "table": [
        {"name": "a", "phase": "Running"}, {"name": "<b>", "phase": "Pending"}]});
    assert_eq!(told, wanted, "nothing but what was picked");
    away.store(true, Ordering::SeqCst);
    let told = data(&running, "shop-pods", |data| !data["error"].is_null()).await;
    assert_eq!(told["error"], "the API server answered 503");
    assert_eq!(told["count"], 2);
    away.store(false, Ordering::SeqCst);
    let told = data(&running, "shop-pods", |data| data["error"].is_null()).await;
    assert_eq!(told, wanted);
    running.stop().await;
}

#[tokio::test]
async fn an_endpoints_series_are_added_up() {
    let tasks = Tasks::new();
    let (api, _) = server(&tasks, "{}".to_owned()).await;
    let text = "# TYPE requests counter\nrequests{code=\"200\"} 3\nrequests{code=\"500\"} 1\n";
    let (shop, away) = server(&tasks, text.to_owned()).await;
    let url = format!("http://{}/metrics", shop.address);
    let config = json!({"channels": [{"name": "shop", "every": 2, "prometheus": {"url": url,
        "metrics": {"all": "requests", "failed": "requests{code=\"500\"}", "none": "nothing"}}}]});
    let running = start(config, &api).await;
    let told = data(&running, "shop", |data| data["all"] == 4).await;
    assert_eq!(told, json!({"all": 4, "failed": 1, "none": null}));
    assert!(
        api.seen().is_empty(),
        "the API server has nothing to do with it"
    );
    away.store(true, Ordering::SeqCst);
    let told = data(&running, "shop", |data| !data["error"].is_null()).await;
    assert_eq!(told["error"], "it answers 503");
    running.stop().await;
}

#[tokio::test]
async fn what_is_too_large_is_an_error_of_its_channel() {
    let tasks = Tasks::new();
    let items = vec![json!({"name": "x".repeat(900)}); 100];
    let (api, _) = server(&tasks, json!({ "items": items }).to_string()).await;
    let line = format!("# {}\n", "x".repeat(997));
    let line = line.repeat(limits::EXTENSION_SCRAPE / 1000 + 1);
    let (flood, _) = server(&tasks, line).await;
    let query = |name: &str, field: Value| json!({"name": name, "kubernetes": {"path": "/api/v1/pods", "fields": {"a": field}}});
    let table = json!({"each": "/items", "pick": {"name": "/name"}});
    let url = format!("http://{}/", flood.address);
    let config = json!({"channels": [
        query("table", table), query("count", json!("/items/#")),
        {"name": "flood", "timeout": "30s", "prometheus": {"url": url, "metrics": {"up": "up"}}},
    ]});
    let running = start(config, &api).await;
    let told = data(&running, "table", |data| !data["error"].is_null()).await;
    let most = limits::EXTENSION_VALUES;
    let said = told["error"].as_str().unwrap();
    assert!(
        said.ends_with(&format!("{most} at most are told")),
        "{said}"
    );
    data(&running, "count", |data| data["a"] == 100).await;
    let told = data(&running, "flood", |data| !data["error"].is_null()).await;
    let said = format!(
        "its answer is larger than {} bytes",
        limits::EXTENSION_SCRAPE
    );
    assert_eq!(told["error"], said);
    running.stop().await;
}

#[tokio::test]
async fn an_answer_of_the_api_server_has_a_bound() {
    let tasks = Tasks::new();
    let long = "x".repeat(limits::EXTENSION_QUERY);
    let (api, _) = server(&tasks, json!({ "a": long }).to_string()).await;
    let config = json!({"channels": [{"name": "a",
        "kubernetes": {"path": "/api/v1/pods", "fields": {"count": "/items/#"}}}]});
    let running = start(config, &api).await;
    let told = data(&running, "a", |data| !data["error"].is_null()).await;
    let said = format!(
        "the answer is larger than {} bytes",
        limits::EXTENSION_QUERY
    );
    assert_eq!(told["error"], said);
    running.stop().await;
}

#[test]
fn panels_are_listed_as_they_were_declared() {
    let config = json!({
    "channels": [{"name": "shop", "prometheus": {"url": "http://shop/", "metrics": {"rate": "r"}}}],
    "panels": [
        {"title": "Requests", "source": "shop", "field": "/rate", "kind": "spark", "unit": "/s"},
        {"title": "State", "source": "health", "field": "/state"},
    ]});
    let panels = read(config, Access::Readonly).unwrap().panels();
    let wanted = json!({"panels": [
        {"title": "Requests", "source": "shop", "field": "/rate", "kind": "spark", "unit": "/s"},
        {"title": "State", "source": "health", "field": "/state", "kind": "text", "unit": null},
    ]});
    assert_eq!(panels, wanted);
}

#[tokio::test]
async fn so_many_queries_are_held_at_once_and_the_others_wait_for_their_turn() {
    let tasks = Tasks::new();
    let (open, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (now, peak) = (Arc::clone(&open), Arc::clone(&most));
    let api = ApiServer::start(&tasks, move |_, mut peer| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            peer.send(answer("200 OK", "", "{\"items\":[1]}")).await;
            (peer, Then::Close)
        }
    })
    .await;
    let names = ["a", "b", "c", "d", "e", "f"];
    let channels: Vec<_> = names
        .iter()
        .map(|name| {
            json!({"name": name, "every": "2s", "kubernetes": {
                "path": "/api/v1/pods?limit=1", "fields": {"count": "/items/#"}}})
        })
        .collect();
    let running = start(json!({ "channels": channels }), &api).await;
    for name in names {
        data(&running, name, |data| data["count"] == 1).await;
    }
    assert_eq!(
        most.load(Ordering::SeqCst),
        limits::EXTENSION_QUERIES_AT_ONCE
    );
    running.stop().await;
}
