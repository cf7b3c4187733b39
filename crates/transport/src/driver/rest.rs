//! What a connection gives back while nothing happens on it: memory that saves work while calls come, and that a program
//! with thousands of quiet connections has better use for.
//!
//! A connection rests when it was quiet for a second. One that had few calls so far does it as soon as none is open: there
//! is not much that it could have learned, and it may be one of the many that come for a single call.
//!
//! Invariant: the driver's timer is set for a rest only on a connection that has done something since the last one, so a
//! quiet connection is woken once, and a busy one once a second at most.

use core::time::Duration;

use clearway_http2::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Driver;
use crate::application::Application;

/// How long nothing must have happened.
const QUIET: Duration = Duration::from_secs(1);
/// So many times a connection rests as soon as it has no stream, and again so many times after it was quiet.
const EARLY: u8 = 8;

/// When the next rest is due.
pub(super) struct Rest {
    /// When something was last received or asked for; [`Instant::FAR_FUTURE`] if nothing was since the last rest.
    active: Instant,
    /// How many early ones are left.
    early: u8,
}

impl Rest {
    pub(super) const fn new() -> Self {
        Self { active: Instant::FAR_FUTURE, early: EARLY }
    }

    /// Something happened.
    #[inline]
    pub(super) fn disturb(&mut self, now: Instant) {
        self.active = now;
    }

    /// When it is due: never while nothing happens.
    pub(super) fn timer(&self) -> Instant {
        self.active + QUIET
    }
}

impl<Io, A> Driver<Io, A>
where
    Io: AsyncRead + AsyncWrite + Unpin,
    A: Application,
{
    /// Rests if that is due.
    pub(super) fn rest_when_quiet(&mut self, now: Instant) {
        if self.rest.timer() <= now {
            self.rest.early = EARLY;
            self.rest();
        }
    }

    /// At the end of a turn: rests if no stream is open and there were few turns like that.
    pub(super) fn rest_early(&mut self) {
        let idle = self.rest.early > 0
            && self.rest.active != Instant::FAR_FUTURE
            && self.connection.stream_count() == 0
            && self.connection.pending_output() == 0;
        if idle {
            self.rest.early -= 1;
            self.rest();
        }
    }

    fn rest(&mut self) {
        self.rest.active = Instant::FAR_FUTURE;
        self.connection.rest();
        self.app.rest();
        self.ops.rest();
        self.batch = Vec::new();
        if self.next_timer() == Instant::FAR_FUTURE {
            self.sleep = None;
        }
    }
}
