//! What an object's fields are like, without the fields.
//!
//! Owns a digest of each pair of first and second field. Invariants: no value is kept, however
//! large the object; at most [`limits::OPERATE_FIELDS`] digests are.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::limits;

/// An object, digested.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
    pub(super) generation: Option<i64>,
    digests: BTreeMap<String, u64>,
}

/// The same of an object whose second fields are not told either: a Secret's.
#[derive(Debug)]
pub(super) struct Plain(Fields);

impl From<Plain> for Fields {
    fn from(plain: Plain) -> Self {
        plain.0
    }
}

impl Fields {
    /// The paths whose values differ, at most [`limits::OPERATE_TOLD`].
    pub(super) fn differing(&self, before: &Self) -> Vec<String> {
        let gone = before
            .digests
            .keys()
            .filter(|path| !self.digests.contains_key(*path));
        let mut paths: Vec<_> = self
            .digests
            .iter()
            .filter(|(path, digest)| before.digests.get(*path) != Some(digest))
            .map(|(path, _)| path)
            .chain(gone)
            .cloned()
            .collect();
        paths.sort_unstable();
        paths.truncate(limits::OPERATE_TOLD);
        paths
    }

    fn keep(&mut self, path: String, digest: u64) {
        if self.digests.len() < limits::OPERATE_FIELDS {
            self.digests.insert(path, digest);
        }
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object { deep: true })
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_map(Object { deep: false })
            .map(Self)
    }
}

struct Object {
    deep: bool,
}

impl<'de> Visitor<'de> for Object {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                // What the API server and controllers write, and what never differs.
                "status" | "apiVersion" | "kind" => _ = map.next_value::<IgnoredAny>()?,
                "metadata" => map.next_value_seed(Metadata(&mut fields))?,
                _ => map.next_value_seed(Section {
                    fields: &mut fields,
                    name,
                    deep: self.deep,
                })?,
            }
        }
        Ok(fields)
    }
}

struct Metadata<'a>(&'a mut Fields);

impl<'de> DeserializeSeed<'de> for Metadata<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metadata<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "uid" => self.0.uid = map.next_value()?,
                "resourceVersion" => self.0.resource_version = map.next_value()?,
                "generation" => self.0.generation = map.next_value()?,
                "labels" | "annotations" | "finalizers" | "ownerReferences" => {
                    let digest = map.next_value::<Digested>()?;
                    self.0.keep(format!("metadata.{name}"), digest.0);
                }
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

/// A field of the object: each field below it by itself, or one value.
struct Section<'a> {
    fields: &'a mut Fields,
    name: String,
    deep: bool,
}

impl<'de> DeserializeSeed<'de> for Section<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.deep {
            return deserializer.deserialize_any(self);
        }
        let digest = Digested::deserialize(deserializer)?;
        self.fields.keep(self.name, digest.0);
        Ok(())
    }
}

/// What is said of a value that has no fields.
macro_rules! whole {
    ($($visit:ident($kind:ty)),*) => {
        $(fn $visit<E>(self, value: $kind) -> Result<(), E> {
            let mut hasher = DefaultHasher::new();
            value.hash(&mut hasher);
            self.fields.keep(self.name, hasher.finish());
            Ok(())
        })*
    };
}

impl<'de> Visitor<'de> for Section<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    whole!(
        visit_bool(bool),
        visit_i64(i64),
        visit_u64(u64),
        visit_str(&str)
    );

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.fields.keep(self.name, value.to_bits());
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        let digest = Value.visit_seq(seq)?;
        self.fields.keep(self.name, digest.0);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let digest = map.next_value::<Digested>()?;
            let mut path = format!("{}.{name}", self.name);
            path.truncate(path.floor_char_boundary(limits::OPERATE_PATH));
            self.fields.keep(path, digest.0);
        }
        Ok(())
    }
}

/// Any value, as a number. The API server writes one object in one way, so that equal numbers mean
/// equal values.
struct Digested(u64);

struct Value;

