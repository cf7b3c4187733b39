//! [`Body`]: what middleware of the tower family sees of a call's messages. Cargo feature `tower`.
//!
//! It is a stream of gRPC frames, each message with its prefix of five octets and never compressed (that is done outside, where the
//! connection is), and then the trailers: `grpc-status` and metadata. Frames of a body need not be whole messages; a message may span some.
//!
//! Where such bodies come from: [`Server::layer`](crate::transport::Server::layer) puts middleware around all services, and a
//! [`Channel`](crate::transport::Channel) is a `tower_service::Service<http::Request<Body>>`.

mod error;
mod fields;
mod framed;
mod messages;

use core::any::Any;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

pub(crate) use error::{BoxError, status_of};
pub(crate) use fields::{header_map, request_headers, section};
pub(crate) use framed::{Encoded, Framed};
pub(crate) use messages::{BodyMessages, OverAt};

use crate::Status;

/// The messages of a request or of a response, as gRPC frames.
#[derive(Default)]
pub struct Body(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    /// One message, framed.
    Message(Bytes),
    Other(Pin<Box<dyn http_body::Body<Data = Bytes, Error = Status> + Send>>),
}

impl Body {
    /// A body without anything in it.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// Any body whose octets are gRPC frames. One that is a [`Body`] stays as it is; errors of others become statuses as those of
    /// middleware do.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut body = Some(body);
        if let Some(own) = (&mut body as &mut dyn Any).downcast_mut::<Option<Self>>() {
            return own.take().unwrap_or_default();
        }
        match body {
            Some(body) => Self(Kind::Other(Box::pin(Translated { body }))),
            None => Self::empty(),
        }
    }

    /// One message that has its prefix.
    pub(crate) const fn message(framed: Bytes) -> Self {
        Self(Kind::Message(framed))
    }

    pub(crate) fn of(body: impl http_body::Body<Data = Bytes, Error = Status> + Send + 'static) -> Self {
        Self(Kind::Other(Box::pin(body)))
    }

    /// The octets of a body that was made of one message and not touched since.
    ///
    /// # Errors
    /// It is another one.
    pub(crate) fn into_message(self) -> Result<Bytes, Self> {
        match self.0 {
            Kind::Message(framed) => Ok(framed),
            other => Err(Self(other)),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Message(framed) => {
                let framed = core::mem::take(framed);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(framed))))
            }
            Kind::Other(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Message(_) => false,
            Kind::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Message(framed) => SizeHint::with_exact(framed.len() as u64),
            Kind::Other(body) => body.size_hint(),
        }
    }
}

pin_project_lite::pin_project! {
    /// A body with our type of error.
    struct Translated<B> {
        #[pin]
        body: B,
    }
}

impl<B> http_body::Body for Translated<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.project().body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(status_of)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
