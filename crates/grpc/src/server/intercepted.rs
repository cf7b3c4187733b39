//! Methods that somebody intercepts: a method around a method, made when its service is registered. Methods that nobody intercepts
//! are not touched.
//!
//! The interceptors run where the handler does: polled once in place, if the method is one for that, or in the call's task. So
//! they may wait, and one that is slow is found out as a slow handler is. The message of a unary request is kept until they have let
//! the call through; it is not decoded before.
//!
//! Invariant: a call's interceptors hear of one end, what is sent is what they made of it, and a call that is dropped was
//! cancelled: what runs here owns the [`Guard`].

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Arc;

use tokio::time::Instant;

use super::methods::Method;
use super::ops::Outcome;
use super::streaming::{Handler, Input, Running, Sink, StreamingMethod};
use super::unary::{After, Before, UnaryCall, UnaryMethod};
use super::via::Via;
use crate::client::MethodPath;
use crate::codec::{CompressionEncoding, DecodeBuf, Message};
use crate::intercept::{Call, CallKind, Follow, Guard, Side, Stack};
use crate::{Code, Request, Status, framing};

/// A method with interceptors around it.
pub(super) struct Intercepted<M: ?Sized> {
    inner: Arc<M>,
    stack: Stack,
    kind: CallKind,
    path: MethodPath,
}

impl Intercepted<()> {
    /// The same method, with the interceptors of `stack` around it.
    pub(super) fn around(method: Method, stack: &Stack, kind: CallKind, path: &str) -> Method {
        let (stack, path) = (stack.clone(), MethodPath::registered(path));
        match method {
            Method::Unary(inner) => {
                let inner: Arc<dyn UnaryMethod> = inner.into();
                Method::Unary(Box::new(Intercepted { inner, stack, kind, path }))
            }
            Method::TakesOne(inner) => {
                let inner: Arc<dyn StreamingMethod> = inner.into();
                Method::TakesOne(Box::new(Intercepted { inner, stack, kind, path }))
            }
            Method::TakesMany(inner) => {
                let inner: Arc<dyn StreamingMethod> = inner.into();
                Method::TakesMany(Box::new(Intercepted { inner, stack, kind, path }))
            }
        }
    }
}

impl<M: ?Sized> Intercepted<M> {
    fn call(&self, head: Request<()>) -> Call {
        Call::new(Side::Server, self.kind, self.path.clone(), head)
    }
}

async fn ask(stack: &Stack, call: &mut Call) -> Result<Guard, Status> {
    let deadline = call.request().deadline();
    Guard::begin(stack, call, Instant::now(), deadline).await
}

impl UnaryMethod for Intercepted<dyn UnaryMethod> {
    fn call(
        &self,
        head: Request<()>,
        message: &mut DecodeBuf<'_>,
        encoding: Option<CompressionEncoding>,
    ) -> Result<Pin<Box<dyn UnaryCall>>, Status> {
        let (inner, stack, call) = (Arc::clone(&self.inner), self.stack.clone(), Self::call(self, head));
        let wire_octets = message.wire_octets();
        let message = message.take_message();
        let handling = handle(inner, stack, call, (message, wire_octets), encoding);
        Ok(Box::pin(InterceptedCall::Handling(Box::pin(handling))))
    }
}

/// A message of a request, on its way to the handler.
fn pass(guard: &Guard, message: Message, wire_octets: usize) -> Result<Message, Status> {
    guard.received(message.len(), wire_octets)?;
    Ok(Message { octets: guard.altered(message.octets), ..message })
}

/// From the first interceptor to the head of the response.
async fn handle(
    inner: Arc<dyn UnaryMethod>,
    stack: Stack,
    mut call: Call,
    (message, wire_octets): (Message, usize),
    encoding: Option<CompressionEncoding>,
) -> Result<Answered, Status> {
    let guard = ask(&stack, &mut call).await?;
    let message = pass(&guard, message, wire_octets).map_err(|status| guard.refuse_handler(status))?;
    let mut message = DecodeBuf::from(message);
    let mut call = inner
        .call(call.into_request(), &mut message, encoding)
        .map_err(|status| guard.refuse_handler(status))?;
    poll_fn(|cx| call.as_mut().poll(cx)).await;
    let mut before = call.as_mut().head().map_err(|status| guard.refuse_handler(status))?;
    guard.head(&mut before.metadata).await.map_err(|status| guard.refuse_handler(status))?;
    Ok(Answered { guard, before, call })
}

/// A unary call whose handler answered, and whose message is still to be encoded.
struct Answered {
    guard: Guard,
    before: Before,
    call: Pin<Box<dyn UnaryCall>>,
}

/// A unary call with interceptors around its handler.
enum InterceptedCall {
    /// Its handler, or an interceptor, has not answered.
    Handling(Pending<Result<Answered, Status>>),
    /// It has.
    Answered(Result<Answered, Status>),
    /// The head of the answer was taken.
    Message(Guard, Pin<Box<dyn UnaryCall>>),
    /// All of it was.
    Taken,
}

