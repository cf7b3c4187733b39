//! Running handlers: in place if they are ready at once, as tasks otherwise, and saying what they answered.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Waker};
use std::sync::Arc;

use bytes::Bytes;
use clearway_http2::{ErrorCode, Instant, RouteId, StreamKey, Tx};
use tokio::task::coop::has_budget_remaining;

use super::call::{Intake, Parked, Said};
use super::connection::{ServerConnection, Shared};
use super::contain::contain;
use super::methods::Method;
use super::ops::{DoneGuard, Outcome};
use super::origin::Origin;
use super::placement::Decision;
use super::respond;
use super::streaming::{Input, Sink};
use super::task::HandlerTask;
use super::unary::{After, Before, UnaryCall};
use super::via::Via;
use super::visit::Upload;
use crate::Request;
use crate::codec::compression::{Agreed, CameCompressed};
use crate::codec::{CompressionEncoding, DecodeBuf, Message};
use crate::context::{CallContext, Over};
use crate::gate::SendGate;
use crate::inbound::{Inbound, Reader, WakeAt};
use crate::metadata::MetadataMap;
use crate::request::{Context as Surroundings, Deadline};
use crate::streaming::Source;

impl ServerConnection {
    /// A method that takes a stream is started at once, with the stream still to come.
    pub(super) fn open_stream_of_requests(&mut self, tx: &mut Tx, stream: StreamKey) {
        let inbound = Arc::new(Inbound::new(Some(stream), WakeAt::Each, self.stream_ops()));
        let Some(call) = self.calls.get(stream) else { return };
        let Intake::One { route, .. } = call.intake else { return };
        let upload = Upload::new(Arc::clone(&inbound), route);
        let intake = core::mem::replace(&mut call.intake, Intake::Many(upload));
        let Intake::One { agreed, metadata, .. } = intake else { return };
        let reader = Reader::new(inbound);
        match &mut call.parked {
            Some(parked) => **parked = Parked::Stream { route, agreed, metadata, reader },
            None => self.start_reading(tx, stream, (route, agreed), metadata, reader),
        }
    }

    /// Starts the handler of a method that takes a stream.
    pub(super) fn start_reading(
        &mut self,
        tx: &mut Tx,
        stream: StreamKey,
        (route, agreed): (RouteId, Agreed),
        metadata: MetadataMap,
        reader: Reader,
    ) {
        let due = self.calls.get(stream).and_then(|call| call.deadline).map(|(due, _)| due);
        let head = self.head(stream, metadata, due);
        let Some(found) = self.shared.routes.get(route) else { return };
        let input = Input::Many(Source::new(reader), found.unpacking(agreed));
        let sink = self.sink(tx, stream, found.encodings.of_response(agreed));
        self.start_streaming(tx, route, head, input, sink);
    }

    /// The head of a request, as its handler sees it.
    fn head(&self, stream: StreamKey, metadata: MetadataMap, due: Option<Instant>) -> Request<()> {
        let deadline = due.map_or(Deadline::None, |due| Deadline::At(self.clock.to_tokio(due)));
        let origin = Some(Origin::new(Arc::clone(&self.link), stream));
        Request::received(metadata, (), Surroundings { deadline, origin, ..Surroundings::default() })
    }

    /// The one message of a request is here and the request is complete.
    pub(super) fn dispatch(&mut self, tx: &mut Tx, stream: StreamKey, message: DecodeBuf<'_>) {
        let Some(call) = self.calls.get(stream) else { return };
        if let Some(parked) = &mut call.parked {
            **parked = Parked::Whole(message.into_message());
            return;
        }
        let held = core::mem::take(&mut call.held) as usize;
        let expecting = core::mem::take(&mut call.expecting);
        let due = call.deadline.map(|(due, _)| due);
        let Intake::One { route, agreed, metadata, .. } = core::mem::replace(&mut call.intake, Intake::Over)
        else {
            return;
        };
        let head = self.head(stream, metadata, due);
        tx.release(stream, held);
        if expecting {
            tx.message_complete(stream);
        }
        if agreed.is_any() {
            return self.dispatch_coded(tx, stream, (route, agreed), head, message.into_message());
        }
        match self.shared.routes.get(route).map(|route| &route.method) {
            Some(Method::Unary(_)) => self.run_unary(tx, stream, route, head, message),
            Some(Method::TakesOne(_)) => {
                let sink = self.sink(tx, stream, None);
                self.start_streaming(tx, route, head, Input::One(message), sink);
            }
            // A method that takes a stream never collects a message.
            Some(Method::TakesMany(_)) | None => {}
        }
    }

