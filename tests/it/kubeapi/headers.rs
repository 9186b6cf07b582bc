//! The two header allow-lists: vectors, limits, properties.

use http::{HeaderMap, HeaderValue, StatusCode};
use pipeops_agent::kubeapi::headers::{self, Impersonation, Place};
use pipeops_agent::kubeapi::{HeaderError, Upgrade};
use pipeops_agent::limits;
use proptest::prelude::*;
use serde::Deserialize;

use super::{fixture, lists};

type Pairs = Vec<(String, String)>;

/// One line of `up.jsonl`, `down.jsonl` or `upgrade.jsonl`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    case: String,
    side: Option<String>,
    status: Option<u16>,
    prefix: Option<String>,
    path: Option<String>,
    upgrade: Option<String>,
    headers: Pairs,
    passed: Option<Pairs>,
    refused: Option<String>,
}

impl Vector {
    fn upgrade(&self) -> Option<Upgrade> {
        self.upgrade
            .as_deref()
            .map(|token| Upgrade::from_token(token.as_bytes()).expect("a known upgrade"))
    }

    fn impersonation(&self) -> Impersonation {
        match self.side.as_deref() {
            Some("gateway") => Impersonation::Refuse,
            Some("agent") => Impersonation::Drop,
            other => panic!("{}: side {other:?}", self.case),
        }
    }

    fn place(&self) -> Place<'_> {
        Place {
            prefix: self.prefix.as_deref().unwrap(),
            path: self.path.as_deref().unwrap(),
        }
    }

    fn judge(&self, line: usize, result: Result<headers::Headers, HeaderError>) {
        let result = result.map(|passed| headers::texts(&passed));
        let expected = match &self.refused {
            Some(reason) => Err(reason.clone()),
            None => Ok(self.passed.clone().expect("passed or refused")),
        };
        let case = &self.case;
        assert_eq!(
            result.map_err(|error| format!("{error:?}")),
            expected,
            "line {line}: {case}"
        );
    }
}

// === Vectors ===

#[test]
fn only_what_is_listed_goes_up() {
    let vectors = fixture::<Vector>("headers/up.jsonl");
    assert!(vectors.len() >= 100);
    for (line, vector) in vectors {
        let pairs = headers::text_pairs(&vector.headers);
        vector.judge(
            line,
            headers::upward(pairs, vector.upgrade(), vector.impersonation()),
        );
    }
}

#[test]
fn only_what_is_listed_comes_down() {
    let vectors = fixture::<Vector>("headers/down.jsonl");
    assert!(vectors.len() >= 100);
    for (line, vector) in vectors {
        let pairs = headers::text_pairs(&vector.headers);
        let status = StatusCode::from_u16(vector.status.unwrap()).unwrap();
        let result = headers::downward(status, pairs, vector.upgrade(), vector.place());
        vector.judge(line, result);
    }
}

#[test]
fn only_two_upgrades_are_known() {
    for (line, vector) in fixture::<Vector>("headers/upgrade.jsonl") {
        let result = headers::upgrade(headers::text_pairs(&vector.headers));
        let expected = match &vector.refused {
            Some(reason) => Err(reason.clone()),
            None => Ok(vector.upgrade()),
        };
        let case = &vector.case;
        assert_eq!(
            result.map_err(|error| format!("{error:?}")),
            expected,
            "line {line}: {case}"
        );
    }
}

#[test]
fn a_header_map_gives_the_same_as_its_pairs() {
    let mut map = HeaderMap::new();
    map.append("accept", HeaderValue::from_static("a/a"));
    map.append("authorization", HeaderValue::from_static("Bearer canary"));
    map.append("accept", HeaderValue::from_static("b/b"));
    let passed = headers::upward(headers::pairs(&map), None, Impersonation::Refuse).unwrap();
    let passed = headers::texts(&passed);
    let values: Vec<&str> = passed.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, ["a/a", "b/b"]);
}

