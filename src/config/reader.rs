//! Finds each setting's value: flag, variable, file, default; and keeps every error.
//!
//! Owns the order of the sources and the list of what is in force. Owns not: what a value means
//! (`sections`). Invariants: reading goes on after an error, so that all are said together; a secret
//! gets into no error and not into the list.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::effective::{Effective, REDACTED, Source};
use super::env::{self, Env};
use super::file::{File, Value};
use super::settings::{self, Kind, Setting};
use super::value::{self, InvalidValue};
use super::{ConfigErrors, Flags};
use crate::extensions::Config as Extensions;

/// A value, what it is called where it was given, and by what.
pub(super) struct Given {
    pub(super) name: String,
    pub(super) source: Source,
    pub(super) value: Value,
}

impl Given {
    /// The value as one text; a list's parts are separated by commas.
    pub(super) fn text(&self) -> String {
        match &self.value {
            Value::Text(text) => text.clone(),
            Value::List(parts) => parts.join(","),
            Value::Map(pairs) => {
                let pairs = pairs.iter().map(|(name, text)| format!("{name}={text}"));
                pairs.collect::<Vec<_>>().join(",")
            }
        }
    }
}

pub(super) struct Reader<'a, E> {
    flags: &'a Flags,
    env: &'a E,
    file: Option<&'a File>,
    errors: Vec<InvalidValue>,
    effective: BTreeMap<&'static str, Effective>,
}

impl<'a, E: Env> Reader<'a, E> {
    pub(super) fn new(flags: &'a Flags, env: &'a E, file: Option<&'a File>) -> Self {
        Self {
            flags,
            env,
            file,
            errors: file.map_or_else(Vec::new, |file| file.problems().to_vec()),
            effective: BTreeMap::new(),
        }
    }

    /// What was made of the values, unless something is wrong.
    pub(super) fn finish<T>(self, made: Option<T>) -> Result<T, ConfigErrors> {
        match made {
            Some(made) if self.errors.is_empty() => Ok(made),
            _ => Err(ConfigErrors(self.errors)),
        }
    }

    /// Everything in force, in the table's order.
    pub(super) fn effective(&self) -> Vec<Effective> {
        let all = settings::ALL.iter();
        all.map(|setting| match self.effective.get(setting.key) {
            Some(effective) => effective.clone(),
            None => Effective {
                key: setting.key,
                value: setting.default.into(),
                source: Source::Default,
                place: None,
            },
        })
        .collect()
    }

    /// Forgets what is wrong with the file's keys.
    pub(super) fn without_problems(mut self) -> Self {
        self.errors.clear();
        self
    }

    /// The file that is read from.
    pub(super) fn file(&self) -> Option<PathBuf> {
        Some(self.file?.path().to_owned())
    }

    /// What the file adds to the agent.
    pub(super) fn added(&self) -> Extensions {
        self.file.map(File::added).unwrap_or_default()
    }

