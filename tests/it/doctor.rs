//! `check` against staged faults, over real sockets and a real gateway: each names its culprit.
//!
//! Those that need a real API server, nginx or another clock are in `tests/cluster/checks/78-doctor`.

mod middle;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pipeops_agent::cluster::{Cluster, Config as ClusterConfig, Credentials};
use pipeops_agent::config::proxy::Proxy;
use pipeops_agent::config::secret::{Secret, SecretSource};
use pipeops_agent::config::value::ApiUrl;
use pipeops_agent::doctor::{self, Line, Report, Setting};
use pipeops_agent::health::connectivity::{Outcome, Target};
use pipeops_agent::health::{self, Monitor};
use pipeops_agent::limits;
use pipeops_agent::policy::Access;
use pipeops_agent::status::Status;
use pipeops_agent::tasks::Tasks;
use pipeops_agent::uplink::probe;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::gateway::rig::{Rig, rig};
use crate::support::apiserver::{ApiServer, Then, answer};
use crate::support::step_by_step;
use middle::{Meddles, Middle, certificate};

/// Longer than all deadlines of a check together.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is checked, and what would have to be well.
struct Stage {
    rig: Rig,
    tasks: Tasks,
    ca: PathBuf,
    setting: Setting,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.tasks.stop();
        let _ = std::fs::remove_file(&self.ca);
    }
}

fn nobody() -> SocketAddr {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap()
}

impl Stage {
    /// A gateway and its agent's token; the API server is down.
    fn new() -> Self {
        let rig = rig(|_| {});
        let token = rig.tokens.add_agent("prod").unwrap();
        let ca = std::env::temp_dir().join(format!("pipeops-it-{:016x}", rand::random::<u64>()));
        std::fs::write(&ca, &rig.ca_pem).unwrap();
        let setting = Setting {
            api_url: url(rig.address),
            token: SecretSource::Given(Secret::token(&token).unwrap()),
            ca_file: Some(ca.clone()),
            proxy: None,
            cluster: cluster(nobody()),
            access: Access::Readonly,
            impersonate: false,
            idle: Duration::ZERO,
        };
        Self {
            rig,
            tasks: Tasks::new(),
            ca,
            setting,
        }
    }

    /// The same, with something in between.
    async fn through(issuer: &str, meddles: Meddles, trusted: bool) -> Self {
        let mut stage = Self::new();
        let (to, ca) = (stage.rig.address, stage.rig.ca_pem.clone());
        let middle = Middle::start(issuer, meddles, to, &ca, &stage.tasks).await;
        if trusted {
            std::fs::write(&stage.ca, &middle.ca_pem).unwrap();
        }
        stage.setting.api_url = url(middle.address);
        stage
    }

    async fn report(&self) -> Report {
        let looked = doctor::examine(&self.setting, |_| {});
        tokio::time::timeout(PATIENCE, looked).await.unwrap()
    }

    /// The line of this name.
    async fn line(&self, name: &str) -> Line {
        named(&self.report().await, name)
    }
}

fn url(address: SocketAddr) -> ApiUrl {
    ApiUrl::parse(&format!("https://localhost:{}", address.port())).unwrap()
}

fn cluster(address: SocketAddr) -> ClusterConfig {
    ClusterConfig {
        credentials: Credentials::Direct {
            url: format!("http://{address}").parse().unwrap(),
            ca_pem: None,
            token: None,
        },
    }
}

