//! The client's configuration: whom it trusts, whom it expects, and what it presents if it is asked.

use core::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;

use super::connector::Shows;
use super::identity::PeerIdentity;
use super::key_log::KeyLogTo;
use super::material::Files;
use super::reload::{Live, Made, Reload, Term};
use super::roots::{self, Roots};
use super::verify::{AnyCertificate, Check, Checked};
use super::version::{TlsVersion, Versions};
use super::{ALPN_H2, Certificate, Identity, TlsConfigError, provider};

/// Whom a client trusts and what it presents. Names follow tonic's.
///
/// Roots must be chosen: [`ca_certificate`](Self::ca_certificate), or one of the sets that cargo features bring.
#[derive(Clone)]
pub struct ClientTlsConfig {
    domain_name: Option<String>,
    trust: Trust,
    check: Option<Check>,
    identity: Option<Identity>,
    versions: Versions,
    key_log: KeyLogTo,
    reload: Option<Reload>,
}

#[derive(Clone, Debug)]
enum Trust {
    Roots(Vec<Roots>),
    /// Whoever it is.
    Anybody,
    /// Whom this verifier accepts.
    Verifier(Arc<dyn ServerCertVerifier>),
}

impl Default for ClientTlsConfig {
    fn default() -> Self {
        Self {
            domain_name: None,
            trust: Trust::Roots(Vec::new()),
            check: None,
            identity: None,
            versions: Versions::ALL,
            key_log: KeyLogTo::Nowhere,
            reload: None,
        }
    }
}

impl fmt::Debug for ClientTlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTlsConfig")
            .field("domain_name", &self.domain_name)
            .field("trust", &self.trust)
            .field("identity", &self.identity)
            .field("versions", &self.versions)
            .finish_non_exhaustive()
    }
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
            other => *other = Trust::Roots(vec![more]),
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

    /// Trusts whom this verifier accepts; it alone decides, and no roots are needed. Roots chosen later undo it.
    ///
    /// It is a trait of rustls's ([`rustls`](super::rustls)): a certificate that is wrongly accepted makes everything else of TLS
    /// worthless. For a rule on top of the usual ones, [`check_server`](Self::check_server) is enough.
    #[must_use]
    pub fn verifier(mut self, verifier: Arc<dyn ServerCertVerifier>) -> Self {
        self.trust = Trust::Verifier(verifier);
        self
    }

    /// Accepts a server only if `check` does, too, after its certificate was found good: a SPIFFE ID, a pinned
    /// fingerprint. What it says against the server is in the error ([`TlsFailure::Unwelcome`](super::TlsFailure)).
    ///
    /// A resumed session is not checked again; it is one of a server that was.
    #[must_use]
    pub fn check_server(
        mut self,
        check: impl Fn(&PeerIdentity) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Arc::new(check));
        self
    }

    /// What this side presents if the server asks who it is.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The oldest version of TLS to speak. Default: TLS 1.2.
    #[must_use]
    pub const fn min_tls_version(mut self, version: TlsVersion) -> Self {
        self.versions.min = version;
        self
    }

    /// The newest version of TLS to speak. Default: TLS 1.3.
    #[must_use]
    pub const fn max_tls_version(mut self, version: TlsVersion) -> Self {
        self.versions.max = version;
        self
    }

    /// How files are looked after: [`Identity::from_files`] and [`Certificate::from_file`]. Default: every
    /// [`Reload::INTERVAL`], and nobody is told.
    #[must_use]
    pub fn reload(mut self, reload: Reload) -> Self {
        self.reload = Some(reload);
        self
    }

    /// The same with this [`Reload`], if none was chosen and there are files to look after.
    #[must_use]
    pub fn or_reload(mut self, make: impl FnOnce() -> Reload) -> Self {
        if self.reload.is_none() && self.paths().next().is_some() {
            self.reload = Some(make());
        }
        self
    }

    /// Writes the secrets of every connection to the file that the environment variable SSLKEYLOGFILE names, if it names one,
    /// so that Wireshark can decrypt. Off unless this is called.
    #[must_use]
    pub fn use_key_log(mut self) -> Self {
        self.key_log = KeyLogTo::Environment;
        self
    }

    /// Writes the secrets of every connection to this file, which is made for its owner alone, or added to: whoever has it can
    /// decrypt what was captured. Off unless this is called.
    #[must_use]
    pub fn key_log_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.key_log = KeyLogTo::File(path.into());
        self
    }

    pub(super) fn server_name(&self) -> Option<&str> {
        self.domain_name.as_deref()
    }

    /// Puts the configuration to use.
    pub(super) fn live(&self) -> Result<Arc<Live<ClientConfig>>, TlsConfigError> {
        let this = self.clone();
        let key_log = self.key_log.open()?;
        let paths = self.paths().map(Path::to_owned).collect();
        Live::new(
            paths,
            &self.reload.clone().unwrap_or_default(),
            Box::new(move |files| {
                let mut made = this.make(files)?;
                if let Some(key_log) = &key_log {
                    made.config.key_log = Arc::clone(key_log);
                }
                Ok(made)
            }),
        )
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let roots = match &self.trust {
            Trust::Roots(roots) => roots.as_slice(),
            Trust::Anybody | Trust::Verifier(_) => &[],
        };
        roots.iter().filter_map(Roots::path).chain(self.identity.iter().flat_map(Identity::paths))
    }

    fn make(&self, files: &Files) -> Result<Made<ClientConfig>, TlsConfigError> {
        let versions = self.versions.supported()?;
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&versions)?;
        let verifier: Arc<dyn ServerCertVerifier> = match &self.trust {
            Trust::Roots(roots) => {
                let store = Arc::new(roots::chosen(roots, files)?);
                WebPkiServerVerifier::builder_with_provider(store, provider())
                    .build()
                    .map_err(|error| TlsConfigError::new(error.to_string()))?
            }
            Trust::Anybody => Arc::new(AnyCertificate(provider())),
            Trust::Verifier(verifier) => Arc::clone(verifier),
        };
        let verifier = match &self.check {
            None => verifier,
            Some(check) => Arc::new(Checked { inner: verifier, check: Arc::clone(check) }),
        };
        let shown = self.identity.as_ref().map(|identity| identity.certified(files)).transpose()?;
        let term = Term::of(&shown);
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(Shows(shown)));
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        Ok(Made { config, term })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::TlsConnector;

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
