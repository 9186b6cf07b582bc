//! `services.watch`: the services, and what becomes of them (P-91).

use serde::{Deserialize, Serialize};

use super::Cursors;
use super::services_list::Services;
use super::watched::{Interrupted, Reset, Restored, Synced};

/// The arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Request {
    /// Only those of this namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Where to go on (P-71): the cursor of the last `synced`, under the empty string.
    #[serde(default, skip_serializing_if = "Cursors::is_empty")]
    pub resume: Cursors,
}

/// What the command says while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Services that are new or have changed, as they are now.
    Services(Services),
    /// Services that are gone.
    Removed(Removed),
    /// See there.
    Synced(Synced),
    /// See there.
    Reset(Reset),
    /// See there.
    Interrupted(Interrupted),
    /// See there.
    Restored(Restored),
}

/// Services that are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Removed {
    /// Their names.
    pub items: Vec<Name>,
}

/// The name of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Name {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}
