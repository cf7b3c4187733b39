//! Length-prefixed messages (gRPC over HTTP/2, "Length-Prefixed-Message"): one octet of flag, four of length, the message.
//!
//! The bounds of DATA frames mean nothing here: a message may span frames, and a frame may hold many messages and end in
//! the middle of a prefix.
//!
//! Invariant: the length prefix is not trusted. It is checked against the limit before anything is allocated, and the
//! buffer of a message in assembly grows with the octets that arrived.
//!
//! What the flag stands for is done here on the way out, and by [`Unpacking`](crate::codec::compression::Unpacking) when a message is decoded: until then
//! it waits as it came, so that what waits is bounded by the peer's credit.

use bytes::{BufMut as _, Bytes};
use clearway_http2::Config;

use crate::cause::{Oversized, Processed, TransportCause, TransportEvent};
use crate::codec::compression::Packing;
use crate::codec::{CompressionEncoding, DecodeBuf, Encoder};
use crate::{Code, Status, scratch};

/// True for gRPC's content-type: `application/grpc`, alone or followed by a codec (`+proto`) or parameters (`;...`).
pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    matches!(content_type.strip_prefix(b"application/grpc"), Some([] | [b'+' | b';', ..]))
}

/// The codec that gRPC's content-type names: what follows `+`, or `proto`.
pub(crate) fn subtype(content_type: &[u8]) -> &[u8] {
    let named = content_type.strip_prefix(b"application/grpc+").unwrap_or(b"proto");
    named.split(|octet| *octet == b';').next().unwrap_or_default().trim_ascii()
}

/// A configuration under which messages can flow: a stream window smaller than a prefix would let none begin, so it is at
/// least [`MIN_STREAM_WINDOW`].
pub(crate) fn config_for_messages(config: &Config) -> Config {
    let mut config = config.clone();
    config.stream_window_octets = config.stream_window_octets.max(MIN_STREAM_WINDOW);
    config
}

/// Octets of the prefix.
pub(crate) const PREFIX: usize = 5;

/// The smallest stream window that is announced.
pub(crate) const MIN_STREAM_WINDOW: u32 = 1024;

/// What a buffer for a message starts with at most, whatever the prefix promises.
const FIRST_CAPACITY: usize = 64 * 1024;

/// A prefix that cannot be accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FramingError {
    /// The flag is neither 0 nor 1.
    BadFlag(u8),
    /// The flag says compressed, and no compression was agreed on.
    Compressed,
    /// The message is larger than the limit.
    TooLarge { size: usize, limit: usize },
}

/// A message that comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Incoming {
    /// Of a request, at the server.
    Request,
    /// Of a response, at the client.
    Response,
}

fn too_large(message: Oversized, octets: usize, limit: usize) -> Status {
    let event = TransportEvent::MessageTooLarge { message, octets, limit };
    Status::from_transport(Code::ResourceExhausted, TransportCause::anywhere(event))
}

/// The status of a call whose messages cannot be read.
pub(crate) fn bad_message(what: impl Into<String>) -> Status {
    let event = TransportEvent::BadMessage { what: what.into() };
    Status::from_transport(Code::Internal, TransportCause::anywhere(event))
}

impl Incoming {
    /// The status of a call with a message of so many octets that inflates to more than `limit`.
    pub(crate) fn too_large_inflated(self, size: usize, limit: usize) -> Status {
        let message = match self {
            Self::Request => Oversized::InflatedRequest,
            Self::Response => Oversized::InflatedResponse,
        };
        too_large(message, size, limit)
    }
}

impl FramingError {
    /// The status of a call that meets it; `message` says which one it was, and whose limit counts: the caller must be able to
    /// tell.
    pub(crate) fn status(self, message: Incoming) -> Status {
        match self {
            Self::BadFlag(flag) => bad_message(format!("message prefix has flag {flag}, want 0 or 1")),
            Self::Compressed => {
                bad_message("message is flagged as compressed, but grpc-encoding names no compression")
            }
            Self::TooLarge { size, limit } => {
                let message = match message {
                    Incoming::Request => Oversized::Request,
                    Incoming::Response => Oversized::Response,
                };
                too_large(message, size, limit)
            }
        }
    }
}

#[derive(Debug)]
enum State {
    /// In the prefix; so many octets of it are here.
    Prefix { octets: [u8; PREFIX], filled: usize },
    /// In the message.
    Body { size: usize, buffer: Vec<u8> },
}

