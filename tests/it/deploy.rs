//! The policy, `pipeops-agent rbac` and `deploy/agent.yaml` say the same.

use std::collections::BTreeSet;
use std::process::Command;

use pipeops_agent::config::env;
use pipeops_agent::limits;
use pipeops_agent::policy::{Access, Target};
use pipeops_agent::rbac;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pipeops-agent");
const MANIFEST: &str = include_str!("../../deploy/agent.yaml");

fn printed(arguments: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    let output = command.env_clear().arg("rbac").args(arguments).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// `verb group resource` of every rule in one document of that YAML, read without our own writer.
fn granted(document: &str) -> BTreeSet<String> {
    let mut granted = BTreeSet::new();
    let (mut group, mut names) = (String::new(), Vec::new());
    let rules = document.split_once("rules:\n").map_or("", |(_, rest)| rest);
    for line in rules.lines() {
        let line = line.trim();
        if let Some(list) = line.strip_prefix("- apiGroups: [\"") {
            list.trim_end_matches("\"]").clone_into(&mut group);
            names.clear();
        } else if line == "- nonResourceURLs:" {
            group.clear();
            names.clear();
        } else if let Some(name) = line.strip_prefix("- ") {
            names.push(name.to_owned());
        } else if let Some(verbs) = line.strip_prefix("verbs: [") {
            for verb in verbs.trim_end_matches(']').split(", ") {
                granted.extend(names.iter().map(|name| format!("{verb} {group} {name}")));
            }
        } else {
            assert_eq!(line, "resources:", "a line that this test does not know");
        }
    }
    granted
}

fn document<'a>(yaml: &'a str, kind: &str) -> &'a str {
    let wanted = format!("kind: {kind}\n");
    let mut documents = yaml.split("---\n");
    let found = documents.find(|document| document.contains(&wanted));
    found.expect("a document of that kind")
}

#[test]
fn the_printed_role_grants_what_the_policy_allows_and_nothing_else() {
    let yaml = printed(&[]);
    let needed: BTreeSet<_> = Access::Readonly
        .needs()
        .into_iter()
        .map(|need| match need.target {
            Target::Resource {
                group,
                resource,
                subresource: "",
            } => format!("{} {group} {resource}", need.verb),
            Target::Resource {
                group,
                resource,
                subresource,
            } => format!("{} {group} {resource}/{subresource}", need.verb),
            Target::Path(path) => format!("{}  {path}", need.verb),
            Target::Kind { .. } => panic!("a preset names no kinds"),
        })
        .collect();
    assert!(needed.len() > 80, "{needed:?}");
    assert_eq!(granted(document(&yaml, "ClusterRole")), needed);
    let own = granted(document(&yaml, "Role"));
    let expected = ["create  events", "patch  events"];
    assert_eq!(own, expected.map(str::to_owned).into());
    for word in ["*", "secrets", "configmaps", "exec", "impersonate"] {
        assert!(!yaml.contains(word), "{word}");
    }
}

