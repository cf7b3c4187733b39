//! How many handshakes a server has under way, and which of them gives way when there are too many.
//!
//! The oldest does. A handshake of an honest peer takes a few round trips, one that is held open on purpose stays: so a crowd of
//! the second kind evicts itself, and the first kind gets through while it stands at the door. Refusing newcomers instead
//! would lock everybody out for as long as the crowd cares to hold its places.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// The handshakes under way. Invariant: at most `limit`.
#[derive(Debug)]
pub(super) struct Admission {
    limit: usize,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    /// In the order of their beginning. A sender that is dropped tells its handshake to end.
    handshakes: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    admission: Arc<Admission>,
    number: u64,
    /// Ready when the place is needed for another.
    pub(super) evicted: oneshot::Receiver<()>,
}

impl Admission {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), running: Mutex::default() }
    }

    /// A place for one more.
    pub(super) fn enter(self: &Arc<Self>) -> Ticket {
        let (sender, evicted) = oneshot::channel();
        let number = self.with(|running| {
            while running.handshakes.len() >= self.limit {
                running.handshakes.pop_first();
            }
            let number = running.next;
            running.next = number.wrapping_add(1);
            running.handshakes.insert(number, sender);
            number
        });
        Ticket { admission: Arc::clone(self), number, evicted }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Running) -> T) -> T {
        // Nothing in `act` can panic half way.
        act(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.with(|running| running.handshakes.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let admission = Arc::new(Admission::new(2));
        let (mut first, second) = (admission.enter(), admission.enter());
        assert_eq!(first.evicted.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        drop(second);
        let mut third = admission.enter();
        assert_eq!(first.evicted.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        let _fourth = admission.enter();
        assert_eq!(first.evicted.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        drop(first);
        assert_eq!(third.evicted.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert_eq!(admission.with(|running| running.handshakes.len()), 2);
    }
}
