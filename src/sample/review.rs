//! Questions that a client asks about itself.
//!
//! Owns: the three SelfSubject reviews. Owns not: whether a request is let through (`api`).
//! Invariant: the answers say what the sample cluster does: everything can be read, nothing can be
//! written.

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::answer::{self, Answer, Failure};
use super::catalog::Resource;
use super::protobuf;

const READ: [&str; 3] = ["get", "list", "watch"];

/// Answers a review.
///
/// # Errors
/// 400 when the body is neither JSON nor protobuf.
pub(super) fn answer(
    resource: &Resource,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Answer, Failure> {
    let unreadable = || Failure::bad_request("the body of the review cannot be read");
    let mut review: Value = if protobuf::is_protobuf(body) {
        protobuf::review(body).ok_or_else(unreadable)?
    } else {
        serde_json::from_slice(body).map_err(|_| unreadable())?
    };
    if !review.is_object() {
        return Err(unreadable());
    }
    review["status"] = match resource.kind {
        "SelfSubjectReview" => json!({"userInfo": user(headers)}),
        "SelfSubjectRulesReview" => rules(),
        _ => decide(&review["spec"]),
    };
    review["kind"] = resource.kind.into();
    review["apiVersion"] = resource.api_version().into();
    Ok(answer::json(StatusCode::CREATED, &review))
}

/// The bearer of the token, or whom it impersonates.
fn user(headers: &HeaderMap) -> Value {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut groups: Vec<&str> = headers
        .get_all("impersonate-group")
        .iter()
        .filter_map(|it| it.to_str().ok())
        .collect();
    match text("impersonate-user") {
        Some(user) => {
            groups.push("system:authenticated");
            json!({"username": user, "groups": groups})
        }
        None => json!({
            "username": "sample-reader",
            "uid": "sample",
            "groups": ["sample:readers", "system:authenticated"],
        }),
    }
}

fn rules() -> Value {
    json!({
        "incomplete": false,
        "resourceRules": [
            {"verbs": READ, "apiGroups": ["*"], "resources": ["*"]},
            {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
                "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]},
            {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"],
                "resources": ["selfsubjectreviews"]},
        ],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["*"]}],
    })
}

fn decide(spec: &Value) -> Value {
    let asked = &spec["resourceAttributes"];
    let text = |field: &str| asked[field].as_str().unwrap_or_default();
    let allowed = if asked.is_null() {
        spec["nonResourceAttributes"]["verb"] == "get"
    } else if READ.contains(&text("verb")) {
        matches!(text("subresource"), "" | "log" | "status")
    } else {
        text("verb") == "create" && text("resource").starts_with("selfsubject")
    };
    if allowed {
        json!({"allowed": true, "reason": "the sample cluster can be read by anyone it knows"})
    } else {
        json!({"allowed": false, "reason": "the sample cluster is read-only"})
    }
}
