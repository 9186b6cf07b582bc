//! The examples of `docs/extensions.md`, read as an agent reads its file.

use std::collections::BTreeMap;

use pipeops_agent::config::{Config, Flags, env};
use pipeops_agent::extensions::Extensions;
use pipeops_agent::policy::{self, Access, Policy};

use super::Folder;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pipeops-agent");

/// What is read of a file's text in this folder.
fn config(folder: &Folder, text: &str) -> Result<Config, String> {
    let file = folder.file("agent.yaml", text);
    let flags = Flags::from([("--config", file.display().to_string())]);
    let env = BTreeMap::from([(env::TOKEN, "t0ken")]);
    Config::load(&flags, &env).map_err(|error| error.to_string())
}

/// What the agent makes of a file's text, or what it says instead.
fn load(name: &str, text: &str) -> Result<Extensions, String> {
    let config = config(&Folder::new(name), text)?;
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

#[test]
fn files_that_are_named_begin_at_the_folder_of_the_one_that_names_them() {
    let text = "
extensions:
  ca_file: ca.pem
  health_checks:
    - { name: a, http: { url: 'http://a', bearer_file: a.token } }
    - { name: b, tcp: { address: 'b:1' } }
  event_handlers:
    - { name: a, webhook: { url: 'http://a', secret_file: /run/hook } }
  channels:
    - { name: a, prometheus: { url: 'http://a', metrics: { up: up }, bearer_file: sub/b.token } }
";
    let folder = Folder::new("relative");
    let read = config(&folder, text).unwrap().extensions;
    let here = |name: &str| Some(folder.0.join(name));
    assert_eq!(read.ca_file, here("ca.pem"));
    let check = read.health_checks[0].http.as_ref().unwrap();
    assert_eq!(check.bearer_file, here("a.token"));
    let webhook = read.event_handlers[0].webhook.as_ref().unwrap();
    assert_eq!(webhook.secret_file, Some("/run/hook".into()));
    let scrape = read.channels[0].prometheus.as_ref().unwrap();
    assert_eq!(scrape.bearer_file, here("sub/b.token"));
}

#[test]
fn the_program_says_what_makes_no_sense_with_its_line_before_it_starts() {
    let text = "\
extensions:
  health_checks:
    - name: Web
      tcp: { address: redis }
  channels:
    - name: pods
      kubernetes: { path: /api/v1/secrets, fields: { n: '/items/#' } }
";
    let folder = Folder::new("senseless");
    let file = folder.file("agent.yaml", text);
    for (command, code) in [("run", 2), ("config", 2), ("check", 2)] {
        let said = std::process::Command::new(PROGRAM)
            .env_clear()
            .args([command, "--config", &file.display().to_string()])
            .env("PIPEOPS_TOKEN", "t")
            .output()
            .unwrap();
        assert_eq!(said.status.code(), Some(code), "{command}");
        let said = [said.stdout, said.stderr].map(|text| String::from_utf8(text).unwrap());
        for wanted in [
            "agent.yaml:3: extensions.health_checks[0].name: it cannot be used as a name",
            "agent.yaml:4: extensions.health_checks[0].tcp.address: it is not a host and a port",
            "agent.yaml:7: extensions.channels[0].kubernetes.path: secrets are never shown",
        ] {
            assert!(said.concat().contains(wanted), "{command}: {said:?}");
        }
    }
}
