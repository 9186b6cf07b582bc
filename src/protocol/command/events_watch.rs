//! `events.watch`: the cluster's events, those of a series once (P-92, P-93).

use serde::{Deserialize, Serialize};

use super::Cursors;
use super::watched::{Interrupted, Restored, Synced};

/// The arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Request {
    /// Only those of this namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Only those about this object.
    #[serde(default, skip_serializing_if = "Involved::is_any")]
    pub object: Involved,
    /// Only those of this type, `Normal` or `Warning`.
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Of those that are there already, only what was seen last at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Where to go on (P-71): the newest cursor, under the empty string.
    #[serde(default, skip_serializing_if = "Cursors::is_empty")]
    pub resume: Cursors,
}

/// The object that an event is about; what is empty is any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Involved {
    /// `Pod`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its UID.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

impl Involved {
    /// Whether nothing is asked for.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.kind.is_empty() && self.name.is_empty() && self.uid.is_empty()
    }
}

/// A time in UTC as Kubernetes writes it, `2026-11-24T12:00:00Z`, to the second.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String")]
pub struct Time(
    #[cfg_attr(
        feature = "schema",
        schemars(regex(pattern = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"))
    )]
    String,
);

impl Time {
    /// Whether a timestamp of Kubernetes is this time or later; one that is none is.
    #[must_use]
    pub fn reaches(&self, timestamp: &str) -> bool {
        // To the second, such times sort as text.
        timestamp.get(..19).is_none_or(|time| time >= &self.0[..19])
    }
}

impl TryFrom<String> for Time {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let form = b"0000-00-00T00:00:00Z";
        let fits = text.len() == form.len()
            && text.bytes().zip(form).all(|(byte, form)| match form {
                b'0' => byte.is_ascii_digit(),
                other => byte == *other,
            });
        if fits {
            Ok(Self(text))
        } else {
            Err("a time is written 2026-11-24T12:00:00Z")
        }
    }
}

/// What the command says while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// An event, or a series of one that goes on.
    Event(Box<Happening>),
    /// What was there already has been sent; or nothing has happened for a while.
    Synced(Synced),
    /// Events may be missing here.
    Gap(Gap),
    /// See there.
    Interrupted(Interrupted),
    /// See there.
    Restored(Restored),
}

/// An event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Happening {
    /// Resumes after it; absent while what was there already is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Its UID: the same one again is the same series, with a higher count.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Why, in a word.
    pub reason: String,
    /// What, in a sentence.
    pub message: String,
    /// How often it was seen.
    pub count: u32,
    /// When it was seen first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub first: String,
    /// When it was seen last.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last: String,
    /// Who reports it. Not its `source`, which is a word of P-71.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reporter: String,
    /// What it is about.
    pub object: Object,
}

/// What an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Object {
    /// `Pod`.
    pub kind: String,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The part of it, `spec.containers{web}`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub part: String,
}

/// Why events may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The API server does not have the history since the cursor any more: what came and went
    /// since then is not known. What is still there follows.
    Compacted,
}

/// Events may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Gap {
    /// The newest cursor before it; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Why.
    pub reason: Reason,
}
