//! A kubeconfig for one cluster behind the gateway.
//!
//! Owns its text: JSON, which is YAML too and needs no quoting of its own. Owns not where it is
//! kept: it holds the user's token, so whoever writes it to a file gives that mode 0600.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// What a kubeconfig says.
#[derive(Clone, Copy)]
pub struct Kubeconfig<'a> {
    /// `https://host:port` of the gateway.
    pub gateway: &'a str,
    /// The CA that signed its certificate, in PEM form; nothing for a public one.
    pub ca_pem: Option<&'a str>,
    /// The cluster's id.
    pub cluster: &'a str,
    /// The user's name.
    pub user: &'a str,
    /// The user's token.
    pub token: &'a str,
}

impl std::fmt::Debug for Kubeconfig<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubeconfig")
            .field("gateway", &self.gateway)
            .field("cluster", &self.cluster)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Kubeconfig<'_> {
    /// The file's text.
    pub fn render(&self) -> String {
        let server = format!("{}/clusters/{}/k8s", self.gateway, self.cluster);
        let mut cluster = json!({ "server": server });
        if let Some(ca) = self.ca_pem {
            cluster["certificate-authority-data"] = json!(STANDARD.encode(ca));
        }
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": self.cluster, "cluster": cluster }],
            "users": [{ "name": self.user, "user": { "token": self.token } }],
            "contexts": [{
                "name": self.cluster,
                "context": { "cluster": self.cluster, "user": self.user },
            }],
            "current-context": self.cluster,
        });
        let mut text =
            serde_json::to_string_pretty(&config).expect("a tree of texts always serialises");
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_the_clusters_path_and_the_ca_is_there_when_given() {
        let mut config = Kubeconfig {
            gateway: "https://gw:8443",
            ca_pem: Some("PEM"),
            cluster: "prod",
            user: "alice",
            token: "t",
        };
        let text = config.render();
        assert!(text.contains("https://gw:8443/clusters/prod/k8s"));
        assert!(text.contains(&STANDARD.encode("PEM")));
        config.ca_pem = None;
        assert!(!config.render().contains("certificate-authority-data"));
        assert!(!format!("{config:?}").contains("\"t\""));
    }
}
