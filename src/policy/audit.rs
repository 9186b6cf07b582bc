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
    match subject {
        Subject::Kubernetes(path) if path.attributes().resource_request => {
            let attributes = path.attributes();
            tracing::info!(
                target: TARGET,
                decision,
                reason,
                access = access.as_str(),
                command = caller.command,
                id = caller.id,
                user,
                groups,
                verb = attributes.verb.as_str(),
                resource = %Resource(attributes),
                namespace = attributes.namespace,
                name = attributes.name,
                upgrade = attributes.upgrade.map(tracing::field::display),
                "Command decided"
            );
        }
        Subject::Kubernetes(path) => tracing::info!(
            target: TARGET,
            decision,
            reason,
            access = access.as_str(),
            command = caller.command,
            id = caller.id,
            user,
            groups,
            verb = path.attributes().verb.as_str(),
            path = path.canonical(),
            "Command decided"
        ),
        Subject::Operation(_) => tracing::info!(
            target: TARGET,
            decision,
            reason,
            access = access.as_str(),
            command = caller.command,
            id = caller.id,
            user,
            groups,
            needs = %subject,
            "Command decided"
        ),
        Subject::Channel => tracing::info!(
            target: TARGET,
            decision,
            reason,
            access = access.as_str(),
            command = caller.command,
            id = caller.id,
            user,
            groups,
            "Command decided"
        ),
    }
}
