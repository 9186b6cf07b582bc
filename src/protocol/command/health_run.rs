//! `health.run`: the agent's checks of itself, now (P-108, P-109).

use serde::{Deserialize, Serialize};

use crate::protocol::message::HealthState;

/// The arguments: none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Request {}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Done {
    /// The worst of all.
    pub health: HealthState,
    /// Each component.
    pub components: Vec<Component>,
}

/// A component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Component {
    /// Its name (P-109).
    pub component: String,
    /// How well it is.
    pub state: HealthState,
    /// Microseconds that the check took.
    pub latency_us: u64,
    /// For how many seconds it has been in this state, as far as the agent knows.
    pub since_s: u64,
    /// What was found, in one line.
    pub message: String,
}
