//! The token file: one JSON document, mode 0600, replaced whole.
//!
//! Owns reading, changing and watching it. Changes take a lock beside the file, so that two
//! `token add` at once lose nothing, and become visible in one rename, so that a reader never sees
//! half. Invariant: a file that cannot be read or understood changes nothing; a file that is gone
//! means no tokens.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Grant, Stored, TokenError, Tokens, mint};
use crate::limits;

/// A token file. It need not exist yet.
#[derive(Debug, Clone)]
pub struct TokenFile {
    path: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Document {
    version: u32,
    tokens: Vec<Stored>,
}

/// What tells one content of a file from another, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: (i64, i64),
    size: u64,
    inode: u64,
}

impl Stamp {
    /// The file's stamp; nothing if there is no file.
    pub(crate) fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self {
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                size: metadata.len(),
                inode: metadata.ino(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl TokenFile {
    /// The file at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, act: &'static str) -> impl FnOnce(io::Error) -> TokenError {
        let path = self.path.clone();
        move |source| TokenError::File { path, act, source }
    }

    /// Every token in the file.
    ///
    /// # Errors
    /// When it cannot be read or understood. A file that is not there is empty.
    pub fn read(&self) -> Result<Vec<Stored>, TokenError> {
        let mut text = String::new();
        match File::open(&self.path) {
            Ok(file) => file
                .take(limits::GATEWAY_FILE)
                .read_to_string(&mut text)
                .map_err(self.failed("read"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed("read")(error)),
        };
        let document: Document =
            serde_json::from_str(&text).map_err(|source| TokenError::Malformed {
                path: self.path.clone(),
                source,
            })?;
        Ok(document.tokens)
    }

    /// Makes a token, stores its hash, and returns its text: the only time that it is seen.
    ///
    /// # Errors
    /// When a name is not one, or the file cannot be changed.
    pub fn add(&self, grant: Grant) -> Result<String, TokenError> {
        let minted = mint(grant)?;
        self.change(|tokens| {
            tokens.push(minted.stored);
            Ok(())
        })?;
        Ok(minted.text)
    }

    /// Removes a token by its id.
    ///
    /// # Errors
    /// When there is none, or the file cannot be changed.
    pub fn remove(&self, id: &str) -> Result<(), TokenError> {
        self.change(|tokens| {
            let before = tokens.len();
            tokens.retain(|token| token.id != id);
            if tokens.len() == before {
                return Err(TokenError::Unknown(id.to_owned()));
            }
            Ok(())
        })
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Vec<Stored>) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory).map_err(self.failed("created"))?;
        }
        let lock = private(&self.beside("lock")).map_err(self.failed("locked"))?;
        lock.lock().map_err(self.failed("locked"))?;
        let mut tokens = self.read()?;
        change(&mut tokens)?;
        let document = Document { version: 1, tokens };
        let text = serde_json::to_string_pretty(&document).expect("text always serialises");
        self.write(&text).map_err(self.failed("written"))
        // The lock goes with its file.
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let new = self.beside("new");
        // A leftover of a killed run may have any mode.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private(&new)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, &self.path)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(suffix);
        name.into()
    }

    /// Keeps `tokens` equal to the file, until dropped; looks every [`limits::FILE_POLL`].
    ///
    /// # Cancel safety
    /// Safe: a set is taken over whole.
    pub(crate) async fn follow(&self, tokens: Tokens) {
        let mut seen = None;
        loop {
            match Stamp::of(&self.path) {
                Ok(stamp) if seen != Some(stamp) => {
                    seen = Some(stamp);
                    self.take_over(&tokens);
                }
                Ok(_) => {}
                Err(error) => {
                    // Said once for each change of mind, not every second.
                    if seen.take().is_some() {
                        tracing::error!(path = %self.path.display(), %error, "Token file unreadable");
                    }
                }
            }
            tokio::time::sleep(limits::FILE_POLL).await;
        }
    }

    fn take_over(&self, tokens: &Tokens) {
        match self.read() {
            Ok(stored) => {
                tokens.replace(stored);
                let (agents, users) = tokens.count();
                tracing::info!(agents, users, "Tokens read");
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "Tokens kept as before"
                );
            }
        }
    }
}

/// A file that nobody else may read, created if need be.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}
