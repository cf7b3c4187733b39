//! TLS (RFC 8446, RFC 5246) for HTTP/2: configuration for both sides, handshakes with an end, and the stream the driver reads
//! and writes.
//!
//! rustls does the cryptography, with aws-lc-rs chosen here and nowhere else: a program that also uses another provider of
//! rustls changes nothing for us. TLS 1.2 and 1.3. ALPN must agree on `h2`, on both sides (RFC 9113 §3.3): a peer that
//! does not is refused with [`TlsFailure::NoHttp2`] instead of being sent frames it cannot read.
//!
//! A client has no roots but those that were chosen: a configuration without any is an error, never an empty store.
//!
//! [`ClientTlsConfig`] and [`ServerTlsConfig`] say what there is to choose, [`TlsConnector`] and [`TlsAcceptor`] shake hands;
//! [`Reload`] keeps a configuration in step with its files.
//!
//! Left out: revocation lists, early data (0-RTT, which can be replayed), and compressed certificates.

mod acceptor;
mod admission;
mod client;
mod connector;
mod failure;
mod identity;
mod key_log;
mod material;
mod names;
mod peer;
mod reload;
mod roots;
mod server;
mod stream;
mod verify;
mod version;

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

pub use rustls;
pub use rustls::pki_types::CertificateDer;

pub use acceptor::TlsAcceptor;
pub use client::ClientTlsConfig;
pub use connector::TlsConnector;
pub use identity::{IdentityError, PeerIdentity};
pub use material::{Certificate, Identity, TlsConfigError};
pub use peer::TlsPeer;
pub use reload::{Reload, ReloadEvent, ReloadOutcome};
pub use server::ServerTlsConfig;
pub use stream::TlsStream;
pub use version::TlsVersion;

pub use crate::fault::{TlsError, TlsFailure};

/// What both sides must agree on by ALPN (RFC 7301; RFC 9113 §3.2).
const ALPN_H2: &[u8] = b"h2";

/// The one provider of cryptography.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

/// SHA-256, by the provider.
fn sha256(octets: &[u8]) -> [u8; 32] {
    // This suite hashes with it, as its name says.
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13();
    let hash = suite.map(|suite| suite.common.hash_provider.hash(octets));
    hash.and_then(|hash| hash.as_ref().try_into().ok()).unwrap_or_default()
}
