//! Flow control: windows in both directions, and the budget of what a connection may hold. RFC 9113 §5.2, §6.9.
//!
//! Three types that never mix. [`SendWindow`] is credit the peer gave us. `RecvWindow` is credit we gave, plus what we
//! owe and have not announced yet. `ReceiveBudget` bounds what all streams of a connection hold together, and decides
//! who may get more than the initial window.
//!
//! Invariant of `RecvWindow` on a stream: `open + owed + held = target + reserve`, where `held` is what arrived and was
//! not released; so what a stream can make us hold never exceeds `target + reserve`. The connection's window is the same
//! with nothing held. Credit that was announced cannot be taken back, so a window that shrinks turns the difference into
//! `reserve`, which is paid back before the peer gets new credit. `Connection::check` asserts both.
//!
//! When windows grow is measured in `window_tuning`; what may be given is decided by the budget here. Left out: a budget
//! over all connections of the process.

use std::collections::VecDeque;

use crate::stream::StreamKey;
use crate::time::Instant;
use crate::window_tuning::Usage;

/// The largest window RFC 9113 §6.9.1 allows.
pub const MAX_WINDOW: u32 = 0x7fff_ffff;

/// The window of connections and streams before anything was announced (RFC 9113 §6.9.2).
pub const DEFAULT_WINDOW: u32 = 65_535;

/// Credit is not kept back beyond this: what is kept back of a large window is missing on the way.
const ENOUGH: u32 = 512 * 1024;

/// A window would exceed 2^31 - 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overflow;

/// Credit in octets.
///
/// Invariant: never above 2^31 - 1; below zero only after SETTINGS_INITIAL_WINDOW_SIZE was lowered (§6.9.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window(i32);

impl Window {
    /// A window of `octets`, cut to the maximum.
    #[must_use]
    pub fn new(octets: u32) -> Self {
        Self(i32::try_from(octets.min(MAX_WINDOW)).unwrap_or(i32::MAX))
    }

    /// Adds credit.
    ///
    /// # Errors
    /// [`Overflow`] above 2^31 - 1; the window is unchanged.
    #[inline]
    pub fn grow(&mut self, octets: u32) -> Result<(), Overflow> {
        self.shift(i64::from(octets))
    }

    /// Uses credit if there is enough of it; says whether there was. Nothing can always be taken (§6.9.1).
    #[inline]
    pub fn take(&mut self, octets: u32) -> bool {
        if octets == 0 {
            return true;
        }
        match i64::from(self.0).checked_sub(i64::from(octets)) {
            Some(left) if left >= 0 => {
                self.0 = i32::try_from(left).unwrap_or(0);
                true
            }
            _ => false,
        }
    }

    /// Moves the window by the change of an initial window size (§6.9.2); it may become negative.
    ///
    /// # Errors
    /// [`Overflow`] above 2^31 - 1; the window is unchanged.
    #[inline]
    pub fn shift(&mut self, by: i64) -> Result<(), Overflow> {
        let moved = i64::from(self.0).saturating_add(by).max(i64::from(i32::MIN));
        self.0 = i32::try_from(moved).map_err(|_| Overflow)?;
        Ok(())
    }

    /// The credit; negative after the initial window size was lowered.
    #[must_use]
    pub const fn octets(self) -> i32 {
        self.0
    }

    /// The credit that can be used now.
    #[must_use]
    #[inline]
    pub fn available(self) -> u32 {
        u32::try_from(self.0).unwrap_or(0)
    }
}

/// Credit the peer gave us.
pub type SendWindow = Window;

/// Credit we gave the peer, and what we owe it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecvWindow {
    open: Window,
    owed: u32,
    target: u32,
    /// How much of the target it has grown by.
    grown: u32,
    /// Credit beyond the target, granted for a message or left of a larger target, that is not paid back yet.
    reserve: u32,
    pub(crate) usage: Usage,
}

impl RecvWindow {
    /// A window whose peer holds `open` octets of credit now and shall hold `target`.
    pub(crate) fn new(open: u32, target: u32) -> Self {
        Self {
            open: Window::new(open),
            owed: target.saturating_sub(open),
            target,
            grown: 0,
            reserve: 0,
            usage: Usage::new(),
        }
    }

