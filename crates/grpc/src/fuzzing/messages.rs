//! Length-prefixed messages: any octets, cut anywhere, are the same messages and the same verdict, and what is framed (and
//! compressed, by every algorithm there is) is taken apart again.

use bytes::{Buf as _, Bytes};

use crate::Code;
use crate::codec::compression::{Packing, Unpacking};
use crate::codec::{BytesEncoder, CompressionEncoding, DecodeBuf};
use crate::framing::{Assembler, FramingError, Incoming, PREFIX, encode};

/// The largest message that is accepted here.
const LIMIT: usize = 2_000;

/// Every way to compress, none among them.
const ENCODINGS: &[Option<CompressionEncoding>] = &[
    None,
    #[cfg(feature = "gzip")]
    Some(CompressionEncoding::Gzip),
    #[cfg(feature = "deflate")]
    Some(CompressionEncoding::Deflate),
    #[cfg(feature = "zstd")]
    Some(CompressionEncoding::Zstd),
];

/// How to cut, and then what is cut.
pub fn messages(octets: &[u8]) {
    let [number, rest @ ..] = octets else { return };
    let (cuts, wire) = rest.split_at(usize::from(number & 15).min(rest.len()));
    for encoding in ENCODINGS.iter().map(|encoding| encoding.map(|encoding| encoding.with_threshold(0))) {
        let whole = take(core::iter::once(wire), wire.len(), encoding);
        assert_eq!(take(cut(wire, cuts), wire.len(), encoding), whole, "cuts {cuts:?}");
        there_and_back(cuts, wire, encoding);
    }
}

/// Pieces as long as `cuts` say, over and over; without a word, of one octet each.
fn cut<'a>(wire: &'a [u8], cuts: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = cuts.iter().cycle();
    let mut rest = wire;
    core::iter::from_fn(move || {
        let length = usize::from(*lengths.next().unwrap_or(&1)).clamp(1, rest.len().max(1));
        let (piece, left) = rest.split_at_checked(length)?;
        rest = left;
        Some(piece)
    })
}

/// What was compressed by gzip, whatever it is.
#[cfg(feature = "gzip")]
pub fn gzip(octets: &[u8]) {
    inflated(CompressionEncoding::Gzip, octets);
    joined(CompressionEncoding::Gzip, octets);
}

/// By deflate: the zlib format or a bare stream.
#[cfg(feature = "deflate")]
pub fn deflate(octets: &[u8]) {
    inflated(CompressionEncoding::Deflate, octets);
}

/// By Zstandard.
#[cfg(feature = "zstd")]
pub fn zstd(octets: &[u8]) {
    inflated(CompressionEncoding::Zstd, octets);
    joined(CompressionEncoding::Zstd, octets);
}

/// It is read within the limit or refused with the right code.
#[cfg(any(feature = "gzip", feature = "deflate", feature = "zstd"))]
fn inflated(encoding: CompressionEncoding, octets: &[u8]) {
    let [small, octets @ ..] = octets else { return };
    let limit = if small % 2 == 0 { LIMIT } else { usize::from(*small) };
    let unpacking = Unpacking { from: Incoming::Request, limit, encoding: Some(encoding) };
    match unpacking.open(DecodeBuf::borrowed(octets).flagged(true)) {
        Ok(message) => assert!(message.remaining() <= limit),
        Err(status) => assert!(matches!(status.code(), Code::Internal | Code::ResourceExhausted), "{status}"),
    }
    let mut once = Vec::new();
    encoding.algorithm().compress(octets, &mut once).unwrap();
    let all = Unpacking { limit: octets.len(), ..unpacking };
    if !once.is_empty() {
        let read = all.open(DecodeBuf::borrowed(&once).flagged(true)).unwrap();
        assert_eq!(read.into_message().octets, octets);
    }
}

/// Two of its wholes, one behind the other, are one message, and count together.
#[cfg(any(feature = "gzip", feature = "zstd"))]
fn joined(encoding: CompressionEncoding, octets: &[u8]) {
    let mut twice = Vec::new();
    for _ in 0..2 {
        encoding.algorithm().compress(octets, &mut twice).unwrap();
    }
    let size = octets.len() * 2;
    let all = Unpacking { from: Incoming::Request, limit: size, encoding: Some(encoding) };
    let read = all.open(DecodeBuf::borrowed(&twice).flagged(true)).unwrap();
    assert_eq!(read.into_message().octets, [octets, octets].concat());
    if let Some(less) = size.checked_sub(1) {
        let tight = Unpacking { limit: less, ..all };
        let refused = tight.open(DecodeBuf::borrowed(&twice).flagged(true)).unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
    }
}

/// The messages, how it went wrong, and how many octets of an unfinished one there were.
type Taken = (Vec<Result<Vec<u8>, Code>>, Option<FramingError>, usize);

fn take<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    most: usize,
    encoding: Option<CompressionEncoding>,
) -> Taken {
    let unpacking = Unpacking { from: Incoming::Response, limit: LIMIT, encoding };
    let mut assembler = Assembler::new(LIMIT);
    assembler.agreed(encoding.is_some());
    let (mut messages, mut octets) = (Vec::new(), 0);
    for mut piece in pieces {
        loop {
            match assembler.next(&mut piece) {
                Ok(Some(message)) => {
                    octets += message.remaining() + PREFIX;
                    messages.push(open(unpacking, message));
                }
                Ok(None) => break,
                Err(error) => return (messages, Some(error), 0),
            }
        }
        assert!(piece.is_empty(), "octets are left over");
        assert!(assembler.lacking() <= LIMIT && (assembler.lacking() == 0 || !assembler.at_boundary()));
    }
    let (at_boundary, left) = (assembler.at_boundary(), assembler.abandon());
    assert_eq!((octets + left, at_boundary), (most, left == 0), "an octet is lost");
    (messages, None, left)
}

fn open(unpacking: Unpacking, message: DecodeBuf<'_>) -> Result<Vec<u8>, Code> {
    let opened = unpacking.open(message).map_err(|status| status.code())?;
    assert!(opened.remaining() <= LIMIT);
    Ok(opened.into_message().octets.to_vec())
}

/// What is sent as messages of these sizes arrives as those.
fn there_and_back(sizes: &[u8], content: &[u8], encoding: Option<CompressionEncoding>) {
    let (mut rest, mut sent, mut wire) = (content, Vec::new(), Vec::new());
    let packing = Packing { limit: LIMIT, encoding };
    for size in sizes {
        // Some of them repeat themselves, so that there is something to compress.
        let (message, tail) = rest.split_at(usize::from(*size).min(rest.len()));
        rest = if size % 3 == 0 { rest } else { tail };
        let message = message.repeat(usize::from(size % 5) + 1);
        encode(&mut BytesEncoder, Bytes::from(message.clone()), packing, &mut wire).unwrap();
        sent.push(Ok(message));
    }
    assert_eq!(take(cut(&wire, sizes), wire.len(), encoding), (sent, None, 0));
}
