//! The uplink against a scripted gateway: real TLS on loopback, answers that may misbehave.

pub(crate) mod peer;
mod proxy;
mod refusals;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pipeops_agent::config::secret::{Secret, SecretSource};
use pipeops_agent::config::value::ApiUrl;
use pipeops_agent::limits;
use pipeops_agent::metrics::Metrics;
use pipeops_agent::session::{Incoming, Notice, Open};
use pipeops_agent::status::{Phase, Snapshot, Status};
use pipeops_agent::tasks::Tasks;
use pipeops_agent::uplink::{Config, Outcome, Uplink};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use peer::{Peer, Reply, Versions, registered};

const SOON: Duration = Duration::from_secs(20);

struct Nobody;

impl Open for Nobody {
    fn open(&self, _incoming: Incoming) {}
    fn notice(&self, _notice: Notice) {}
}

/// A file that is gone with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(text: &str) -> Self {
        let name = format!("pipeops-it-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a scratch file");
        Self(path)
    }

    fn replace(&self, text: &str) {
        std::fs::write(&self.0, text).expect("a scratch file");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

struct Running {
    status: Status,
    stop: CancellationToken,
    outcome: JoinHandle<Outcome>,
    _ca: Scratch,
}

fn config(peer: &Peer, ca: &Scratch) -> Config {
    Config {
        api_url: ApiUrl::parse(&peer.url).expect("the peer's URL"),
        token: SecretSource::Given(Secret::token("t0ken").expect("a token")),
        ca_file: Some(ca.0.clone()),
        transports: Default::default(),
        binary: true,
        cluster_name: "it".into(),
        labels: [("region".into(), "eu".into())].into(),
        agent_id: None,
        instance: "i-1".into(),
        epoch: 7,
        access: "readonly",
        proxy: None,
        exit_when_refused: false,
        grace: Duration::from_secs(2),
    }
}

fn start(peer: &Peer) -> Running {
    start_with(peer, &peer.ca_pem, |_| {})
}

fn start_with(peer: &Peer, ca_pem: &str, change: impl FnOnce(&mut Config)) -> Running {
    let ca = Scratch::new(ca_pem);
    let mut config = config(peer, &ca);
    change(&mut config);
    let (status, tasks) = (Status::default(), Tasks::new());
    let metrics = Metrics::default();
    let uplink = Uplink::new(
        config,
        status.clone(),
        &metrics,
        Arc::new(Nobody),
        tasks.clone(),
    );
    let stop = CancellationToken::new();
    let outcome = tasks.spawn("uplink", uplink.run(stop.clone()));
    Running {
        status,
        stop,
        outcome,
        _ca: ca,
    }
}

impl Running {
    async fn until(&self, what: impl FnMut(&Snapshot) -> bool) -> Snapshot {
        let mut watch = self.status.watch();
        let found = timeout(SOON, watch.wait_for(what)).await;
        found
            .unwrap_or_else(|_| panic!("not reached: {:?}", self.status.snapshot()))
            .expect("the status lives")
            .clone()
    }

    /// The cause of the first failure.
    async fn cause(&self) -> &'static str {
        let now = self.until(|now| now.last_error.is_some()).await;
        now.last_error.expect("just waited for").cause
    }

    async fn stop(self) -> Outcome {
        self.stop.cancel();
        let outcome = timeout(SOON, self.outcome).await;
        outcome.expect("it stops").expect("it does not panic")
    }
}

