//! Every answer to a registration that is none, on a real socket: what it is called, what is shown
//! meanwhile, and when the agent tries again (P-3).

use std::time::Duration;

use futures_util::future::join_all;
use pipeops_agent::status::Phase;
use tokio::time::{Instant, timeout};

use super::peer::{Peer, Reply, registered};
use super::{Outcome, start};

/// Status, what else the head says, body; then the cause, and where the agent stands.
const TABLE: &[(&str, &str, &str, &str, Phase)] = &[
    ("400 Bad Request", "", "", "bad_request", Phase::Refused),
    ("401 Unauthorized", "", "", "unauthorized", Phase::Refused),
    ("403 Forbidden", "", "", "forbidden", Phase::Refused),
    // What stands in between speaks as well.
    (
        "403 Forbidden",
        "Content-Type: text/html\r\n",
        "<html>",
        "forbidden",
        Phase::Refused,
    ),
    ("404 Not Found", "", "", "http_status", Phase::Waiting),
    ("409 Conflict", "", "", "duplicate_agent", Phase::Refused),
    ("410 Gone", "", "", "decommissioned", Phase::Stopped),
    (
        "413 Payload Too Large",
        "",
        "",
        "bad_request",
        Phase::Refused,
    ),
    (
        "426 Upgrade Required",
        "",
        "",
        "unsupported",
        Phase::Refused,
    ),
    ("429 Too Many Requests", "", "", "busy", Phase::Waiting),
    (
        "500 Internal Server Error",
        "",
        "",
        "http_status",
        Phase::Waiting,
    ),
    (
        "502 Bad Gateway",
        "Content-Type: text/html\r\n",
        "<html>",
        "http_status",
        Phase::Waiting,
    ),
    ("503 Service Unavailable", "", "", "busy", Phase::Waiting),
    ("504 Gateway Timeout", "", "", "http_status", Phase::Waiting),
    (
        "301 Moved Permanently",
        "Location: /register\r\n",
        "",
        "redirect",
        Phase::Waiting,
    ),
    (
        "302 Found",
        "Location: https://login.example/\r\n",
        "",
        "redirect",
        Phase::Waiting,
    ),
    (
        "308 Permanent Redirect",
        "Location: //else.example/register\r\n",
        "",
        "redirect",
        Phase::Waiting,
    ),
    ("204 No Content", "", "", "registration", Phase::Waiting),
    (
        "200 OK",
        "Content-Type: text/html\r\n",
        "<html>log in</html>",
        "web_page",
        Phase::Waiting,
    ),
    (
        "200 OK",
        "Content-Type: application/json\r\n",
        "[]",
        "registration",
        Phase::Waiting,
    ),
];

#[tokio::test]
async fn each_answer_to_a_registration_has_its_name_and_its_consequence() {
    let rows = TABLE
        .iter()
        .map(|(status, head, body, cause, phase)| async move {
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\n{head}Content-Length: {length}\r\n\r\n{body}");
            let peer = Peer::start(move |_, _| Reply::raw(answer.clone()));
            let agent = start(&peer);
            let now = agent.until(|now| now.phase == *phase).await;
            assert_eq!(now.last_error.as_ref().unwrap().cause, *cause, "{status}");
            let reasons: Vec<_> = now.unready().iter().map(|reason| reason.as_str()).collect();
            let shown = match phase {
                Phase::Waiting => "channel",
                _ => "auth",
            };
            assert!(reasons.contains(&shown), "{status}: {reasons:?}");
            // It stays up, whatever it was told.
            assert_eq!(agent.stop().await, Outcome::Stopped, "{status}");
        });
    join_all(rows).await;
}

const DATE: &str = "Date: Wed, 21 Oct 2026 07:28:00 GMT\r\n";

/// `Retry-After` as it stands in the head, and within which milliseconds the next attempt comes; a
/// schedule's own first wait is at most a second.
const HINTS: &[(&str, u64, Option<u64>)] = &[
    ("Retry-After: 0\r\n", 1_000, Some(1_250)),
    ("Retry-After: 1\r\n", 1_000, Some(1_250)),
    ("Retry-After:  2 \r\n", 2_000, Some(2_500)),
    ("Retry-After: 99999999999999999999999\r\n", 3_000, None),
    ("Retry-After: 3600\r\n", 3_000, None),
    ("Retry-After: -5\r\n", 250, Some(1_000)),
    ("Retry-After: 1.5\r\n", 250, Some(1_000)),
    ("Retry-After: soon\r\n", 250, Some(1_000)),
    ("Retry-After: \r\n", 250, Some(1_000)),
    ("", 250, Some(1_000)),
    // Two seconds after the answer's own clock, long before it, and without one.
    (
        "Retry-After: Wed, 21 Oct 2026 07:28:02 GMT\r\n",
        2_000,
        Some(2_500),
    ),
    (
        "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n",
        1_000,
        Some(1_250),
    ),
    (
        "Retry-After: Fri, 21 Oct 2095 07:28:00 GMT\r\n",
        3_000,
        None,
    ),
    (
        "Retry-After: Wed, 99 Oct 2026 07:28:02 GMT\r\n",
        250,
        Some(1_000),
    ),
];

#[tokio::test]
async fn retry_after_in_every_form_is_kept_within_bounds() {
    let rows = HINTS.iter().flat_map(|hint| {
        ["429 Too Many Requests", "503 Service Unavailable"].map(|status| (status, hint))
    });
    let rows = rows.map(|(status, (hint, least, most))| async move {
        let answer = format!("HTTP/1.1 {status}\r\n{DATE}{hint}Content-Length: 0\r\n\r\n");
        let mut peer = Peer::start(move |connection, _| match connection {
            1 => Reply::raw(answer.clone()),
            _ => registered(),
        });
        let agent = start(&peer);
        peer.seen().await;
        let refused = Instant::now();
        match most {
            Some(most) => {
                peer.seen().await;
                let waited = Instant::now() - refused;
                // A busy machine may be late, and never early.
                let (least, most) = (
                    Duration::from_millis(least - 50),
                    Duration::from_millis(most + 3_000),
                );
                assert!((least..=most).contains(&waited), "{hint:?}: {waited:?}");
            }
            None => {
                let quiet = Duration::from_millis(*least);
                assert!(timeout(quiet, peer.seen()).await.is_err(), "{hint:?}");
            }
        }
        agent.stop().await;
    });
    join_all(rows).await;
}

#[tokio::test]
async fn a_refusal_at_the_upgrade_is_kept_to_as_one_at_registration() {
    let mut peer = Peer::start(|connection, head| match (connection, head.path()) {
        (_, "/register") => registered(),
        (2, _) => Reply::raw(
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n".into(),
        ),
        _ => Reply::session(1_000),
    });
    let agent = start(&peer);
    assert_eq!(agent.cause().await, "busy");
    let (_, _) = (peer.seen().await, peer.seen().await);
    let refused = Instant::now();
    peer.seen().await;
    assert!(Instant::now() - refused >= Duration::from_millis(950));
    agent.until(|now| now.phase == Phase::Connected).await;
    agent.stop().await;
}