impl<'de> Deserialize<'de> for Digested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Value)
    }
}

fn digest(kind: u8, value: impl Hash) -> Digested {
    let mut hasher = DefaultHasher::new();
    kind.hash(&mut hasher);
    value.hash(&mut hasher);
    Digested(hasher.finish())
}

impl<'de> Visitor<'de> for Value {
    type Value = Digested;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Digested, E> {
        Ok(digest(0, value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Digested, E> {
        Ok(digest(1, value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Digested, E> {
        Ok(digest(2, value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Digested, E> {
        Ok(digest(3, value.to_bits()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Digested, E> {
        Ok(digest(4, value))
    }

    fn visit_unit<E>(self) -> Result<Digested, E> {
        Ok(digest(5, ()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Digested, A::Error> {
        let mut hasher = DefaultHasher::new();
        6u8.hash(&mut hasher);
        while let Some(value) = seq.next_element::<Digested>()? {
            value.0.hash(&mut hasher);
        }
        Ok(Digested(hasher.finish()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Digested, A::Error> {
        let mut hasher = DefaultHasher::new();
        7u8.hash(&mut hasher);
        while let Some((name, value)) = map.next_entry::<String, Digested>()? {
            name.hash(&mut hasher);
            value.0.hash(&mut hasher);
        }
        Ok(Digested(hasher.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: &serde_json::Value) -> Fields {
        serde_json::from_slice(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn what_differs_is_named_by_its_first_two_fields() {
        let before = fields(&json!({"apiVersion": "v1", "kind": "X", "status": {"a": 1},
            "metadata": {"uid": "u", "resourceVersion": "1", "generation": 1, "labels": {"a": "1"},
                         "managedFields": [1]},
            "spec": {"replicas": 1, "template": {"x": [1, 2]}, "gone": true, "same": [{"a": null}]},
            "data": {"k": "v"}, "immutable": false, "list": [1]}));
        let after = fields(&json!({"apiVersion": "v1", "kind": "X", "status": {"a": 2},
            "metadata": {"uid": "u", "resourceVersion": "2", "generation": 2, "labels": {"a": "2"},
                         "managedFields": [1, 2]},
            "spec": {"replicas": 2, "template": {"x": [2, 1]}, "same": [{"a": null}]},
            "data": {"k": "v", "new": "w"}, "immutable": true, "list": [1.5]}));
        assert_eq!(
            after.differing(&before),
            [
                "data.new",
                "immutable",
                "list",
                "metadata.labels",
                "spec.gone",
                "spec.replicas",
                "spec.template"
            ]
        );
        assert_eq!(after.uid.as_deref(), Some("u"));
        assert_eq!(
            (after.resource_version.as_deref(), after.generation),
            (Some("2"), Some(2))
        );
        assert_eq!(before.differing(&before), Vec::<String>::new());
    }

    #[test]
    fn of_a_secret_only_the_first_field_is_named() {
        let read = |data: &str| -> Fields {
            let secret = json!({"metadata": {"uid": "u"}, "data": {"password": data}});
            serde_json::from_str::<Plain>(&secret.to_string())
                .unwrap()
                .into()
        };
        assert_eq!(read("a").differing(&read("b")), ["data"]);
    }

    #[test]
    fn paths_are_bounded_in_number_and_length() {
        let many = |value: u32| {
            let data: serde_json::Map<_, _> = (0..2 * limits::OPERATE_FIELDS)
                .map(|number| (format!("{number}{}", "x".repeat(300)), value.into()))
                .collect();
            fields(&json!({"data": data}))
        };
        let paths = many(1).differing(&many(2));
        assert_eq!(many(1).digests.len(), limits::OPERATE_FIELDS);
        assert_eq!(paths.len(), limits::OPERATE_TOLD);
        assert!(paths.iter().all(|path| path.len() <= limits::OPERATE_PATH));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(serde_json::from_str::<Fields>("[]").is_err());
        assert!(serde_json::from_str::<Fields>(r#"{"metadata":7}"#).is_err());
    }
}
