//! Which connection a call goes to.
//!
//! A [`Policy`] hears what the resolver and the connections report, with `&mut self`, on the channel's own task. It answers
//! with what to do next and, when that changed, with a [`Picker`]: an immutable answer to "where does this call go?" that
//! every caller asks without the policy.
//!
//! A policy finds the first address that takes a connection. That there may be more connections, to the same and to the other
//! addresses, is not its business: it is given a picker for all of them, and a new one whenever they change ([`Policy::ready`]).
//!
//! Left out: policies that weigh what backends report (weighted round robin), outlier detection, subsets of many addresses.

mod pick_first;
mod spread;

use core::time::Duration;
use std::sync::Arc;

use clearway_transport::Address;

use crate::Status;
use crate::client::{Ops, StartCall};

pub(crate) use pick_first::PickFirst;
pub(crate) use spread::{Load, Order, Spread};

/// How long an attempt to connect has before another address is tried beside it (RFC 8305 §5, gRFC A61).
pub(crate) const CONNECTION_ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Where a call goes.
pub(crate) enum Pick {
    /// To this connection.
    Connection(Ops),
    /// To this connection, which keeps a stream for it.
    Reserved(Ops),
    /// Nowhere yet: it waits for the next picker.
    Queue,
    /// Nowhere: it fails, unless it waits for readiness.
    Fail(Status),
    /// Nowhere: it fails and must not be sent again.
    Drop(Status),
}

/// Says where calls go, until the next one is published.
pub(crate) trait Picker: Send + Sync {
    /// Where this call goes.
    fn pick(&self, call: &StartCall) -> Pick;
}

/// The state of a channel (gRPC's "Connectivity Semantics and API").
#[derive(Clone, Debug)]
pub(crate) enum Connectivity {
    /// No connection, and nobody wants one.
    Idle,
    /// A connection is being made.
    Connecting,
    /// A connection is up: the peer's SETTINGS have come.
    Ready,
    /// No connection could be made; this is why. Another attempt follows.
    TransientFailure(Status),
    /// The channel is closed.
    Shutdown,
}

/// A state, and where calls go in it.
pub(crate) struct Published {
    pub(crate) state: Connectivity,
    pub(crate) picker: Arc<dyn Picker>,
}

/// What the channel is to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Wait for something to happen.
    Rest,
    /// Ask the resolver.
    Resolve,
    /// Connect to this address, beside those that were asked for already.
    Connect(Address),
    /// Wait as long as the back-off says, then tell the policy.
    BackOff,
}

/// A policy's answer.
pub(crate) struct Reaction {
    /// None if nothing changed for callers.
    pub(crate) publish: Option<Published>,
    pub(crate) next: Next,
}

/// Decides which connections there are and which of them a call goes to.
pub(crate) trait Policy: Send {
    /// A connection is wanted: a call waits, or the program asked for one.
    fn wanted(&mut self) -> Reaction;
    /// The resolver answered.
    fn resolved(&mut self, answer: Result<Vec<Address>, Status>) -> Reaction;
    /// A connection asked for is up, and the others are not needed any more: calls to its address go where this says. Comes again when there are more connections to the
    /// address, or fewer.
    fn ready(&mut self, connections: Arc<dyn Picker>) -> Reaction;
    /// The connection asked for last is not up after [`CONNECTION_ATTEMPT_DELAY`]: another may be faster.
    fn slow(&mut self) -> Reaction;
    /// A connection asked for could not be made.
    fn failed(&mut self, why: Status) -> Reaction;
    /// No connection to the address takes calls any more.
    fn gone(&mut self) -> Reaction;
    /// The back-off is over.
    fn rested(&mut self) -> Reaction;
}

/// Every call waits.
pub(crate) struct QueueAll;

impl Picker for QueueAll {
    fn pick(&self, _: &StartCall) -> Pick {
        Pick::Queue
    }
}

/// Every call fails.
pub(crate) struct FailAll(pub(crate) Status);

impl Picker for FailAll {
    fn pick(&self, _: &StartCall) -> Pick {
        Pick::Fail(self.0.clone())
    }
}

/// The channel is closed: every call fails for good.
pub(crate) struct DropAll(pub(crate) Status);

impl Picker for DropAll {
    fn pick(&self, _: &StartCall) -> Pick {
        Pick::Drop(self.0.clone())
    }
}

/// Every call goes to one connection.
pub(crate) struct One(pub(crate) Ops);

impl Picker for One {
    fn pick(&self, _: &StartCall) -> Pick {
        Pick::Connection(Arc::clone(&self.0))
    }
}
