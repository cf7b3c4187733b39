//! The calls of one connection, in a table beside the engine's streams.
//!
//! Invariants: a call is in the table from its request's head until it is over on the wire. Handlers that run on after
//! that are counted apart ([`Calls::zombies`]). So that resetting calls cannot start more handlers than there may be
//! streams (CVE-2023-44487), a call that comes while they take up room is parked: its request is taken in, and its handler
//! starts when another has ended. Calls that are parked are exactly those in the queue.

use core::time::Duration;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use clearway_http2::{Instant, RouteId, StreamKey};
use tokio::task::AbortHandle;

use super::visit::Upload;
use crate::codec::Message;
use crate::codec::compression::Agreed;
use crate::context::Life;
use crate::deadline::Ticket;
use crate::framing::Assembler;
use crate::gate::SendGate;
use crate::inbound::Reader;
use crate::metadata::MetadataMap;

/// Where the messages of a request go.
pub(super) enum Intake {
    /// The method takes one: it waits here for the end of the request.
    One {
        route: RouteId,
        agreed: Agreed,
        metadata: MetadataMap,
        message: Option<Bytes>,
        /// The message is.
        compressed: bool,
    },
    /// To the handler, as they come.
    Many(Upload),
    /// Nowhere: the request is complete, or nobody wants the rest.
    Over,
}

/// What has been said to the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// Nothing: a Trailers-Only response is possible.
    Nothing,
    /// The head of the response.
    Head,
}

/// What the handler of a parked call will be started with.
pub(super) enum Parked {
    /// The one message of its request, which is not whole yet.
    Collecting,
    /// The one message of its request.
    Whole(Message),
    /// The stream of its request.
    Stream { route: RouteId, agreed: Agreed, metadata: MetadataMap, reader: Reader },
}

/// When a call began, in milliseconds of its connection's life: in half the room of an instant, for a report that is seldom made. It stands
/// still after 49 days.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Began(u32);

impl Began {
    #[inline]
    pub(super) fn at(now: Instant) -> Self {
        Self(u32::try_from(now.as_nanos() / 1_000_000).unwrap_or(u32::MAX))
    }

    /// How long ago that is.
    pub(super) fn age(self, now: Instant) -> Duration {
        now - Instant::from_millis(self.0.into())
    }
}

/// One call.
pub(super) struct Call {
    pub(super) stream: StreamKey,
    pub(super) route: RouteId,
    pub(super) began: Began,
    pub(super) intake: Intake,
    pub(super) assembler: Assembler,
    /// Octets received for [`Intake::One`] and not released.
    pub(super) held: u32,
    /// The engine was asked for the credit of the message in assembly.
    pub(super) expecting: bool,
    pub(super) said: Said,
    /// There while the handler must not start, which is rare.
    pub(super) parked: Option<Box<Parked>>,
    pub(super) task: Option<AbortHandle>,
    /// What hears of its end, if somebody asked.
    pub(super) life: Option<Arc<Life>>,
    pub(super) gate: Option<Arc<SendGate>>,
    /// When it must be over, and what takes that out of the connection's deadlines again.
    pub(super) deadline: Option<(Instant, Ticket)>,
}

/// Room for calls, by the slot of their stream.
type Slots = Vec<Option<Call>>;

/// Rooms kept by a worker for its connections: one without calls has none.
const POOLED: usize = 16;
/// A room for more calls than this is not kept.
const POOLED_SLOTS: usize = 1024;

thread_local! {
    static POOL: RefCell<Vec<Slots>> = const { RefCell::new(Vec::new()) };
}

/// All calls of a connection.
#[derive(Default)]
pub(super) struct Calls {
    slots: Slots,
    /// How many of the slots are taken.
    taken: usize,
    /// None on a connection that never had any.
    crowd: Option<Box<Crowd>>,
}

/// What takes up room, and what waits for it.
#[derive(Default)]
struct Crowd {
    /// Calls that are over and whose handlers still run.
    zombies: Vec<StreamKey>,
    /// Calls whose handlers must not start yet, oldest first.
    parked: VecDeque<StreamKey>,
}

