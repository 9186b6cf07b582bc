//! Configurations that are refused, with everything that is wrong with them.

use pipeops_agent::limits;
use pipeops_agent::policy::Access;
use serde_json::{Value, json};

use super::read;

/// What is said of a configuration.
fn refused(config: Value, access: Access) -> Vec<String> {
    let error = read(config, access).unwrap_err();
    error.0.iter().map(ToString::to_string).collect()
}

fn query(path: &str) -> Value {
    json!({"channels": [{"name": "a", "kubernetes": {"path": path, "fields": {"a": "/a"}}}]})
}

#[test]
fn every_fault_is_told_with_its_place_and_its_remedy() {
    let config = json!({
        "ca_file": "/nowhere/ca.pem",
        "health_checks": [
            {"name": "Web", "http": {"url": "ftp://web"}},
            {"name": "two", "tcp": {"address": "a:1"}, "http": {"url": "http://a"}},
            {"name": "none", "every": "1s", "failures": 0},
            {"name": "none", "tcp": {"address": "redis"}, "timeout": "1h"},
        ],
        "event_handlers": [
            {"name": "a", "match": {"type": ["Error"]}, "log": {}},
            {"name": "b", "webhook": {"url": "http://a", "secret_header": "Host", "secret_file": "/x"}},
            {"name": "c", "webhook": {"url": "http://a", "secret_header": "x-token"}},
        ],
        "channels": [
            {"name": "health", "message_type": "ping",
             "prometheus": {"url": "http://a", "metrics": {"error": "up", "b": "up{"}}},
        ],
        "panels": [{"title": "", "source": "helth", "field": "state"}],
    });
    let wanted = [
        "extensions.ca_file: the file cannot be read or holds no certificate; name a PEM file that the agent may read",
        "extensions.health_checks[0].name: it cannot be used as a name; use up to 48 of a-z, 0-9, _ and -, a letter first",
        "extensions.health_checks[0].http.url: it begins with neither http:// nor https://; write it as https://host:port/path",
        "extensions.health_checks[1]: it has none of http, tcp and kubernetes, or more than one; give exactly one",
        "extensions.health_checks[2].every: it is out of range; it is from 2s to 3600s",
        "extensions.health_checks[2].failures: it is out of range; it is from 1 to 10",
        "extensions.health_checks[2]: it has none of http, tcp and kubernetes, or more than one; give exactly one",
        "extensions.health_checks[3].timeout: it is out of range; it is from 100ms to 30s",
        "extensions.health_checks[3].tcp.address: it is not a host and a port; write it as redis.shop.svc:6379",
        "extensions.event_handlers[0].match.type: it is no type of an event; it is Normal or Warning",
        "extensions.event_handlers[1].webhook.secret_header: it is no header that may carry a secret; name one, x-hook-token",
        "extensions.event_handlers[2].webhook.secret_header: there is no secret for it; give secret_file as well",
        "extensions.channels[0].name: it is a built-in channel; choose another",
        "extensions.channels[0].message_type: it is a built-in type; choose another",
        "extensions.channels[0].prometheus.metrics: `error` tells why there are none; choose another",
        "extensions.channels[0].prometheus.metrics.b: it does not select series; write it as name or name{label=\"value\"}",
        "extensions.health_checks: `none` stands there twice; give each a name of its own",
        "extensions.panels[0].title: it is empty, too long or unprintable; give up to 256 bytes without control characters",
        "extensions.panels[0].source: there is no channel `helth`; it is one of health, health, metrics, events, status, commands",
        "extensions.panels[0].field: it is not a JSON pointer; begin with a slash, /status/phase",
    ];
    assert_eq!(refused(config, Access::Readonly), wanted);
}

