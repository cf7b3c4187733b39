//! TLS of a server: its configuration, and what becomes of handshakes that fail.
//!
//! A connection that fails in its handshake never becomes one: it is counted by the name of its failure
//! ([`ServerCounters::handshake_failures`]), and told to whoever asked ([`Server::on_handshake_failure`]).
//!
//! [`ServerCounters::handshake_failures`]: super::super::ServerCounters::handshake_failures

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use clearway_transport::tls::{Reload, ServerTlsConfig, TlsAcceptor};
use clearway_transport::{PeerAddr, TlsError};

use super::super::Server;
use crate::Error;
use crate::tls_reload::told_to_tracing;

/// A TLS handshake of a server that came to nothing. Its `Display` is one line for a log, which says what to change.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HandshakeFailure {
    /// Who was at the other end.
    pub peer: PeerAddr,
    /// How long it took.
    pub after: Duration,
    /// Why.
    pub error: TlsError,
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no TLS connection with {} (after {:.1?}): {}", self.peer, self.after, self.error)
    }
}

/// Who is told of each failure.
pub(in crate::server) type FailureReport = Arc<dyn Fn(&HandshakeFailure) + Send + Sync>;

/// What a server knows of TLS.
#[derive(Clone)]
pub(in crate::server) struct Tls {
    pub(in crate::server) acceptor: TlsAcceptor,
}

impl Server {
    /// Speaks TLS, and HTTP/2 must be agreed on by ALPN: clients that offer nothing of the kind are refused.
    ///
    /// Handshakes run beside the accept loop and each other, with a limit of time and number
    /// ([`ServerTlsConfig::timeout`], [`ServerTlsConfig::max_handshakes`]); see [`Server::on_handshake_failure`] for those that
    /// fail. It does not apply to [`Router::in_process`](crate::transport::Router::in_process).
    ///
    /// Files ([`Identity::from_files`](crate::transport::Identity::from_files)) are read again when they change; unless the
    /// configuration has a [`Reload`] of its own that tells somebody, what happens to them goes to `tracing`.
    ///
    /// # Errors
    /// There is no certificate, something cannot be read, or a key is not its certificate's.
    ///
    /// ```no_run
    /// use clearway::transport::{Identity, Server, ServerTlsConfig};
    ///
    /// # fn server() -> Result<Server, clearway::Error> {
    /// let identity = Identity::from_files("/etc/tls/tls.crt", "/etc/tls/tls.key");
    /// let server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity))?;
    /// # Ok(server) }
    /// ```
    pub fn tls_config(mut self, config: ServerTlsConfig) -> Result<Self, Error> {
        let config = config.or_reload(|| told_to_tracing(Reload::default()));
        self.tls = Some(Tls { acceptor: TlsAcceptor::new(&config)? });
        Ok(self)
    }

    /// Calls `report` for every TLS handshake that fails, on its task: it must return quickly. Each is counted as well; without
    /// a report nothing is written anywhere, since anybody who can connect can cause one.
    ///
    /// ```
    /// use clearway::transport::Server;
    ///
    /// let server = Server::builder().on_handshake_failure(|failure| {
    ///     // no TLS connection with 192.0.2.7:50100 (after 1.2ms): the client speaks cleartext HTTP/2 and this port is TLS: ..
    ///     eprintln!("{failure}");
    /// });
    /// # drop(server);
    /// ```
    #[must_use]
    pub fn on_handshake_failure(
        mut self,
        report: impl Fn(&HandshakeFailure) + Send + Sync + 'static,
    ) -> Self {
        self.handshake_report = Some(Arc::new(report));
        self
    }
}
