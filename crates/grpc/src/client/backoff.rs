//! How long an attempt to connect may take, and how long to wait before the next one (gRPC's connection back-off page).

use core::future::Future;
use core::time::Duration;
use std::io;

use tokio::time::Instant;

use crate::chance::chance;

const FIRST: Duration = Duration::from_secs(1);
const FACTOR: f64 = 1.6;
const LONGEST: Duration = Duration::from_secs(120);
const JITTER: f64 = 0.2;

/// 1 s at first, 1.6 times as long after each failure, 120 s at most; ±20 % so that clients that failed together do not
/// come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    /// Where in the jitter's range every wait lies, from 0 to 1, if that is not left to chance.
    jitter: Option<f64>,
}

impl Backoff {
    /// Waits whose jitter is left to chance, or always the same, so that a simulation can be run again.
    pub(crate) fn new(jitter: Option<f64>) -> Self {
        Self { next: FIRST, jitter }
    }

    /// The next wait, from the beginning of the attempt that failed.
    pub(crate) fn next(&mut self) -> Duration {
        self.next_at(self.jitter.unwrap_or_else(chance))
    }

    /// The next wait, without its jitter.
    pub(crate) const fn base(&self) -> Duration {
        self.next
    }

    /// A connection is up: the next wait is the shortest again.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// `chance` is between 0 and 1.
    fn next_at(&mut self, chance: f64) -> Duration {
        let base = self.next;
        self.next = base.mul_f64(FACTOR).min(LONGEST);
        base.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance)
    }
}

/// What one attempt to connect may take: resolving the name, connecting, TLS and the peer's SETTINGS, all together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// None if that is too far away for the clock.
    ends: Option<Instant>,
    length: Duration,
}

impl Budget {
    pub(super) fn new(begins: Instant, length: Duration) -> Self {
        Self { ends: begins.checked_add(length), length }
    }

    pub(super) fn left(self) -> Duration {
        self.ends.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// Does a step, or says that it took too long.
    pub(super) async fn within<T>(self, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let Some(ends) = self.ends else { return step.await };
        tokio::time::timeout_at(ends, step).await.unwrap_or_else(|_| Err(self.late()))
    }

    pub(super) fn late(self) -> io::Error {
        let text = format!("it took longer than {:?} (limit: Endpoint::connect_timeout)", self.length);
        io::Error::new(io::ErrorKind::TimedOut, text)
    }

    /// The same error, or who set the limit if it was this one.
    pub(super) fn explain(self, error: io::Error) -> io::Error {
        let own = error.kind() == io::ErrorKind::TimedOut && self.left().is_zero();
        if own { self.late() } else { error }
    }

    /// Returns when nothing is left.
    pub(super) async fn spent(self) {
        match self.ends {
            Some(ends) => tokio::time::sleep_until(ends).await,
            None => core::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit_and_start_again() {
        let mut backoff = Backoff::new(None);
        let waits: Vec<_> = (0..15).map(|_| backoff.next_at(0.5).as_millis()).collect();
        assert_eq!(waits[..4], [1000, 1600, 2560, 4096]);
        assert_eq!(waits[14], 120_000);
        backoff.reset();
        assert_eq!(backoff.next_at(0.0), Duration::from_millis(800));
        assert_eq!(backoff.next_at(1.0), Duration::from_millis(1920));
    }
}