impl UnaryCall for InterceptedCall {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Handling(handling) = &mut *self {
            let answered = ready!(handling.as_mut().poll(cx));
            *self = Self::Answered(answered);
        }
        Poll::Ready(())
    }

    fn head(mut self: Pin<&mut Self>) -> Result<Before, Status> {
        let Self::Answered(answered) = core::mem::replace(&mut *self, Self::Taken) else {
            return Err(not_done());
        };
        let Answered { guard, before, call } = answered?;
        *self = Self::Message(guard, call);
        Ok(before)
    }

    fn encode(mut self: Pin<&mut Self>, out: &mut Vec<u8>) -> Result<After, Status> {
        let Self::Message(guard, mut call) = core::mem::replace(&mut *self, Self::Taken) else {
            return Err(not_done());
        };
        let begins = out.len();
        let After { octets, trailers } =
            call.as_mut().encode(out).map_err(|status| guard.refuse_handler(status))?;
        let framed = out.len().saturating_sub(begins);
        if let Err(status) = guard.sent(octets, framing::wire_octets(framed)) {
            out.truncate(begins);
            return Err(guard.refuse_handler(status));
        }
        guard.end_of_handler(Ok(trailers)).map(|trailers| After { octets, trailers })
    }
}

fn not_done() -> Status {
    Status::internal("the handler is not done")
}

impl StreamingMethod for Intercepted<dyn StreamingMethod> {
    fn start(&self, head: Request<()>, input: Input<'_>, sink: Sink) -> Result<Running, Status> {
        let (inner, stack, call) = (Arc::clone(&self.inner), self.stack.clone(), self.call(head));
        let input = match input {
            Input::One(message) => {
                let wire_octets = message.wire_octets();
                Kept::Message(message.into_message(), wire_octets)
            }
            Input::Many(source, unpacking) => Kept::Input(Input::Many(source, unpacking)),
        };
        Ok(Box::pin(InterceptedStream::Beginning(Box::pin(begin(inner, stack, call, input, sink)))))
    }
}

/// The request of a call while its interceptors are asked.
enum Kept {
    Message(Message, usize),
    Input(Input<'static>),
}

/// From the first interceptor to the start of the handler.
async fn begin(
    inner: Arc<dyn StreamingMethod>,
    stack: Stack,
    mut call: Call,
    input: Kept,
    mut sink: Sink,
) -> Result<(Guard, Running), Status> {
    let guard = ask(&stack, &mut call).await?;
    let input = match input {
        Kept::Message(message, wire_octets) => {
            let message =
                pass(&guard, message, wire_octets).map_err(|status| guard.refuse_handler(status))?;
            Input::One(message.into())
        }
        Kept::Input(Input::Many(source, unpacking)) => {
            Input::Many(source.followed(Follow::Messages(Arc::clone(guard.watching()))), unpacking)
        }
        Kept::Input(input @ Input::One(_)) => input,
    };
    sink.watching = Some(Arc::clone(guard.watching()));
    match inner.start(call.into_request(), input, sink) {
        Ok(running) => Ok((guard, running)),
        Err(status) => Err(guard.refuse_handler(status)),
    }
}

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The interceptors, the handler, and the interceptors.
enum InterceptedStream {
    Beginning(Pending<Result<(Guard, Running), Status>>),
    Running(Option<Guard>, Running),
    Ending(Pending<Outcome>),
}

impl Handler for InterceptedStream {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>, via: &mut Via<'_>) -> Poll<Outcome> {
        loop {
            let next = match &mut *self {
                Self::Beginning(beginning) => match ready!(beginning.as_mut().poll(cx)) {
                    Ok((guard, running)) => Self::Running(Some(guard), running),
                    Err(status) => return Poll::Ready(Outcome::Status(status)),
                },
                Self::Running(guard, running) => match (ready!(running.as_mut().poll(cx, via)), guard.take())
                {
                    (outcome, Some(guard)) => Self::Ending(Box::pin(end(guard, outcome))),
                    // It is not polled again after it was ready.
                    (outcome, None) => return Poll::Ready(outcome),
                },
                Self::Ending(ending) => return ending.as_mut().poll(cx),
            };
            *self = next;
        }
    }
}

/// What becomes of a handler's outcome.
async fn end(guard: Guard, outcome: Outcome) -> Outcome {
    let (end, response) = match outcome {
        Outcome::Response { mut metadata, encoding, payload, trailers } => {
            match guard.head(&mut metadata).await {
                Ok(()) => (Ok(trailers), Some((metadata, encoding, payload))),
                Err(status) => (Err(status), None),
            }
        }
        Outcome::Status(status) if status.code() == Code::Ok => (Ok(status.into_metadata()), None),
        Outcome::Status(status) => (Err(status), None),
        // Its stream is gone: dropping the guard says so.
        Outcome::Nothing => return Outcome::Nothing,
    };
    match (guard.end_of_handler(end), response) {
        (Ok(trailers), Some((metadata, encoding, payload))) => {
            Outcome::Response { metadata, encoding, payload, trailers }
        }
        (Ok(trailers), None) => Outcome::Status(Status::with_metadata(Code::Ok, "", trailers)),
        (Err(status), _) => Outcome::Status(status),
    }
}
