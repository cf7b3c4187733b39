//! One connection of a channel, from the inside: what its task does with the calls it is given.
//!
//! A call is put on a stream when its turn comes; until then it waits here, in order, when the peer's stream limit is
//! reached. A call that cannot go out on this connection at all is given back to the channel for another one. What the peer
//! answers is in [`super::response`].
//!
//! Invariants: a call is in the table from the moment it has a stream until its end was told, exactly once; a call that left
//! the table has no deadline running and no writer that still sends.

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use clearway_http2::{BlockedOn, ErrorCode, Instant, OpenError, StreamKey, Tx};
use clearway_transport::{Application, Clock, CloseReason, Closed, OpQueue, PeerAddr};

use super::channel::{ConnectionId, Event, Shared};
use super::head::Heads;
use super::one_call;
use super::outgoing::Outgoing;
use super::sharing::{IDS_IN_RESERVE, Sharing};
use super::start::{StartCall, unsent};
use super::upload::Leg;
use super::waiting::Waiting;
use crate::balance::Load;
use crate::cause::{Blocked, CallPhase, ConnectionInfo, Processed, TransportCause, TransportEvent};
use crate::deadline::{Deadlines, Ticket, TimeoutValue};
use crate::framing::Assembler;
use crate::inbound::{End, StreamOps, WakeAt};
use crate::{Code, Status};

/// A server counts a call's time from the turn in which it came, which may have begun before the call was sent, most of all on a busy
/// machine. What it cancels so shortly before our deadline has missed its own.
const AHEAD: Duration = Duration::from_millis(10);

/// The message of a request up to this size is copied to the output, which is cheaper than to share it.
const COPIED: usize = 2048;

/// What other tasks ask of a connection's task.
pub(crate) enum ClientOp {
    /// Begin a call.
    Start(Box<StartCall>),
    /// Begin a call that has reserved a stream.
    StartReserved(Box<StartCall>),
    /// From here on streams are reserved.
    Share(Arc<Load>),
    /// More of a request; with `end` it is the last.
    Send { stream: StreamKey, payload: Bytes, end: bool },
    /// The request cannot go on: the call ends with this status.
    Fail { stream: StreamKey, status: Status },
    /// The reader consumed so many octets.
    Release { stream: StreamKey, octets: usize },
    /// The reader waits for the message that is being put together.
    Want(StreamKey),
    /// The caller gave the call up.
    Abandon(StreamKey),
}

/// The queue to a connection's task: all that others know of a connection.
pub(crate) type Ops = Arc<OpQueue<ClientOp>>;

impl StreamOps for OpQueue<ClientOp> {
    // A closed queue has ended every call, so there is nothing left to ask.
    fn release(&self, stream: StreamKey, octets: usize) {
        let _ = self.push(ClientOp::Release { stream, octets });
    }

    fn want(&self, stream: StreamKey) {
        let _ = self.push(ClientOp::Want(stream));
    }

    fn abandon(&self, stream: StreamKey) {
        let _ = self.push(ClientOp::Abandon(stream));
    }
}

/// How far the answer to a call has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    AwaitingHeaders,
    /// The response began with this HTTP status.
    Streaming {
        http_status: u16,
    },
}

/// A call with a stream.
pub(super) struct Call {
    key: StreamKey,
    pub(super) start: Box<StartCall>,
    pub(super) assembler: Assembler,
    ticket: Option<Ticket>,
    pub(super) stage: Stage,
    /// The engine was told to let the message in assembly through.
    pub(super) expecting: bool,
    /// Messages kept for a reader that is woken at the end.
    pub(super) kept: u8,
}

