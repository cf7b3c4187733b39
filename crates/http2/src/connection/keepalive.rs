//! Whether the peer is still there: PINGs of ours that ask for a sign of life, and the policing of the peer's. RFC 9113
//! §6.7, gRFC A8.
//!
//! We ask for two reasons: keepalive (nothing came for [`Keepalive::interval`](crate::Keepalive::interval)), and a probe
//! ([`Tx::probe`]) before a connection that was silent is trusted with something new. Any octet is a sign of life, as a peer whose
//! acknowledgement is stuck behind a long answer is not dead. Keepalive without an answer ends the connection; a probe without one
//! lets a client go elsewhere long before that.
//!
//! Invariants: one question at a time; what is asked is forgotten with the next octet. A client does not probe when the PING could
//! be the one that makes a server of gRPC's rules end the connection: not after two for which no HEADERS or DATA came back.
//!
//! Left out: a client does not police its server's PINGs (A8 gives it no rule for that).

use core::time::Duration;

use super::Role;
use super::tx::Tx;
use crate::config::defaults;
use crate::error::Violation;
use crate::handler::Handler;
use crate::time::Instant;

/// Payload of a PING that asks for a sign of life.
pub(super) const ALIVE_PING: [u8; 8] = *b"alive?\0\0";
/// A probe waits so long at least: a PING that was lost is sent again in less.
const SHORTEST_PROBE: Duration = Duration::from_secs(1);
/// gRFC A8: without streams, unless that is permitted, one PING in so long.
const WITHOUT_STREAMS: Duration = Duration::from_secs(2 * 3600);
/// PINGs of ours without HEADERS or DATA from the server since; after so many there is no probe. A8 lets the third strike end a connection,
/// and a PING that crossed the last HEADERS has used up what they were good for.
const UNEARNED: u8 = 2;

/// What is remembered of PINGs, on a connection that has seen some.
#[derive(Debug)]
pub(crate) struct Pings {
    /// Ours, that waits for any octet.
    asked: Option<Asked>,
    /// When the peer's last one came; [`Instant::FAR_FUTURE`] before the first.
    last: Instant,
    /// Those of the peer that came too early, since HEADERS or DATA were sent.
    strikes: u32,
}

/// A PING of ours that waits for any octet.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Somebody wants to know by then whether the connection can be used.
    probe: Option<Instant>,
    /// The connection ends then.
    until: Instant,
}

impl Default for Pings {
    fn default() -> Self {
        Self { asked: None, last: Instant::FAR_FUTURE, strikes: 0 }
    }
}

