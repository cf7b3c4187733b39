//! The program on top of one server connection: begins calls, ends them, and hands everything else on: the octets of
//! requests to [`super::intake`], handlers and their answers to [`super::run`].
//!
//! Everything here runs on the task that owns the connection, so there is no lock; handlers that were spawned answer
//! through operations ([`ServerOp`]). Code of the user's that runs here is contained ([`super::contain`]).

use core::task::Waker;
use core::time::Duration;
use std::sync::Arc;

use clearway_http2::hpack::FieldSection;
use clearway_http2::{
    Chunk, ErrorCode, Handler, Instant, RequestHead, Reset, RouteId, SlotFate, StreamKey, Tx,
};
use clearway_transport::{Application, Clock, CloseReason, Closed, OpQueue, PeerAddr};

use super::admit::{self, Admitted, Refusal};
use super::call::{Began, Call, Calls, Intake, Parked, Said};
use super::contain::contain;
use super::counters::{Report, ServerCounters};
use super::drain::Leftovers;
use super::known::Known;
use super::methods::{Method, Routes};
use super::on_cancel::OnCancel;
use super::ops::ServerOp;
use super::origin::{AskedBy, Link};
use super::overrun::Overruns;
use super::placement::Turn;
use super::respond;
use crate::cause::{ConnectionInfo, Processed, TransportCause, TransportEvent};
use crate::context::{Life, Over};
use crate::deadline::Deadlines;
use crate::framing::Assembler;
use crate::inbound::StreamOps;
use crate::{Code, Status};

/// Both sides' timers go off together, as far as rounding lets them: a client's time is counted from before its request was
/// sent, and its reset takes as long as that took. A call that is cancelled so shortly before its deadline has missed it.
const AHEAD: Duration = Duration::from_millis(2);

/// What all connections of a server share.
pub(super) struct Shared {
    pub(super) routes: Routes,
    /// The longest a call may take, if the server says so.
    pub(super) timeout: Option<Duration>,
    pub(super) report: Option<Report>,
    pub(super) counters: Arc<ServerCounters>,
    pub(super) overruns: Overruns,
    pub(super) leftovers: Leftovers,
    pub(super) max_concurrent_streams: u32,
}

/// One connection's calls.
pub(crate) struct ServerConnection {
    pub(super) shared: Arc<Shared>,
    pub(super) link: Arc<Link>,
    pub(super) clock: Clock,
    pub(super) ops: Arc<OpQueue<ServerOp>>,
    pub(super) calls: Calls,
    /// Taken when the first call has one. A call in the table has its own in here.
    deadlines: Option<Box<Deadlines<StreamKey>>>,
    known: Known,
    /// To be woken when the turn is over.
    pub(super) wakes: Vec<Waker>,
    /// Messages were delivered to their handlers in this turn.
    pub(super) to_visit: Vec<StreamKey>,
    /// A handler was spawned in this turn that may keep its worker.
    pub(super) spawned_in_turn: bool,
    pub(super) turn: Turn,
}

impl ServerConnection {
    pub(super) fn new(link: Arc<Link>, clock: Clock) -> Self {
        Self {
            shared: Arc::clone(&link.shared),
            ops: Arc::clone(&link.ops),
            link,
            clock,
            calls: Calls::default(),
            deadlines: None,
            known: Known::default(),
            wakes: Vec::new(),
            to_visit: Vec::new(),
            spawned_in_turn: false,
            turn: Turn::new(),
        }
    }

    pub(super) fn stream_ops(&self) -> Arc<dyn StreamOps> {
        Arc::<OpQueue<ServerOp>>::clone(&self.ops)
    }

