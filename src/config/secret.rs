//! Secrets: redacted wherever they could be shown, and read again where they are kept.
//!
//! Owns [`Secret`] and where one comes from. Invariant: there is no `Display` and no `Serialize`,
//! `Debug` says nothing, and the memory is wiped; the only way in is [`Secret::expose`], called
//! where a header is written.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret, SecretString};

use crate::limits;

/// A token or a password.
#[derive(Debug, Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes a token as it was given, without the space around it.
    ///
    /// # Errors
    /// When it is empty, too long, or has a byte that no header may hold.
    pub fn token(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        if text.len() > limits::TOKEN_BYTES {
            return Err(SecretError::TooLong);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SecretError::Unprintable);
        }
        Ok(Self(SecretString::from(text)))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for Secret {
    /// Both are our own: nobody measures how long this takes.
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

/// Where a secret is kept.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// In the environment: as it was at the start.
    Given(Secret),
    /// In a file, which may be replaced at any time.
    File(PathBuf),
    /// Where the configuration says, which may be changed at any time.
    Current(Current),
}

/// A source that its owner may change while others read it.
#[derive(Debug, Clone)]
pub struct Current(Arc<Mutex<SecretSource>>);

impl Current {
    /// Begins with this source.
    pub fn new(source: SecretSource) -> Self {
        Self(Arc::new(Mutex::new(source)))
    }

    /// What readers get.
    pub fn source(&self) -> SecretSource {
        SecretSource::Current(self.clone())
    }

    /// Changes it; the next read sees it.
    pub fn set(&self, source: SecretSource) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = source;
    }

    fn get(&self) -> SecretSource {
        let source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        source.clone()
    }
}

impl SecretSource {
    /// Reads the secret as it is now.
    ///
    /// # Errors
    /// When the file cannot be read or holds no token.
    pub fn read(&self) -> Result<Secret, SecretError> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path) => read_file(path),
            Self::Current(current) => current.get().read(),
        }
    }
}

fn read_file(path: &Path) -> Result<Secret, SecretError> {
    let file = std::fs::File::open(path).map_err(SecretError::Read)?;
    let mut text = zeroizing(limits::TOKEN_BYTES);
    file.take(limits::TOKEN_BYTES as u64 + 2)
        .read_to_string(&mut text)
        .map_err(SecretError::Read)?;
    let secret = Secret::token(&text);
    // Moves the buffer into a type that wipes it.
    drop(SecretString::from(text));
    secret
}

/// Reads `user:password`, in one line; the space around it is taken away.
///
/// # Errors
/// When the file cannot be read or holds something else.
pub(super) fn read_credentials(path: &Path) -> Result<SecretString, SecretError> {
    let file = std::fs::File::open(path).map_err(SecretError::Read)?;
    let mut text = zeroizing(limits::TOKEN_BYTES);
    file.take(limits::TOKEN_BYTES as u64 + 2)
        .read_to_string(&mut text)
        .map_err(SecretError::Read)?;
    let credentials = text.trim();
    let read = match credentials {
        "" => Err(SecretError::Empty),
        long if long.len() > limits::TOKEN_BYTES => Err(SecretError::TooLong),
        odd if odd.contains(char::is_control) => Err(SecretError::Unprintable),
        bare if !bare.contains(':') => Err(SecretError::NoPassword),
        credentials => Ok(SecretString::from(credentials)),
    };
    drop(SecretString::from(text));
    read
}

/// A buffer that never grows, so that no copy of what it held stays behind.
fn zeroizing(most: usize) -> String {
    String::with_capacity(most + 64)
}

/// Why there is no secret. Never quotes it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Nothing but space.
    #[error("it is empty")]
    Empty,
    /// No token is that long.
    #[error("it is longer than 16 KiB")]
    TooLong,
    /// Such as a line end in the middle.
    #[error("it has a byte that no header may hold; a line end or a space, perhaps")]
    Unprintable,
    /// Credentials without a colon.
    #[error("it is not of the form user:password")]
    NoPassword,
    /// The file.
    #[error("the file cannot be read")]
    Read(#[source] std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing_of_itself() {
        let secret = Secret::token("  hunter2\n").unwrap();
        assert_eq!(secret.expose(), "hunter2");
        let shown = format!("{secret:?} {:?}", SecretSource::Given(secret.clone()));
        assert!(!shown.contains("hunter2"), "{shown}");
        for (bad, expected) in [
            (" \n", "it is empty"),
            (
                &"x".repeat(limits::TOKEN_BYTES + 1),
                "it is longer than 16 KiB",
            ),
        ] {
            assert_eq!(Secret::token(bad).unwrap_err().to_string(), expected);
        }
        let error = Secret::token("hunter2\nhunter3").unwrap_err();
        assert!(!error.to_string().contains("hunter"), "{error}");
    }

    #[test]
    fn a_file_is_read_anew_each_time() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("pipeops-secret-{}", std::process::id()));
        std::fs::write(&path, "one\n").unwrap();
        let source = SecretSource::File(path.clone());
        assert_eq!(source.read().unwrap().expose(), "one");
        std::fs::write(&path, "two\n").unwrap();
        assert_eq!(source.read().unwrap().expose(), "two");
        std::fs::write(&path, "x".repeat(1 << 20)).unwrap();
        assert!(matches!(source.read(), Err(SecretError::TooLong)));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(source.read(), Err(SecretError::Read(_))));
    }
}
