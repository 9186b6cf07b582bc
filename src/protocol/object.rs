//! Objects of the Kubernetes API as commands of ours name and carry them.
//!
//! Owns what may be a name, a reference, a manifest (P-98). Owns not: what a manifest says beyond
//! who it is. Invariants: a name is one segment of a path, whoever wrote it; a manifest's `Debug`
//! shows nothing of what is in it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::limits;

/// Why something is no name, reference or manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoObject {
    /// Not one segment of a path.
    #[error("{0} is not 1 to 253 letters, digits, '-', '_', '.' and ':'")]
    Name(&'static str),
    /// A field that every object has.
    #[error("a manifest has a string {0}")]
    Missing(&'static str),
    /// What only the API server writes.
    #[error("a manifest has no metadata.managedFields")]
    ManagedFields,
    /// A list, which is no object.
    #[error("a manifest is one object and no list")]
    List,
    /// Not the name of a field manager.
    #[error("a field manager is 1 to 128 visible characters")]
    Manager,
    /// None, or more than may be.
    #[error("1 to {} objects", limits::OPERATE_OBJECTS)]
    Count,
    /// More than Kubernetes counts.
    #[error("at most 2147483647 replicas")]
    Replicas,
}

/// The name of an object or of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The namespace of whoever names none.
    pub fn default_namespace() -> Self {
        Self("default".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = NoObject;

    fn try_from(name: String) -> Result<Self, NoObject> {
        segment(&name, "a name").map(|()| Self(name))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// Who is said to own the fields that a command sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Manager(String);

impl Manager {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the one that is meant when none is named.
    pub fn is_ours(&self) -> bool {
        self.0 == OURS
    }
}

const OURS: &str = "pipeops-agent";

impl Default for Manager {
    fn default() -> Self {
        Self(OURS.to_owned())
    }
}

impl TryFrom<String> for Manager {
    type Error = NoObject;

    fn try_from(name: String) -> Result<Self, NoObject> {
        let visible = name.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && (1..=128).contains(&name.len()) {
            Ok(Self(name))
        } else {
            Err(NoObject::Manager)
        }
    }
}

impl From<Manager> for String {
    fn from(manager: Manager) -> Self {
        manager.0
    }
}

/// One object by kind and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reference {
    /// `v1`, `apps/v1`.
    pub api_version: ApiVersion,
    /// `Deployment`.
    pub kind: Name,
    /// Its namespace, where the kind has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Name>,
    /// Its name.
    pub name: Name,
    /// Only the object with this UID is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Only the object at this resourceVersion is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

/// `v1`, `apps/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct ApiVersion(String);

impl ApiVersion {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The group, empty for the core group, and the version.
    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or(("", &self.0))
    }
}

impl TryFrom<String> for ApiVersion {
    type Error = NoObject;

    fn try_from(text: String) -> Result<Self, NoObject> {
        let version = match text.split_once('/') {
            Some((group, version)) => {
                segment(group, "a group")?;
                version
            }
            None => &text,
        };
        segment(version, "a version")?;
        Ok(Self(text))
    }
}

impl From<ApiVersion> for String {
    fn from(version: ApiVersion) -> Self {
        version.0
    }
}

/// A whole object as its owner wants it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Manifest {
    object: Map<String, Value>,
    reference: Reference,
}

impl Manifest {
    /// Who it is. Its UID and resourceVersion are preconditions to the API server, too.
    pub const fn reference(&self) -> &Reference {
        &self.reference
    }

    /// All of it.
    pub const fn object(&self) -> &Map<String, Value> {
        &self.object
    }
}

impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Manifest").field(&self.reference).finish()
    }
}

impl TryFrom<Map<String, Value>> for Manifest {
    type Error = NoObject;

    fn try_from(object: Map<String, Value>) -> Result<Self, NoObject> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let api_version = text(object.get("apiVersion"))
            .ok_or(NoObject::Missing("apiVersion"))?
            .try_into()?;
        let kind = text(object.get("kind")).ok_or(NoObject::Missing("kind"))?;
        let metadata = object.get("metadata");
        let of = |name: &str| metadata.and_then(|metadata| metadata.get(name));
        let reference = Reference {
            api_version,
            kind: kind.try_into()?,
            namespace: match of("namespace") {
                None => None,
                Some(value) => Some(
                    text(Some(value))
                        .ok_or(NoObject::Name("metadata.namespace"))?
                        .try_into()?,
                ),
            },
            name: text(of("name"))
                .ok_or(NoObject::Missing("metadata.name"))?
                .try_into()?,
            uid: text(of("uid")),
            resource_version: text(of("resourceVersion")),
        };
        if of("managedFields").is_some() {
            return Err(NoObject::ManagedFields);
        }
        if object.get("items").is_some_and(Value::is_array) {
            return Err(NoObject::List);
        }
        Ok(Self { object, reference })
    }
}

impl From<Manifest> for Map<String, Value> {
    fn from(manifest: Manifest) -> Self {
        manifest.object
    }
}

/// Reads a number of replicas.
///
/// # Errors
/// When it is no number of 0 to 2147483647.
pub(super) fn replicas<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let count = u32::deserialize(deserializer)?;
    if i32::try_from(count).is_ok() {
        Ok(count)
    } else {
        Err(serde::de::Error::custom(NoObject::Replicas))
    }
}

fn segment(text: &str, what: &'static str) -> Result<(), NoObject> {
    let fits = (1..=253).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
        && text != "."
        && text != "..";
    if fits {
        Ok(())
    } else {
        Err(NoObject::Name(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest(value: &Value) -> Result<Manifest, String> {
        serde_json::from_value(value.clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_manifest_says_who_it_is_and_its_debug_nothing_more() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "c2VjcmV0"},
                            "metadata": {"name": "s", "namespace": "d"}});
        let read = manifest(&secret).unwrap();
        assert_eq!(read.reference().name.as_str(), "s");
        assert_eq!(read.reference().namespace.as_ref().unwrap().as_str(), "d");
        assert_eq!(serde_json::to_value(&read).unwrap(), secret);
        assert!(!format!("{read:?}").contains("c2VjcmV0"));
    }

    #[test]
    fn what_is_no_manifest_is_refused_by_name() {
        let named =
            |name: &Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}});
        for (wrong, word) in [
            (
                json!({"kind": "Pod", "metadata": {"name": "a"}}),
                "apiVersion",
            ),
            (
                json!({"apiVersion": "v1", "metadata": {"name": "a"}}),
                "kind",
            ),
            (json!({"apiVersion": "v1", "kind": "Pod"}), "metadata.name"),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "a-"}}),
                "metadata.name",
            ),
            (
                json!({"apiVersion": "a/b/c", "kind": "Pod", "metadata": {"name": "a"}}),
                "version",
            ),
            (
                json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"name": "a"}, "items": []}),
                "list",
            ),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "managedFields": []}}),
                "managedFields",
            ),
            (
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": 7}}),
                "namespace",
            ),
            (named(&json!("")), "name"),
            (named(&json!("..")), "name"),
            (named(&json!("a/log")), "name"),
            (named(&json!("a%2flog")), "name"),
            (named(&json!("a?b")), "name"),
            (named(&json!("x".repeat(254))), "name"),
        ] {
            let error = manifest(&wrong).expect_err("it is refused");
            assert!(error.contains(word), "{wrong}: {error}");
        }
        for right in ["a", "kube-root-ca.crt", "system:node-admin", "A_b"] {
            assert!(manifest(&named(&json!(right))).is_ok(), "{right}");
        }
    }
}
