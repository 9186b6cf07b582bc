//! The YAML file: where it is looked for, what stands where in it, and which keys it may have.
//!
//! Owns the search, the reading and the line of each entry. Owns not: what a value means
//! (`sections`). serde-saphyr alone, without figment: figment joins sources after they were typed,
//! and stops at the first error; here each value keeps its text and its line, so that a token of
//! digits stays a token, and every error is said at once. Invariants: a key that is not in the table
//! is an error with the nearest name; what the parser makes of a text is never used, only the text.

mod node;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::env::{self, Env};
use super::settings::{self, Kind};
use super::value::InvalidValue;
use super::{ConfigErrors, Flags};
use crate::extensions::Config as Extensions;
use crate::limits;
use node::{Node, Place};

/// Where the file of the whole machine is.
pub(super) const SYSTEM: &str = "/etc/pipeops/agent.yaml";
/// The file of a person, below the home folder.
pub(super) const PERSONAL: &str = ".pipeops-agent.yaml";

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    List(Vec<String>),
    Map(Vec<(String, String)>),
}

/// One entry and the line that it begins on.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) line: u64,
    pub(super) value: Value,
}

/// A file that was read.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    path: PathBuf,
    entries: BTreeMap<&'static str, Entry>,
    extensions: Option<Extensions>,
    problems: Vec<InvalidValue>,
}

/// The file for the one section that is read by its own types.
#[derive(Deserialize)]
struct Extended {
    extensions: Option<Extensions>,
}

/// The section that is read by its own types.
const EXTENSIONS: &str = "extensions";

impl File {
    /// The file that is named, or else the first that is there.
    pub(super) fn find(flags: &Flags, env: &impl Env) -> Result<Option<Self>, ConfigErrors> {
        let variable = |name| env.var(name).ok().flatten();
        let named = match flags.get("--config") {
            Some(path) => Some(("--config", path.clone())),
            None => variable(env::CONFIG).map(|path| (env::CONFIG, path)),
        };
        if let Some((name, path)) = named {
            let path = PathBuf::from(path);
            return match read(&path) {
                Ok(text) => Self::parse(path, &text).map(Some),
                Err(error) => {
                    let problem = format!("{} cannot be read: {error}", path.display());
                    Err(one(name, problem, "name a file that this user may read"))
                }
            };
        }
        let personal = variable(env::HOME).map(|home| Path::new(&home).join(PERSONAL));
        for path in personal.into_iter().chain([PathBuf::from(SYSTEM)]) {
            match read(&path) {
                Ok(text) => return Self::parse(path, &text).map(Some),
                Err(error) if is_absent(&error) => {}
                Err(error) => {
                    let problem = format!("it cannot be read: {error}");
                    let remedy = "let this user read it, or name another with --config";
                    return Err(one(&path.display().to_string(), problem, remedy));
                }
            }
        }
        Ok(None)
    }

    /// Reads a file's text. Keys and shapes that are wrong wait in it, to be said with the rest.
    fn parse(path: PathBuf, text: &str) -> Result<Self, ConfigErrors> {
        let mut file = Self {
            path,
            ..Self::default()
        };
        let node = node::parse(text).map_err(|error| {
            let line = error
                .line
                .map_or_else(String::new, |line| format!(":{line}"));
            let name = format!("{}{line}", file.path.display());
            one(
                &name,
                format!("it is not YAML: {}", error.problem),
                "mend that line",
            )
        })?;
        match node {
            Node::Nothing => {}
            Node::Map(sections) => {
                for (section, node) in sections {
                    if section.text == EXTENSIONS {
                        file.extensions(text);
                    } else {
                        file.section(&section, node);
                    }
                }
            }
            Node::Text(_) | Node::List(_) => {
                let name = file.path.display().to_string();
                let remedy = format!("begin with a section: {}", sections().join(", "));
                return Err(one(&name, "it holds no sections".into(), &remedy));
            }
        }
        Ok(file)
    }

    /// Reads the section that its own types describe; its first error is the only one here, what
    /// does not make sense together is said by `extensions`.
    fn extensions(&mut self, text: &str) {
        match node::typed::<Extended>(text) {
            Ok(read) => {
                self.extensions = read.extensions.map(|mut extensions| {
                    extensions.begin_at(self.folder());
                    extensions
                });
            }
            Err(error) => {
                let remedy = "see docs/extensions.md for what may stand there";
                self.wrong(error.line.unwrap_or(1), EXTENSIONS, &error.problem, remedy);
            }
        }
    }

    fn section(&mut self, section: &Place, node: Node) {
        let name = section.text.as_str();
        if !sections().contains(&name) {
            let remedy = match settings::ALL
                .iter()
                .find(|setting| last(setting.key) == name)
            {
                Some(setting) => format!("write it below {}", first(setting.key)),
                None => instead(name, &sections()),
            };
            self.wrong(section.line, name, "there is no such section", &remedy);
            return;
        }
        match node {
            Node::Nothing => {}
            Node::Map(entries) => {
                for (key, node) in entries {
                    self.key(name, &key, node);
                }
            }
            Node::Text(_) | Node::List(_) => {
                let remedy = "write its keys below it, each on a line of its own";
                self.wrong(section.line, name, "it holds no keys", remedy);
            }
        }
    }

