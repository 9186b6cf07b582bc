//! What is read from where, what wins, and that everything wrong is said at once.

mod broken;
mod every_key;

use super::*;
use crate::limits;
use effective::Source;
pub(super) use every_key::Folder;

fn names(errors: &ConfigErrors) -> Vec<&str> {
    errors.0.iter().map(|error| error.name.as_str()).collect()
}

#[test]
fn a_token_is_all_that_must_be_given() {
    let env = BTreeMap::from([(env::TOKEN, "t0ken")]);
    let config = Config::load(&Flags::new(), &env).unwrap();
    assert_eq!(config.uplink.api_url.to_string(), "https://api.pipeops.io");
    assert_eq!(config.agent.cluster_name, "default-cluster");
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.kubernetes.access, Access::Readonly);
    assert_eq!(config.kubernetes.credentials, Credentials::Auto);
    assert!(!config.kubernetes.impersonate && !config.uplink.exit_when_refused);
    assert!(config.uplink.binary);
}

#[test]
fn flags_win_over_the_environment_and_an_empty_variable_is_absent() {
    let env = BTreeMap::from([
        (env::TOKEN, "t0ken"),
        (env::API_URL, "https://env.example"),
        (env::CLUSTER_NAME, ""),
        (env::ACCESS, "admin"),
        (env::PORT, "9000"),
    ]);
    let flags = Flags::from([
        ("--api-url", "https://flag.example".into()),
        ("--impersonate", "true".into()),
    ]);
    let config = Config::load(&flags, &env).unwrap();
    assert_eq!(config.uplink.api_url.host(), "flag.example");
    assert_eq!(config.agent.cluster_name, "default-cluster");
    assert_eq!(config.kubernetes.access, Access::Admin);
    assert!(config.kubernetes.impersonate);
    assert_eq!(config.server.listen.port(), 9000);
}

#[test]
fn everything_wrong_is_said_at_once_with_its_remedy() {
    let env = BTreeMap::from([
        (env::API_URL, "http://insecure.example"),
        (env::CA_FILE, "/nonexistent/ca.pem"),
        (env::AGENT_ID, "a b"),
        (env::ACCESS, "root"),
        (env::LOG_LEVEL, "loud"),
        (env::PORT, "http"),
        (env::IMPERSONATE, "maybe"),
    ]);
    let errors = Config::load(&Flags::new(), &env).unwrap_err();
    assert_eq!(
        names(&errors),
        [
            env::API_URL,
            env::TOKEN_FILE,
            env::CA_FILE,
            env::AGENT_ID,
            env::ACCESS,
            env::IMPERSONATE,
            env::PORT,
            env::LOG_LEVEL,
        ]
    );
    let text = errors.to_string();
    assert_eq!(text.lines().count(), 8, "{text}");
    assert!(
        text.starts_with("PIPEOPS_API_URL: it is not encrypted; write it like https://"),
        "{text}"
    );
}

#[test]
fn a_bad_token_is_never_quoted() {
    let env = BTreeMap::from([(env::TOKEN, "canary canary")]);
    let errors = Config::load(&Flags::new(), &env).unwrap_err();
    assert_eq!(names(&errors), [env::TOKEN]);
    assert!(!format!("{errors} {errors:?}").contains("canary"));
    let env = BTreeMap::from([(env::TOKEN, "canary")]);
    let config = Config::load(&Flags::new(), &env).unwrap();
    assert!(!format!("{config:?}").contains("canary"));
}

#[test]
fn a_token_file_wins_over_the_variable() {
    let path = std::env::temp_dir().join(format!("pipeops-token-{}", std::process::id()));
    std::fs::write(&path, "from-file\n").unwrap();
    let name = path.to_str().unwrap();
    let env = BTreeMap::from([(env::TOKEN, "from-env"), (env::TOKEN_FILE, name)]);
    let config = Config::load(&Flags::new(), &env).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(config.uplink.token, SecretSource::File(_)));
    let errors = Config::load(&Flags::new(), &env).unwrap_err();
    assert_eq!(names(&errors), [env::TOKEN_FILE]);
}

