//! The program on top of one server connection: finds methods, collects requests, runs handlers, answers.
//!
//! Everything here runs on the task that owns the connection, so there is no lock; handlers that were spawned answer
//! through operations ([`ServerOp`]). Code of the user's that runs here is contained ([`contain`]).

use core::pin::Pin;
use core::task::{Context, Waker};
use core::time::Duration;
use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use clearway_http2::hpack::FieldSection;
use clearway_http2::{
    Chunk, ErrorCode, Handler, Instant, RequestHead, Reset, RouteId, SlotFate, StreamKey, Tx,
};
use clearway_transport::{Application, Clock, Closed, OpQueue, PeerAddr};

use super::admit::{self, Admitted, Refusal};
use super::call::{Call, Calls, Intake, Said};
use super::contain::{Contained, contain};
use super::methods::{Method, Routes};
use super::ops::{DoneGuard, Outcome, ServerOp};
use super::respond;
use super::streaming::{Input, Sink, StreamingMethod};
use super::unary::{Around, UnaryCall, UnaryMethod};
use crate::cause::{ConnectionInfo, Processed, TransportCause, TransportEvent};
use crate::codec::DecodeBuf;
use crate::deadline::Deadlines;
use crate::framing::{Assembler, PREFIX};
use crate::gate::SendGate;
use crate::inbound::{Inbound, Reader, StreamOps, WakeAt};
use crate::metadata::MetadataMap;
use crate::request::{Context as CallContext, Deadline};
use crate::{Code, Request, Status};

/// What all connections of a server share.
pub(super) struct Shared {
    pub(super) routes: Routes,
    /// The longest a call may take, if the server says so.
    pub(super) timeout: Option<Duration>,
    pub(super) max_concurrent_streams: u32,
}

/// One connection's calls.
pub(crate) struct ServerConnection {
    shared: Arc<Shared>,
    peer: PeerAddr,
    clock: Clock,
    ops: Arc<OpQueue<ServerOp>>,
    calls: Calls,
    deadlines: Deadlines<StreamKey>,
    /// To be woken when the turn is over.
    wakes: Vec<Waker>,
    spawned_in_turn: bool,
}

impl ServerConnection {
    pub(super) fn new(
        shared: Arc<Shared>,
        peer: PeerAddr,
        clock: Clock,
        ops: Arc<OpQueue<ServerOp>>,
    ) -> Self {
        Self {
            shared,
            peer,
            clock,
            ops,
            calls: Calls::default(),
            deadlines: Deadlines::default(),
            wakes: Vec::new(),
            spawned_in_turn: false,
        }
    }

    fn stream_ops(&self) -> Arc<dyn StreamOps> {
        Arc::<OpQueue<ServerOp>>::clone(&self.ops)
    }

    /// A request's head was found good: its call begins.
    fn begin(&mut self, tx: &mut Tx, stream: StreamKey, admitted: Admitted, end_stream: bool) {
        let Admitted { route, metadata, timeout } = admitted;
        let timeout = timeout.into_iter().chain(self.shared.timeout).min();
        let due = timeout.map(|timeout| tx.now() + timeout);
        let deadline = due.map_or(Deadline::None, |due| Deadline::At(self.clock.to_tokio(due)));
        let context =
            CallContext { deadline, peer: Some(self.peer.clone()), extensions: http::Extensions::new() };
        let head = Request::received(metadata, (), context);
        let limit = self.shared.routes.get(route).map_or(0, |route| route.decode_limit);
        self.calls.insert(Call {
            stream,
            intake: Intake::One { route, head, message: None },
            assembler: Assembler::new(limit),
            held: 0,
            expecting: false,
            said: Said::Nothing,
            task: None,
            gate: None,
            deadline: due.map(|due| self.deadlines.insert(due, stream)),
        });
        self.open_stream_of_requests(tx, stream, route);
        if end_stream {
            self.request_ended(tx, stream);
        }
    }

