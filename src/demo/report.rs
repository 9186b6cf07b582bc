//! What the demo prints.
//!
//! Owns the text for people and the line for programs. Invariant: with `json`, standard output
//! gets that one line and nothing else, ever.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::policy::Access;
use crate::status::Snapshot;

/// The line for programs.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) kubeconfig: PathBuf,
    /// The gateway's authority.
    pub(super) ca: PathBuf,
    /// The user's token as a header, for `curl -H @FILE`.
    pub(super) header: PathBuf,
    pub(super) gateway_url: String,
    pub(super) cluster_id: String,
    pub(super) cluster: String,
    /// The agent's own server, on loopback: it needs no token there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) local_url: Option<String>,
}

impl Report {
    /// Prints it. A closed standard output is no reason not to go on.
    pub(super) fn print(&self, json: bool, now: &Snapshot, access: Access) {
        let text = if json {
            let mut line = serde_json::to_string(self).expect("paths of ours are text");
            line.push('\n');
            line
        } else {
            self.text(now, access)
        };
        let mut out = std::io::stdout();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn text(&self, now: &Snapshot, access: Access) -> String {
        let version = now.api_server.version().unwrap_or("of unknown version");
        let sample = self.cluster == "sample";
        let cluster = if sample {
            format!("sample: built in, with made-up objects, Kubernetes API {version}")
        } else {
            format!("{}: yours, Kubernetes {version}", self.cluster)
        };
        let access = match access {
            Access::Readonly => "readonly: looking is allowed, changing is not",
            Access::Admin => "admin: whatever the kubeconfig's user may do",
        };
        let kubectl = format!("kubectl --kubeconfig {}", self.kubeconfig.display());
        let more = if sample {
            format!("  {kubectl} get events -A --watch\n  {kubectl} top nodes\n")
        } else {
            format!("  {kubectl} get nodes\n  {kubectl} auth whoami\n")
        };
        let namespace = if sample { "sample-shop" } else { "kube-system" };
        let logs = format!(
            "curl -N --cacert {} -H @{} \\\n    '{}/clusters/{}/logs?namespace={namespace}&selector=&tail=2&follow'",
            self.ca.display(),
            self.header.display(),
            self.gateway_url,
            self.cluster_id
        );
        let dashboard = match &self.local_url {
            Some(url) => format!("{url}/dashboard"),
            None => "none".to_owned(),
        };
        format!(
            "\nPipeOps Agent demo: kubectl through one outbound connection, all on this machine\n\
             \n\
             \x20 cluster   {cluster}\n\
             \x20 agent     connected out to the gateway; access {access}\n\
             \x20 gateway   {}, certificate made just now\n\
             \x20 dashboard {dashboard}\n\
             \n\
             Try it in another terminal:\n\
             \n\
             \x20 {kubectl} get pods -A\n\
             {more}\
             \x20 {logs}\n\
             \n\
             Ctrl-C stops it and removes the kubeconfig.\n",
            self.gateway_url
        )
    }
}

/// The last line for people.
pub(super) fn goodbye() {
    let _ = std::io::stdout().write_all(b"\nStopped; the kubeconfig is removed.\n");
}
