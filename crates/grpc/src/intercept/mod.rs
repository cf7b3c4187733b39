//! Interceptors: what looks at calls from outside, on either side, and may change or refuse them.
//!
//! An [`Intercept`] is asked when a call begins, before anything of it is sent (client) or its handler runs (server). It may wait,
//! change the request's metadata, refuse the call with a status, and leave a [`Watch`] behind, which hears the rest: the head of
//! the response, every message's size in both directions, and the end, exactly once.
//!
//! ```
//! use clearway::Status;
//! use clearway::intercept::{Call, CallEnd, Intercept, Watch};
//!
//! /// Writes a line for every call; the same on a client and on a server.
//! struct Log;
//!
//! struct Line(String);
//!
//! impl Intercept for Log {
//!     type Watch = Line;
//!
//!     async fn begin(&self, call: &mut Call) -> Result<Line, Status> {
//!         Ok(Line(call.path().to_owned()))
//!     }
//! }
//!
//! impl Watch for Line {
//!     fn end(&self, end: &mut CallEnd) {
//!         let (sent, received) = (end.sent(), end.received());
//!         println!(
//!             "{} {} in {:?}: {} messages ({} octets) sent, {} ({}) received",
//!             self.0, end.code(), end.elapsed(), sent.messages, sent.octets, received.messages, received.octets,
//!         );
//!     }
//! }
//! # use clearway::transport::{Endpoint, Server};
//! # let _ = Server::builder().interceptor(Log);
//! # let _ = Endpoint::from_static("http://localhost:50051").interceptor(Log);
//! ```
//!
//! Where they are put: [`Server::interceptor`](crate::transport::Server::interceptor) for all services of a server,
//! [`Endpoint::interceptor`](crate::transport::Endpoint::interceptor) for all calls of a channel, and [`InterceptedService`] (or
//! `with_interceptor` of generated code) for one service or client. Of several in one place the first that was added is the
//! outermost: it sees the request first and the response last. Those of a service are inside of its server's, those of a client outside of its channel's.
//!
//! The form of older code, a function of `Request<()>`, is taken wherever these are: see [`Interceptor`].
//!
//! On a client an interceptor runs once for a call, however often that is attempted, and what it waits for counts against the call's
//! deadline. On a server the handler does, too. Calls that never reach a method (unknown ones, malformed ones) are not shown.
//!
//! Who pays: calls that nobody intercepts pay one branch. Others pay an allocation or two for each interceptor, and on a server a copy of a
//! unary request that lay in the receive buffer.

mod call;
mod function;
mod service;
mod stack;
mod watching;

use core::future::Future;

use bytes::Bytes;

pub use call::{Call, CallEnd, CallKind, Direction, MessageSize, Side, Traffic};
pub use function::{GrpcMethod, Interceptor};
pub use service::InterceptedService;
pub use stack::{AnyInterceptor, AsFunction, AsIntercept, AsItIs, IntoInterceptor};

pub(crate) use stack::Stack;
pub(crate) use watching::{Follow, Guard, Watching, no_response};

use crate::Status;
use crate::metadata::MetadataMap;

/// Looks at calls when they begin.
///
/// One value serves all calls, side by side. Implementations write `async fn begin`.
pub trait Intercept: Send + Sync + 'static {
    /// What hears the rest of a call; `()` if nobody cares.
    type Watch: Watch;

    /// A call begins. What is changed here is what is sent, or what the handler sees.
    ///
    /// # Errors
    /// The call ends with this status; nothing of it is sent, or its handler does not run. Interceptors outside of this one hear of that
    /// end, those inside never hear of the call.
    ///
    /// # Cancel safety
    /// The future is dropped if the call is.
    fn begin(&self, call: &mut Call) -> impl Future<Output = Result<Self::Watch, Status>> + Send;
}

/// Hears one call to its end.
///
/// Messages may be told of from several tasks at once, which is why everything takes `&self`; sums of them are in [`CallEnd`].
pub trait Watch: Send + Sync + 'static {
    /// The head of the response: on a client it has come, on a server it is about to be sent. Calls that end without one (with nothing
    /// but a status) have none.
    ///
    /// # Errors
    /// The call ends with this status.
    fn head(&self, metadata: &mut MetadataMap) -> impl Future<Output = Result<(), Status>> + Send {
        let _ = metadata;
        core::future::ready(Ok(()))
    }

    /// A message passes. It is called on the task that sends or reads it: it must return quickly.
    ///
    /// # Errors
    /// The message goes no further, and the call ends with this status.
    fn message(&self, message: MessageSize) -> Result<(), Status> {
        let _ = message;
        Ok(())
    }

    /// A message was received and is about to be decoded: what injected faults change. Not for use by others.
    #[doc(hidden)]
    fn alter(&self, octets: Bytes) -> Bytes {
        octets
    }

    /// The call is over. It is called exactly once, whatever happened; it must return quickly.
    ///
    /// What is changed in `end` is what the caller gets, or what is sent to the client; not of a call that was cancelled.
    fn end(&self, end: &mut CallEnd) {
        let _ = end;
    }
}

impl Watch for () {}

impl<W: Watch> Watch for Option<W> {
    async fn head(&self, metadata: &mut MetadataMap) -> Result<(), Status> {
        match self {
            Some(watch) => watch.head(metadata).await,
            None => Ok(()),
        }
    }

    fn message(&self, message: MessageSize) -> Result<(), Status> {
        self.as_ref().map_or(Ok(()), |watch| watch.message(message))
    }

    fn alter(&self, octets: Bytes) -> Bytes {
        match self {
            Some(watch) => watch.alter(octets),
            None => octets,
        }
    }

    fn end(&self, end: &mut CallEnd) {
        if let Some(watch) = self {
            watch.end(end);
        }
    }
}
