//! Where the handler of a stream is between two polls. Its own task polls it, and so may the task of its connection, when a
//! message has come that it waits for: whoever does takes it out meanwhile, so that none of the user's code runs under a lock.
//!
//! Invariants: a task that comes while the handler is out is woken when it is put back, so no wake-up is lost. After
//! [`Seat::leave`] or [`Seat::done_here`] nobody gets it any more; whoever puts it back then drops it.

use core::task::Waker;
use std::sync::PoisonError;

use crate::sync::Mutex;

/// Where the handler is.
#[derive(Debug)]
enum Place<H> {
    /// In its seat.
    Here(H),
    /// Being polled by its own task.
    AtHome,
    /// Being polled by the connection's task. Its own came meanwhile, if `missed`.
    Visiting { missed: bool },
    /// Done, or given up.
    Over,
}

#[derive(Debug)]
struct State<H> {
    place: Place<H>,
    /// Its task's, once that ran.
    home: Option<Waker>,
}

/// One handler, of any kind.
#[derive(Debug)]
pub(crate) struct Seat<H> {
    state: Mutex<State<H>>,
}

/// What the handler's own task finds.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Taken<H> {
    /// The handler, to be polled.
    Handler(H),
    /// Somebody polls it. The task is woken when that is over.
    Elsewhere,
    /// There is no handler any more.
    Over,
}

impl<H> Seat<H> {
    pub(crate) fn new(handler: H) -> Self {
        Self { state: Mutex::new(State { place: Place::Here(handler), home: None }) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State<H>) -> T) -> T {
        // Nothing in `act` runs code of the user's: a handler is moved in here, and never dropped.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    // The handler's own task.

    /// Takes the handler to poll it with `waker`.
    pub(crate) fn take(&self, waker: &Waker) -> Taken<H> {
        self.with(|state| {
            match &mut state.home {
                Some(home) => home.clone_from(waker),
                None => state.home = Some(waker.clone()),
            }
            match core::mem::replace(&mut state.place, Place::AtHome) {
                Place::Here(handler) => Taken::Handler(handler),
                Place::Visiting { .. } => {
                    state.place = Place::Visiting { missed: true };
                    Taken::Elsewhere
                }
                Place::AtHome | Place::Over => {
                    state.place = Place::Over;
                    Taken::Over
                }
            }
        })
    }

    /// Puts it back.
    pub(crate) fn put_back(&self, handler: H) {
        self.with(|state| state.place = Place::Here(handler));
    }

    /// The task is over, whether the handler is or not: gives out what is in the seat, to be dropped.
    pub(crate) fn leave(&self) -> Option<H> {
        self.with(|state| match core::mem::replace(&mut state.place, Place::Over) {
            Place::Here(handler) => Some(handler),
            Place::AtHome | Place::Visiting { .. } | Place::Over => None,
        })
    }

    // The connection's task.

    /// The waker of the handler's task, once that ran.
    pub(crate) fn home(&self) -> Option<Waker> {
        self.with(|state| state.home.clone())
    }

    /// Takes the handler to poll it with its task's waker, if it is in its seat. If not, its task is to be woken.
    pub(crate) fn take_here(&self) -> Option<H> {
        self.with(|state| match core::mem::replace(&mut state.place, Place::Visiting { missed: false }) {
            Place::Here(handler) => Some(handler),
            other => {
                state.place = other;
                None
            }
        })
    }

    /// Puts back what [`Seat::take_here`] gave. The handler comes back, to be dropped, if its task is over; the waker is to be
    /// woken.
    pub(crate) fn put_back_here(&self, handler: H) -> (Option<H>, Option<Waker>) {
        self.with(|state| match state.place {
            Place::Visiting { missed } => {
                state.place = Place::Here(handler);
                (None, if missed { state.home.clone() } else { None })
            }
            Place::Here(_) | Place::AtHome | Place::Over => (Some(handler), None),
        })
    }

    /// What [`Seat::take_here`] gave is done, and will not be put back.
    pub(crate) fn done_here(&self) {
        self.with(|state| state.place = Place::Over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Arc;
    use std::task::Wake;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_task_that_comes_during_a_visit_is_woken_after_it() {
        let (seat, wakes) = (Seat::new("handler"), Arc::new(Wakes::default()));
        let waker = Waker::from(Arc::clone(&wakes));
        assert!(seat.home().is_none(), "its task never ran");
        assert_eq!(seat.take(&waker), Taken::Handler("handler"));
        assert_eq!(seat.take_here(), None, "its task has it");
        seat.put_back("handler");
        for comes_meanwhile in [true, false] {
            assert_eq!(seat.take_here(), Some("handler"));
            if comes_meanwhile {
                assert_eq!(seat.take(&waker), Taken::Elsewhere);
            }
            let (left, woken) = seat.put_back_here("handler");
            assert_eq!((left, woken.is_some()), (None, comes_meanwhile));
            woken.into_iter().for_each(Waker::wake);
        }
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn whoever_is_last_has_the_handler_to_drop() {
        let waker = Waker::noop();
        let at_home = Seat::new("handler");
        assert_eq!(at_home.leave(), Some("handler"));
        assert_eq!((at_home.take_here(), at_home.leave()), (None, None));

        let visited = Seat::new("handler");
        assert_eq!(visited.take_here(), Some("handler"));
        assert_eq!(visited.leave(), None, "the visit knows nothing of that");
        assert_eq!(visited.put_back_here("handler").0, Some("handler"));

        let done = Seat::new("handler");
        assert_eq!(done.take_here(), Some("handler"));
        done.done_here();
        assert_eq!((done.take(waker), done.leave()), (Taken::Over, None));
    }
}
