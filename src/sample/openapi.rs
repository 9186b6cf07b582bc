//! OpenAPI v3.
use super::answer::Answer;
use http::StatusCode;
use serde_json::json;
pub(super) fn index() -> Answer {
    super::answer::json(StatusCode::OK, &json!({"paths": {}}))
}
pub(super) fn document(_: &str, _: &str) -> Option<Answer> {
    None
}
