//! The server's configuration: what it presents, whom it asks for a certificate, and how long and how many handshakes may
//! take.

use core::fmt;
use core::time::Duration;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::{KeyLog, RootCertStore, ServerConfig};

use super::identity::PeerIdentity;
use super::key_log::KeyLogTo;
use super::material::Files;
use super::names::ByName;
use super::reload::{Live, Made, Reload, Term};
use super::roots;
use super::verify::{Check, Checked};
use super::version::{TlsVersion, Versions};
use super::{ALPN_H2, Certificate, Identity, TlsConfigError, provider};

/// What a server presents and asks for. Names follow tonic's.
#[derive(Clone)]
pub struct ServerTlsConfig {
    identity: Option<Identity>,
    named: Vec<(String, Identity)>,
    client_auth: ClientAuth,
    /// What else a client must be.
    check: Option<Check>,
    pub(super) timeout: Duration,
    pub(super) max_handshakes: usize,
    versions: Versions,
    key_log: KeyLogTo,
    reload: Option<Reload>,
}

/// What is in use.
pub(super) struct Serving {
    pub(super) config: Arc<ServerConfig>,
    /// Of clients' certificates.
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
}

/// Whether clients must show a certificate, and whose.
#[derive(Clone, Debug)]
enum ClientAuth {
    /// They are not asked.
    Unasked,
    /// They must have one that one of these signed.
    Required(Vec<Certificate>),
    /// If they have one, one of these must have signed it.
    Optional(Vec<Certificate>),
    /// This verifier decides.
    Verifier(Arc<dyn ClientCertVerifier>),
}

impl Default for ServerTlsConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ServerTlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTlsConfig")
            .field("identity", &self.identity)
            .field("named", &self.named)
            .field("client_auth", &self.client_auth)
            .field("timeout", &self.timeout)
            .field("max_handshakes", &self.max_handshakes)
            .field("versions", &self.versions)
            .finish_non_exhaustive()
    }
}

impl ServerTlsConfig {
    /// The default of [`ServerTlsConfig::timeout`].
    pub const TIMEOUT: Duration = Duration::from_secs(10);
    /// The default of [`ServerTlsConfig::max_handshakes`].
    pub const MAX_HANDSHAKES: usize = 1024;

    /// Nothing chosen yet. [`ServerTlsConfig::identity`] must be, or an identity for a name.
    #[must_use]
    pub fn new() -> Self {
        Self {
            identity: None,
            named: Vec::new(),
            client_auth: ClientAuth::Unasked,
            check: None,
            timeout: Self::TIMEOUT,
            max_handshakes: Self::MAX_HANDSHAKES,
            versions: Versions::ALL,
            key_log: KeyLogTo::Nowhere,
            reload: None,
        }
    }

    /// The certificate chain the server presents, and its key.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// What the server presents to clients that ask for this name (SNI, RFC 6066 §3); `*.example.org` stands for every name with
    /// one label more. May be called for several. Others get [`ServerTlsConfig::identity`]'s; without it they are refused.
    #[must_use]
    pub fn identity_for(mut self, name: impl Into<String>, identity: Identity) -> Self {
        self.named.push((name.into(), identity));
        self
    }

    /// Asks clients for a certificate and refuses those without one that this authority signed. May be called for several.
    #[must_use]
    pub fn client_ca_root(mut self, authority: Certificate) -> Self {
        match &mut self.client_auth {
            ClientAuth::Required(roots) | ClientAuth::Optional(roots) => roots.push(authority),
            other => *other = ClientAuth::Required(vec![authority]),
        }
        self
    }

    /// Whether clients without a certificate are served all the same. Default: false. It changes nothing without
    /// [`ServerTlsConfig::client_ca_root`], which must be called before it.
    #[must_use]
    pub fn client_auth_optional(mut self, optional: bool) -> Self {
        self.client_auth = match self.client_auth {
            ClientAuth::Required(roots) | ClientAuth::Optional(roots) if optional => {
                ClientAuth::Optional(roots)
            }
            ClientAuth::Required(roots) | ClientAuth::Optional(roots) => ClientAuth::Required(roots),
            other => other,
        };
        self
    }