    /// A method that takes a stream is started at once, with the stream still to come.
    fn open_stream_of_requests(&mut self, tx: &mut Tx, stream: StreamKey, route: RouteId) {
        let shared = Arc::clone(&self.shared);
        let Some(Method::TakesMany(method)) = shared.routes.get(route).map(|route| &route.method) else {
            return;
        };
        let inbound = Arc::new(Inbound::new(Some(stream), WakeAt::Each, self.stream_ops()));
        let Some(call) = self.calls.get(stream) else { return };
        let intake = core::mem::replace(&mut call.intake, Intake::Many(Arc::clone(&inbound)));
        if let Intake::One { head, .. } = intake {
            self.start_streaming(tx, stream, &**method, head, Input::Many(Reader::new(inbound)));
        }
    }

    /// Octets of a request whose method takes one message.
    fn collect(&mut self, tx: &mut Tx, stream: StreamKey, mut input: &[u8], end_stream: bool) {
        let Some(call) = self.calls.get(stream) else { return };
        let Intake::One { message, .. } = &mut call.intake else { return };
        call.held = call.held.saturating_add(input.len());
        loop {
            match call.assembler.next(&mut input) {
                Ok(None) => break,
                Ok(Some(_)) if message.is_some() => return self.fail(tx, stream, &too_many_messages()),
                Ok(Some(whole)) if end_stream && input.is_empty() => return self.dispatch(tx, stream, whole),
                Ok(Some(whole)) => *message = Some(whole.into_bytes()),
                Err(error) => return self.fail(tx, stream, &error.status()),
            }
        }
        if end_stream {
            return self.request_ended(tx, stream);
        }
        let lacking = call.assembler.lacking();
        if lacking > 0 && !call.expecting {
            call.expecting = true;
            tx.expect_message(stream, lacking);
        }
    }

    /// Octets of a request that is a stream.
    fn feed(&mut self, tx: &mut Tx, stream: StreamKey, mut input: &[u8], end_stream: bool) {
        let Some(call) = self.calls.get(stream) else { return };
        let Intake::Many(inbound) = &call.intake else { return };
        loop {
            match call.assembler.next(&mut input) {
                Ok(None) => break,
                Ok(Some(message)) => {
                    let message = message.into_bytes();
                    let octets = message.len().saturating_add(PREFIX);
                    if core::mem::take(&mut call.expecting) {
                        tx.message_complete(stream);
                    }
                    match inbound.deliver(message) {
                        Some(waker) => self.wakes.extend(waker),
                        None => tx.release(stream, octets),
                    }
                }
                Err(error) => return self.fail(tx, stream, &error.status()),
            }
        }
        if end_stream {
            return self.request_ended(tx, stream);
        }
        let lacking = call.assembler.lacking();
        if lacking > 0 && inbound.assembling() && !call.expecting {
            call.expecting = true;
            tx.expect_message(stream, lacking);
        }
    }

    /// END_STREAM came.
    fn request_ended(&mut self, tx: &mut Tx, stream: StreamKey) {
        let Some(call) = self.calls.get(stream) else { return };
        if !call.assembler.at_boundary() {
            return self.fail(tx, stream, &Status::internal("the request ended in the middle of a message"));
        }
        match &mut call.intake {
            Intake::One { message, .. } => match message.take() {
                Some(message) => self.dispatch(tx, stream, DecodeBuf::owned(message)),
                None => self.fail(
                    tx,
                    stream,
                    &Status::unimplemented("the request has no message, want exactly one"),
                ),
            },
            Intake::Many(inbound) => {
                self.wakes.extend(inbound.end(Ok(MetadataMap::new())));
                call.intake = Intake::Over;
            }
            Intake::Over => {}
        }
    }

    /// The one message of a request is here and the request is complete.
    fn dispatch(&mut self, tx: &mut Tx, stream: StreamKey, message: DecodeBuf<'_>) {
        let shared = Arc::clone(&self.shared);
        let Some(call) = self.calls.get(stream) else { return };
        let held = core::mem::take(&mut call.held);
        let expecting = core::mem::take(&mut call.expecting);
        let Intake::One { route, head, .. } = core::mem::replace(&mut call.intake, Intake::Over) else {
            return;
        };
        tx.release(stream, held);
        if expecting {
            tx.message_complete(stream);
        }
        match shared.routes.get(route).map(|route| &route.method) {
            Some(Method::Unary(method)) => self.run_unary(tx, stream, &**method, head, message),
            Some(Method::TakesOne(method)) => {
                self.start_streaming(tx, stream, &**method, head, Input::One(message));
            }
            // A method that takes a stream never collects a message.
            Some(Method::TakesMany(_)) | None => {}
        }
    }