#[test]
fn a_preset_is_named_and_an_unknown_one_refused() {
    let admin = printed(&["--access", "admin", "--namespace", "elsewhere"]);
    assert!(admin.contains("name: cluster-admin"), "{admin}");
    assert!(admin.contains("namespace: elsewhere") && !admin.contains(rbac::NAMESPACE));
    let refused = Command::new(PROGRAM)
        .env_clear()
        .args(["rbac", "--access", "root"])
        .output()
        .expect("it runs");
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn version_tells_protocols_and_features() {
    let output = Command::new(PROGRAM)
        .env_clear()
        .args(["version", "-o", "json"])
        .output()
        .expect("it runs");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(told["protocols"], serde_json::json!(["pipeops.agent.v2"]));
    for field in ["commit", "features", "built_with"] {
        assert!(told.get(field).is_some(), "{field}: {told}");
    }
}

#[test]
fn a_configuration_that_cannot_be_used_is_the_termination_message() {
    let path = std::env::temp_dir().join(format!("pipeops-message-{}", std::process::id()));
    std::fs::write(&path, "").expect("a file");
    let output = Command::new(PROGRAM)
        .env_clear()
        .env("PIPEOPS_TERMINATION_LOG", &path)
        .env("PIPEOPS_TOKEN", "pat_secret_word")
        .env("PIPEOPS_PORT", "many")
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let message = std::fs::read_to_string(&path).expect("the message");
    std::fs::remove_file(&path).expect("removed");
    assert!(message.contains("PIPEOPS_PORT"), "{message}");
    assert!(!message.contains("pat_secret_word"), "{message}");
}

#[test]
fn the_manifest_carries_the_printed_roles_to_the_letter() {
    let yaml = printed(&[]);
    assert!(
        MANIFEST.contains(&yaml),
        "put this into deploy/agent.yaml\n{yaml}"
    );
    // No other document binds anything.
    assert_eq!(
        MANIFEST.matches("roleRef:").count(),
        yaml.matches("roleRef:").count()
    );
    assert_eq!(
        MANIFEST.matches("rules:").count(),
        yaml.matches("rules:").count()
    );
}

#[test]
fn every_variable_of_the_manifest_is_one_that_the_agent_reads() {
    let named = |line: &str| {
        let line = line.trim_start().trim_start_matches("# ");
        line.strip_prefix("- name: ").map(str::to_owned)
    };
    let variables: Vec<_> = MANIFEST
        .lines()
        .filter_map(named)
        .filter(|name| name.starts_with("PIPEOPS_"))
        .collect();
    assert!(variables.len() > 6, "{variables:?}");
    for variable in variables {
        assert!(env::ALL.contains(&&*variable), "{variable}");
    }
}

#[test]
fn the_manifest_fits_the_program() {
    let tag = format!("image: pipeops-agent:{}\n", env!("CARGO_PKG_VERSION"));
    assert!(MANIFEST.contains(&tag), "{tag}");
    let number = |key: &str| -> u64 {
        let line = MANIFEST
            .lines()
            .find_map(|line| line.trim().strip_prefix(key));
        line.expect(key).parse().expect("a number")
    };
    // The agent's own deadline comes before the kubelet's.
    let grace = number("terminationGracePeriodSeconds: ");
    assert!(grace > limits::SHUTDOWN.as_secs(), "{grace}");
    let port = pipeops_agent::config::PORT;
    assert_eq!(number("containerPort: "), u64::from(port));
    for needed in [
        "pod-security.kubernetes.io/enforce: restricted",
        "runAsNonRoot: true",
        "runAsUser: 1000",
        "readOnlyRootFilesystem: true",
        "allowPrivilegeEscalation: false",
        "drop: [ALL]",
        "type: RuntimeDefault",
    ] {
        assert!(MANIFEST.contains(needed), "{needed}");
    }
}

#[test]
fn the_image_is_built_with_our_toolchain_and_runs_as_a_number() {
    let dockerfile = include_str!("../../Dockerfile");
    let toolchain = include_str!("../../rust-toolchain.toml");
    let channel = toolchain.split('"').nth(1).expect("a channel");
    let stage = format!("FROM docker.io/library/rust:{channel}-bookworm AS build\n");
    assert!(dockerfile.contains(&stage), "{stage}");
    for line in [
        "FROM scratch AS base\n",
        "USER 1000:1000\n",
        "ENTRYPOINT [\"/pipeops-agent\"]\n",
    ] {
        assert!(dockerfile.contains(line), "{line}");
    }
    // Nothing is left behind that could be run besides it.
    let last = dockerfile
        .rsplit_once("\nFROM base\n")
        .expect("the last stage")
        .1;
    assert_eq!(last, "COPY --from=build /pipeops-agent /pipeops-agent\n");
}
