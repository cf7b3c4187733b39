//! The client's side: whom it trusts, whom it expects, and what it presents if it is asked.

use core::fmt;
use std::sync::Arc;

use clearway_http2::Role;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};

use super::failure::Notes;
use super::stream::TlsStream;
use super::{ALPN_H2, Certificate, Identity, TlsConfigError, TlsError, TlsFailure, provider};

/// Whom a client trusts and what it presents. Names follow tonic's.
///
/// Roots must be chosen: [`ca_certificate`](Self::ca_certificate), or one of the sets that cargo features bring.
#[derive(Clone, Debug, Default)]
pub struct ClientTlsConfig {
    domain_name: Option<String>,
    trust: Trust,
    identity: Option<Identity>,
    key_log: bool,
}

#[derive(Clone, Debug)]
enum Trust {
    Roots(Vec<Roots>),
    /// Whoever it is.
    Anybody,
}

impl Default for Trust {
    fn default() -> Self {
        Self::Roots(Vec::new())
    }
}

/// A set of roots.
#[derive(Clone, Debug)]
enum Roots {
    Pem(Certificate),
    #[cfg(feature = "tls-webpki-roots")]
    WebPki,
    #[cfg(feature = "tls-native-roots")]
    Native,
}

impl ClientTlsConfig {
    /// Nothing chosen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The name the server's certificate must be for, and the name it is asked for (SNI, RFC 6066 §3). Default: the host
    /// calls go to.
    #[must_use]
    pub fn domain_name(mut self, name: impl Into<String>) -> Self {
        self.domain_name = Some(name.into());
        self
    }

    /// Trusts servers whose certificate this authority signed. May be called for several.
    #[must_use]
    pub fn ca_certificate(self, authority: Certificate) -> Self {
        self.with_roots(Roots::Pem(authority))
    }

    /// Trusts servers whose certificate one of these authorities signed.
    #[must_use]
    pub fn ca_certificates(self, authorities: impl IntoIterator<Item = Certificate>) -> Self {
        authorities.into_iter().fold(self, Self::ca_certificate)
    }

    /// Trusts the authorities that Mozilla trusts, as they were when the crate `webpki-roots` was published.
    #[cfg(feature = "tls-webpki-roots")]
    #[must_use]
    pub fn with_webpki_roots(self) -> Self {
        self.with_roots(Roots::WebPki)
    }

    /// Trusts the authorities that this machine trusts. They are read when the configuration is put to use; if there is none,
    /// that is an error.
    #[cfg(feature = "tls-native-roots")]
    #[must_use]
    pub fn with_native_roots(self) -> Self {
        self.with_roots(Roots::Native)
    }

    fn with_roots(mut self, more: Roots) -> Self {
        match &mut self.trust {
            Trust::Roots(roots) => roots.push(more),
            anybody @ Trust::Anybody => *anybody = Trust::Roots(vec![more]),
        }
        self
    }

    /// Trusts whoever answers, with any certificate. What is sent can then be read and changed by whoever is on the way; for
    /// tests and for looking at servers, never for calls that matter. Roots chosen later undo it.
    #[must_use]
    pub fn dangerously_accept_any_certificate(mut self) -> Self {
        self.trust = Trust::Anybody;
        self
    }

    /// What this side presents if the server asks who it is.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Writes the secrets of every connection to the file that the environment variable SSLKEYLOGFILE names, if it names one,
    /// so that Wireshark can decrypt. Off unless this is called.
    #[must_use]
    pub const fn use_key_log(mut self) -> Self {
        self.key_log = true;
        self
    }

    fn build(&self) -> Result<ClientConfig, TlsConfigError> {
        let builder =
            ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match &self.trust {
            Trust::Roots(roots) => builder.with_root_certificates(store(roots)?),
            Trust::Anybody => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider())))
            }
        };
        let shown = self.identity.as_ref().map(Identity::certified).transpose()?.map(Arc::new);
        let mut config = builder.with_client_cert_resolver(Arc::new(Shows(shown)));
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        if self.key_log {
            config.key_log = Arc::new(rustls::KeyLogFile::new());
        }
        Ok(config)
    }
}