    /// A request's head was found good: its call begins.
    fn begin(&mut self, tx: &mut Tx, stream: StreamKey, admitted: Admitted, end_stream: bool) {
        let Admitted { route, metadata, timeout, te_trailers, agreed } = admitted;
        if !te_trailers {
            self.shared.counters.te_is_missing();
        }
        let timeout = timeout.into_iter().chain(self.shared.timeout).min();
        let due = timeout.map(|timeout| tx.now() + timeout);
        let route_entry = self.shared.routes.get(route);
        let limit = route_entry.map_or(0, |route| route.decode_limit);
        let parked = (self.handlers() >= self.room()).then(|| Box::new(Parked::Collecting));
        let takes_stream = route_entry.is_some_and(|route| matches!(route.method, Method::TakesMany(_)));
        let deadline = due.map(|due| (due, self.deadlines(tx.now()).insert(due, stream)));
        self.calls.insert(Call {
            stream,
            route,
            began: Began::at(tx.now()),
            intake: Intake::One { route, agreed, metadata, message: None, compressed: false },
            assembler: Assembler::new(limit).and_agreed(agreed.is_request()),
            held: 0,
            expecting: false,
            said: Said::Nothing,
            parked,
            task: None,
            life: None,
            gate: None,
            deadline,
        });
        if takes_stream {
            self.open_stream_of_requests(tx, stream);
        }
        if end_stream {
            self.request_ended(tx, stream);
        }
    }

    fn deadlines(&mut self, now: Instant) -> &mut Deadlines<StreamKey> {
        self.deadlines.get_or_insert_with(|| Box::new(Deadlines::beginning(now)))
    }

    /// How many handlers may run at once.
    fn room(&self) -> usize {
        self.shared.max_concurrent_streams as usize
    }

    /// Handlers that run, or could: one for each call that is not parked, and those of calls that are over. An answer that is
    /// still on its way takes up a stream, and has no handler any more.
    fn handlers(&self) -> usize {
        self.calls.count().saturating_sub(self.calls.parked()).saturating_add(self.calls.zombies())
    }

    /// Starts parked calls for which there is room now.
    pub(super) fn resume(&mut self, tx: &mut Tx) {
        while self.calls.parked() > 0 && self.handlers() < self.room() {
            match self.calls.unpark() {
                Some((stream, Parked::Whole(message))) => {
                    self.dispatch(tx, stream, message.into());
                }
                Some((stream, Parked::Stream { route, agreed, metadata, reader })) => {
                    self.start_reading(tx, stream, (route, agreed), metadata, reader);
                }
                // Its handler starts when its message is whole.
                Some((_, Parked::Collecting)) | None => {}
            }
        }
    }

    /// Takes a call out of the table.
    pub(super) fn forget(&mut self, stream: StreamKey) -> Option<Call> {
        let call = self.calls.remove(stream)?;
        if let (Some((_, ticket)), Some(deadlines)) = (call.deadline, &mut self.deadlines) {
            deadlines.cancel(ticket);
        }
        if let Some(gate) = &call.gate {
            self.wakes.extend(gate.close());
        }
        Some(call)
    }

    /// Takes a call out of the table whose handler never became a task.
    pub(super) fn forget_inline(&mut self, stream: StreamKey) {
        if let Some(deadlines) = &mut self.deadlines
            && let Some((_, ticket)) = self.calls.get(stream).and_then(|call| call.deadline)
        {
            deadlines.cancel(ticket);
        }
        self.calls.vacate(stream);
    }

    /// Ends a call with a status of ours; its handler, if one runs, is dropped.
    pub(super) fn fail(&mut self, tx: &mut Tx, stream: StreamKey, status: &Status) {
        let Some(call) = self.forget(stream) else { return };
        self.stop(&call, status);
        match call.said {
            Said::Nothing => respond::trailers_only(tx, stream, status),
            // Behind messages that the client does not read the trailers would wait for ever.
            Said::Head if tx.backlog_octets(stream) > 0 => tx.reset(stream, ErrorCode::CANCEL),
            Said::Head => respond::trailers(tx, stream, status),
        }
    }

    /// Tells the handler's side that the call is over.
    fn stop(&mut self, call: &Call, status: &Status) {
        if let Intake::Many(upload) = &call.intake {
            self.wakes.extend(upload.inbound.end(Err(status.clone())));
        }
        if let Some(gate) = &call.gate {
            self.wakes.extend(gate.close());
        }
        let why = Over::by(status.code());
        if let Some(life) = &call.life {
            life.end(why, &mut self.wakes);
        }
        if let Some(task) = &call.task {
            if call.life.as_ref().is_none_or(|life| life.on_cancel() == OnCancel::Drop) {
                task.abort();
            }
            self.shared.runs_on(task, call.route, why);
            self.calls.bury(call.stream);
        }
    }

