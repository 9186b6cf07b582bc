//! The committed schemas, and validating against them.

use serde_json::{Value, json};

use super::fixture::root;

/// A committed schema.
#[derive(Debug)]
pub(super) struct Schema {
    name: String,
    document: Value,
}

impl Schema {
    /// Reads `proto/v2/<name>.schema.json`.
    pub(super) fn committed(name: &str) -> Self {
        let path = root().join(format!("proto/v2/{name}.schema.json"));
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self {
            name: name.to_owned(),
            document: serde_json::from_str(&text).expect("a schema is JSON"),
        }
    }

    /// What is wrong with `instance`, as an independent validator sees it; nothing when valid.
    ///
    /// Where the schema has one branch per `type`, only that of the instance's type is asked: the
    /// errors of the whole would say no more than that no branch fits.
    pub(super) fn complaints(&self, instance: &Value) -> Vec<String> {
        let document = match self.document.get("oneOf").and_then(Value::as_array) {
            Some(branches) => {
                let of_type =
                    |branch: &&Value| branch["properties"]["type"]["const"] == instance["type"];
                let Some(branch) = branches.iter().find(of_type) else {
                    return vec![format!("{} has no type {}", self.name, instance["type"])];
                };
                let mut branch = branch.clone();
                branch["$schema"] = self.document["$schema"].clone();
                branch["$defs"] = self.document.get("$defs").cloned().unwrap_or(json!({}));
                branch
            }
            None => self.document.clone(),
        };
        let validator = jsonschema::validator_for(&document)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
        validator
            .iter_errors(instance)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect()
    }
}
