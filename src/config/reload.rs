//! What is taken up while the agent runs: the token, the authorities, the log level.
//!
//! Owns the look at the files, every few seconds, and the line that is logged about a change. A look
//! instead of the system's notices, because a mounted ConfigMap is a link that is switched. Owns
//! not: who uses the values. Invariants: a file that is wrong changes nothing and is told once; what
//! needs a restart is named, never half taken up.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use super::env::Env;
use super::secret::{Current, Secret};
use super::settings;
use super::{Config, ConfigErrors, Flags};
use crate::limits;
use crate::telemetry::{Level, Levels};

/// Looks at the files that a configuration came from.
#[derive(Debug)]
pub struct Reload<E> {
    flags: Flags,
    env: E,
    now: Config,
    file: Option<u64>,
    authorities: Option<u64>,
    token: Option<Secret>,
    current: Current,
}

/// What is another one.
#[derive(Debug)]
enum Change {
    Token,
    Authorities,
    Level(Level),
    /// The keys that wait for a restart.
    Later(Vec<&'static str>),
    Refused(ConfigErrors),
}

impl<E: Env> Reload<E> {
    /// Begins with what was read; the configuration's token follows from now on.
    pub fn new(flags: Flags, env: E, config: &mut Config) -> Self {
        let now = config.clone();
        let current = Current::new(now.uplink.token.clone());
        config.uplink.token = current.source();
        Self {
            file: mark(now.file.as_deref()),
            authorities: mark(now.uplink.ca_file.as_deref()),
            token: now.uplink.token.read().ok(),
            flags,
            env,
            now,
            current,
        }
    }

    /// Takes up what changes, for ever.
    ///
    /// # Cancel safety
    /// It may be dropped at any time.
    pub async fn run(mut self, levels: Levels) -> Infallible {
        loop {
            tokio::time::sleep(limits::CONFIG_POLL).await;
            for change in self.look() {
                match change {
                    Change::Token => tracing::info!("Token replaced"),
                    Change::Authorities => tracing::info!("Authorities replaced"),
                    Change::Level(level) => {
                        levels.set(&level);
                        tracing::info!(%level, "Log level changed");
                    }
                    Change::Later(keys) => {
                        let keys = keys.join(", ");
                        tracing::warn!(keys, "Configuration changed; restart to take it up");
                    }
                    Change::Refused(errors) => {
                        tracing::error!(%errors, "Configuration file not taken up");
                    }
                }
            }
        }
    }

    fn look(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        let file = mark(self.now.file.as_deref());
        if file != self.file {
            self.file = file;
            match Config::load(&self.flags, &self.env) {
                Ok(next) => self.take(next, &mut changes),
                Err(errors) => changes.push(Change::Refused(errors)),
            }
        }
        let token = self.now.uplink.token.read().ok();
        // A file that is being replaced may be absent for a moment.
        if token.is_some() && token != self.token {
            self.token = token;
            changes.push(Change::Token);
        }
        let authorities = mark(self.now.uplink.ca_file.as_deref());
        if authorities != self.authorities {
            self.authorities = authorities;
            if authorities.is_some() {
                changes.push(Change::Authorities);
            }
        }
        changes
    }

    fn take(&mut self, next: Config, changes: &mut Vec<Change>) {
        self.current.set(next.uplink.token.clone());
        if next.telemetry.level != self.now.telemetry.level {
            changes.push(Change::Level(next.telemetry.level.clone()));
        }
        let taken = [
            settings::TOKEN.key,
            settings::TOKEN_FILE.key,
            settings::LOG_LEVEL.key,
        ];
        let both = self.now.effective.iter().zip(&next.effective);
        let mut later: Vec<_> = both
            .filter(|(old, new)| old.value != new.value && !taken.contains(&old.key))
            .map(|(old, _)| old.key)
            .collect();
        if next.extensions != self.now.extensions {
            later.push("extensions");
        }
        if !later.is_empty() {
            changes.push(Change::Later(later));
        }
        // The authorities are read where they were: another place is for a restart.
        let ca_file = self.now.uplink.ca_file.take();
        let file = self.now.file.take();
        self.now = next;
        self.now.uplink.ca_file = ca_file;
        self.now.file = file;
    }
}

/// What a file holds, as a number; `None` where it cannot be read.
fn mark(path: Option<&Path>) -> Option<u64> {
    let bytes = std::fs::read(PathBuf::from(path?)).ok()?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::tests::Folder;
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\n";

    #[test]
    fn token_authorities_and_level_are_taken_up_and_the_rest_is_named() {
        let folder = Folder::new("reload");
        let write = |port: u16, level: &str| {
            let text = format!(
                "agent:\n  port: {port}\npipeops:\n  token_file: token\n  ca_file: ca.pem\n\
                 logging:\n  level: {level}\n"
            );
            folder.write("agent.yaml", &text)
        };
        folder.write("token", "one");
        folder.write("ca.pem", PEM);
        let flags = Flags::from([("--config", write(1, "info"))]);
        let env = BTreeMap::new();
        let mut config = Config::load(&flags, &env).unwrap();
        let mut reload = Reload::new(flags, env, &mut config);
        let token = || config.uplink.token.read().unwrap().expose().to_owned();
        assert!(reload.look().is_empty());

        folder.write("token", "two");
        folder.write("ca.pem", &format!("# another\n{PEM}"));
        let changes = reload.look();
        assert!(
            matches!(changes[..], [Change::Token, Change::Authorities]),
            "{changes:?}"
        );
        assert_eq!(token(), "two");

        write(1, "debug");
        let changes = reload.look();
        assert!(matches!(changes[..], [Change::Level(_)]), "{changes:?}");

        write(2, "debug");
        let changes = reload.look();
        assert!(
            matches!(&changes[..], [Change::Later(keys)] if keys[..] == ["agent.port"]),
            "{changes:?}"
        );

        write(2, "loud");
        let changes = reload.look();
        assert!(matches!(changes[..], [Change::Refused(_)]), "{changes:?}");
        assert!(reload.look().is_empty(), "it is told once");

        // A token in the file itself takes the place of the one beside it.
        folder.write(
            "agent.yaml",
            "agent:\n  port: 2\npipeops:\n  token: three\n  ca_file: ca.pem\nlogging:\n  level: debug\n",
        );
        let changes = reload.look();
        assert!(matches!(changes[..], [Change::Token]), "{changes:?}");
        assert_eq!(token(), "three");
        assert!(!format!("{reload:?} {config:?}").contains("three"));
    }
}
