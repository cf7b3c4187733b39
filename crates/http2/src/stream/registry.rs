//! Which streams exist, and what became of those that do not. RFC 9113 §5.1, §5.1.1, §5.1.2.
//!
//! Streams live in a slab; a ring indexed by the id finds the slot, and the few long-lived streams whose place in the
//! ring was taken by a later one move to a small ordered map. A lookup by id answers idle, live or closed and why, so
//! each rule of §5.1 has exactly one place.
//!
//! Invariant: a live stream is in the ring or in `stragglers`, never in both.

use std::collections::{BTreeMap, VecDeque};

use super::{Stream, StreamKey, Tenure};

/// Largest stream id (RFC 9113 §5.1.1).
pub(crate) const MAX_STREAM_ID: u32 = 0x7fff_ffff;

/// Reset streams remembered, so that frames in flight are told from misbehaviour.
const RESETS_REMEMBERED: usize = 256;
/// Ended streams remembered, to name the right rule.
const ENDS_REMEMBERED: usize = 16;
const RING_MIN: usize = 16;
const RING_MAX: usize = 1 << 16;
const VACANT: u32 = u32::MAX;

/// Why a stream is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClosedBy {
    /// Both sides sent END_STREAM.
    End,
    /// The peer sent RST_STREAM.
    PeerReset,
    /// We sent RST_STREAM: frames of the peer may still be in flight.
    OurReset,
    /// It was closed too long ago to say, or its id was skipped.
    Forgotten,
}

/// What an id stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lookup {
    Idle,
    Live(StreamKey),
    Closed(ClosedBy),
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    stream: Option<Stream>,
}

/// All streams of one connection.
#[derive(Debug)]
pub(crate) struct Streams {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// What new slots begin with: above the generations of all slots that were given back.
    generation: u32,
    ring: Vec<u32>,
    stragglers: BTreeMap<u32, u32>,
    resets: VecDeque<(u32, ClosedBy)>,
    /// The last streams that ended, at `next_end` the oldest of them.
    ends: [u32; ENDS_REMEMBERED],
    next_end: usize,
    /// The parity of ids we open: 1 for a client, 0 for a server.
    local_parity: u32,
    /// Next id we open.
    next_local: u32,
    /// Highest id the peer has opened.
    last_remote: u32,
    local_count: u32,
    remote_count: u32,
}

