//! `connectivity.check`: real tests of the connections that the agent needs (P-107).
//!
//! Owns the telling. Owns not: the tests (`health::connectivity`). Invariant: what is tested is
//! chosen from a closed list; no host comes from the requester.

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::{CommandError, Context, Done};
use crate::health::connectivity::{self as tests, Target as Tested};
use crate::protocol::command::connectivity_check::{self, Check, Event, Outcome, Request, Target};

pub(super) async fn run(context: Context, request: Request) -> Result<Done, CommandError> {
    let Context {
        shared, mut writer, ..
    } = context;
    let mut targets = request.targets;
    targets.sort_by_key(|target| *target as u8);
    targets.dedup();
    let mut running: FuturesUnordered<_> = targets
        .into_iter()
        .map(|target| shared.health.test(tested(target)))
        .collect();
    let (mut worst, mut checks) = (Outcome::Ok, 0);
    while let Some(done) = running.next().await {
        // What was not tried is not told.
        for check in done.into_iter().filter_map(told) {
            worst = worst.max(check.outcome);
            checks += 1;
            writer.event(&Event::Check(check)).await?;
        }
    }
    let done = connectivity_check::Done {
        outcome: worst,
        checks,
    };
    serde_json::value::to_raw_value(&done)
        .map(Some)
        .map_err(CommandError::Encode)
}

const fn tested(target: Target) -> Tested {
    match target {
        Target::ApiServer => Tested::ApiServer,
        Target::ControlPlane => Tested::ControlPlane,
        Target::Clock => Tested::Clock,
    }
}

fn told(check: tests::Check) -> Option<Check> {
    Some(Check {
        name: check.name.to_owned(),
        outcome: match check.outcome {
            tests::Outcome::Skipped => return None,
            tests::Outcome::Ok => Outcome::Ok,
            tests::Outcome::Warn => Outcome::Warn,
            tests::Outcome::Fail => Outcome::Fail,
        },
        latency_us: check
            .latency
            .map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
        message: check.message,
        remedy: check.remedy.map(Into::into),
    })
}
