//! Several connections, to one address or to many: calls go to the one with the fewest calls, or to each in turn, and wait when
//! none has a free stream (gRFC A48, A105, RFC 9113 §5.1.2).
//!
//! A stream is reserved before a call is sent to its connection, so that calls that come at once do not crowd on one. What
//! is known of a connection is in its [`Load`]; only the connection's own task gives back, when a stream has ended.
//!
//! Invariant: a connection's `used` is its open streams and the calls on their way to it, or more; it becomes less
//! only on the connection's task, which looks for waiting calls each time it does. Left out: a limit that a peer lowers counts
//! from the first call on that is refused by it.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use super::{Pick, Picker};
use crate::client::{Ops, StartCall};
use crate::sync::{AtomicBool, AtomicU32};

/// The streams of one connection.
#[derive(Debug, Default)]
pub(crate) struct Load {
    used: AtomicU32,
    /// What the peer allows.
    limit: AtomicU32,
    /// The connection's task has said what there is.
    known: AtomicBool,
}

impl Load {
    /// Streams somebody has spoken for.
    pub(crate) fn used(&self) -> u32 {
        self.used.load(Ordering::Acquire)
    }

    /// Streams nobody has spoken for.
    pub(crate) fn free(&self) -> u32 {
        self.limit().saturating_sub(self.used())
    }

    /// Streams the peer allows at once.
    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Acquire)
    }

    /// Takes a free stream, if there is one.
    pub(crate) fn try_reserve(&self) -> bool {
        let limit = self.limit();
        let taken = |used: u32| (used < limit).then(|| used.saturating_add(1));
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, taken).is_ok()
    }

    /// The connection's task: the peer allows so many streams.
    pub(crate) fn allow(&self, limit: u32) {
        self.limit.store(limit, Ordering::Release);
    }

    /// The connection's task: so many streams were open before anybody reserved one, and so many are allowed.
    pub(crate) fn begin(&self, open: u32, limit: u32) {
        self.used.fetch_add(open, Ordering::AcqRel);
        self.allow(limit);
        self.known.store(true, Ordering::Release);
    }

    /// False until the connection's task was heard.
    pub(crate) fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    /// The connection's task: so many streams are free again, or were reserved in vain.
    pub(crate) fn give_back(&self, streams: u32) {
        let before = self.used.fetch_sub(streams, Ordering::AcqRel);
        debug_assert!(streams <= before, "{streams} of {before} were given back");
    }
}

/// Which of several connections with a free stream a call goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Order {
    /// The one with the fewest calls; among equals each in turn.
    #[default]
    LeastUsed,
    /// Each in turn.
    InTurn,
}

/// The connections that calls are spread over.
pub(crate) struct Spread {
    order: Order,
    connections: Vec<(Ops, Arc<Load>)>,
    /// Where the next call begins to look, so that equals take turns. Also tells that there were calls.
    next: Arc<AtomicUsize>,
}

impl Spread {
    pub(crate) const fn new(
        order: Order,
        connections: Vec<(Ops, Arc<Load>)>,
        next: Arc<AtomicUsize>,
    ) -> Self {
        Self { order, connections, next }
    }

    /// The connection to try first.
    fn first_choice(&self) -> Option<&(Ops, Arc<Load>)> {
        let start = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len().max(1);
        let (before, after) = self.connections.split_at_checked(start)?;
        let mut free = after.iter().chain(before).filter(|(_, load)| load.free() > 0);
        match self.order {
            Order::LeastUsed => free.min_by_key(|(_, load)| load.used()),
            Order::InTurn => free.next(),
        }
    }
}

impl Picker for Spread {
    fn pick(&self, _: &StartCall) -> Pick {
        // Whoever loses a race for the last stream of one looks again; somebody got one then.
        for _ in 0..=self.connections.len() {
            match self.first_choice() {
                Some((ops, load)) if load.try_reserve() => return Pick::Reserved(Arc::clone(ops)),
                Some(_) => {}
                None => return Pick::Queue,
            }
        }
        Pick::Queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbound::{Inbound, WakeAt};

    /// Which of the connections is picked, if any.
    fn picked(spread: &Spread) -> Option<usize> {
        let call = StartCall::for_tests(Arc::new(Inbound::unopened(WakeAt::End)));
        match spread.pick(&call) {
            Pick::Reserved(ops) => spread.connections.iter().position(|(other, _)| Arc::ptr_eq(other, &ops)),
            Pick::Queue => None,
            Pick::Connection(_) | Pick::Fail(_) | Pick::Drop(_) => panic!("a stream, or none"),
        }
    }

    #[test]
    fn calls_go_where_the_fewest_are_and_wait_when_no_stream_is_free() {
        let spread = Spread::new(
            Order::LeastUsed,
            vec![(Ops::default(), Arc::default()), (Ops::default(), Arc::default())],
            Arc::default(),
        );
        assert_eq!(picked(&spread), None, "nothing is known of either");
        spread.connections[0].1.begin(2, 3);
        spread.connections[1].1.begin(0, 2);
        let order: Vec<_> = (0..4).map(|_| picked(&spread)).collect();
        assert_eq!(order.iter().flatten().filter(|at| **at == 0).count(), 1);
        assert_eq!(order.iter().flatten().filter(|at| **at == 1).count(), 2);
        assert_eq!((order[0], order[3]), (Some(1), None));
        spread.connections[0].1.give_back(1);
        assert_eq!((picked(&spread), picked(&spread)), (Some(0), None));
        // A limit that was lowered below what is open leaves nothing free.
        spread.connections[0].1.allow(1);
        assert_eq!(picked(&spread), None);
    }

    #[test]
    fn threads_that_reserve_at_once_get_no_more_than_there_are() {
        let load = Arc::new(Load::default());
        load.allow(1000);
        let spread = Arc::new(Spread::new(
            Order::LeastUsed,
            vec![(Ops::default(), Arc::clone(&load))],
            Arc::default(),
        ));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let spread = Arc::clone(&spread);
                std::thread::spawn(move || (0..400).filter(|_| picked(&spread).is_some()).count())
            })
            .collect();
        let got: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!((got, load.free()), (1000, 0));
    }
}
