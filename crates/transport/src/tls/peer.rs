//! What a TLS connection agreed on, and who is at its other end.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::{Connection, HandshakeKind, ProtocolVersion};

use super::identity::{IdentityError, PeerIdentity};
use super::version::TlsVersion;

/// What a TLS connection agreed on. Kept once for each connection; the peer's certificate is parsed when somebody asks.
#[derive(Debug)]
pub struct TlsPeer {
    version: TlsVersion,
    cipher_suite: Option<&'static str>,
    server_name: Option<String>,
    resumed: bool,
    certificates: Option<Arc<Vec<CertificateDer<'static>>>>,
    identity: OnceLock<Result<PeerIdentity, IdentityError>>,
}

impl TlsPeer {
    pub(super) fn of(session: &Connection) -> Self {
        let server_name = match session {
            Connection::Server(session) => session.server_name().map(ToOwned::to_owned),
            Connection::Client(_) => None,
        };
        Self {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => TlsVersion::V1_2,
                // The only other one there is.
                _ => TlsVersion::V1_3,
            },
            cipher_suite: session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()),
            server_name,
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            certificates: session
                .peer_certificates()
                .filter(|chain| !chain.is_empty())
                .map(|chain| Arc::new(chain.iter().map(|one| one.clone().into_owned()).collect())),
            identity: OnceLock::new(),
        }
    }

    /// The version spoken.
    #[must_use]
    pub const fn version(&self) -> TlsVersion {
        self.version
    }

    /// The cipher suite's name in IANA's list.
    #[must_use]
    pub const fn cipher_suite(&self) -> Option<&'static str> {
        self.cipher_suite
    }

    /// Server: the name the client asked for (SNI).
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// True if the session of an earlier connection was resumed: certificates are those of that one.
    #[must_use]
    pub const fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// The chain the peer showed, its own certificate first; it was verified. None if it showed none.
    #[must_use]
    pub const fn certificates(&self) -> Option<&Arc<Vec<CertificateDer<'static>>>> {
        self.certificates.as_ref()
    }

    /// Who the peer is, by its certificate; None if it showed none.
    ///
    /// # Errors
    /// The certificate cannot be read, although a verifier accepted it.
    pub fn identity(&self) -> Option<Result<&PeerIdentity, &IdentityError>> {
        let own = self.certificates.as_ref()?.first()?;
        Some(self.identity.get_or_init(|| PeerIdentity::parse(own)).as_ref())
    }
}
