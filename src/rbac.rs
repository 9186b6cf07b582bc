//! The roles that the agent's account needs in the cluster, as YAML.
//!
//! Owns how a preset's accesses become roles, and what the agent needs for itself: writing events
//! about itself into its own namespace. Owns not: what a preset allows (`policy`). Invariants: every
//! access of the preset is granted and nothing else; no verb and no resource is a wildcard;
//! `deploy/agent.yaml` carries this text for `readonly` (`tests/it/deploy.rs`).

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::policy::{Access, Need, Target};

/// The name of the account and of its roles.
pub const NAME: &str = "pipeops-agent";
/// The namespace, unless told otherwise.
pub const NAMESPACE: &str = "pipeops-system";

/// What the roles are for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The preset.
    pub access: Access,
    /// Where the account is.
    pub namespace: &'a str,
    /// Requests run as the gateway's user.
    pub impersonate: bool,
}

/// The roles and their bindings, as documents of YAML.
#[must_use]
pub fn yaml(request: Request<'_>) -> String {
    let Request {
        access,
        namespace,
        impersonate,
    } = request;
    let mut text = String::new();
    let rules = rules(&access.needs());
    if rules.is_empty() {
        text.push_str(&everything(namespace));
    } else {
        role(&mut text, "ClusterRole", None, &rules);
        text.push_str("---\n");
        binding(&mut text, "ClusterRole", NAME, NAME, namespace, None);
    }
    if impersonate {
        let name = format!("{NAME}-impersonates");
        let _ = write!(text, "---\n{}", impersonator(&name));
        text.push_str("---\n");
        binding(&mut text, "ClusterRole", &name, &name, namespace, None);
    }
    text.push_str("---\n");
    let own = [Rule {
        what: What::Resources {
            group: String::new(),
            resources: vec!["events".to_owned()],
        },
        verbs: vec!["create", "patch"],
    }];
    text.push_str("# Connected, Disconnected and AuthFailed, as events on the Deployment.\n");
    role(&mut text, "Role", Some(namespace), &own);
    text.push_str("---\n");
    binding(&mut text, "Role", NAME, NAME, namespace, Some(namespace));
    text
}

#[derive(Debug, PartialEq, Eq)]
struct Rule {
    what: What,
    verbs: Vec<&'static str>,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Resources {
        group: String,
        resources: Vec<String>,
    },
    Paths(Vec<String>),
}