#[tokio::test]
async fn an_agent_registers_shakes_hands_and_reports() {
    let mut peer = Peer::start(|_, head| match head.path() {
        "/register" => registered(),
        _ => Reply::session(1_000),
    });
    let agent = start(&peer);
    let register = peer.seen().await;
    assert_eq!(register.line, "POST /register HTTP/1.1");
    assert_eq!(register.header("authorization"), Some("Bearer t0ken"));
    let body: serde_json::Value = serde_json::from_slice(&register.body).expect("JSON");
    assert_eq!(body["agent"]["id"], "n-it");
    assert_eq!(body["cluster"]["name"], "it");
    let labels = serde_json::json!({"region": "eu"});
    assert_eq!(body["cluster"]["labels"], labels);
    assert_eq!(body["protocols"][0], "pipeops.agent.v2");
    let channel = peer.seen().await;
    assert_eq!(channel.line, "GET /channel HTTP/1.1");
    assert_eq!(channel.header("authorization"), Some("Bearer t0ken"));
    assert_eq!(
        channel.header("sec-websocket-protocol"),
        Some("pipeops.agent.v2")
    );
    assert_eq!(channel.header("sec-websocket-extensions"), None);

    let hello = peer.message().await;
    assert_eq!(hello["type"], "hello");
    assert_eq!(hello["cluster"]["labels"], labels);
    assert_eq!(
        hello["features"],
        serde_json::json!(["binary", "zstd", "resume"])
    );
    assert_eq!(hello["agent"]["instance"], "i-1");
    let report = peer.message().await;
    assert_eq!(
        (&report["type"], &report["seq"]),
        (&"report".into(), &1.into())
    );
    assert_eq!(report["access"], "readonly");
    assert_eq!(report["api_server"], false);

    // What changes is reported, and a cluster that becomes known makes the agent itself.
    agent.until(|now| now.phase == Phase::Connected).await;
    agent
        .status
        .set_api_server(Ok(("6f1c".into(), "v1.36.0".into())));
    let report = peer.message_of("report").await;
    assert_eq!(report["cluster_uid"], "6f1c");
    let goaway = peer.message_of("goaway").await;
    assert_eq!(goaway["code"], "shutting_down");
    let hello = peer.message_of("hello").await;
    assert_eq!(hello["agent"]["id"], "c-6f1c");

    assert_eq!(agent.stop().await, Outcome::Stopped);
    assert_eq!(peer.message_of("goaway").await["code"], "shutting_down");
}

#[tokio::test]
async fn an_authority_that_is_not_ours_is_refused_before_a_byte_of_http() {
    let mut peer = Peer::start(|_, _| registered());
    let other = Peer::start(|_, _| registered());
    let agent = start_with(&peer, &other.ca_pem, |_| {});
    assert_eq!(agent.cause().await, "tls_untrusted");
    assert!(peer.nothing_seen());
    agent.stop().await;
}

#[tokio::test]
async fn a_gateway_that_only_speaks_tls_1_2_is_refused() {
    let mut peer = Peer::start_with(Versions::Tls12, |_, _| registered());
    let agent = start(&peer);
    assert_eq!(agent.cause().await, "tls_version");
    assert!(peer.nothing_seen());
    agent.stop().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_token_goes_nowhere_else() {
    let mut other = Peer::start(|_, _| registered());
    let location = format!("{}/register", other.url);
    let peer = Peer::start(move |_, _| {
        Reply::raw(format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        ))
    });
    let agent = start(&peer);
    assert_eq!(agent.cause().await, "redirect");
    assert!(other.nothing_seen());
    agent.stop().await;
}

#[tokio::test]
async fn answers_that_are_no_registration_are_named() {
    let large = format!("{{\"cluster_id\":\"{}\"}}", "x".repeat(70_000));
    let elsewhere = r#"{"cluster_id":"it","channels":["wss://evil.example/channel"],"reconnect":{"first_ms":10,"cap_ms":1000}}"#;
    for (kind, body, cause) in [
        ("text/html", "<html>please log in</html>", "web_page"),
        ("text/plain", "  <!doctype html>", "web_page"),
        ("application/json", "{\"cluster_id\":1}", "registration"),
        ("application/json", large.as_str(), "registration"),
        ("application/json", elsewhere, "registration"),
    ] {
        let answer = peer::answer("200 OK", kind, body);
        let peer = Peer::start(move |_, _| Reply::raw(answer.clone()));
        let agent = start(&peer);
        assert_eq!(agent.cause().await, cause, "{body:.40}");
        agent.stop().await;
    }
}

