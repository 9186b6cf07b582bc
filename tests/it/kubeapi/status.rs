//! What our own failures look like to kubectl and client-go.

use std::time::Duration;

use pipeops_agent::kubeapi::status::{Failure, Hop};
use pipeops_agent::kubeapi::{HeaderError, PathError};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);

/// One of every kind, with the code it is answered with.
fn all() -> Vec<(Failure, u16)> {
    let text = || "x".to_owned();
    vec![
        (Failure::Path(PathError::DotSegment), 400),
        (Failure::Path(PathError::Method), 405),
        (Failure::Path(PathError::TooLong), 414),
        (Failure::Path(PathError::QueryTooLong), 414),
        (Failure::RequestHeaders(HeaderError::Impersonation), 403),
        (Failure::RequestHeaders(HeaderError::Value), 400),
        (Failure::RequestHeaders(HeaderError::TooLarge), 431),
        (Failure::Unauthorized, 401),
        (Failure::NoAccess { cluster: text() }, 403),
        (Failure::Denied { message: text() }, 403),
        (
            Failure::NotConnected {
                cluster: text(),
                last_seen: None,
                retry_after: None,
            },
            503,
        ),
        (
            Failure::Busy {
                message: text(),
                retry_after: SECOND,
            },
            429,
        ),
        (
            Failure::ShuttingDown {
                retry_after: SECOND,
            },
            503,
        ),
        (Failure::Deadline { after: 65 * SECOND }, 504),
        (Failure::ChannelLost, 504),
        (Failure::Indeterminate, 504),
        (Failure::ApiServerUnreachable { message: text() }, 502),
        (Failure::CredentialRefused, 502),
        (Failure::IdentityNotSet, 502),
        (Failure::ResponseHeaders(HeaderError::Redirect), 502),
        (Failure::BadResponse { message: text() }, 502),
        (Failure::NotServed { message: text() }, 405),
        (Failure::NotFound { message: text() }, 404),
        (Failure::BadCommand { message: text() }, 400),
        (Failure::Conflict { message: text() }, 409),
        (Failure::TooLarge { message: text() }, 413),
        (Failure::NotMade { message: text() }, 422),
        (Failure::Internal, 500),
    ]
}

#[test]
fn every_failure_is_a_status_with_its_code_its_hop_and_its_correlation_id() {
    for (failure, code) in all() {
        let answer = failure.answer(Hop::Agent, "req-7");
        assert_eq!(answer.code.as_u16(), code, "{failure:?}");
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["kind"], "Status");
        assert_eq!(body["apiVersion"], "v1");
        assert_eq!(body["metadata"], json!({}));
        assert_eq!(body["status"], "Failure");
        assert_eq!(body["code"], code);
        assert!(
            body["reason"]
                .as_str()
                .is_some_and(|reason| !reason.is_empty())
        );
        assert_eq!(body["details"]["causes"][0]["reason"], "Agent");
        let cause = body["details"]["causes"][0]["message"].as_str().unwrap();
        assert_eq!(body["message"], format!("{cause} (request req-7)"));
    }
}

#[test]
fn a_retry_is_invited_only_where_nothing_reached_the_api_server() {
    for (failure, _) in all() {
        let answer = failure.answer(Hop::Gateway, "r");
        let invited = matches!(failure, Failure::Busy { .. } | Failure::ShuttingDown { .. });
        assert_eq!(answer.retry_after.is_some(), invited, "{failure:?}");
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(
            body["details"].get("retryAfterSeconds").is_some(),
            invited,
            "{failure:?}"
        );
    }
}

#[test]
fn a_lost_cluster_says_when_it_was_seen_and_when_to_retry() {
    let answer = Failure::NotConnected {
        cluster: "blue".to_owned(),
        last_seen: Some(Duration::from_secs(190)),
        retry_after: Some(Duration::from_millis(200)),
    }
    .answer(Hop::Gateway, "r-1");
    assert_eq!(answer.retry_after, Some(1));
    assert_eq!(
        answer.body,
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#.to_owned()
            + r#""message":"cluster \"blue\" is not connected, last seen 3 min ago (request r-1)","#
            + r#""reason":"ServiceUnavailable","details":{"causes":[{"reason":"Gateway","#
            + r#""message":"cluster \"blue\" is not connected, last seen 3 min ago"}],"#
            + r#""retryAfterSeconds":1},"code":503}"#
    );
}

#[test]
fn a_time_is_told_in_one_unit() {
    for (seconds, text) in [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7_200, "2 h"),
        (172_800, "2 d"),
    ] {
        let failure = Failure::Deadline {
            after: Duration::from_secs(seconds),
        };
        let body = failure.answer(Hop::Channel, "r").body;
        assert!(
            body.contains(&format!("no answer within {text} (request r)")),
            "{body}"
        );
    }
}

#[test]
fn an_unknown_cluster_and_a_forbidden_one_are_the_same_answer() {
    // There is one failure for both; the gateway cannot tell them apart by accident.
    let body = Failure::NoAccess {
        cluster: "blue".to_owned(),
    }
    .answer(Hop::Gateway, "r")
    .body;
    assert!(body.contains("no access to cluster \\\"blue\\\""));
    assert!(!body.contains("exist"));
}
