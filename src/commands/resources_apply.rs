//! `resources.apply`: objects as their owner wants them, by server-side apply (P-97 to P-99).
//!
//! Owns the order of things for each object: where it is, what it was, the patch, what is
//! different. Invariants: one object's failure is told and does not stop the next; nothing of what
//! is in an object is in the answer but the names of fields.

mod fields;

use http::Method;

use super::operation::{Operation, done, first_error};
use super::{CommandError, Context, Done};
use crate::protocol::command::resources_apply::{self, Action, Applied, Request};
use crate::protocol::object::Manifest;
use fields::{Fields, Plain};

/// A server-side apply; JSON is YAML.
const APPLY: &str = "application/apply-patch+yaml";

pub(super) async fn run(context: Context, request: Request) -> Result<Done, CommandError> {
    let operation = Operation::new(&context);
    let mut objects = Vec::with_capacity(request.manifests.len());
    for manifest in &request.manifests {
        objects.push(match apply(&operation, &request, manifest).await {
            Ok(applied) => applied,
            Err(error) => {
                let named = request.namespace.as_ref();
                let own = manifest.reference().namespace.as_ref();
                Applied {
                    namespace: own.or(named).cloned(),
                    error: Some(error.body()),
                    ..blank(manifest, Action::Failed)
                }
            }
        });
    }
    if objects.iter().all(|object| object.error.is_some())
        && let Some(error) = first_error(objects.iter().filter_map(|object| object.error.as_ref()))
    {
        return Err(CommandError::Told(error));
    }
    done(&resources_apply::Done {
        objects,
        dry_run: request.dry_run,
    })
}

async fn apply(
    operation: &Operation,
    request: &Request,
    manifest: &Manifest,
) -> Result<Applied, CommandError> {
    let place = operation
        .place(manifest.reference(), request.namespace.as_ref())
        .await?;
    let before: Option<Fields> = if place.is_secret() {
        operation.read::<Plain>(&place).await?.map(Into::into)
    } else {
        operation.read(&place).await?
    };
    let mut parameters = vec![
        ("fieldManager", request.field_manager.as_str()),
        ("force", if request.force { "true" } else { "false" }),
        // A misspelt field is refused, and not dropped in silence.
        ("fieldValidation", "Strict"),
    ];
    if request.dry_run {
        parameters.push(("dryRun", "All"));
    }
    let (after, warnings): (Fields, _) = if place.is_secret() {
        let changed = operation
            .change::<Plain>(
                &place,
                &Method::PATCH,
                &parameters,
                APPLY,
                manifest.object(),
            )
            .await?;
        (changed.object.into(), changed.warnings)
    } else {
        let changed = operation
            .change(
                &place,
                &Method::PATCH,
                &parameters,
                APPLY,
                manifest.object(),
            )
            .await?;
        (changed.object, changed.warnings)
    };
    let (action, changed) = match &before {
        None => (Action::Created, Vec::new()),
        Some(before) => {
            let changed = after.differing(before);
            // A dry run leaves the resourceVersion as it is.
            let same = after.resource_version == before.resource_version && changed.is_empty();
            let action = if same {
                Action::Unchanged
            } else {
                Action::Configured
            };
            (action, changed)
        }
    };
    Ok(Applied {
        namespace: place.namespace,
        uid: after.uid,
        resource_version: after.resource_version,
        generation: after.generation,
        changed,
        warnings,
        ..blank(manifest, action)
    })
}

fn blank(manifest: &Manifest, action: Action) -> Applied {
    let reference = manifest.reference();
    Applied {
        api_version: reference.api_version.clone(),
        kind: reference.kind.clone(),
        namespace: None,
        name: reference.name.clone(),
        action,
        uid: None,
        resource_version: None,
        generation: None,
        changed: Vec::new(),
        warnings: Vec::new(),
        error: None,
    }
}
