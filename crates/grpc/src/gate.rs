//! How a writer is slowed down: it may have so much on the way to the connection's task, and none while its stream's
//! backlog is above the engine's mark.
//!
//! How much may be on the way is the engine's word ([`Tx::writer_mark`](clearway_http2::Tx::writer_mark)), renewed whenever
//! the connection took something: much for the only download, little for each of a thousand.
//!
//! Invariant: `in_flight` counts octets pushed to the connection's queue and not applied yet. So what one stream holds
//! unsent is at most `mark` in the queue, the engine's backlog mark, and one batch or message.

use core::task::{Context, Poll, Waker};
use std::sync::PoisonError;

use crate::sync::Mutex;

/// The stream is over: nothing can be sent any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct GateClosed;

/// What one stream lets its writer send; without a lock, for those who have one. Each of many open streams has one, so it is kept
/// small: 4 GiB and more in flight count as 4 GiB.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    in_flight: u32,
    /// A writer with this much in flight waits; one with nothing in flight does not.
    mark: u32,
    backlogged: bool,
}

fn octets(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl Flow {
    /// Nothing is in flight, and so much may be.
    fn marked(mark: usize) -> Self {
        Self { mark: octets(mark), ..Self::default() }
    }

    /// Shut until the stream exists.
    pub(crate) const fn shut() -> Self {
        Self { in_flight: 0, mark: 0, backlogged: true }
    }

    /// The mark, if the writer may go on.
    pub(crate) fn open(&self) -> Option<usize> {
        let is_open = (self.in_flight == 0 || self.in_flight < self.mark) && !self.backlogged;
        is_open.then_some(self.mark as usize)
    }

    /// See [`SendGate::pushed`].
    pub(crate) fn pushed(&mut self, count: usize) {
        self.in_flight = self.in_flight.saturating_add(octets(count));
    }

    /// See [`SendGate::applied`].
    pub(crate) fn applied(&mut self, count: usize, backlogged: bool, mark: usize) {
        self.in_flight = self.in_flight.saturating_sub(octets(count));
        (self.backlogged, self.mark) = (backlogged, octets(mark));
    }

    /// See [`SendGate::writable`].
    pub(crate) fn writable(&mut self, mark: usize) {
        (self.backlogged, self.mark) = (false, octets(mark));
    }
}

#[derive(Debug, Default)]
struct State {
    flow: Flow,
    closed: bool,
    waker: Option<Waker>,
}

impl State {
    fn poll_open(&mut self, cx: &Context<'_>) -> Poll<Result<usize, GateClosed>> {
        if self.closed {
            return Poll::Ready(Err(GateClosed));
        }
        if let Some(mark) = self.flow.open() {
            return Poll::Ready(Ok(mark));
        }
        match &mut self.waker {
            Some(old) => old.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// Between one writer and the connection's task.
#[derive(Debug, Default)]
pub(crate) struct SendGate {
    state: Mutex<State>,
}

impl SendGate {
    /// A gate that is open; see [`SendGate::applied`] for the mark.
    pub(crate) fn open(mark: usize) -> Self {
        Self { state: Mutex::new(State { flow: Flow::marked(mark), ..State::default() }) }
    }

    /// A gate that is shut until [`SendGate::writable`].
    #[cfg(all(test, clearway_loom))]
    pub(crate) fn shut() -> Self {
        Self { state: Mutex::new(State { flow: Flow::shut(), ..State::default() }) }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ready when the writer may go on, with the mark: so many octets it should send next at most, if it has so many in
    /// small messages.
    pub(crate) fn poll_open(&self, cx: &Context<'_>) -> Poll<Result<usize, GateClosed>> {
        self.with(|state| state.poll_open(cx))
    }

    /// As [`SendGate::poll_open`], asked on the connection's task while nothing is in flight: `backlogged` and `mark` are as of now.
    pub(crate) fn poll_open_here(
        &self,
        cx: &Context<'_>,
        backlogged: bool,
        mark: usize,
    ) -> Poll<Result<usize, GateClosed>> {
        self.with(|state| {
            state.flow.applied(0, backlogged, mark);
            state.poll_open(cx)
        })
    }

    /// The writer is about to push so many octets.
    pub(crate) fn pushed(&self, octets: usize) {
        self.with(|state| state.flow.pushed(octets));
    }

    /// The connection took so many octets; `backlogged` says whether its stream holds too much now, and `mark` how many
    /// octets may be on their way from now on.
    pub(crate) fn applied(&self, octets: usize, backlogged: bool, mark: usize) -> Option<Waker> {
        self.with(|state| {
            state.flow.applied(octets, backlogged, mark);
            if state.flow.open().is_some() { state.waker.take() } else { None }
        })
    }

    /// The stream's backlog has drained.
    pub(crate) fn writable(&self, mark: usize) -> Option<Waker> {
        self.with(|state| {
            state.flow.writable(mark);
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

    const MARK: usize = 1000;

    #[test]
    fn a_writer_waits_for_the_queue_and_for_the_backlog() {
        let gate = SendGate::open(MARK);
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(gate.poll_open(&cx), Poll::Ready(Ok(MARK)));
        gate.pushed(MARK - 1);
        assert_eq!(gate.poll_open(&cx), Poll::Ready(Ok(MARK)));
        gate.pushed(1);
        assert!(gate.poll_open(&cx).is_pending());
        assert!(gate.applied(MARK, true, MARK).is_none());
        assert!(gate.poll_open(&cx).is_pending());
        assert!(gate.writable(MARK).is_some());
        assert_eq!(gate.poll_open(&cx), Poll::Ready(Ok(MARK)));
        gate.pushed(MARK);
        assert!(gate.poll_open(&cx).is_pending());
        assert!(gate.close().is_some());
        assert_eq!(gate.poll_open(&cx), Poll::Ready(Err(GateClosed)));
    }

    #[test]
    fn a_new_mark_counts_at_once_and_nothing_in_flight_is_always_room() {
        let gate = SendGate::open(MARK);
        let cx = Context::from_waker(Waker::noop());
        gate.pushed(MARK);
        gate.pushed(MARK);
        assert!(gate.poll_open(&cx).is_pending());
        assert!(gate.applied(MARK, false, MARK / 2).is_none(), "more is in flight than the new mark");
        assert!(gate.applied(MARK, false, 0).is_some(), "nothing is in flight");
        assert_eq!(gate.poll_open(&cx), Poll::Ready(Ok(0)));
        gate.pushed(1);
        assert!(gate.poll_open(&cx).is_pending());
    }
}
