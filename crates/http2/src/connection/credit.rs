//! Credit we give: back on consumption, beyond the window for a message that needs it, and never more than the budget.
//! RFC 9113 §5.2, §6.9.
//!
//! Connection credit goes back when DATA arrives, stream credit when the program has consumed it. The sums are kept by
//! [`ReceiveBudget`](crate::flow_control::ReceiveBudget), use and round trips are measured by `window_tuning`.
//!
//! A stream's window grows when its reader has drained what came, the peer has used half of the window within two round
//! trips after it was given credit, no message waits for the budget, and the budget has room. It never shrinks below what
//! it began with.

use core::time::Duration;

use super::tx::Tx;
use crate::config::WindowTuning;
use crate::error::Violation;
use crate::flow_control::{DEFAULT_WINDOW, RecvWindow};
use crate::handler::Handler;
use crate::stream::{Half, Stream, StreamKey};
use crate::time::Instant;
use crate::window_tuning::{LARGEST_CONNECTION_WINDOW, LARGEST_STREAM_WINDOW, ROUND_TRIP_PING};

impl Tx {
    /// The program consumed `octets` of the stream's DATA: the peer may send as many more. If the peer is held up by its
    /// window alone, the window grows.
    pub fn release(&mut self, stream: StreamKey, octets: usize) {
        let octets = u32::try_from(octets).unwrap_or(u32::MAX);
        let now = self.now;
        let within = self.round_trip.twice();
        let Some(entry) = self.streams.live_mut(stream) else { return };
        let before = entry.share();
        let octets = octets.min(entry.held);
        entry.held -= octets;
        entry.recv_window.release(octets);
        // Once the peer has ended its side it needs no credit.
        let ended = entry.recv == Half::Ended;
        let earned = !ended
            && self.config.stream_tuning == WindowTuning::Auto
            && within.is_some_and(|within| has_earned_more(entry, now, within));
        let credit = if ended || earned { None } else { entry.recv_window.announce() };
        if let (Some(_), Some(within)) = (credit, within) {
            entry.recv_window.usage.credit_given(now, within);
        }
        let (id, after) = (entry.id, entry.share());
        self.budget.adjust(before, after);
        if let Some(credit) = credit {
            self.write_window_update(id, credit);
        }
        if earned {
            self.grow_stream_window(stream);
        }
        if before != after {
            self.serve_grants();
        }
    }

    /// Doubles a stream's window if the budget allows, and announces all it is owed.
    #[cold]
    fn grow_stream_window(&mut self, stream: StreamKey) {
        let (now, streams, start) = (self.now, self.stream_count(), self.config.stream_window_octets);
        let Some(entry) = self.streams.live_mut(stream) else { return };
        let (id, before) = (entry.id, entry.share());
        let growth = self.budget.growth(entry.recv_window.target(), LARGEST_STREAM_WINDOW, start, streams);
        if growth > 0 {
            entry.recv_window.grow(growth, now);
            self.budget.window_grew();
        } else {
            entry.recv_window.usage.restart(now);
        }
        let credit = entry.recv_window.announce_all();
        self.budget.adjust(before, entry.share());
        if let Some(credit) = credit {
            self.write_window_update(id, credit);
        }
        if growth > 0 {
            self.measure_round_trip();
        }
    }

    /// A whole DATA frame counted against the connection's window, and its credit goes back at once. The window grows if
    /// it is what holds the peer up.
    #[inline]
    pub(super) fn connection_credit_used(&mut self, octets: u32) {
        self.round_trip.data_came();
        if self.recv_window.is_idle(self.now) {
            self.recv_window.shrink_if_idle(self.now);
        }
        self.recv_window.release(octets);
        let target = self.recv_window.target();
        if let Some(within) = self.round_trip.twice()
            && self.recv_window.usage.shows(target / 2, self.now, within)
            && self.config.connection_tuning == WindowTuning::Auto
        {
            self.grow_connection_window(target);
        }
    }

    /// It costs nothing of the budget, as what comes is held by streams and bounded by their windows; with the budget
    /// spent it does not grow all the same.
    #[cold]
    fn grow_connection_window(&mut self, target: u32) {
        let growth = target.min(LARGEST_CONNECTION_WINDOW.saturating_sub(target));
        if growth > 0 && self.budget.has_room() {
            self.recv_window.grow(growth, self.now);
            self.measure_round_trip();
        }
    }

    /// The connection's credit that has come together is announced.
    pub(super) fn announce_connection_credit(&mut self) {
        if let Some(credit) = self.recv_window.announce() {
            if let Some(within) = self.round_trip.twice() {
                self.recv_window.usage.credit_given(self.now, within);
            }
            self.write_window_update(0, credit);
        }
    }

    /// Asks the peer for an answer, unless one is awaited or a PING would count against us.
    fn measure_round_trip(&mut self) {
        if self.round_trip.may_ask() {
            self.round_trip.asked(self.now);
            self.ping(ROUND_TRIP_PING);
        }
    }

