//! Where a handler is polled: in place, on the connection's task, or by a task of its own. A unary handler has one poll in place and becomes a
//! task if that was not enough; a handler of a stream is a task, and is polled in place when a message has come that it waits for ([`super::visit`]).
//!
//! In place is three to five times as cheap, and a handler that blocks or computes there holds up every other call of its
//! connection. So methods begin in place and are measured: one that is slow, or seldom ready at its first poll, is
//! spawned from then on, and looked at again from time to time. A connection whose handlers took long in one turn spawns the
//! rest of that turn, so that its calls spread over all workers, if there are several.
//!
//! Invariants: what was learned belongs to the method and is shared by all connections; it is a guess, so updates may be
//! lost to races. A poll that ran out of tokio's budget is not learned from.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use core::time::Duration;

use clearway_http2::Instant;

/// Where handlers are polled: unary ones at first, and those that read a stream whenever a message has come for which they
/// wait. For everything else, and if that poll was not enough, a handler is a task of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Placement {
    /// In place, unless the method turns out to be slow (a poll of 200 microseconds, or 20 on average) or, if it is unary, to be
    /// pending at its first poll more often than not; then as a task, for 1,024 calls or messages at a time.
    #[default]
    Auto,
    /// In place, always: for handlers that never block and compute for a few microseconds at most.
    Inline,
    /// As a task, always: for handlers that compute or block.
    Spawn,
}

/// The mean poll from which on a method is slow.
const SLOW_MEAN: Duration = Duration::from_micros(20);
/// One poll that makes a method slow.
const SLOW_ONCE: Duration = Duration::from_micros(200);
/// So many calls of a method are spawned before it is tried in place again.
const SPAWNED: u32 = 1024;
/// One in so many of these is polled in place all the same.
const PROBE: u32 = 256;
/// One in so many calls of a method that is known to be quick is measured.
const SAMPLE: u32 = 16;
/// Measured polls from which on a method is judged, and from which on it counts as known; then its counts begin anew.
const JUDGED_FROM: u32 = 4;
const KNOWN_FROM: u32 = 16;
const WINDOW: u32 = 64;
/// Handlers may take so long in one turn of a connection; then the rest of the turn is spawned.
const TURN: Duration = Duration::from_micros(100);

/// What is known of a method; nothing yet is zero.
const QUICK: u8 = 1;
const SLOW: u8 = 2;

/// What to do with one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decision {
    /// Poll it in place.
    Inline,
    /// The same, and look at the clock: it stands for so many calls.
    Measured { stands_for: u32 },
    /// Make a task of it.
    Spawn,
}

/// One method: what its owner wants, and what was learned.
#[derive(Debug, Default)]
pub(super) struct Learned {
    placement: Placement,
    /// Calls still to be spawned.
    spawn: AtomicU32,
    known: AtomicU8,
    polls: AtomicU32,
    ready: AtomicU32,
    nanos: AtomicU64,
}

/// What a connection's handlers did in the turn that is under way.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// There are other workers that could take some of them.
    spreads: bool,
    /// How long they took, as far as was measured.
    spent: Duration,
    /// So many were polled in place and not measured,
    unmeasured: u32,
    /// since then.
    since: Instant,
    calls: u32,
    /// The last turns looked slow: so many calls more are measured one by one.
    suspicious: u32,
}

impl Learned {
    pub(super) fn new(placement: Placement) -> Self {
        Self { placement, ..Self::default() }
    }

    /// What its owner wants.
    #[cfg(feature = "tower")]
    pub(super) const fn placement(&self) -> Placement {
        self.placement
    }

    /// True if a handler of this method is not known to give its worker back soon.
    pub(super) fn may_be_slow(&self) -> bool {
        self.placement == Placement::Spawn || self.known.load(Relaxed) != QUICK
    }

    /// Where the next call goes.
    #[inline]
    pub(super) fn decide(&self, turn: &mut Turn, now: Instant) -> Decision {
        match self.placement {
            Placement::Inline => return Decision::Inline,
            Placement::Spawn => return Decision::Spawn,
            Placement::Auto => {}
        }
        let spawn = self.spawn.load(Relaxed);
        if spawn > 0 {
            self.spawn.store(spawn - 1, Relaxed);
            return if spawn.is_multiple_of(PROBE) {
                Decision::Measured { stands_for: 1 }
            } else {
                Decision::Spawn
            };
        }
        if turn.spreads && turn.spent > TURN {
            return Decision::Spawn;
        }
        if self.known.load(Relaxed) != QUICK {
            return Decision::Measured { stands_for: 1 };
        }
        if turn.suspicious > 0 {
            turn.suspicious -= 1;
            return Decision::Measured { stands_for: 1 };
        }
        turn.calls = turn.calls.wrapping_add(1);
        if turn.calls.is_multiple_of(SAMPLE) {
            return Decision::Measured { stands_for: SAMPLE };
        }
        if turn.unmeasured == 0 {
            turn.since = now;
        }
        turn.unmeasured = turn.unmeasured.saturating_add(1);
        Decision::Inline
    }

    /// Learns from a poll that was measured.
    pub(super) fn record(&self, took: Duration, ready: bool) {
        if took > SLOW_ONCE {
            return self.condemn(SLOW);
        }
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let polls = self.polls.fetch_add(1, Relaxed).saturating_add(1);
        let readies = self.ready.fetch_add(ready.into(), Relaxed).saturating_add(ready.into());
        let nanos = self.nanos.fetch_add(took, Relaxed).saturating_add(took);
        if polls < JUDGED_FROM || !polls.is_power_of_two() {
            return;
        }
        if Duration::from_nanos(nanos / u64::from(polls)) > SLOW_MEAN {
            return self.condemn(SLOW);
        }
        if readies.saturating_mul(2) < polls {
            return self.condemn(QUICK);
        }
        if polls >= KNOWN_FROM {
            self.known.store(QUICK, Relaxed);
        }
        if polls >= WINDOW {
            self.forget();
        }
    }

