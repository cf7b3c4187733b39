//! What a server counts of all its connections, for whoever watches it.
//!
//! Invariant: nothing here is on the path of a call that keeps to the rules; connections are counted when they begin and
//! end. What one connection did is in [`Closed`] when it ends ([`Server::on_connection_end`](super::Server)).

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
#[cfg(feature = "tls")]
use std::collections::BTreeMap;
use std::sync::Arc;
#[cfg(feature = "tls")]
use std::sync::{Mutex, PoisonError};

use clearway_transport::Closed;
#[cfg(feature = "tls")]
use clearway_transport::TlsFailure;

use super::overrun::Overrun;
use crate::sparing::Sparing;

/// Who is told of each connection's end.
pub(super) type Report = Arc<dyn Fn(&Closed) + Send + Sync>;

/// Counts of a server since it was made; they only grow. All clones of a [`Server`](super::Server) share one.
#[derive(Debug, Default)]
pub struct ServerCounters {
    accepted: AtomicU64,
    ended: AtomicU64,
    cut_off: AtomicU64,
    without_te: AtomicU64,
    calls_cut_off: AtomicU64,
    for_one_call: AtomicU64,
    for_one_call_in_a_row: AtomicU64,
    sparing: Sparing,
    overran: AtomicU64,
    overruns_ended: AtomicU64,
    overruns_sparing: Sparing,
    /// By the name of the failure. Only handshakes that failed touch it.
    #[cfg(feature = "tls")]
    handshakes: Mutex<BTreeMap<&'static str, u64>>,
}

/// A connection that carried at most one call, and was younger than this at its end, was made for that call.
const SHORT: Duration = Duration::from_secs(10);
/// So many in a row are worth a word; then each tenfold is.
const ENOUGH: u64 = 100;

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

    /// Connections that ended within 10 s and after one call at most: clients that connect for every call, or health checks
    /// that do nothing else.
    #[must_use]
    pub fn connections_for_one_call(&self) -> u64 {
        self.for_one_call.load(Ordering::Relaxed)
    }

    /// Calls that were cut off because they were not done in time, after a shutdown or when their connection was old
    /// ([`Server::on_calls_cut_off`](super::Server::on_calls_cut_off)).
    #[must_use]
    pub fn calls_cut_off(&self) -> u64 {
        self.calls_cut_off.load(Ordering::Relaxed)
    }

    /// Requests that came without `te: trailers`. They are served; it is the first sign of a proxy on the way that does not
    /// know gRPC and will lose trailers.
    #[must_use]
    pub fn requests_without_te(&self) -> u64 {
        self.without_te.load(Ordering::Relaxed)
    }

    /// Handlers that ran on for long after their call was over
    /// ([`Server::on_overrun`](super::Server::on_overrun) names them).
    #[must_use]
    pub fn overruns(&self) -> u64 {
        self.overran.load(Ordering::Relaxed)
    }

    /// Those of [`ServerCounters::overruns`] that have ended since; the rest still runs.
    #[must_use]
    pub fn overruns_ended(&self) -> u64 {
        self.overruns_ended.load(Ordering::Relaxed)
    }

    pub(super) fn overran(&self, overrun: &Overrun) {
        let counter = if overrun.has_ended { &self.overruns_ended } else { &self.overran };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(left_out) = self.overruns_sparing.line() {
            tracing::warn!(path = %overrun.path, left_out, "{overrun}");
        }
    }

    /// TLS handshakes that failed, by the name of the failure ([`TlsFailure::name`]). Those connections are not among
    /// [`ServerCounters::connections`].
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn handshake_failures(&self) -> BTreeMap<&'static str, u64> {
        self.handshakes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[cfg(feature = "tls")]
    pub(super) fn handshake_failed(&self, failure: TlsFailure) {
        let mut handshakes = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        let count = handshakes.entry(failure.name()).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn began(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, closed: &Closed) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        if closed.is_peers_fault() {
            self.cut_off.fetch_add(1, Ordering::Relaxed);
            if let Some(left_out) = self.sparing.line() {
                tracing::warn!(peer = %closed.peer, left_out, "cut off: {closed}");
            }
        }
        if closed.tally.streams > 1 || closed.age >= SHORT {
            self.for_one_call_in_a_row.store(0, Ordering::Relaxed);
            return;
        }
        self.for_one_call.fetch_add(1, Ordering::Relaxed);
        let row = self.for_one_call_in_a_row.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if is_worth_a_word(row) {
            tracing::warn!(
                peer = %closed.peer,
                connections = row,
                "a connection for every call: the last {row} connections carried one call each at most, the latest from {}; \
                 clients should keep one channel for all their calls",
                closed.peer
            );
        }
    }

    pub(super) fn calls_were_cut_off(&self, calls: usize) {
        self.calls_cut_off.fetch_add(calls.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    #[cold]
    pub(super) fn te_is_missing(&self) {
        self.without_te.fetch_add(1, Ordering::Relaxed);
    }
}

/// True at [`ENOUGH`], and at ten times that, and so on.
const fn is_worth_a_word(row: u64) -> bool {
    let mut left = row;
    while left > ENOUGH && left.is_multiple_of(10) {
        left /= 10;
    }
    left == ENOUGH
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_row_is_told_at_a_hundred_and_at_every_tenfold() {
        let told: Vec<u64> = (1..=100_000).filter(|row| super::is_worth_a_word(*row)).collect();
        assert_eq!(told, [100, 1_000, 10_000, 100_000]);
    }
}
