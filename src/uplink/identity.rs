//! Under which id the agent connects.
//!
//! Owns the choice. Invariant: replicas of one agent agree on it, and a reinstalled pod is itself,
//! because it derives from the cluster and not from the process.

use super::Config;
use crate::status::Snapshot;

/// Under which id this session runs.
#[derive(Debug, Clone)]
pub(super) struct AgentId {
    pub(super) text: String,
}

impl AgentId {
    /// The given id; else one made of the cluster's UID; else, while that is not known, of the
    /// cluster's name.
    pub(super) fn of(config: &Config, now: &Snapshot) -> Self {
        let text = match (&config.agent_id, now.api_server.uid()) {
            (Some(id), _) => id.clone(),
            (None, Some(uid)) => format!("c-{uid}"),
            (None, None) => named(&config.cluster_name),
        };
        Self { text }
    }

    /// Whether the id is another by now.
    pub(super) fn changed(&mut self, config: &Config, now: &Snapshot) -> bool {
        let next = Self::of(config, now);
        let changed = next.text != self.text;
        *self = next;
        changed
    }
}

fn named(cluster: &str) -> String {
    let id: String = cluster
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(240)
        .collect();
    format!("n-{id}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::{Secret, SecretSource};
    use crate::config::value::ApiUrl;
    use crate::limits;
    use crate::status::Status;

    #[test]
    fn replicas_agree_on_an_id_as_soon_as_the_cluster_is_known() {
        let config = |agent_id: Option<&str>| Config {
            api_url: ApiUrl::parse("https://x").unwrap(),
            token: SecretSource::Given(Secret::token("t").unwrap()),
            ca_file: None,
            transports: Default::default(),
            binary: true,
            cluster_name: "Ost / 1".into(),
            labels: Default::default(),
            agent_id: agent_id.map(str::to_owned),
            instance: "i".into(),
            epoch: 0,
            access: "readonly",
            proxy: None,
            exit_when_refused: false,
            grace: limits::CLOSING,
        };
        let status = Status::default();
        let now = status.snapshot();
        let mut id = AgentId::of(&config(None), &now);
        assert_eq!(id.text, "n-Ost---1");
        assert!(!id.changed(&config(None), &now));
        status.set_api_server(Ok(("6f1c".into(), "v1.36.0".into())));
        assert!(id.changed(&config(None), &status.snapshot()));
        assert_eq!(id.text, "c-6f1c");
        status.set_api_server(Err("gone".into()));
        assert!(!id.changed(&config(None), &status.snapshot()));
        assert_eq!(AgentId::of(&config(Some("mine")), &now).text, "mine");
    }
}