    /// The next calls are spawned; each of their polls is quick, or not known to be.
    fn condemn(&self, known: u8) {
        self.known.store(known, Relaxed);
        self.forget();
        self.spawn.store(SPAWNED - 1, Relaxed);
    }

    fn forget(&self) {
        self.polls.store(0, Relaxed);
        self.ready.store(0, Relaxed);
        self.nanos.store(0, Relaxed);
    }
}

impl Turn {
    /// For a connection on the current runtime.
    pub(super) fn new() -> Self {
        let workers =
            tokio::runtime::Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        Self { spreads: workers > 1, ..Self::default() }
    }

    /// A measured poll took so long and stands for so many.
    pub(super) fn took(&mut self, took: Duration, stands_for: u32) {
        self.spent = self.spent.saturating_add(took.saturating_mul(stands_for));
    }

    /// The turn is over. Asks for the time only if handlers ran that were not measured: if all of them together took long,
    /// the next calls are.
    pub(super) fn end(&mut self, now: impl FnOnce() -> Instant) {
        self.spent = Duration::ZERO;
        let count = core::mem::take(&mut self.unmeasured);
        if count > 0 {
            let took = now() - self.since;
            if took > SLOW_ONCE && took / count > SLOW_MEAN {
                self.suspicious = SAMPLE;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::ZERO;

    /// Polls in place until the method is spawned, at most so often.
    fn learn(method: &Learned, took: Duration, ready: impl Fn(u32) -> bool) -> Option<u32> {
        for call in 0..1000 {
            let mut turn = Turn::default();
            match method.decide(&mut turn, NOW) {
                Decision::Spawn => return Some(call),
                Decision::Inline => {}
                Decision::Measured { .. } => method.record(took, ready(call)),
            }
        }
        None
    }

    #[test]
    fn quick_methods_stay_in_place_and_are_measured_seldom() {
        let method = Learned::default();
        let mut turn = Turn::default();
        let mut measured = 0;
        for _ in 0..1616 {
            match method.decide(&mut turn, NOW) {
                Decision::Spawn => panic!("spawned"),
                Decision::Inline => {}
                Decision::Measured { .. } => {
                    method.record(Duration::from_micros(1), true);
                    measured += 1;
                }
            }
        }
        assert_eq!(measured, 16 + 100);
        assert!(!method.may_be_slow());
    }

    #[test]
    fn slow_and_waiting_methods_are_spawned_after_a_few_calls() {
        let slow = Learned::default();
        assert_eq!(learn(&slow, Duration::from_micros(30), |_| true), Some(4));
        assert!(slow.may_be_slow());
        let blocking = Learned::default();
        assert_eq!(learn(&blocking, Duration::from_millis(5), |_| true), Some(1));
        let waiting = Learned::default();
        assert_eq!(learn(&waiting, Duration::from_micros(1), |_| false), Some(4));
        assert!(!waiting.may_be_slow(), "its polls are quick");
        let half = Learned::default();
        assert_eq!(learn(&half, Duration::from_micros(1), |call| call.is_multiple_of(2)), None);
    }

    #[test]
    fn a_spawned_method_is_probed_and_comes_back() {
        let method = Learned::default();
        method.record(Duration::from_millis(5), true);
        let mut probes = Vec::new();
        let mut turn = Turn::default();
        for call in 0..SPAWNED - 1 {
            if method.decide(&mut turn, NOW) != Decision::Spawn {
                probes.push(call);
                method.record(Duration::from_micros(1), true);
            }
        }
        assert_eq!(probes, [255, 511, 767]);
        assert_eq!(method.decide(&mut turn, NOW), Decision::Measured { stands_for: 1 });
        // A bad probe begins it all over.
        method.record(Duration::from_millis(1), true);
        assert_eq!(method.decide(&mut turn, NOW), Decision::Spawn);
    }

    #[test]
    fn a_long_turn_spawns_its_rest_and_a_slow_one_is_looked_at() {
        let method = Learned::default();
        (0..16).for_each(|_| method.record(Duration::from_micros(1), true));
        let mut turn = Turn { spreads: true, ..Turn::default() };
        turn.took(Duration::from_micros(7), SAMPLE);
        assert_eq!(method.decide(&mut turn, NOW), Decision::Spawn);
        turn.end(|| panic!("nothing ran unmeasured"));
        assert_eq!(method.decide(&mut turn, NOW), Decision::Inline);
        let alone = Turn { spreads: false, spent: Duration::from_secs(1), ..Turn::default() };
        assert_eq!(method.decide(&mut { alone }, NOW), Decision::Inline, "nobody else would take it");
        turn.end(|| Instant::from_millis(1));
        assert_eq!(method.decide(&mut turn, NOW), Decision::Measured { stands_for: 1 });
    }

    #[test]
    fn what_the_owner_wants_is_done() {
        let mut turn = Turn::default();
        let (inline, spawn) = (Learned::new(Placement::Inline), Learned::new(Placement::Spawn));
        inline.record(Duration::from_secs(1), false);
        turn.took(Duration::from_secs(1), 1);
        assert_eq!(inline.decide(&mut turn, NOW), Decision::Inline);
        assert_eq!(spawn.decide(&mut Turn::default(), NOW), Decision::Spawn);
        assert!(spawn.may_be_slow());
    }
}
