//! Whether the agent's own account may do what its access preset needs.
//!
//! Owns the comparison. Owns not: what is needed (`policy`) nor how it is asked
//! (`cluster::discovery`). Invariant: what is missing is named as the rule that would mend it.

use crate::cluster::Objects;
use crate::cluster::discovery::{Access as Asked, Lacking};
use crate::policy::{Access, Need, Target};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// How many accesses were asked about.
    pub checked: usize,
    /// Those that are missing, `list nodes.metrics.k8s.io`.
    pub missing: Vec<String>,
    /// Those about which there was no answer.
    pub unknown: Vec<String>,
}

impl Permissions {
    /// Whether there is everything.
    #[must_use]
    pub const fn are_whole(&self) -> bool {
        self.missing.is_empty() && self.unknown.is_empty()
    }

    /// Asks the API server.
    pub async fn ask(objects: &Objects, access: Access) -> Self {
        let mut wanted: Vec<_> = access
            .needs()
            .iter()
            .filter_map(|need| Some((asked(need)?, need.to_string())))
            .collect();
        if wanted.is_empty() {
            let all = || "*".to_owned();
            let everything = Asked {
                verb: all(),
                group: all(),
                resource: all(),
                ..Asked::default()
            };
            wanted.push((everything, "* *.*".to_owned()));
        }
        let (accesses, names): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
        let Lacking { missing, unknown } = objects.lacking(&accesses).await;
        let name = |places: Vec<usize>| places.into_iter().map(|at| names[at].clone()).collect();
        Self {
            checked: names.len(),
            missing: name(missing),
            unknown: name(unknown),
        }
    }
}

/// The question for a need; a kind that only discovery can name is no need of a preset.
fn asked(need: &Need) -> Option<Asked> {
    let verb = need.verb.as_str().to_owned();
    Some(match &need.target {
        Target::Resource {
            group,
            resource,
            subresource,
        } => Asked {
            verb,
            group: (*group).to_owned(),
            resource: (*resource).to_owned(),
            subresource: (*subresource).to_owned(),
            path: String::new(),
        },
        Target::Path(path) => Asked {
            verb,
            path: (*path).to_owned(),
            ..Asked::default()
        },
        Target::Kind { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_need_of_a_preset_can_be_asked_about() {
        for access in Access::ALL {
            let needs = access.needs();
            assert!(needs.iter().all(|need| asked(need).is_some()), "{access}");
        }
        let needs = Access::Readonly.needs();
        let names: Vec<_> = needs.iter().map(ToString::to_string).collect();
        for name in ["list nodes.metrics.k8s.io", "get pods/log", "get /version"] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
        let nobody = |name: &String| name.starts_with("watch ") && name.ends_with("metrics.k8s.io");
        assert!(!names.iter().any(nobody));
    }
}
