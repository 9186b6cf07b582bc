//! What each section's values have to look like, and what they make.
//!
//! Owns the meaning of every setting. Owns not: where a value comes from (`reader`). Invariant: an
//! error quotes no secret.

mod server;
mod uplink;

use std::collections::BTreeMap;

use super::env::{self, Env};
use super::file::Value;
use super::reader::Reader;
use super::settings as keys;
use super::settings::Setting;
use super::value;
use super::{Access, Config, Credentials, Features, Identity, Kubernetes, Uplink};
use crate::limits;
use crate::telemetry::{self, Format, Level};

impl<E: Env> Reader<'_, E> {
    /// Everything; `None` where something is wrong.
    pub(super) fn config(&mut self) -> Option<Config> {
        let mut warnings = Vec::new();
        let api_url = self.api_url();
        let token = self.token();
        let ca_file = self.ca_file();
        let proxy = self.proxy(api_url.as_ref());
        let agent = self.agent(&mut warnings);
        let kubernetes = self.kubernetes();
        let server = self.server(&mut warnings);
        let realtime = self.realtime(server.as_ref());
        let features = self.features();
        let telemetry = self.telemetry();
        let exit_when_refused = self.switch(&keys::EXIT_WHEN_REFUSED);
        let binary = self.flag("--no-binary").is_none();
        Some(Config {
            agent,
            uplink: Uplink {
                api_url: api_url?,
                token: token?,
                ca_file,
                proxy,
                exit_when_refused: exit_when_refused?,
                binary,
            },
            kubernetes: kubernetes?,
            server: server?,
            realtime: realtime?,
            telemetry,
            features: features?,
            extensions: self.added(),
            effective: self.effective(),
            file: self.file(),
            warnings,
        })
    }

    fn agent(&mut self, warnings: &mut Vec<String>) -> Identity {
        let id = self.text(&keys::AGENT_ID).map(|(id, name)| {
            if !value::is_id(&id) {
                self.wrong(
                    name,
                    "it is not an id",
                    "use up to 253 letters, digits, dots, dashes and underscores, or leave it out",
                );
            }
            id
        });
        let cluster_name = self.name(&keys::CLUSTER_NAME).unwrap_or_default();
        let name = self.name(&keys::AGENT_NAME);
        if let Some((version, name)) = self.text(&keys::AGENT_VERSION) {
            let ours = env!("CARGO_PKG_VERSION");
            if version.trim_start_matches('v') != ours {
                warnings.push(format!("{name} is {version}, and the program is {ours}"));
            }
        }
        Identity {
            id,
            name: name.unwrap_or_else(|| cluster_name.clone()),
            cluster_name,
            labels: self.labels(),
        }
    }

    /// A name for people.
    fn name(&mut self, setting: &Setting) -> Option<String> {
        let (text, name) = self.text(setting)?;
        if text.len() > limits::NAME_BYTES || text.chars().any(char::is_control) {
            self.wrong(
                name,
                "it is longer than 253 bytes or has control characters",
                "choose a short name",
            );
        }
        Some(text)
    }

    fn labels(&mut self) -> BTreeMap<String, String> {
        let Some(given) = self.given(&keys::LABELS) else {
            return BTreeMap::new();
        };
        let Value::Map(pairs) = given.value else {
            return BTreeMap::new();
        };
        if pairs.len() > limits::LABELS {
            let problem = format!("there are {} labels", pairs.len());
            let remedy = format!("keep {} of them", limits::LABELS);
            self.wrong(given.name.clone(), problem, remedy);
        }
        for (label, text) in &pairs {
            if !value::is_label(label)
                || text.len() > limits::NAME_BYTES
                || text.chars().any(char::is_control)
            {
                self.wrong(
                    given.name.clone(),
                    format!("{label:?} is not a label"),
                    "name it with letters, digits, dots, dashes, underscores and slashes, and give \
                     it up to 253 bytes of text",
                );
            }
        }
        pairs.into_iter().collect()
    }

    fn kubernetes(&mut self) -> Option<Kubernetes> {
        let credentials = self.credentials();
        let namespace = self.text(&keys::NAMESPACE).map(|(namespace, name)| {
            if !value::is_dns_label(&namespace) {
                self.wrong(
                    name,
                    format!("{namespace:?} is not a namespace"),
                    "use up to 63 small letters, digits and dashes",
                );
            }
            namespace
        });
        let access = self.choice(&keys::ACCESS);
        Some(Kubernetes {
            credentials,
            namespace,
            impersonate: self.switch(&keys::IMPERSONATE)?,
            access: match access? {
                0 => Access::Readonly,
                _ => Access::Admin,
            },
        })
    }

    fn credentials(&mut self) -> Credentials {
        let kubeconfig = self.path(&keys::KUBECONFIG);
        let context = self.text(&keys::CONTEXT);
        let in_cluster = self.given(&keys::IN_CLUSTER);
        if let Some((path, name)) = kubeconfig.as_ref().filter(|(path, _)| !path.is_file()) {
            let problem = format!("there is no file {}", path.display());
            self.wrong(name.clone(), problem, "name a kubeconfig");
        }
        let named = in_cluster.as_ref().map(|given| given.name.clone());
        let wanted = in_cluster.and_then(|_| self.switch(&keys::IN_CLUSTER));
        match (wanted, kubeconfig, context) {
            (Some(true), None, None) => Credentials::InCluster,
            (Some(true), _, _) => {
                self.wrong(
                    named.unwrap_or_default(),
                    "it excludes a kubeconfig and a context",
                    "give either",
                );
                Credentials::InCluster
            }
            (None, None, None) => Credentials::Auto,
            (Some(false) | None, path, context) => Credentials::Kubeconfig {
                path: path.map(|(path, _)| path),
                context: context.map(|(context, _)| context),
            },
        }
    }

    fn features(&mut self) -> Option<Features> {
        let [
            health_monitoring,
            runtime_metrics,
            feature_detection,
            connectivity_testing,
        ] = [
            &keys::HEALTH_MONITORING,
            &keys::RUNTIME_METRICS,
            &keys::FEATURE_DETECTION,
            &keys::CONNECTIVITY_TESTING,
        ]
        .map(|setting| self.switch(setting));
        Some(Features {
            health_monitoring: health_monitoring?,
            runtime_metrics: runtime_metrics?,
            feature_detection: feature_detection?,
            connectivity_testing: connectivity_testing?,
        })
    }

    pub(super) fn telemetry(&mut self) -> telemetry::Config {
        let level = self.text(&keys::LOG_LEVEL).map(|(text, name)| {
            Level::parse(&text).unwrap_or_else(|part| {
                self.wrong(
                    name,
                    format!("{part:?} is not a level"),
                    "choose error, warn, info, debug or trace, or info,uplink=debug",
                );
                Level::default()
            })
        });
        let format = self.choice(&keys::LOG_FORMAT).map(|at| match at {
            0 => Format::Text,
            _ => Format::Json,
        });
        let color = self.env().var(env::NO_COLOR) == Ok(None);
        telemetry::Config {
            level: level.unwrap_or_default(),
            format,
            color,
        }
    }
}
