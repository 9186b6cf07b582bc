//! What is in force, and where each value comes from.
//!
//! Owns the list that `pipeops-agent config` prints and the local server serves. Invariant: a secret
//! is never in it.

use std::fmt;

use serde::Serialize;

/// What a value is shown as instead of a secret.
pub const REDACTED: &str = "[redacted]";

/// One value in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// Its key in the file.
    pub key: &'static str,
    /// The value as text, without secrets; empty when there is none.
    pub value: String,
    /// What gave it.
    pub source: Source,
    /// The flag, the variable, or the file with its line; absent for a default.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// What gives values, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The command line.
    Flag,
    /// A variable.
    Environment,
    /// The file.
    File,
    /// Nobody.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

/// The values as columns: key, value, source, and the place within it.
pub fn table(values: &[Effective]) -> String {
    let width = |of: fn(&Effective) -> usize| values.iter().map(of).max().unwrap_or_default();
    let shown = |value: &Effective| match value.value.as_str() {
        "" => "-".to_owned(),
        text => text.to_owned(),
    };
    let keys = width(|value| value.key.chars().count());
    // One long list does not push the rest out of sight.
    let texts = width(|value| value.value.chars().count()).min(48);
    let mut out = String::new();
    for value in values {
        let (text, place) = (shown(value), value.place.as_deref().unwrap_or_default());
        let line = format!(
            "{:keys$}  {text:texts$}  {} {place}",
            value.key, value.source
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The values as a JSON array, one in a line.
pub fn json(values: &[Effective]) -> String {
    let lines = values
        .iter()
        .map(|value| serde_json::to_string(value).expect("texts only"));
    format!("[\n  {}\n]\n", lines.collect::<Vec<_>>().join(",\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_and_nothing_is_a_dash() {
        let value = |key, value: &str, source, place: Option<&str>| Effective {
            key,
            value: value.into(),
            source,
            place: place.map(Into::into),
        };
        let table = table(&[
            value("agent.id", "", Source::Default, None),
            value("agent.cluster_name", "east", Source::File, Some("a.yaml:3")),
        ]);
        assert_eq!(
            table,
            "agent.id            -     default\nagent.cluster_name  east  file a.yaml:3\n"
        );
    }
}
