//! The demo's files: the gateway's authority, the kubeconfig, and the token as a header for curl.
//!
//! Owns their folder, which only this user may enter. Invariant: it is removed when this is
//! dropped, whatever happened meanwhile, unless the process was killed.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(super) fn write(ca_pem: &str, kubeconfig: &str, header: &str) -> io::Result<Self> {
        // The name cannot be guessed, and a folder that is there already is an error.
        let name = format!("pipeops-demo-{:016x}", rand::random::<u64>());
        let folder = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&folder)?;
        let files = Self { folder };
        write(&files.ca(), ca_pem)?;
        write(&files.kubeconfig(), kubeconfig)?;
        write(&files.header(), header)?;
        Ok(files)
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// A file so that the token is in nobody's list of processes.
    pub(super) fn header(&self) -> PathBuf {
        self.folder.join("header")
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

impl Drop for Files {
    fn drop(&mut self) {
        // Somebody else may have removed it; kubectl may have left its cache there.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
