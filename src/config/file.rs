//! The YAML file: where it is looked for, what stands where in it.
//!
//! Owns the search, the reading and the line of each entry. Owns not: what a value means
//! (`sections`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(dead_code, reason = "the file is read next")]
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
    entries: BTreeMap<String, Entry>,
}

impl File {
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
