//! How long a connection lives: the most it may be idle, the most it may be old, and how long its last calls have then. gRFC
//! A9, RFC 9113 §6.8.
//!
//! Whoever goes over a limit is told to go elsewhere as gracefully as in [`Tx::shutdown`]; only when the grace is over as
//! well, what is left is cut off: a last GOAWAY says why, nothing more is received or sent, and the driver closes.
//!
//! Invariants: a connection without limits has no [`Life`]; its streams pay one branch when they end. Once cut off, a connection
//! stays that. Left out: chance. A limit of age should differ between connections that began together; whoever sets
//! it adds that.

use core::time::Duration;

use super::shutdown::Ours;
use super::tx::Tx;
use super::{Connection, Role};
use crate::error::ErrorCode;
use crate::handler::Handler;
use crate::time::{Instant, earliest};

/// How long a connection may live. [`LifeLimits::default`] is for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LifeLimits {
    /// How long it may have no streams, from when it was made or from when the last one ended; then it goes away with
    /// `max_idle`. [`Duration::MAX`] is for ever.
    pub max_idle: Duration,
    /// How long after it was made it goes away with `max_age`. [`Duration::MAX`] is for ever.
    pub max_age: Duration,
    /// How long after that its streams may go on; what is left then is cut off. [`Duration::MAX`] is for ever.
    pub max_age_grace: Duration,
}

impl Default for LifeLimits {
    fn default() -> Self {
        Self { max_idle: Duration::MAX, max_age: Duration::MAX, max_age_grace: Duration::MAX }
    }
}

/// Why we go away, as long as no rule was broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Farewell {
    /// The program asked for it.
    Shutdown,
    /// There was no stream for [`LifeLimits::max_idle`].
    MaxIdle,
    /// The connection is older than [`LifeLimits::max_age`].
    MaxAge,
}

impl Farewell {
    /// The debug text of the GOAWAY (gRFC A9).
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Shutdown => "graceful shutdown",
            Self::MaxIdle => "max_idle",
            Self::MaxAge => "max_age",
        }
    }

    /// The debug text of the last GOAWAY, when streams were left at the end: which knob it was.
    #[must_use]
    pub const fn cut_text(self) -> &'static str {
        match self {
            Self::Shutdown | Self::MaxIdle => {
                "calls were left after a graceful shutdown (limit: shutdown_grace)"
            }
            Self::MaxAge => "calls were left after max_age (limit: max_connection_age_grace)",
        }
    }
}

/// What a connection with limits knows of its life.
#[derive(Debug)]
pub(crate) struct Life {
    limits: LifeLimits,
    /// Since when there has been no stream; of no meaning while there is one.
    idle_since: Instant,
    /// When it is too old; later than everything once that was acted upon.
    old_at: Instant,
    /// When what is left is cut off.
    cut_at: Instant,
}

impl Tx {
    /// A stream is gone.
    #[inline]
    pub(super) fn note_idleness(&mut self) {
        if let Some(life) = &mut self.life {
            life.idle_since = self.now;
        }
    }

    /// How many streams the peer may have us open at once, as far as it said.
    #[must_use]
    pub fn stream_limit(&self) -> u32 {
        self.peer.max_concurrent_streams
    }

    /// Streams that we opened and that are not done.
    #[must_use]
    pub fn local_streams(&self) -> u32 {
        self.streams.local_count()
    }

    /// How many streams we can still open before the ids are used up (RFC 9113 §5.1.1).
    #[must_use]
    pub fn ids_left(&self) -> u32 {
        self.streams.ids_left()
    }

    /// Client: asks for [`Handler::on_stream_slot`] when the next stream of ours ends or the peer's limit changes, also if no
    /// attempt to open one failed.
    pub fn notify_stream_slot(&mut self) {
        self.opener_waits = true;
    }

    /// Begins a graceful end for this reason; see [`Tx::shutdown`].
    pub(super) fn go_away(&mut self, why: Farewell) {
        if self.shutdown.ours != Ours::Open {
            return;
        }
        self.shutdown.farewell = why;
        match self.role {
            Role::Server => self.announce_shutdown(why.text()),
            Role::Client => self.finish_shutdown(),
        }
    }

