//! Files that cannot be used, each with the very words that are said.

use super::every_key::Folder;
use super::*;
use crate::limits;

/// What is written, and what is said; `FILE` is the file's path.
const BROKEN: &[(&str, &str)] = &[
    (
        "agent: [",
        "FILE:1: it is not YAML: unclosed bracket '['; mend that line",
    ),
    (
        "agent:\n\tid: a",
        "FILE:2: it is not YAML: tabs disallowed within this context (block indentation); mend that line",
    ),
    (
        "agent:\n  id: a\n  id: b",
        "FILE:3: it is not YAML: duplicate mapping key: id; mend that line",
    ),
    (
        "agent: {id: a",
        "FILE:1: it is not YAML: unclosed bracket '{'; mend that line",
    ),
    (
        "agent:\n  id: \"a",
        "FILE:2: it is not YAML: unclosed quote; mend that line",
    ),
    (
        "- agent",
        "FILE: it holds no sections; begin with a section: agent, pipeops, server, realtime, kubernetes, logging, features, extensions",
    ),
    (
        "agent",
        "FILE: it holds no sections; begin with a section: agent, pipeops, server, realtime, kubernetes, logging, features, extensions",
    ),
    (
        "agnet:\n  id: a",
        "FILE:1: agnet: there is no such section; write agent if that is meant",
    ),
    (
        "port: 8080",
        "FILE:1: port: there is no such section; write it below agent",
    ),
    (
        "server:\n  websocket: true",
        "FILE:2: server.websocket: there is no such key; write enable_websocket if that is meant",
    ),
    (
        "server:\n  enable_websockets: true",
        "FILE:2: server.enable_websockets: there is no such key; write enable_websocket if that is meant",
    ),
    (
        "server:\n  port: 8080",
        "FILE:2: server.port: there is no such key; write it below agent",
    ),
    (
        "agent: a",
        "FILE:1: agent: it holds no keys; write its keys below it, each on a line of its own",
    ),
    (
        "agent:\n  id: [a, b]",
        "FILE:2: agent.id: it is a list; write one value behind the colon",
    ),
    (
        "agent:\n  id: {a: b}",
        "FILE:2: agent.id: it is a map; write one value behind the colon",
    ),
    (
        "agent:\n  labels: a",
        "FILE:2: agent.labels: it is no map; write name: text on lines below it",
    ),
    (
        "agent:\n  labels:\n    a:\n      b: c",
        "FILE:3: agent.labels: a label is one text; write name: text",
    ),
    (
        "agent:\n  labels: {a b: c}",
        "FILE:2: agent.labels: \"a b\" is not a label; name it with letters, digits, dots, dashes, underscores and slashes, and give it up to 253 bytes of text",
    ),
    (
        "agent:\n  id: a b",
        "FILE:2: agent.id: it is not an id; use up to 253 letters, digits, dots, dashes and underscores, or leave it out",
    ),
    (
        "agent:\n  port: http",
        "FILE:2: agent.port: \"http\" is not a number from 0 to 65535; choose one",
    ),
    (
        "agent:\n  port: 65536",
        "FILE:2: agent.port: \"65536\" is not a number from 0 to 65535; choose one",
    ),
    (
        "pipeops:\n  api_url: http://gw.example",
        "FILE:2: pipeops.api_url: it is not encrypted; write it like https://api.pipeops.io",
    ),
    (
        "pipeops:\n  token: canary canary",
        "FILE:2: pipeops.token: it has a byte that no header may hold; a line end or a space, perhaps; copy the token again, without spaces or line ends",
    ),
    (
        "pipeops:\n  token_file: nowhere",
        "FILE:2: pipeops.token_file: the file cannot be read: No such file or directory (os error 2); name a file that this user may read and that holds the token alone",
    ),
    (
        "pipeops:\n  ca_file: agent.yaml",
        "FILE:2: pipeops.ca_file: it holds no PEM certificate; name a file of PEM certificates, or leave it out to trust public authorities only",
    ),
    (
        "pipeops:\n  proxy: socks5://u:canary@p:1",
        "FILE:2: pipeops.proxy: it is a SOCKS proxy, and only HTTP proxies are spoken to; write it like http://proxy.example:3128, or none to go without",
    ),
    (
        "server:\n  enable_websocket: false\n  enable_sse: false",
        "FILE:2: server.enable_websocket and FILE:3: server.enable_sse: WebSocket and SSE are both off; leave one of them on",
    ),
    (
        "server:\n  enable_sse: maybe",
        "FILE:2: server.enable_sse: \"maybe\" is neither true nor false; choose one",
    ),
    (
        "server:\n  allowed_origins: [https://ops.example]",
        "FILE:2: server.allowed_origins: origins are listed, and server.cors_enabled is false; set that to true, or leave the list out",
    ),
    (
        "server:\n  cors_enabled: true\n  allowed_origins: ['*']",
        "FILE:3: server.allowed_origins: \"*\" is not an origin; write each like https://ops.example, without a path; there is no wildcard",
    ),
    (
        "server:\n  allowed_hosts: [a/b]",
        "FILE:2: server.allowed_hosts: \"a/b\" is not a host; write each like agent.example or agent.example:8080; there is no wildcard",
    ),
    (
        "server:\n  allowed_hosts:\n    a: b",
        "FILE:2: server.allowed_hosts: it is no list; write each part as - text",
    ),
    (
        "server:\n  address: localhost",
        "FILE:2: server.address: \"localhost\" is not an IP address; write it like 127.0.0.1, or 0.0.0.0 for all",
    ),
    (
        "realtime:\n  websocket_port: 8081",
        "FILE:2: realtime.websocket_port: it is 8081, and agent.port is 8080; leave it out: there is one port for everything",
    ),
    (
        "realtime:\n  sse_heartbeat: 30",
        "FILE:2: realtime.sse_heartbeat: \"30\" is not a duration; write it like 500ms, 30s, 5m or 1h30m",
    ),
    (
        "realtime:\n  sse_heartbeat: 2h",
        "FILE:2: realtime.sse_heartbeat: \"2h\" is not from 1s to 1h; choose a duration in between",
    ),
    (
        "realtime:\n  max_connections: 0",
        "FILE:2: realtime.max_connections: \"0\" is not a number from 1 to 10000; choose one",
    ),
    (
        "kubernetes:\n  in_cluster: true\n  context: a",
        "FILE:2: kubernetes.in_cluster: it excludes a kubeconfig and a context; give either",
    ),
    (
        "kubernetes:\n  namespace: Tools",
        "FILE:2: kubernetes.namespace: \"Tools\" is not a namespace; use up to 63 small letters, digits and dashes",
    ),
    (
        "kubernetes:\n  kubeconfig: nowhere",
        "FILE:2: kubernetes.kubeconfig: there is no file FOLDER/nowhere; name a kubeconfig",
    ),
    (
        "kubernetes:\n  access: root",
        "FILE:2: kubernetes.access: \"root\" is not one of its values; choose readonly or admin",
    ),
    (
        "logging:\n  level: loud",
        "FILE:2: logging.level: \"loud\" is not a level; choose error, warn, info, debug or trace, or info,uplink=debug",
    ),
    (
        "logging:\n  format: xml",
        "FILE:2: logging.format: \"xml\" is not one of its values; choose text or json",
    ),
    (
        "features:\n  health: true",
        "FILE:2: features.health: there is no such key; write health_monitoring if that is meant",
    ),
    (
        "extensions:\n  checks: []",
        "FILE:2: extensions: unknown field `checks`, expected one of ca_file, health_checks, event_handlers, channels, panels; see docs/extensions.md for what may stand there",
    ),
];