impl Calls {
    pub(super) fn insert(&mut self, call: Call) {
        let slot = call.stream.slot();
        if call.parked.is_some() {
            self.crowd.get_or_insert_default().parked.push_back(call.stream);
        }
        if self.slots.capacity() == 0 {
            let kept = POOL.try_with(|pool| pool.try_borrow_mut().ok()?.pop());
            self.slots = kept.ok().flatten().unwrap_or_default();
        }
        if slot >= self.slots.len() {
            self.slots.resize_with(slot.saturating_add(1), || None);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            self.taken = self.taken.saturating_add(usize::from(place.is_none()));
            *place = Some(call);
        }
    }

    /// Gives the room back to the worker if there is no call.
    pub(super) fn rest(&mut self) {
        if self.taken > 0 || self.slots.capacity() == 0 {
            return;
        }
        let mut slots = core::mem::take(&mut self.slots);
        slots.clear();
        // A connection may be dropped while its thread ends, which keeps nothing.
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut()
                && pool.len() < POOLED
                && slots.capacity() <= POOLED_SLOTS
            {
                pool.push(slots);
            }
        });
    }

    /// Gives back the room that is not needed.
    pub(super) fn shrink(&mut self) {
        self.crowd.take_if(|crowd| crowd.zombies.is_empty() && crowd.parked.is_empty());
    }

    pub(super) fn get(&mut self, stream: StreamKey) -> Option<&mut Call> {
        self.slots.get_mut(stream.slot())?.as_mut().filter(|call| call.stream == stream)
    }

    pub(super) fn remove(&mut self, stream: StreamKey) -> Option<Call> {
        self.get(stream)?;
        let call = self.slots.get_mut(stream.slot())?.take()?;
        self.taken = self.taken.saturating_sub(1);
        if call.parked.is_some()
            && let Some(Crowd { parked, .. }) = self.crowd.as_deref_mut()
        {
            // The newest are given up first, by those who reset what they just sent.
            let at = parked.iter().rposition(|parked| *parked == stream);
            at.and_then(|at| parked.remove(at));
        }
        Some(call)
    }

    /// How many there are.
    pub(super) const fn count(&self) -> usize {
        self.taken
    }

    /// Calls whose handlers must not start yet.
    pub(super) fn parked(&self) -> usize {
        self.crowd.as_ref().map_or(0, |crowd| crowd.parked.len())
    }

    /// Lets the oldest parked call go on.
    pub(super) fn unpark(&mut self) -> Option<(StreamKey, Parked)> {
        let stream = self.crowd.as_mut()?.parked.pop_front()?;
        Some((stream, *self.get(stream)?.parked.take()?))
    }

    /// As [`Calls::remove`], when nobody wants the call any more.
    pub(super) fn vacate(&mut self, stream: StreamKey) {
        if let Some(slot) = self.slots.get_mut(stream.slot())
            && slot.as_ref().is_some_and(|call| call.stream == stream)
        {
            *slot = None;
            self.taken = self.taken.saturating_sub(1);
        }
    }

    /// The handler of a call that was answered still runs.
    pub(super) fn bury(&mut self, stream: StreamKey) {
        self.crowd.get_or_insert_default().zombies.push(stream);
    }

    /// A handler has ended.
    pub(super) fn unbury(&mut self, stream: StreamKey) {
        if let Some(Crowd { zombies, .. }) = self.crowd.as_deref_mut()
            && let Some(at) = zombies.iter().position(|zombie| *zombie == stream)
        {
            zombies.swap_remove(at);
        }
    }

    /// Handlers that run on although their calls are over.
    pub(super) fn zombies(&self) -> usize {
        self.crowd.as_ref().map_or(0, |crowd| crowd.zombies.len())
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Call> {
        self.taken = 0;
        self.slots.drain(..).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A thread that is over has no pool any more when the last of its connections are dropped.
    #[test]
    fn calls_outlive_the_pool_of_their_thread() {
        struct Last(RefCell<Calls>, Arc<AtomicBool>);
        impl Drop for Last {
            fn drop(&mut self) {
                assert!(POOL.try_with(|_| ()).is_err(), "what was used first is dropped last");
                self.0.get_mut().rest();
                self.1.store(true, Ordering::SeqCst);
            }
        }
        thread_local! {
            static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
        }
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let room = || Calls { slots: Vec::with_capacity(4), ..Calls::default() };
            LAST.set(Some(Last(RefCell::new(room()), told)));
            room().rest();
            assert_eq!(POOL.with_borrow(Vec::len), 1);
        });
        thread.join().unwrap();
        assert!(over.load(Ordering::SeqCst));
    }
}