    /// Somebody wants to hear of a call's end.
    pub(super) fn watch(&mut self, stream: StreamKey, life: Arc<Life>, asked_by: AskedBy) {
        let Some(call) = self.calls.get(stream) else {
            life.end(Over::Answered, &mut self.wakes);
            return;
        };
        match (&call.life, asked_by) {
            (Some(first), AskedBy::Request) => first.lead(&life, &mut self.wakes),
            (Some(first), AskedBy::Context) if !Arc::ptr_eq(first, &life) => {
                life.lead(first, &mut self.wakes);
                call.life = Some(life);
            }
            (Some(_), AskedBy::Context) => {}
            (None, _) => call.life = Some(life),
        }
    }

    fn cause(&self, event: TransportEvent, now: Instant) -> TransportCause {
        let connection =
            Some(ConnectionInfo { peer: PeerAddr::clone(&self.link.peer), age: now - Instant::ZERO });
        TransportCause { connection, event, processed: Processed::Maybe }
    }
}

impl Handler for ServerConnection {
    fn route(&mut self, path: &[u8]) -> RouteId {
        self.known.route(&self.shared.routes, path)
    }

    fn on_request(&mut self, tx: &mut Tx, stream: StreamKey, head: &RequestHead<'_>, end_stream: bool) {
        match admit::admit(&self.shared.routes, head) {
            Ok(admitted) => {
                self.known.remember(head.section, &admitted);
                self.begin(tx, stream, admitted, end_stream);
            }
            Err(refusal) => respond::refuse(tx, stream, &refusal),
        }
    }

    fn on_request_again(&mut self, tx: &mut Tx, stream: StreamKey, section: u64, end_stream: bool) -> bool {
        let Some(admitted) = self.known.find(section) else { return false };
        self.begin(tx, stream, admitted, end_stream);
        true
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, end_stream: bool) {
        match self.calls.get(stream).map(|call| &call.intake) {
            Some(Intake::One { .. }) => self.collect(tx, stream, data.as_slice(), end_stream),
            Some(Intake::Many(_)) => self.feed(tx, stream, data.as_slice(), end_stream),
            Some(Intake::Over) | None => tx.release(stream, data.as_slice().len()),
        }
        self.resume(tx);
    }

    fn on_trailers(&mut self, tx: &mut Tx, stream: StreamKey, _: &FieldSection) {
        // gRPC gives the trailers of a request no meaning; they are its end.
        self.request_ended(tx, stream);
        self.resume(tx);
    }

    fn on_reset(&mut self, tx: &mut Tx, stream: StreamKey, reset: Reset) -> SlotFate {
        if let Some(call) = self.forget(stream) {
            let event = TransportEvent::reset(reset);
            let code = match call.deadline {
                _ if reset.violation.is_some() => Code::Internal,
                Some((due, _)) if reset.code == ErrorCode::CANCEL && due <= tx.now() + AHEAD => {
                    Code::DeadlineExceeded
                }
                _ => Code::Cancelled,
            };
            let status = Status::from_transport(code, self.cause(event, tx.now()));
            self.stop(&call, &status);
        }
        // If its handler still runs, that counts as one, and what is parked goes on when it has ended. If it had none yet, there is
        // room now.
        self.resume(tx);
        SlotFate::Free
    }

    fn on_oversize_request(&mut self, tx: &mut Tx, stream: StreamKey, octets: usize) {
        let text = format!(
            "request headers of {octets} bytes exceed the limit (limit: header_list_octets, header_fields)"
        );
        let refusal = Refusal { http: "431", status: Status::resource_exhausted(text), accepted: None };
        respond::refuse(tx, stream, &refusal);
    }

