//! The programs as a user starts them: what they print, how they end.

mod commands;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

fn agent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pipeops-agent"));
    command
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A program that is killed with its test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.0.id()).expect("a process id");
        let id = rustix::process::Pid::from_raw(id).expect("a process id");
        rustix::process::kill_process(id, signal).expect("it is alive");
    }

    #[expect(clippy::disallowed_methods, reason = "a test waits for a process")]
    fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + SOON;
        while Instant::now() < until {
            if let Some(status) = self.0.try_wait().expect("a child of ours") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not end");
    }

    fn rest(&mut self) -> (String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        if let Some(mut stdout) = self.0.stdout.take() {
            stdout.read_to_string(&mut out).expect("text");
        }
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut err).expect("text");
        }
        (out, err)
    }
}

#[test]
fn the_demo_says_one_line_of_json_drains_and_leaves_nothing_behind() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let child = agent().args(["demo", "--output", "json"]).spawn();
        let mut program = Program(child.expect("it starts"));
        let mut stdout = BufReader::new(program.0.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let said: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(said["cluster"], "sample");
        assert_eq!(said["cluster_id"], "sample");
        let url = said["gateway_url"].as_str().expect("a URL");
        assert!(url.starts_with("https://127.0.0.1:"), "{url}");
        let kubeconfig = Path::new(said["kubeconfig"].as_str().expect("a path"));
        let mode = std::fs::metadata(kubeconfig)
            .expect("the file")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let header = Path::new(said["header"].as_str().expect("a path"));
        let mode = std::fs::metadata(header).expect("the file").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(kubeconfig).expect("the file");
        assert!(
            text.contains(&format!("{url}/clusters/sample/k8s")),
            "{text}"
        );

        program.signal(signal);
        assert_eq!(program.wait().code(), Some(0));
        assert!(!kubeconfig.exists(), "the kubeconfig is still there");
        assert!(!kubeconfig.parent().expect("a folder").exists());
        let mut more = String::new();
        stdout.read_to_string(&mut more).expect("text");
        assert_eq!(more, "", "standard output has more than one line");
        let (_, err) = program.rest();
        assert_eq!(err, "", "a quiet demo logs nothing");
    }
}

#[test]
fn the_demo_shows_itself_on_loopback() {
    use std::io::Write;
    let child = agent().args(["demo", "--output", "json"]).spawn();
    let mut program = Program(child.expect("it starts"));
    let mut stdout = BufReader::new(program.0.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    let said: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let url = said["local_url"].as_str().expect("a URL");
    let address = url.strip_prefix("http://").expect("it is on loopback");
    let ask = |path: &str| {
        let mut socket = std::net::TcpStream::connect(address).expect("it listens");
        socket.set_read_timeout(Some(SOON)).expect("a deadline");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("sent");
        BufReader::new(socket)
    };
    // The cluster as it stands, then its events and the lines of its pods.
    for (path, wanted) in [
        (
            "/api/realtime/events?channels=status",
            "\"ready\":3,\"total\":3",
        ),
        (
            "/api/realtime/events?channels=events",
            "\"source\":\"cluster\"",
        ),
        (
            "/api/realtime/logs?namespace=sample-shop&selector=",
            "\"lines\":[",
        ),
        ("/api/status/connectivity", "api_server.auth"),
        ("/api/status/features", "aggregated_discovery"),
        ("/api/health/detailed", "permissions"),
        ("/dashboard", "<!doctype html>"),
        (
            "/metrics",
            "pipeops_kubernetes_api_calls_total{method=\"GET\",code=\"2xx\"}",
        ),
    ] {
        let lines = ask(path).lines().map(|line| line.expect("text"));
        let seen: Vec<_> = lines
            .inspect(|line| assert!(!line.starts_with("HTTP/1.1 4"), "{path}: {line}"))
            .take(500)
            .find(|line| line.contains(wanted))
            .into_iter()
            .collect();
        assert!(!seen.is_empty(), "{path} has no {wanted}");
    }
    program.signal(rustix::process::Signal::TERM);
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_named_at_once() {
    let child = agent()
        .args(["demo", "--kubeconfig", "/nonexistent"])
        .spawn();
    let mut program = Program(child.expect("it starts"));
    assert_eq!(program.wait().code(), Some(1));
    let (out, err) = program.rest();
    assert_eq!(out, "");
    assert!(
        err.starts_with("pipeops-agent: the kubeconfig cannot be used"),
        "{err}"
    );
}

#[test]
fn a_wrong_configuration_exits_with_2_and_says_everything() {
    let child = agent()
        .env("PIPEOPS_API_URL", "http://insecure.example")
        .env("PIPEOPS_PORT", "many")
        .spawn();
    let mut program = Program(child.expect("it starts"));
    assert_eq!(program.wait().code(), Some(2));
    let (_, err) = program.rest();
    for name in ["PIPEOPS_API_URL", "PIPEOPS_TOKEN_FILE", "PIPEOPS_PORT"] {
        assert!(err.contains(&format!("pipeops-agent: {name}: ")), "{err}");
    }
    let child = agent().arg("--no-such-flag").spawn();
    let mut program = Program(child.expect("it starts"));
    assert_eq!(program.wait().code(), Some(2));
}

#[test]
fn the_version_is_printed_for_people_and_for_programs() {
    let out = agent().arg("version").output().expect("it runs").stdout;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        String::from_utf8(out).expect("text"),
        format!("pipeops-agent {version}\n")
    );
    let out = agent().args(["version", "-o", "json"]).output();
    let json: serde_json::Value =
        serde_json::from_slice(&out.expect("it runs").stdout).expect("JSON");
    assert_eq!(json["version"], version);
}
