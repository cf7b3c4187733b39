//! How a stream ends: by both sides' END_STREAM, by a reset of either side, or on the wire alone while its handler keeps the
//! slot. RFC 9113 §5.1, §5.4.2, §8.1.
//!
//! Invariant: a stream leaves the wire before its handler is told, so nothing can be sent on it any more.

use super::Role;
use super::tx::Tx;
use crate::error::{By, ErrorCode, Reset, Scope, Violation};
use crate::flow_control::{RecvWindow, Share, Window};
use crate::handler::{Handler, SlotFate};
use crate::observe::{BlockedOn, Trace};
use crate::stream::registry::ClosedBy;
use crate::stream::{Half, Stream, StreamKey, Tenure};

impl Tx {
    /// END_STREAM went to the output.
    pub(super) fn sent_end(&mut self, key: StreamKey) {
        let now = self.now;
        let Some(stream) = self.streams.live_mut(key) else { return };
        stream.send = Half::Ended;
        stream.blocked(BlockedOn::Peer, now);
        let (id, done) = (stream.id, stream.recv == Half::Ended);
        if done {
            self.close(key, ClosedBy::End, None);
        } else if self.role == Role::Server {
            // RFC 9113 §8.1: the response is complete; the rest of the request is not needed.
            self.write_reset(id, ErrorCode::NO_ERROR);
            let reset = Reset { code: ErrorCode::NO_ERROR, by: By::Us, violation: None };
            self.close(key, ClosedBy::OurReset, Some(reset));
        }
    }

    /// Closes a stream whose two halves have ended.
    #[inline]
    pub(super) fn close_if_ended(&mut self, key: StreamKey) {
        if self.streams.live_mut(key).is_some_and(|stream| stream.state() == crate::stream::State::Closed) {
            self.close(key, ClosedBy::End, None);
        }
    }

    /// Ends one stream because the peer broke a rule on it; the handler is told.
    pub(super) fn stream_error<H: Handler>(
        &mut self,
        key: StreamKey,
        violation: Violation,
        handler: &mut H,
    ) -> Result<(), Violation> {
        let (scope, code) = violation.verdict();
        if scope == Scope::Connection {
            return Err(violation);
        }
        let Some(id) = self.streams.live_mut(key).map(|stream| stream.id) else { return Ok(()) };
        let verdict = self.provoked_reset(id, violation);
        let reset = Reset { code, by: By::Us, violation: Some(violation) };
        self.end_by_reset(key, ClosedBy::OurReset, reset, handler);
        verdict
    }

    /// A reset the peer makes us send; too many of them end the connection.
    pub(super) fn provoked_reset(&mut self, id: u32, violation: Violation) -> Result<(), Violation> {
        let now = self.now;
        self.write_reset(id, violation.verdict().1);
        self.counters.answered();
        self.counters.reset(&self.config.limits, now)
    }

    /// Gives up the stream on the wire and then tells the handler, so that nothing it says can go out any more; its
    /// answer decides about the slot.
    pub(super) fn end_by_reset<H: Handler>(
        &mut self,
        key: StreamKey,
        why: ClosedBy,
        reset: Reset,
        handler: &mut H,
    ) {
        self.hold(key, why, reset);
        if handler.on_reset(self, key, reset) == SlotFate::Free {
            self.free(key);
        }
    }

    /// Takes a stream out of the registry.
    pub(super) fn close(&mut self, key: StreamKey, why: ClosedBy, reset: Option<Reset>) {
        let Some(leaving) = self.streams.get(key).map(Leaving::of) else { return };
        self.streams.remove(key);
        let id = leaving.id;
        self.leave(key, leaving, why, reset);
        self.note_idleness();
        if self.streams.is_local(id) {
            self.notices.stream_slot |= self.opener_waits;
        }
    }

    /// Ends a stream on the wire while its handler keeps the slot.
    pub(super) fn hold(&mut self, key: StreamKey, why: ClosedBy, reset: Reset) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        let leaving = Leaving::of(entry);
        // What it waited for stays: it may explain the reset.
        let (blocked_on, blocked_since) = (entry.blocked_on, entry.blocked_since);
        let fresh = Stream::new(leaving.id, Window::new(0), RecvWindow::new(0, 0), self.now);
        *entry = Stream { tenure: Tenure::HeldByApplication, blocked_on, blocked_since, ..fresh };
        self.leave(key, leaving, why, Some(reset));
    }

    /// The handler of a stream held with [`SlotFate::HeldByApplication`](crate::SlotFate) has ended.
    pub fn free(&mut self, stream: StreamKey) {
        let held = self.streams.get(stream).filter(|entry| entry.tenure == Tenure::HeldByApplication);
        let Some(id) = held.map(|entry| entry.id) else { return };
        self.streams.remove(stream);
        self.note_idleness();
        if self.streams.is_local(id) {
            self.notices.stream_slot |= self.opener_waits;
        }
    }

    fn leave(&mut self, key: StreamKey, leaving: Leaving, why: ClosedBy, reset: Option<Reset>) {
        let now = self.now;
        let Leaving { id, share, in_flight, waiting, scheduled } = leaving;
        self.streams.remember(id, why);
        self.budget.finished(key, now);
        match (why, in_flight) {
            (ClosedBy::End, _) => self.counters.stream_completed(now),
            (ClosedBy::OurReset, Some(octets)) => self.counters.expect_late(octets),
            _ => {}
        }
        self.waiting = self.waiting.saturating_sub(waiting);
        if scheduled {
            self.ready.retain(|ready| *ready != key);
        }
        if let Some(observer) = &mut self.observer {
            observer.on_trace(now, &Trace::StreamClosed { stream_id: id, reset });
        }
        if share != Share::default() {
            self.budget.adjust(share, Share::default());
            self.serve_grants();
        }
    }
}

/// What must be known of a stream when it leaves the wire.
struct Leaving {
    id: u32,
    /// What it takes out of the receive budget.
    share: Share,
    /// The credit its peer has, unless it has said everything.
    in_flight: Option<u32>,
    /// Octets in its backlog.
    waiting: usize,
    /// It is in the ready queue.
    scheduled: bool,
}

impl Leaving {
    #[inline]
    fn of(stream: &Stream) -> Self {
        Self {
            id: stream.id,
            share: stream.share(),
            in_flight: (stream.recv != Half::Ended).then(|| stream.recv_window.open()),
            waiting: stream.backlog_octets(),
            scheduled: stream.backlog.as_ref().is_some_and(|backlog| backlog.scheduled),
        }
    }
}
