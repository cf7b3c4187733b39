//! The deadlines of one connection's calls: a hierarchical timer wheel with ticks of a millisecond.
//!
//! Nearly every deadline is taken out before it passes, so putting in and taking out are what must be cheap: a place in a
//! list, found by a shift. A deadline is put into the slot of the finest level that tells it from now; when time reaches a
//! coarse slot, its entries move to finer ones. tokio's timer and the kernel's tick no finer than a millisecond either.
//!
//! Invariants: no entry expires before its instant (instants are rounded up to ticks); an entry of level `n` differs from
//! the wheel's tick in digit `n` (base 32) and in none above it, so the entries of a level are later than all of the levels
//! below, and lower slots of a level are earlier than higher ones.

use core::num::NonZeroU32;

use clearway_http2::Instant;

/// Nanoseconds of a tick.
const TICK: u64 = 1_000_000;
/// Bits of a digit.
const DIGIT: u32 = 5;
/// Slots of a level.
const SLOTS: usize = 1 << DIGIT;
/// Levels; 2^25 ticks are nine hours.
const LEVELS: usize = 5;
/// Bits of all levels.
const ROUND: u32 = 25;
/// The list of entries beyond the coarsest level.
const FAR: usize = LEVELS * SLOTS;
/// The list of entries whose tick has come.
const DUE: usize = FAR + 1;
const LISTS: usize = DUE + 1;
/// No entry.
const NONE: u32 = u32::MAX;

/// Names one entry of [`Deadlines`], to take it out again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket {
    /// One more than the place, so that an absent ticket takes no room.
    number: NonZeroU32,
    generation: u32,
}

#[derive(Debug)]
struct Node<T> {
    tick: u64,
    prev: u32,
    next: u32,
    list: u16,
    generation: u32,
    /// None in a free node.
    what: Option<T>,
}

/// The deadlines of one connection's calls.
#[derive(Debug)]
pub(crate) struct Deadlines<T> {
    /// All ticks up to this one have been looked at.
    tick: u64,
    /// The first entry of each list; no memory is taken before the first deadline.
    heads: Vec<u32>,
    /// Which slots of each level are not empty.
    occupied: [u32; LEVELS],
    nodes: Vec<Node<T>>,
    free: u32,
    count: usize,
}

impl<T> Default for Deadlines<T> {
    fn default() -> Self {
        Self { tick: 0, heads: Vec::new(), occupied: [0; LEVELS], nodes: Vec::new(), free: NONE, count: 0 }
    }
}

impl<T> Deadlines<T> {
    /// A wheel for deadlines after `now`, which has not to be turned from zero to there.
    pub(crate) fn beginning(now: Instant) -> Self {
        Self { tick: now.as_nanos() / TICK, ..Self::default() }
    }

    /// True if nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Puts in what is due at `at`.
    pub(crate) fn insert(&mut self, at: Instant, what: T) -> Ticket {
        if self.heads.is_empty() {
            self.heads.resize(LISTS, NONE);
        }
        self.count = self.count.saturating_add(1);
        let tick = at.as_nanos().div_ceil(TICK);
        let index = match self.nodes.get_mut(self.free as usize) {
            Some(node) => {
                node.tick = tick;
                node.what = Some(what);
                core::mem::replace(&mut self.free, node.next)
            }
            None => {
                let what = Some(what);
                self.nodes.push(Node { tick, prev: NONE, next: NONE, list: 0, generation: 0, what });
                u32::try_from(self.nodes.len().saturating_sub(1)).unwrap_or(NONE)
            }
        };
        self.link(index, tick);
        let generation = self.nodes.get(index as usize).map_or(0, |node| node.generation);
        Ticket { number: NonZeroU32::MIN.saturating_add(index), generation }
    }

