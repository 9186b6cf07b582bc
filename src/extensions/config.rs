//! The section `extensions` of the configuration file, as it is written.
//!
//! Owns the keys, their defaults and what they say. Owns not: whether they make sense together
//! (`plan`). Invariant: no secret stands here, only the files that hold them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// What an operator adds to the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Authorities to trust beside the public ones, for every HTTPS target of this section.
    pub ca_file: Option<PathBuf>,
    /// Checks that stand beside the built-in components of health.
    pub health_checks: Vec<HealthCheck>,
    /// What is done when an event of the cluster matches.
    pub event_handlers: Vec<EventHandler>,
    /// Channels beside the built-in ones.
    pub channels: Vec<Channel>,
    /// Panels on the dashboard.
    pub panels: Vec<Panel>,
}

impl Config {
    /// Lets relative paths begin at this folder.
    pub(crate) fn begin_at(&mut self, folder: &Path) {
        let checks = self
            .health_checks
            .iter_mut()
            .filter_map(|c| c.http.as_mut());
        let handlers = self.event_handlers.iter_mut();
        let webhooks = handlers.filter_map(|h| h.webhook.as_mut());
        let scrapes = self
            .channels
            .iter_mut()
            .filter_map(|c| c.prometheus.as_mut());
        let files = [&mut self.ca_file]
            .into_iter()
            .chain(checks.map(|http| &mut http.bearer_file))
            .chain(webhooks.map(|webhook| &mut webhook.secret_file))
            .chain(scrapes.map(|scrape| &mut scrape.bearer_file));
        for path in files.flatten() {
            *path = folder.join(&*path);
        }
    }
}

/// One custom health check: exactly one of `http`, `tcp` and `kubernetes`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// Its name; the component is `check/<name>`.
    pub name: String,
    /// A GET request.
    pub http: Option<HttpCheck>,
    /// A TCP connection.
    pub tcp: Option<TcpCheck>,
    /// A condition of a Kubernetes object.
    pub kubernetes: Option<ConditionCheck>,
    /// How often; 30 s otherwise.
    pub every: Option<Span>,
    /// How long it may take; 5 s otherwise.
    pub timeout: Option<Span>,
    /// Failures in a row before it counts; 2 otherwise.
    pub failures: Option<u32>,
    /// What the component is then; `degraded` otherwise.
    #[serde(default)]
    pub severity: Severity,
}

/// A GET request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HttpCheck {
    /// `http://` or `https://`. Redirects are not followed.
    pub url: String,
    /// The statuses that are good; every 2xx otherwise.
    #[serde(default)]
    pub status: Vec<u16>,
    /// A text that the answer must have within its first 64 KiB.
    pub contains: Option<String>,
    /// A file with a bearer token.
    pub bearer_file: Option<PathBuf>,
}

/// A TCP connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TcpCheck {
    /// `host:port`.
    pub address: String,
}

/// A condition of a Kubernetes object.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConditionCheck {
    /// The object's path, `/apis/apps/v1/namespaces/default/deployments/web`.
    pub path: String,
    /// The condition's type, `Available`.
    pub condition: String,
    /// What its status must be; `True` otherwise.
    pub status: Option<String>,
}

/// What a check that fails makes of its component.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It works, and something should be done.
    #[default]
    Degraded,
    /// It does not work.
    Failing,
}

/// One event handler: exactly one of `webhook` and `log`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EventHandler {
    /// Its name, for metrics and logs.
    pub name: String,
    /// Which events; all otherwise.
    #[serde(default, rename = "match")]
    pub matching: Match,
    /// Whether an event that only happened again is handled as well.
    #[serde(default)]
    pub repeats: bool,
    /// A POST with the event as JSON.
    pub webhook: Option<Webhook>,
    /// A line in the agent's own log.
    pub log: Option<LogLine>,
}

/// Which events: each list that is not empty must have the event's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// The kind of the object, `Pod`.
    pub kind: Vec<String>,
    /// The reason, `BackOff`.
    pub reason: Vec<String>,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub r#type: Vec<String>,
    /// The namespace of the object.
    pub namespace: Vec<String>,
}

/// A POST with the event as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// `http://` or `https://`. Redirects are not followed.
    pub url: String,
    /// A file with a secret for the receiver; read again for each event.
    pub secret_file: Option<PathBuf>,
    /// The header that carries the secret; without one it is `Authorization: Bearer`.
    pub secret_header: Option<String>,
    /// How long one attempt may take; 5 s otherwise.
    pub timeout: Option<Span>,
}

/// A line in the agent's own log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct LogLine {
    /// At which level.
    pub level: LogLevel,
}

/// A level of the agent's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// For people who look.
    #[default]
    Info,
    /// For people who are woken up.
    Warn,
}

/// One channel: exactly one of `kubernetes` and `prometheus`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Its name, to subscribe to.
    pub name: String,
    /// A message type of `/ws` that asks for its present values.
    pub message_type: Option<String>,
    /// A query to the Kubernetes API.
    pub kubernetes: Option<KubernetesQuery>,
    /// A Prometheus endpoint.
    pub prometheus: Option<Scrape>,
    /// How often; 15 s otherwise.
    pub every: Option<Span>,
    /// How long it may take; 5 s otherwise.
    pub timeout: Option<Span>,
}