#[test]
fn the_second_filter_changes_nothing_that_the_first_let_through() {
    for (line, vector) in fixture::<Vector>("headers/up.jsonl") {
        let pairs = headers::text_pairs(&vector.headers);
        let upgrade = vector.upgrade();
        let Ok(first) = headers::upward(pairs, upgrade, vector.impersonation()) else {
            continue;
        };
        let texts = headers::texts(&first);
        let second = headers::upward(headers::text_pairs(&texts), upgrade, Impersonation::Drop);
        assert_eq!(second.as_ref(), Ok(&first), "line {line}: {}", vector.case);
    }
}

// === Limits ===

#[test]
fn one_header_above_the_limit_is_too_many() {
    let mut pairs = vec![("accept", b"a/b".as_slice()); limits::KUBE_HEADERS];
    let filter = |pairs: &[(&'static str, &'static [u8])]| {
        headers::upward(pairs.iter().copied(), None, Impersonation::Refuse)
    };
    assert_eq!(
        filter(&pairs).map(|passed| passed.len()),
        Ok(limits::KUBE_HEADERS)
    );
    pairs.push(("accept", b"a/b"));
    assert_eq!(filter(&pairs), Err(HeaderError::TooLarge));
}

#[test]
fn one_byte_above_the_limit_is_too_large() {
    let value = vec![b'a'; limits::KUBE_HEADER_BYTES - "accept".len()];
    let filter =
        |value: &[u8]| headers::upward([("accept", value)], None, Impersonation::Refuse).is_ok();
    assert!(filter(&value));
    assert!(!filter(&[value.as_slice(), b"a"].concat()));
}

// === Properties ===

fn likely_headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = prop_oneof![
        8 => prop::sample::select(vec![
            "Accept", "Content-Length", "Content-Type", "Connection", "Upgrade", "Impersonate-User",
            "Impersonate_Group", "Authorization", "Cookie", "X-Remote-User", "Transfer-Encoding",
            "Sec-WebSocket-Key", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Location",
            "Set-Cookie", "WWW-Authenticate", "Warning", "Kubectl-Session", "X-Kubernetes-Pf-A",
        ]).prop_map(str::to_owned),
        1 => "[!-~]{1,20}",
        1 => ".{0,10}",
    ];
    let value = prop_oneof![
        6 => prop::sample::select(vec![
            "a/b", "5", "05", "Upgrade", "upgrade, accept", "websocket", "SPDY/3.1", "close",
            "Impersonate-User, Authorization", "/x", "/../x", "//x", "http://x", "../../x", "%2e%2e",
            "base64url.bearer.authorization.k8s.io.QQ, v5.channel.k8s.io", "",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec((name, value), 0..10)
}

fn any_upgrade() -> impl Strategy<Value = Option<Upgrade>> {
    prop::sample::select(vec![None, Some(Upgrade::WebSocket), Some(Upgrade::Spdy)])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn whatever_is_sent_up_only_listed_names_arrive(
        received in likely_headers(),
        upgrade in any_upgrade(),
        trusting in any::<bool>(),
    ) {
        let pairs = || received.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let impersonation = if trusting { Impersonation::Refuse } else { Impersonation::Drop };
        if let Ok(passed) = headers::upward(pairs(), upgrade, impersonation) {
            lists::check_up(passed, upgrade);
        }
    }

    #[test]
    fn whatever_comes_down_only_listed_names_arrive(
        received in likely_headers(),
        upgrade in any_upgrade(),
        status in prop::sample::select(vec![101_u16, 200, 201, 302, 304, 403, 500]),
    ) {
        let pairs = || received.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let status = StatusCode::from_u16(status).unwrap();
        let place = Place { prefix: "/clusters/c/k8s", path: "/a/b" };
        if let Ok(passed) = headers::downward(status, pairs(), upgrade, place) {
            lists::check_down(&passed, upgrade.filter(|_| status.as_u16() == 101), place);
        }
    }
}
