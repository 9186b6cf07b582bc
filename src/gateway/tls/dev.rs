//! A certificate made on the spot, for a machine of one's own.
//!
//! Owns a small CA and a server certificate under it, in memory or in a directory. Owns not any
//! trust: whoever connects is given the CA explicitly. Invariant: no key is readable by others.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use secrecy::{ExposeSecret, SecretString};

use super::{Certificate, TlsError};

/// A CA's certificate, and a server certificate under it with its key.
#[derive(Debug, Clone)]
pub struct DevCertificate {
    /// What callers and agents must trust.
    pub ca_pem: String,
    /// The server's certificate.
    pub chain_pem: String,
    /// Its key.
    pub key_pem: SecretString,
}

impl DevCertificate {
    /// Makes one for these DNS names and addresses. The CA's key is forgotten at once.
    ///
    /// # Errors
    /// When a name is not one.
    pub fn make(names: &[&str]) -> Result<Self, TlsError> {
        make(names).map_err(|error| TlsError::Make(error.to_string()))
    }

    /// As a listener's certificate.
    pub fn certificate(&self) -> Certificate {
        Certificate::Pem {
            chain: self.chain_pem.clone(),
            key: self.key_pem.clone(),
        }
    }
}

fn make(names: &[&str]) -> Result<DevCertificate, rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name
        .push(DnType::CommonName, "PipeOps development CA");
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate()?;
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut server = CertificateParams::new(names)?;
    server
        .distinguished_name
        .push(DnType::CommonName, "PipeOps gateway");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let certificate = server.signed_by(&key, &issuer)?;
    Ok(DevCertificate {
        ca_pem: ca_certificate.pem(),
        chain_pem: certificate.pem(),
        key_pem: key.serialize_pem().into(),
    })
}

/// The files of a development certificate.
#[derive(Debug, Clone)]
pub struct DevFiles {
    /// The CA's certificate.
    pub ca: PathBuf,
    /// The server's certificate.
    pub chain: PathBuf,
    /// Its key, mode 0600.
    pub key: PathBuf,
}

impl DevFiles {
    /// The files in this directory: those that are there, or else new ones for these names.
    ///
    /// # Errors
    /// When a certificate cannot be made or written.
    pub fn in_directory(directory: &Path, names: &[&str]) -> Result<Self, TlsError> {
        let files = Self {
            ca: directory.join("ca.crt"),
            chain: directory.join("tls.crt"),
            key: directory.join("tls.key"),
        };
        let all = [&files.ca, &files.chain, &files.key];
        if all.iter().all(|path| path.exists()) {
            return Ok(files);
        }
        let made = DevCertificate::make(names)?;
        fs::create_dir_all(directory).map_err(|source| TlsError::Write {
            path: directory.to_owned(),
            source,
        })?;
        // The certificate that everybody checks comes last: it marks the set as whole.
        write(&files.key, made.key_pem.expose_secret(), 0o600)?;
        write(&files.chain, &made.chain_pem, 0o644)?;
        write(&files.ca, &made.ca_pem, 0o644)?;
        Ok(files)
    }
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let failed = |source| TlsError::Write {
        path: path.to_owned(),
        source,
    };
    if path.exists() {
        fs::remove_file(path).map_err(failed)?;
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(failed)
}
