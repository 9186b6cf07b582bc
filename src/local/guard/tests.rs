//! The decisions, one by one, without a socket.

use super::*;
use crate::config::secret::Secret;

fn guard(token: Option<&str>) -> Arc<Guard> {
    Guard::new(&Config {
        token: token.map(|token| SecretSource::Given(Secret::token(token).unwrap())),
        allowed_hosts: vec!["agent.pipeops-system.svc".into()],
        allowed_origins: vec!["https://console.example".into()],
        ..Config::default()
    })
}

/// The code of the refusal of a GET with these headers, from this peer; `ok` where it passes.
fn verdict(guard: &Guard, from: &str, path: &str, headers: &[(&str, &str)]) -> &'static str {
    asked(guard, from, &Method::GET, path, headers)
}

fn asked(
    guard: &Guard,
    from: &str,
    method: &Method,
    path: &str,
    headers: &[(&str, &str)],
) -> &'static str {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::try_from(*name).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    let ip: IpAddr = from.parse().unwrap();
    let local = if ip.to_canonical().is_loopback() {
        ip
    } else {
        [10, 0, 0, 7].into()
    };
    let peer = Peer::of_test((ip, 40_000).into(), (local, 8080).into());
    match guard.judge(&peer, method, path, &map) {
        Ok(_) => "ok",
        Err(failure) => failure.code,
    }
}

#[test]
fn only_exact_loopback_or_the_token_gets_data() {
    let (open, closed) = (guard(Some("secret")), guard(None));
    let local = [("host", "localhost:9000")];
    let remote = [("host", "10.0.0.7:8080")];
    let with = |token| [("host", "10.0.0.7:8080"), ("authorization", token)];
    for path in ["/ws", "/api/config", "/api/realtime/logs", "/nothing"] {
        for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(verdict(&closed, peer, path, &local), "ok", "{peer} {path}");
        }
        for peer in ["127.0.0.6", "127.0.0.2", "::ffff:127.0.0.6"] {
            assert_eq!(verdict(&open, peer, path, &local), "unauthorized", "{peer}");
        }
        assert_eq!(verdict(&open, "10.0.0.9", path, &remote), "unauthorized");
        assert_eq!(
            verdict(&closed, "10.0.0.9", path, &with("Bearer secret")),
            "unauthorized"
        );
        assert_eq!(
            verdict(&open, "10.0.0.9", path, &with("Bearer secret")),
            "ok"
        );
        assert_eq!(
            verdict(&open, "10.0.0.9", path, &with("bearer secret")),
            "ok"
        );
        for wrong in [
            "Bearer secre",
            "Bearer secret2",
            "Basic secret",
            "Bearer",
            "x",
        ] {
            assert_eq!(
                verdict(&open, "10.0.0.9", path, &with(wrong)),
                "unauthorized"
            );
        }
    }
    for path in ["/health", "/ready", "/version", "/metrics"] {
        assert_eq!(
            verdict(&closed, "10.0.0.9", path, &[("host", "any.name")]),
            "ok"
        );
    }
    // The page holds no data: it is where the token is asked for.
    assert_eq!(
        verdict(&open, "10.0.0.9", "/dashboard/app.js", &remote),
        "ok"
    );
    assert_eq!(
        verdict(&closed, "10.0.0.9", "/dashboard", &remote),
        "unauthorized"
    );
}

#[test]
fn a_browser_sends_the_token_as_a_subprotocol() {
    let guard = guard(Some("secret"));
    let with = |offered| {
        [
            ("host", "10.0.0.7:8080"),
            ("sec-websocket-protocol", offered),
        ]
    };
    for (offered, expected) in [
        ("pipeops.local.v1, bearer.c2VjcmV0", "ok"),
        ("pipeops.local.v1, bearer.c2VjcmV0MQ", "unauthorized"),
        ("pipeops.local.v1, bearer.!!", "unauthorized"),
        ("pipeops.local.v1", "unauthorized"),
    ] {
        assert_eq!(
            verdict(&guard, "10.0.0.9", "/ws", &with(offered)),
            expected,
            "{offered}"
        );
    }
}