    /// Takes an entry out; one that has expired or was taken out is left alone.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        let index = ticket.number.get().wrapping_sub(1);
        let Some(node) = self.nodes.get(index as usize) else { return };
        if node.generation == ticket.generation && node.what.is_some() {
            self.take(index);
        }
    }

    /// When something may have to be done: not after the earliest deadline's tick, and before it if entries must move first.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next_tick().map(|tick| Instant::from_nanos(tick.saturating_mul(TICK)))
    }

    /// Takes out one entry whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<T> {
        let last = now.as_nanos() / TICK;
        loop {
            let due = self.head(DUE);
            if due != NONE {
                return self.take(due);
            }
            match self.next_tick() {
                Some(tick) if tick <= last => self.reach(tick),
                _ => {
                    self.tick = self.tick.max(last);
                    return None;
                }
            }
        }
    }

    fn head(&self, list: usize) -> u32 {
        self.heads.get(list).copied().unwrap_or(NONE)
    }

    /// The next tick at which a list must be looked at.
    fn next_tick(&self) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        if self.head(DUE) != NONE {
            return Some(self.tick);
        }
        for (level, occupied) in (0u32..).zip(self.occupied) {
            if occupied != 0 {
                let above = self.tick >> (DIGIT * (level + 1)) << (DIGIT * (level + 1));
                return Some(above | u64::from(occupied.trailing_zeros()) << (DIGIT * level));
            }
        }
        Some(((self.tick >> ROUND).saturating_add(1)) << ROUND)
    }

    /// Moves the wheel on to a tick that [`Deadlines::next_tick`] gave, and the entries of its slot to where they belong now.
    fn reach(&mut self, tick: u64) {
        let level = self.occupied.iter().position(|occupied| *occupied != 0);
        let list = match level {
            Some(level) => {
                let slot = slot(tick, level);
                if let Some(occupied) = self.occupied.get_mut(level) {
                    *occupied &= !(1 << slot);
                }
                level * SLOTS + slot
            }
            None => FAR,
        };
        self.tick = tick;
        let mut index = self.heads.get_mut(list).map_or(NONE, |head| core::mem::replace(head, NONE));
        while let Some((next, tick)) = self.nodes.get(index as usize).map(|node| (node.next, node.tick)) {
            self.link(index, tick);
            index = next;
        }
    }

    /// Puts a node that is in no list into the one of its tick.
    fn link(&mut self, index: u32, tick: u64) {
        let list = self.list_of(tick);
        if list < FAR
            && let Some(occupied) = self.occupied.get_mut(list / SLOTS)
        {
            *occupied |= 1 << (list % SLOTS);
        }
        let next = self.heads.get_mut(list).map_or(NONE, |head| core::mem::replace(head, index));
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.prev = index;
        }
        if let Some(node) = self.nodes.get_mut(index as usize) {
            (node.prev, node.next) = (NONE, next);
            node.list = u16::try_from(list).unwrap_or(0);
        }
    }

    fn list_of(&self, tick: u64) -> usize {
        if tick <= self.tick {
            return DUE;
        }
        let level = ((tick ^ self.tick).ilog2() / DIGIT) as usize;
        if level >= LEVELS { FAR } else { level * SLOTS + slot(tick, level) }
    }

    /// Takes a node that holds an entry out of its list, and frees it.
    fn take(&mut self, index: u32) -> Option<T> {
        let node = self.nodes.get_mut(index as usize)?;
        let (prev, next, list) = (node.prev, node.next, usize::from(node.list));
        let what = node.what.take();
        node.generation = node.generation.wrapping_add(1);
        node.next = core::mem::replace(&mut self.free, index);
        self.count = self.count.saturating_sub(1);
        if let Some(next) = self.nodes.get_mut(next as usize) {
            next.prev = prev;
        }
        if let Some(prev) = self.nodes.get_mut(prev as usize) {
            prev.next = next;
            return what;
        }
        if let Some(head) = self.heads.get_mut(list) {
            *head = next;
        }
        if next == NONE
            && let Some(occupied) = self.occupied.get_mut(list / SLOTS)
        {
            *occupied &= !(1 << (list % SLOTS));
        }
        what
    }
}