impl Streams {
    pub(crate) fn new(we_are_client: bool, first_id: u32) -> Self {
        let (local_parity, next_local) =
            if we_are_client { (1, first_id.min(MAX_STREAM_ID) | 1) } else { (0, 2) };
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            generation: 0,
            ring: Vec::new(),
            stragglers: BTreeMap::new(),
            resets: VecDeque::new(),
            ends: [VACANT; ENDS_REMEMBERED],
            next_end: 0,
            local_parity,
            next_local,
            last_remote: 0,
            local_count: 0,
            remote_count: 0,
        }
    }

    #[inline]
    pub(crate) fn is_local(&self, id: u32) -> bool {
        id % 2 == self.local_parity
    }

    /// Streams we opened that are not done.
    pub(crate) fn local_count(&self) -> u32 {
        self.local_count
    }

    /// Streams the peer opened that are not done, those still held by their handler included.
    pub(crate) fn remote_count(&self) -> u32 {
        self.remote_count
    }

    pub(crate) fn last_remote(&self) -> u32 {
        self.last_remote
    }

    /// The id the next stream of ours gets; none when they are used up.
    pub(crate) fn next_local_id(&self) -> Option<u32> {
        (self.next_local <= MAX_STREAM_ID).then_some(self.next_local)
    }

    /// How many of them there are.
    pub(crate) fn ids_left(&self) -> u32 {
        MAX_STREAM_ID.checked_sub(self.next_local).map_or(0, |rest| rest / 2 + 1)
    }

    /// True for an id that was not used yet.
    #[inline]
    pub(crate) fn is_idle(&self, id: u32) -> bool {
        if self.is_local(id) { id >= self.next_local } else { id > self.last_remote }
    }

    #[inline]
    pub(crate) fn lookup(&self, id: u32) -> Lookup {
        // First, because it takes no search: most of what is looked up is new, or in its place in the ring.
        if self.is_idle(id) {
            return Lookup::Idle;
        }
        if let Some(slot) = self.slot_of(id)
            && let Some(entry) = self.slots.get(slot as usize)
            && entry.stream.as_ref().is_some_and(|stream| stream.tenure == Tenure::Live)
        {
            return Lookup::Live(StreamKey { slot, generation: entry.generation });
        }
        Lookup::Closed(self.closed_by(id))
    }

    fn closed_by(&self, id: u32) -> ClosedBy {
        if let Some((_, why)) = self.resets.iter().rev().find(|(reset, _)| *reset == id) {
            return *why;
        }
        if self.ends.contains(&id) { ClosedBy::End } else { ClosedBy::Forgotten }
    }

    /// Adds a stream whose id is above all others of its side.
    #[inline]
    pub(crate) fn insert(&mut self, stream: Stream) -> StreamKey {
        let id = stream.id;
        if self.is_local(id) {
            self.next_local = id.saturating_add(2);
            self.local_count = self.local_count.saturating_add(1);
        } else {
            self.last_remote = id;
            self.remote_count = self.remote_count.saturating_add(1);
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { generation: self.generation, stream: None });
                u32::try_from(self.slots.len().saturating_sub(1)).unwrap_or(VACANT)
            }
        };
        let mut generation = 0;
        if let Some(entry) = self.slots.get_mut(slot as usize) {
            entry.stream = Some(stream);
            generation = entry.generation;
        }
        self.index(id, slot);
        StreamKey { slot, generation }
    }

    /// The peer skipped to this id without a stream of ours behind it (a refused stream).
    pub(crate) fn note_remote_id(&mut self, id: u32) {
        self.last_remote = self.last_remote.max(id);
    }

    #[inline]
    pub(crate) fn get(&self, key: StreamKey) -> Option<&Stream> {
        let entry = self.slots.get(key.slot())?;
        if entry.generation == key.generation { entry.stream.as_ref() } else { None }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        let entry = self.slots.get_mut(key.slot())?;
        if entry.generation == key.generation { entry.stream.as_mut() } else { None }
    }

    /// The stream, unless only its handler still holds it.
    #[inline]
    pub(crate) fn live_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        self.get_mut(key).filter(|stream| stream.tenure == Tenure::Live)
    }

    /// Remembers why an id is closed.
    #[inline]
    pub(crate) fn remember(&mut self, id: u32, why: ClosedBy) {
        if why == ClosedBy::End {
            if let Some(oldest) = self.ends.get_mut(self.next_end) {
                *oldest = id;
            }
            self.next_end = self.next_end.wrapping_add(1) % ENDS_REMEMBERED;
        } else {
            if self.resets.len() >= RESETS_REMEMBERED {
                self.resets.pop_front();
            }
            self.resets.push_back((id, why));
        }
    }

    /// Takes a stream out; its key is stale from here on. Its id, if it was there.
    #[inline]
    pub(crate) fn remove(&mut self, key: StreamKey) -> Option<u32> {
        let entry = self.slots.get_mut(key.slot())?;
        if entry.generation != key.generation {
            return None;
        }
        let id = entry.stream.as_ref()?.id;
        entry.stream = None;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(key.slot);
        self.unindex(id, key.slot);
        let count = if self.is_local(id) { &mut self.local_count } else { &mut self.remote_count };
        *count = count.saturating_sub(1);
        Some(id)
    }

    /// Gives back the room that is not needed, all but what remembers how streams ended if there are none.
    pub(crate) fn rest(&mut self) {
        if self.local_count == 0 && self.remote_count == 0 {
            // A key of a stream that was must not reach one that comes.
            let used = self.slots.iter().map(|slot| slot.generation).max();
            self.generation = used.map_or(self.generation, |used| used.wrapping_add(1));
            (self.slots, self.free, self.ring) = (Vec::new(), Vec::new(), Vec::new());
        }
        self.resets.shrink_to_fit();
    }

    /// Places for streams, and for finding them.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.slots.capacity() + self.free.capacity() + self.ring.capacity() + self.stragglers.len()
    }

    /// Every stream, those held by their handler included, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (StreamKey, &Stream)> {
        self.slots.iter().enumerate().filter_map(|(slot, entry)| {
            let slot = u32::try_from(slot).ok()?;
            Some((StreamKey { slot, generation: entry.generation }, entry.stream.as_ref()?))
        })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamKey, &mut Stream)> {
        self.slots.iter_mut().enumerate().filter_map(|(slot, entry)| {
            let slot = u32::try_from(slot).ok()?;
            Some((StreamKey { slot, generation: entry.generation }, entry.stream.as_mut()?))
        })
    }

    /// Every stream is counted and found by its id, free slots are empty, and the map names no stream that is gone.
    ///
    /// # Panics
    /// If it is not so.
    #[cfg(debug_assertions)]
    pub(crate) fn check(&self) {
        let (local, remote): (Vec<_>, Vec<_>) = self.iter().partition(|(_, stream)| self.is_local(stream.id));
        let counts = (self.local_count as usize, self.remote_count as usize);
        assert_eq!(counts, (local.len(), remote.len()), "streams are counted");
        assert_eq!(
            self.slots.len(),
            self.free.len() + local.len() + remote.len(),
            "slots are in use or free"
        );
        for (key, stream) in local.into_iter().chain(remote) {
            assert_eq!(self.slot_of(stream.id), Some(key.slot), "stream {} is found by its id", stream.id);
        }
        for (id, slot) in &self.stragglers {
            let stream = self.slots.get(*slot as usize).and_then(|entry| entry.stream.as_ref());
            assert_eq!(stream.map(|stream| stream.id), Some(*id), "a straggler is a stream");
        }
    }

    #[inline]
    fn slot_of(&self, id: u32) -> Option<u32> {
        let at = self.position(id)?;
        let slot = *self.ring.get(at)?;
        if self.slots.get(slot as usize).and_then(|entry| entry.stream.as_ref()).is_some_and(|s| s.id == id) {
            return Some(slot);
        }
        if self.stragglers.is_empty() { None } else { self.stragglers.get(&id).copied() }
    }

    #[inline]
    fn position(&self, id: u32) -> Option<usize> {
        let mask = self.ring.len().checked_sub(1)?;
        Some((id >> 1) as usize & mask)
    }

    /// Enters an id into the ring. If an older stream holds the place, the ring grows while it is well filled;
    /// otherwise the older stream is a straggler and moves to the map.
    fn index(&mut self, id: u32, slot: u32) {
        if self.ring.is_empty() {
            self.ring.resize(RING_MIN, VACANT);
        }
        let live = (self.local_count.saturating_add(self.remote_count)) as usize;
        if live > self.ring.len() / 2 && self.ring.len() < RING_MAX {
            self.grow_ring(slot);
        }
        let Some(at) = self.position(id) else { return };
        let Some(place) = self.ring.get_mut(at) else { return };
        let evicted = core::mem::replace(place, slot);
        if evicted != VACANT
            && evicted != slot
            && let Some(older) = self.slots.get(evicted as usize).and_then(|entry| entry.stream.as_ref())
            && (older.id >> 1) as usize & (self.ring.len().saturating_sub(1)) == at
            && older.id != id
        {
            self.stragglers.insert(older.id, evicted);
        }
    }

    /// Makes the ring larger and enters every stream but the `newest`, which is about to be entered.
    fn grow_ring(&mut self, newest: u32) {
        let octets = self.ring.len().saturating_mul(2).min(RING_MAX);
        self.ring.clear();
        self.ring.resize(octets, VACANT);
        self.stragglers.clear();
        let mask = octets.saturating_sub(1);
        for (slot, entry) in self.slots.iter().enumerate() {
            let (Some(stream), Ok(slot)) = (entry.stream.as_ref(), u32::try_from(slot)) else { continue };
            if slot == newest {
                continue;
            }
            let Some(place) = self.ring.get_mut((stream.id >> 1) as usize & mask) else { continue };
            if *place == VACANT {
                *place = slot;
            } else {
                self.stragglers.insert(stream.id, slot);
            }
        }
    }

    fn unindex(&mut self, id: u32, slot: u32) {
        if let Some(at) = self.position(id)
            && let Some(place) = self.ring.get_mut(at)
            && *place == slot
        {
            *place = VACANT;
        } else {
            // Most streams end before their place is taken, and then the map need not be searched.
            self.stragglers.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow_control::{RecvWindow, Window};
    use crate::time::Instant;

    fn stream(id: u32) -> Stream {
        Stream::new(id, Window::new(1), RecvWindow::new(1, 1), Instant::ZERO)
    }

    /// What an open stream costs while nothing happens on it; its backlog is apart, and only while something waits.
    #[test]
    fn a_slot_is_at_most_128_octets() {
        assert!(size_of::<Slot>() <= 128, "{} octets", size_of::<Slot>());
    }

    #[test]
    fn lookups_tell_idle_live_and_closed_apart() {
        let mut streams = Streams::new(false, 1);
        assert_eq!(streams.lookup(5), Lookup::Idle);
        let key = streams.insert(stream(5));
        assert_eq!(streams.lookup(5), Lookup::Live(key));
        assert_eq!(streams.lookup(3), Lookup::Closed(ClosedBy::Forgotten));
        assert_eq!(streams.lookup(7), Lookup::Idle);
        assert_eq!(streams.lookup(2), Lookup::Idle, "we have opened none");
        streams.remove(key);
        streams.remember(5, ClosedBy::OurReset);
        assert_eq!(streams.lookup(5), Lookup::Closed(ClosedBy::OurReset));
        assert!(streams.get(key).is_none());
        let reused = streams.insert(stream(7));
        assert_eq!(reused.slot(), key.slot());
        assert!(streams.get(key).is_none(), "a stale key does not reach the new stream");
    }

    /// The ring grows when it takes in a stream whose place in the larger one is an older stream's.
    #[test]
    fn a_stream_that_makes_the_ring_grow_into_an_older_ones_place_is_forgotten_when_it_ends() {
        let mut streams = Streams::new(false, 1);
        let pinned = streams.insert(stream(1));
        let keys: Vec<_> = (51..=65).step_by(2).map(|id| (id, streams.insert(stream(id)))).collect();
        assert_eq!(streams.ring.len(), 2 * RING_MIN, "65 made it grow, and has the place of 1 there");
        for (id, key) in &keys {
            assert_eq!(streams.lookup(*id), Lookup::Live(*key));
        }
        for (_, key) in keys {
            streams.remove(key).unwrap();
        }
        let next = streams.insert(stream(67));
        assert_eq!(streams.lookup(65), Lookup::Closed(ClosedBy::Forgotten), "67 has its slot, not its id");
        assert_eq!((streams.lookup(67), streams.lookup(1)), (Lookup::Live(next), Lookup::Live(pinned)));
        streams.remove(next).unwrap();
        streams.remove(pinned).unwrap();
        assert!(streams.stragglers.is_empty());
    }

    #[test]
    fn every_live_stream_is_found_with_pinned_ones_among_them() {
        let mut streams = Streams::new(false, 1);
        let mut live = VecDeque::new();
        let mut pinned = Vec::new();
        for n in 0..20_000u32 {
            let id = n * 2 + 1;
            let key = streams.insert(stream(id));
            if n % 1000 == 0 {
                pinned.push((id, key));
            } else {
                live.push_back((id, key));
            }
            if live.len() > 100 {
                let (id, key) = live.pop_front().unwrap();
                assert_eq!(streams.lookup(id), Lookup::Live(key));
                streams.remove(key).unwrap();
                assert_ne!(streams.lookup(id), Lookup::Live(key));
            }
            for (id, key) in &pinned {
                assert_eq!(streams.lookup(*id), Lookup::Live(*key));
            }
        }
        for (id, key) in live.into_iter().chain(pinned) {
            assert_eq!(streams.lookup(id), Lookup::Live(key));
            streams.remove(key).unwrap();
        }
        assert_eq!(streams.remote_count(), 0);
        assert!(streams.stragglers.is_empty());
    }
}
