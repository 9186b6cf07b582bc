//! `workloads.scale`: how many replicas a workload is to have (P-97, P-101).
//!
//! Owns the subresource `scale` of three kinds. Invariant: with an expectation, nothing is changed
//! unless it holds at the moment of the change.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::operation::{Operation, Place, done, told};
use super::{CommandError, Context, Done};
use crate::cluster::objects::Collection;
use crate::limits;
use crate::protocol::ErrorCode;
use crate::protocol::command::workloads_scale::{self, Request};

/// What is read of a `Scale`.
#[derive(Debug, Deserialize)]
struct Scale {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    resource_version: String,
}

#[derive(Debug, Default, Deserialize)]
struct Spec {
    /// Left out where it is 0.
    #[serde(default)]
    replicas: u32,
}

pub(super) async fn run(context: Context, request: Request) -> Result<Done, CommandError> {
    let operation = Operation::new(&context);
    let path = Collection::new("apps", "v1", request.kind.resource())
        .within(request.namespace.as_str())
        .below(request.name.as_str(), "scale");
    let place = Place::known(path, &request.namespace);
    let mut tries = 0;
    loop {
        tries += 1;
        let before: Scale = operation.read(&place).await?.ok_or_else(|| {
            told(
                ErrorCode::NotFound,
                format!(
                    "there is no {:?} {} in namespace {}",
                    request.kind,
                    request.name.as_str(),
                    request.namespace.as_str()
                ),
            )
        })?;
        expected(&request, &before)?;
        match change(&operation, &place, &request, &before).await {
            Ok(after) => {
                return done(&workloads_scale::Done {
                    from: before.spec.replicas,
                    to: after.spec.replicas,
                    resource_version: after.metadata.resource_version,
                    dry_run: request.dry_run,
                });
            }
            // Something else of the object changed meanwhile: what is expected is looked at again.
            Err(error)
                if error.body().code == ErrorCode::Conflict
                    && request.expected_resource_version.is_none()
                    && tries < limits::SCALE_TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

fn expected(request: &Request, now: &Scale) -> Result<(), CommandError> {
    let replicas = now.spec.replicas;
    if let Some(expected) = request.expected_replicas
        && expected != replicas
    {
        return Err(told(
            ErrorCode::Conflict,
            format!("it has {replicas} replicas, and not {expected}"),
        ));
    }
    if let Some(expected) = &request.expected_resource_version
        && *expected != now.metadata.resource_version
    {
        return Err(told(
            ErrorCode::Conflict,
            "it is at another resourceVersion than the expected one",
        ));
    }
    Ok(())
}

async fn change(
    operation: &Operation,
    place: &Place,
    request: &Request,
    before: &Scale,
) -> Result<Scale, CommandError> {
    let mut patch = json!({"spec": {"replicas": request.replicas}});
    if request.expected_replicas.is_some() || request.expected_resource_version.is_some() {
        patch["metadata"] = json!({"resourceVersion": before.metadata.resource_version});
    }
    let mut parameters = vec![("fieldManager", request.field_manager.as_str())];
    if request.dry_run {
        parameters.push(("dryRun", "All"));
    }
    let changed = operation
        .change(
            place,
            &Method::PATCH,
            &parameters,
            "application/merge-patch+json",
            &patch,
        )
        .await?;
    Ok(changed.object)
}