const START: State = State::Prefix { octets: [0; PREFIX], filled: 0 };

/// Takes octets of a prefix that comes in pieces; it is given out when it is whole.
fn fill(octets: &mut [u8; PREFIX], filled: &mut usize, input: &mut &[u8]) -> Option<[u8; PREFIX]> {
    let missing = PREFIX.saturating_sub(*filled);
    let (head, rest) = input.split_at_checked(missing).unwrap_or((*input, &[]));
    octets.get_mut(*filled..)?.get_mut(..head.len())?.copy_from_slice(head);
    *filled = filled.saturating_add(head.len());
    *input = rest;
    (*filled == PREFIX).then_some(*octets)
}

/// Takes messages out of one direction of a call.
#[derive(Debug)]
pub(crate) struct Assembler {
    state: State,
    /// No prefix says more than this type holds.
    limit: u32,
    /// The flag may be set.
    may_be_compressed: bool,
    /// It is, of the message in [`State::Body`].
    compressed: bool,
}

impl Assembler {
    /// `limit` is the largest message accepted, in octets.
    pub(crate) fn new(limit: usize) -> Self {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        Self { state: START, limit, may_be_compressed: false, compressed: false }
    }

    /// The same, where a compression was agreed on if `is_agreed`.
    pub(crate) const fn and_agreed(mut self, is_agreed: bool) -> Self {
        self.may_be_compressed = is_agreed;
        self
    }

    /// A compression was agreed on, if `is_agreed`: messages may be flagged.
    pub(crate) const fn agreed(&mut self, is_agreed: bool) {
        self.may_be_compressed = is_agreed;
    }

    /// True between two messages: here the stream may end.
    pub(crate) const fn at_boundary(&self) -> bool {
        matches!(self.state, State::Prefix { filled: 0, .. })
    }

    /// How many octets the message in assembly still lacks; zero when its size is not known yet.
    pub(crate) fn lacking(&self) -> usize {
        match &self.state {
            State::Prefix { .. } => 0,
            State::Body { size, buffer, .. } => size.saturating_sub(buffer.len()),
        }
    }

    /// Gives up the message in assembly; says how many octets of it had come, its prefix included. What comes afterwards
    /// must not be given to [`Assembler::next`].
    pub(crate) fn abandon(&mut self) -> usize {
        match core::mem::replace(&mut self.state, START) {
            State::Prefix { filled, .. } => filled,
            State::Body { buffer, .. } => buffer.len().saturating_add(PREFIX),
        }
    }

    /// Takes octets from the front of `input`, and gives out a message once one is whole. Call it again until it gives
    /// none.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<DecodeBuf<'a>>, FramingError> {
        if input.is_empty() {
            // What is in assembly is never whole already.
            return Ok(None);
        }
        if let State::Prefix { octets, filled } = &mut self.state {
            let prefix = match input.split_first_chunk::<PREFIX>() {
                // Mostly it lies whole in the input.
                Some((whole, rest)) if *filled == 0 => {
                    *input = rest;
                    *whole
                }
                _ => match fill(octets, filled, input) {
                    Some(prefix) => prefix,
                    None => return Ok(None),
                },
            };
            let (size, compressed) = self.check(prefix)?;
            if let Some((message, rest)) = input.split_at_checked(size) {
                // It lies whole in the input: no copy.
                *input = rest;
                self.state = START;
                return Ok(Some(DecodeBuf::borrowed(message).flagged(compressed)));
            }
            let buffer = Vec::with_capacity(size.min(FIRST_CAPACITY.max(input.len())));
            self.state = State::Body { size, buffer };
            self.compressed = compressed;
        }
        let State::Body { size, buffer } = &mut self.state else { return Ok(None) };
        let missing = size.saturating_sub(buffer.len());
        let (head, rest) = input.split_at_checked(missing).unwrap_or((*input, &[]));
        buffer.extend_from_slice(head);
        *input = rest;
        if head.len() < missing {
            return Ok(None);
        }
        let message = DecodeBuf::owned(Bytes::from(core::mem::take(buffer))).flagged(self.compressed);
        self.state = START;
        Ok(Some(message))
    }

    /// Size and flag.
    fn check(&self, prefix: [u8; PREFIX]) -> Result<(usize, bool), FramingError> {
        let [flag, length @ ..] = prefix;
        let compressed = match flag {
            0 => false,
            1 if self.may_be_compressed => true,
            1 => return Err(FramingError::Compressed),
            flag => return Err(FramingError::BadFlag(flag)),
        };
        let size = u32::from_be_bytes(length);
        if size > self.limit {
            return Err(FramingError::TooLarge { size: size as usize, limit: self.limit as usize });
        }
        let size = size as usize;
        // No algorithm makes nothing of something, and some senders compress nothing: it is what it is.
        Ok((size, compressed && size > 0))
    }
}