#[test]
fn a_name_that_is_not_ours_is_refused() {
    let guard = guard(Some("secret"));
    for (host, expected) in [
        ("localhost", "ok"),
        ("LOCALHOST:1234", "ok"),
        ("127.0.0.1:8080", "ok"),
        ("[::1]:8080", "ok"),
        ("agent.pipeops-system.svc:8080", "ok"),
        ("evil.example", "unknown_host"),
        ("localhost.evil.example:8080", "unknown_host"),
        ("evil.example@localhost", "unknown_host"),
        ("10.0.0.7", "unknown_host"),
        ("0.0.0.0:8080", "unknown_host"),
        ("", "unknown_host"),
    ] {
        for path in ["/ws", "/api/realtime/events", "/dashboard"] {
            let verdict = verdict(&guard, "127.0.0.1", path, &[("host", host)]);
            assert_eq!(verdict, expected, "{host} {path}");
        }
    }
    // Rebinding reaches what anyone may ask as well, and only from this machine's own browser.
    for (host, expected) in [
        ("evil.example", "unknown_host"),
        ("10.0.0.7:8080", "ok"),
        ("localhost:8080", "ok"),
    ] {
        let verdict = verdict(&guard, "127.0.0.1", "/metrics", &[("host", host)]);
        assert_eq!(verdict, expected, "{host}");
    }
    let two = [("host", "localhost"), ("host", "evil.example")];
    assert_eq!(verdict(&guard, "127.0.0.1", "/ws", &two), "unknown_host");
    assert_eq!(verdict(&guard, "127.0.0.1", "/ws", &[]), "unknown_host");
}

#[test]
fn another_origin_gets_nothing_unless_it_is_listed() {
    let guard = guard(None);
    for (name, value, expected) in [
        ("origin", "http://localhost:8080", "ok"),
        ("origin", "https://localhost:8080", "ok"),
        ("origin", "https://console.example", "ok"),
        ("origin", "http://localhost:3000", "forbidden_origin"),
        ("origin", "http://localhost", "forbidden_origin"),
        ("origin", "http://console.example", "forbidden_origin"),
        ("origin", "https://console.example.evil", "forbidden_origin"),
        ("origin", "null", "forbidden_origin"),
        ("origin", "", "forbidden_origin"),
        ("sec-fetch-site", "cross-site", "forbidden_origin"),
        ("sec-fetch-site", "same-site", "forbidden_origin"),
        ("sec-fetch-site", "same-origin", "ok"),
        ("sec-fetch-site", "none", "ok"),
    ] {
        for path in ["/ws", "/api/realtime/events", "/api/config", "/metrics"] {
            let headers = [("host", "localhost:8080"), (name, value)];
            let verdict = verdict(&guard, "127.0.0.1", path, &headers);
            assert_eq!(verdict, expected, "{name}: {value} {path}");
        }
    }
    // A link to the page is what links are for.
    let link = [
        ("host", "localhost:8080"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-dest", "document"),
    ];
    assert_eq!(verdict(&guard, "127.0.0.1", "/dashboard", &link), "ok");
    assert_eq!(
        verdict(&guard, "127.0.0.1", "/api/config", &link),
        "forbidden_origin"
    );
}

#[test]
fn nothing_changes_anything_and_only_listed_origins_are_answered_beforehand() {
    let guard = guard(None);
    let host = [("host", "localhost:8080")];
    for method in [
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
    ] {
        for path in ["/health", "/ws", "/api/config"] {
            let asked = asked(&guard, "127.0.0.1", &method, path, &host);
            assert_eq!(asked, "method_not_allowed", "{method} {path}");
        }
    }
    let listed = [
        ("host", "localhost:8080"),
        ("origin", "https://console.example"),
    ];
    let preflight = asked(
        &guard,
        "127.0.0.1",
        &Method::OPTIONS,
        "/api/config",
        &listed,
    );
    assert_eq!(preflight, "ok");
}

#[test]
fn room_that_is_kept_for_probes_answers_probes() {
    let guard = guard(None);
    let localhost = SocketAddr::from(([127, 0, 0, 1], 8080));
    let mut peer = Peer::of_test(localhost, localhost);
    peer.reserved = true;
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    let judge = |path| guard.judge(&peer, &Method::GET, path, &headers).err();
    assert!(judge("/health").is_none());
    assert_eq!(
        judge("/dashboard").map(|failure| failure.code),
        Some("busy")
    );
    assert_eq!(judge("/ws").map(|failure| failure.code), Some("busy"));
}