    /// A call with compression runs as a task from the start: neither inflating its request nor compressing its response may
    /// keep the connection's task.
    fn dispatch_coded(
        &mut self,
        tx: &Tx,
        stream: StreamKey,
        (route, agreed): (RouteId, Agreed),
        head: Request<()>,
        message: Message,
    ) {
        let sink = self.sink(tx, stream, None);
        let gate = Arc::clone(&sink.gate);
        let context =
            self.shared.routes.get(route).map_or_else(CallContext::default, |route| route.context(&head));
        let running = run_coded(Arc::clone(&self.shared), (route, agreed), head, message, sink);
        self.spawned_in_turn = true;
        self.spawn(stream, Some(gate), context, running);
    }

    /// Polls a unary handler once, here, if its method is one for that. If that is enough no task is made for it.
    fn run_unary(
        &mut self,
        tx: &mut Tx,
        stream: StreamKey,
        route: RouteId,
        head: Request<()>,
        mut message: DecodeBuf<'_>,
    ) {
        let Some(route) = self.shared.routes.get(route) else { return };
        let (Method::Unary(method), learned) = (&route.method, &route.learned) else { return };
        let mut context = route.context(&head);
        // With the budget spent everything looks pending: then there is no point in polling here.
        let decision =
            if has_budget_remaining() { learned.decide(&mut self.turn, tx.now()) } else { Decision::Spawn };
        let inline = decision != Decision::Spawn;
        let began = matches!(decision, Decision::Measured { .. }).then(|| self.clock.now());
        let started = contain(|| {
            context.enter(|| {
                let mut call = method.call(head, &mut message, None)?;
                let mut cx = Context::from_waker(Waker::noop());
                if inline && call.as_mut().poll(&mut cx).is_ready() {
                    return Ok(First::Ready(call.as_mut().head()?, call));
                }
                Ok(First::Pending(call))
            })
        });
        let started = started.and_then(|started| started);
        if let (Some(began), Decision::Measured { stands_for }) = (began, decision) {
            let took = self.clock.now() - began;
            let pending = matches!(started, Ok(First::Pending(_)));
            self.turn.took(took, stands_for);
            if !pending || has_budget_remaining() {
                learned.record(took, !pending);
            }
        }
        match started {
            Ok(First::Ready(before, call)) => self.respond(tx, stream, before, call),
            Ok(First::Pending(call)) => {
                self.spawned_in_turn |= learned.may_be_slow();
                self.spawn(stream, None, context, finish_unary(call));
                return;
            }
            Err(status) => self.fail(tx, stream, &status),
        }
        if let Some(life) = context.life() {
            life.end(Over::Answered, &mut self.wakes);
        }
    }

    /// Encodes the response of a handler that is done straight into the output.
    fn respond(&mut self, tx: &mut Tx, stream: StreamKey, before: Before, mut call: Pin<Box<dyn UnaryCall>>) {
        self.forget_inline(stream);
        let Before { metadata, encoding, expected } = before;
        if let Err(status) = respond::head(tx, stream, &metadata, encoding) {
            respond::trailers_only(tx, stream, &status);
            let _ = contain(|| drop(call));
            return;
        }
        let mut trailers = MetadataMap::new();
        let encode = |out: &mut Vec<u8>| {
            let mut encoded = None;
            // What the handler leaves behind is the user's, too; a panic there does not undo the answer.
            let contained = contain(|| {
                encoded = Some(call.as_mut().encode(out).map(|after| trailers = after.trailers));
                drop(call);
            });
            encoded.unwrap_or(contained)
        };
        match tx.send_data_with(stream, expected, false, encode) {
            Ok(Ok(())) => respond::trailers_ok(tx, stream, &trailers),
            Ok(Err(status)) => respond::trailers(tx, stream, &status),
            // The stream is gone, and with it whoever waits.
            Err(_) => {}
        }
    }