/// The application of one client connection.
pub(crate) struct ClientConnection {
    id: ConnectionId,
    pub(super) shared: Arc<Shared>,
    ops: Ops,
    pub(super) peer: PeerAddr,
    clock: Clock,
    /// After so much silence the server is asked for a sign of life before a call is sent.
    pub(super) probe_after: Duration,
    /// By the slot of their stream.
    calls: Vec<Option<Call>>,
    pub(super) waiting: Waiting,
    deadlines: Deadlines<StreamKey>,
    heads: Heads,
    /// A response began on this connection.
    pub(super) answered: bool,
    pub(super) goaway: Option<TransportEvent>,
    pub(super) goaway_last_id: u32,
    /// Once it is one of several.
    pub(super) sharing: Option<Sharing>,
    /// The channel was told that calls wait here.
    pub(super) told_crowded: bool,
    /// Woken at the end of the turn.
    pub(super) wakers: Vec<core::task::Waker>,
}

impl ClientConnection {
    pub(crate) fn new(id: ConnectionId, shared: Arc<Shared>, ops: Ops, peer: PeerAddr, clock: Clock) -> Self {
        Self {
            id,
            probe_after: shared.pace.probe_after(),
            shared,
            ops,
            peer,
            clock,
            calls: Vec::new(),
            waiting: Waiting::default(),
            deadlines: Deadlines::default(),
            heads: Heads::default(),
            answered: false,
            goaway: None,
            goaway_last_id: u32::MAX,
            sharing: None,
            told_crowded: false,
            wakers: Vec::new(),
        }
    }

    pub(super) fn call(&mut self, stream: StreamKey) -> Option<&mut Call> {
        self.calls.get_mut(stream.slot())?.as_mut().filter(|call| call.key == stream)
    }

    /// Takes a call out of the table and stops its deadline.
    pub(super) fn take(&mut self, stream: StreamKey) -> Option<Call> {
        let call = self.calls.get_mut(stream.slot())?.take_if(|call| call.key == stream)?;
        if let Some(ticket) = call.ticket {
            self.deadlines.cancel(ticket);
        }
        Some(call)
    }

    /// Ends a call: what it brought is complete.
    pub(super) fn finish(&mut self, stream: StreamKey, end: End) {
        if let Some(call) = self.take(stream) {
            self.tell_end(&call.start, end);
        }
    }

    /// Ends a call, and its stream with it.
    pub(super) fn cancel(&mut self, tx: &mut Tx, stream: StreamKey, status: Status) {
        tx.reset(stream, ErrorCode::CANCEL);
        self.finish(stream, Err(status));
    }

    fn tell_end(&mut self, call: &StartCall, end: End) {
        self.wakers.extend(call.outgoing.leg().and_then(Leg::close));
        self.wakers.extend(call.inbound.end(end));
    }

    /// What is known of this connection now.
    pub(super) fn info(&self, now: Instant) -> ConnectionInfo {
        ConnectionInfo { peer: self.peer.clone(), age: now - Instant::ZERO }
    }

    pub(super) fn tell(&self, event: Event) {
        self.shared.tell(self.id, event);
    }

    /// Everything that waits goes back to the channel, for another connection.
    pub(super) fn hand_back_waiting(&mut self) {
        while let Some(call) = self.waiting.pop() {
            self.shared.take_back(call);
        }
    }

    fn start(&mut self, tx: &mut Tx, call: Box<StartCall>) {
        if call.inbound.is_abandoned() {
            return;
        }
        if self.sharing.is_some() {
            return self.start_unreserved(tx, call);
        }
        if self.must_ask_first(tx) {
            self.queue(call);
            return;
        }
        let limited = if self.waiting.is_empty() { self.open(tx, call) } else { Err(call) };
        if let Err(call) = limited {
            self.wait(call);
        }
    }

    /// The call waits for a free stream, behind those that came before it.
    fn wait(&mut self, call: Box<StartCall>) {
        if self.queue(call) {
            self.tell_crowded();
        }
    }

