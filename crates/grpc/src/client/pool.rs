//! The connections of a channel to one address: usually one. More are made when calls wait because the peer allows no more
//! streams at once, up to [`Endpoint::max_connections_per_address`](super::Endpoint::max_connections_per_address); and one is
//! made in good time for one whose stream ids run out (RFC 9113 §5.1.1).
//!
//! One connection takes calls without being asked how many it has; from the second on streams are reserved
//! ([`crate::balance::Spread`]).
//!
//! Invariant: connections in here are ready, and were not told to end. Left out: closing what is not needed any more before its
//! idle timeout does.

use std::sync::Arc;

use clearway_transport::Address;

use super::channel::ConnectionId;
use super::connection::{ClientOp, Ops};
use crate::balance::{Load, One, Picker, Spread};

/// A connection that takes calls.
struct Member {
    id: ConnectionId,
    ops: Ops,
    /// Once it is one of several.
    load: Option<Arc<Load>>,
    /// Its stream ids run out: it serves until there is another.
    worn: bool,
}

/// The connections to one address; see the [module](self).
#[derive(Default)]
pub(super) struct Pool {
    address: Option<Address>,
    members: Vec<Member>,
    /// Calls wait for a stream of the only connection.
    crowded: bool,
}

impl Pool {
    /// A connection to the address is ready. It takes the place of those that are worn out.
    pub(super) fn add(&mut self, id: ConnectionId, ops: Ops, address: Address) {
        self.members.retain(|member| {
            if member.worn {
                member.ops.drain();
            }
            !member.worn
        });
        self.address = Some(address);
        self.crowded = false;
        self.members.push(Member { id, ops, load: None, worn: false });
    }

    /// A connection takes no more calls; false if it was none of these.
    pub(super) fn remove(&mut self, id: ConnectionId) -> bool {
        let before = self.members.len();
        self.members.retain(|member| member.id != id);
        self.members.len() < before
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Calls wait in the only connection.
    pub(super) fn crowded(&mut self, id: ConnectionId) {
        self.crowded |= self.members.iter().any(|member| member.id == id && member.load.is_none());
    }

    /// Nobody waits any more.
    pub(super) fn relax(&mut self) {
        self.crowded = false;
    }

    /// A connection's stream ids run out.
    pub(super) fn wears_out(&mut self, id: ConnectionId) {
        for member in self.members.iter_mut().filter(|member| member.id == id) {
            member.worn = true;
        }
    }

    /// Where another connection should go to. `waiting`: calls wait in the channel although it is ready.
    pub(super) fn wants_another(&self, waiting: bool, cap: usize) -> Option<&Address> {
        let unclear = |member: &Member| {
            member.ops.is_closed() || member.load.as_ref().is_some_and(|load| !load.is_known())
        };
        if self.members.iter().any(unclear) {
            // Its report is on the way; what waits may wait for that alone.
            return None;
        }
        let fresh = self.members.iter().filter(|member| !member.worn).count();
        let needed = fresh == 0 || ((waiting || self.crowded) && fresh < cap);
        self.address.as_ref().filter(|_| needed && !self.members.is_empty())
    }

    /// What the peer allows on each connection, if calls wait for that.
    pub(super) fn stream_limit(&self) -> Option<u32> {
        self.members.iter().find_map(|member| member.load.as_ref()).map(|load| load.limit())
    }

    /// True if a call would find a reserved stream, on a connection that is not over.
    pub(super) fn has_free_stream(&self) -> bool {
        self.members
            .iter()
            .any(|member| !member.ops.is_closed() && member.load.as_ref().is_some_and(|load| load.free() > 0))
    }

    /// Where calls go.
    pub(super) fn picker(&mut self) -> Arc<dyn Picker> {
        if let [Member { ops, load: None, .. }] = self.members.as_slice() {
            return Arc::new(One(Arc::clone(ops)));
        }
        let share = |member: &mut Member| {
            let load = member.load.get_or_insert_with(|| {
                let load = Arc::<Load>::default();
                // One that is over has its report on the way.
                let _ = member.ops.push(ClientOp::Share(Arc::clone(&load)));
                load
            });
            (Arc::clone(&member.ops), Arc::clone(load))
        };
        Arc::new(Spread(self.members.iter_mut().map(share).collect()))
    }

    /// Lets every connection end when its calls have.
    pub(super) fn drain(&self) {
        for member in &self.members {
            member.ops.drain();
        }
    }
}