    fn start_streaming(
        &mut self,
        tx: &mut Tx,
        route: RouteId,
        head: Request<()>,
        input: Input<'_>,
        sink: Sink,
    ) {
        let Some(route) = self.shared.routes.get(route) else { return };
        let (Method::TakesOne(method) | Method::TakesMany(method)) = &route.method else { return };
        let mut context = route.context(&head);
        let (stream, gate) = (sink.stream, Arc::clone(&sink.gate));
        match contain(|| context.enter(|| method.start(head, input, sink))).and_then(|started| started) {
            Ok(handler) => self.settle(stream, gate, context, handler),
            Err(status) => {
                self.fail(tx, stream, &status);
                if let Some(life) = context.life() {
                    life.end(Over::Answered, &mut self.wakes);
                }
            }
        }
    }

    /// Where the response of a call goes.
    fn sink(&self, tx: &Tx, stream: StreamKey, encoding: Option<CompressionEncoding>) -> Sink {
        let gate = Arc::new(SendGate::open(tx.writer_mark()));
        Sink { stream, ops: Arc::clone(&self.ops), gate, encoding, watching: None }
    }

    fn spawn(
        &mut self,
        stream: StreamKey,
        gate: Option<Arc<SendGate>>,
        context: CallContext,
        handler: impl Future<Output = Outcome> + Send + 'static,
    ) {
        let guard = DoneGuard::new(Arc::clone(&self.link), stream);
        let life = context.life().cloned();
        let task = tokio::spawn(HandlerTask::new(handler, context, guard));
        if let Some(call) = self.calls.get(stream) {
            call.life = life;
            call.task = Some(task.abort_handle());
            call.gate = gate;
        }
    }

    /// The answer of a handler that ran as a task.
    pub(super) fn done(&mut self, tx: &mut Tx, stream: StreamKey, outcome: Outcome) {
        self.calls.unbury(stream);
        let Some(call) = self.forget(stream) else { return };
        if let Some(life) = &call.life {
            life.end(Over::Answered, &mut self.wakes);
        }
        match (call.said, outcome) {
            (Said::Nothing, Outcome::Response { metadata, encoding, payload, trailers }) => {
                match respond::head(tx, stream, &metadata, encoding) {
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
}

/// What the first poll of a unary handler came to.
enum First {
    /// It is done.
    Ready(Before, Pin<Box<dyn UnaryCall>>),
    /// It goes on as a task.
    Pending(Pin<Box<dyn UnaryCall>>),
}

/// A call with compression, from its request as it came.
async fn run_coded(
    shared: Arc<Shared>,
    (route, agreed): (RouteId, Agreed),
    mut head: Request<()>,
    message: Message,
    sink: Sink,
) -> Outcome {
    let Some(route) = shared.routes.get(route) else { return Outcome::Nothing };
    if message.compressed {
        head.extensions_mut().insert(CameCompressed);
    }
    let mut message = match route.unpacking(agreed).open(message.into()) {
        Ok(message) => message,
        Err(status) => return Outcome::Status(status),
    };
    let encoding = route.encodings.of_response(agreed);
    match &route.method {
        Method::Unary(method) => match method.call(head, &mut message, encoding) {
            Ok(call) => finish_unary(call).await,
            Err(status) => Outcome::Status(status),
        },
        Method::TakesOne(method) => {
            match method.start(head, Input::One(message), Sink { encoding, ..sink }) {
                Ok(mut handler) => {
                    let mut via = Via::Queue { pushed: 0 };
                    poll_fn(|cx| handler.as_mut().poll(cx, &mut via)).await
                }
                Err(status) => Outcome::Status(status),
            }
        }
        Method::TakesMany(_) => Outcome::Nothing,
    }
}

/// The rest of a unary call whose handler was not ready at once.
pub(super) async fn finish_unary(mut call: Pin<Box<dyn UnaryCall>>) -> Outcome {
    poll_fn(|cx| call.as_mut().poll(cx)).await;
    let Before { metadata, encoding, expected } = match call.as_mut().head() {
        Ok(head) => head,
        Err(status) => return Outcome::Status(status),
    };
    let mut payload = Vec::with_capacity(expected);
    match call.as_mut().encode(&mut payload) {
        Ok(After { trailers, .. }) => {
            Outcome::Response { metadata, encoding, payload: Bytes::from(payload), trailers }
        }
        Err(status) => Outcome::Status(status),
    }
}
