//! `health.run`: the agent's checks of itself, now (P-108).
//!
//! Owns the telling. Owns not: the checks (`health`).

use tokio::time::Instant;

use super::{CommandError, Context, Done};
use crate::protocol::command::health_run::{self, Component};
use crate::protocol::message::HealthState;
use crate::status;

pub(super) async fn run(context: Context) -> Result<Done, CommandError> {
    let found = context.shared.health.examine().await;
    let now = Instant::now();
    let components: Vec<_> = found
        .into_iter()
        .map(|examined| {
            let finding = examined.component.finding;
            Component {
                component: finding.component.to_owned(),
                state: state(finding.state),
                latency_us: u64::try_from(examined.took.as_micros()).unwrap_or(u64::MAX),
                since_s: now
                    .saturating_duration_since(examined.component.since)
                    .as_secs(),
                message: finding.message,
            }
        })
        .collect();
    let worst = components.iter().map(|component| component.state).max();
    let done = health_run::Done {
        health: worst.unwrap_or(HealthState::Ok),
        components,
    };
    serde_json::value::to_raw_value(&done)
        .map(Some)
        .map_err(CommandError::Encode)
}

const fn state(state: status::HealthState) -> HealthState {
    match state {
        status::HealthState::Ok => HealthState::Ok,
        status::HealthState::Degraded => HealthState::Degraded,
        status::HealthState::Failing => HealthState::Failing,
    }
}
