//! What the cluster can do and what we may do in it, found by asking the API server.
//!
//! Owns versions, API groups, and the reviews of one's own permissions. Owns not: which accesses
//! are needed (`policy`). Invariants: nothing asked here leaves a trace in the cluster; an access
//! counts as missing only when the API server said so to this very question.

use futures_util::stream::{self, StreamExt};
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::objects::{ObjectError, Objects};
use super::proxy::AnswerBody;
use crate::kubeapi::{RequestPath, Upgrade};
use crate::limits;

/// The API server's version.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// `v1.36.3`.
    pub git_version: String,
    /// `linux/amd64`.
    #[serde(default)]
    pub platform: String,
    /// `36`, perhaps with a plus sign.
    #[serde(default)]
    minor: String,
}

impl Version {
    /// The minor version, 0 when it cannot be read.
    #[must_use]
    pub fn minor(&self) -> u32 {
        let digits = self.minor.bytes().take_while(u8::is_ascii_digit).count();
        self.minor[..digits].parse().unwrap_or(0)
    }
}

/// An access that may be asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// `get`.
    pub verb: String,
    /// Empty for the core group.
    pub group: String,
    /// `pods`.
    pub resource: String,
    /// `log`, or nothing.
    pub subresource: String,
    /// A path outside resources, instead of the three above.
    pub path: String,
}

/// A rule of a SelfSubjectRulesReview.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// `get`, or `*`.
    pub verbs: Vec<String>,
    /// Groups; the core's is empty.
    pub api_groups: Vec<String>,
    /// `pods`, `pods/log`, `*`, `*/scale`.
    pub resources: Vec<String>,
    /// Only these objects, where there are any.
    pub resource_names: Vec<String>,
    /// Paths, `/api/*`.
    #[serde(rename = "nonResourceURLs")]
    pub paths: Vec<String>,
}

/// What one may do in a namespace.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// On resources, then on paths.
    pub rules: Vec<Rule>,
    /// There may be more that the authoriser does not list.
    pub incomplete: bool,
}

impl Rules {
    /// Whether a rule allows all of `access`, to every object. No means not known.
    #[must_use]
    pub fn allow(&self, access: &Access) -> bool {
        self.rules.iter().any(|rule| rule.allows(access))
    }
}

impl Rule {
    fn allows(&self, access: &Access) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|x| x == "*" || x == wanted);
        if !has(&self.verbs, &access.verb) {
            return false;
        }
        if !access.path.is_empty() {
            return self.paths.iter().any(|path| match path.strip_suffix('*') {
                Some(prefix) => access.path.starts_with(prefix),
                None => *path == access.path,
            });
        }
        let resource = self.resources.iter().any(|known| {
            known == "*"
                || match known.split_once('/') {
                    None => access.subresource.is_empty() && *known == access.resource,
                    Some((of, sub)) => {
                        sub == access.subresource && (of == "*" || of == access.resource)
                    }
                }
        });
        resource && has(&self.api_groups, &access.group) && self.resource_names.is_empty()
    }
}

/// The accesses of a list that one has not, and those about which there is no answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lacking {
    /// By their place in the list: the API server says no.
    pub missing: Vec<usize>,
    /// By their place: it said nothing.
    pub unknown: Vec<usize>,
}

/// A namespace that cannot be, for the underscores in its name, so that nobody has a role in it: the
/// rules for it are those of the whole cluster.
const NOWHERE: &str = "no_such_namespace";

#[derive(Deserialize)]
struct RulesReview {
    status: RulesStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RulesStatus {
    resource_rules: Vec<Rule>,
    non_resource_rules: Vec<Rule>,
    incomplete: bool,
}

#[derive(Deserialize)]
struct SelfReview {
    status: SelfStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SelfStatus {
    user_info: UserInfo,
}

#[derive(Deserialize)]
struct UserInfo {
    username: String,
}

#[derive(Deserialize)]
struct AccessReview {
    status: AccessStatus,
}

#[derive(Deserialize)]
struct AccessStatus {
    allowed: bool,
}

impl Objects {
    /// The API server's version.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn version(&self) -> Result<Version, ObjectError> {
        self.get("/version").await
    }

    /// The API groups' preferred versions, `apps/v1`.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn groups(&self) -> Result<Vec<String>, ObjectError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Group {
            preferred_version: Preferred,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Preferred {
            group_version: String,
        }
        #[derive(Deserialize)]
        struct List {
            groups: Vec<Group>,
        }
        let list: List = self.get("/apis").await?;
        let names = list.groups.into_iter();
        Ok(names
            .map(|group| group.preferred_version.group_version)
            .collect())
    }

