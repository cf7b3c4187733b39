//! When a receive window should grow or shrink: measured use against the round trip. RFC 9113 §5.2, §6.9.
//!
//! A window is the limit when the peer, given credit, uses half of the window within two round trips. Then it doubles, so it
//! settles at four to eight times what is on its way in one round trip. [`RoundTrip`] measures that time, [`Usage`] the use.
//! Who may grow, and by how much, is decided in `connection/credit.rs`, out of the receive budget.
//!
//! Invariant: a PING is sent only if DATA came after the last one was answered, so a server that counts pings (gRFC A8) has
//! always sent DATA in between, which clears its count.
//!
//! Left out: a round trip that got shorter or longer is noticed only while windows grow; a budget over all connections of
//! the process.

use core::time::Duration;

use crate::time::Instant;

/// A stream's window does not grow beyond this.
pub(crate) const LARGEST_STREAM_WINDOW: u32 = 16 * 1024 * 1024;
/// A connection's window does not grow beyond this.
pub(crate) const LARGEST_CONNECTION_WINDOW: u32 = 32 * 1024 * 1024;
/// A window that was not used up by a quarter in this time is halved.
const IDLE: Duration = Duration::from_secs(30);
/// What both ends may need to wake up and answer: a shorter round trip says nothing about the network.
const SHORTEST_ROUND_TRIP: Duration = Duration::from_millis(1);

/// Payload of the PING that measures the round trip.
pub(crate) const ROUND_TRIP_PING: [u8; 8] = *b"rtt?\0\0\0\0";

/// Whether a PING may be sent, or one is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Probe {
    /// Nothing was received that would make a PING welcome.
    Unearned,
    /// DATA was received since the last answer.
    Earned,
    /// SETTINGS or a PING wait for their answer.
    InFlight { since: Instant },
}

/// The round trip to the peer, from SETTINGS and its acknowledgement, then from PINGs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoundTrip {
    measured: Option<Duration>,
    probe: Probe,
}

impl RoundTrip {
    pub(crate) const fn new() -> Self {
        Self { measured: None, probe: Probe::Unearned }
    }

    /// SETTINGS or a PING went to the output.
    pub(crate) fn asked(&mut self, now: Instant) {
        self.probe = Probe::InFlight { since: now };
    }

    /// The answer came; false if nothing was asked. A shorter time counts at once, a longer one by an eighth: it may be
    /// queues that our own credit filled. No time at all is no measurement.
    pub(crate) fn answered(&mut self, now: Instant) -> bool {
        let Probe::InFlight { since } = self.probe else { return false };
        self.probe = Probe::Unearned;
        let sample = now - since;
        if sample > Duration::ZERO {
            self.measured = Some(match self.measured {
                Some(known) if sample > known => known + (sample - known) / 8,
                _ => sample,
            });
        }
        true
    }

    #[inline]
    pub(crate) fn data_came(&mut self) {
        if self.probe == Probe::Unearned {
            self.probe = Probe::Earned;
        }
    }

    /// True if a PING may be sent now without it being counted against us.
    pub(crate) fn may_ask(&self) -> bool {
        self.probe == Probe::Earned
    }

    /// Two round trips, once they are known.
    #[inline]
    pub(crate) fn twice(&self) -> Option<Duration> {
        self.measured.map(|time| 2 * time.max(SHORTEST_ROUND_TRIP))
    }
}

/// How a window is used since credit was last given: begins with credit, ends after two round trips.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// [`Instant::FAR_FUTURE`] before any credit was given.
    since: Instant,
    octets: u32,
}

impl Usage {
    pub(crate) const fn new() -> Self {
        Self { since: Instant::FAR_FUTURE, octets: 0 }
    }

    /// Octets arrived.
    #[inline]
    pub(crate) fn arrived(&mut self, octets: u32) {
        self.octets = self.octets.saturating_add(octets);
    }

    /// Credit was announced: a new stretch begins, unless one of less than `within` is still measured.
    #[inline]
    pub(crate) fn credit_given(&mut self, now: Instant, within: Duration) {
        if self.since == Instant::FAR_FUTURE || now - self.since > within {
            self.restart(now);
        }
    }

    pub(crate) fn restart(&mut self, now: Instant) {
        *self = Self { since: now, octets: 0 };
    }

    /// True if `octets` arrived within the time `within` after credit was given.
    #[inline]
    pub(crate) fn shows(&self, octets: u32, now: Instant, within: Duration) -> bool {
        self.octets >= octets && self.since <= now && now - self.since <= within
    }

    /// True if less than the credit of one announcement was used for [`IDLE`].
    #[inline]
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        // Before any credit was given the zero of saturating subtraction stands.
        now - self.since >= IDLE
    }

    /// How often a window is to be halved because it lay idle; counts from `now` on when it says so.
    pub(crate) fn halvings(&mut self, now: Instant) -> u32 {
        let idle = now - self.since;
        if idle < IDLE {
            return 0;
        }
        self.restart(now);
        u32::try_from(idle.as_nanos() / IDLE.as_nanos()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn the_round_trip_follows_the_shortest_answers() {
        let mut time = RoundTrip::new();
        assert_eq!(time.twice(), None);
        time.asked(at(0));
        assert!(time.answered(at(80)));
        assert_eq!(time.twice(), Some(Duration::from_millis(160)));
        assert!(!time.may_ask() && !time.answered(at(90)), "nobody asked");
        time.data_came();
        assert!(time.may_ask());
        time.asked(at(100));
        time.data_came();
        assert!(!time.may_ask(), "one at a time");
        assert!(time.answered(at(140)));
        assert_eq!(time.twice(), Some(Duration::from_millis(80)), "a shorter one counts at once");
        assert!(!time.may_ask(), "DATA must come after the answer");
        time.asked(at(200));
        assert!(time.answered(at(320)));
        assert_eq!(time.twice(), Some(Duration::from_millis(100)), "a longer one by an eighth");
        time.asked(at(400));
        assert!(time.answered(at(400)));
        assert_eq!(time.twice(), Some(Duration::from_millis(100)), "no time is no measurement");
    }

    #[test]
    fn a_round_trip_is_never_taken_for_shorter_than_a_millisecond() {
        let mut time = RoundTrip::new();
        time.asked(Instant::ZERO);
        assert!(time.answered(Instant::from_nanos(30_000)));
        assert_eq!(time.twice(), Some(Duration::from_millis(2)));
    }

    #[test]
    fn use_counts_from_credit_on_and_for_two_round_trips() {
        let within = Duration::from_millis(100);
        let mut usage = Usage::new();
        usage.arrived(1000);
        assert!(
            !usage.shows(1000, at(10), within),
            "the first window proves nothing: no credit came back yet"
        );
        usage.credit_given(at(20), within);
        usage.arrived(600);
        usage.credit_given(at(60), within);
        usage.arrived(400);
        assert!(usage.shows(1000, at(120), within));
        assert!(!usage.shows(1001, at(120), within));
        assert!(!usage.shows(1000, at(121), within), "too late");
        usage.credit_given(at(121), within);
        assert!(!usage.shows(1, at(121), within), "a new stretch");
    }

    #[test]
    fn half_a_minute_is_idle() {
        let mut usage = Usage::new();
        assert_eq!(usage.halvings(at(100_000)), 0, "nothing was given yet");
        usage.credit_given(at(0), Duration::ZERO);
        assert_eq!(usage.halvings(at(29_999)), 0);
        assert_eq!(usage.halvings(at(65_000)), 2);
        assert_eq!(usage.halvings(at(94_999)), 0);
        assert_eq!(usage.halvings(at(95_000)), 1);
    }
}