/// The digit of a tick that says which slot of a level it belongs to.
fn slot(tick: u64, level: usize) -> usize {
    const MASK: u64 = (1 << DIGIT) - 1;
    usize::try_from((tick >> (DIGIT as usize * level)) & MASK).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn deadlines_expire_in_order_and_can_be_taken_out() {
        let at = Instant::from_millis;
        let mut deadlines = Deadlines::default();
        deadlines.insert(at(20), "b");
        let gone = deadlines.insert(at(5), "x");
        deadlines.insert(at(10), "a");
        deadlines.cancel(gone);
        deadlines.cancel(gone);
        assert_eq!(deadlines.next(), Some(at(10)));
        assert_eq!(deadlines.expire(at(9)), None);
        assert_eq!(deadlines.expire(at(30)), Some("a"));
        assert_eq!(deadlines.expire(at(30)), Some("b"));
        assert_eq!(deadlines.expire(at(30)), None);
        assert_eq!(deadlines.next(), None);
        // A ticket of an entry that is gone does not reach the one that has its place now.
        let fresh = deadlines.insert(at(31), "c");
        deadlines.cancel(gone);
        assert_eq!(deadlines.expire(at(31)), Some("c"));
        deadlines.cancel(fresh);
        assert_eq!(deadlines.next(), None);
    }

    /// Against a sorted list: whatever is put in, taken out and waited for, each entry expires at the first look at or after
    /// its tick, never before its instant, and a driver that sleeps until `next` misses none.
    #[test]
    fn it_is_a_sorted_list_but_faster() {
        let mut random = 7u64;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for round in 0..200 {
            let mut deadlines = Deadlines::default();
            let mut model: Vec<(Instant, u64, Ticket)> = Vec::new();
            let mut now = Instant::from_nanos(draw(1 << (round % 50 + 1)));
            for number in 0..200u64 {
                match draw(10) {
                    0..=5 => {
                        let spread = 1 << draw(56);
                        let at = now + Duration::from_nanos(draw(spread));
                        let ticket = deadlines.insert(at, number);
                        model.push((at, number, ticket));
                    }
                    6 | 7 if !model.is_empty() => {
                        let index = usize::try_from(draw(model.len() as u64)).unwrap();
                        deadlines.cancel(model.swap_remove(index).2);
                    }
                    8 => now = now + Duration::from_nanos(draw(1 << 40)),
                    _ => now = deadlines.next().map_or(now, |next| next.max(now)),
                }
                while let Some(expired) = deadlines.expire(now) {
                    let index = model.iter().position(|(_, number, _)| *number == expired).unwrap();
                    assert!(model.swap_remove(index).0 <= now, "round {round}: too early");
                }
                let tick = now.as_nanos() / TICK;
                assert!(model.iter().all(|(at, ..)| at.as_nanos().div_ceil(TICK) > tick), "round {round}");
                let earliest = model.iter().map(|(at, ..)| at.as_nanos().div_ceil(TICK)).min();
                let next = deadlines.next().map(|next| next.as_nanos() / TICK);
                assert_eq!(next.is_some(), earliest.is_some());
                assert!(next <= earliest, "round {round}: {next:?} is later than {earliest:?}");
                assert!(next.is_none_or(|next| next > tick), "round {round}: the timer must move on");
            }
        }
    }

    #[test]
    fn a_deadline_for_ever_and_one_long_past_are_kept_apart() {
        let mut deadlines = Deadlines::default();
        let now = Instant::from_millis(1 << 30);
        deadlines.insert(Instant::FAR_FUTURE, "never");
        deadlines.insert(Instant::from_millis(3), "past");
        assert_eq!(deadlines.expire(now), Some("past"));
        assert_eq!(deadlines.expire(now), None);
        assert!(deadlines.next().is_some_and(|next| next > now));
        assert_eq!(deadlines.expire(Instant::FAR_FUTURE), None);
    }
}
