//! How other tasks reach the task that owns a connection: operations are pushed into a vector that the owner swaps out
//! whole. Only the first push after the owner went to sleep wakes it.
//!
//! Invariant: the waker is present only while the owner has seen all there is, so a push (or a request to end) that finds
//! it is the first. It is taken under the same lock that guards the rest, which is why none can be missed.
//!
//! Bounds are the pushers' business: calls count themselves against their channel's limit and streams against their
//! send gate before they push.

use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use crate::sync::Mutex;

/// What the owner was asked to do with the whole connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Asked {
    /// Nothing: go on.
    GoOn,
    /// End gracefully.
    Drain,
    /// The time to end gracefully is over: end with a last word.
    CutOff,
    /// End at once.
    Abort,
}

#[derive(Debug)]
struct State<Op> {
    ops: Vec<Op>,
    waker: Option<Waker>,
    asked: Asked,
    /// What the owner knows of `asked`.
    seen: Asked,
    closed: bool,
}

impl<Op> State<Op> {
    fn set_waker(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(old) => old.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
    }
}

/// The queue of operations of one connection.
#[derive(Debug)]
pub struct OpQueue<Op> {
    state: Mutex<State<Op>>,
}

impl<Op> Default for OpQueue<Op> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                ops: Vec::new(),
                waker: None,
                asked: Asked::GoOn,
                seen: Asked::GoOn,
                closed: false,
            }),
        }
    }
}