    /// Asks clients for a certificate, and this verifier alone decides: also whether they must have one. Roots chosen later
    /// undo it.
    ///
    /// It is a trait of rustls's ([`rustls`](super::rustls)): a certificate that is wrongly accepted lets anybody in. For a rule on
    /// top of the usual ones, [`check_client`](Self::check_client) is enough.
    #[must_use]
    pub fn client_verifier(mut self, verifier: Arc<dyn ClientCertVerifier>) -> Self {
        self.client_auth = ClientAuth::Verifier(verifier);
        self
    }

    /// Accepts a client's certificate only if `check` does, too, after it was found good; clients without one are not
    /// asked about. Calls of clients that pass can tell them apart by `Request::peer_identity`. A session that is resumed is checked
    /// again.
    #[must_use]
    pub fn check_client(
        mut self,
        check: impl Fn(&PeerIdentity) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Arc::new(check));
        self
    }

    /// How long a handshake may take. Default: [`ServerTlsConfig::TIMEOUT`].
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many handshakes may be under way at once; at least 1. One more ends the oldest of them, which is the least
    /// likely to be honest. Default: [`ServerTlsConfig::MAX_HANDSHAKES`].
    #[must_use]
    pub const fn max_handshakes(mut self, handshakes: usize) -> Self {
        self.max_handshakes = handshakes;
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

    /// Puts the configuration to use.
    pub(super) fn live(&self) -> Result<Arc<Live<Serving>>, TlsConfigError> {
        let this = self.clone();
        let key_log = self.key_log.open()?;
        let paths = self.paths().map(Path::to_owned).collect();
        Live::new(
            paths,
            &self.reload.clone().unwrap_or_default(),
            Box::new(move |files| this.make(files, key_log.as_ref())),
        )
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let roots = match &self.client_auth {
            ClientAuth::Required(roots) | ClientAuth::Optional(roots) => roots.as_slice(),
            ClientAuth::Unasked | ClientAuth::Verifier(_) => &[],
        };
        let identities = self.identity.iter().chain(self.named.iter().map(|(_, identity)| identity));
        identities.flat_map(Identity::paths).chain(roots.iter().filter_map(Certificate::path))
    }

    fn make(
        &self,
        files: &Files,
        key_log: Option<&Arc<dyn KeyLog>>,
    ) -> Result<Made<Serving>, TlsConfigError> {
        let default = self.identity.as_ref().map(|identity| identity.certified(files)).transpose()?;
        if default.is_none() && self.named.is_empty() {
            return Err(TlsConfigError::new("a server needs a certificate: ServerTlsConfig::identity"));
        }
        let mut all: Vec<_> = default.iter().map(Arc::clone).collect();
        let mut names = ByName::new(default);
        for (name, identity) in &self.named {
            let certified = identity.certified(files)?;
            all.push(Arc::clone(&certified));
            names.insert(name, certified)?;
        }
        let verifier = self.client_verifier_of(files)?;
        let versions = self.versions.supported()?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&versions)?
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_cert_resolver(Arc::new(names));
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        // What a client needs to resume is with the client, sealed by keys that change every six hours; a server holds nothing
        // for clients that never come back. Connections of gRPC are few and long: one ticket is enough.
        config.ticketer = Ticketer::new()?;
        config.send_tls13_tickets = 1;
        if let Some(key_log) = key_log {
            config.key_log = Arc::clone(key_log);
        }
        Ok(Made { config: Serving { config: Arc::new(config), verifier }, term: Term::of(&all) })
    }

    fn client_verifier_of(&self, files: &Files) -> Result<Arc<dyn ClientCertVerifier>, TlsConfigError> {
        let (roots, optional) = match &self.client_auth {
            ClientAuth::Unasked => return Ok(Arc::new(NoClientAuth)),
            ClientAuth::Required(roots) => (roots, false),
            ClientAuth::Optional(roots) => (roots, true),
            ClientAuth::Verifier(verifier) => return Ok(self.checked(Arc::clone(verifier))),
        };
        let mut store = RootCertStore::empty();
        roots.iter().try_for_each(|root| roots::add(&mut store, root, files))?;
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider());
        let builder = if optional { builder.allow_unauthenticated() } else { builder };
        builder
            .build()
            .map(|verifier| self.checked(verifier))
            .map_err(|error| TlsConfigError::new(error.to_string()))
    }

    fn checked(&self, verifier: Arc<dyn ClientCertVerifier>) -> Arc<dyn ClientCertVerifier> {
        match &self.check {
            None => verifier,
            Some(check) => Arc::new(Checked { inner: verifier, check: Arc::clone(check) }),
        }
    }
}
