//! Label and field selectors.
//!
//! Owns: their grammar and whether an object matches. Owns not: which objects are looked at.
//! Invariant: a selector that is not understood is refused, never ignored: ignoring it would show
//! more than was asked for.

use serde_json::Value;

use super::answer::Failure;
use super::catalog::Resource;
use super::request::Query;

/// What an object must be like.
#[derive(Debug, Default, Clone)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

/// One term. `In` with no values means that the key must exist; `NotIn` that it must not.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Greater(String, i64),
    Less(String, i64),
}

impl Selector {
    /// Reads `labelSelector` and `fieldSelector`.
    ///
    /// # Errors
    /// 400 for a selector that cannot be read, or a field that this resource cannot select by.
    pub(super) fn of(query: &Query, resource: &Resource) -> Result<Self, Failure> {
        let labels = query
            .text("labelSelector")
            .map(labels)
            .transpose()?
            .unwrap_or_default();
        let fields = query
            .text("fieldSelector")
            .map(fields)
            .transpose()?
            .unwrap_or_default();
        for field in &fields {
            let (Requirement::In(key, _) | Requirement::NotIn(key, _)) = field else {
                continue;
            };
            if !selectable(resource, key) {
                return Err(Failure::bad_request(format!(
                    "Unable to find {:?} that match label selector \"\", field selector {:?}: \
                    field label not supported: {key}",
                    format!("{}, Resource={}", resource.api_version(), resource.plural),
                    query.text("fieldSelector").unwrap_or_default(),
                )));
            }
        }
        Ok(Self { labels, fields })
    }

    /// Whether the object is selected.
    pub(super) fn matches(&self, object: &Value) -> bool {
        self.labels
            .iter()
            .all(|term| term.holds(object["metadata"]["labels"][term.key()].as_str()))
            && self
                .fields
                .iter()
                .all(|term| term.holds(Some(&field(object, term.key()))))
    }

    /// Selects one object by its name, as a watch of one object does.
    pub(super) fn and_name(mut self, name: &str) -> Self {
        self.fields.push(Requirement::In(
            "metadata.name".into(),
            vec![name.to_owned()],
        ));
        self
    }
}

