//! A streaming handler's task, and the visits that the connection's task pays to it: when messages have come that a handler waits
//! for, it is polled where they came, if its method is one for that ([`super::placement`]). A hundred messages for a hundred streams are then a hundred
//! polls and one write, without a task switch between them.
//!
//! A visit is a poll with the task's own waker, so a handler that goes on to wait for something else is woken as always; its task
//! does not run for it, and is not told.
//!
//! Invariants: a handler whose messages were delivered is polled in the same turn or its task is woken. What panics in a
//! visit ends its own call. What its task pushed for a handler arrives before a visit. A visit never waits for anything: a handler that its task polls at the moment is left to it.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::Arc;

use clearway_http2::{RouteId, StreamKey, Tx};
use tokio::task::coop::has_budget_remaining;

use super::call::{Intake, Said};
use super::connection::ServerConnection;
use super::contain::contain;
use super::ops::{DoneGuard, Outcome};
use super::origin::AskedBy;
use super::placement::Decision;
use super::streaming::Running;
use super::via::{Direct, Via};
use crate::codec::Message;
use crate::context::{CallContext, Life};
use crate::gate::SendGate;
use crate::inbound::{Delivered, Inbound};
use crate::seat::{Seat, Taken};

/// The request of a call that takes a stream, as its connection holds it.
pub(super) struct Upload {
    pub(super) inbound: Arc<Inbound>,
    pub(super) route: RouteId,
    /// None before the handler has started.
    seat: Option<Arc<Seat<Box<Settled>>>>,
    /// The waker of the handler's task, once it is known.
    home: Option<Waker>,
    /// How many of the operations that the handler's task pushed were applied.
    applied: u32,
}

impl Upload {
    pub(super) const fn new(inbound: Arc<Inbound>, route: RouteId) -> Self {
        Self { inbound, route, seat: None, home: None, applied: 0 }
    }

    /// Something of the response that came through the queue was applied.
    pub(super) const fn applied(&mut self) {
        self.applied = self.applied.wrapping_add(1);
    }

    /// Hands a message to the reader; says where that waits.
    pub(super) fn deliver(&mut self, message: Message) -> Delivered {
        if let Some(home) = &self.home {
            return self.inbound.deliver_to(message, home);
        }
        // From the next message on it is known.
        self.home = self.seat.as_ref().and_then(|seat| seat.home());
        self.inbound.deliver(message).map_or(Delivered::Unread, Delivered::Told)
    }
}

/// A handler, and what surrounds it. The guard is dropped last: only then has the handler ended.
pub(super) struct Settled {
    handler: Running,
    context: CallContext,
    /// The connection knows what hears of the call's end.
    watched: bool,
    /// Operations that the handler's task pushed for it, all in all. Messages go out in the order they were made, so there are no visits while
    /// one is on its way.
    pushed: u32,
    guard: DoneGuard,
}

impl Settled {
    /// Polls the handler in its context. Whoever does, it is here.
    fn poll(&mut self, cx: &mut Context<'_>, via: &mut Via<'_>) -> Poll<Outcome> {
        let Self { handler, context, .. } = self;
        match contain(|| context.enter(|| handler.as_mut().poll(cx, via))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(ready) => ready,
            Err(status) => Poll::Ready(Outcome::Status(status)),
        }
    }

    /// Polls the handler on the connection's task, with the waker of its own; what it sends goes into the output. How it ended, if it did.
    fn poll_here(
        &mut self,
        home: &Waker,
        tx: &mut Tx,
        said: &mut Said,
        buffer: &mut Vec<u8>,
    ) -> Option<Outcome> {
        let direct = Direct { tx, said: *said, buffer: core::mem::take(buffer), refused: None };
        let mut via = Via::Output(direct);
        let polled = self.poll(&mut Context::from_waker(home), &mut via);
        let Via::Output(Direct { said: now_said, buffer: given_back, refused, .. }) = via else {
            return None;
        };
        (*said, *buffer) = (now_said, given_back);
        match (refused, polled) {
            (Some(status), _) => Some(Outcome::Status(status)),
            (None, Poll::Ready(outcome)) => Some(outcome),
            (None, Poll::Pending) => None,
        }
    }

    /// The handler has ended, and the connection knows.
    fn end_here(self) {
        let Self { handler, guard, .. } = self;
        let _ = contain(|| drop(handler));
        guard.disarm();
    }

    /// What hears of the call's end, the first time somebody asked for it.
    fn newly_watched(&mut self) -> Option<&Arc<Life>> {
        let life = if self.watched { None } else { self.context.life() };
        self.watched |= life.is_some();
        life
    }
}

/// The task of a streaming handler. That is somewhere else, so that a task is as small as they come.
struct Home {
    seat: Arc<Seat<Box<Settled>>>,
}