    pub(super) const fn env(&self) -> &'a E {
        self.env
    }

    /// The value that wins.
    pub(super) fn given(&mut self, setting: &Setting) -> Option<Given> {
        let given = [Source::Flag, Source::Environment, Source::File]
            .into_iter()
            .find_map(|source| self.look(setting, source))
            .or_else(|| default(setting))?;
        self.record(setting, &given);
        Some(given)
    }

    /// What one source says.
    pub(super) fn look(&mut self, setting: &Setting, source: Source) -> Option<Given> {
        let given = |name: &str, text: String| Given {
            name: name.into(),
            source,
            value: Value::Text(text),
        };
        match source {
            Source::Flag => self
                .flag(setting.flag?)
                .map(|(flag, text)| given(flag, text)),
            Source::Environment => setting.variables.iter().find_map(|name| {
                let text = self.variable(name)?;
                // The kubelet sets this for a Service that is called `pipeops`; nobody meant it.
                let service = *name == env::PORT && text.starts_with("tcp://");
                (!service).then(|| given(name, text))
            }),
            Source::File => {
                let file = self.file?;
                let entry = file.entry(setting.key)?;
                Some(Given {
                    name: file.place(entry.line, setting.key),
                    source,
                    value: entry.value.clone(),
                })
            }
            Source::Default => default(setting),
        }
    }

    pub(super) fn flag(&self, name: &'static str) -> Option<(&'static str, String)> {
        Some((name, self.flags.get(name)?.clone()))
    }

    /// A variable's text; one that is none is an error.
    pub(super) fn variable(&mut self, name: &str) -> Option<String> {
        match self.env.var(name) {
            Ok(text) => text,
            Err(env::NotUnicode) => {
                self.wrong(name, "it is not Unicode", "write it in UTF-8");
                None
            }
        }
    }

    /// Notes what is in force.
    pub(super) fn record(&mut self, setting: &Setting, given: &Given) {
        let value = match setting.kind {
            Kind::Secret => REDACTED.to_owned(),
            Kind::Url => value::without_userinfo(&given.text()),
            _ => given.text(),
        };
        let place = match given.source {
            Source::Default => None,
            // Without the key, which stands beside it.
            Source::File => Some(
                given
                    .name
                    .trim_end_matches(setting.key)
                    .trim_end_matches(": ")
                    .into(),
            ),
            Source::Flag | Source::Environment => Some(given.name.clone()),
        };
        let effective = Effective {
            key: setting.key,
            value,
            source: given.source,
            place,
        };
        self.effective.insert(setting.key, effective);
    }

    pub(super) fn wrong(
        &mut self,
        name: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.errors.push(InvalidValue {
            name: name.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }

    pub(super) fn errors(&self) -> usize {
        self.errors.len()
    }

    // === Values by kind ===

    pub(super) fn text(&mut self, setting: &Setting) -> Option<(String, String)> {
        let given = self.given(setting)?;
        Some((given.text(), given.name))
    }

    /// A file's path, as the process sees it.
    pub(super) fn path(&mut self, setting: &Setting) -> Option<(PathBuf, String)> {
        let given = self.given(setting)?;
        Some((self.resolve(&given), given.name))
    }

    /// In the file a path begins at the file's folder or at `~`.
    pub(super) fn resolve(&mut self, given: &Given) -> PathBuf {
        let text = given.text();
        match (given.source, self.file) {
            (Source::File, Some(file)) => match text.strip_prefix("~/") {
                Some(below) => match self.variable(env::HOME) {
                    Some(home) => Path::new(&home).join(below),
                    None => PathBuf::from(text),
                },
                None => file.folder().join(text),
            },
            _ => PathBuf::from(text),
        }
    }

    pub(super) fn switch(&mut self, setting: &Setting) -> Option<bool> {
        let given = self.given(setting)?;
        let text = given.text();
        let on = value::boolean(&text);
        if on.is_none() {
            let problem = format!("{text:?} is neither true nor false");
            self.wrong(given.name, problem, "choose one");
        }
        on
    }

    pub(super) fn number(&mut self, setting: &Setting) -> Option<(u64, String)> {
        let given = self.given(setting)?;
        let text = given.text();
        let (least, most) = match setting.kind {
            Kind::Number(least, most) => (least, most),
            _ => (0, u64::MAX),
        };
        match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Some((number, given.name)),
            _ => {
                let problem = format!("{text:?} is not a number from {least} to {most}");
                self.wrong(given.name, problem, "choose one");
                None
            }
        }
    }

    pub(super) fn duration(&mut self, setting: &Setting) -> Option<Duration> {
        let given = self.given(setting)?;
        let text = given.text();
        let (least, most) = match setting.kind {
            Kind::Duration(least, most) => (least, most),
            _ => (0, u64::MAX),
        };
        let bounds = Duration::from_millis(least)..=Duration::from_millis(most);
        match value::duration(&text) {
            Some(duration) if bounds.contains(&duration) => Some(duration),
            Some(_) => {
                let (least, most) = (value::Shown(*bounds.start()), value::Shown(*bounds.end()));
                let problem = format!("{text:?} is not from {least} to {most}");
                self.wrong(given.name, problem, "choose a duration in between");
                None
            }
            None => {
                let problem = format!("{text:?} is not a duration");
                self.wrong(given.name, problem, "write it like 500ms, 30s, 5m or 1h30m");
                None
            }
        }
    }

    pub(super) fn list(&mut self, setting: &Setting) -> Option<(Vec<String>, String)> {
        let given = self.given(setting)?;
        let parts = match given.value {
            Value::List(parts) => parts,
            Value::Text(text) => text
                .split(',')
                .map(|part| part.trim().to_owned())
                .filter(|part| !part.is_empty())
                .collect(),
            Value::Map(_) => Vec::new(),
        };
        Some((parts, given.name))
    }

    /// One of the words that the setting knows, by its place among them.
    pub(super) fn choice(&mut self, setting: &Setting) -> Option<usize> {
        let given = self.given(setting)?;
        let text = given.text();
        let Kind::Choice(words) = setting.kind else {
            return None;
        };
        let chosen = words.iter().position(|word| *word == text);
        if chosen.is_none() {
            let problem = format!("{text:?} is not one of its values");
            self.wrong(
                given.name,
                problem,
                format!("choose {}", words.join(" or ")),
            );
        }
        chosen
    }
}

fn default(setting: &Setting) -> Option<Given> {
    (!setting.default.is_empty()).then(|| Given {
        name: setting.key.into(),
        source: Source::Default,
        value: Value::Text(setting.default.into()),
    })
}
