//! Protocol versions and their negotiation.
//!
//! Owns the WebSocket subprotocol names (P-5) and the choice of the newest common one. A version
//! that is not in [`Version::ALL`] does not exist for this program.

use serde::{Deserialize, Serialize};

/// A version of the command protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Version {
    /// Protocol v2.
    #[serde(rename = "pipeops.agent.v2")]
    V2,
}

impl Version {
    /// Every version that this program speaks, newest first.
    pub const ALL: &'static [Version] = &[Version::V2];

    /// The WebSocket subprotocol.
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::V2 => "pipeops.agent.v2",
        }
    }

    /// The newest version that a `Sec-WebSocket-Protocol` value offers and we speak.
    pub fn negotiate<'a>(offered: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let offered: Vec<&str> = offered
            .into_iter()
            .flat_map(|v| v.split(','))
            .map(str::trim)
            .collect();
        Self::ALL
            .iter()
            .copied()
            .find(|version| offered.contains(&version.subprotocol()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_listed_once() {
        for version in Version::ALL {
            // A new variant does not compile here until it is listed.
            match version {
                Version::V2 => {}
            }
        }
        assert_eq!(Version::ALL.len(), 1);
    }

    #[test]
    fn the_newest_common_version_wins() {
        assert_eq!(
            Version::negotiate(["chat, pipeops.agent.v2"]),
            Some(Version::V2)
        );
        assert_eq!(Version::negotiate(["pipeops.agent.v20", "v2"]), None);
        assert_eq!(Version::negotiate([]), None);
    }
}