/// A query to the Kubernetes API, under the agent's own account and within its access preset.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KubernetesQuery {
    /// Path and query of a GET, `/api/v1/namespaces/default/pods?limit=100`.
    pub path: String,
    /// What is told of the answer, by name.
    pub fields: BTreeMap<String, Field>,
}

/// What is told of an answer: a JSON pointer, or a table.
///
/// A pointer that ends in `/#` stands for the number of elements.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(untagged))]
pub enum Field {
    /// One value.
    Pointer(String),
    /// A row for each element of a list.
    Table(Table),
}

/// A row for each element of a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The list, `/items`.
    pub each: String,
    /// What is told of each element, by column.
    pub pick: BTreeMap<String, String>,
}

/// A Prometheus endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Scrape {
    /// `http://` or `https://`. Redirects are not followed.
    pub url: String,
    /// By name, whose series are added up: `http_requests_total{code="200"}`.
    pub metrics: BTreeMap<String, String>,
    /// A file with a bearer token.
    pub bearer_file: Option<PathBuf>,
}

/// One panel of the dashboard.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// What stands above it.
    pub title: String,
    /// The channel that it shows, one of this section or a built-in one.
    pub source: String,
    /// A JSON pointer into the channel's data.
    pub field: String,
    /// How it is shown.
    #[serde(default)]
    pub kind: PanelKind,
    /// What stands behind a number.
    pub unit: Option<String>,
}

/// How a panel shows its field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PanelKind {
    /// A large number.
    Number,
    /// Text.
    #[default]
    Text,
    /// Rows of a table field.
    Table,
    /// A number and its last course.
    Spark,
}

impl PanelKind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Text => "text",
            Self::Table => "table",
            Self::Spark => "spark",
        }
    }
}

/// A time: a number of seconds, or `500ms`, `30s`, `5m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A time: a number of seconds, or `500ms`, `30s`, `5m`, `1h`.",
            "type": ["integer", "string"],
            "minimum": 0,
            "pattern": "^[0-9]+(ms|s|m|h)?$",
        })
    }
}

impl Span {
    fn parse(text: &str) -> Option<Self> {
        let unit = text.find(|c: char| !c.is_ascii_digit())?;
        let (count, unit) = text.split_at(unit);
        let count: u64 = count.parse().ok()?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        Some(Self(Duration::from_millis(count.checked_mul(millis)?)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time, such as 30s or 5m")
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<Span, E> {
                Ok(Span(Duration::from_secs(seconds)))
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<Span, E> {
                let seconds = u64::try_from(seconds);
                seconds
                    .map_err(|_| E::custom("a time, such as 30s or 5m"))
                    .and_then(|seconds| self.visit_u64(seconds))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
                let unit = Span::parse(text);
                let plain = || text.parse().ok().map(Duration::from_secs).map(Span);
                unit.or_else(plain)
                    .ok_or_else(|| E::custom("a time is written as 500ms, 30s, 5m or 1h"))
            }
        }
        from.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON pointer, or a table with each and pick")
            }

            fn visit_str<E: Error>(self, pointer: &str) -> Result<Field, E> {
                Ok(Field::Pointer(pointer.to_owned()))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Field, M::Error> {
                Table::deserialize(MapAccessDeserializer::new(map)).map(Field::Table)
            }
        }
        from.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn times_are_seconds_or_have_a_unit() {
        for (text, millis) in [
            (json!(30), 30_000),
            (json!("30"), 30_000),
            (json!("500ms"), 500),
            (json!("5m"), 300_000),
            (json!("1h"), 3_600_000),
        ] {
            let span: Span = from_value(text.clone()).unwrap();
            assert_eq!(span.0, Duration::from_millis(millis), "{text}");
        }
        for bad in ["", "s", "5 m", "-5s", "5d", "1.5s", "99999999999999999h"] {
            assert!(from_value::<Span>(json!(bad)).is_err(), "{bad}");
        }
        assert!(from_value::<Span>(json!(-1)).is_err());
    }

    #[test]
    fn a_misspelled_key_is_refused_wherever_it_stands() {
        for bad in [
            json!({"health_check": []}),
            json!({"health_checks": [{"name": "a", "tcp": {"address": "a:1", "port": 1}}]}),
            json!({"event_handlers": [{"name": "a", "matches": {}}]}),
            json!({"event_handlers": [{"name": "a", "exec": {"command": ["sh"]}}]}),
            json!({"channels": [{"name": "a", "kubernetes": {"path": "/", "fields": {"a": {"each": "/a"}}}}]}),
            json!({"panels": [{"title": "a", "source": "s", "field": "/a", "kind": "html"}]}),
        ] {
            assert!(from_value::<Config>(bad.clone()).is_err(), "{bad}");
        }
        assert_eq!(from_value::<Config>(json!({})).unwrap(), Config::default());
    }
}
