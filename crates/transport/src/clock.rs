//! The driver's clock: tokio's, so that tests can pause it, on the engine's scale.

use clearway_http2::Instant;
use tokio::time::Instant as TokioInstant;

/// Turns tokio's time into the engine's, with the connection's birth as zero.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    birth: TokioInstant,
}

impl Clock {
    /// A clock whose zero is now.
    #[must_use]
    pub fn start() -> Self {
        Self { birth: TokioInstant::now() }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.at(TokioInstant::now())
    }

    /// An instant of tokio's on this scale.
    #[must_use]
    pub fn at(&self, instant: TokioInstant) -> Instant {
        let nanos = instant.saturating_duration_since(self.birth).as_nanos();
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// An instant on this scale as tokio's.
    #[must_use]
    pub fn to_tokio(&self, instant: Instant) -> TokioInstant {
        // A year is "never" for a timer, and far from the overflow of the platform's clock.
        let offset = (instant - Instant::ZERO).min(std::time::Duration::from_secs(365 * 24 * 3600));
        self.birth + offset
    }
}