    /// Octets arrived. False if the peer had no credit for them.
    #[inline]
    pub(crate) fn received(&mut self, octets: u32) -> bool {
        self.usage.arrived(octets);
        self.open.take(octets)
    }

    /// Octets were consumed: what the peer had beyond the target is paid back with them, and for the rest it is owed
    /// credit.
    #[inline]
    pub(crate) fn release(&mut self, octets: u32) {
        let repaid = octets.min(self.reserve);
        self.reserve -= repaid;
        self.owed = self.owed.saturating_add(octets - repaid);
    }

    /// The peer is to get credit beyond the target, once.
    pub(crate) fn grant(&mut self, octets: u32) {
        self.reserve = self.reserve.saturating_add(octets);
        self.owed = self.owed.saturating_add(octets);
    }

    /// The target grows; the peer is owed the difference.
    pub(crate) fn grow(&mut self, octets: u32, now: Instant) {
        self.target = self.target.saturating_add(octets);
        self.grown = self.grown.saturating_add(octets);
        self.owed = self.owed.saturating_add(octets);
        self.usage.restart(now);
    }

    /// The target shrinks by up to `octets` of what it has grown. What was announced already becomes reserve.
    pub(crate) fn shrink(&mut self, octets: u32) {
        let octets = octets.min(self.grown);
        self.target -= octets;
        self.grown -= octets;
        let unannounced = octets.min(self.owed);
        self.owed -= unannounced;
        self.reserve = self.reserve.saturating_add(octets - unannounced);
    }

    /// True if it has grown and was then hardly used for long: [`RecvWindow::shrink_if_idle`] is due.
    #[inline]
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.grown > 0 && self.usage.is_idle(now)
    }

    /// Halves what lay idle, once for each half minute, down to what it began with. Credit that was given stays given, so
    /// there is no use in doing it before octets come again.
    pub(crate) fn shrink_if_idle(&mut self, now: Instant) {
        let left = self.target.checked_shr(self.usage.halvings(now)).unwrap_or(0);
        self.shrink(self.target - left);
    }

    /// What the peer shall be able to have on its way.
    #[inline]
    pub(crate) fn target(&self) -> u32 {
        self.target
    }

    /// What it may come to hold beyond the window it began with.
    #[inline]
    pub(crate) fn beyond_start(&self) -> u32 {
        self.reserve.saturating_add(self.grown)
    }

    /// True if it was granted credit for a message, or has not paid back that of a larger window.
    pub(crate) fn has_reserve(&self) -> bool {
        self.reserve > 0
    }

    /// `open + owed` and `target + reserve`: they differ by what is held.
    #[cfg(debug_assertions)]
    pub(crate) fn sums(&self) -> (i64, i64) {
        (
            i64::from(self.open.octets()) + i64::from(self.owed),
            i64::from(self.target) + i64::from(self.reserve),
        )
    }

    /// The credit to announce now, if enough has come together: a quarter of the target, no more than [`ENOUGH`], or
    /// anything at all when the peer has less than that left. The caller must send it.
    #[inline]
    pub(crate) fn announce(&mut self) -> Option<u32> {
        let enough = (self.target / 4).clamp(1, ENOUGH);
        let starved = self.open.available() < enough;
        if self.owed == 0 || (self.owed < enough && !starved) {
            return None;
        }
        self.announce_all()
    }

    /// All the credit owed, if any. The caller must send it.
    pub(crate) fn announce_all(&mut self) -> Option<u32> {
        let credit = self.owed.min(MAX_WINDOW);
        if credit == 0 || self.open.grow(credit).is_err() {
            return None;
        }
        self.owed = self.owed.saturating_sub(credit);
        Some(credit)
    }

    /// What was announced and not used, and what is owed beyond it.
    pub(crate) const fn credit(&self) -> (i32, u32) {
        (self.open.octets(), self.owed)
    }

    /// What the peer can send now.
    #[inline]
    pub(crate) fn open(&self) -> u32 {
        self.open.available()
    }

    /// What the peer can still send, counting what is about to be announced.
    pub(crate) fn promised(&self) -> u32 {
        u32::try_from(i64::from(self.open.octets()).saturating_add(i64::from(self.owed))).unwrap_or(0)
    }

    /// The peer has learned another initial window size and counts with it from here on (§6.9.2).
    #[inline]
    pub(crate) fn shift(&mut self, by: i64) {
        // Down only, and never below -2^31: it cannot overflow.
        let _ = self.open.shift(by);
    }
}