    /// Whether discovery comes in one document (KEP-3352): asked of the core group alone.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn aggregates_discovery(&self) -> Result<bool, ObjectError> {
        #[derive(Deserialize)]
        struct Kind {
            kind: String,
        }
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                      application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,\
                      application/json";
        let kind: Kind = self.get_as("/api", accept).await?;
        Ok(kind.kind == "APIGroupDiscoveryList")
    }

    /// What one may do in a namespace.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn rules(&self, namespace: &str) -> Result<Rules, ObjectError> {
        let question = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace},
        });
        let target = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
        let review: RulesReview = self.post(target, &question).await?;
        let RulesStatus {
            resource_rules: mut rules,
            non_resource_rules,
            incomplete,
        } = review.status;
        rules.extend(non_resource_rules);
        Ok(Rules { rules, incomplete })
    }

    /// Who one is to the API server: the user's name.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn whoami(&self) -> Result<String, ObjectError> {
        let question = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview",
        });
        let target = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let review: SelfReview = self.post(target, &question).await?;
        Ok(review.status.user_info.username)
    }

    /// Whether one has an access, in every namespace and to every object.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn allowed(&self, access: &Access) -> Result<bool, ObjectError> {
        let spec = if access.path.is_empty() {
            json!({"resourceAttributes": {
                "verb": access.verb, "group": access.group, "version": "*",
                "resource": access.resource, "subresource": access.subresource,
            }})
        } else {
            json!({"nonResourceAttributes": {"verb": access.verb, "path": access.path}})
        };
        let question = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec,
        });
        let target = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let review: AccessReview = self.post(target, &question).await?;
        Ok(review.status.allowed)
    }

    /// Which of `accesses` one has not. What the cluster's rules list is taken from there; each of
    /// the rest is asked about by itself.
    pub async fn lacking(&self, accesses: &[Access]) -> Lacking {
        let rules = self.rules(NOWHERE).await.unwrap_or_default();
        let doubtful: Vec<_> = accesses
            .iter()
            .enumerate()
            .filter(|(_, access)| !rules.allow(access))
            .map(|(at, access)| (at, access.clone(), self.clone()))
            .collect();
        let mut asked = stream::iter(doubtful)
            .map(|(at, access, objects)| async move { (at, objects.allowed(&access).await) })
            .buffered(limits::REVIEWS);
        let mut lacking = Lacking::default();
        while let Some((at, answer)) = asked.next().await {
            match answer {
                Ok(true) => {}
                Ok(false) => lacking.missing.push(at),
                Err(_) => lacking.unknown.push(at),
            }
        }
        lacking
    }

    /// Whether a WebSocket to the API server works: a watch that ends by itself. `None` where it
    /// may not be tried.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn opens_websocket(&self) -> Result<Option<bool>, ObjectError> {
        let query = "watch=true&fieldSelector=metadata.name%3Ddefault&timeoutSeconds=1";
        let path = RequestPath::parse(
            &Method::GET,
            "/api/v1/namespaces",
            Some(query),
            Some(Upgrade::WebSocket),
        )?;
        let headers = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-version", "13"),
            // RFC 6455's own example: there is nothing to protect.
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("user-agent", super::objects::USER_AGENT),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let answer = self.request(&path, &headers).await?;
        Ok(match answer.body {
            AnswerBody::Upgraded(_) => Some(true),
            AnswerBody::Stream(_) if matches!(answer.status.as_u16(), 401 | 403) => None,
            AnswerBody::Stream(_) => Some(false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(verb: &str, group: &str, resource: &str) -> Access {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Access {
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            path: String::new(),
        }
    }

    fn rule(json: serde_json::Value) -> Rules {
        Rules {
            rules: vec![serde_json::from_value(json).unwrap()],
            incomplete: false,
        }
    }

    #[test]
    fn a_rule_allows_what_rbac_would() {
        let rules = rule(json!({"verbs": ["get", "list"], "apiGroups": ["", "apps"],
                                "resources": ["pods", "pods/log", "*/scale"]}));
        assert!(rules.allow(&access("get", "", "pods")));
        assert!(rules.allow(&access("get", "", "pods/log")));
        assert!(rules.allow(&access("get", "apps", "deployments/scale")));
        assert!(!rules.allow(&access("watch", "", "pods")));
        assert!(!rules.allow(&access("get", "", "pods/exec")));
        assert!(!rules.allow(&access("get", "", "nodes")));
        assert!(!rules.allow(&access("get", "batch", "pods")));
        let all = rule(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        assert!(all.allow(&access("create", "x", "pods/exec")));
        assert!(all.allow(&access("*", "*", "*")));
        let named = rule(
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"],
                                "resourceNames": ["one"]}),
        );
        assert!(!named.allow(&access("get", "", "pods")), "only one of them");
        let paths = rule(json!({"verbs": ["get"], "nonResourceURLs": ["/api/*", "/version"]}));
        let path = |path: &str| Access {
            verb: "get".into(),
            path: path.into(),
            ..Access::default()
        };
        assert!(paths.allow(&path("/api/v1")));
        assert!(paths.allow(&path("/version")));
        assert!(!paths.allow(&path("/version/x")));
        assert!(!paths.allow(&access("get", "", "pods")));
    }
}
