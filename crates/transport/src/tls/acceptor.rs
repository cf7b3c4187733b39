//! The server's handshakes: each with a limit of time, and a limit on their number.

use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::sync::Arc;

use clearway_http2::Role;
use rustls::ServerConnection;

use super::admission::Admission;
use super::reload::Live;
use super::server::Serving;
use super::stream::TlsStream;
use super::{ServerTlsConfig, TlsConfigError, TlsError, TlsFailure};
use crate::stream::Stream;

/// Turns accepted connections into TLS streams. Clones share the count of handshakes under way.
#[derive(Clone)]
pub struct TlsAcceptor {
    config: Arc<Live<Serving>>,
    timeout: Duration,
    admission: Arc<Admission>,
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl TlsAcceptor {
    /// An acceptor for a configuration.
    ///
    /// # Errors
    /// There is no identity, it cannot be read, or its key is not its certificate's.
    pub fn new(config: &ServerTlsConfig) -> Result<Self, TlsConfigError> {
        Ok(Self {
            config: config.live()?,
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
        let serving = self.config.current();
        let session = ServerConnection::new(Arc::clone(&serving.config))
            .map_err(|error| TlsError { detail: error.to_string(), ..failed(TlsFailure::Config) })?;
        let mut tls = TlsStream::new(stream, session.into());
        let handshake = async {
            // Also of a session that is resumed: a ticket outlives a certificate, or a user's mind.
            let outcome = tls.shake_hands().await.and_then(|()| tls.check_resumed(&*serving.verifier));
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
