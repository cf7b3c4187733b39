//! What a configuration is made of: certificates and keys, as text or in files.
//!
//! Files are read together, into [`Files`], before anything is made of them, so that a configuration is made of what
//! was there at one moment and changes are seen by comparing two such moments.

use core::fmt;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::provider;

/// PEM, or where it is.
#[derive(Clone, PartialEq, Eq)]
enum Source {
    Text(Vec<u8>),
    File(PathBuf),
}

impl Source {
    fn path(&self) -> Option<&Path> {
        match self {
            Self::Text(_) => None,
            Self::File(path) => Some(path),
        }
    }

    fn text<'a>(&'a self, files: &'a Files) -> Result<&'a [u8], TlsConfigError> {
        match self {
            Self::Text(text) => Ok(text),
            Self::File(path) => files.get(path),
        }
    }

    /// An error about what is in here.
    fn error(&self, what: impl fmt::Display) -> TlsConfigError {
        match self {
            Self::Text(_) => TlsConfigError::new(what.to_string()),
            Self::File(path) => TlsConfigError::new(format!("{}: {what}", path.display())),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // It may be a key, which stays out of logs.
            Self::Text(text) => write!(f, "{} octets of PEM", text.len()),
            Self::File(path) => path.fmt(f),
        }
    }
}

/// One or more X.509 certificates, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    source: Source,
}

impl Certificate {
    /// Keeps the text; it is read when a configuration is made of it.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Self {
        Self { source: Source::Text(pem.as_ref().to_owned()) }
    }

    /// The certificates in a file, which is read when a configuration is made of it, and again when it changes: see
    /// [`Reload`](super::Reload).
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self { source: Source::File(path.into()) }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.source.path()
    }

    pub(super) fn read(&self, files: &Files) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.source.text(files)?).collect();
        match read {
            Ok(certificates) if certificates.is_empty() => {
                Err(self.source.error("there is no certificate in the PEM text"))
            }
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(self.source.error(format_args!("bad certificate: {error}"))),
        }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:?})", self.source)
    }
}

/// A certificate chain and its private key, in PEM: who a side says it is, and the proof.
#[derive(Clone)]
pub struct Identity {
    chain: Certificate,
    key: Source,
}

impl Identity {
    /// The chain begins with the side's own certificate; the key is PKCS #8, PKCS #1 (RSA) or SEC1 (EC). Both are read when
    /// a configuration is made of them.
    pub fn from_pem(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        Self { chain: Certificate::from_pem(chain), key: Source::Text(key.as_ref().to_owned()) }
    }

    /// As [`Identity::from_pem`], from two files, which are read when a configuration is made of them, and again when they
    /// change: see [`Reload`](super::Reload).
    pub fn from_files(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { chain: Certificate::from_file(chain), key: Source::File(key.into()) }
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.chain.path().into_iter().chain(self.key.path())
    }

    /// The chain and its key, if they belong together.
    pub(super) fn certified(&self, files: &Files) -> Result<Arc<CertifiedKey>, TlsConfigError> {
        let key = PrivateKeyDer::from_pem_slice(self.key.text(files)?)
            .map_err(|error| self.key.error(format_args!("bad private key: {error}")))?;
        let certified = CertifiedKey::from_der(self.chain.read(files)?, key, &provider());
        certified.map(Arc::new).map_err(|error| {
            self.chain.source.error(match error {
                rustls::Error::InconsistentKeys(_) => {
                    Cow::Borrowed("the private key is not this certificate's")
                }
                other => Cow::Owned(other.to_string()),
            })
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("chain", &self.chain).field("key", &self.key).finish()
    }
}

/// What was in the files of a configuration at one moment.
#[derive(Default)]
pub(super) struct Files(BTreeMap<PathBuf, Vec<u8>>);

impl Files {
    /// Reads all of them.
    pub(super) fn read<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<Self, TlsConfigError> {
        let mut files = BTreeMap::new();
        for path in paths {
            let content = std::fs::read(path)
                .map_err(|error| TlsConfigError::new(format!("cannot read {}: {error}", path.display())))?;
            files.insert(path.to_owned(), content);
        }
        Ok(Self(files))
    }

    fn get(&self, path: &Path) -> Result<&[u8], TlsConfigError> {
        let missing = || TlsConfigError::new(format!("{} was not read", path.display()));
        self.0.get(path).map(Vec::as_slice).ok_or_else(missing)
    }

    /// A short stand-in for the content, which may be secret.
    pub(super) fn digest(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for content in self.0.values() {
            all.extend_from_slice(&super::sha256(content));
        }
        all
    }
}

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfigError(String);

impl TlsConfigError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for TlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TLS: {}", self.0)
    }
}

impl std::error::Error for TlsConfigError {}

impl From<rustls::Error> for TlsConfigError {
    fn from(error: rustls::Error) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_without_content_is_an_error() {
        let files = Files::default();
        for pem in ["", "no pem at all"] {
            let error = Certificate::from_pem(pem).read(&files).unwrap_err().to_string();
            assert!(error.contains("no certificate"), "{error}");
            let error = Identity::from_pem(pem, pem).certified(&files).unwrap_err().to_string();
            assert!(error.contains("bad private key"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Files::read([Path::new("/no/such/file")]).err().unwrap().to_string();
        assert!(error.contains("/no/such/file"), "{error}");
    }

    #[test]
    fn keys_stay_out_of_logs() {
        let identity = Identity::from_pem("chain", "SECRET");
        assert!(!format!("{identity:?}").contains("SECRET"));
    }
}
