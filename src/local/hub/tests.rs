//! The hub without a socket.

use std::time::Duration;

use serde_json::json;

use super::*;

fn hub() -> Hub {
    let shop = vec!["shop".to_owned()];
    Hub::new(0xE, Counter::default(), shop, Channels::default())
}

fn all() -> Channels {
    Channel::ALL
        .into_iter()
        .fold(Channels::default(), Channels::with)
}

fn enter(hub: &Hub, last: Option<&str>) -> (Client, Arc<Hold>) {
    let hold = Arc::<Hold>::default();
    (hub.enter(all(), last, Arc::clone(&hold)), hold)
}

async fn heard(client: &mut Client, count: usize) -> Vec<String> {
    let mut heard = Vec::new();
    for _ in 0..count {
        let update = client.next().await.expect("it is not dropped");
        let text = String::from_utf8(update.sse.to_vec()).unwrap();
        let mut lines = text.lines();
        let name = lines.next().and_then(|line| line.strip_prefix("event: "));
        heard.push(format!("{} {}", name.unwrap(), lines.next().unwrap()));
    }
    assert!(client.queue.is_empty(), "there is more");
    heard
}

#[tokio::test]
async fn a_new_client_hears_how_everything_stands_and_one_that_comes_back_what_it_missed() {
    let hub = hub();
    for n in 0..3 {
        hub.publish(Channel::Events, "t", &json!({ "n": n }));
        hub.publish(Channel::Status, "t", &json!({ "n": n }));
    }
    let (mut client, _) = enter(&hub, None);
    let first = heard(&mut client, 4).await;
    assert_eq!(
        first,
        [
            "status id: e-6",
            "events id: e-1",
            "events id: e-3",
            "events id: e-5"
        ]
    );
    let (mut back, _) = enter(&hub, Some("e-4"));
    assert_eq!(
        heard(&mut back, 2).await,
        ["status id: e-6", "events id: e-5"]
    );
    let (mut other, _) = enter(&hub, Some("d-999"));
    assert_eq!(heard(&mut other, 4).await.len(), 4, "another process's id");
}

#[tokio::test(start_paused = true)]
async fn who_stops_reading_is_cut_off_and_the_others_hear_all() {
    let hub = hub();
    let (_stopped, cut) = enter(&hub, None);
    let (mut reads, holds) = enter(&hub, None);
    let mut seen = 0;
    for n in 0..(2 * limits::LOCAL_QUEUE) {
        hub.publish(Channel::Metrics, "t", &json!({ "n": n }));
        seen += heard(&mut reads, 1).await.len();
    }
    assert!(cut.is_cut().is_cancelled() && !holds.is_cut().is_cancelled());
    assert_eq!(seen, 2 * limits::LOCAL_QUEUE);
    assert_eq!(hub.inner.dropped.get(), 1);

    // At one a second it is found by the clock, long before its queue is full.
    let (_slow, cut) = enter(&hub, None);
    for n in 0..=limits::LOCAL_STALL.as_secs() + 1 {
        assert!(!cut.is_cut().is_cancelled(), "{n}");
        hub.publish(Channel::Metrics, "t", &json!({ "n": n }));
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    hub.publish(Channel::Metrics, "t", &json!({}));
    assert!(cut.is_cut().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn silence_is_no_stall() {
    let hub = hub();
    let (mut client, hold) = enter(&hub, None);
    for _ in 0..3 {
        tokio::time::advance(10 * limits::LOCAL_STALL).await;
        hub.publish(Channel::Health, "t", &json!({}));
        hub.publish(Channel::Health, "t", &json!({}));
        heard(&mut client, 2).await;
    }
    assert!(!hold.is_cut().is_cancelled());
}

#[tokio::test]
async fn what_is_wanted_is_what_clients_want() {
    let hub = hub();
    let wanted = hub.wanted();
    assert!(wanted.borrow().is_empty());
    let only = Channels::default().with(Channel::Metrics);
    let client = hub.enter(only, None, Arc::default());
    assert_eq!(*wanted.borrow(), only);
    client.subscribe(Channels::default().with(Channel::Events));
    client.unsubscribe(Channels::default().with(Channel::Metrics));
    assert_eq!(*wanted.borrow(), Channels::default().with(Channel::Events));
    drop(client);
    assert!(wanted.borrow().is_empty());
}

#[tokio::test]
async fn the_operators_own_channels_are_channels_like_the_others() {
    let hub = hub();
    assert_eq!(hub.names().last(), Some(&"shop"));
    assert_eq!(hub.parse(["health", "sho"]), Err("sho"));
    let shop = hub.parse(["shop"]).unwrap();
    hub.publish(Channel::Own(0), "t", &json!({ "n": 1 }));
    let mut client = hub.enter(shop, None, Arc::default());
    hub.publish(Channel::Health, "t", &json!({ "n": 2 }));
    hub.publish(Channel::Own(0), "t", &json!({ "n": 3 }));
    let told = heard(&mut client, 2).await;
    assert_eq!(told, ["shop id: e-1", "shop id: e-3"]);
    client.unsubscribe(shop);
    hub.publish(Channel::Own(0), "t", &json!({ "n": 4 }));
    assert!(heard(&mut client, 0).await.is_empty());
}

/// Every channel has a bit and a place of its own.
#[test]
fn as_many_channels_as_may_be_declared_fit() {
    let names = (0..limits::EXTENSION_CHANNELS).map(|at| format!("own-{at}"));
    let hub = Hub::new(
        0xE,
        Counter::default(),
        names.collect(),
        Channels::default(),
    );
    let all = hub.parse(hub.names()).unwrap();
    assert!(hub.all().all(|channel| all.has(channel)));
    let last = hub.all().last().unwrap();
    hub.publish(last, "t", &json!({}));
    assert!(!hub.parse(["own-14"]).unwrap().has(last));
}