    /// Lets a call wait, if there is room for it: true if it does.
    pub(super) fn queue(&mut self, call: Box<StartCall>) -> bool {
        // When all that waited are given up the channel forgets what it was told.
        self.told_crowded &= self.waiting.is_wanted();
        match call.inbound.occupy(&self.shared.places) {
            Ok(()) => {
                let deadline = call.deadline.map(|at| self.clock.at(at));
                self.waiting.push(call, deadline);
                true
            }
            Err(full) => {
                let cause = unsent(TransportEvent::QueueFull { limit: full.limit });
                self.tell_end(&call, Err(Status::from_transport(Code::ResourceExhausted, cause)));
                false
            }
        }
    }

    /// Gives waiting calls the streams that became free.
    pub(super) fn open_waiting(&mut self, tx: &mut Tx) {
        while let Some(call) = self.waiting.pop() {
            if let Err(call) = self.open(tx, call) {
                let deadline = call.deadline.map(|at| self.clock.at(at));
                self.waiting.put_back(call, deadline);
                return;
            }
        }
        self.told_crowded = false;
    }

    /// Opens a stream for a call; gives the call back when the peer's stream limit is reached.
    pub(super) fn open(&mut self, tx: &mut Tx, call: Box<StartCall>) -> Result<(), Box<StartCall>> {
        let deadline = call.deadline.map(|at| self.clock.at(at));
        if deadline.is_some_and(|at| at <= tx.now()) {
            self.expire_waiting(tx, &call);
            return Ok(());
        }
        // The time left is computed here and not earlier: waiting counts (gRFC A6).
        let timeout = deadline.map(|at| TimeoutValue::new(at - tx.now()));
        let opened = self.heads.open(tx, &self.shared, &call, timeout.as_ref());
        match opened {
            Ok(stream) => self.opened(tx, stream, call, deadline),
            Err(OpenError::StreamLimit) => return Err(call),
            Err(OpenError::GoingAway | OpenError::Closed) => self.shared.take_back(call),
            Err(OpenError::IdsExhausted) => {
                self.stop_sharing();
                self.tell(Event::GoingAway { answered: self.answered });
                tx.shutdown();
                self.shared.take_back(call);
            }
            Err(OpenError::HeaderListTooLarge { octets, limit }) => {
                let event = TransportEvent::HeaderListTooLarge { octets, limit };
                let connection = Some(self.info(tx.now()));
                let cause = TransportCause { connection, event, processed: Processed::No };
                self.tell_end(&call, Err(Status::from_transport(Code::ResourceExhausted, cause)));
            }
        }
        Ok(())
    }

    fn opened(&mut self, tx: &mut Tx, stream: StreamKey, call: Box<StartCall>, deadline: Option<Instant>) {
        let ops: Arc<dyn StreamOps> = Arc::<OpQueue<ClientOp>>::clone(&self.ops);
        if tx.ids_left() == IDS_IN_RESERVE {
            self.tell(Event::WearsOut);
        }
        if !call.inbound.opened(stream, ops) {
            tx.reset(stream, ErrorCode::CANCEL);
            return;
        }
        match &call.outgoing {
            Outgoing::Small(message) => send_copy(tx, stream, message.as_slice()),
            Outgoing::Large(message) if message.len() <= COPIED => send_copy(tx, stream, message),
            Outgoing::Large(payload) => {
                // It can only fail on a stream that is gone, and this one was opened above.
                let _ = tx.send_data(stream, payload.clone(), true);
            }
            Outgoing::Stream(leg) => {
                let (sent, ended) = leg.opened(stream, Arc::clone(&self.ops));
                send_again(tx, stream, sent, ended);
                self.wakers.extend(leg.applied(0, tx.is_backlogged(stream), tx.writer_mark()));
            }
        }
        if let Some(notes) = &call.attempt {
            let _ = notes.peer.set(self.peer.clone());
        }
        let call = Call {
            key: stream,
            ticket: deadline.map(|at| self.deadlines.insert(at, stream)),
            assembler: Assembler::new(call.max_message),
            start: call,
            stage: Stage::AwaitingHeaders,
            expecting: false,
            kept: 0,
        };
        if self.calls.len() <= stream.slot() {
            self.calls.resize_with(stream.slot().saturating_add(1), || None);
        }
        if let Some(slot) = self.calls.get_mut(stream.slot()) {
            *slot = Some(call);
        }
    }