#[test]
fn a_query_is_one_that_the_preset_allows_and_that_ends() {
    for (path, problem) in [
        (
            "/api/v1/configmaps",
            "the agent's policy (readonly) does not allow to list configmaps: the resource is not on the list; ask for",
        ),
        ("/api/v1/secrets", "secrets are never shown; ask"),
        ("/api/v1/pods?watch=true", "the answer may never end; ask"),
        (
            "/api/v1/namespaces/d/pods/a/log?follow=1",
            "the answer may never end; ask",
        ),
        (
            "/api/v1/namespaces/d/services/a/proxy/x",
            "the answer may never end; ask",
        ),
        (
            "/api/v1/namespaces/d/pods/a/exec?command=sh",
            "the answer may never end; ask",
        ),
        ("/api/v1/../secrets", "the path has a dot segment; write"),
        (
            "https://elsewhere/api",
            "the path does not begin with a slash; write",
        ),
        (
            "/apis/example.com/v1/widgets",
            "the agent's policy (readonly)",
        ),
    ] {
        let said = refused(query(path), Access::Readonly);
        let wanted = format!("extensions.channels[0].kubernetes.path: {problem}");
        assert!(
            said.len() == 1 && said[0].starts_with(&wanted),
            "{path}: {said:?}"
        );
    }
    // Everything is allowed to `admin`, and secrets are not for a browser all the same.
    assert!(read(query("/api/v1/configmaps"), Access::Admin).is_ok());
    for path in ["/api/v1/secrets", "/api/v1/namespaces/d/secrets/a"] {
        let said = refused(query(path), Access::Admin);
        assert!(said[0].contains("secrets are never shown"), "{said:?}");
    }
    let check = |path: &str| {
        json!({"health_checks": [
        {"name": "a", "kubernetes": {"path": path, "condition": "Ready"}}]})
    };
    assert!(read(check("/api/v1/nodes/a"), Access::Readonly).is_ok());
    assert!(read(check("/apis/example.com/v1/widgets/a"), Access::Readonly).is_err());
}

#[test]
fn there_are_bounds_on_how_much_is_declared() {
    let lists = [
        (
            "health_checks",
            limits::EXTENSION_CHECKS,
            json!({"tcp": {"address": "a:1"}}),
        ),
        (
            "event_handlers",
            limits::EXTENSION_HANDLERS,
            json!({"log": {}}),
        ),
        (
            "channels",
            limits::EXTENSION_CHANNELS,
            json!({"prometheus": {"url": "http://a", "metrics": {"a": "a"}}}),
        ),
    ];
    for (key, most, entry) in lists {
        let declared = |count: usize| {
            let entries = (0..count).map(|at| {
                let mut entry = entry.clone();
                entry["name"] = json!(format!("n{at}"));
                entry
            });
            json!({ key: entries.collect::<Vec<_>>() })
        };
        assert!(read(declared(most), Access::Readonly).is_ok(), "{key}");
        let said = refused(declared(most + 1), Access::Readonly);
        assert_eq!(
            said,
            [format!(
                "extensions.{key}: there are {}; declare at most {most}",
                most + 1
            )]
        );
    }
    let panel = json!({"title": "a", "source": "health", "field": "/state"});
    let panels = |count| json!({ "panels": vec![panel.clone(); count] });
    assert!(read(panels(limits::EXTENSION_PANELS), Access::Readonly).is_ok());
    assert!(read(panels(limits::EXTENSION_PANELS + 1), Access::Readonly).is_err());
    let fields = |count: usize| {
        let metrics: serde_json::Map<_, _> = (0..count)
            .map(|at| (format!("m{at}"), json!("up")))
            .collect();
        json!({"channels": [{"name": "a", "prometheus": {"url": "http://a", "metrics": metrics}}]})
    };
    assert!(read(fields(limits::EXTENSION_FIELDS), Access::Readonly).is_ok());
    for count in [0, limits::EXTENSION_FIELDS + 1] {
        assert!(read(fields(count), Access::Readonly).is_err(), "{count}");
    }
    let named = |bytes: usize| json!({"event_handlers": [{"name": "n".repeat(bytes), "log": {}}]});
    assert!(read(named(limits::EXTENSION_NAME), Access::Readonly).is_ok());
    assert!(read(named(limits::EXTENSION_NAME + 1), Access::Readonly).is_err());
}
