//! A connection that is one of several to its address: calls come with a stream reserved, and those that found none wait in the
//! channel, from where this takes them as its streams become free.
//!
//! Nobody is forgotten: whoever makes a stream free ([`Load::give_back`]) looks for waiting calls afterwards, and whoever lets
//! a call wait looks for free streams afterwards ([`Shared::place_waiting`]). `loom_models.rs` tries every order of their steps.
//!
//! Invariant: `counted` is what this connection's open streams take of the load; what else is taken are calls on their way here.

use std::sync::Arc;

use clearway_http2::Tx;

use super::channel::{Event, Shared};
use super::connection::ClientConnection;
use super::pool::Pool;
use super::start::StartCall;
use crate::balance::Load;

/// When so many stream ids are left another connection is made (RFC 9113 §5.1.1): 4 million of 1,074, so that there is time
/// enough at any rate of calls.
pub(super) const IDS_IN_RESERVE: u32 = 1 << 22;

impl Shared {
    /// A connection's task, after each time it made streams free: the next call that waits in the channel, with one of them reserved.
    pub(super) fn pop_for(&self, load: &Load) -> Option<Box<StartCall>> {
        while self.has_waiting() {
            if !load.try_reserve() {
                return None;
            }
            if let Some(call) = self.pop_waiting(false) {
                return Some(call);
            }
            // It is gone. Whoever came meanwhile may have found no stream.
            load.give_back(1);
        }
        None
    }

    /// The channel's task: places the calls that wait, as long as the picker has somewhere to put them.
    pub(super) fn place_waiting(&self, failing: bool, pool: &Pool) {
        while let Some(call) = self.pop_waiting(failing) {
            if let Err(call) = self.place(call) {
                if failing {
                    self.pass_over(call);
                    continue;
                }
                self.put_back(call);
                // The connection is over and its report on the way, which wakes this task; or all streams are taken. Whoever
                // freed one meanwhile may have found nobody waiting.
                if !pool.has_free_stream() {
                    return;
                }
            }
        }
    }
}

/// The connection's part in [`crate::balance::Spread`].
pub(super) struct Sharing {
    load: Arc<Load>,
    counted: u32,
    /// Streams reserved for calls that wait for a sign of life of the server.
    held: u32,
}

impl ClientConnection {
    /// From here on streams are reserved. What waits here goes to where one is free.
    pub(super) fn share(&mut self, tx: &mut Tx, load: Arc<Load>) {
        let counted = tx.local_streams();
        load.begin(counted, tx.stream_limit());
        self.sharing = Some(Sharing { load, counted, held: 0 });
        tx.notify_stream_slot();
        self.hand_back_waiting();
        self.shared.notify.notify_one();
    }

    /// A call for which a stream is reserved.
    pub(super) fn start_reserved(&mut self, tx: &mut Tx, call: Box<StartCall>) {
        if self.must_ask_first(tx) {
            return self.hold_reserved(call);
        }
        if !self.open_reserved(tx, call) {
            self.take_waiting(tx);
        }
    }

    /// A call that was sent here before streams were reserved.
    pub(super) fn start_unreserved(&mut self, tx: &mut Tx, call: Box<StartCall>) {
        if self.sharing.as_ref().is_some_and(|sharing| sharing.load.try_reserve()) {
            self.start_reserved(tx, call);
        } else {
            self.shared.take_back(call);
        }
    }

    /// The call waits for a sign of life of the server, and its stream stays reserved.
    fn hold_reserved(&mut self, call: Box<StartCall>) {
        let held = self.queue(call);
        let Some(sharing) = &mut self.sharing else { return };
        if held {
            sharing.held = sharing.held.saturating_add(1);
        } else {
            sharing.load.give_back(1);
        }
    }

    /// The server is there: what was held goes to the streams reserved for it.
    pub(super) fn open_held(&mut self, tx: &mut Tx) {
        let mut held = self.sharing.as_mut().map_or(0, |sharing| core::mem::take(&mut sharing.held));
        while held > 0
            && let Some(call) = self.waiting.pop()
        {
            held = held.saturating_sub(1);
            self.open_reserved(tx, call);
        }
        // Those that were given up or came too late meanwhile.
        if let Some(sharing) = &self.sharing {
            sharing.load.give_back(held);
        }
        self.take_waiting(tx);
    }

    /// True if it got a stream that is still open; otherwise the reserved one is free again.
    fn open_reserved(&mut self, tx: &mut Tx, call: Box<StartCall>) -> bool {
        let before = tx.local_streams();
        let refused = if call.inbound.is_abandoned() { None } else { self.open(tx, call).err() };
        let opened = tx.local_streams() > before;
        match &mut self.sharing {
            Some(sharing) if opened => sharing.counted = sharing.counted.saturating_add(1),
            Some(sharing) => {
                // The peer may have lowered its limit since it was last looked at.
                sharing.load.allow(tx.stream_limit());
                sharing.load.give_back(1);
            }
            None => {}
        }
        if let Some(call) = refused {
            self.shared.take_back(call);
        }
        opened
    }

    /// Streams ended, or the peer changed its limit.
    pub(super) fn streams_are_free(&mut self, tx: &mut Tx) {
        let Some(sharing) = &mut self.sharing else { return };
        let open = tx.local_streams();
        sharing.load.allow(tx.stream_limit());
        sharing.load.give_back(sharing.counted.saturating_sub(open));
        sharing.counted = open;
        tx.notify_stream_slot();
        self.take_waiting(tx);
    }

    /// Takes calls that wait in the channel, while there are free streams.
    fn take_waiting(&mut self, tx: &mut Tx) {
        while !tx.is_going_away()
            && let Some(sharing) = &self.sharing
            && let Some(call) = self.shared.pop_for(&sharing.load)
        {
            self.open_reserved(tx, call);
        }
    }

    /// It takes no more calls, and no waiting ones either.
    pub(super) fn stop_sharing(&mut self) {
        if let Some(sharing) = self.sharing.take() {
            sharing.load.allow(0);
        }
    }

    /// A call had to wait for a stream of this connection, which is the only one: another might help.
    pub(super) fn tell_crowded(&mut self) {
        if !core::mem::replace(&mut self.told_crowded, true) {
            self.tell(Event::Crowded);
        }
    }
}