/// Appends a message with its prefix to `out`; says how many octets its encoder made. With an error `out` is as it was.
pub(crate) fn encode<E>(
    encoder: &mut E,
    item: E::Item,
    packing: Packing,
    out: &mut Vec<u8>,
) -> Result<usize, Status>
where
    E: Encoder<Error = Status>,
{
    let Packing { limit, encoding } = packing;
    let encoding = encoding.filter(|_| encoder.may_compress(&item));
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    let result = encoder.encode(item, &mut (&mut *out).limit(usize::MAX));
    let mut verdict = result.and_then(|()| seal(start, limit, out));
    if let (Ok(octets), Some(encoding)) = (&verdict, encoding) {
        verdict = compress(start, encoding, out).map(|()| *octets);
    }
    if verdict.is_err() {
        out.truncate(start);
    }
    verdict
}

/// Compresses the message that begins at `start`, if it is large enough for that and gets smaller.
fn compress(start: usize, encoding: CompressionEncoding, out: &mut Vec<u8>) -> Result<(), Status> {
    let from = start.saturating_add(PREFIX);
    scratch::with(|smaller| {
        let message = out.get(from..).unwrap_or_default();
        if message.is_empty() || message.len() < encoding.threshold() {
            return Ok(());
        }
        encoding.algorithm().compress(message, smaller).map_err(|error| {
            Status::internal(format!("message cannot be compressed ({encoding}): {error}"))
        })?;
        if smaller.len() < message.len() {
            out.truncate(from);
            out.extend_from_slice(smaller);
            seal(start, usize::MAX, out)?;
            if let Some(flag) = out.get_mut(start) {
                *flag = 1;
            }
        }
        Ok(())
    })
}

/// Writes the prefix of the message that begins at `start`; says how many octets that has.
fn seal(start: usize, limit: usize, out: &mut [u8]) -> Result<usize, Status> {
    let size = out.len().saturating_sub(start).saturating_sub(PREFIX);
    let fits = u32::try_from(size).ok().filter(|_| size <= limit);
    let Some(length) = fits else {
        let limit = limit.min(u32::MAX as usize);
        let event = TransportEvent::MessageTooLarge { message: Oversized::Sent, octets: size, limit };
        let cause = TransportCause { connection: None, event, processed: Processed::No };
        return Err(Status::from_transport(Code::ResourceExhausted, cause));
    };
    if let Some(place) = out.get_mut(start.saturating_add(1)..start.saturating_add(PREFIX)) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(size)
}

/// The octets of a message that takes so many with its prefix.
pub(crate) const fn wire_octets(framed: usize) -> usize {
    framed.saturating_sub(PREFIX)
}