impl Requirement {
    fn key(&self) -> &str {
        match self {
            Self::In(key, _) | Self::NotIn(key, _) | Self::Greater(key, _) | Self::Less(key, _) => {
                key
            }
        }
    }

    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::In(_, values) if values.is_empty() => value.is_some(),
            Self::NotIn(_, values) if values.is_empty() => value.is_none(),
            Self::In(_, values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
            Self::NotIn(_, values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
            Self::Greater(_, bound) => number().is_some_and(|number| number > *bound),
            Self::Less(_, bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

fn selectable(resource: &Resource, key: &str) -> bool {
    let common = key == "metadata.name" || (key == "metadata.namespace" && resource.namespaced);
    let own: &[&str] = match (resource.group, resource.plural) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("", "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("", "secrets") => &["type"],
        ("", "namespaces") => &["status.phase"],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("", "replicationcontrollers") | ("apps", "replicasets") => &["status.replicas"],
        ("batch", "jobs") => &["status.successful"],
        _ => &[],
    };
    common || own.contains(&key)
}

/// A field's value as text; what is not there is empty, and false where it is a switch.
fn field(object: &Value, key: &str) -> String {
    let key = match key {
        "source" => "source.component",
        "status.successful" => "status.succeeded",
        other => other,
    };
    let value = key.split('.').fold(object, |value, part| &value[part]);
    match value {
        Value::String(text) => text.clone(),
        Value::Null if matches!(key, "spec.unschedulable" | "spec.hostNetwork") => "false".into(),
        Value::Null if key == "status.succeeded" || key == "status.replicas" => "0".into(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn fields(text: &str) -> Result<Vec<Requirement>, Failure> {
    let terms = text
        .split(',')
        .map(str::trim)
        .filter(|term| !term.is_empty());
    terms
        .map(|term| {
            let split = |separator| term.split_once(separator);
            if let Some((key, value)) = split("!=") {
                Ok(Requirement::NotIn(key.into(), vec![value.into()]))
            } else if let Some((key, value)) = split("==").or_else(|| split("=")) {
                Ok(Requirement::In(key.into(), vec![value.into()]))
            } else {
                Err(Failure::bad_request(format!(
                    "invalid selector: {text:?}; can't understand {term:?}"
                )))
            }
        })
        .collect()
}

fn labels(text: &str) -> Result<Vec<Requirement>, Failure> {
    let mut terms = Vec::new();
    let mut depth = 0_u32;
    let mut start = 0;
    for (index, character) in text.char_indices().chain([(text.len(), ',')]) {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 || index == text.len() => {
                terms.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    terms
        .into_iter()
        .map(str::trim)
        .filter(|term| !term.is_empty())
        .map(|term| {
            label(term).ok_or_else(|| {
                let message = format!("unable to parse requirement: found {term:?} in {text:?}");
                Failure::bad_request(message)
            })
        })
        .collect()
}

fn label(term: &str) -> Option<Requirement> {
    let key = |text: &str| {
        let text = text.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
        (!text.is_empty() && text.chars().all(plain)).then(|| text.to_owned())
    };
    if let Some((words, values)) = term.split_once('(') {
        let values = values
            .strip_suffix(')')?
            .split(',')
            .map(|value| value.trim().to_owned());
        let values: Vec<String> = values.collect();
        let mut words = words.split_whitespace();
        let (name, operator) = (key(words.next()?)?, words.next()?);
        return match operator {
            "in" => Some(Requirement::In(name, values)),
            "notin" => Some(Requirement::NotIn(name, values)),
            _ => None,
        };
    }
    let value = |text: &str| vec![text.trim().to_owned()];
    if let Some((name, text)) = term.split_once("!=") {
        return Some(Requirement::NotIn(key(name)?, value(text)));
    }
    if let Some((name, text)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Some(Requirement::In(key(name)?, value(text)));
    }
    if let Some((name, text)) = term.split_once('>') {
        return Some(Requirement::Greater(key(name)?, text.trim().parse().ok()?));
    }
    if let Some((name, text)) = term.split_once('<') {
        return Some(Requirement::Less(key(name)?, text.trim().parse().ok()?));
    }
    match term.strip_prefix('!') {
        Some(name) => Some(Requirement::NotIn(key(name)?, Vec::new())),
        None => Some(Requirement::In(key(term)?, Vec::new())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::catalog;
    use super::*;

    fn matches(query: &str) -> Result<bool, Failure> {
        let pod = json!({
            "metadata": {"name": "one", "labels": {"app": "web", "tier": "front", "level": "5"}},
            "spec": {"nodeName": "sample-node-2"},
            "status": {"phase": "Running"},
        });
        let pods = catalog::find("", "v1", "pods").unwrap();
        Ok(Selector::of(&Query::of(query), pods)?.matches(&pod))
    }

    #[test]
    fn labels_select_by_every_operator() {
        for term in [
            "app=web",
            "app==web",
            "app!=db",
            "app",
            "!missing",
            "app in (web, db)",
            "app notin (db)",
            "level>4",
            "level<6",
            "app=web,tier in (front,back)",
            "missing!=x",
        ] {
            assert!(matches(&format!("labelSelector={term}")).unwrap(), "{term}");
        }
        for term in [
            "app=db",
            "missing",
            "!app",
            "app notin (web)",
            "level>5",
            "app=web,tier=x",
        ] {
            assert!(
                !matches(&format!("labelSelector={term}")).unwrap(),
                "{term}"
            );
        }
    }

    #[test]
    fn fields_select_by_the_paths_that_the_resource_knows() {
        assert!(matches("fieldSelector=status.phase=Running,spec.nodeName=sample-node-2").unwrap());
        assert!(matches("fieldSelector=status.phase!=Pending").unwrap());
        assert!(!matches("fieldSelector=metadata.name=two").unwrap());
        assert!(matches("fieldSelector=spec.hostNetwork=false").unwrap());
        assert!(matches("fieldSelector=spec.color=red").is_err());
        assert!(matches("fieldSelector=status.phase").is_err());
    }

    #[test]
    fn a_selector_that_cannot_be_read_is_refused() {
        for term in [
            "app in web",
            "a b",
            "app in (web",
            "=x",
            "level>high",
            "(a)",
        ] {
            assert!(matches(&format!("labelSelector={term}")).is_err(), "{term}");
        }
    }
}
