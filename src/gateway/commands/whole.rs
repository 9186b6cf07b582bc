//! A command's answer in one piece of JSON.
//!
//! Owns the collecting of events up to a bound, of one answer and of all together. Invariant: what
//! is collected is counted as long as it is held; beyond either bound the answer is a refusal that
//! names the way without a bound.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::value::RawValue;

use super::event::Event;
use super::failed::Failed;
use super::run::{Run, Step};
use crate::gateway::Shared;
use crate::gateway::answers::RETRY;
use crate::gateway::failures::Refusal;
use crate::kubeapi::status::{Failure, Hop};
use crate::limits;
use crate::protocol::error::ErrorCode;

/// Bytes that one answer in the making counts among all.
struct Counted<'a> {
    all: &'a AtomicUsize,
    bytes: usize,
}

impl<'a> Counted<'a> {
    const fn new(all: &'a AtomicUsize) -> Self {
        Self { all, bytes: 0 }
    }

    fn add(&mut self, bytes: usize) -> Result<(), Failure> {
        self.bytes += bytes;
        let all = self.all.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.bytes > limits::COLLECTED {
            let most = limits::COLLECTED / (1024 * 1024);
            let message = format!(
                "the answer is more than {most} MiB; ask for it with Accept: text/event-stream"
            );
            return Err(Failure::TooLarge { message });
        }
        if all > limits::COLLECTED_ALL {
            let message = "too many answers are being collected; ask for this one with Accept: \
                           text/event-stream"
                .to_owned();
            let retry_after = RETRY;
            return Err(Failure::Busy {
                message,
                retry_after,
            });
        }
        Ok(())
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The events and the result of a command that ends, by itself or with an event of this name.
pub(crate) async fn collect(
    shared: &Shared,
    run: &mut Run,
    until: Option<&str>,
) -> Result<String, Failed> {
    let mut counted = Counted::new(&shared.collected);
    let mut out = String::from("{\"events\":[");
    loop {
        match run.next().await? {
            Step::Waiting => {}
            Step::Event(raw) => {
                let event = Event::read(&raw)
                    .map_err(|error| run.over(ErrorCode::ProtocolError, &error.to_string()))?;
                run.passed_on(&event);
                counted.add(raw.get().len()).map_err(|failure| {
                    let refusal = Refusal::new(failure, Hop::Gateway, "collected");
                    run.over(ErrorCode::Cancelled, "").refused(refusal)
                })?;
                if !out.ends_with('[') {
                    out.push(',');
                }
                out.push_str(raw.get());
                if until == Some(event.name) {
                    drop(run.over(ErrorCode::Cancelled, ""));
                    return Ok(finished(out, None));
                }
            }
            Step::End(result) => return Ok(finished(out, result.as_deref())),
        }
    }
}

fn finished(mut out: String, result: Option<&RawValue>) -> String {
    out.push_str("],\"result\":");
    out.push_str(result.map_or("null", RawValue::get));
    out.push_str("}\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_answers_together_have_a_bound_and_give_back_what_they_took() {
        let all = AtomicUsize::new(limits::COLLECTED_ALL - 1);
        let mut counted = Counted::new(&all);
        assert_eq!(counted.add(1), Ok(()));
        assert!(matches!(counted.add(1), Err(Failure::Busy { .. })));
        drop(counted);
        assert_eq!(all.into_inner(), limits::COLLECTED_ALL - 1);
    }
}