    fn key(&mut self, section: &str, key: &Place, node: Node) {
        let name = format!("{section}.{}", key.text);
        let Some(setting) = settings::ALL.iter().find(|setting| setting.key == name) else {
            let elsewhere = settings::ALL
                .iter()
                .find(|setting| last(setting.key) == key.text);
            let here: Vec<_> = settings::ALL
                .iter()
                .filter(|setting| first(setting.key) == section)
                .map(|setting| last(setting.key))
                .collect();
            let remedy = match elsewhere {
                Some(setting) => format!("write it below {}", first(setting.key)),
                None => instead(&key.text, &here),
            };
            self.wrong(key.line, &name, "there is no such key", &remedy);
            return;
        };
        match value(node, setting.kind) {
            Ok(None) => {}
            Ok(Some(value)) => {
                let line = key.line;
                self.entries.insert(setting.key, Entry { line, value });
            }
            Err((line, problem, remedy)) => {
                self.wrong(line.unwrap_or(key.line), &name, problem, remedy);
            }
        }
    }

    fn wrong(&mut self, line: u64, key: &str, problem: &str, remedy: &str) {
        self.problems.push(InvalidValue {
            name: self.place(line, key),
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }

    /// What it adds to the agent.
    pub(super) fn added(&self) -> Extensions {
        self.extensions.clone().unwrap_or_default()
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with its keys and shapes.
    pub(super) fn problems(&self) -> &[InvalidValue] {
        &self.problems
    }

    /// An entry by its key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// How an entry is named in errors.
    pub(super) fn place(&self, line: u64, key: &str) -> String {
        format!("{}:{line}: {key}", self.path.display())
    }

    /// Where relative paths begin.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

/// An entry's value in the shape that its kind has; `None` where it is left empty.
fn value(
    node: Node,
    kind: Kind,
) -> Result<Option<Value>, (Option<u64>, &'static str, &'static str)> {
    match (kind, node) {
        (_, Node::Nothing) => Ok(None),
        (Kind::Labels, Node::Map(pairs)) => {
            let pairs = pairs.into_iter().map(|(name, node)| match node {
                Node::Text(text) => Ok((name.text, text)),
                Node::Nothing => Ok((name.text, String::new())),
                Node::List(_) | Node::Map(_) => {
                    Err((Some(name.line), "a label is one text", "write name: text"))
                }
            });
            Ok(Some(Value::Map(pairs.collect::<Result<_, _>>()?)))
        }
        (Kind::Labels, _) => Err((None, "it is no map", "write name: text on lines below it")),
        (Kind::List, Node::List(parts)) => {
            let parts = parts.into_iter().map(|part| match part {
                Node::Text(text) => Ok(text),
                Node::Nothing | Node::List(_) | Node::Map(_) => Err((
                    None,
                    "a part of the list is no text",
                    "write each as - text",
                )),
            });
            let parts: Vec<_> = parts.collect::<Result<_, _>>()?;
            Ok((!parts.is_empty()).then_some(Value::List(parts)))
        }
        (_, Node::Text(text)) => Ok((!text.is_empty()).then_some(Value::Text(text))),
        (Kind::List, Node::Map(_)) => Err((None, "it is no list", "write each part as - text")),
        (_, Node::List(_)) => Err((None, "it is a list", "write one value behind the colon")),
        (_, Node::Map(_)) => Err((None, "it is a map", "write one value behind the colon")),
    }
}

/// How entries of a file are named in errors, as long as it can be read.
pub(super) fn places(path: Option<PathBuf>) -> impl Fn(&str) -> String {
    let file = path.and_then(|path| {
        let tree = node::parse(&read(&path).ok()?).ok()?;
        Some((path, tree))
    });
    move |entry| {
        let placed = file.as_ref().and_then(|(path, tree)| {
            let line = tree.line(entry)?;
            Some(format!("{}:{line}: {entry}", path.display()))
        });
        placed.unwrap_or_else(|| entry.to_owned())
    }
}

fn one(name: &str, problem: String, remedy: &str) -> ConfigErrors {
    ConfigErrors(vec![InvalidValue {
        name: name.into(),
        problem,
        remedy: remedy.into(),
    }])
}

/// A file that is not there, or whose folder is none.
fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let most = limits::CONFIG_FILE as u64;
    let mut file = std::fs::File::open(path)?.take(most + 1);
    file.read_to_string(&mut text)?;
    if text.len() as u64 > most {
        return Err(std::io::Error::other("it is longer than 256 KiB"));
    }
    Ok(text)
}

fn first(key: &str) -> &str {
    key.split('.').next().unwrap_or(key)
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// The sections, in the table's order.
pub(super) fn sections() -> Vec<&'static str> {
    let mut all: Vec<_> = settings::ALL
        .iter()
        .map(|setting| first(setting.key))
        .collect();
    all.dedup();
    all.push(EXTENSIONS);
    all
}

/// What was meant, perhaps: the nearest of the names, or all of them.
fn instead(name: &str, names: &[&str]) -> String {
    let distance = |known: &&str| strsim::damerau_levenshtein(name, known);
    if name.len() >= 4
        && let Some(known) = names.iter().find(|known| known.contains(name))
    {
        return format!("write {known} if that is meant");
    }
    let nearest = names.iter().min_by_key(|known| distance(known));
    match nearest.filter(|known| distance(known) <= 1.max(name.chars().count() / 3)) {
        Some(known) => format!("write {known} if that is meant"),
        None => format!("there are {}", names.join(", ")),
    }
}
