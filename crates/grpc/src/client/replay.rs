//! What was sent of a request, kept for another attempt: how much a call may keep, and how much all calls of a channel.
//!
//! Source: gRFC A6, "Memory Management (Buffering)".
//!
//! Invariant: a call keeps everything it sent or nothing. Whoever drops what is kept gives its octets back to the channel.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::sync::AtomicUsize;

/// How many octets calls of a channel may keep, and how many they do.
#[derive(Debug)]
pub(crate) struct Room {
    taken: AtomicUsize,
    limit: usize,
    /// What one call may keep.
    per_call: usize,
}

/// Octets of a [`Room`]; dropping it gives them back.
#[derive(Debug)]
pub(crate) struct Reserved {
    room: Arc<Room>,
    octets: usize,
}

/// The payloads of a call, or nothing if there was no room for all of them.
#[derive(Debug)]
pub(crate) struct Kept(Option<Whole>);

#[derive(Debug)]
struct Whole {
    sent: Vec<Bytes>,
    reserved: Reserved,
    limit: usize,
}

impl Room {
    pub(crate) fn new(per_call: usize, limit: usize) -> Self {
        Self { taken: AtomicUsize::new(0), limit, per_call }
    }

    /// For a call that may keep so many octets.
    pub(crate) fn keep(self: &Arc<Self>, limit: usize) -> Kept {
        Kept(Some(Whole { sent: Vec::new(), reserved: self.reserve_nothing(), limit }))
    }

    /// For a call that may keep as much as any.
    pub(crate) fn keep_for_call(self: &Arc<Self>) -> Kept {
        self.keep(self.per_call)
    }

    /// For one message of so many octets; none if a call may not keep so much, or there is no room.
    pub(crate) fn reserve(self: &Arc<Self>, octets: usize) -> Option<Reserved> {
        let mut reserved = self.reserve_nothing();
        (octets <= self.per_call && reserved.grow(octets)).then_some(reserved)
    }

    fn reserve_nothing(self: &Arc<Self>) -> Reserved {
        Reserved { room: Arc::clone(self), octets: 0 }
    }

    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Reserved {
    fn grow(&mut self, octets: usize) -> bool {
        let before = self.room.taken.fetch_add(octets, Ordering::Relaxed);
        self.octets = self.octets.saturating_add(octets);
        before.saturating_add(octets) <= self.room.limit
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

impl Kept {
    pub(crate) const fn nothing() -> Self {
        Self(None)
    }

    /// Nothing was thrown away.
    pub(crate) const fn is_whole(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn sent(&self) -> &[Bytes] {
        self.0.as_ref().map_or(&[], |whole| &whole.sent)
    }

    /// Keeps one more payload in any case: it was not sent anywhere.
    pub(crate) fn push_unsent(&mut self, payload: &Bytes) {
        if let Some(Whole { sent, reserved, .. }) = &mut self.0 {
            // Beyond the limit if need be: it is one batch, and the writer waits after it.
            reserved.grow(payload.len());
            sent.push(payload.clone());
        }
    }

    /// Keeps one more payload. False if it cannot; then nothing is kept any more.
    pub(crate) fn push(&mut self, payload: &Bytes) -> bool {
        let Some(Whole { sent, reserved, limit }) = &mut self.0 else { return false };
        if reserved.octets.saturating_add(payload.len()) > *limit || !reserved.grow(payload.len()) {
            self.0 = None;
            return false;
        }
        sent.push(payload.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_keeps_all_or_nothing_and_the_channel_counts() {
        let room = Arc::new(Room::new(10, 15));
        let (mut a, mut b) = (room.keep_for_call(), room.keep_for_call());
        assert!(a.push(&Bytes::from_static(&[0; 6])) && a.push(&Bytes::from_static(&[1; 4])));
        assert_eq!((a.sent().len(), room.taken()), (2, 10));
        assert!(b.push(&Bytes::from_static(&[0; 5])));
        assert!(!b.push(&Bytes::from_static(&[0; 1])), "the channel is full");
        assert!(!b.is_whole() && b.sent().is_empty());
        assert_eq!(room.taken(), 10, "what was thrown away counts no more");
        assert!(!a.push(&Bytes::from_static(&[0; 1])), "the call is full");
        assert_eq!(room.taken(), 0);
    }

    #[test]
    fn one_message_takes_its_room_or_none() {
        let room = Arc::new(Room::new(10, 15));
        assert!(room.reserve(11).is_none() && room.taken() == 0);
        let held = room.reserve(10);
        assert!(held.is_some() && room.reserve(6).is_none() && room.taken() == 10);
        drop(held);
        assert_eq!(room.taken(), 0);
    }
}
