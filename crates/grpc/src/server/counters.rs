//! What a server counts of all its connections, for whoever watches it.
//!
//! Invariant: nothing here is on the path of a call that keeps to the rules; connections are counted when they begin and
//! end. What one connection did is in [`Closed`] when it ends ([`Server::on_connection_end`](super::Server)).

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use clearway_transport::Closed;

/// Who is told of each connection's end.
pub(super) type Report = Arc<dyn Fn(&Closed) + Send + Sync>;

/// Counts of a server since it was made; they only grow. All clones of a [`Server`](super::Server) share one.
#[derive(Debug, Default)]
pub struct ServerCounters {
    accepted: AtomicU64,
    ended: AtomicU64,
    cut_off: AtomicU64,
    without_te: AtomicU64,
}

impl ServerCounters {
    /// Connections that began, after their TLS handshake if there was one.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections that ended; the rest is open.
    #[must_use]
    pub fn connections_ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Connections that we ended because their peer broke a rule or pressed against a limit ([`Closed::is_peers_fault`]).
    #[must_use]
    pub fn connections_cut_off(&self) -> u64 {
        self.cut_off.load(Ordering::Relaxed)
    }

    /// Requests that came without `te: trailers`. They are served; it is the first sign of a proxy on the way that does not
    /// know gRPC and will lose trailers.
    #[must_use]
    pub fn requests_without_te(&self) -> u64 {
        self.without_te.load(Ordering::Relaxed)
    }

    pub(super) fn began(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, closed: &Closed) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.cut_off.fetch_add(u64::from(closed.is_peers_fault()), Ordering::Relaxed);
    }

    #[cold]
    pub(super) fn te_is_missing(&self) {
        self.without_te.fetch_add(1, Ordering::Relaxed);
    }
}
