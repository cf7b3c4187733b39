//! TLS (RFC 8446, RFC 5246) for HTTP/2: configuration for both sides, handshakes with an end, and the stream the driver reads
//! and writes.
//!
//! rustls does the cryptography, with aws-lc-rs chosen here and nowhere else: a program that also uses another provider of
//! rustls changes nothing for us. TLS 1.2 and 1.3. ALPN must agree on `h2`, on both sides (RFC 9113 §3.3): a peer that
//! does not is refused with [`TlsError::NoHttp2`] instead of being sent frames it cannot read.
//!
//! A client has no roots but those that were chosen: a configuration without any is an error, never an empty store.
//!
//! Left out, for the issue that brings them: reloading certificates, verifiers of the user's own, and the peer's identity
//! for handlers.

mod admission;
mod client;
mod server;
mod stream;

use core::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub use client::{ClientTlsConfig, TlsConnector};
pub use server::{ServerTlsConfig, TlsAcceptor};
pub use stream::TlsStream;

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

/// Why a handshake came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// The first octets are not TLS's.
    NotTls(Instead),
    /// The peer speaks TLS, but ALPN did not agree on `h2`.
    NoHttp2,
    /// The peer's certificate is not trusted, not in force, or not for the name that was asked for; or there is none.
    Certificate(String),
    /// The peer refused with this alert.
    Alert(String),
    /// The peer closed, or the connection failed, before the end of the handshake.
    Lost(String),
    /// There is no version, suite or parameter that both sides have.
    Incompatible(String),
    /// The handshake took longer than its limit.
    TimedOut,
    /// A server had so many handshakes under way that this one, the oldest, had to make room.
    Crowded,
    /// The peer broke a rule of TLS.
    Protocol(String),
}

/// What a peer speaks that does not speak TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Instead {
    /// HTTP/2 in cleartext.
    Http2,
    /// HTTP/1 in cleartext.
    Http1,
    /// Something else.
    Unknown,
}

impl Instead {
    /// What the first octets of a stream that are not TLS's look like.
    fn of(first: &[u8]) -> Self {
        // A client's preface, or the header of the SETTINGS that a server begins with.
        if first.starts_with(b"PRI ") || matches!(first, [0, 0, _, 4, ..]) {
            return Self::Http2;
        }
        let methods: [&[u8]; 6] = [b"HTTP/1", b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS "];
        if methods.iter().any(|text| first.starts_with(text)) { Self::Http1 } else { Self::Unknown }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTls(Instead::Http2) => {
                f.write_str("the peer does not speak TLS here but cleartext HTTP/2")
            }
            Self::NotTls(Instead::Http1) => {
                f.write_str("the peer does not speak TLS here but cleartext HTTP/1")
            }
            Self::NotTls(Instead::Unknown) => f.write_str("what the peer speaks is not TLS"),
            Self::NoHttp2 => f.write_str("the peer speaks TLS but not HTTP/2: ALPN did not agree on h2"),
            Self::Certificate(why) => f.write_str(why),
            Self::Alert(alert) => write!(f, "the peer refused the handshake: alert {alert}"),
            Self::Lost(how) => write!(f, "{how} during the TLS handshake"),
            Self::Incompatible(what) => f.write_str(what),
            Self::TimedOut => f.write_str("the TLS handshake took too long"),
            Self::Crowded => f.write_str("too many TLS handshakes at once; the oldest made room"),
            Self::Protocol(rule) => write!(f, "the peer broke a rule of TLS: {rule}"),
        }
    }
}

impl std::error::Error for TlsError {}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        let kind = match error {
            TlsError::TimedOut => io::ErrorKind::TimedOut,
            TlsError::Lost(_) => io::ErrorKind::ConnectionAborted,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        use rustls::{AlertDescription, Error};
        match error {
            Error::NoApplicationProtocol | Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
                Self::NoHttp2
            }
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented => {
                Self::Certificate(error.to_string())
            }
            Error::AlertReceived(alert) => Self::Alert(format!("{alert:?}")),
            Error::PeerIncompatible(_) => Self::Incompatible(error.to_string()),
            other => Self::Protocol(other.to_string()),
        }
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
    fn what_is_spoken_instead_is_recognised() {
        for (first, instead) in [
            (&b"PRI * HTTP/2.0\r\n"[..], Instead::Http2),
            (b"\0\0\x12\x04\0\0\0\0\0", Instead::Http2),
            (b"HTTP/1.1 400 Bad", Instead::Http1),
            (b"GET / HTTP/1.1\r\n", Instead::Http1),
            (b"SSH-2.0", Instead::Unknown),
            (b"\0\0", Instead::Unknown),
        ] {
            assert_eq!(Instead::of(first), instead, "{first:?}");
        }
    }

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
