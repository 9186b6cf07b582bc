//! Each key, each variable and each flag gives a value that changes the configuration.

use std::collections::BTreeSet;

use super::*;

/// A folder that is removed with its files.
pub(in crate::config) struct Folder(PathBuf);

impl Folder {
    pub(in crate::config) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pipeops-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(in crate::config) fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The example of the specification, whole.
const SPECIFIED: &str = r#"
agent:
  id: "agent-prod-east-001"
  name: "Production East Agent"
  cluster_name: "production-east"
  version: "v2.0.0"
  port: 8080
  labels:
    environment: "production"
    region: "us-east-1"

pipeops:
  api_url: "https://api.pipeops.io"
  token: "your-token-here"

server:
  enable_websocket: true
  enable_sse: true
  enable_dashboard: true
  cors_enabled: true

realtime:
  websocket_port: 8080
  sse_heartbeat: "30s"
  connection_timeout: "5m"
  max_connections: 100

kubernetes:
  in_cluster: true
  namespace: "pipeops-system"
  kubeconfig: ""

logging:
  level: "info"
  format: "json"

features:
  health_monitoring: true
  runtime_metrics: true
  feature_detection: true
  connectivity_testing: true
"#;

/// A key, a value of it, and what else it needs.
type Sample = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

/// A value of each key that is not its default, and what must be so for it to matter.
const SAMPLES: &[Sample] = &[
    ("agent.id", "agent-7", &[]),
    ("agent.name", "East", &[]),
    ("agent.cluster_name", "production", &[]),
    ("agent.version", "v9.9.9", &[]),
    ("agent.port", "9000", &[]),
    ("agent.labels", "{environment: production}", &[]),
    ("pipeops.api_url", "https://gw.example:8443", &[]),
    ("pipeops.token_file", "FOLDER/token", &[]),
    ("pipeops.token", "another-token", &[]),
    ("pipeops.ca_file", "FOLDER/ca.pem", &[]),
    ("pipeops.proxy", "http://proxy:3128", &[]),
    (
        "pipeops.no_proxy",
        "[.pipeops.io]",
        &[("pipeops.proxy", "http://proxy:3128")],
    ),
    (
        "pipeops.proxy_credentials_file",
        "FOLDER/credentials",
        &[("pipeops.proxy", "http://proxy:3128")],
    ),
    ("pipeops.exit_when_refused", "true", &[]),
    ("server.enable_websocket", "false", &[]),
    ("server.enable_sse", "false", &[]),
    ("server.enable_dashboard", "false", &[]),
    ("server.cors_enabled", "true", &[]),
    (
        "server.allowed_origins",
        "[https://ops.example]",
        &[("server.cors_enabled", "true")],
    ),
    ("server.allowed_hosts", "[agent.example]", &[]),
    ("server.token_file", "FOLDER/token", &[]),
    ("server.address", "127.0.0.1", &[]),
    ("server.header_timeout", "5s", &[]),
    ("server.rate_limit", "7", &[]),
    ("realtime.sse_heartbeat", "15s", &[]),
    ("realtime.connection_timeout", "1m30s", &[]),
    ("realtime.max_connections", "12", &[]),
    ("kubernetes.in_cluster", "true", &[]),
    ("kubernetes.namespace", "tools", &[]),
    ("kubernetes.kubeconfig", "FOLDER/kubeconfig", &[]),
    ("kubernetes.context", "kind-dev", &[]),
    ("kubernetes.access", "admin", &[]),
    ("kubernetes.impersonate", "true", &[]),
    ("logging.level", "debug,uplink=trace", &[]),
    ("logging.format", "text", &[]),
    ("features.health_monitoring", "false", &[]),
    ("features.runtime_metrics", "false", &[]),
    ("features.feature_detection", "false", &[]),
    ("features.connectivity_testing", "false", &[]),
];

/// A file with these entries; the last of two with one key counts.
fn written(entries: &[(&str, &str)]) -> String {
    let entries: BTreeMap<_, _> = entries.iter().copied().collect();
    let mut text = String::new();
    for section in file::sections() {
        let mine = entries.iter().filter_map(|(key, value)| {
            let name = key.strip_prefix(section)?.strip_prefix('.')?;
            Some(format!("  {name}: {value}\n"))
        });
        text.push_str(&format!("{section}:\n{}", mine.collect::<String>()));
    }
    text
}

/// What a configuration comes to, without where it came from.
fn shown(path: &str, env: &BTreeMap<&str, &str>, flag: Option<(&'static str, &str)>) -> String {
    let mut flags = Flags::from([("--config", path.to_owned())]);
    flags.extend(flag.map(|(name, value)| (name, value.to_owned())));
    let mut config = Config::load(&flags, env).unwrap_or_else(|errors| panic!("{errors}"));
    config.effective.clear();
    let warnings = config.warnings.len();
    config.warnings.clear();
    let token = config.uplink.token.read().unwrap();
    format!("{config:?} {warnings} {}", token.expose())
}

#[test]
fn the_example_of_the_specification_is_taken_whole() {
    let folder = Folder::new("specified");
    let path = folder.write("agent.yaml", SPECIFIED);
    let flags = Flags::from([("--config", path.clone())]);
    let config = Config::load(&flags, &BTreeMap::new()).unwrap();
    assert_eq!(config.agent.id.as_deref(), Some("agent-prod-east-001"));
    assert_eq!(config.agent.name, "Production East Agent");
    assert_eq!(config.agent.labels["region"], "us-east-1");
    assert_eq!(config.kubernetes.credentials, Credentials::InCluster);
    assert_eq!(config.realtime.connection_timeout.as_secs(), 300);
    assert_eq!(
        config.uplink.token.read().unwrap().expose(),
        "your-token-here"
    );
    assert!(config.server.allowed_origins.is_empty());
    // Every key of it but the empty kubeconfig is in force, with its line.
    let lines = SPECIFIED.lines().enumerate();
    let keys = lines.filter(|(_, line)| line.starts_with("  ") && !line.starts_with("    "));
    let mut seen = 0;
    for (at, line) in keys {
        let name = line.trim().split(':').next().unwrap();
        if name == "kubeconfig" {
            continue;
        }
        let place = format!("{path}:{}", at + 1);
        let found = config.effective.iter().find(|value| {
            value.place.as_deref() == Some(&place) && value.key.ends_with(&format!(".{name}"))
        });
        assert_eq!(
            found.map(|value| value.source),
            Some(Source::File),
            "{line}"
        );
        seen += 1;
    }
    assert_eq!(seen, 24);
    // The version is another one, and nobody's pages are allowed.
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
}

#[test]
fn every_key_variable_and_flag_changes_the_configuration() {
    let folder = Folder::new("every-key");
    folder.write("token", "token-of-a-file\n");
    folder.write("ca.pem", "-----BEGIN CERTIFICATE-----\n");
    folder.write("credentials", "user:password\n");
    folder.write("kubeconfig", "");
    let base = [("pipeops.token", "base-token")];
    let (mut keys, mut variables) = (BTreeSet::new(), BTreeSet::new());
    for (key, value, with) in SAMPLES {
        let setting = settings::ALL.iter().find(|setting| setting.key == *key);
        let setting = setting.unwrap_or_else(|| panic!("{key} is no setting"));
        let value = value.replace("FOLDER", folder.0.to_str().unwrap());
        let mut entries = [&base[..], with].concat();
        let path = folder.write("agent.yaml", &written(&entries));
        let before = shown(&path, &BTreeMap::new(), None);
        let bare = value.trim_matches(['[', ']']);
        for name in setting.variables {
            let after = shown(&path, &BTreeMap::from([(*name, bare)]), None);
            assert_ne!(before, after, "{name}={bare}");
            variables.insert(*name);
        }
        if let Some(flag) = setting.flag {
            let after = shown(&path, &BTreeMap::new(), Some((flag, bare)));
            assert_ne!(before, after, "{flag} {bare}");
        }
        entries.push((*key, &value));
        folder.write("agent.yaml", &written(&entries));
        let after = shown(&path, &BTreeMap::new(), None);
        assert_ne!(before, after, "{key}: {value}");
        keys.insert(*key);
    }
    // It may only be what the port is.
    keys.insert("realtime.websocket_port");
    let all: BTreeSet<_> = settings::ALL.iter().map(|setting| setting.key).collect();
    assert_eq!(keys, all);
    let others = [
        env::TERMINATION_LOG,
        env::POD_NAME,
        env::CONFIG,
        env::HOME,
        env::NO_COLOR,
    ];
    variables.extend(others);
    let all: BTreeSet<_> = env::ALL.iter().copied().collect();
    assert_eq!(variables, all);
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let folder = Folder::new("order");
    let path = folder.write("agent.yaml", "pipeops:\n  token: t\nagent:\n  port: 1\n");
    let port = |file: bool, env: &[(&'static str, &'static str)], flag: &[&'static str]| {
        let mut flags = Flags::new();
        if file {
            flags.insert("--config", path.clone());
        }
        flags.extend(flag.iter().map(|port| ("--port", (*port).to_owned())));
        let env: BTreeMap<_, _> = env.iter().copied().chain([(env::TOKEN, "t")]).collect();
        let config = Config::load(&flags, &env).unwrap();
        let effective = config
            .effective
            .iter()
            .find(|value| value.key == "agent.port");
        (config.server.listen.port(), effective.unwrap().source)
    };
    assert_eq!(port(false, &[], &[]), (PORT, Source::Default));
    assert_eq!(port(true, &[], &[]), (1, Source::File));
    assert_eq!(
        port(true, &[(env::PORT, "2")], &[]),
        (2, Source::Environment)
    );
    assert_eq!(port(true, &[(env::PORT, "2")], &["3"]), (3, Source::Flag));
}

#[test]
fn a_file_is_found_by_name_or_at_home_and_paths_begin_beside_it() {
    let folder = Folder::new("found");
    folder.write("agent.token", "beside\n");
    let text = "pipeops:\n  token_file: agent.token\n";
    let path = folder.write(file::PERSONAL, text);
    let home = folder.0.to_str().unwrap();
    let config = Config::load(&Flags::new(), &BTreeMap::from([(env::HOME, home)])).unwrap();
    assert_eq!(config.file.as_deref(), Some(std::path::Path::new(&path)));
    assert_eq!(config.uplink.token.read().unwrap().expose(), "beside");
    let env = BTreeMap::from([(env::CONFIG, path.as_str())]);
    assert!(Config::load(&Flags::new(), &env).unwrap().file.is_some());
    let text = "pipeops:\n  token_file: ~/agent.token\n";
    let path = folder.write("other.yaml", text);
    let env = BTreeMap::from([(env::HOME, home), (env::CONFIG, &path)]);
    let config = Config::load(&Flags::new(), &env).unwrap();
    assert_eq!(config.uplink.token.read().unwrap().expose(), "beside");
    let env = BTreeMap::from([(env::CONFIG, "/nonexistent/agent.yaml")]);
    let errors = Config::load(&Flags::new(), &env).unwrap_err();
    assert_eq!(names(&errors), [env::CONFIG]);
}
