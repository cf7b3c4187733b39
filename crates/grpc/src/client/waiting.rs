//! Calls that wait: for a connection (in the channel) or for a free stream (in a connection). Oldest first.
//!
//! Invariants: all calls of a channel that wait, wherever they do, occupy one of its [`Places`] each, and give it back the
//! moment they are opened, over, or given up. A call whose caller has given up stays in a queue until its turn comes or
//! until such calls could be half of the queue; then they are thrown out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clearway_http2::Instant;

use super::start::StartCall;
use crate::deadline::{Deadlines, Ticket};
use crate::sync::AtomicUsize;

/// Below this many entries nobody looks for calls given up.
const PURGE_AT: usize = 64;

/// How many calls of one channel may wait, and how many do.
#[derive(Debug)]
pub(crate) struct Places {
    taken: AtomicUsize,
    limit: usize,
}

/// All places are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QueueFull {
    pub(crate) limit: usize,
}

/// One place; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

impl Places {
    pub(crate) fn new(limit: usize) -> Self {
        Self { taken: AtomicUsize::new(0), limit }
    }

    pub(crate) fn take(self: &Arc<Self>) -> Result<Place, QueueFull> {
        // What stood there before decides: of two that come at once for the last place, one gets it.
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        if before < self.limit { Ok(place) } else { Err(QueueFull { limit: self.limit }) }
    }

    pub(crate) fn take_always(self: &Arc<Self>) -> Place {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(self))
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Entry {
    call: Box<StartCall>,
    ticket: Option<Ticket>,
}

/// A queue of calls, in the order they came, with their deadlines.
pub(crate) struct Waiting {
    entries: BTreeMap<i64, Entry>,
    next: i64,
    deadlines: Deadlines<i64>,
    purge_at: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), next: 0, deadlines: Deadlines::default(), purge_at: PURGE_AT }
    }
}

impl Waiting {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts a call at the end; `deadline` is on the owner's scale.
    pub(crate) fn push(&mut self, call: Box<StartCall>, deadline: Option<Instant>) {
        if self.entries.len() >= self.purge_at {
            self.purge();
        }
        let seq = self.next;
        self.next = self.next.wrapping_add(1);
        self.insert(seq, call, deadline);
    }

    /// Puts a call before all others: it was taken out and could not go.
    pub(crate) fn put_back(&mut self, call: Box<StartCall>, deadline: Option<Instant>) {
        let seq = self.entries.first_key_value().map_or(self.next, |(first, _)| *first).wrapping_sub(1);
        self.insert(seq, call, deadline);
    }

    fn insert(&mut self, seq: i64, call: Box<StartCall>, deadline: Option<Instant>) {
        let ticket = deadline.map(|at| self.deadlines.insert(at, seq));
        self.entries.insert(seq, Entry { call, ticket });
    }

    /// The oldest call that is still wanted.
    pub(crate) fn pop(&mut self) -> Option<Box<StartCall>> {
        while let Some((_, entry)) = self.entries.pop_first() {
            if let Some(ticket) = entry.ticket {
                self.deadlines.cancel(ticket);
            }
            if !entry.call.inbound.is_abandoned() {
                return Some(entry.call);
            }
        }
        None
    }

    /// True if a call is here that is still wanted; the oldest ones that are not are thrown out.
    pub(crate) fn is_wanted(&mut self) -> bool {
        while let Some(oldest) = self.entries.first_entry() {
            if !oldest.get().call.inbound.is_abandoned() {
                return true;
            }
            if let Some(ticket) = oldest.remove().ticket {
                self.deadlines.cancel(ticket);
            }
        }
        false
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Takes out one call whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Box<StartCall>> {
        while let Some(seq) = self.deadlines.expire(now) {
            if let Some(entry) = self.entries.remove(&seq) {
                return Some(entry.call);
            }
        }
        None
    }

    fn purge(&mut self) {
        let Self { entries, deadlines, .. } = self;
        entries.retain(|_, entry| {
            let gone = entry.call.inbound.is_abandoned();
            if gone && let Some(ticket) = entry.ticket {
                deadlines.cancel(ticket);
            }
            !gone
        });
        self.purge_at = PURGE_AT.max(self.entries.len().saturating_mul(2));
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbound::{Inbound, WakeAt};

    fn call() -> Box<StartCall> {
        Box::new(StartCall::for_tests(Arc::new(Inbound::unopened(WakeAt::End))))
    }

    #[test]
    fn a_place_comes_back_when_the_call_is_over_or_given_up() {
        let places = Arc::new(Places::new(2));
        let calls: Vec<_> = (0..3).map(|_| Inbound::unopened(WakeAt::End)).collect();
        assert_eq!(calls[0].occupy(&places), Ok(()));
        assert_eq!(calls[0].occupy(&places), Ok(()), "one call takes one place");
        assert_eq!(calls[1].occupy(&places), Ok(()));
        assert_eq!(calls[2].occupy(&places), Err(QueueFull { limit: 2 }));
        assert_eq!(places.taken(), 2, "a refusal takes nothing");
        calls[0].abandon();
        assert_eq!(calls[2].occupy(&places), Ok(()));
        calls[1].end(Ok(crate::metadata::MetadataMap::new()));
        calls[2].end(Ok(crate::metadata::MetadataMap::new()));
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn calls_given_up_are_skipped_and_do_not_pile_up() {
        let mut waiting = Waiting::default();
        for _ in 0..10_000 {
            let given_up = call();
            given_up.inbound.abandon();
            waiting.push(given_up, Some(Instant::from_millis(1)));
            assert!(waiting.len() <= PURGE_AT);
        }
        let wanted = call();
        let inbound = Arc::clone(&wanted.inbound);
        waiting.push(wanted, None);
        assert!(waiting.pop().is_some_and(|call| Arc::ptr_eq(&call.inbound, &inbound)));
        assert!(waiting.pop().is_none() && waiting.next_deadline().is_none());
    }

    #[test]
    fn a_call_whose_deadline_passes_leaves_the_queue_and_the_order_stays() {
        let mut waiting = Waiting::default();
        let calls: Vec<_> = (0..3).map(|_| call()).collect();
        let inbounds: Vec<_> = calls.iter().map(|call| Arc::clone(&call.inbound)).collect();
        for (call, at) in calls.into_iter().zip([30, 10, 20]) {
            waiting.push(call, Some(Instant::from_millis(at)));
        }
        assert!(waiting.expire(Instant::from_millis(9)).is_none());
        let expired = waiting.expire(Instant::from_millis(10)).unwrap();
        assert!(Arc::ptr_eq(&expired.inbound, &inbounds[1]));
        let first = waiting.pop().unwrap();
        assert!(Arc::ptr_eq(&first.inbound, &inbounds[0]));
        waiting.put_back(first, None);
        assert!(Arc::ptr_eq(&waiting.pop().unwrap().inbound, &inbounds[0]));
        assert!(Arc::ptr_eq(&waiting.pop().unwrap().inbound, &inbounds[2]));
        assert!(waiting.is_empty() && waiting.next_deadline().is_none());
    }
}