    fn send(&mut self, tx: &mut Tx, stream: StreamKey, payload: Bytes, end: bool) {
        let Some(call) = self.call(stream) else { return };
        let Some(leg) = call.start.outgoing.leg() else { return };
        let (leg, octets) = (leg.clone(), payload.len());
        // A stream that is gone takes its call with it; then there is nobody to tell here.
        let _ = tx.send_data(stream, payload, end);
        let (backlogged, mark) = (tx.is_backlogged(stream), tx.writer_mark());
        self.wakers.extend(leg.applied(octets, backlogged, mark));
    }

    /// The reader waits: the rest of the message in assembly is asked for.
    fn want(&mut self, tx: &mut Tx, stream: StreamKey) {
        let Some(call) = self.call(stream) else { return };
        let lacking = call.assembler.lacking();
        if lacking > 0 && !call.expecting {
            call.expecting = true;
            tx.expect_message(stream, lacking);
        }
    }

    fn abandon(&mut self, tx: &mut Tx, stream: StreamKey) {
        if let Some(call) = self.take(stream) {
            tx.reset(stream, ErrorCode::CANCEL);
            self.wakers.extend(call.start.outgoing.leg().and_then(Leg::close));
        }
    }

    fn expire_waiting(&mut self, tx: &Tx, call: &StartCall) {
        let after = self.clock.to_tokio(tx.now()).saturating_duration_since(call.started);
        let (phase, blocked_on) = if tx.is_probing() {
            (CallPhase::Probing, None)
        } else {
            let limit = Blocked::new(BlockedOn::StreamLimit, after, tx.peer_settings());
            (CallPhase::Queued, Some(limit))
        };
        self.tell_end(call, Err(super::start::deadline_passed(after, phase, blocked_on)));
    }

    /// The deadline of a call with a stream passed: it ends here, whatever the peer says later.
    fn expire(&mut self, tx: &mut Tx, stream: StreamKey) {
        let Some(call) = self.take(stream) else { return };
        let status = self.deadline_status(tx, &call);
        tx.reset(stream, ErrorCode::CANCEL);
        self.tell_end(&call.start, Err(status));
    }

    /// The status of a call whose deadline passed while it had a stream.
    pub(super) fn deadline_status(&self, tx: &Tx, call: &Call) -> Status {
        let now = tx.now();
        let event = TransportEvent::DeadlineExceeded {
            after: self.clock.to_tokio(now).saturating_duration_since(call.start.started),
            phase: match call.stage {
                Stage::AwaitingHeaders => CallPhase::AwaitingHeaders,
                Stage::Streaming { .. } => CallPhase::Streaming,
            },
            blocked_on: tx
                .blocked_on(call.key)
                .map(|(on, since)| Blocked::new(on, now - since, tx.peer_settings())),
        };
        let cause = TransportCause { connection: Some(self.info(now)), event, processed: Processed::Maybe };
        Status::from_transport(Code::DeadlineExceeded, cause)
    }

    /// True if the call's own deadline has passed, or would before long.
    pub(super) fn is_late(&self, tx: &Tx, call: &Call) -> bool {
        call.start.deadline.is_some_and(|at| self.clock.at(at) <= tx.now() + AHEAD)
    }

    /// What the end of the connection was for its calls.
    fn end_event(&self, reason: &CloseReason) -> TransportEvent {
        match (reason, &self.goaway) {
            (CloseReason::GoAway { .. }, Some(event @ TransportEvent::TooManyPings { .. })) => event.clone(),
            _ => TransportEvent::ConnectionClosed(reason.clone()),
        }
    }

    fn wake_all(&mut self) {
        self.wakers.drain(..).for_each(core::task::Waker::wake);
    }
}

