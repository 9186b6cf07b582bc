//! The presets, as tables of what is allowed and what is not; and the audit record.

use http::Method;
use pipeops_agent::kubeapi::{RequestPath, Upgrade};
use pipeops_agent::policy::{Access, Caller, Config, Policy, Subject};
use pipeops_agent::protocol::command::Actor;

use crate::support::trace::{self, records};

fn subject(method: &Method, target: &str, upgrade: Option<Upgrade>) -> Subject {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let path = RequestPath::parse(method, path, query, upgrade).expect(target);
    Subject::Kubernetes(Box::new(path))
}

const CALLER: Caller<'static> = Caller {
    id: "req-7",
    command: "k8s.request",
    actor: None,
};

/// A policy whose records can be read back, whichever test is the first to make one.
fn policy(access: Access) -> Policy {
    trace::install();
    Policy::new(Config { access })
}

fn allows(access: Access, method: &Method, target: &str, upgrade: Option<Upgrade>) -> bool {
    policy(access)
        .authorize(subject(method, target, upgrade), CALLER)
        .is_ok()
}

/// What readonly allows by GET.
const READABLE: &[&str] = &[
    "/api",
    "/api/",
    "/api/v1",
    "/apis",
    "/apis/apps/v1",
    "/apis/example.com/v1",
    "/openapi/v2",
    "/openapi/v3/apis/apps/v1",
    "/version",
    "/version/",
    "/healthz",
    "/livez/ping",
    "/readyz?verbose",
    "/api/v1/nodes",
    "/api/v1/namespaces",
    "/api/v1/namespaces/kube-system",
    "/api/v1/pods?watch=true",
    "/api/v1/watch/pods",
    "/api/v1/namespaces/d/pods/p",
    "/api/v1/namespaces/d/pods/p/log?follow=true",
    "/api/v1/namespaces/d/events",
    "/apis/apps/v1/namespaces/d/deployments",
    "/apis/apps/v1/namespaces/d/deployments/x/scale",
    "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
    "/apis/metrics.k8s.io/v1beta1/nodes",
    "/apis/metrics.k8s.io/v1beta1/namespaces/d/pods",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/discovery.k8s.io/v1/endpointslices",
];

/// What it does not allow by GET.
const UNREADABLE: &[&str] = &[
    "/",
    "/metrics",
    "/logs/",
    "/debug/pprof/heap",
    "/versions",
    "/healthzy",
    "/.well-known/openid-configuration",
    "/api/v1/secrets",
    "/api/v1/secrets?watch=1",
    "/api/v1/watch/secrets",
    "/api/v1/namespaces/d/secrets",
    "/api/v1/namespaces/d/secrets/s",
    "/api/v1/namespaces/d/%73ecrets/s",
    "/api/v1/watch/namespaces/d/secrets/s",
    "/api/v1/namespaces/d/configmaps",
    "/api/v1/namespaces/d/pods/p/exec?command=sh",
    "/api/v1/namespaces/d/pods/p/%65xec?command=sh",
    "/api/v1/namespaces/d/pods/p/attach",
    "/api/v1/namespaces/d/pods/p/portforward",
    "/api/v1/namespaces/d/pods/p/proxy",
    "/api/v1/namespaces/d/pods/p/proxy/metrics",
    "/api/v1/namespaces/d/services/s/proxy/",
    "/api/v1/nodes/n/proxy/exec/d/p/c",
    "/api/v1/proxy/nodes/n",
    "/api/v1/namespaces/d/pods/p/ephemeralcontainers",
    "/api/v1/namespaces/d/serviceaccounts/s/token",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/certificates.k8s.io/v1/certificatesigningrequests",
    "/apis/example.com/v1/namespaces/d/widgets",
    "/apis/example.com/v1/secrets",
    // The core group's names mean nothing in another group.
    "/apis/example.com/v1/pods",
    "/api/v1/deployments",
];

#[test]
fn readonly_reads_what_is_listed_and_nothing_else() {
    for target in READABLE {
        assert!(
            allows(Access::Readonly, &Method::GET, target, None),
            "{target} should be readable"
        );
        assert!(
            allows(Access::Readonly, &Method::HEAD, target, None),
            "HEAD {target} should be readable"
        );
    }
    for target in UNREADABLE {
        for method in [Method::GET, Method::HEAD] {
            assert!(
                !allows(Access::Readonly, &method, target, None),
                "{method} {target} should not be readable"
            );
        }
    }
}