#[test]
fn each_broken_file_says_where_what_and_how_to_mend_it() {
    let folder = Folder::new("broken");
    let env = BTreeMap::from([(env::TOKEN, "t")]);
    let mut wrong = String::new();
    for (text, expected) in BROKEN {
        let path = folder.write("agent.yaml", text);
        let flags = Flags::from([("--config", path.clone())]);
        // A variable would hide the file's token.
        let token = text.contains("token");
        let none = BTreeMap::new();
        let said = match Config::load(&flags, if token { &none } else { &env }) {
            Ok(_) => "nothing".to_owned(),
            Err(errors) => {
                let said = errors.to_string().replace(&path, "FILE");
                said.replace(path.trim_end_matches("/agent.yaml"), "FOLDER")
            }
        };
        assert!(!said.contains("canary"), "{said}");
        if said != *expected {
            wrong.push_str(&format!("    ({text:?}, {said:?}),\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(BROKEN.len() >= 30);
}

#[test]
fn all_that_is_wrong_in_a_file_is_said_at_once() {
    let folder = Folder::new("all-broken");
    let text = "agent:\n  prot: 1\n  port: x\nlogging:\n  level: loud\nfeature:\n  a: b\n";
    let path = folder.write("agent.yaml", text);
    let flags = Flags::from([("--config", path.clone())]);
    let env = BTreeMap::from([(env::ACCESS, "root")]);
    let errors = Config::load(&flags, &env).unwrap_err();
    let at = |line: u64, key: &str| format!("{path}:{line}: {key}");
    let expected = [
        at(2, "agent.prot"),
        at(6, "feature"),
        env::TOKEN_FILE.into(),
        env::ACCESS.into(),
        at(3, "agent.port"),
        at(5, "logging.level"),
    ];
    assert_eq!(names(&errors), expected);
}

#[test]
fn as_many_labels_as_are_taken_fit_a_registration() {
    let folder = Folder::new("labels");
    let load = |count: usize| {
        let mut text = "agent:\n  labels:\n".to_owned();
        for at in 0..count {
            // A quotation mark is the longest in JSON.
            text.push_str(&format!("    k{at:0>252}: '{}'\n", "\"".repeat(253)));
        }
        let path = folder.write("agent.yaml", &text);
        Config::load(
            &Flags::from([("--config", path)]),
            &BTreeMap::from([(env::TOKEN, "t")]),
        )
    };
    let labels = load(limits::LABELS).unwrap().agent.labels;
    assert_eq!(labels.len(), limits::LABELS);
    let bytes = serde_json::to_vec(&labels).unwrap().len();
    assert!(bytes + 4096 < limits::REGISTER_BODY, "{bytes}");
    let errors = load(limits::LABELS + 1).unwrap_err().to_string();
    assert!(
        errors.ends_with("there are 65 labels; keep 64 of them"),
        "{errors}"
    );
}