/// Sends the one message of a request on a stream that was just opened.
fn send_copy(tx: &mut Tx, stream: StreamKey, message: &[u8]) {
    // It can only fail on a stream that is gone.
    let _ = tx.send_data_with(stream, message.len(), true, |out| {
        out.extend_from_slice(message);
        Ok::<(), core::convert::Infallible>(())
    });
}

/// Sends what other attempts of the call have sent; it can only fail on a stream that is gone.
fn send_again(tx: &mut Tx, stream: StreamKey, sent: Vec<Bytes>, ended: bool) {
    let last = sent.len().saturating_sub(1);
    for (at, payload) in sent.into_iter().enumerate() {
        let _ = tx.send_data(stream, payload, ended && at == last);
    }
}

impl Application for ClientConnection {
    type Op = ClientOp;

    fn apply(&mut self, tx: &mut Tx, op: ClientOp) {
        match op {
            ClientOp::Start(call) => self.start(tx, call),
            ClientOp::StartReserved(call) => self.start_reserved(tx, call),
            ClientOp::Share(load) => self.share(tx, load),
            ClientOp::Send { stream, payload, end } => self.send(tx, stream, payload, end),
            ClientOp::Fail { stream, status } => {
                if self.call(stream).is_some() {
                    self.cancel(tx, stream, status);
                }
            }
            ClientOp::Release { stream, octets } => tx.release(stream, octets),
            ClientOp::Want(stream) => self.want(tx, stream),
            ClientOp::Abandon(stream) => self.abandon(tx, stream),
        }
    }

    fn end_turn(&mut self) {
        self.wake_all();
    }

    fn next_timer(&self) -> Option<Instant> {
        [self.deadlines.next(), self.waiting.next_deadline()].into_iter().flatten().min()
    }

    fn on_timer(&mut self, tx: &mut Tx) {
        let now = tx.now();
        while let Some(stream) = self.deadlines.expire(now) {
            self.expire(tx, stream);
        }
        while let Some(call) = self.waiting.expire(now) {
            self.expire_waiting(tx, &call);
        }
    }

    fn rest(&mut self) {
        if self.calls.iter().all(Option::is_none) {
            self.calls = Vec::new();
        }
        if self.deadlines.is_empty() {
            self.deadlines = Deadlines::beginning(self.clock.now());
        }
        self.wakers.shrink_to_fit();
    }

    fn on_closed(&mut self, closed: &Closed, unapplied: Vec<ClientOp>) {
        // The channel hears of it first, so that it picks no closed connection for what is handed back.
        self.stop_sharing();
        self.tell(Event::Closed { closed: closed.clone(), answered: self.answered });
        one_call::connection_ended(&self.shared.authority, closed, self.goaway.is_some());
        let connection = ConnectionInfo { peer: closed.peer.clone(), age: closed.age };
        let cause = TransportCause {
            connection: Some(connection),
            event: self.end_event(&closed.reason),
            processed: Processed::Maybe,
        };
        for call in core::mem::take(&mut self.calls).into_iter().flatten() {
            self.tell_end(&call.start, Err(Status::from_transport(Code::Unavailable, cause.clone())));
        }
        self.deadlines = Deadlines::default();
        self.hand_back_waiting();
        for op in unapplied {
            if let ClientOp::Start(call) | ClientOp::StartReserved(call) = op {
                self.shared.take_back(call);
            }
        }
        self.wake_all();
    }
}

impl Call {
    /// The connection consumes the messages itself.
    pub(super) fn is_collected(&self) -> bool {
        self.start.inbound.wake_at() == WakeAt::End
    }

    /// Makes the call ready to be sent once more, if it can: all of it is still here, nothing of an answer came, and it was not
    /// refused before.
    pub(super) fn detach(&self) -> bool {
        !self.start.refused && self.stage == Stage::AwaitingHeaders && self.start.outgoing.detach()
    }
}
