//! Missing permissions as YAML that can be applied as it stands.
//!
//! Owns the writing. Owns not: what is needed (`policy`) nor what is missing (`health`). Pure.
//! Invariant: exactly what is missing is granted, to exactly the account that was refused.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A ClusterRole with what is `missing`, as `health::Permissions` names it (`list
/// nodes.metrics.k8s.io`, `get pods/log`, `get /version`), bound to this user.
#[must_use]
pub(super) fn yaml(missing: &[String], user: &str) -> String {
    let mut rules: BTreeMap<(bool, String, String), Vec<String>> = BTreeMap::new();
    for rule in missing {
        let Some((verb, target)) = rule.split_once(' ') else {
            continue;
        };
        let (path, group, resource) = split(target);
        let verbs = rules.entry((path, group, resource)).or_default();
        if !verbs.iter().any(|known| known == verb) {
            verbs.push(verb.to_owned());
        }
    }
    // Resources of one group with the same verbs share a rule.
    let mut shared: BTreeMap<(bool, String, Vec<String>), Vec<String>> = BTreeMap::new();
    for ((path, group, resource), mut verbs) in rules {
        verbs.sort();
        shared
            .entry((path, group, verbs))
            .or_default()
            .push(resource);
    }
    let mut out = String::from(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: pipeops-agent-missing\nrules:\n",
    );
    for ((path, group, verbs), names) in shared {
        let (names, verbs) = (list(&names), list(&verbs));
        // Writing to a string cannot fail.
        let _ = if path {
            writeln!(out, "- nonResourceURLs: {names}\n  verbs: {verbs}")
        } else {
            let group = list(&[group]);
            writeln!(
                out,
                "- apiGroups: {group}\n  resources: {names}\n  verbs: {verbs}"
            )
        };
    }
    let subject = match user
        .strip_prefix("system:serviceaccount:")
        .and_then(|it| it.split_once(':'))
    {
        Some((namespace, name)) => {
            format!(
                "- kind: ServiceAccount\n  namespace: {}\n  name: {}\n",
                quoted(namespace),
                quoted(name)
            )
        }
        None => format!(
            "- kind: User\n  apiGroup: rbac.authorization.k8s.io\n  name: {}\n",
            quoted(user)
        ),
    };
    out.push_str(
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata:\n  name: pipeops-agent-missing\nroleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: ClusterRole\n  name: pipeops-agent-missing\nsubjects:\n",
    );
    out.push_str(&subject);
    out
}

/// Whether it is a path, its group, and its resource with the subresource.
fn split(target: &str) -> (bool, String, String) {
    if target.starts_with('/') {
        return (true, String::new(), target.to_owned());
    }
    let (object, below) = match target.split_once('/') {
        Some((object, below)) => (object, format!("/{below}")),
        None => (target, String::new()),
    };
    let (resource, group) = object.split_once('.').unwrap_or((object, ""));
    (false, group.to_owned(), format!("{resource}{below}"))
}

fn list(words: &[String]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", quoted.join(", "))
}

/// JSON text is YAML text.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_granted_and_nothing_else() {
        let missing = [
            "list nodes.metrics.k8s.io",
            "get pods/log",
            "watch pods",
            "list pods",
            "list services",
            "watch services",
            "get deployments.apps/scale",
            "get /version",
            "* *.*",
        ]
        .map(str::to_owned);
        let text = yaml(
            &missing,
            "system:serviceaccount:pipeops-system:pipeops-agent",
        );
        for rule in [
            "- apiGroups: [\"metrics.k8s.io\"]\n  resources: [\"nodes\"]\n  verbs: [\"list\"]\n",
            "- apiGroups: [\"\"]\n  resources: [\"pods/log\"]\n  verbs: [\"get\"]\n",
            "- apiGroups: [\"\"]\n  resources: [\"pods\", \"services\"]\n  verbs: [\"list\", \"watch\"]\n",
            "- apiGroups: [\"apps\"]\n  resources: [\"deployments/scale\"]\n  verbs: [\"get\"]\n",
            "- nonResourceURLs: [\"/version\"]\n  verbs: [\"get\"]\n",
            "- apiGroups: [\"*\"]\n  resources: [\"*\"]\n  verbs: [\"*\"]\n",
            "- kind: ServiceAccount\n  namespace: \"pipeops-system\"\n  name: \"pipeops-agent\"\n",
        ] {
            assert!(text.contains(rule), "{rule} is not in\n{text}");
        }
        assert_eq!(text.matches("  verbs:").count(), 6);
        let odd = yaml(&missing, "x\": y\n- evil");
        assert!(odd.contains(r#"name: "x\": y\n- evil""#), "{odd}");
    }
}