impl Tx {
    /// How long nothing has come from the peer.
    #[inline]
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.now - self.last_read
    }

    /// The interval of keepalive, where it is on.
    #[must_use]
    pub fn keepalive_interval(&self) -> Option<Duration> {
        self.config.keepalive.map(|rules| rules.interval)
    }

    /// Client: asks the peer for a sign of life by a PING, before a connection that was silent is used again. True if the answer is
    /// awaited; it comes to [`Handler::on_probe`]: alive with the next octet received, or not when none came within a second or four
    /// round trips, whichever is longer. Asking again meanwhile changes nothing.
    ///
    /// False if nothing can be asked: the connection goes away, or two PINGs in a row have brought no HEADERS or DATA from
    /// the server, which may count another one as one too many (gRFC A8).
    pub fn probe(&mut self) -> bool {
        if self.is_going_away() || self.role == Role::Server {
            return false;
        }
        if self.asked().is_none() {
            if self.unearned >= UNEARNED {
                return false;
            }
            self.ask();
        }
        let round_trips = self.round_trip.twice().map_or(Duration::ZERO, |two| 2 * two);
        let until = self.now + round_trips.max(SHORTEST_PROBE);
        if let Some(asked) = self.pings.as_deref_mut().and_then(|pings| pings.asked.as_mut()) {
            asked.probe.get_or_insert(until.min(asked.until));
        }
        true
    }

    /// True while the answer to [`Tx::probe`] is awaited.
    #[must_use]
    pub fn is_probing(&self) -> bool {
        self.asked().is_some_and(|asked| asked.probe.is_some())
    }

    /// What waits for a sign of life.
    #[inline]
    fn asked(&self) -> Option<&Asked> {
        self.pings.as_deref()?.asked.as_ref()
    }

    fn ask(&mut self) {
        self.ping(ALIVE_PING);
        let timeout = self.config.keepalive.map_or(defaults::KEEPALIVE_TIMEOUT, |rules| rules.timeout);
        let until = self.now + timeout;
        self.pings.get_or_insert_default().asked = Some(Asked { probe: None, until });
    }

    /// A PING of ours is on its way.
    pub(super) const fn pinged(&mut self) {
        self.unearned = self.unearned.saturating_add(1);
    }

    /// When there is something to do about the peer's silence.
    #[inline]
    pub(super) fn silence_timer(&self) -> Option<Instant> {
        match self.asked() {
            Some(asked) => Some(asked.probe.unwrap_or(asked.until)),
            None => self.keepalive_due(),
        }
    }

    /// When keepalive has to ask, if nothing comes before.
    #[inline]
    fn keepalive_due(&self) -> Option<Instant> {
        let rules = self.config.keepalive.as_ref()?;
        (rules.without_streams || self.stream_count() > 0).then(|| self.last_read + rules.interval)
    }

    /// True while a PING of ours waits for a sign of life.
    #[inline]
    pub(super) fn is_asking(&self) -> bool {
        self.asked().is_some()
    }

    /// Octets came while a PING waited: the peer is there.
    #[cold]
    pub(super) fn heard<H: Handler>(&mut self, handler: &mut H) {
        let asked = self.pings.as_deref_mut().and_then(|pings| pings.asked.take());
        if asked.is_some_and(|asked| asked.probe.is_some()) {
            handler.on_probe(self, true);
        }
    }

    /// Acts on the peer's silence, if it is time.
    pub(super) fn mind_silence<H: Handler>(&mut self, handler: &mut H) -> Result<(), Violation> {
        let now = self.now;
        let Some(asked) = self.pings.as_deref_mut().and_then(|pings| pings.asked.as_mut()) else {
            if self.keepalive_due().is_some_and(|due| due <= now) {
                self.ask();
            }
            return Ok(());
        };
        if asked.until <= now {
            return Err(Violation::KeepaliveExpired);
        }
        if asked.probe.take_if(|until| *until <= now).is_none() {
            return Ok(());
        }
        handler.on_probe(self, false);
        if self.stream_count() == 0 {
            return Err(Violation::ProbeUnanswered);
        }
        // What is open may still get its answer, as long as keepalive would wait for one.
        self.shutdown();
        Ok(())
    }

    /// A PING of the peer came. gRFC A8: more often than agreed, and without HEADERS or DATA of ours in between, is a strike.
    pub(super) fn police_ping(&mut self) -> Result<(), Violation> {
        let Some(policy) = &self.config.ping_policy else { return Ok(()) };
        if self.role == Role::Client {
            return Ok(());
        }
        let quiet = self.stream_count() == 0 && !policy.without_streams;
        let apart = if quiet { policy.min_interval.max(WITHOUT_STREAMS) } else { policy.min_interval };
        let pings = self.pings.get_or_insert_default();
        let last = core::mem::replace(&mut pings.last, self.now);
        if core::mem::take(&mut self.spoke) {
            pings.strikes = 0;
        } else if last + apart > self.now && last != Instant::FAR_FUTURE && !policy.min_interval.is_zero() {
            pings.strikes = pings.strikes.saturating_add(1);
        }
        if pings.strikes > self.config.limits.too_many_pings {
            return Err(Violation::TooManyPings);
        }
        Ok(())
    }
}