    /// Polls a unary handler once, here. If that is enough no task is made for it.
    fn run_unary(
        &mut self,
        tx: &mut Tx,
        stream: StreamKey,
        method: &dyn UnaryMethod,
        head: Request<()>,
        mut message: DecodeBuf<'_>,
    ) {
        // With the budget spent everything looks pending: then there is no point in polling here.
        let inline = tokio::task::coop::has_budget_remaining();
        let started = contain(|| {
            let mut call = method.call(head, &mut message)?;
            let mut cx = Context::from_waker(Waker::noop());
            let ready = inline && call.as_mut().poll(&mut cx).is_ready();
            Ok((call, ready))
        });
        match started.and_then(|started| started) {
            Ok((call, true)) => self.respond(tx, stream, call),
            Ok((call, false)) => self.spawn(stream, None, finish_unary(call)),
            Err(status) => self.fail(tx, stream, &status),
        }
    }

    /// Encodes the response of a handler that is done straight into the output.
    fn respond(&mut self, tx: &mut Tx, stream: StreamKey, mut call: Pin<Box<dyn UnaryCall>>) {
        self.forget(stream);
        match contain(|| call.as_mut().head()).and_then(|head| head) {
            Err(status) => respond::trailers_only(tx, stream, &status),
            Ok(Around { metadata, trailers, expected }) => match respond::head(tx, stream, &metadata) {
                Err(status) => respond::trailers_only(tx, stream, &status),
                Ok(()) => {
                    let encode =
                        |out: &mut Vec<u8>| contain(|| call.as_mut().encode(out)).and_then(|done| done);
                    match tx.send_data_with(stream, expected, false, encode) {
                        Ok(Ok(())) => respond::trailers_ok(tx, stream, &trailers),
                        Ok(Err(status)) => respond::trailers(tx, stream, &status),
                        // The stream is gone, and with it whoever waits.
                        Err(_) => {}
                    }
                }
            },
        }
        // What the handler leaves behind is the user's, too.
        let _ = contain(|| drop(call));
    }

    fn start_streaming(
        &mut self,
        tx: &mut Tx,
        stream: StreamKey,
        method: &dyn StreamingMethod,
        head: Request<()>,
        input: Input<'_>,
    ) {
        let gate = Arc::new(SendGate::default());
        let sink = Sink { stream, ops: Arc::clone(&self.ops), gate: Arc::clone(&gate) };
        match contain(|| method.start(head, input, sink)).and_then(|started| started) {
            Ok(running) => self.spawn(stream, Some(gate), running),
            Err(status) => self.fail(tx, stream, &status),
        }
    }

    fn spawn(
        &mut self,
        stream: StreamKey,
        gate: Option<Arc<SendGate>>,
        handler: impl Future<Output = Outcome> + Send + 'static,
    ) {
        let guard = DoneGuard::new(Arc::clone(&self.ops), stream);
        let task = tokio::spawn(async move {
            let outcome = Contained::new(handler).await.unwrap_or_else(Outcome::Status);
            guard.finish(outcome);
        });
        self.spawned_in_turn = true;
        if let Some(call) = self.calls.get(stream) {
            call.task = Some(task.abort_handle());
            call.gate = gate;
        }
    }

    /// The answer of a handler that ran as a task.
    fn done(&mut self, tx: &mut Tx, stream: StreamKey, outcome: Outcome) {
        self.calls.unbury(stream);
        let Some(call) = self.forget(stream) else { return };
        match (call.said, outcome) {
            // Nobody listens any more; the slot was kept for the handler's sake.
            (Said::All, _) => tx.free(stream),
            (Said::Nothing, Outcome::Response { metadata, payload, trailers }) => {
                match respond::head(tx, stream, &metadata) {
                    Ok(()) => {
                        let _ = tx.send_data(stream, payload, false);
                        respond::trailers_ok(tx, stream, &trailers);
                    }
                    Err(status) => respond::trailers_only(tx, stream, &status),
                }
            }
            (Said::Head, Outcome::Status(status)) => respond::trailers(tx, stream, &status),
            (Said::Nothing, Outcome::Status(status)) => respond::trailers_only(tx, stream, &status),
            (Said::Head, Outcome::Response { .. }) | (_, Outcome::Nothing) => {
                tx.reset(stream, ErrorCode::INTERNAL_ERROR);
            }
        }
    }