#[test]
fn a_port_that_the_kubelet_set_for_a_service_is_ignored() {
    let env = BTreeMap::from([(env::TOKEN, "t"), (env::PORT, "tcp://10.96.0.7:80")]);
    let config = Config::load(&Flags::new(), &env).unwrap();
    assert_eq!(config.server.listen.port(), PORT);
}

#[test]
fn in_cluster_excludes_a_kubeconfig() {
    let env = BTreeMap::from([(env::TOKEN, "t")]);
    let flags = Flags::from([
        ("--in-cluster", "true".into()),
        ("--context", "kind".into()),
    ]);
    let errors = Config::load(&flags, &env).unwrap_err();
    assert_eq!(names(&errors), ["--in-cluster"]);
    let flags = Flags::from([("--context", "kind".into())]);
    let config = Config::load(&flags, &env).unwrap();
    let expected = Credentials::Kubeconfig {
        path: None,
        context: Some("kind".into()),
    };
    assert_eq!(config.kubernetes.credentials, expected);
}

#[test]
fn every_value_in_force_names_its_source_and_no_secret() {
    let env = BTreeMap::from([
        (env::TOKEN, "canary"),
        (env::ENABLE_SSE, "off"),
        (env::PROXIES[0], "http://user:canary@proxy:3128"),
    ]);
    let flags = Flags::from([("--listen", "127.0.0.1:9000".into())]);
    let config = Config::load(&flags, &env).unwrap();
    let of = |key| {
        let found = config.effective.iter().find(|value| value.key == key);
        let found = found.unwrap();
        (found.value.as_str(), found.source, found.place.as_deref())
    };
    assert_eq!(config.effective.len(), settings::ALL.len());
    assert_eq!(of("agent.port"), ("9000", Source::Flag, Some("--listen")));
    assert_eq!(of("server.address").0, "127.0.0.1");
    let variable = Source::Environment;
    assert_eq!(
        of("server.enable_sse"),
        ("off", variable, Some(env::ENABLE_SSE))
    );
    assert_eq!(of("pipeops.token").0, "[redacted]");
    assert_eq!(of("pipeops.proxy").0, "http://proxy:3128");
    assert_eq!(of("realtime.sse_heartbeat"), ("30s", Source::Default, None));
    assert!(!format!("{:?}", config.effective).contains("canary"));
}

#[test]
fn a_proxy_stands_before_all_but_what_is_excepted() {
    let through = |url, except| {
        let env = BTreeMap::from([
            (env::TOKEN, "t"),
            (env::API_URL, url),
            (env::PROXIES[1], "proxy:3128"),
            (env::NO_PROXIES[0], except),
        ]);
        let config = Config::load(&Flags::new(), &env).unwrap();
        config.uplink.proxy.map(|proxy| proxy.to_string())
    };
    let proxy = Some("http://proxy:3128".to_owned());
    assert_eq!(through("https://gw.example", ""), proxy);
    assert_eq!(through("https://gw.example", "corp, .example"), None);
    assert_eq!(through("https://localhost:8443", ""), None);
    assert_eq!(through("https://[::1]:8443", ""), None);
    let env = BTreeMap::from([
        (env::TOKEN, "t"),
        (env::API_URL, "https://localhost:8443"),
        (env::PROXY, "proxy:3128"),
    ]);
    let own = Config::load(&Flags::new(), &env).unwrap().uplink.proxy;
    assert_eq!(own.map(|proxy| proxy.to_string()), proxy);
}