/// One message whose reader waits for more octets than its stream's window holds.
#[derive(Clone, Copy, Debug)]
struct Assembly {
    stream: StreamKey,
    /// Octets it needs beyond what was promised; zero once they were granted.
    lacking: u32,
    /// When octets of it last arrived; kept for the oldest only.
    progress: Instant,
}

/// A grant the connection must now turn into a WINDOW_UPDATE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Grant {
    pub(crate) stream: StreamKey,
    pub(crate) octets: u32,
}

/// What one stream takes out of the receive budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Share {
    /// What it may come to hold beyond its initial window, or holds already: `max(reserve + grown, held)`.
    pub(crate) spoken_for: u32,
    /// What it holds.
    pub(crate) held: u32,
}

/// What one connection may hold of octets that nobody has consumed.
///
/// Two sums that answer two questions. Grants beyond the initial window come out of what is not *spoken for*; with the
/// budget spent nobody gets more, except the oldest message in assembly, which always gets what it needs to finish.
/// Windows grow only while no message waits and only out of what is left when a part is kept for messages and beginnings.
/// What is *held* is memory: past the limit, the oldest message not counted, streams must go. A grant nobody has used
/// yet is a promise and costs no other stream its life.
#[derive(Debug)]
pub(crate) struct ReceiveBudget {
    limit: usize,
    spoken_for: usize,
    held: usize,
    /// Messages that asked for more than their window, oldest first.
    assemblies: VecDeque<Assembly>,
    /// A window grew since the last [`ReceiveBudget::reclaim`].
    windows_grew: bool,
}