    /// A reader waits for a message of which `octets` are still to come: the window grows to hold it, as far as the
    /// connection's budget allows; the oldest such message always gets what it needs.
    pub fn expect_message(&mut self, stream: StreamKey, octets: usize) {
        let octets = u32::try_from(octets).unwrap_or(u32::MAX).min(crate::flow_control::MAX_WINDOW);
        let now = self.now;
        let within = self.round_trip.twice();
        let Some(entry) = self.streams.live_mut(stream) else { return };
        // Its reader has drained everything before: what is held is of this message.
        let earned = entry.recv != Half::Ended
            && self.config.stream_tuning == WindowTuning::Auto
            && within.is_some_and(|within| is_used(&entry.recv_window, now, within));
        if earned {
            self.grow_stream_window(stream);
        }
        let Some(entry) = self.streams.live_mut(stream) else { return };
        let promised = entry.recv_window.promised();
        if entry.recv == Half::Ended {
            return;
        }
        if promised >= octets {
            if entry.recv_window.open() < octets
                && let Some(credit) = entry.recv_window.announce_all()
            {
                let id = entry.id;
                self.write_window_update(id, credit);
            }
            return;
        }
        let contended = self.budget.oldest_while_others_wait().is_some();
        self.budget.request(stream, octets - promised, now);
        self.serve_grants();
        if self.budget.reclaim() {
            self.shrink_windows();
            self.serve_grants();
        }
        if !contended {
            self.budget.contention_began(now);
        }
    }

    /// A message waits for what windows have grown by: they go back to what they began with.
    fn shrink_windows(&mut self) {
        for (_, entry) in self.streams.iter_mut() {
            let before = entry.share();
            entry.recv_window.shrink(u32::MAX);
            self.budget.adjust(before, entry.share());
        }
    }

    /// The message asked for with [`Tx::expect_message`] is complete.
    pub fn message_complete(&mut self, stream: StreamKey) {
        let now = self.now;
        self.budget.finished(stream, now);
        self.serve_grants();
    }

    pub(super) fn serve_grants(&mut self) {
        while let Some(grant) = self.budget.next_grant() {
            let Some(entry) = self.streams.live_mut(grant.stream) else {
                let now = self.now;
                self.budget.finished(grant.stream, now);
                continue;
            };
            let before = entry.share();
            entry.recv_window.grant(grant.octets);
            let (id, credit, after) = (entry.id, entry.recv_window.announce_all(), entry.share());
            self.budget.adjust(before, after);
            if let Some(credit) = credit {
                self.write_window_update(id, credit);
            }
        }
    }

    /// While more is held than the budget allows, a stream is reset: the one that holds most of those that were granted
    /// nothing, and only without such the one that holds most. The oldest message in assembly is spared.
    pub(super) fn relieve_budget<H: Handler>(&mut self, handler: &mut H) -> Result<(), Violation> {
        while self.budget.is_overdrawn(0) {
            let oldest = self.budget.oldest();
            let spared = oldest.and_then(|key| self.streams.get(key)).map_or(0, |stream| stream.held);
            if !self.budget.is_overdrawn(spared) {
                return Ok(());
            }
            let victim = self
                .streams
                .iter()
                .filter(|(key, stream)| stream.held > 0 && oldest != Some(*key))
                .max_by_key(|(_, stream)| (!stream.recv_window.has_reserve(), stream.held))
                .map(|(key, _)| key);
            let Some(victim) = victim else { return Ok(()) };
            self.stream_error(victim, Violation::ReceiveBudget, handler)?;
        }
        Ok(())
    }

    /// The peer acknowledged our SETTINGS.
    ///
    /// Until then it may have counted with windows of 65,535 octets (RFC 9113 §6.9.2). If ours are smaller, those of the streams it has opened meanwhile shrink now, as its own view of them did.
    pub(super) fn window_size_acknowledged(&mut self) {
        self.window_size_binds = true;
        self.round_trip.answered(self.now);
        let by = i64::from(self.config.stream_window_octets).saturating_sub(i64::from(DEFAULT_WINDOW));
        if by >= 0 {
            return;
        }
        for (_, stream) in self.streams.iter_mut() {
            stream.recv_window.shift(by);
        }
    }
}

/// True if the peer used half of the stream's window soon after it was given credit, and the reader keeps up: one that leaves
/// more than a quarter unread is slower than the peer, and a larger window would only be held.
#[inline]
fn has_earned_more(entry: &Stream, now: Instant, within: Duration) -> bool {
    entry.held <= entry.recv_window.target() / 4 && is_used(&entry.recv_window, now, within)
}

/// True if the peer used half of the window soon after it was given credit. What it had beyond the window must be paid back.
#[inline]
fn is_used(window: &RecvWindow, now: Instant, within: Duration) -> bool {
    !window.has_reserve() && window.usage.shows((window.target() / 2).max(1), now, within)
}