/// How many octets a message will take with its prefix, as far as its encoder can say.
pub(crate) fn expected<E: Encoder>(encoder: &E, item: &E::Item) -> usize {
    encoder.size_hint(item).unwrap_or(0).saturating_add(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::BytesEncoder;
    use proptest::prelude::*;

    fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for message in messages {
            encode(&mut BytesEncoder, Bytes::copy_from_slice(message), Packing::plain(usize::MAX), &mut out)
                .unwrap();
        }
        out
    }

    fn take_all(assembler: &mut Assembler, mut input: &[u8]) -> Result<Vec<Vec<u8>>, FramingError> {
        let mut messages = Vec::new();
        while let Some(message) = assembler.next(&mut input)? {
            messages.push(message.into_message().octets.to_vec());
        }
        assert!(input.is_empty());
        Ok(messages)
    }

    proptest! {
        #[test]
        fn messages_survive_any_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            step in 1usize..50,
        ) {
            let wire = framed(&messages);
            let mut assembler = Assembler::new(1000);
            let mut seen = Vec::new();
            for piece in wire.chunks(step) {
                seen.extend(take_all(&mut assembler, piece).unwrap());
            }
            prop_assert!(assembler.at_boundary());
            prop_assert_eq!(seen, messages);
        }
    }

    /// What an assembler made of these pieces: the messages, how it failed, and what [`Assembler::abandon`] finds then.
    type Outcome = (Vec<(Vec<u8>, bool)>, Option<FramingError>, usize);

    fn outcome(wire: &[u8], cuts: &[usize]) -> Outcome {
        let mut assembler = Assembler::new(60).and_agreed(true);
        let (mut messages, mut rest) = (Vec::new(), wire);
        for cut in cuts.iter().cycle() {
            let (mut piece, left) = rest.split_at(rest.len().min(*cut));
            loop {
                match assembler.next(&mut piece) {
                    Ok(Some(message)) => {
                        let compressed = message.is_compressed();
                        messages.push((message.into_message().octets.to_vec(), compressed));
                    }
                    Ok(None) => break,
                    Err(error) => return (messages, Some(error), 0),
                }
            }
            assert!(piece.is_empty());
            rest = left;
            if rest.is_empty() {
                break;
            }
        }
        (messages, None, assembler.abandon())
    }

    proptest! {
        /// Prefixes that lie whole in a piece, or in several; also bad ones, and a stream that ends anywhere.
        #[test]
        fn every_cut_gives_the_same_messages_and_the_same_error(
            messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), any::<bool>()), 0..6),
            bad in prop::option::of(prop_oneof![Just([0, 0, 0, 0, 61]), Just([1, 1, 0, 0, 0]), Just([2, 0, 0, 0, 0])]),
            cuts in prop::collection::vec(1usize..30, 1..8),
            lost in 0usize..12,
        ) {
            let mut wire = Vec::new();
            for (message, compressed) in &messages {
                wire.extend([u8::from(*compressed), 0, 0, 0, u8::try_from(message.len()).unwrap()]);
                wire.extend(message);
            }
            wire.extend(bad.into_iter().flatten());
            wire.truncate(wire.len() - lost.min(wire.len()));
            let whole = outcome(&wire, &[usize::MAX]);
            prop_assert_eq!(&outcome(&wire, &cuts), &whole);
            prop_assert_eq!(&outcome(&wire, &[1]), &whole);
            if bad.is_some() && lost == 0 {
                prop_assert!(whole.1.is_some() && whole.0.len() == messages.len());
            }
        }
    }

    #[test]
    fn only_grpc_is_grpc() {
        for good in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
            assert!(is_grpc(good.as_bytes()), "{good}");
        }
        for bad in ["", "application/grpc-web", "application/grpcx", "application/json", "APPLICATION/GRPC "]
        {
            assert!(!is_grpc(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_prefix_is_judged_before_anything_is_allocated() {
        let judge = |prefix: [u8; 5]| take_all(&mut Assembler::new(100), &prefix).err();
        assert_eq!(judge([0, 0, 0, 0, 101]), Some(FramingError::TooLarge { size: 101, limit: 100 }));
        assert_eq!(
            judge([0, 255, 255, 255, 255]).unwrap().status(Incoming::Request).code(),
            Code::ResourceExhausted
        );
        assert_eq!(judge([2, 0, 0, 0, 0]), Some(FramingError::BadFlag(2)));
        assert_eq!(judge([1, 0, 0, 0, 0]), Some(FramingError::Compressed));
        let mut assembler = Assembler::new(usize::MAX);
        assert_eq!(take_all(&mut assembler, &[0, 255, 255, 255, 255, 7]), Ok(vec![]));
        assert_eq!(assembler.lacking(), u32::MAX as usize - 1);
        assert!(
            matches!(&assembler.state, State::Body { buffer, .. } if buffer.capacity() <= FIRST_CAPACITY)
        );
        assert!(!assembler.at_boundary());
    }

    #[test]
    fn a_message_above_the_send_limit_leaves_no_trace() {
        let mut out = b"before".to_vec();
        let five = Bytes::from_static(b"12345");
        let status = encode(&mut BytesEncoder, five, Packing::plain(4), &mut out).unwrap_err();
        assert_eq!((status.code(), &out[..]), (Code::ResourceExhausted, &b"before"[..]));
        assert!(status.message().contains("max_encoding_message_size"), "{status}");
    }
}
