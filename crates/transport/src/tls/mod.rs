//! TLS (RFC 8446, RFC 5246) for HTTP/2: configuration for both sides, handshakes with an end, and the stream the driver reads
//! and writes.
//!
//! rustls does the cryptography, with aws-lc-rs chosen here and nowhere else: a program that also uses another provider of
//! rustls changes nothing for us. TLS 1.2 and 1.3. ALPN must agree on `h2`, on both sides (RFC 9113 §3.3): a peer that
//! does not is refused with [`TlsFailure::NoHttp2`] instead of being sent frames it cannot read.
//!
//! A client has no roots but those that were chosen: a configuration without any is an error, never an empty store.
//!
//! Left out, for the issue that brings them: reloading certificates, verifiers of the user's own, and the peer's identity
//! for handlers.

mod admission;
mod client;
mod failure;
mod server;
mod stream;

use core::fmt;
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

pub use client::{ClientTlsConfig, TlsConnector};
pub use server::{ServerTlsConfig, TlsAcceptor};
pub use stream::TlsStream;

pub use crate::fault::{TlsError, TlsFailure};

/// What both sides must agree on by ALPN (RFC 7301; RFC 9113 §3.2).
const ALPN_H2: &[u8] = b"h2";

/// One or more X.509 certificates, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    pem: Vec<u8>,
}

impl Certificate {
    /// Keeps the text; it is read when a configuration is made of it.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Self {
        Self { pem: pem.as_ref().to_owned() }
    }

    fn read(&self) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.pem).collect();
        match read {
            Ok(certificates) if certificates.is_empty() => {
                Err(TlsConfigError::new("there is no certificate in the PEM text"))
            }
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(TlsConfigError::new(format!("bad certificate: {error}"))),
        }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} octets of PEM)", self.pem.len())
    }
}

/// A certificate chain and its private key, in PEM: who a side says it is, and the proof.
#[derive(Clone)]
pub struct Identity {
    chain: Certificate,
    key: Vec<u8>,
}

impl Identity {
    /// The chain begins with the side's own certificate; the key is PKCS #8, PKCS #1 (RSA) or SEC1 (EC). Both are read when
    /// a configuration is made of them.
    pub fn from_pem(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        Self { chain: Certificate::from_pem(chain), key: key.as_ref().to_owned() }
    }

    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsConfigError> {
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| TlsConfigError::new(format!("bad private key: {error}")))?;
        Ok((self.chain.read()?, key))
    }
}

impl Identity {
    /// The chain and its key, if they belong together.
    fn certified(&self) -> Result<CertifiedKey, TlsConfigError> {
        let (chain, key) = self.read()?;
        Ok(CertifiedKey::from_der(chain, key, &provider())?)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out of logs.
        f.debug_struct("Identity").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfigError(String);

impl TlsConfigError {
    fn new(message: impl Into<String>) -> Self {
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

/// The one provider of cryptography.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_without_content_is_an_error() {
        for pem in ["", "no pem at all"] {
            let error = Certificate::from_pem(pem).read().unwrap_err().to_string();
            assert!(error.contains("no certificate"), "{error}");
            let error = Identity::from_pem(pem, pem).read().unwrap_err().to_string();
            assert!(error.contains("bad private key"), "{error}");
        }
    }

    #[test]
    fn keys_stay_out_of_logs() {
        let identity = Identity::from_pem("chain", "SECRET");
        assert!(!format!("{identity:?}").contains("SECRET"));
    }
}