    /// Takes a call out of the table.
    fn forget(&mut self, stream: StreamKey) -> Option<Call> {
        let call = self.calls.remove(stream)?;
        if let Some(ticket) = call.deadline {
            self.deadlines.cancel(ticket);
        }
        if let Some(gate) = &call.gate {
            self.wakes.extend(gate.close());
        }
        Some(call)
    }

    /// Ends a call with a status of ours; its handler, if one runs, is dropped.
    fn fail(&mut self, tx: &mut Tx, stream: StreamKey, status: &Status) {
        let Some(call) = self.forget(stream) else { return };
        self.stop(&call, status);
        if call.task.is_some() {
            self.calls.bury(stream);
        }
        match call.said {
            Said::Nothing => respond::trailers_only(tx, stream, status),
            // Behind messages that the client does not read the trailers would wait for ever.
            Said::Head if tx.backlog_octets(stream) > 0 => tx.reset(stream, ErrorCode::CANCEL),
            Said::Head => respond::trailers(tx, stream, status),
            Said::All => tx.free(stream),
        }
    }

    /// Tells the handler's side that the call is over.
    fn stop(&mut self, call: &Call, status: &Status) {
        if let Intake::Many(inbound) = &call.intake {
            self.wakes.extend(inbound.end(Err(status.clone())));
        }
        if let Some(gate) = &call.gate {
            self.wakes.extend(gate.close());
        }
        if let Some(task) = &call.task {
            task.abort();
        }
    }

    fn cause(&self, event: TransportEvent, now: Instant) -> TransportCause {
        let connection = Some(ConnectionInfo { peer: self.peer.clone(), age: now - Instant::ZERO });
        TransportCause { connection, event, processed: Processed::Maybe }
    }
}

fn too_many_messages() -> Status {
    Status::unimplemented("the request has more than one message, want exactly one")
}

/// The rest of a unary call whose handler was not ready at once.
async fn finish_unary(mut call: Pin<Box<dyn UnaryCall>>) -> Outcome {
    poll_fn(|cx| call.as_mut().poll(cx)).await;
    let Around { metadata, trailers, expected } = match call.as_mut().head() {
        Ok(head) => head,
        Err(status) => return Outcome::Status(status),
    };
    let mut payload = Vec::with_capacity(expected);
    match call.as_mut().encode(&mut payload) {
        Ok(()) => Outcome::Response { metadata, payload: Bytes::from(payload), trailers },
        Err(status) => Outcome::Status(status),
    }
}

impl Handler for ServerConnection {
    fn route(&mut self, path: &[u8]) -> RouteId {
        self.shared.routes.find(path)
    }

    fn on_request(&mut self, tx: &mut Tx, stream: StreamKey, head: &RequestHead<'_>, end_stream: bool) {
        if tx.stream_count().saturating_add(self.calls.zombies())
            > self.shared.max_concurrent_streams as usize
        {
            // Handlers of calls that are over count until they have ended.
            return tx.reset(stream, ErrorCode::REFUSED_STREAM);
        }
        match admit::admit(&self.shared.routes, head) {
            Ok(admitted) => self.begin(tx, stream, admitted, end_stream),
            Err(refusal) => respond::refuse(tx, stream, &refusal),
        }
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, end_stream: bool) {
        match self.calls.get(stream).map(|call| &call.intake) {
            Some(Intake::One { .. }) => self.collect(tx, stream, data.as_slice(), end_stream),
            Some(Intake::Many(_)) => self.feed(tx, stream, data.as_slice(), end_stream),
            Some(Intake::Over) | None => tx.release(stream, data.as_slice().len()),
        }
    }

