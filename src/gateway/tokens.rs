//! Who may come in: agents' and users' bearer tokens, and their ends.
//!
//! Owns the tokens in memory: checking one, the grants it carries, and telling everything that
//! runs under a token that was removed or changed. Owns not the file's form ([`mod@file`]) nor how
//! many requests a user may have ([`super::users`]).
//!
//! A token is `pgt_<id>_<secret>`; the id finds the entry, and the SHA-256 of the whole is compared
//! in constant time. The secret has 256 bits, so that a fast hash is enough.
//! Invariant: a token's text is never stored, logged or shown after it was made.

pub(crate) mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use aws_lc_rs::{constant_time, digest, rand};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::users::Usage;
use crate::protocol::command::Actor;

pub use file::TokenFile;

/// Why a token could not be made, stored or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// A cluster id that could not stand in a URL or a log.
    #[error(
        "a cluster id is 1 to 63 of a-z, 0-9, '-' and '.', and begins and ends with a letter or digit"
    )]
    ClusterId,
    /// A user or group name that the API server keeps for itself, or that no header can carry.
    #[error("a name is 1 to 253 visible ASCII characters and does not begin with \"system:\"")]
    Name,
    /// The system's random numbers.
    #[error("the system gave no random numbers")]
    Random,
    /// No token has this id.
    #[error("there is no token {0}")]
    Unknown(String),
    /// The token file cannot be read or written.
    #[error("the token file {path} cannot be {act}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        act: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The token file is not what this program writes.
    #[error("the token file {path} is malformed")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where.
        #[source]
        source: serde_json::Error,
    },
}

/// What a token is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Grant {
    /// To connect as the agent of one cluster.
    Agent {
        /// Which cluster.
        cluster: String,
    },
    /// To use clusters' APIs.
    User {
        /// The name that the agent may impersonate.
        name: String,
        /// The groups that go with it.
        #[serde(default)]
        groups: Vec<String>,
        /// The clusters; `*` is every one.
        clusters: Vec<String>,
    },
}

/// A token as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The public part, which names the token in `token list` and `token remove`.
    pub id: String,
    /// SHA-256 of the token, in hexadecimal digits.
    pub sha256: String,
    /// What it is good for.
    #[serde(flatten)]
    pub grant: Grant,
}

/// A new token: what is stored, and the text that is shown once.
pub(crate) struct Minted {
    pub(crate) stored: Stored,
    pub(crate) text: String,
}

impl std::fmt::Debug for Minted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minted")
            .field("id", &self.stored.id)
            .finish_non_exhaustive()
    }
}

/// Makes a token.
pub(crate) fn mint(grant: Grant) -> Result<Minted, TokenError> {
    check(&grant)?;
    let mut bytes = [0_u8; 36];
    rand::fill(&mut bytes).map_err(|_| TokenError::Random)?;
    let (id, secret) = bytes.split_at(4);
    let (id, secret) = (hex(id), hex(secret));
    let text = format!("pgt_{id}_{secret}");
    let sha256 = hex(sha256(&text).as_ref());
    Ok(Minted {
        stored: Stored { id, sha256, grant },
        text,
    })
}

fn check(grant: &Grant) -> Result<(), TokenError> {
    match grant {
        Grant::Agent { cluster } => cluster_id(cluster),
        Grant::User {
            name,
            groups,
            clusters,
        } => {
            for name in std::iter::once(name).chain(groups) {
                let visible = name.bytes().all(|byte| byte.is_ascii_graphic());
                if !visible || !(1..=253).contains(&name.len()) || name.starts_with("system:") {
                    return Err(TokenError::Name);
                }
            }
            clusters
                .iter()
                .filter(|cluster| *cluster != "*")
                .try_for_each(|cluster| cluster_id(cluster))
        }
    }
}

fn cluster_id(id: &str) -> Result<(), TokenError> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let all = id
        .bytes()
        .all(|byte| inner(byte) || matches!(byte, b'-' | b'.'));
    let ends = id.bytes().next().is_some_and(inner) && id.bytes().last().is_some_and(inner);
    if all && ends && id.len() <= 63 {
        Ok(())
    } else {
        Err(TokenError::ClusterId)
    }
}

fn sha256(text: &str) -> digest::Digest {
    digest::digest(&digest::SHA256, text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.as_bytes()
        .chunks(2)
        .map(|pair| match *pair {
            [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
            _ => None,
        })
        .collect()
}

/// A valid token. What runs under it holds this, and ends when [`Entry::revoked`] fires.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) stored: Stored,
    digest: Vec<u8>,
    /// Fires when the token was removed, or is good for something else now.
    pub(crate) revoked: CancellationToken,
    /// For users: on whose behalf, ready to be sent.
    pub(crate) actor: Actor,
    /// For users: what is in flight, of all tokens of this name.
    pub(crate) usage: Arc<Usage>,
}

impl Entry {
    /// The cluster that an agent's token belongs to.
    pub(crate) fn agent_of(&self) -> Option<&str> {
        match &self.stored.grant {
            Grant::Agent { cluster } => Some(cluster),
            Grant::User { .. } => None,
        }
    }

    /// Whether this is a user's token.
    pub(crate) fn is_user(&self) -> bool {
        matches!(self.stored.grant, Grant::User { .. })
    }

    /// Whether a user's token is good for this cluster.
    pub(crate) fn may_use(&self, cluster: &str) -> bool {
        match &self.stored.grant {
            Grant::User { clusters, .. } => clusters
                .iter()
                .any(|known| known == "*" || known == cluster),
            Grant::Agent { .. } => false,
        }
    }
}

/// The tokens that are valid now. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    inner: Arc<RwLock<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// In order, so that what is revoked together ends in the same order each time.
    entries: BTreeMap<String, Arc<Entry>>,
    /// The clusters that agents' tokens name; asked for each request.
    clusters: BTreeSet<String>,
    /// Outlives the tokens of a user while anything is in flight.
    usages: BTreeMap<String, Arc<Usage>>,
}