    /// Ends what is left of a connection: the time is up that it had after it went away for this reason. A last GOAWAY names the
    /// limit, and nothing is received or sent any more. A connection that failed stays as it is.
    pub fn cut_off(&mut self, after: Farewell) {
        if self.shutdown.is_over() {
            return;
        }
        self.shutdown.farewell = after;
        self.write_announcement();
        let last_stream_id = self.shutdown.bound(self.streams.last_remote());
        self.write_goaway(last_stream_id, ErrorCode::NO_ERROR, after.cut_text().as_bytes());
        self.shutdown.ours = Ours::CutOff;
    }

    /// How long the peer has to answer the PING between the two GOAWAYs: the answer only saves streams in flight from being
    /// opened once more. A peer whose distance is known gets a second, or four round trips if they take longer.
    pub(super) fn farewell_patience(&self) -> Duration {
        const SHORTEST: Duration = Duration::from_secs(1);
        if !self.window_size_binds {
            // It has not even acknowledged our SETTINGS.
            return self.config.peer_timeout;
        }
        let round_trips = self.round_trip.twice().unwrap_or_default().saturating_mul(2);
        round_trips.max(SHORTEST).min(self.config.peer_timeout)
    }
}

impl Connection {
    /// Limits how long the connection lives, from now on; replaces earlier limits. Its age counts from now.
    pub fn limit_life(&mut self, limits: LifeLimits, now: Instant) {
        let unlimited = limits.max_idle == Duration::MAX && limits.max_age == Duration::MAX;
        self.tx.life = (!unlimited).then(|| {
            let (idle_since, old_at) = (now, now + limits.max_age);
            Box::new(Life { limits, idle_since, old_at, cut_at: Instant::FAR_FUTURE })
        });
    }

    /// Why we go away, if we do and no rule was broken.
    #[must_use]
    pub fn farewell(&self) -> Option<Farewell> {
        match self.tx.shutdown.ours {
            Ours::Open | Ours::Failed(_) => None,
            Ours::Announced { .. } | Ours::Final { .. } | Ours::CutOff => Some(self.tx.shutdown.farewell),
        }
    }

    /// True if time was up before the last stream had ended.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.tx.shutdown.ours == Ours::CutOff
    }

    /// When the next limit is reached, as far as can be told now.
    #[inline]
    pub(super) fn life_timer(&self) -> Option<Instant> {
        let life = self.tx.life.as_deref()?;
        let open = self.tx.shutdown.ours == Ours::Open;
        let idle = (open && self.tx.stream_count() == 0).then(|| life.idle_since + life.limits.max_idle);
        let due = earliest(idle, Some(life.old_at.min(life.cut_at)));
        due.filter(|due| *due != Instant::FAR_FUTURE)
    }

    /// Acts on the limits that were reached.
    pub(super) fn mind_life<H: Handler>(&mut self, now: Instant, handler: &mut H) {
        if self.life_timer().is_none_or(|due| now < due) {
            return;
        }
        let has_streams = self.tx.stream_count() > 0;
        let Some(life) = self.tx.life.as_deref_mut() else { return };
        if life.cut_at <= now {
            life.cut_at = Instant::FAR_FUTURE;
            self.tx.cut_off(Farewell::MaxAge);
            return;
        }
        let old = life.old_at <= now;
        if old {
            life.old_at = Instant::FAR_FUTURE;
            // A connection that went away before for another reason is cut off at this time, too.
            life.cut_at = now + life.limits.max_age_grace;
        }
        let idle = !has_streams && life.idle_since + life.limits.max_idle <= now;
        if self.tx.shutdown.ours == Ours::Open && (old || idle) {
            let why = if old { Farewell::MaxAge } else { Farewell::MaxIdle };
            handler.on_going_away(&mut self.tx, why);
            self.tx.go_away(why);
        }
    }
}
