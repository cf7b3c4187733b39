//! The client's handshakes.

use core::fmt;
use std::sync::Arc;

use clearway_http2::Role;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};

use super::failure::Notes;
use super::reload::Live;
use super::stream::TlsStream;
use super::{ClientTlsConfig, TlsConfigError, TlsError, TlsFailure};

/// What a client shows when it is asked who it is. It notes that it was.
#[derive(Debug)]
pub(super) struct Shows(pub(super) Option<Arc<CertifiedKey>>);

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
    config: Arc<Live<ClientConfig>>,
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
        let domain_name = config.server_name().map(server_name).transpose()?;
        Ok(Self { config: config.live()?, domain_name })
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
        let session = ClientConnection::new(self.config.current(), name);
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