    fn on_trailers(&mut self, tx: &mut Tx, stream: StreamKey, _: &FieldSection) {
        // gRPC gives the trailers of a request no meaning; they are its end.
        self.request_ended(tx, stream);
    }

    fn on_reset(&mut self, tx: &mut Tx, stream: StreamKey, reset: Reset) -> SlotFate {
        let event = TransportEvent::reset(reset);
        let code = if reset.violation.is_some() { Code::Internal } else { Code::Cancelled };
        let status = Status::from_transport(code, self.cause(event, tx.now()));
        let Some(mut call) = self.forget(stream) else { return SlotFate::Free };
        self.stop(&call, &status);
        if call.task.is_none() {
            return SlotFate::Free;
        }
        (call.said, call.intake, call.deadline) = (Said::All, Intake::Over, None);
        self.calls.insert(call);
        SlotFate::HeldByApplication
    }

    fn on_oversize_request(&mut self, tx: &mut Tx, stream: StreamKey, octets: usize) {
        let text = format!(
            "request headers of {octets} bytes exceed the limit (limit: header_list_octets, header_fields)"
        );
        let refusal =
            Refusal { http: "431", status: Status::resource_exhausted(text), lists_encodings: false };
        respond::refuse(tx, stream, &refusal);
    }

    fn on_writable(&mut self, _: &mut Tx, stream: StreamKey) {
        if let Some(gate) = self.calls.get(stream).and_then(|call| call.gate.as_ref()) {
            self.wakes.extend(gate.writable());
        }
    }
}

impl Application for ServerConnection {
    type Op = ServerOp;

    fn apply(&mut self, tx: &mut Tx, op: ServerOp) {
        match op {
            ServerOp::Head { stream, metadata } => {
                let Some(call) = self.calls.get(stream).filter(|call| call.said == Said::Nothing) else {
                    return;
                };
                call.said = Said::Head;
                if let Err(status) = respond::head(tx, stream, &metadata) {
                    call.said = Said::Nothing;
                    self.fail(tx, stream, &status);
                }
            }
            ServerOp::Messages { stream, payload } => {
                let Some(call) = self.calls.get(stream).filter(|call| call.said == Said::Head) else {
                    return;
                };
                let octets = payload.len();
                let _ = tx.send_data(stream, payload, false);
                let backlogged = tx.is_backlogged(stream);
                let waker = call.gate.as_ref().and_then(|gate| gate.applied(octets, backlogged));
                self.wakes.extend(waker);
            }
            ServerOp::Done { stream, outcome } => self.done(tx, stream, outcome),
            ServerOp::Release { stream, octets } => tx.release(stream, octets),
            ServerOp::Want { stream } => {
                if let Some(call) = self.calls.get(stream) {
                    let lacking = call.assembler.lacking();
                    if lacking > 0 && !call.expecting {
                        call.expecting = true;
                        tx.expect_message(stream, lacking);
                    }
                }
            }
            ServerOp::Abandon { stream } => {
                if let Some(call) = self.calls.get(stream) {
                    call.intake = Intake::Over;
                    if core::mem::take(&mut call.expecting) {
                        tx.message_complete(stream);
                    }
                    let held = call.assembler.abandon();
                    tx.release(stream, held);
                }
            }
        }
    }

    fn end_turn(&mut self) {
        self.spawned_in_turn = false;
        for waker in self.wakes.drain(..) {
            waker.wake();
        }
    }

    fn must_flush_now(&self) -> bool {
        self.spawned_in_turn
    }

    fn next_timer(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    fn on_timer(&mut self, tx: &mut Tx) {
        while let Some(stream) = self.deadlines.expire(tx.now()) {
            self.fail(
                tx,
                stream,
                &Status::deadline_exceeded("the deadline passed before the handler was done"),
            );
        }
    }

    fn on_closed(&mut self, closed: &Closed, unapplied: Vec<ServerOp>) {
        drop(unapplied);
        let event = TransportEvent::ConnectionClosed(closed.reason.clone());
        let status = Status::from_transport(Code::Cancelled, self.cause(event, Instant::ZERO + closed.age));
        let calls: Vec<Call> = self.calls.drain().collect();
        for call in &calls {
            self.stop(call, &status);
        }
        self.end_turn();
    }
}