impl<Op> OpQueue<Op> {
    fn with<T>(&self, act: impl FnOnce(&mut State<Op>) -> T) -> T {
        // A panic while the lock was held cannot leave the state half-changed: nothing in `act` runs user code.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hands an operation to the connection's task.
    ///
    /// # Errors
    /// Gives the operation back if the connection is over.
    pub fn push(&self, op: Op) -> Result<(), Op> {
        let waker = self.with(|state| {
            if state.closed {
                return Err(op);
            }
            state.ops.push(op);
            Ok(state.waker.take())
        })?;
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Takes all operations, where the owner is no driver and looks for itself when there are some.
    #[must_use]
    pub fn take_all(&self) -> Vec<Op> {
        self.with(|state| core::mem::take(&mut state.ops))
    }

    /// True once the connection is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.with(|state| state.closed)
    }

    /// Asks the connection to end gracefully: streams in flight go on, new ones are turned away.
    pub fn drain(&self) {
        self.ask(Asked::Drain);
    }

    /// Asks the connection to end what is left of it ([`Tx::cut_off`](clearway_http2::Tx::cut_off)).
    pub fn cut_off(&self) {
        self.ask(Asked::CutOff);
    }

    /// Asks the connection to end at once.
    pub fn abort(&self) {
        self.ask(Asked::Abort);
    }

    fn ask(&self, asked: Asked) {
        let waker = self.with(|state| {
            state.asked = state.asked.max(asked);
            state.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ready once the connection was asked to end, for whoever owns the queue before the driver does: a handshake. The driver
    /// is asked again.
    pub fn poll_asked_to_end(&self, cx: &Context<'_>) -> Poll<()> {
        self.with(|state| {
            if state.asked != Asked::GoOn {
                return Poll::Ready(());
            }
            state.set_waker(cx.waker());
            Poll::Pending
        })
    }

    /// Swaps the operations into `into`, which must be empty. If there are none, the next push wakes `waker`.
    pub(crate) fn take(&self, into: &mut Vec<Op>, waker: &Waker) -> Asked {
        self.with(|state| {
            core::mem::swap(&mut state.ops, into);
            state.seen = state.asked;
            if into.is_empty() {
                state.set_waker(waker);
            } else {
                state.waker = None;
            }
            state.asked
        })
    }

    /// Puts a waker in place if nothing was pushed or asked since the last [`OpQueue::take`]; false if something was.
    pub(crate) fn park(&self, waker: &Waker) -> bool {
        self.with(|state| {
            let nothing_new = state.ops.is_empty() && state.asked == state.seen;
            if nothing_new {
                state.set_waker(waker);
            }
            nothing_new
        })
    }

    /// Gives back the room for operations, if there are none.
    pub(crate) fn rest(&self) {
        self.with(|state| {
            if state.ops.is_empty() {
                state.ops = Vec::new();
            }
        });
    }

    /// The connection is over: what is queued comes back, later pushes fail.
    pub(crate) fn close(&self) -> Vec<Op> {
        self.with(|state| {
            state.closed = true;
            state.waker = None;
            core::mem::take(&mut state.ops)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct CountWakes(AtomicUsize);
    impl Wake for CountWakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn only_the_first_push_wakes() {
        let queue = OpQueue::default();
        let wakes = Arc::new(CountWakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut ops = Vec::new();
        queue.take(&mut ops, &waker);
        for n in 0..10 {
            queue.push(n).unwrap();
        }
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
        queue.take(&mut ops, &waker);
        assert_eq!(ops.len(), 10);
        queue.push(1).unwrap();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1, "the owner is awake and will look again");
        assert!(!queue.park(&waker));
        ops.clear();
        queue.take(&mut ops, &waker);
        ops.clear();
        assert!(queue.park(&waker));
        queue.push(1).unwrap();
        assert_eq!(wakes.0.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_closed_queue_gives_operations_back() {
        let queue = OpQueue::default();
        queue.push(1).unwrap();
        assert_eq!(queue.close(), vec![1]);
        assert_eq!(queue.push(2), Err(2));
    }

    /// What one step of another thread, or of the owner, does to the queue. Each takes the lock once, so the
    /// interleavings of these steps are all there are.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Step {
        Push,
        Drain,
        Abort,
        /// The owner's turn goes on: take, or park.
        Owner,
    }

    /// Every order of the steps of three other threads around the owner's take, park, take, park: whenever the owner
    /// sleeps, it has seen everything or has been woken.
    #[test]
    fn no_wakeup_is_lost_in_any_order() {
        const STEPS: [Step; 4] = [Step::Push, Step::Drain, Step::Abort, Step::Owner];
        let mut orders = 0;
        for code in 0..4_usize.pow(8) {
            let order: Vec<Step> = (0..8).map(|n| STEPS[code / 4_usize.pow(n) % 4]).collect();
            run(&order);
            orders += 1;
        }
        assert_eq!(orders, 65_536);
    }

    fn run(order: &[Step]) {
        let queue = OpQueue::default();
        let wakes = Arc::new(CountWakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let (mut pushed, mut asked) = (0, Asked::GoOn);
        let (mut seen_ops, mut seen_asked) = (0, Asked::GoOn);
        // A sleeping owner knows how often it had been woken when it went to sleep.
        let (mut awake, mut taken, mut asleep_since) = (true, false, 0);
        let mut ops = Vec::new();
        for step in order {
            match step {
                Step::Push => {
                    queue.push(()).unwrap();
                    pushed += 1;
                }
                Step::Drain => {
                    queue.drain();
                    asked = asked.max(Asked::Drain);
                }
                Step::Abort => {
                    queue.abort();
                    asked = Asked::Abort;
                }
                Step::Owner if awake && !taken => {
                    asleep_since = wakes.0.load(Ordering::SeqCst);
                    seen_asked = queue.take(&mut ops, &waker);
                    seen_ops += ops.len();
                    ops.clear();
                    taken = true;
                }
                Step::Owner if awake => {
                    awake = !queue.park(&waker);
                    taken = false;
                }
                Step::Owner => {}
            }
            // A wake during the turn makes the runtime poll again, too.
            awake |= wakes.0.load(Ordering::SeqCst) > asleep_since;
            let knows_all = (seen_ops, seen_asked) == (pushed, asked);
            assert!(awake || knows_all, "asleep and ignorant after {order:?}");
        }
    }

    #[test]
    fn no_wakeup_is_lost_between_threads() {
        let queue = Arc::new(OpQueue::default());
        let wakes = Arc::new(CountWakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let producers: Vec<_> = (0..4)
            .map(|_| {
                let queue = Arc::clone(&queue);
                std::thread::spawn(move || (0..10_000).for_each(|n| queue.push(n).unwrap()))
            })
            .collect();
        let (mut seen, mut ops) = (0, Vec::new());
        while seen < 40_000 {
            queue.take(&mut ops, &waker);
            seen += ops.len();
            ops.clear();
            let before = wakes.0.load(Ordering::SeqCst);
            if seen < 40_000 && queue.park(&waker) {
                // Asleep: a push must wake us.
                while wakes.0.load(Ordering::SeqCst) == before {
                    std::thread::yield_now();
                }
            }
        }
        for producer in producers {
            producer.join().unwrap();
        }
    }
}