impl Tokens {
    /// No tokens.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a token for the agent of a cluster, in memory only, and returns its text.
    ///
    /// # Errors
    /// When the id is not one.
    pub fn add_agent(&self, cluster: &str) -> Result<String, TokenError> {
        self.add(Grant::Agent {
            cluster: cluster.to_owned(),
        })
    }

    /// Makes a token for a user, in memory only, and returns its text.
    ///
    /// # Errors
    /// When a name is not one.
    pub fn add_user(
        &self,
        name: &str,
        groups: &[&str],
        clusters: &[&str],
    ) -> Result<String, TokenError> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        self.add(Grant::User {
            name: name.to_owned(),
            groups: owned(groups),
            clusters: owned(clusters),
        })
    }

    fn add(&self, grant: Grant) -> Result<String, TokenError> {
        let minted = mint(grant)?;
        let mut stored = self.stored();
        stored.push(minted.stored);
        self.replace(stored);
        Ok(minted.text)
    }

    /// Removes a token by its id, or by its text, from memory; says whether there was one.
    pub fn remove(&self, id: &str) -> bool {
        let id = id_of(id).unwrap_or(id);
        let mut stored = self.stored();
        let before = stored.len();
        stored.retain(|token| token.id != id);
        let removed = stored.len() < before;
        self.replace(stored);
        removed
    }

    fn stored(&self) -> Vec<Stored> {
        let inner = self.inner.read().expect("no holder of this lock panics");
        inner
            .entries
            .values()
            .map(|entry| entry.stored.clone())
            .collect()
    }

    /// How many tokens there are, of agents and of users.
    pub fn count(&self) -> (usize, usize) {
        let inner = self.inner.read().expect("no holder of this lock panics");
        let agents = inner
            .entries
            .values()
            .filter(|entry| entry.agent_of().is_some())
            .count();
        (agents, inner.entries.len() - agents)
    }

    /// How many clusters agents' tokens name: asked at every registration, and so not by walking them.
    pub(crate) fn cluster_count(&self) -> usize {
        let inner = self.inner.read().expect("no holder of this lock panics");
        inner.clusters.len()
    }

    /// Whether some agent's token names this cluster.
    pub(crate) fn knows_cluster(&self, cluster: &str) -> bool {
        let inner = self.inner.read().expect("no holder of this lock panics");
        inner.clusters.contains(cluster)
    }

    /// The clusters that agents' tokens name, in order.
    pub(crate) fn clusters(&self) -> Vec<String> {
        let inner = self.inner.read().expect("no holder of this lock panics");
        inner.clusters.iter().cloned().collect()
    }

    /// The entry of a presented token, if it is valid.
    pub(crate) fn check(&self, presented: &str) -> Option<Arc<Entry>> {
        let id = id_of(presented)?;
        let entry = {
            let inner = self.inner.read().expect("no holder of this lock panics");
            Arc::clone(inner.entries.get(id)?)
        };
        constant_time::verify_slices_are_equal(&entry.digest, sha256(presented).as_ref())
            .is_ok()
            .then_some(entry)
    }

    /// Takes over a new set. What ran under a token that is not in it, or not the same, ends.
    pub(crate) fn replace(&self, stored: Vec<Stored>) {
        let mut inner = self.inner.write().expect("no holder of this lock panics");
        let mut before = std::mem::take(&mut inner.entries);
        inner.usages.retain(|_, usage| Arc::strong_count(usage) > 1);
        for stored in stored {
            let entry = match before.remove(&stored.id) {
                Some(entry) if entry.stored == stored => entry,
                changed => {
                    if let Some(changed) = changed {
                        changed.revoked.cancel();
                    }
                    match inner.entry(stored) {
                        Some(entry) => entry,
                        None => continue,
                    }
                }
            };
            inner.entries.insert(entry.stored.id.clone(), entry);
        }
        let clusters = inner.entries.values().filter_map(|entry| entry.agent_of());
        inner.clusters = clusters.map(str::to_owned).collect();
        for (_, removed) in before {
            removed.revoked.cancel();
        }
    }
}

impl Inner {
    /// An entry for a stored token; nothing if its hash is not one.
    fn entry(&mut self, stored: Stored) -> Option<Arc<Entry>> {
        let digest = unhex(&stored.sha256)?;
        let (actor, usage) = match &stored.grant {
            Grant::Agent { .. } => (Actor::default(), Arc::default()),
            Grant::User { name, groups, .. } => {
                let actor = Actor {
                    user: name.clone(),
                    groups: groups.clone(),
                    extra: BTreeMap::new(),
                };
                let usage = self.usages.entry(name.clone()).or_default();
                (actor, Arc::clone(usage))
            }
        };
        Some(Arc::new(Entry {
            digest,
            revoked: CancellationToken::new(),
            actor,
            usage,
            stored,
        }))
    }
}

fn id_of(token: &str) -> Option<&str> {
    let (id, _) = token.strip_prefix("pgt_")?.split_once('_')?;
    Some(id)
}

#[cfg(test)]
mod tests;