fn named(report: &Report, name: &str) -> Line {
    let lines = report.lines();
    let found = lines.iter().find(|line| line.check.name == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {}", report.json()))
        .clone()
}

/// It failed, has a remedy, and says all of this.
#[track_caller]
fn blames(line: &Line, words: &[&str]) {
    judges(line, Outcome::Fail, words);
}

fn judges(line: &Line, outcome: Outcome, words: &[&str]) {
    let text = doctor::text(line, false);
    assert_eq!(line.outcome(), outcome, "{text}");
    assert!(line.check.remedy.is_some(), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

#[tokio::test]
async fn a_good_way_is_good_and_leaves_nothing_behind() {
    let mut stage = Stage::new();
    stage.setting.idle = Duration::from_millis(300);
    let report = stage.report().await;
    for line in report
        .lines()
        .iter()
        .filter(|line| line.category() == "control_plane")
    {
        assert_eq!(line.outcome(), Outcome::Ok, "{}", doctor::text(line, false));
    }
    let user = stage.rig.tokens.add_user("ada", &[], &["*"]).unwrap();
    let clusters = stage.rig.get("/clusters", &user).await.json();
    let seen = &clusters["clusters"][0];
    assert_eq!(seen["id"], "prod");
    assert_eq!(seen["state"], "never", "{seen}");
    assert!(seen["last_error"].is_null(), "{seen}");
}

#[tokio::test]
async fn a_proxy_that_opens_the_connection_is_named_by_its_issuer() {
    let stage = Stage::through("Corp Proxy CA", Meddles::Not, false).await;
    let report = stage.report().await;
    let words = [
        "the certificate of localhost is issued by 'Corp Proxy CA'",
        "a proxy opens this connection",
        "--ca-file",
        "docs/check.md#control_planetls",
    ];
    blames(&named(&report, "control_plane.tls"), &words);
    let after = named(&report, "control_plane.websocket");
    assert_eq!(after.outcome(), Outcome::Skipped);
    assert_eq!(report.exit_code(), 1);
    // What it asks for helps.
    let trusted = Stage::through("Corp Proxy CA", Meddles::Not, true).await;
    let line = trusted.line("control_plane.websocket").await;
    assert_eq!(
        line.outcome(),
        Outcome::Ok,
        "{}",
        doctor::text(&line, false)
    );
}

#[tokio::test]
async fn an_authority_of_another_installation_is_no_proxy() {
    let stage = Stage::through("PipeOps development CA", Meddles::Not, false).await;
    // It is the last of a bundle with more names than are shown.
    let mut bundle = String::new();
    for at in 0..=limits::CHECK_AUTHORITIES {
        bundle.push_str(&certificate(&format!("Authority {at}")).0);
    }
    std::fs::write(&stage.ca, bundle + &stage.rig.ca_pem).unwrap();
    let line = stage.line("control_plane.tls").await;
    blames(
        &line,
        &["another key", "--ca-file", "'PipeOps development CA'"],
    );
    assert!(
        !line.check.message.contains("proxy"),
        "{}",
        line.check.message
    );
}

#[tokio::test]
async fn a_stripped_upgrade_is_told_from_a_refused_token() {
    let stage = Stage::through("Corp Proxy CA", Meddles::StripsUpgrade, true).await;
    let report = stage.report().await;
    let words = [
        "without its Upgrade",
        "something in between strips it",
        "SSE and POST pass, and the agent goes by them",
        "nginx",
    ];
    let line = named(&report, "control_plane.websocket");
    judges(&line, Outcome::Warn, &words);
    // The test of that way left nothing behind either.
    let user = stage.rig.tokens.add_user("ada", &[], &["*"]).unwrap();
    let clusters = stage.rig.get("/clusters", &user).await.json();
    assert!(clusters["clusters"][0]["last_error"].is_null());
    let auth = named(&report, "control_plane.auth");
    assert_eq!(
        auth.outcome(),
        Outcome::Ok,
        "{}",
        doctor::text(&auth, false)
    );
    let idle = named(&report, "control_plane.idle");
    assert_eq!(idle.outcome(), Outcome::Skipped);
}

#[tokio::test]
async fn a_login_page_is_not_the_control_plane_s_answer() {
    let page = Meddles::Answers(
        "HTTP/1.1 200 OK\r\nserver: Portal/1\r\ncontent-type: text/html\r\n\
         content-length: 6\r\n\r\n<html>",
    );
    let stage = Stage::through("Corp Proxy CA", page, true).await;
    let report = stage.report().await;
    let words = [
        "'Portal/1'",
        "a web page",
        "200",
        "SSE and POST do not pass either",
    ];
    blames(&named(&report, "control_plane.websocket"), &words);
    let auth = named(&report, "control_plane.auth");
    assert_eq!(auth.outcome(), Outcome::Skipped, "nobody judged the token");
}

#[tokio::test]
async fn versions_too_far_apart_are_named_in_the_control_plane_s_words() {
    let newer = Meddles::Answers(
        "HTTP/1.1 426 Upgrade Required\r\ncontent-type: application/json\r\n\
         content-length: 71\r\n\r\n\
         {\"code\":\"unsupported\",\"message\":\"this gateway speaks pipeops.agent.v9\"}",
    );
    let stage = Stage::through("Corp Proxy CA", newer, true).await;
    let report = stage.report().await;
    let words = ["no version of the protocol in common", "pipeops.agent.v9"];
    blames(&named(&report, "control_plane.websocket"), &words);
    let auth = named(&report, "control_plane.auth");
    assert_eq!(auth.outcome(), Outcome::Ok, "the token comes before it");
}

#[tokio::test]
async fn a_proxy_that_makes_no_tunnel_is_blamed_and_not_the_control_plane() {
    let mut stage = Stage::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    stage.tasks.spawn("proxy", async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let refused = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
            let mut asked = [0; 512];
            if matches!(socket.read(&mut asked).await, Ok(1..)) {
                let _ = socket.write_all(refused).await;
            }
        }
    });
    stage.setting.proxy = Some(Proxy::parse(&proxy).unwrap());
    let report = stage.report().await;
    let words = [
        proxy.as_str(),
        "makes no tunnel",
        "403",
        "CONNECT",
        "NO_PROXY",
    ];
    blames(&named(&report, "control_plane.proxy"), &words);
    assert_eq!(named(&report, "control_plane.tcp").outcome(), Outcome::Ok);
    assert_eq!(connections.load(Ordering::Relaxed), 1, "each step goes on");
    assert_eq!(
        named(&report, "control_plane.tls").outcome(),
        Outcome::Skipped
    );
}

#[tokio::test]
async fn a_control_plane_is_not_tested_again_at_once() {
    let stage = Stage::new();
    let server = ApiServer::start(&stage.tasks, async |_, mut peer| {
        peer.closed().await;
        (peer, Then::Close)
    })
    .await;
    let way = Cluster::connect(cluster(server.address), &stage.tasks)
        .await
        .unwrap();
    let health = health::Config {
        control_plane: Some(probe::Config {
            api_url: stage.setting.api_url.clone(),
            token: stage.setting.token.clone(),
            ca_file: stage.setting.ca_file.clone(),
            proxy: None,
        }),
        ..health::Config::default()
    };
    let monitor = Monitor::new(way, Status::default(), health);
    let tls = async || {
        let checks = monitor.test(Target::ControlPlane).await;
        let tls = checks.into_iter().find(|it| it.name == "control_plane.tls");
        tls.unwrap()
    };
    let first = tls().await;
    assert_eq!(first.outcome, Outcome::Ok, "{}", first.message);
    std::fs::write(&stage.ca, "no certificate").unwrap();
    assert_eq!(tls().await, first, "to the last digit of its time");
    tokio::time::sleep(limits::CHECK_LASTS).await;
    assert_eq!(tls().await.outcome, Outcome::Fail);
}

#[tokio::test]
async fn a_refused_token_is_the_token_s_fault_alone() {
    let mut stage = Stage::new();
    let user = stage.rig.tokens.add_user("ada", &[], &["*"]).unwrap();
    for token in ["wrong", &user] {
        stage.setting.token = SecretSource::Given(Secret::token(token).unwrap());
        let report = stage.report().await;
        let words = ["it refuses the token", "PIPEOPS_TOKEN_FILE"];
        blames(&named(&report, "control_plane.auth"), &words);
        let websocket = named(&report, "control_plane.websocket");
        assert_eq!(websocket.outcome(), Outcome::Skipped);
        assert!(!report.json().contains(&user), "no token is ever shown");
    }
}

#[tokio::test]
async fn a_path_that_cuts_or_forgets_what_is_idle_is_found_with_its_time() {
    let second = Duration::from_secs(1);
    let mut stage = Stage::through("Corp Proxy CA", Meddles::CutsIdle(second), true).await;
    stage.setting.idle = Duration::from_secs(4);
    let words = [
        "the path cuts a channel that is idle for 1.",
        "idle timeout",
    ];
    blames(&stage.line("control_plane.idle").await, &words);
    let mut stage = Stage::through("Corp Proxy CA", Meddles::ForgetsIdle(second), true).await;
    stage.setting.idle = Duration::from_millis(1500);
    let words = ["the path forgets a channel that is idle for 1.5 s"];
    blames(&stage.line("control_plane.idle").await, &words);
}

#[tokio::test]
async fn a_clock_is_compared_with_the_control_plane_s() {
    let date = Meddles::Dates("Sun, 06 Nov 1994 08:49:37 GMT");
    let stage = Stage::through("Corp Proxy CA", date, true).await;
    let words = ["ahead of the control plane's", "NTP"];
    blames(&stage.line("control_plane.clock").await, &words);
}

#[tokio::test]
async fn a_name_a_port_and_a_file_that_are_not_there_are_told_apart() {
    let mut stage = Stage::new();
    stage.setting.api_url = ApiUrl::parse("https://no-such-host.invalid").unwrap();
    let report = stage.report().await;
    let words = ["the name no-such-host.invalid cannot be resolved", "DNS"];
    blames(&named(&report, "control_plane.dns"), &words);
    let tcp = named(&report, "control_plane.tcp");
    assert_eq!(tcp.outcome(), Outcome::Skipped);
    // The API server of this stage is down as well, and that is another line.
    blames(&named(&report, "api_server.tcp"), &["refused", "port"]);
    for name in ["clock.skew", "permissions.preset", "cluster.metrics"] {
        assert_eq!(named(&report, name).outcome(), Outcome::Skipped, "{name}");
    }
    stage.setting.api_url = url(nobody());
    blames(
        &stage.line("control_plane.tcp").await,
        &["nobody listens there"],
    );
    stage.setting.api_url = url(stage.rig.address);
    std::fs::write(&stage.ca, "no certificate").unwrap();
    blames(
        &stage.line("control_plane.tls").await,
        &["no usable certificate", "--ca-file"],
    );
}

#[tokio::test]
async fn waiting_ends_when_all_is_well_or_the_time_is_over() {
    let mut stage = Stage::new();
    let token = std::env::temp_dir().join(format!("pipeops-it-{:016x}", rand::random::<u64>()));
    std::fs::write(&token, "wrong").unwrap();
    stage.setting.token = SecretSource::File(token.clone());
    let server = ApiServer::start(&stage.tasks, async |_, mut peer| {
        peer.send(answer("200 OK", "", "{\"status\":{\"allowed\":true}}"))
            .await;
        (peer, Then::KeepAlive)
    })
    .await;
    stage.setting.cluster = cluster(server.address);
    let good = stage.rig.tokens.add_agent("prod").unwrap();
    let mut tries = 0;
    let report = doctor::wait(&stage.setting, PATIENCE, |report| {
        tries += 1;
        assert_eq!(report.failed(), ["control_plane.auth"]);
        std::fs::write(&token, &good).unwrap();
    });
    let report = tokio::time::timeout(PATIENCE, report).await.unwrap();
    assert_eq!((report.failed(), tries), (vec![], 1), "{}", report.json());
    std::fs::write(&token, "wrong").unwrap();
    let most = limits::CHECK_AGAIN / 2;
    let report = doctor::wait(&stage.setting, most, |_| panic!("no second try")).await;
    assert_eq!(report.failed(), ["control_plane.auth"]);
    let _ = std::fs::remove_file(&token);
}

#[tokio::test]
async fn every_line_is_explained_where_it_says() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/check.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut names: Vec<_> = Stage::new()
        .report()
        .await
        .lines()
        .iter()
        .map(|line| line.check.name)
        .collect();
    names.extend([
        "control_plane.proxy",
        "control_plane.channel",
        "control_plane.reconnects",
    ]);
    names.extend([
        "api_server.dns",
        "api_server.tls",
        "api_server.auth",
        "api_server.ready",
    ]);
    names.extend(["api_server.credentials"]);
    for name in names {
        assert!(page.contains(&format!("\n### {name}\n")), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_way_on_which_nothing_comes_back_costs_a_check_its_deadline_and_no_more() {
    let stage = Stage::new();
    // It takes connections, and never says a word of TLS.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let began = tokio::time::Instant::now();
    let prober = probe::Prober::new(probe::Config {
        api_url: url(mute.local_addr().unwrap()),
        token: stage.setting.token.clone(),
        ca_file: stage.setting.ca_file.clone(),
        proxy: None,
    });
    let found = prober.probe().await;
    let slow = |step: &Option<Result<Duration, probe::Failure>>| matches!(step, Some(Err(failure)) if failure.kind == probe::Kind::Slow);
    assert!(slow(&found.tcp), "{found:?}");
    let took = tokio::time::Instant::now() - began;
    assert!(
        took >= limits::CHECK_CONNECT && took < limits::CHECK_CONNECT * 2,
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_answered_costs_a_check_its_deadline_and_no_more() {
    let stage = Stage::through("Corp Proxy CA", Meddles::NeverAnswers, true).await;
    step_by_step(&stage.tasks);
    let began = tokio::time::Instant::now();
    let prober = probe::Prober::new(probe::Config {
        api_url: stage.setting.api_url.clone(),
        token: stage.setting.token.clone(),
        ca_file: stage.setting.ca_file.clone(),
        proxy: None,
    });
    let found = prober.probe().await;
    let (took, channel) = (began.elapsed(), found.channel.unwrap());
    assert!(matches!(channel.answer, probe::Answer::Slow), "{channel:?}");
    assert!((limits::CHECK_ANSWER..limits::CHECK_ANSWER * 2).contains(&channel.took));
    assert!(found.requests.is_some_and(|passed| passed.is_err()));
    let both = limits::CHECK_ANSWER + limits::CHECK_CONNECT;
    assert!(took < both + limits::CHECK_ANSWER, "{took:?}");
}
