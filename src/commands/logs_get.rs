//! `logs.get`: what there is of containers' logs, within bounds (P-86).
//!
//! Owns the bounds and the result. Owns not: the arguments and events, which are those of
//! `logs.follow`. Invariant: it ends, and never without saying whether a bound ended it.

use std::sync::Arc;

use super::{CommandError, Context, Done, logs_follow, within};
use crate::cluster::logs::{self, Budget, News};
use crate::limits;
use crate::protocol::command::logs_get::{self, Request};

pub(super) async fn run(context: Context, request: Request) -> Result<Done, CommandError> {
    let objects = context.objects();
    let Context {
        deadline,
        mut writer,
        ..
    } = context;
    let most = |asked: Option<u64>, most: u64| asked.map_or(most, |asked| asked.min(most));
    let lines = most(request.max_lines, limits::logs::GET_LINES);
    let bytes = most(request.max_bytes, limits::logs::GET_BYTES);
    let budget = Arc::new(Budget::new(lines, bytes));
    let spec = logs_follow::spec(request.logs, false, Some(budget))?;
    let mut done = logs_get::Done {
        lines: 0,
        limited: false,
    };
    let told = logs_follow::tell(objects, spec, &mut writer, |news| {
        if let News::Told(told) = news {
            match &told.event {
                logs::Event::Lines { batch, .. } => done.lines += batch.len() as u64,
                logs::Event::Ended {
                    reason: logs::Ended::Limited,
                } => done.limited = true,
                _ => {}
            }
        }
    });
    within(deadline, Box::pin(told)).await?;
    serde_json::value::to_raw_value(&done)
        .map(Some)
        .map_err(CommandError::Encode)
}
