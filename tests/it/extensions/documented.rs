//! The examples of `docs/extensions.md`, read as an agent reads its file.

use std::collections::BTreeMap;

use pipeops_agent::config::{Config, Flags, env};
use pipeops_agent::extensions::Extensions;
use pipeops_agent::policy::{self, Access, Policy};

use super::Folder;

/// What the agent makes of a file's text, or what it says instead.
fn load(name: &str, text: &str) -> Result<Extensions, String> {
    let folder = Folder::new(name);
    let file = folder.file("agent.yaml", text);
    let flags = Flags::from([("--config", file.display().to_string())]);
    let env = BTreeMap::from([(env::TOKEN, "t0ken")]);
    let config = Config::load(&flags, &env).map_err(|error| error.to_string())?;
    let access = Access::Readonly;
    let policy = Policy::new(policy::Config { access });
    Extensions::read(&config.extensions, &policy).map_err(|error| error.to_string())
}

#[test]
fn every_example_of_the_page_is_one_that_the_agent_takes() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/extensions.md");
    let page = std::fs::read_to_string(page).unwrap();
    let examples: Vec<_> = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(example, _)| example)
        .collect();
    assert_eq!(examples.len(), 4, "one of each");
    for (at, example) in examples.iter().enumerate() {
        let read = load(&format!("page-{at}"), example);
        let read = read.unwrap_or_else(|error| panic!("{example}{error}"));
        if example.contains("message_type") {
            let names: Vec<_> = read.channels().iter().map(|live| &*live.name).collect();
            assert_eq!(names, ["shop-pods", "shop-traffic"]);
            let asked = read.channels()[0].message_type.as_deref();
            assert_eq!(asked, Some("get_shop_pods"));
        }
        if example.contains("panels:") {
            let panels = read.panels();
            assert_eq!(panels["panels"].as_array().unwrap().len(), 2);
            assert_eq!(panels["panels"][0]["kind"], "spark");
        }
    }
}

#[test]
fn a_misspelled_key_is_said_with_its_line() {
    let text = "extensions:\n  channels:\n    - name: a\n      kubernets: {}\n";
    let said = load("misspelled", text).unwrap_err();
    assert!(said.contains("agent.yaml:4: extensions"), "{said}");
    assert!(said.contains("kubernets"), "{said}");
}
