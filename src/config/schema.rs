//! The JSON Schema of the configuration file, and its table in the documentation.
//!
//! Owns what editors and readers are told. Made from the table of settings and, for `extensions`, from
//! its types, whose schema is committed (`schema/extensions.json`), so that the program prints it
//! without what makes it; tests hold it, `docs/agent.schema.json` and `docs/configuration.md` to
//! their sources, and `UPDATE=1` with the feature `schema` rewrites them.

use serde_json::{Map, Value, json};

use super::settings::{self, Kind, Setting};

/// The section that has types of its own.
const EXTENSIONS: &str = include_str!("schema/extensions.json");

/// The schema as it is committed.
pub fn text() -> String {
    let mut sections = Map::new();
    for setting in settings::ALL {
        let (section, name) = setting.key.split_once('.').unwrap_or((setting.key, ""));
        let section = sections.entry(section).or_insert_with(
            || json!({ "type": "object", "additionalProperties": false, "properties": {} }),
        );
        section["properties"][name] = property(setting);
    }
    let mut extensions: Map<String, Value> =
        serde_json::from_str(EXTENSIONS).expect("a test holds it to what the types make");
    // References begin at the root.
    let definitions = extensions.remove("$defs");
    extensions.retain(|key, _| !matches!(key.as_str(), "$schema" | "title"));
    sections.insert("extensions".into(), extensions.into());
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration file of pipeops-agent",
        "type": "object",
        "additionalProperties": false,
        "properties": sections,
        "$defs": definitions,
    });
    format!("{schema:#}\n")
}

fn property(setting: &Setting) -> Value {
    let nullable = |kind: &str| json!({ "type": [kind, "null"] });
    let mut property = match setting.kind {
        Kind::Text | Kind::File | Kind::Url => nullable("string"),
        Kind::Secret => json!({ "type": ["string", "null"], "writeOnly": true }),
        Kind::Switch => nullable("boolean"),
        Kind::Number(least, most) => {
            json!({ "type": ["integer", "null"], "minimum": least, "maximum": most })
        }
        Kind::Duration(..) => {
            json!({ "type": ["string", "null"], "pattern": "^([0-9]+(ms|s|m|h))+$" })
        }
        Kind::List => json!({ "type": ["array", "null"], "items": { "type": "string" } }),
        Kind::Labels => {
            json!({ "type": ["object", "null"], "additionalProperties": { "type": "string" } })
        }
        Kind::Choice(words) => json!({ "enum": words }),
    };
    property["description"] = setting.about.into();
    if !setting.default.is_empty() {
        property["default"] = match setting.kind {
            Kind::Switch | Kind::Number(..) => {
                serde_json::from_str(setting.default).unwrap_or_default()
            }
            _ => setting.default.into(),
        };
    }
    property
}

/// The table of `docs/configuration.md`.
pub fn table() -> String {
    let mut out =
        String::from("| key | variables | flag | default | what |\n|---|---|---|---|---|\n");
    for setting in settings::ALL {
        let code = |text: &str| format!("`{text}`");
        let variables: Vec<_> = setting.variables.iter().map(|name| code(name)).collect();
        let flag = setting.flag.map_or_else(String::new, code);
        let default = match setting.default {
            "" => String::new(),
            text => code(text),
        };
        let (key, variables) = (code(setting.key), variables.join(", "));
        out.push_str(&format!(
            "| {key} | {variables} | {flag} | {default} | {} |\n",
            setting.about
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::env::{Env, Process};

    /// Holds a file to a text, or writes it where `UPDATE` is set.
    fn held(path: &str, text: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if Process.var("UPDATE") != Ok(None) {
            std::fs::write(&path, text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(committed, text, "{}: UPDATE=1 rewrites it", path.display());
    }

    #[cfg(feature = "schema")]
    #[test]
    fn the_section_with_types_of_its_own_is_what_they_say() {
        let schema = schemars::schema_for!(crate::extensions::Config);
        let text = serde_json::to_string_pretty(&schema).unwrap();
        held("src/config/schema/extensions.json", &format!("{text}\n"));
    }

    #[test]
    fn the_schema_takes_every_example_of_the_extensions_and_no_misspelled_key() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/extensions.md");
        let page = std::fs::read_to_string(path).unwrap();
        let schema = serde_json::from_str(&text()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let examples = page.split("```yaml\n").skip(1);
        let mut taken = 0;
        for example in examples.filter_map(|rest| rest.split("```").next()) {
            let value: Value = serde_saphyr::from_str(example).unwrap();
            assert!(validator.is_valid(&value), "{example}");
            let wrong = example.replacen("- name:", "- nmae:", 1);
            let value: Value = serde_saphyr::from_str(&wrong).unwrap();
            assert!(!validator.is_valid(&value), "{wrong}");
            taken += 1;
        }
        assert_eq!(taken, 4, "one of each");
    }

    #[test]
    fn the_committed_schema_is_what_the_table_says() {
        held("docs/agent.schema.json", &text());
    }

    #[test]
    fn the_documentation_has_every_key_variable_flag_and_default() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        let text = std::fs::read_to_string(path).unwrap();
        let start = text.find("| key |").unwrap();
        let end = start + text[start..].find("\n\n").unwrap() + 1;
        let whole = format!("{}{}{}", &text[..start], table(), &text[end..]);
        held("docs/configuration.md", &whole);
        for name in crate::config::env::ALL {
            assert!(whole.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn the_schema_takes_what_the_agent_takes() {
        let schema = serde_json::from_str(&text()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let check = |every: Value| {
            let check = json!({ "name": "a", "tcp": { "address": "a:1" }, "every": every });
            json!({ "extensions": { "health_checks": [check] } })
        };
        for (value, good) in [
            (json!({ "agent": { "port": 8080, "id": null } }), true),
            (json!({ "agent": { "prot": 8080 } }), false),
            (json!({ "realtime": { "sse_heartbeat": "30s" } }), true),
            (json!({ "realtime": { "sse_heartbeat": 30 } }), false),
            (json!({ "kubernetes": { "access": "root" } }), false),
            (json!({ "pipeops": null }), false),
            (json!({ "extensions": { "check": [] } }), false),
            (check(json!(30)), true),
            (check(json!("500ms")), true),
            (check(json!("5 minutes")), false),
        ] {
            assert_eq!(validator.is_valid(&value), good, "{value}");
        }
    }
}
