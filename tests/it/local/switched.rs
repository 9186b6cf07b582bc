//! What the configuration switches off: it is not served, and the answer names the key.

use pipeops_agent::local::Config;
use serde_json::{Value, json};

use super::realtime::{Stream, connect, hear_of, say};
use super::*;

/// A key, how it is set, and the routes that go with it.
type Switch = (&'static str, fn(&mut Config), &'static [&'static str]);

const SWITCHES: [Switch; 7] = [
    (
        "features.health_monitoring",
        |config| config.features.health_monitoring = false,
        &["/api/health/detailed"],
    ),
    (
        "features.runtime_metrics",
        |config| config.features.runtime_metrics = false,
        &["/api/metrics/runtime"],
    ),
    (
        "features.feature_detection",
        |config| config.features.feature_detection = false,
        &["/api/status/features"],
    ),
    (
        "features.connectivity_testing",
        |config| config.features.connectivity_testing = false,
        &["/api/status/connectivity"],
    ),
    (
        "server.enable_dashboard",
        |config| config.dashboard = false,
        &["/dashboard"],
    ),
    (
        "server.enable_websocket",
        |config| config.websocket = false,
        &["/ws"],
    ),
    (
        "server.enable_sse",
        |config| config.sse = false,
        // Without a parameter the logs are a bad request where they are served.
        &["/api/realtime/events?channels=x", "/api/realtime/logs"],
    ),
];

#[tokio::test]
async fn each_switch_takes_away_its_own_routes_and_says_which_key_it_is() {
    for (off, set, _) in SWITCHES {
        let local = start_with(set).await;
        for (key, _, routes) in SWITCHES {
            for route in routes {
                let (code, body) = local.ask(&format!("GET {route}")).await;
                let disabled = code == 404 && body.contains("\"disabled\"") && body.contains(key);
                assert_eq!(disabled, key == off, "{off} off, {route}: {code} {body}");
                assert_eq!(code == 404, key == off, "{off} off, {route}: {code} {body}");
            }
        }
        for probe in ["/health", "/version", "/metrics", "/api/status"] {
            assert_eq!(local.ask(&format!("GET {probe}")).await.0, 200, "{probe}");
        }
        local.tasks.stop();
    }
}

#[tokio::test]
async fn a_channel_that_is_switched_off_is_offered_by_nothing_and_told_to_nobody() {
    let local = start_with(|config| {
        config.features.health_monitoring = false;
        config.features.runtime_metrics = false;
    })
    .await;
    let there = json!(["status", "events", "commands"]);
    let mut socket = connect(&local, &[]).await.expect("a WebSocket");
    assert_eq!(hear_of(&mut socket, "welcome").await["channels"], there);
    for name in ["health", "metrics"] {
        say(
            &mut socket,
            &json!({"type": "subscribe", "channels": [name]}),
        )
        .await;
        let error = hear_of(&mut socket, "error").await;
        assert_eq!(error["code"], "unknown_channel", "{name}");
    }
    say(&mut socket, &json!({"type": "get_metrics"})).await;
    assert_eq!(hear_of(&mut socket, "error").await["code"], "disabled");

    let (code, body) = local.ask("GET /api/realtime/events?channels=health").await;
    assert_eq!((code, body.contains("unknown_channel")), (400, true));
    let (_, panels) = local.ask("GET /api/panels").await;
    let panels: Value = serde_json::from_str(&panels).expect("JSON");
    assert_eq!(panels["channels"], there);
    let (_, status) = local.ask("GET /api/status").await;
    assert!(status.contains(r#"{"enabled":false,"name":"health_monitoring"}"#));
    // Who names no channel gets those that are there.
    let mut stream = Stream::open(&local, "", None).await;
    assert_eq!(stream.next().await.0, "status");
}