impl Future for Home {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut settled = match self.seat.take(cx.waker()) {
            Taken::Handler(settled) => settled,
            Taken::Elsewhere => return Poll::Pending,
            Taken::Over => return Poll::Ready(()),
        };
        let mut via = Via::Queue { pushed: 0 };
        let polled = settled.poll(cx, &mut via);
        if let Some(life) = settled.newly_watched().cloned() {
            settled.guard.watch(&life);
        }
        match polled {
            Poll::Pending => {
                settled.pushed = settled.pushed.wrapping_add(via.pushed());
                self.seat.put_back(settled);
                Poll::Pending
            }
            Poll::Ready(outcome) => {
                let Settled { handler, guard, .. } = *settled;
                let _ = contain(|| drop(handler));
                guard.finish(outcome);
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Aborted, or the runtime goes down, if there is a handler. One that is visited is dropped after that.
        let settled = self.seat.leave();
        let _ = contain(|| drop(settled));
    }
}

impl ServerConnection {
    /// Makes a task of a streaming handler.
    pub(super) fn settle(
        &mut self,
        stream: StreamKey,
        gate: Arc<SendGate>,
        context: CallContext,
        handler: Running,
    ) {
        let life = context.life().cloned();
        let guard = DoneGuard::new(Arc::clone(&self.link), stream);
        let settled = Settled { handler, context, watched: life.is_some(), pushed: 0, guard };
        let seat = Arc::new(Seat::new(Box::new(settled)));
        let task = tokio::spawn(Home { seat: Arc::clone(&seat) });
        self.spawned_in_turn = true;
        if let Some(call) = self.calls.get(stream) {
            call.life = life;
            call.task = Some(task.abort_handle());
            call.gate = Some(gate);
            if let Intake::Many(upload) = &mut call.intake {
                upload.seat = Some(seat);
            }
        }
    }

    /// Polls the handlers whose messages came, or has them polled by their tasks. True if any was polled here.
    pub(super) fn visit_all(&mut self, tx: &mut Tx) -> bool {
        let mut streams = core::mem::take(&mut self.to_visit);
        let mut buffer = Vec::new();
        let mut any = false;
        for stream in streams.drain(..) {
            any |= self.visit(tx, stream, &mut buffer);
        }
        self.to_visit = streams;
        any
    }

    /// Polls the handler of a call here, if that can be, or has its task do it. True if it was polled.
    fn visit(&mut self, tx: &mut Tx, stream: StreamKey, buffer: &mut Vec<u8>) -> bool {
        let Some(call) = self.calls.get(stream) else { return false };
        let Intake::Many(Upload { seat: Some(seat), home: Some(home), applied, route, .. }) =
            &mut call.intake
        else {
            return false;
        };
        let Some(learned) = self.shared.routes.get(*route).map(|route| &route.learned) else { return false };
        // With the budget spent everything looks pending: then there is no point in polling here.
        let decision =
            if has_budget_remaining() { learned.decide(&mut self.turn, tx.now()) } else { Decision::Spawn };
        let Some(mut settled) = fetch(seat, *applied, decision) else {
            self.wakes.push(home.clone());
            return false;
        };
        let began = matches!(decision, Decision::Measured { .. }).then(|| self.clock.now());
        let outcome = settled.poll_here(home, tx, &mut call.said, buffer);
        if let (Some(began), Decision::Measured { stands_for }) = (began, decision) {
            let took = self.clock.now() - began;
            self.turn.took(took, stands_for);
            learned.record(took, true);
        }
        let life = settled.newly_watched().cloned();
        if outcome.is_some() {
            seat.done_here();
            // Its task finds that out.
            self.wakes.push(home.clone());
            settled.end_here();
        } else {
            self.wakes.extend(put_back(seat, settled));
        }
        if let Some(life) = life {
            self.watch(stream, life, AskedBy::Context);
        }
        if let Some(outcome) = outcome {
            self.done(tx, stream, outcome);
            self.resume(tx);
        }
        true
    }
}

/// Takes a handler out of its seat to be polled here: unless its method is not one for that, its task polls it, or something that its task
/// pushed for it is still on its way.
fn fetch(seat: &Seat<Box<Settled>>, applied: u32, decision: Decision) -> Option<Box<Settled>> {
    if decision == Decision::Spawn {
        return None;
    }
    let settled = seat.take_here()?;
    if settled.pushed == applied {
        return Some(settled);
    }
    // Its task is woken in any case.
    put_back(seat, settled);
    None
}

/// Puts a handler back that goes on. What is given back came for it meanwhile and is to be woken.
fn put_back(seat: &Seat<Box<Settled>>, settled: Box<Settled>) -> Option<Waker> {
    let (left, waker) = seat.put_back_here(settled);
    // Its task was aborted meanwhile.
    let _ = contain(|| drop(left));
    waker
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an open call has beside its handler and its reader: a task as small as they come, and a seat.
    #[test]
    fn an_open_call_takes_little_beside_its_handler() {
        assert_eq!(size_of::<Home>(), size_of::<usize>());
        assert!(size_of::<Seat<Box<Settled>>>() <= 40, "{}", size_of::<Seat<Box<Settled>>>());
        assert!(size_of::<Settled>() <= 72, "{}", size_of::<Settled>());
        assert!(size_of::<SendGate>() <= 40, "{}", size_of::<SendGate>());
    }
}