#[test]
fn a_proxy_of_our_own_wins_over_the_hosts_and_exceptions_hold_for_both() {
    let read = |more: &[(&'static str, &'static str)]| {
        let mut env = BTreeMap::from([(env::TOKEN, "t"), (env::API_URL, "https://gw.corp:8443")]);
        env.extend(more.iter().copied());
        let config = Config::load(&Flags::new(), &env).unwrap();
        config.uplink.proxy.map(|proxy| proxy.to_string())
    };
    let url = |text: &str| Some(text.to_owned());
    assert_eq!(read(&[]), None);
    assert_eq!(read(&[("HTTP_PROXY", "http://a:1")]), None);
    assert_eq!(read(&[("https_proxy", "http://a:1")]), url("http://a:1"));
    let host = [
        ("HTTPS_PROXY", "http://u:p@a:1"),
        ("all_proxy", "http://b:1"),
    ];
    assert_eq!(read(&host), url("http://a:1"));
    let with = |more: (&'static str, &'static str)| read(&[host[0], host[1], more]);
    assert_eq!(with((env::PROXY, "c:3128")), url("http://c:3128"));
    assert_eq!(with((env::PROXY, "none")), None);
    assert_eq!(with(("no_proxy", "corp:8443")), None);
    assert_eq!(with(("no_proxy", "corp:443")), url("http://a:1"));
    assert_eq!(with((env::PIPEOPS_NO_PROXY, ".corp")), None);
}

#[test]
fn a_proxys_password_is_neither_an_argument_nor_quoted() {
    let env = BTreeMap::from([
        (env::TOKEN, "t"),
        (env::PROXY_CREDENTIALS_FILE, "/nonexistent"),
    ]);
    let flags = Flags::from([("--proxy", "http://u:canary@a:1".into())]);
    let errors = Config::load(&flags, &env).unwrap_err();
    assert_eq!(names(&errors), ["--proxy"]);
    assert!(!errors.to_string().contains("canary"), "{errors}");
    let env = BTreeMap::from([(env::TOKEN, "t"), (env::PROXY, "socks5://u:canary@a:1")]);
    let errors = Config::load(&Flags::new(), &env).unwrap_err();
    assert!(!errors.to_string().contains("canary"), "{errors}");
    let flags = Flags::from([
        ("--proxy", "a:1".into()),
        ("--proxy-credentials-file", "/nonexistent".into()),
    ]);
    let errors = Config::load(&flags, &env).unwrap_err();
    assert_eq!(names(&errors), ["--proxy-credentials-file"]);
}

#[test]
fn the_pod_is_in_the_namespace_that_file_or_manifest_name() {
    let pod = |variables: &[(&'static str, &'static str)]| {
        let mut env = BTreeMap::from([(env::TOKEN, "t")]);
        env.extend(variables.iter().copied());
        let config = Config::load(&Flags::new(), &env).unwrap();
        let pod = pod(&env, config.kubernetes.namespace.as_deref())?;
        Some(format!("{}/{}", pod.namespace, pod.name))
    };
    assert_eq!(pod(&[]), None);
    assert_eq!(pod(&[(env::POD_NAME, "a-1")]), None);
    let both = [(env::POD_NAMESPACE, "ops"), (env::POD_NAME, "a-1")];
    assert_eq!(pod(&both), Some("ops/a-1".to_owned()));
    let odd = [(env::POD_NAMESPACE, "ops"), (env::POD_NAME, "../x")];
    assert_eq!(pod(&odd), None);
}

#[test]
fn websocket_may_be_switched_off_without_a_word() {
    let env = BTreeMap::from([(env::TOKEN, "t"), (env::ENABLE_WEBSOCKET, "false")]);
    let config = Config::load(&Flags::new(), &env).unwrap();
    assert!(!config.server.websocket && config.server.sse);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn names_and_the_texts_of_labels_are_bounded() {
    let folder = Folder::new("labels");
    let load = |text: &str| {
        let path = folder.write(
            "agent.yaml",
            &format!("agent:\n  name: {text}\n  labels:\n    a: {text}\n"),
        );
        let env = BTreeMap::from([(env::TOKEN, "t")]);
        Config::load(&Flags::from([("--config", path)]), &env)
    };
    let most = "x".repeat(limits::NAME_BYTES);
    let agent = load(&most).unwrap().agent;
    assert_eq!((&agent.name, &agent.labels["a"]), (&most, &most));
    let errors = load(&format!("{most}x")).unwrap_err().to_string();
    assert!(
        errors.contains("longer than 253 bytes") && errors.contains("is not a label"),
        "{errors}"
    );
}