#[test]
fn readonly_never_writes_and_never_upgrades() {
    for target in READABLE.iter().chain(UNREADABLE) {
        for method in [
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
        ] {
            assert!(
                !allows(Access::Readonly, &method, target, None),
                "{method} {target}"
            );
        }
        for upgrade in [Upgrade::WebSocket, Upgrade::Spdy] {
            assert!(
                !allows(Access::Readonly, &Method::GET, target, Some(upgrade)),
                "{upgrade} {target}"
            );
        }
    }
}

#[test]
fn readonly_lets_callers_ask_about_themselves_only() {
    for (target, allowed) in [
        (
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            true,
        ),
        (
            "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
            true,
        ),
        ("/apis/authentication.k8s.io/v1/selfsubjectreviews", true),
        ("/apis/authorization.k8s.io/v1/subjectaccessreviews", false),
        ("/apis/authentication.k8s.io/v1/tokenreviews", false),
        ("/apis/example.com/v1/selfsubjectaccessreviews", false),
        ("/api/v1/selfsubjectaccessreviews", false),
    ] {
        assert_eq!(
            allows(Access::Readonly, &Method::POST, target, None),
            allowed,
            "{target}"
        );
    }
}

#[test]
fn admin_allows_every_canonical_request() {
    for target in READABLE.iter().chain(UNREADABLE) {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            assert!(allows(Access::Admin, &method, target, None), "{target}");
        }
    }
}

#[test]
fn the_channel_itself_is_always_allowed() {
    for access in Access::ALL {
        assert!(policy(access).authorize(Subject::Channel, CALLER).is_ok());
    }
}

#[test]
fn a_refusal_names_the_request_and_the_rule() {
    let denied = policy(Access::Readonly)
        .authorize(
            subject(
                &Method::DELETE,
                "/apis/apps/v1/namespaces/d/deployments/x",
                None,
            ),
            CALLER,
        )
        .unwrap_err();
    assert_eq!(
        denied.to_string(),
        "the agent's policy (readonly) does not allow to delete deployments.apps in namespace d: \
         it writes"
    );
}

#[test]
fn presets_are_read_and_written_alike() {
    for access in Access::ALL {
        assert_eq!(access.as_str().parse(), Ok(access));
    }
    assert!("Admin".parse::<Access>().is_err());
    assert_eq!(Access::default(), Access::Readonly);
}

#[test]
fn every_decision_is_one_record_without_the_query() {
    let actor = Actor {
        user: "ada".into(),
        groups: vec!["dev".into(), "ops".into()],
        ..Actor::default()
    };
    let caller = Caller {
        actor: Some(&actor),
        ..CALLER
    };
    let policy = policy(Access::Readonly);
    let text = records(|| {
        let _ = policy.authorize(
            subject(
                &Method::GET,
                "/api/v1/namespaces/d/pods/p/exec?command=pass-canary",
                Some(Upgrade::WebSocket),
            ),
            caller,
        );
        let _ = policy.authorize(subject(&Method::GET, "/api/v1/pods", None), caller);
        let _ = policy.authorize(subject(&Method::GET, "/metrics", None), caller);
        let _ = policy.authorize(Subject::Channel, caller);
    });
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    for line in &lines {
        for part in [
            " INFO audit: ",
            "access=\"readonly\"",
            "id=\"req-7\"",
            "user=\"ada\"",
            "groups=\"dev,ops\"",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(!line.contains("canary"), "{line}");
    }
    for part in [
        "decision=\"deny\"",
        "verb=\"get\"",
        "resource=pods/exec",
        "namespace=\"d\"",
        "name=\"p\"",
        "upgrade=websocket",
    ] {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
    assert!(lines[1].contains("decision=\"allow\""));
    assert!(lines[1].contains("verb=\"list\""));
    assert!(lines[2].contains("path=\"/metrics\""));
    assert!(lines[3].contains("decision=\"allow\""));
}
