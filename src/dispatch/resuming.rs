//! Which commands outlive their session, and what is counted of them.
//!
//! | name | labels | what |
//! |---|---|---|
//! | `pipeops_agent_resumable` | | commands that could be resumed |
//! | `pipeops_agent_parked` | | of these, commands without a channel |
//! | `pipeops_agent_replay_bytes` | | bytes kept to be sent again |
//! | `pipeops_agent_resumes_total` | `outcome` | commands that went on in another session, `resumed`, or could not, `gap` |
//!
//! Owns not how one outlives it (`session::resume`). Invariant: what runs in the cluster on behalf of
//! a command that changes something, or whose bytes somebody has taken already, never does (P-75).

use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::Metrics;
use crate::policy::Subject;
use crate::protocol::Command;
use crate::session::Lines;

/// Whether a command may be resumed (P-75): it only reads, for as long as somebody listens, and takes
/// no bytes.
pub(super) fn may_last(command: &Command, subject: &Subject) -> bool {
    match (command, subject) {
        (Command::K8sRequest(request), Subject::Kubernetes(path)) => {
            !request.body && path.is_followed()
        }
        (command, _) => command.observes() && !subject.mutates(),
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Copies the figures of `lines` at each scrape.
pub(super) fn observe(metrics: &Metrics, lines: Lines) {
    let (known, parked, kept) = (
        Gauge::<i64>::default(),
        Gauge::<i64>::default(),
        Gauge::<i64>::default(),
    );
    let outcomes = Family::<Outcome, Counter>::default();
    metrics.register(|to| {
        let name = "pipeops_agent_resumable";
        to.register(name, "Commands that could be resumed", known.clone());
        let name = "pipeops_agent_parked";
        to.register(name, "Commands that wait for a channel", parked.clone());
        let name = "pipeops_agent_replay_bytes";
        to.register(name, "Bytes kept to be sent again", kept.clone());
        let name = "pipeops_agent_resumes";
        let help = "Commands that went on in another session, or could not";
        to.register(name, help, outcomes.clone());
    });
    let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    metrics.observe(move || {
        let now = lines.figures();
        known.set(gauge(now.known));
        parked.set(gauge(now.parked));
        kept.set(gauge(now.kept));
        for (outcome, count) in [("resumed", now.resumed), ("gap", now.gaps)] {
            let counter = outcomes.get_or_create(&Outcome { outcome });
            counter.inner().store(count, Ordering::Relaxed);
        }
    });
}
