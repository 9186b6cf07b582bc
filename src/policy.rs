//! What the cluster's owner allows, whatever the control plane asks.
//!
//! Owns the decision ([`Policy::authorize`]), its proof ([`Permit`]) and its record ([`audit`]).
//! Owns not: how a request is parsed (`kubeapi`) or carried out (`commands`).
//! Invariants: denied unless allowed; decided on what the API server will make of the request,
//! never on the HTTP method alone; a `Permit` is made nowhere else and carries the very request
//! that was decided on; every decision is one record.
//!
//! | preset | what |
//! |---|---|
//! | `readonly` | get, list and watch of the list in [`readonly`], logs, discovery, health, and the questions that a caller asks about themselves |
//! | `admin` | everything that has a canonical path |

pub mod access;
pub mod audit;

mod readonly;

use std::fmt;
use std::str::FromStr;

use crate::kubeapi::RequestPath;
use crate::protocol::command::Actor;

pub use access::{Need, Subject, Target};

/// What the owner allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Config {
    /// The preset.
    pub access: Access,
}

/// The presets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reading, and never what could hold a secret or run a command.
    #[default]
    Readonly,
    /// Everything.
    Admin,
}

impl Access {
    /// Every preset.
    pub const ALL: [Self; 2] = [Self::Readonly, Self::Admin];

    /// What the agent's own account must be allowed in the cluster, so that the preset can give what
    /// it promises; nothing particular for one that promises everything.
    #[must_use]
    pub fn needs(self) -> Vec<Need> {
        match self {
            Self::Readonly => readonly::needs(),
            Self::Admin => Vec::new(),
        }
    }

    /// The word for it in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Readonly => "readonly",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("access is one of readonly and admin")]
pub struct UnknownAccess;

impl FromStr for Access {
    type Err = UnknownAccess;

    fn from_str(word: &str) -> Result<Self, UnknownAccess> {
        Self::ALL
            .into_iter()
            .find(|access| access.as_str() == word)
            .ok_or(UnknownAccess)
    }
}

/// Who asks, and under which id.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The command's id.
    pub id: &'a str,
    /// The command's name.
    pub command: &'static str,
    /// On whose behalf.
    pub actor: Option<&'a Actor>,
}

/// Proof that a command was allowed, and what it may act on: the request that was decided on.
#[derive(Debug)]
pub struct Permit {
    subject: Subject,
}

impl Permit {
    /// What was allowed.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The Kubernetes request, if it is one.
    #[must_use]
    pub const fn path(&self) -> Option<&RequestPath> {
        match &self.subject {
            Subject::Kubernetes(path) => Some(path),
            Subject::Operation(_) | Subject::Channel => None,
        }
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// What was asked for and which rule said no; for the caller.
    pub message: String,
}

/// The owner's policy.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    access: Access,
}

impl Policy {
    /// A policy as configured.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self {
            access: config.access,
        }
    }

    /// Whether something may be asked for as often as its owner's configuration says. Decides as
    /// [`Policy::authorize`] does, and writes no record: nobody asks yet.
    ///
    /// # Errors
    /// When it is not allowed.
    pub fn allows(&self, subject: &Subject) -> Result<(), Denied> {
        let denied = |reason| self.denied(subject, reason);
        self.decide(subject).map(|_| ()).map_err(denied)
    }

    /// Decides, and writes the record.
    ///
    /// # Errors
    /// When it is not allowed.
    pub fn authorize(&self, subject: Subject, caller: Caller<'_>) -> Result<Permit, Denied> {
        let reason = self.decide(&subject);
        audit::record(self.access, &subject, caller, reason);
        match reason {
            Ok(_) => Ok(Permit { subject }),
            Err(reason) => Err(self.denied(&subject, reason)),
        }
    }

    fn denied(&self, subject: &Subject, reason: &'static str) -> Denied {
        let access = self.access;
        Denied {
            message: format!("the agent's policy ({access}) does not allow to {subject}: {reason}"),
        }
    }

    /// Which rule allows it, or which denies it.
    fn decide(&self, subject: &Subject) -> Result<&'static str, &'static str> {
        match (self.access, subject) {
            // It carries no data of the cluster.
            (_, Subject::Channel) => Ok("the channel itself"),
            (Access::Admin, Subject::Kubernetes(_) | Subject::Operation(_)) => Ok("admin"),
            (Access::Readonly, Subject::Kubernetes(path)) => readonly::decide(path),
            (Access::Readonly, Subject::Operation(needs)) => readonly::decide_all(needs),
        }
    }
}
