//! How a writer is slowed down: it may have so much on the way to the connection's task, and none while its stream's
//! backlog is above the engine's mark.
//!
//! Invariant: `in_flight` counts octets pushed to the connection's queue and not applied yet. So what one stream holds
//! unsent is at most [`MARK`] in the queue, the engine's backlog mark, and one message.

use core::task::{Context, Poll, Waker};
use std::sync::PoisonError;

use crate::sync::Mutex;

/// A writer with this much in the queue waits.
const MARK: usize = 64 * 1024;

/// The stream is over: nothing can be sent any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct GateClosed;

#[derive(Debug, Default)]
struct State {
    in_flight: usize,
    backlogged: bool,
    closed: bool,
    waker: Option<Waker>,
}

/// Between one writer and the connection's task.
#[derive(Debug, Default)]
pub(crate) struct SendGate {
    state: Mutex<State>,
}

impl SendGate {
    /// A gate that is shut until [`SendGate::writable`]: the call has no stream yet.
    pub(crate) fn shut() -> Self {
        Self { state: Mutex::new(State { backlogged: true, ..State::default() }) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ready when the writer may go on.
    pub(crate) fn poll_open(&self, cx: &Context<'_>) -> Poll<Result<(), GateClosed>> {
        self.with(|state| {
            if state.closed {
                return Poll::Ready(Err(GateClosed));
            }
            if state.in_flight < MARK && !state.backlogged {
                return Poll::Ready(Ok(()));
            }
            match &mut state.waker {
                Some(old) => old.clone_from(cx.waker()),
                None => state.waker = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
    }

    /// Ready when the stream is over; registers the waker otherwise.
    pub(crate) fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        self.with(|state| {
            if state.closed {
                return Poll::Ready(());
            }
            match &mut state.waker {
                Some(old) => old.clone_from(cx.waker()),
                None => state.waker = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
    }

    /// The writer is about to push so many octets.
    pub(crate) fn pushed(&self, octets: usize) {
        self.with(|state| state.in_flight = state.in_flight.saturating_add(octets));
    }

    /// The connection took so many octets; `backlogged` says whether its stream holds too much now.
    pub(crate) fn applied(&self, octets: usize, backlogged: bool) -> Option<Waker> {
        self.with(|state| {
            state.in_flight = state.in_flight.saturating_sub(octets);
            state.backlogged = backlogged;
            if backlogged || state.in_flight >= MARK { None } else { state.waker.take() }
        })
    }

    /// The stream's backlog has drained.
    pub(crate) fn writable(&self) -> Option<Waker> {
        self.with(|state| {
            state.backlogged = false;
            state.waker.take()
        })
    }

    /// The stream is over.
    pub(crate) fn close(&self) -> Option<Waker> {
        self.with(|state| {
            state.closed = true;
            state.waker.take()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_waits_for_the_queue_and_for_the_backlog() {
        let gate = SendGate::default();
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(gate.poll_open(&cx), Poll::Ready(Ok(())));
        gate.pushed(MARK);
        assert!(gate.poll_open(&cx).is_pending());
        assert!(gate.applied(MARK, true).is_none());
        assert!(gate.poll_open(&cx).is_pending());
        assert!(gate.writable().is_some());
        assert_eq!(gate.poll_open(&cx), Poll::Ready(Ok(())));
        assert!(gate.poll_closed(&cx).is_pending());
        assert!(gate.close().is_some());
        assert_eq!(gate.poll_open(&cx), Poll::Ready(Err(GateClosed)));
        assert!(gate.poll_closed(&cx).is_ready());
    }
}
