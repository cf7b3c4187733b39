//! Which messages of a call are compressed: what a request or a response says of itself, and of each message of its stream.
//!
//! All of it lies among the extensions of a request or a response, where those that say nothing need no room for it.

use core::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use http::Extensions;

use super::CompressionEncoding;
use crate::Status;
use crate::codec::{EncodeBuf, Encoder};

/// Of a request or a response: what it is compressed by, in place of what its client or service says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    /// Nothing.
    Off,
    /// This.
    By(CompressionEncoding),
}

impl Choice {
    /// What is used where `usual` would be.
    pub(crate) fn among(
        extensions: &Extensions,
        usual: Option<CompressionEncoding>,
    ) -> Option<CompressionEncoding> {
        match extensions.get::<Self>() {
            None => usual,
            Some(Self::Off) => None,
            Some(Self::By(encoding)) => Some(*encoding),
        }
    }
}

/// Among the extensions of a request or a response that came: its message was compressed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CameCompressed;

/// Among the extensions of a stream of messages `T` on its way out: asked of each in turn whether it is compressed.
pub(crate) struct Wanted<T>(Arc<Mutex<Asking<T>>>);

type Asking<T> = dyn FnMut(&T) -> bool + Send;

impl<T: 'static> Wanted<T> {
    pub(crate) fn new(wanted: impl FnMut(&T) -> bool + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(wanted)))
    }

    /// What a request or a response says.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get::<Self>().cloned()
    }
}

impl<T> Clone for Wanted<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Wanted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wanted")
    }
}

/// An encoder of a stream that may say of each message whether it is compressed.
pub(crate) struct Choosing<E: Encoder> {
    encoder: E,
    wanted: Option<Wanted<E::Item>>,
}

impl<E: Encoder<Item: 'static>> Choosing<E> {
    /// As `extensions` say of the stream's messages.
    pub(crate) fn new(encoder: E, extensions: &Extensions) -> Self {
        Self { encoder, wanted: Wanted::of(extensions) }
    }
}

impl<E: Encoder<Error = Status>> Encoder for Choosing<E> {
    type Item = E::Item;
    type Error = Status;

    fn encode(&mut self, item: E::Item, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        self.encoder.encode(item, out)
    }

    fn size_hint(&self, item: &E::Item) -> Option<usize> {
        self.encoder.size_hint(item)
    }

    fn may_compress(&mut self, item: &E::Item) -> bool {
        // What is asked may count: it is asked of every message.
        let wanted = self.wanted.as_ref().is_none_or(|wanted| {
            let mut wanted = wanted.0.lock().unwrap_or_else(PoisonError::into_inner);
            wanted(item)
        });
        wanted && self.encoder.may_compress(item)
    }
}