#[tokio::test]
async fn a_refused_token_is_tried_again_slowly_and_shown_as_auth() {
    let peer = Peer::start(|_, _| Reply::status("401 Unauthorized"));
    let agent = start(&peer);
    let now = agent.until(|now| now.phase == Phase::Refused).await;
    let error = now.last_error.as_ref().expect("an error");
    assert_eq!(error.cause, "unauthorized");
    let reasons: Vec<_> = now.unready().iter().map(|reason| reason.as_str()).collect();
    assert!(reasons.contains(&"auth"), "{reasons:?}");
    agent.stop().await;

    let agent = start_with(&peer, &peer.ca_pem, |config| {
        config.exit_when_refused = true;
    });
    let outcome = timeout(SOON, agent.outcome).await.expect("it ends");
    assert_eq!(outcome.expect("no panic"), Outcome::Refused);
}

#[tokio::test]
async fn a_token_that_was_replaced_while_in_use_is_tried_at_once() {
    let token = Arc::new(Scratch::new("old"));
    let file = Arc::clone(&token);
    let mut peer = Peer::start(move |_, head| {
        if head.header("authorization") == Some("Bearer old") {
            file.replace("new");
            return Reply::status("401 Unauthorized");
        }
        match head.path() {
            "/register" => registered(),
            _ => Reply::session(1_000),
        }
    });
    let path = token.0.clone();
    let agent = start_with(&peer, &peer.ca_pem, |config| {
        config.token = SecretSource::File(path);
    });
    agent.until(|now| now.phase == Phase::Connected).await;
    assert_eq!(
        peer.seen().await.header("authorization"),
        Some("Bearer old")
    );
    assert_eq!(
        peer.seen().await.header("authorization"),
        Some("Bearer new")
    );
    assert_eq!(agent.status.snapshot().reconnects["unauthorized"], 1);
    agent.stop().await;
}

#[tokio::test]
async fn a_decommissioned_agent_stays_away() {
    let mut peer = Peer::start(|_, _| Reply::status("410 Gone"));
    let agent = start(&peer);
    agent.until(|now| now.phase == Phase::Stopped).await;
    peer.seen().await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(peer.nothing_seen(), "410 was followed by another attempt");
    assert_eq!(agent.stop().await, Outcome::Stopped);
}

#[tokio::test]
async fn retry_after_is_the_least_wait() {
    let mut peer = Peer::start(|connection, head| match (connection, head.path()) {
        (1, _) => Reply::raw(
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"
                .into(),
        ),
        (_, "/register") => registered(),
        _ => Reply::session(1_000),
    });
    let agent = start(&peer);
    peer.seen().await;
    let refused = Instant::now();
    peer.seen().await;
    let waited = Instant::now() - refused;
    assert!(waited >= Duration::from_millis(1_900), "{waited:?}");
    assert!(waited <= Duration::from_millis(4_000), "{waited:?}");
    agent.until(|now| now.phase == Phase::Connected).await;
    agent.stop().await;
}

