//! `resources.delete`: objects by kind and name (P-97, P-98, P-100).
//!
//! Owns the delete options and what the API server's two kinds of answer mean. Invariant: one
//! object's failure is told and does not stop the next.

use http::Method;
use serde::{Deserialize, Serialize};

use super::operation::{Operation, done, first_error};
use super::{CommandError, Context, Done};
use crate::protocol::ErrorCode;
use crate::protocol::command::resources_delete::{self, Action, Deleted, Propagation, Request};
use crate::protocol::object::{Name, Reference};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Options<'a> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    propagation_policy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_period_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preconditions: Option<Preconditions<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dry_run: &'static [&'static str],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Preconditions<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<&'a str>,
}

/// A `Status`, or the object as it was last.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    kind: String,
    metadata: Metadata,
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    uid: Option<String>,
    deletion_timestamp: Option<String>,
    deletion_grace_period_seconds: Option<i64>,
    finalizers: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    uid: Option<String>,
}

impl Answer {
    /// Whether the object goes later: it has a time to end, or somebody holds it.
    fn lingers(&self) -> bool {
        let metadata = &self.metadata;
        metadata.deletion_timestamp.is_some()
            && (metadata.deletion_grace_period_seconds != Some(0)
                || !metadata.finalizers.is_empty()
                // Its finalizer stands in its spec.
                || self.kind == "Namespace")
    }
}

pub(super) async fn run(context: Context, request: Request) -> Result<Done, CommandError> {
    let operation = Operation::new(&context);
    let mut objects = Vec::new();
    for reference in request.references() {
        objects.push(match delete(&operation, &request, reference).await {
            Ok(deleted) => deleted,
            Err(error) => {
                let named = reference.namespace.as_ref().or(request.namespace.as_ref());
                Deleted {
                    error: Some(error.body()),
                    ..blank(reference, named.cloned(), Action::Failed)
                }
            }
        });
    }
    if objects.iter().all(|object| object.error.is_some())
        && let Some(error) = first_error(objects.iter().filter_map(|object| object.error.as_ref()))
    {
        return Err(CommandError::Told(error));
    }
    done(&resources_delete::Done {
        objects,
        dry_run: request.dry_run,
    })
}

async fn delete(
    operation: &Operation,
    request: &Request,
    reference: &Reference,
) -> Result<Deleted, CommandError> {
    let place = operation
        .place(reference, request.namespace.as_ref())
        .await?;
    let (uid, version) = (&reference.uid, &reference.resource_version);
    let options = Options {
        api_version: "v1",
        kind: "DeleteOptions",
        propagation_policy: request.propagation.map(|propagation| match propagation {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        }),
        grace_period_seconds: request.grace_seconds,
        preconditions: (uid.is_some() || version.is_some()).then_some(Preconditions {
            uid: uid.as_deref(),
            resource_version: version.as_deref(),
        }),
        dry_run: if request.dry_run { &["All"] } else { &[] },
    };
    let answer = operation
        .change::<Answer>(&place, &Method::DELETE, &[], "application/json", &options)
        .await;
    let changed = match answer {
        Ok(changed) => changed,
        Err(error) if request.ignore_not_found && error.body().code == ErrorCode::NotFound => {
            return Ok(blank(reference, place.namespace, Action::Absent));
        }
        Err(error) => return Err(error),
    };
    let action = if changed.object.lingers() {
        Action::Deleting
    } else {
        Action::Deleted
    };
    Ok(Deleted {
        uid: changed.object.metadata.uid.or(changed.object.details.uid),
        warnings: changed.warnings,
        ..blank(reference, place.namespace, action)
    })
}

fn blank(reference: &Reference, namespace: Option<Name>, action: Action) -> Deleted {
    Deleted {
        api_version: reference.api_version.clone(),
        kind: reference.kind.clone(),
        namespace,
        name: reference.name.clone(),
        action,
        uid: None,
        warnings: Vec::new(),
        error: None,
    }
}
