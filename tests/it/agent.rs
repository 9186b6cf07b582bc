//! The agent as a program beside the gateway as one: how it ends, and what its flags do.
//!
//! The API server behind it is scripted, because what reaches it is what is judged.

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};

use http::StatusCode;
use pipeops_agent::tasks::Tasks;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::gateway::process::{Running, get, running, until, wait};
use crate::gateway::rig::tls;
use crate::support::apiserver::{ApiServer, Then, answer};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pipeops-agent");
const NAMESPACE: &str = r#"{"metadata":{"uid":"6f1c3a52-0b7e-4a58-9a30-000000000001"}}"#;
const VERSION: &str = r#"{"major":"1","minor":"36","gitVersion":"v1.36.0"}"#;

/// A running agent; killed at the end.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Agent {
    fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(id, signal).unwrap();
    }
}

/// Answers what an agent asks for itself, any other GET with `{}`, and a watch with silence.
async fn api_server(tasks: &Tasks) -> ApiServer {
    ApiServer::start(tasks, |seen, mut peer| async move {
        let json = "content-type: application/json\r\n";
        if seen.target.contains("watch=1") {
            peer.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            peer.closed().await;
            return (peer, Then::Close);
        }
        let body = match seen.target.as_str() {
            "/api/v1/namespaces/kube-system" => NAMESPACE,
            "/version" => VERSION,
            _ => "{}",
        };
        peer.send(answer("200 OK", json, body)).await;
        (peer, Then::KeepAlive)
    })
    .await
}

/// An agent of the gateway's cluster `prod`, with this token.
fn agent(gateway: &Running, api: Option<&ApiServer>, token: &str, flags: &[&str]) -> Agent {
    let at = |name: &str| gateway.directory.join(name);
    fs::write(at("agent.token"), token).unwrap();
    let mut command = Command::new(PROGRAM);
    command.env_clear().arg("run");
    if let Some(api) = api {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", api.address)}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        });
        fs::write(at("kubeconfig"), kubeconfig.to_string()).unwrap();
        command.arg("--kubeconfig").arg(at("kubeconfig"));
    }
    let child = command
        .arg("--token-file")
        .arg(at("agent.token"))
        .arg("--ca-file")
        .arg(at("ca.crt"))
        .arg(format!("--api-url=https://{}", gateway.address))
        .args(["--listen", "127.0.0.1:0"])
        .args(flags)
        .stdout(Stdio::null())
        .stderr(fs::File::create(at("agent.log")).unwrap())
        .spawn();
    Agent(child.expect("it starts"))
}

async fn connected(gateway: &Running, user: &str) {
    let ca = gateway.ca();
    until("the cluster answers", async || {
        let path = "/clusters/prod/k8s/api/v1/pods";
        get(gateway.address, &ca, path, user).await.ok() == Some(StatusCode::OK)
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_is_refused_for_good_exits_with_3_when_it_was_told_to() {
    let gateway = running("refused", 1024);
    let tasks = Tasks::new();
    let api = api_server(&tasks).await;
    let flags = ["--exit-when-refused"];
    let mut agent = agent(&gateway, Some(&api), "pat_none_of_this_gateway", &flags);
    assert_eq!(wait(&mut agent.0).code(), Some(3));
    let log = fs::read_to_string(gateway.directory.join("agent.log")).unwrap();
    assert!(!log.contains("pat_none_of_this_gateway"), "{log}");
}

#[tokio::test]
async fn a_first_signal_drains_and_a_second_one_ends_at_once() {
    let gateway = running("signals", 1024);
    let token = gateway.token(&["add", "agent", "prod"]);
    let user = gateway.token(&["add", "user", "ada"]);
    let tasks = Tasks::new();
    let api = api_server(&tasks).await;

    let mut idle = agent(&gateway, Some(&api), &token, &["--access", "admin"]);
    connected(&gateway, &user).await;
    idle.signal(rustix::process::Signal::TERM);
    assert_eq!(wait(&mut idle.0).code(), Some(0));

    // A watch keeps the drain waiting.
    let mut busy = agent(&gateway, Some(&api), &token, &["--access", "admin"]);
    connected(&gateway, &user).await;
    let mut watch = tls(gateway.address, &gateway.ca()).await.unwrap();
    let ask = format!(
        "GET /clusters/prod/k8s/api/v1/pods?watch=1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {user}\r\n\r\n"
    );
    watch.write_all(ask.as_bytes()).await.unwrap();
    until("the watch reached the API server", async || {
        api.seen()
            .iter()
            .any(|seen| seen.target.contains("watch=1"))
    })
    .await;
    busy.signal(rustix::process::Signal::TERM);
    until("the drain began", async || {
        let log = fs::read_to_string(gateway.directory.join("agent.log")).unwrap();
        log.contains("Stopping")
    })
    .await;
    assert!(
        busy.0.try_wait().unwrap().is_none(),
        "it waits for the watch"
    );
    busy.signal(rustix::process::Signal::INT);
    assert_eq!(wait(&mut busy.0).code(), Some(130));
}

#[tokio::test]
async fn with_impersonation_the_api_server_hears_who_asks() {
    let gateway = running("impersonate", 1024);
    let token = gateway.token(&["add", "agent", "prod"]);
    let user = gateway.token(&["add", "user", "ada", "--group", "dev"]);
    let tasks = Tasks::new();
    let api = api_server(&tasks).await;
    let _agent = agent(&gateway, Some(&api), &token, &["--impersonate"]);
    connected(&gateway, &user).await;
    let seen = api.seen();
    let asked = seen.iter().find(|seen| seen.target == "/api/v1/pods");
    let asked = asked.expect("the caller's request arrived");
    assert_eq!(asked.header("impersonate-user"), Some("ada"));
    assert!(asked.all("impersonate-group").contains(&"dev"));
    let own = seen.iter().find(|seen| seen.target == "/version");
    let own = own.expect("the agent asks for itself too");
    assert_eq!(own.header("impersonate-user"), None);
}

#[test]
fn in_cluster_without_a_service_account_says_what_is_missing() {
    let output = Command::new(PROGRAM)
        .env_clear()
        .args(["run", "--in-cluster", "--api-url", "https://127.0.0.1:1"])
        .args(["--listen", "127.0.0.1:0"])
        .env("PIPEOPS_TOKEN", "t")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let mut text = String::new();
    output.stderr.as_slice().read_to_string(&mut text).unwrap();
    assert!(
        text.contains("service account's credentials") && text.contains("--kubeconfig"),
        "{text}"
    );
}
