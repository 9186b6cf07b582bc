//! `logs.follow`: containers' logs as they are written, every line once (P-80 to P-85).

use serde::{Deserialize, Serialize};

use super::Cursors;

/// The arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Request {
    /// The namespace; with `selector` it may be left out for all of them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// One pod by name. Either this or `selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// All pods that this label selector picks, as they come and go; every pod where it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Only the container of this name, of whatever kind; otherwise all that make up a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Init and ephemeral containers as well.
    #[serde(default, skip_serializing_if = "is_false")]
    pub all_containers: bool,
    /// The run before the present one, and only that.
    #[serde(default, skip_serializing_if = "is_false")]
    pub previous: bool,
    /// Of what there is at first only so many lines of each container, the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u64>,
    /// Only lines from this time on (RFC 3339, in whole seconds).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only lines of so many seconds before the request, by the node's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_seconds: Option<u64>,
    /// The newest cursor of each source (P-71).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Cursors>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A run of a container begins.
    Started(Started),
    /// Lines, right behind those before of their source.
    Lines(Lines),
    /// Lines cannot be had any more.
    Gap(Gap),
    /// A container has not run yet, or waits for its next run.
    Waiting(Waiting),
    /// Something cannot be had; it is tried again.
    Trouble(Trouble),
    /// The trouble is over.
    Recovered(Recovered),
    /// Nothing more comes of a source.
    Ended(Ended),
    /// The pod of a source is gone, and all was told: the requester drops its cursor.
    Forget(Forget),
    /// More logs match than are followed.
    LeftOut(LeftOut),
}

/// A run of a container begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Started {
    /// The source.
    pub source: String,
    /// Behind this event.
    pub cursor: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// How often it was started again before.
    pub run: u32,
}

/// Lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Lines {
    /// The source.
    pub source: String,
    /// Behind the last of these lines.
    pub cursor: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// Stamp (RFC 3339) and text of each.
    pub lines: Vec<(String, String)>,
    /// Which of these entries, by their place from 0, go on in the next entry of the source: a line
    /// longer than 16 KiB is several entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<u32>,
    /// The lines before these look all alike: some may be missing or come again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub uncertain: bool,
}

/// A gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Gap {
    /// The source.
    pub source: String,
    /// Behind the gap; absent where the source is forgotten next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Why.
    pub reason: Lost,
    /// The stamp of the last line before it (RFC 3339, in UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Why lines cannot be had any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// The kubelet rotated the file while nobody read it.
    Rotated,
    /// The container was started again while nobody read it, more than once or with a rotation.
    Restarted,
    /// The pod is gone.
    Gone,
}

/// A container that has no log yet, or none of its next run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Waiting {
    /// The source.
    pub source: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// Why, as the pod says: `ContainerCreating`, `CrashLoopBackOff`.
    pub reason: String,
}

/// Something cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Trouble {
    /// The source; absent where it is the list of pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Why.
    pub message: String,
}

/// The trouble is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Recovered {
    /// The source; absent where it was the list of pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Nothing more comes of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Ended {
    /// The source.
    pub source: String,
    /// Behind all of it; absent where nothing had begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Why.
    pub reason: Over,
}

/// Why nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// The container will not run again, and all was read.
    Completed,
    /// All that there was has been read (`logs.get`).
    Read,
    /// As much was read as may be (`logs.get`).
    Limited,
    /// The container has not run yet (`logs.get`).
    NotStarted,
    /// There was no run before the present one (`previous`).
    NoPrevious,
    /// The pod has no such container any more.
    Unknown,
    /// The pod is gone.
    Gone,
}

/// A source to forget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Forget {
    /// The source.
    pub source: String,
}

/// More logs match than are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LeftOut {
    /// How many wait until others are forgotten; 0 when none does any more.
    pub count: u32,
}