impl ReceiveBudget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, spoken_for: 0, held: 0, assemblies: VecDeque::new(), windows_grew: false }
    }

    /// Gives back spare room.
    pub(crate) fn rest(&mut self) {
        self.assemblies.shrink_to_fit();
    }

    /// A stream's share changed.
    #[inline]
    pub(crate) fn adjust(&mut self, before: Share, after: Share) {
        let moved = |sum: usize, before: u32, after: u32| {
            sum.saturating_add(after as usize).saturating_sub(before as usize)
        };
        self.spoken_for = moved(self.spoken_for, before.spoken_for, after.spoken_for);
        self.held = moved(self.held, before.held, after.held);
    }

    /// By how much a window of `target` octets may grow, up to `largest`: doubled, or by what is left if that is worth a
    /// WINDOW_UPDATE. `start` is what every stream's window begins with, and there are `streams` of them: room for their
    /// beginnings, and for messages, is kept free, a quarter of the budget at least and half of it at most.
    pub(crate) fn growth(&self, target: u32, largest: u32, start: u32, streams: usize) -> u32 {
        if self.assemblies.iter().any(|entry| entry.lacking > 0) {
            return 0;
        }
        let start = start as usize;
        let kept = start.saturating_mul(streams).clamp(self.limit / 4, (self.limit / 2).max(start));
        let room = self.limit.saturating_sub(kept).saturating_sub(self.spoken_for);
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        let growth = target.min(largest.saturating_sub(target)).min(room);
        if growth >= target / 4 { growth } else { 0 }
    }

    /// True if something of the budget is left and nobody waits for it.
    pub(crate) fn has_room(&self) -> bool {
        self.spoken_for < self.limit && self.assemblies.iter().all(|entry| entry.lacking == 0)
    }

    /// A window grew.
    pub(crate) fn window_grew(&mut self) {
        self.windows_grew = true;
    }

    /// True if a message waits for the budget and windows have grown that could give some of it back. Asked once: the
    /// caller shrinks them.
    pub(crate) fn reclaim(&mut self) -> bool {
        self.windows_grew
            && self.assemblies.iter().any(|entry| entry.lacking > 0)
            && core::mem::take(&mut self.windows_grew)
    }

    /// True if more is held than the budget allows, `spared` octets (of the oldest message) not counted.
    #[inline]
    pub(crate) fn is_overdrawn(&self, spared: u32) -> bool {
        self.held.saturating_sub(spared as usize) > self.limit
    }

    /// Octets spoken for and held, all streams together; compared with the streams in debug builds.
    #[cfg(debug_assertions)]
    pub(crate) fn sums(&self) -> (usize, usize) {
        (self.spoken_for, self.held)
    }

    /// A reader waits for a message that needs `lacking` octets more than its stream was promised.
    pub(crate) fn request(&mut self, stream: StreamKey, lacking: u32, now: Instant) {
        match self.assemblies.iter_mut().find(|entry| entry.stream == stream) {
            Some(entry) => entry.lacking = lacking,
            None => self.assemblies.push_back(Assembly { stream, lacking, progress: now }),
        }
    }

    /// If somebody waits since `now` and nobody did before, the oldest message's patience begins only now.
    pub(crate) fn contention_began(&mut self, now: Instant) {
        if self.oldest_while_others_wait().is_some()
            && let Some(oldest) = self.assemblies.front_mut()
        {
            oldest.progress = now;
        }
    }

    /// The message is complete, or its stream is gone.
    #[inline]
    pub(crate) fn finished(&mut self, stream: StreamKey, now: Instant) {
        if self.assemblies.is_empty() {
            return;
        }
        let was_oldest = self.oldest() == Some(stream);
        self.assemblies.retain(|entry| entry.stream != stream);
        if was_oldest && let Some(oldest) = self.assemblies.front_mut() {
            oldest.progress = now;
        }
    }

    /// Octets arrived for a message in assembly.
    #[inline]
    pub(crate) fn progressed(&mut self, stream: StreamKey, now: Instant) {
        if let Some(oldest) = self.assemblies.front_mut()
            && oldest.stream == stream
        {
            oldest.progress = now;
        }
    }

    /// The stream of the oldest message in assembly.
    pub(crate) fn oldest(&self) -> Option<StreamKey> {
        self.assemblies.front().map(|entry| entry.stream)
    }

    /// The next grant the budget has room for; the caller adds it to the stream's reserve (through
    /// [`ReceiveBudget::adjust`]) before asking again.
    pub(crate) fn next_grant(&mut self) -> Option<Grant> {
        let room = self.limit.saturating_sub(self.spoken_for);
        let mut oldest = true;
        for entry in &mut self.assemblies {
            if entry.lacking > 0 && (oldest || entry.lacking as usize <= room) {
                let octets = core::mem::take(&mut entry.lacking);
                return Some(Grant { stream: entry.stream, octets });
            }
            oldest = false;
        }
        None
    }

    /// The oldest message, if others wait for what it holds, and since when it has made no progress.
    pub(crate) fn oldest_while_others_wait(&self) -> Option<(StreamKey, Instant)> {
        let oldest = self.assemblies.front()?;
        let others_wait = self.assemblies.iter().skip(1).any(|entry| entry.lacking > 0);
        others_wait.then_some((oldest.stream, oldest.progress))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u32) -> StreamKey {
        StreamKey::for_tests(slot)
    }

    #[test]
    fn a_window_never_passes_its_maximum() {
        let mut window = Window::new(u32::MAX);
        assert_eq!(window.octets(), i32::MAX);
        assert_eq!(window.grow(1), Err(Overflow));
        assert_eq!(window.octets(), i32::MAX);
    }

    #[test]
    fn a_negative_window_gives_nothing_but_an_empty_frame() {
        let mut window = Window::new(10);
        assert_eq!(window.shift(-30), Ok(()));
        assert_eq!((window.octets(), window.available()), (-20, 0));
        assert!(window.take(0));
        assert!(!window.take(1));
        assert_eq!(window.grow(25), Ok(()));
        assert!(window.take(5));
    }

    #[test]
    fn credit_is_announced_in_quarters_or_when_starved() {
        let mut window = RecvWindow::new(1000, 1000);
        assert!(window.received(300));
        window.release(200);
        assert_eq!(window.announce(), None);
        window.release(100);
        assert_eq!(window.announce(), Some(300));
        assert!(window.received(800));
        window.release(1);
        assert_eq!(window.announce(), Some(1), "200 octets left are less than a quarter");
        assert!(!window.received(300));
    }

    #[test]
    fn a_window_that_shrinks_is_paid_back_before_new_credit() {
        let mut window = RecvWindow::new(1000, 1000);
        window.grow(3000, Instant::ZERO);
        assert_eq!((window.announce_all(), window.beyond_start()), (Some(3000), 3000));
        assert!(window.received(500));
        window.release(500);
        window.shrink(u32::MAX);
        assert_eq!(
            (window.target(), window.beyond_start()),
            (1000, 2500),
            "500 were owed and are not any more"
        );
        assert!(window.received(3500));
        window.release(2500);
        assert_eq!((window.announce(), window.has_reserve()), (None, false));
        window.release(1000);
        assert_eq!(window.announce(), Some(1000));
    }

    #[test]
    fn windows_grow_out_of_what_the_budget_leaves() {
        let mut budget = ReceiveBudget::new(1000);
        assert_eq!(budget.growth(200, 10_000, 50, 1), 200);
        assert_eq!(budget.growth(200, 300, 50, 1), 100);
        assert_eq!(budget.growth(900, 10_000, 50, 5), 750, "a quarter is kept free");
        assert_eq!(budget.growth(900, 10_000, 50, 8), 600, "or the beginnings of 8 streams");
        assert_eq!(budget.growth(900, 10_000, 50, 80), 500, "or half");
        assert_eq!(budget.growth(900, 10_000, 700, 1), 300, "its own beginning in any case");
        let share = Share { spoken_for: 600, held: 0 };
        budget.adjust(Share::default(), share);
        assert_eq!((budget.growth(200, 10_000, 50, 1), budget.growth(800, 10_000, 50, 1)), (150, 0));
        budget.window_grew();
        assert!(!budget.reclaim(), "nobody waits");
        budget.request(key(1), 300, Instant::ZERO);
        assert!(budget.next_grant().is_some());
        budget.request(key(2), 500, Instant::ZERO);
        assert_eq!(budget.next_grant(), None);
        assert_eq!((budget.growth(10, 10_000, 50, 1), budget.has_room()), (0, false), "a message waits");
        assert!(budget.reclaim() && !budget.reclaim());
    }

    #[test]
    fn the_budget_grants_in_order_and_always_serves_the_oldest() {
        let mut budget = ReceiveBudget::new(100);
        budget.request(key(1), 150, Instant::ZERO);
        budget.request(key(2), 50, Instant::ZERO);
        assert_eq!(
            budget.next_grant(),
            Some(Grant { stream: key(1), octets: 150 }),
            "more than the budget holds"
        );
        let granted = Share { spoken_for: 150, held: 0 };
        budget.adjust(Share::default(), granted);
        assert!(!budget.is_overdrawn(0), "nothing has come yet");
        assert_eq!(budget.next_grant(), None);
        assert_eq!(budget.oldest_while_others_wait(), Some((key(1), Instant::ZERO)));
        budget.progressed(key(1), Instant::from_millis(5));
        assert_eq!(budget.oldest_while_others_wait(), Some((key(1), Instant::from_millis(5))));
        let filled = Share { spoken_for: 150, held: 150 };
        budget.adjust(granted, filled);
        assert!(budget.is_overdrawn(0) && !budget.is_overdrawn(150));
        budget.adjust(filled, Share::default());
        budget.finished(key(1), Instant::from_millis(7));
        assert_eq!(budget.oldest_while_others_wait(), None);
        assert_eq!(budget.next_grant(), Some(Grant { stream: key(2), octets: 50 }));
    }
}
