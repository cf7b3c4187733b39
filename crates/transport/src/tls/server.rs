//! The server's side: what it presents, whom it asks for a certificate, and how long and how many handshakes may take.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::sync::Arc;

use clearway_http2::Role;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use super::admission::Admission;
use super::stream::TlsStream;
use super::{ALPN_H2, Certificate, Identity, TlsConfigError, TlsError, TlsFailure, provider};
use crate::stream::Stream;

/// What a server presents and asks for. Names follow tonic's.
#[derive(Clone, Debug)]
pub struct ServerTlsConfig {
    identity: Option<Identity>,
    client_auth: ClientAuth,
    timeout: Duration,
    max_handshakes: usize,
    key_log: bool,
}

/// Whether clients must show a certificate.
#[derive(Clone, Debug)]
enum ClientAuth {
    /// They are not asked.
    Unasked,
    /// They must have one that one of these signed.
    Required(Vec<Certificate>),
    /// If they have one, one of these must have signed it.
    Optional(Vec<Certificate>),
}

impl Default for ServerTlsConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerTlsConfig {
    /// The default of [`ServerTlsConfig::timeout`].
    pub const TIMEOUT: Duration = Duration::from_secs(10);
    /// The default of [`ServerTlsConfig::max_handshakes`].
    pub const MAX_HANDSHAKES: usize = 1024;

    /// Nothing chosen yet. [`ServerTlsConfig::identity`] must be.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            identity: None,
            client_auth: ClientAuth::Unasked,
            timeout: Self::TIMEOUT,
            max_handshakes: Self::MAX_HANDSHAKES,
            key_log: false,
        }
    }

    /// The certificate chain the server presents, and its key.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Asks clients for a certificate and refuses those without one that this authority signed. May be called for several.
    #[must_use]
    pub fn client_ca_root(mut self, authority: Certificate) -> Self {
        match &mut self.client_auth {
            ClientAuth::Required(roots) | ClientAuth::Optional(roots) => roots.push(authority),
            unasked @ ClientAuth::Unasked => *unasked = ClientAuth::Required(vec![authority]),
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
            ClientAuth::Unasked => ClientAuth::Unasked,
        };
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

    /// Writes the secrets of every connection to the file that the environment variable SSLKEYLOGFILE names, if it names one,
    /// so that Wireshark can decrypt. Off unless this is called.
    #[must_use]
    pub const fn use_key_log(mut self) -> Self {
        self.key_log = true;
        self
    }

    fn build(&self) -> Result<ServerConfig, TlsConfigError> {
        let Some(identity) = &self.identity else {
            return Err(TlsConfigError::new("a server needs a certificate: ServerTlsConfig::identity"));
        };
        let (chain, key) = identity.read()?;
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match &self.client_auth {
            ClientAuth::Unasked => builder.with_no_client_auth(),
            ClientAuth::Required(roots) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(store(roots)?, provider())
                    .build()
                    .map_err(|error| TlsConfigError::new(error.to_string()))?,
            ),
            ClientAuth::Optional(roots) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(store(roots)?, provider())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| TlsConfigError::new(error.to_string()))?,
            ),
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        if self.key_log {
            config.key_log = Arc::new(rustls::KeyLogFile::new());
        }
        Ok(config)
    }
}

fn store(roots: &[Certificate]) -> Result<Arc<RootCertStore>, TlsConfigError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        for certificate in root.read()? {
            store.add(certificate)?;
        }
    }
    Ok(Arc::new(store))
}

/// Turns accepted connections into TLS streams. Clones share the count of handshakes under way.
#[derive(Clone, Debug)]
pub struct TlsAcceptor {
    config: Arc<ServerConfig>,
    timeout: Duration,
    admission: Arc<Admission>,
}

impl TlsAcceptor {
    /// An acceptor for a configuration.
    ///
    /// # Errors
    /// There is no identity, it cannot be read, or its key is not its certificate's.
    pub fn new(config: &ServerTlsConfig) -> Result<Self, TlsConfigError> {
        Ok(Self {
            config: Arc::new(config.build()?),
            timeout: config.timeout,
            admission: Arc::new(Admission::new(config.max_handshakes)),
        })
    }

    /// Shakes hands. To be awaited in a task of the connection's own: a peer may take its time, up to the limit.
    ///
    /// # Errors
    /// [`TlsError`]; by then the peer was told with an alert, if it was there to hear it.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn accept(&self, stream: Stream) -> Result<Stream, TlsError> {
        let mut ticket = self.admission.enter();
        let failed = |failure| TlsError::new(Role::Server, failure, "");
        let session = ServerConnection::new(Arc::clone(&self.config))
            .map_err(|error| TlsError { detail: error.to_string(), ..failed(TlsFailure::Config) })?;
        let mut tls = TlsStream::new(stream, session.into());
        let handshake = async {
            let outcome = tls.shake_hands().await;
            if outcome.is_err() {
                tls.bow_out().await;
            }
            outcome
        };
        let outcome = {
            let mut handshake = pin!(tokio::time::timeout(self.timeout, handshake));
            poll_fn(|cx| {
                if pin!(&mut ticket.evicted).poll(cx).is_ready() {
                    return Poll::Ready(Err(failed(TlsFailure::Crowded)));
                }
                handshake.as_mut().poll(cx).map(|timed| timed.unwrap_or(Err(failed(TlsFailure::TimedOut))))
            })
            .await
        };
        outcome.map(|()| Stream::Tls(Box::new(tls)))
    }
}