/// The needs as rules: those of one group that have the same verbs are one.
fn rules(needs: &[Need]) -> Vec<Rule> {
    let mut verbs: BTreeMap<(&str, String), Vec<&'static str>> = BTreeMap::new();
    let mut paths: BTreeMap<&str, Vec<&'static str>> = BTreeMap::new();
    for need in needs {
        match need.target {
            Target::Resource {
                group,
                resource,
                subresource,
            } => {
                let mut name = resource.to_owned();
                if !subresource.is_empty() {
                    let _ = write!(name, "/{subresource}");
                }
                verbs
                    .entry((group, name))
                    .or_default()
                    .push(need.verb.as_str());
            }
            Target::Path(path) => paths.entry(path).or_default().push(need.verb.as_str()),
            // A preset names no kinds: which resource one is only discovery tells.
            Target::Kind { .. } => {}
        }
    }
    let mut grouped: BTreeMap<(&str, Vec<&'static str>), Vec<String>> = BTreeMap::new();
    for ((group, resource), verbs) in verbs {
        grouped.entry((group, verbs)).or_default().push(resource);
    }
    let resources = grouped.into_iter().map(|((group, verbs), resources)| Rule {
        what: What::Resources {
            group: group.to_owned(),
            resources,
        },
        verbs,
    });
    let mut by_verbs: BTreeMap<Vec<&'static str>, Vec<String>> = BTreeMap::new();
    for (path, verbs) in paths {
        by_verbs.entry(verbs).or_default().push(path.to_owned());
    }
    let paths = by_verbs.into_iter().map(|(verbs, paths)| Rule {
        what: What::Paths(paths),
        verbs,
    });
    resources.chain(paths).collect()
}

fn role(text: &mut String, kind: &str, namespace: Option<&str>, rules: &[Rule]) {
    head(text, kind, NAME, namespace);
    text.push_str("rules:\n");
    for rule in rules {
        match &rule.what {
            What::Resources { group, resources } => {
                let _ = writeln!(text, "  - apiGroups: [\"{group}\"]");
                text.push_str("    resources:\n");
                for resource in resources {
                    let _ = writeln!(text, "      - {resource}");
                }
            }
            What::Paths(paths) => {
                text.push_str("  - nonResourceURLs:\n");
                for path in paths {
                    let _ = writeln!(text, "      - {path}");
                }
            }
        }
        let _ = writeln!(text, "    verbs: [{}]", rule.verbs.join(", "));
    }
}

fn head(text: &mut String, kind: &str, name: &str, namespace: Option<&str>) {
    let _ = write!(
        text,
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n"
    );
    if let Some(namespace) = namespace {
        let _ = writeln!(text, "  namespace: {namespace}");
    }
    let _ = writeln!(text, "  labels:\n    app.kubernetes.io/name: {NAME}");
}

fn binding(
    text: &mut String,
    role: &str,
    named: &str,
    name: &str,
    account: &str,
    namespace: Option<&str>,
) {
    let kind = format!("{role}Binding");
    head(text, &kind, name, namespace);
    let _ = write!(
        text,
        "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {role}\n  name: {named}\nsubjects:\n  - kind: ServiceAccount\n    name: {NAME}\n    namespace: {account}\n"
    );
}

/// A preset that promises everything is bound to the role that Kubernetes has for it.
fn everything(namespace: &str) -> String {
    let mut text = String::from(
        "# Everything: the control plane may do in this cluster whatever its administrator may.\n",
    );
    let name = format!("{NAME}-admin");
    binding(
        &mut text,
        "ClusterRole",
        "cluster-admin",
        &name,
        namespace,
        None,
    );
    text
}

/// Which users and groups the gateway knows nobody can list here; `resourceNames` may narrow it.
fn impersonator(name: &str) -> String {
    let mut text = String::from(
        "# Whoever may impersonate everybody may do everything: name the users and groups in\n# resourceNames where you know them. The agent itself never acts as anything of system:.\n",
    );
    head(&mut text, "ClusterRole", name, None);
    text.push_str(
        "rules:\n  - apiGroups: [\"\"]\n    resources:\n      - users\n      - groups\n    verbs: [impersonate]\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubeapi::Verb;

    #[test]
    fn needs_of_one_group_with_the_same_verbs_are_one_rule() {
        let needs = [
            Need::resource(Verb::Get, "", "pods"),
            Need::resource(Verb::List, "", "pods"),
            Need::resource(Verb::Get, "", "pods").below("log"),
            Need::resource(Verb::Get, "", "nodes"),
            Need::resource(Verb::List, "", "nodes"),
            Need::path("/version"),
        ];
        let resources = |names: &[&str], verbs: &[&'static str]| Rule {
            what: What::Resources {
                group: String::new(),
                resources: names.iter().map(|&name| name.to_owned()).collect(),
            },
            verbs: verbs.to_vec(),
        };
        let expected = [
            resources(&["pods/log"], &["get"]),
            resources(&["nodes", "pods"], &["get", "list"]),
            Rule {
                what: What::Paths(vec!["/version".to_owned()]),
                verbs: vec!["get"],
            },
        ];
        assert_eq!(rules(&needs), expected);
    }

    #[test]
    fn nothing_that_is_printed_is_a_wildcard() {
        for access in Access::ALL {
            for impersonate in [false, true] {
                let text = yaml(Request {
                    access,
                    namespace: "elsewhere",
                    impersonate,
                });
                assert!(!text.contains('*'), "{text}");
                assert_eq!(text.contains("impersonate]"), impersonate);
                assert_eq!(text.contains("cluster-admin"), access == Access::Admin);
                assert!(!text.contains(NAMESPACE), "{text}");
            }
        }
    }
}
