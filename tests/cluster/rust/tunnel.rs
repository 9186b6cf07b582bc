//! The demo of this build over the real cluster, and a client on either side of it.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kube::config::{KubeConfigOptions, Kubeconfig};

/// A running demo; it ends with this value.
pub(crate) struct Tunnel {
    demo: Child,
    kubeconfig: PathBuf,
}

/// The kubeconfig that leads straight to the API server.
pub(crate) fn direct() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "tests/run says it this way")]
    let env = std::env::var("PIPEOPS_TEST_API").expect("PIPEOPS_TEST_API: run tests/run");
    let text = std::fs::read_to_string(env).unwrap();
    let values: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    PathBuf::from(values["KUBECONFIG"].trim_matches('\''))
}

impl Tunnel {
    pub(crate) fn start() -> Self {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_pipeops-agent"))
            .args(["demo", "--output", "json", "--kubeconfig"])
            .arg(direct())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(demo.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).expect("the demo's one line");
        let kubeconfig = ready["kubeconfig"].as_str().unwrap().into();
        Self { demo, kubeconfig }
    }

    pub(crate) async fn client(&self) -> kube::Client {
        client(&self.kubeconfig).await
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // The kubeconfig is in a folder of its own, which the demo removes when it ends well.
        let pid = rustix::process::Pid::from_child(&self.demo);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.demo.wait();
    }
}

pub(crate) async fn client(kubeconfig: &Path) -> kube::Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    kube::Client::try_from(config).unwrap()
}
