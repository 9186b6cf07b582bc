//! One record a decision, allow and deny, under the target `audit`.
//!
//! Owns its fields. Invariant: no query, no header and no body is in it: a command line stands in
//! the query of exec, and may hold a secret.

use super::access::Resource;
use super::{Access, Caller, Subject};

/// The target of every record.
pub const TARGET: &str = "audit";

/// Writes the record of one decision.
pub(super) fn record(
    access: Access,
    subject: &Subject,
    caller: Caller<'_>,
    reason: Result<&'static str, &'static str>,
) {
    if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
        return;
    }
    let (decision, reason) = match reason {
        Ok(reason) => ("allow", reason),
        Err(reason) => ("deny", reason),
    };
    let user = caller.actor.map(|actor| actor.user.as_str());
    let groups = caller.actor.map(|actor| actor.groups.join(","));
    let request = match subject {
        Subject::Kubernetes(path) => Some(path),
        Subject::Operation(_) | Subject::Channel => None,
    };
    let attributes = request.map(|path| path.attributes());
    let object = attributes.filter(|attributes| attributes.resource_request);
    let needs = match subject {
        Subject::Operation(_) => Some(subject),
        Subject::Kubernetes(_) | Subject::Channel => None,
    };
    // A field without a value is not written.
    tracing::info!(
        target: TARGET,
        decision,
        reason,
        access = access.as_str(),
        command = caller.command,
        id = caller.id,
        user,
        groups,
        verb = attributes.map(|attributes| attributes.verb.as_str()),
        resource = object.map(|attributes| tracing::field::display(Resource(attributes))),
        namespace = object.map(|attributes| attributes.namespace.as_str()),
        name = object.map(|attributes| attributes.name.as_str()),
        upgrade = object.and_then(|attributes| attributes.upgrade.map(tracing::field::display)),
        path = request.filter(|_| object.is_none()).map(|path| path.canonical()),
        needs = needs.map(tracing::field::display),
        "Command decided"
    );
}
