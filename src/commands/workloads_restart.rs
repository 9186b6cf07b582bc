//! `workloads.restart`: new pods for a workload (P-97, P-102).
//!
//! Owns the annotation that `kubectl rollout restart` writes as well, and the wait for its effect.
//! Invariants: a reader that is slow, or gone, holds up nothing: only the newest progress is told;
//! the wait ends before the deadline, so that a restart that was made is never in doubt.

mod rollout;

use http::Method;
use serde_json::json;
use tokio::time::Instant;

use super::operation::{Operation, Place, done, told};
use super::{CommandError, Context, Done};
use crate::cluster::objects::Collection;
use crate::cluster::written;
use crate::limits;
use crate::protocol::ErrorCode;
use crate::protocol::command::workloads_restart::{self, Event, Kind, Progress, Request, Rollout};
use crate::session::StreamWriter;
use rollout::{State, Workload};

const ANNOTATION: &str = "kubectl.kubernetes.io/restartedAt";

pub(super) async fn run(context: Context, request: Request) -> Result<Done, CommandError> {
    let operation = Operation::new(&context);
    let path = Collection::new("apps", "v1", request.kind.resource())
        .within(request.namespace.as_str())
        .item(request.name.as_str());
    let place = Place::known(path, &request.namespace);
    let before: Workload = operation.read(&place).await?.ok_or_else(|| {
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
    if before.spec.paused {
        return Err(told(
            ErrorCode::Conflict,
            "it is paused; resume it first, and it restarts",
        ));
    }
    let restarted_at = written::now();
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {
        ANNOTATION: restarted_at,
    }}}}});
    let mut parameters = vec![("fieldManager", request.field_manager.as_str())];
    if request.dry_run {
        parameters.push(("dryRun", "All"));
    }
    let kind = "application/strategic-merge-patch+json";
    let changed = operation
        .change::<Workload>(&place, &Method::PATCH, &parameters, kind, &patch)
        .await?;
    let generation = changed.object.metadata.generation;
    let mut result = workloads_restart::Done {
        restarted_at,
        generation_before: before.metadata.generation,
        generation,
        revision_before: before.revision(request.kind),
        revision: None,
        rollout: None,
        dry_run: request.dry_run,
    };
    if request.wait && !request.dry_run {
        let mut teller = Teller {
            writer: context.writer,
            told: None,
            gone: false,
        };
        let (rollout, revision) =
            follow(&operation, &place, request.kind, generation, &mut teller).await;
        result.rollout = Some(rollout);
        result.revision = revision;
    }
    done(&result)
}

/// Looks at the workload until its pods are new and serve, or will not, or time is up.
async fn follow(
    operation: &Operation,
    place: &Place,
    kind: Kind,
    generation: i64,
    teller: &mut Teller,
) -> (Rollout, Option<String>) {
    let mut newest = None;
    let mut revision = None;
    let ended = |complete, reason: Option<&str>, progress| Rollout {
        complete,
        reason: reason.map(str::to_owned),
        progress,
    };
    loop {
        // An API server that is away for a while is no reason to give up.
        match operation.read::<Workload>(place).await {
            Ok(None) => return (ended(false, Some("it was deleted"), newest), None),
            Ok(Some(workload)) => {
                revision = workload.revision(kind);
                let (progress, state) = workload.rollout(kind, generation);
                newest = Some(progress);
                match state {
                    State::Complete => return (ended(true, None, newest), revision),
                    State::Stuck(reason) => {
                        return (ended(false, Some(reason), newest), revision);
                    }
                    State::Going => {}
                }
            }
            Err(_) => {}
        }
        let next = operation.until.min(Instant::now() + limits::ROLLOUT_EVERY);
        if let Some(progress) = newest {
            teller.tell(progress, next).await;
        }
        tokio::time::sleep_until(next).await;
        if Instant::now() >= operation.until {
            let reason = Some("the command's deadline came first");
            return (ended(false, reason, newest), revision);
        }
    }
}

/// Tells progress to whoever still listens.
struct Teller {
    writer: StreamWriter,
    told: Option<Progress>,
    gone: bool,
}

impl Teller {
    async fn tell(&mut self, progress: Progress, until: Instant) {
        if self.gone || self.told == Some(progress) {
            return;
        }
        let event = Event::Progress(progress);
        match tokio::time::timeout_at(until, self.writer.event(&event)).await {
            Ok(Ok(())) => self.told = Some(progress),
            Ok(Err(_)) => self.gone = true,
            Err(_) => {}
        }
    }
}