#[tokio::test]
async fn the_role_follows_what_the_gateway_says() {
    let says = |first: &str, then: &str| {
        vec![
            peer::welcome(300).replace("primary", first),
            format!(r#"{{"type":"role","role":"{then}"}}"#),
        ]
    };
    let (named, taken) = (says("replica", "primary"), says("primary", "replica"));
    let peer = Peer::start(move |connection, head| match head.path() {
        "/register" => registered(),
        _ => Reply::Channel {
            says: if connection == 2 {
                named.clone()
            } else {
                taken.clone()
            },
            cut: false,
        },
    });
    let agent = start(&peer);
    agent
        .until(|now| now.phase == Phase::Connected && now.is_primary())
        .await;
    agent.stop().await;
    let agent = start(&peer);
    agent.until(|now| now.sessions == 1 && !now.primary).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_permanent_refusal_in_the_handshake_is_no_hot_loop() {
    let peer = Peer::start(|_, head| match head.path() {
        "/register" => registered(),
        _ => {
            Reply::says(r#"{"type":"refused","code":"forbidden","message":"no","permanent":true}"#)
        }
    });
    let agent = start(&peer);
    let now = agent.until(|now| now.phase == Phase::Refused).await;
    assert_eq!(now.reconnects["forbidden"], 1);
    agent.stop().await;
}

#[tokio::test]
async fn a_handshake_that_breaks_the_rules_is_given_up() {
    let unasked = peer::welcome(1_000).replace("[\"binary\"]", "[\"binary\",\"zstd\"]");
    for (first, cause) in [
        (r#"{"type":"ping","nonce":1}"#.to_owned(), "protocol_error"),
        ("not json".to_owned(), "malformed"),
        (
            r#"{"type":"new","critical":true}"#.to_owned(),
            "unsupported",
        ),
        (unasked, "protocol_error"),
    ] {
        let said = first.clone();
        let mut peer = Peer::start(move |_, head| match head.path() {
            "/register" => registered(),
            _ => Reply::says(&said),
        });
        let agent = start_with(&peer, &peer.ca_pem, |config| {
            config.binary = !first.contains("welcome");
        });
        if first.contains("welcome") {
            // Without binary only the others were offered, so `binary` was not asked for.
            assert_eq!(
                peer.message_of("hello").await["features"],
                serde_json::json!(["zstd", "resume"])
            );
        }
        assert_eq!(agent.cause().await, cause, "{first}");
        agent.stop().await;
    }
}

#[tokio::test]
async fn an_upgrade_that_does_not_arrive_is_told_from_a_refusal() {
    for (answer, cause) in [
        ("400 Bad Request", "upgrade"),
        ("426 Upgrade Required", "upgrade"),
        ("501 Not Implemented", "upgrade"),
        ("200 OK", "upgrade"),
        ("403 Forbidden", "forbidden"),
    ] {
        let peer = Peer::start(move |_, head| match head.path() {
            "/register" => registered(),
            _ => Reply::status(answer),
        });
        let agent = start(&peer);
        assert_eq!(agent.cause().await, cause, "{answer}");
        agent.stop().await;
    }
}

#[tokio::test]
async fn an_upgrade_without_our_subprotocol_is_a_failure() {
    let peer = Peer::start(|_, head| match head.path() {
        "/register" => registered(),
        _ => Reply::upgrade_without_protocol(head),
    });
    let agent = start(&peer);
    assert_eq!(agent.cause().await, "upgrade");
    agent.stop().await;
}

#[tokio::test]
async fn a_lost_channel_comes_back_within_the_window_that_welcome_gave() {
    let mut peer = Peer::start(|connection, head| match head.path() {
        "/register" => registered(),
        // The first session's connection is cut right after welcome.
        _ if connection == 2 => Reply::cut_after(peer::welcome(500)),
        _ => Reply::session(500),
    });
    let agent = start(&peer);
    agent.until(|now| now.sessions == 1).await;
    agent.until(|now| now.phase == Phase::Waiting).await;
    let lost = Instant::now();
    agent.until(|now| now.sessions == 2).await;
    let back = Instant::now() - lost;
    assert!(
        back <= Duration::from_millis(500) + Duration::from_secs(2),
        "{back:?}"
    );
    assert_eq!(peer.seen().await.line, "POST /register HTTP/1.1");
    assert_eq!(agent.status.snapshot().reconnects.values().sum::<u64>(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn heartbeats_come_as_often_as_welcome_says() {
    let mut peer = Peer::start(|_, head| match head.path() {
        "/register" => registered(),
        _ => Reply::session(200),
    });
    let agent = start(&peer);
    for seq in 1..=3 {
        let heartbeat = peer.message_of("heartbeat").await;
        assert_eq!(heartbeat["seq"], seq);
        assert_eq!(heartbeat["streams"], 0);
    }
    agent.stop().await;
}

#[tokio::test]
async fn a_gateway_that_never_answers_is_given_up_after_the_deadline() {
    let peer = Peer::start(|_, _| Reply::silence());
    let agent = start(&peer);
    let began = Instant::now();
    assert_eq!(agent.cause().await, "timeout");
    let took = Instant::now() - began;
    assert!(took < limits::REGISTER + Duration::from_secs(3), "{took:?}");
    agent.stop().await;
}