/// Invariant: a store that comes out of here is not empty.
fn store(roots: &[Roots]) -> Result<RootCertStore, TlsConfigError> {
    let mut store = RootCertStore::empty();
    for roots in roots {
        match roots {
            Roots::Pem(certificate) => {
                for certificate in certificate.read()? {
                    store.add(certificate)?;
                }
            }
            #[cfg(feature = "tls-webpki-roots")]
            Roots::WebPki => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            #[cfg(feature = "tls-native-roots")]
            Roots::Native => {
                let found = rustls_native_certs::load_native_certs();
                // A machine may have certificates that nobody can use; the others count.
                let (usable, _) = store.add_parsable_certificates(found.certs);
                if usable == 0 {
                    let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
                    return Err(TlsConfigError::new(format!("this machine has no root certificates{why}")));
                }
            }
        }
    }
    if store.is_empty() {
        return Err(TlsConfigError::new(
            "no root certificates were chosen: ClientTlsConfig::ca_certificate, or with_native_roots or \
             with_webpki_roots (cargo features tls-native-roots, tls-webpki-roots)",
        ));
    }
    Ok(store)
}

/// Checks that the peer has the key of the certificate it shows, and nothing else of it.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What a client shows when it is asked who it is. It notes that it was.
#[derive(Debug)]
struct Shows(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Notes::leave(|notes| {
            notes.asked = true;
            notes.shown = self.0.is_some();
        });
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// Turns connected streams into TLS streams. Clones share the sessions that can be resumed.
#[derive(Clone)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
    domain_name: Option<ServerName<'static>>,
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnector").field("domain_name", &self.domain_name).finish_non_exhaustive()
    }
}

impl TlsConnector {
    /// A connector for a configuration.
    ///
    /// # Errors
    /// No roots were chosen, or something chosen cannot be read.
    pub fn new(config: &ClientTlsConfig) -> Result<Self, TlsConfigError> {
        let domain_name = config.domain_name.as_deref().map(server_name).transpose()?;
        Ok(Self { config: Arc::new(config.build()?), domain_name })
    }

    /// Says whether a server can be asked for by this name; [`ClientTlsConfig::domain_name`] comes before it.
    ///
    /// # Errors
    /// It is neither a DNS name nor an IP address.
    pub fn check_host(&self, host: &str) -> Result<(), TlsConfigError> {
        self.name(host).map(drop)
    }

    fn name(&self, host: &str) -> Result<ServerName<'static>, TlsConfigError> {
        self.domain_name.clone().map_or_else(|| server_name(host), Ok)
    }

    /// Shakes hands with a server that is to be `host`, unless [`ClientTlsConfig::domain_name`] says otherwise. There is no limit
    /// of time in it.
    ///
    /// # Errors
    /// [`TlsError`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn connect<Io>(&self, io: Io, host: &str) -> Result<TlsStream<Io>, TlsError>
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        let cannot = |why: String| TlsError::new(Role::Client, TlsFailure::Config, why);
        let name = self.name(host).map_err(|error| cannot(error.to_string()))?;
        let session = ClientConnection::new(Arc::clone(&self.config), name);
        let session = session.map_err(|error| cannot(error.to_string()))?;
        let mut tls = TlsStream::new(io, session.into());
        tls.shake_hands().await?;
        Ok(tls)
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsConfigError> {
    // An IPv6 address stands in brackets where a port may follow.
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    ServerName::try_from(bare.to_owned())
        .map_err(|_| TlsConfigError::new(format!("{name:?} is neither a DNS name nor an IP address")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_roots_is_refused() {
        let error = TlsConnector::new(&ClientTlsConfig::new()).unwrap_err().to_string();
        assert!(error.contains("no root certificates were chosen"), "{error}");
        let anybody = ClientTlsConfig::new().dangerously_accept_any_certificate();
        assert!(TlsConnector::new(&anybody).is_ok());
        let undone = anybody.ca_certificate(Certificate::from_pem(""));
        assert!(TlsConnector::new(&undone).is_err());
    }

    #[cfg(feature = "tls-webpki-roots")]
    #[test]
    fn mozillas_roots_are_enough() {
        assert!(TlsConnector::new(&ClientTlsConfig::new().with_webpki_roots()).is_ok());
    }

    #[cfg(feature = "tls-native-roots")]
    #[test]
    fn a_machine_without_roots_says_so() {
        // Whether this machine has any is not for a test to say; never is there a store without one.
        if let Err(error) = TlsConnector::new(&ClientTlsConfig::new().with_native_roots()) {
            assert!(error.to_string().contains("no root certificates"), "{error}");
        }
    }

    #[test]
    fn names_are_checked_before_anybody_is_called() {
        let named =
            |name: &str| ClientTlsConfig::new().dangerously_accept_any_certificate().domain_name(name);
        for good in ["localhost", "a.example", "127.0.0.1", "::1", "[::1]"] {
            assert!(TlsConnector::new(&named(good)).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a:1"] {
            assert!(TlsConnector::new(&named(bad)).is_err(), "{bad}");
        }
    }
}