    fn on_writable(&mut self, tx: &mut Tx, stream: StreamKey) {
        if let Some(gate) = self.calls.get(stream).and_then(|call| call.gate.as_ref()) {
            self.wakes.extend(gate.writable(tx.writer_mark()));
        }
    }
}

impl Application for ServerConnection {
    type Op = ServerOp;

    fn apply(&mut self, tx: &mut Tx, op: ServerOp) {
        match op {
            ServerOp::Head { stream, metadata, encoding } => {
                let Some(call) = self.calls.get(stream).filter(|call| call.said == Said::Nothing) else {
                    return;
                };
                call.said = Said::Head;
                call.applied();
                if let Err(status) = respond::head(tx, stream, &metadata, encoding) {
                    call.said = Said::Nothing;
                    self.fail(tx, stream, &status);
                }
            }
            ServerOp::Messages { stream, payload } => {
                let Some(call) = self.calls.get(stream).filter(|call| call.said == Said::Head) else {
                    return;
                };
                call.applied();
                let octets = payload.len();
                let _ = tx.send_data(stream, payload, false);
                let (backlogged, mark) = (tx.is_backlogged(stream), tx.writer_mark());
                let waker = call.gate.as_ref().and_then(|gate| gate.applied(octets, backlogged, mark));
                self.wakes.extend(waker);
            }
            ServerOp::Done { stream, outcome } => {
                self.done(tx, stream, outcome);
                self.resume(tx);
            }
            ServerOp::Release { stream, octets } => tx.release(stream, octets),
            ServerOp::Want { stream } => {
                if let Some(call) = self.calls.get(stream) {
                    call.expect(tx);
                }
            }
            ServerOp::Watch { stream, life, asked_by } => self.watch(stream, life, asked_by),
            ServerOp::Abandon { stream } => {
                if let Some(call) = self.calls.get(stream) {
                    call.abandon(tx);
                }
            }
        }
    }

    fn after_reading(&mut self, tx: &mut Tx) -> bool {
        !self.to_visit.is_empty() && self.visit_all(tx)
    }

    fn end_turn(&mut self) {
        self.spawned_in_turn = false;
        self.turn.end(|| self.clock.now());
        self.calls.rest();
        for waker in self.wakes.drain(..) {
            waker.wake();
        }
    }

    fn must_flush_now(&self) -> bool {
        self.spawned_in_turn
    }

    fn next_timer(&self) -> Option<Instant> {
        self.deadlines.as_ref()?.next()
    }

    fn on_timer(&mut self, tx: &mut Tx) {
        while let Some(stream) = self.deadlines.as_mut().and_then(|deadlines| deadlines.expire(tx.now())) {
            self.fail(
                tx,
                stream,
                &Status::deadline_exceeded("the deadline passed before the handler was done"),
            );
        }
        self.resume(tx);
    }

    fn rest(&mut self) {
        self.known.rest();
        self.deadlines.take_if(|deadlines| deadlines.is_empty());
        self.calls.shrink();
        self.wakes.shrink_to_fit();
        self.to_visit.shrink_to_fit();
    }

    fn on_closed(&mut self, closed: &Closed, unapplied: Vec<ServerOp>) {
        for op in unapplied {
            if let ServerOp::Watch { life, .. } = op {
                life.end(Over::Cancelled, &mut self.wakes);
            }
        }
        self.shared.counters.ended(closed);
        if let Some(report) = &self.shared.report {
            // It is the user's, and may be called while a task unwinds.
            let _ = contain(|| report(closed));
        }
        let event = TransportEvent::ConnectionClosed(closed.reason.clone());
        let status = Status::from_transport(Code::Cancelled, self.cause(event, Instant::ZERO + closed.age));
        let calls: Vec<Call> = self.calls.drain().collect();
        if let CloseReason::CutOff(why) = closed.reason {
            self.shared.counters.calls_were_cut_off(calls.len());
            self.shared.leftovers.add(why, closed, &calls, &self.shared.routes);
        }
        for call in &calls {
            self.stop(call, &status);
        }
        self.end_turn();
    }
}
