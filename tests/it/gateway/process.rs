//! The program itself: what it prints, how it stops, files that change, descriptors that run out.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::rig::tls;
use crate::support::{PATIENCE, soon};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pipeops-gateway");

/// A running gateway and its directory; killed and removed at the end.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) directory: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Running {
    pub(crate) fn ca(&self) -> String {
        fs::read_to_string(self.directory.join("ca.crt")).unwrap()
    }

    pub(crate) fn token(&self, arguments: &[&str]) -> String {
        let output = Command::new(PROGRAM)
            .args(["token", "--tokens"])
            .arg(self.directory.join("tokens.json"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn signal(&self, signal: &str) {
        let done = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        assert!(done.unwrap().success());
    }
}

/// A gateway in a process of its own, under a hard limit of open files.
pub(crate) fn running(name: &str, files: u32) -> Running {
    let directory = std::env::temp_dir().join(format!("pipeops-gw-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -n {files}; exec \"$@\""))
        .args(["sh", PROGRAM, "serve", "--listen", "127.0.0.1:0"])
        .args(["--grace", "1", "--dev-cert"])
        .arg(&directory)
        .arg("--tokens")
        .arg(directory.join("tokens.json"))
        .stdout(Stdio::piped())
        .stderr(fs::File::create(directory.join("log")).unwrap())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let address = line
        .trim()
        .rsplit_once("https://")
        .unwrap()
        .1
        .parse()
        .unwrap();
    Running {
        child,
        address,
        directory,
    }
}

/// The status of one GET on a connection of its own.
pub(crate) async fn get(
    address: SocketAddr,
    ca: &str,
    path: &str,
    token: &str,
) -> std::io::Result<StatusCode> {
    use tokio::io::AsyncReadExt;
    let mut io = tls(address, ca).await?;
    let ask = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    io.write_all(ask.as_bytes()).await?;
    let mut answer = Vec::new();
    let _ = io.read_to_end(&mut answer).await;
    let code = answer.get(9..12).ok_or(std::io::ErrorKind::UnexpectedEof)?;
    StatusCode::from_bytes(code).map_err(std::io::Error::other)
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(waited.await.is_ok(), "it never came to: {what}");
}

pub(crate) fn wait(child: &mut Child) -> std::process::ExitStatus {
    for _ in 0..200 {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the program did not end");
}

#[tokio::test]
async fn tokens_of_the_file_count_and_stop_counting_while_it_runs() {
    let running = running("tokens", 1024);
    let ca = running.ca();
    running.token(&["add", "agent", "prod"]);
    let user = running.token(&["add", "user", "alice", "--group", "dev"]);
    let path = "/clusters/prod/k8s/api/v1/pods";
    until("the token counts", async || {
        get(running.address, &ca, path, &user).await.unwrap() == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    let listed = running.token(&["list"]);
    let id = user.split('_').nth(1).unwrap();
    assert!(listed.contains(id) && listed.contains("alice"));
    assert!(!listed.contains(&user));
    running.token(&["remove", id]);
    until("the token counts no more", async || {
        get(running.address, &ca, path, &user).await.unwrap() == StatusCode::UNAUTHORIZED
    })
    .await;
}

#[tokio::test]
async fn a_certificate_that_changes_is_served_without_a_restart_and_a_broken_one_is_not() {
    use pipeops_agent::gateway::tls::dev::DevFiles;
    let running = running("cert", 1024);
    let before = running.ca();
    soon(get(running.address, &before, "/health", ""))
        .await
        .unwrap();
    // A half-written pair changes nothing.
    let chain = running.directory.join("tls.crt");
    let whole = fs::read_to_string(&chain).unwrap();
    fs::write(&chain, &whole[..whole.len() / 2]).unwrap();
    until("the broken pair was seen", async || {
        fs::read_to_string(running.directory.join("log"))
            .unwrap()
            .contains("Certificate kept as before")
    })
    .await;
    soon(get(running.address, &before, "/health", ""))
        .await
        .unwrap();
    // A new one under a new CA is served to whoever trusts that.
    let other = running.directory.join("new");
    let files = DevFiles::in_directory(&other, &["localhost"]).unwrap();
    fs::copy(&files.key, running.directory.join("tls.key")).unwrap();
    fs::copy(&files.chain, &chain).unwrap();
    let after = fs::read_to_string(&files.ca).unwrap();
    until("the new certificate is served", async || {
        get(running.address, &after, "/health", "").await.is_ok()
    })
    .await;
    assert!(get(running.address, &before, "/health", "").await.is_err());
}

#[tokio::test]
async fn running_out_of_descriptors_neither_ends_nor_spins_the_gateway() {
    let running = running("emfile", 48);
    let ca = running.ca();
    let mut taken = Vec::new();
    for _ in 0..100 {
        taken.push(TcpStream::connect(running.address).await.unwrap());
    }
    let log = running.directory.join("log");
    until("accepting failed", async || {
        fs::read_to_string(&log)
            .unwrap()
            .contains("Accepting failed")
    })
    .await;
    let before = processor_ticks(running.child.id());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let spent = processor_ticks(running.child.id()) - before;
    assert!(spent < 30, "{spent} hundredths of a second in one");
    drop(taken);
    until("it accepts again", async || {
        let asked = get(running.address, &ca, "/health", "");
        matches!(
            tokio::time::timeout(Duration::from_secs(2), asked).await,
            Ok(Ok(StatusCode::OK))
        )
    })
    .await;
}

/// User and system time of a process, in hundredths of a second.
fn processor_ticks(id: u32) -> u64 {
    let stat = fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat")).unwrap();
    let fields: Vec<_> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test]
async fn the_first_signal_drains_and_exits_well() {
    let mut running = running("drain", 1024);
    let ca = running.ca();
    soon(get(running.address, &ca, "/health", ""))
        .await
        .unwrap();
    running.signal("-TERM");
    assert_eq!(wait(&mut running.child).code(), Some(0));
}

#[tokio::test]
async fn the_second_signal_exits_at_once() {
    let mut running = running("second", 1024);
    let ca = running.ca();
    // A connection in the middle of a request keeps the drain waiting for its grace.
    let mut io = tls(running.address, &ca).await.unwrap();
    io.write_all(b"POST /register HTTP/1.1\r\nhost: x\r\n")
        .await
        .unwrap();
    running.signal("-TERM");
    until("the drain began", async || {
        fs::read_to_string(running.directory.join("log"))
            .unwrap()
            .contains("Gateway is leaving")
    })
    .await;
    running.signal("-INT");
    let code = wait(&mut running.child).code();
    assert!(matches!(code, Some(0 | 130)), "{code:?}");
}

#[test]
fn a_gateway_without_a_certificate_says_which_flags_name_one() {
    let output = Command::new(PROGRAM).arg("serve").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let mut text = String::new();
    output.stderr.as_slice().read_to_string(&mut text).unwrap();
    assert!(
        text.contains("--tls-cert") && text.contains("--dev-cert"),
        "{text}"
    );
}
