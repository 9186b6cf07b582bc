//! Which program this is: name, version, commit, and what it speaks.
//!
//! Owns what `version` prints and `/version` answers. Invariant: all of it is known when the
//! program is built, and none of it is about where it runs.

use serde::Serialize;

use crate::protocol::hello::Feature;
use crate::protocol::version::Version;

/// The program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from, where `PIPEOPS_COMMIT` said so at build time.
pub const COMMIT: Option<&str> = option_env!("PIPEOPS_COMMIT");

/// What the program is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Release {
    /// `pipeops-agent`.
    pub name: &'static str,
    /// Semantic, without a `v`.
    pub version: &'static str,
    /// Of its repository; null where the build did not say.
    pub commit: Option<&'static str>,
    /// The protocol versions that it speaks, newest first.
    pub protocols: Vec<Version>,
    /// What it can use of the protocol where its peer can, too.
    pub features: Vec<Feature>,
    /// What was left in when it was built.
    pub built_with: Vec<&'static str>,
}

impl Release {
    /// This one.
    #[must_use]
    pub fn this() -> Self {
        let parts = [
            ("demo", cfg!(feature = "demo")),
            ("gateway", cfg!(feature = "gateway")),
            // It can be told to fail: no image that is shipped has it.
            ("cluster-tests", cfg!(feature = "cluster-tests")),
        ];
        let built_in = parts.into_iter().filter(|(_, built_in)| *built_in);
        Self {
            name: env!("CARGO_PKG_NAME"),
            version: VERSION,
            commit: COMMIT.filter(|commit| !commit.is_empty()),
            protocols: Version::ALL.to_vec(),
            features: vec![Feature::Binary, Feature::Zstd, Feature::Resume],
            built_with: built_in.map(|(name, _)| name).collect(),
        }
    }

    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let commit = self.commit.map(|commit| format!(" ({commit})"));
        let Self { name, version, .. } = self;
        format!("{name} {version}{}", commit.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_tells_what_it_speaks() {
        let told = serde_json::to_value(Release::this()).unwrap();
        assert_eq!(told["name"], "pipeops-agent");
        assert_eq!(told["version"], VERSION);
        assert_eq!(told["protocols"][0], "pipeops.agent.v2");
        assert_eq!(told["features"][2], "resume");
        let bare = Release {
            commit: None,
            ..Release::this()
        };
        assert_eq!(bare.line(), format!("pipeops-agent {VERSION}"));
        let known = Release {
            commit: Some("abc1234"),
            ..bare
        };
        assert_eq!(known.line(), format!("pipeops-agent {VERSION} (abc1234)"));
    }
}
