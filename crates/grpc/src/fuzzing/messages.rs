//! Length-prefixed messages: any octets, cut anywhere, are the same messages and the same verdict, and what is framed is taken
//! apart again.

use bytes::Bytes;

use crate::codec::BytesEncoder;
use crate::framing::{Assembler, FramingError, PREFIX, encode};

/// The largest message that is accepted here.
const LIMIT: usize = 2_000;

/// How to cut, and then what is cut.
pub fn messages(octets: &[u8]) {
    let [number, rest @ ..] = octets else { return };
    let (cuts, wire) = rest.split_at(usize::from(number & 15).min(rest.len()));
    let whole = take(core::iter::once(wire), wire.len());
    assert_eq!(take(cut(wire, cuts), wire.len()), whole, "cuts {cuts:?}");
    there_and_back(cuts, wire);
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

/// The messages, how it went wrong, and how many octets of an unfinished one there were.
type Taken = (Vec<Vec<u8>>, Option<FramingError>, usize);

fn take<'a>(pieces: impl Iterator<Item = &'a [u8]>, most: usize) -> Taken {
    let mut assembler = Assembler::new(LIMIT);
    let mut messages: Vec<Vec<u8>> = Vec::new();
    for mut piece in pieces {
        loop {
            match assembler.next(&mut piece) {
                Ok(Some(message)) => messages.push(message.into_bytes().to_vec()),
                Ok(None) => break,
                Err(error) => return (messages, Some(error), 0),
            }
        }
        assert!(piece.is_empty(), "octets are left over");
        assert!(assembler.lacking() <= LIMIT && (assembler.lacking() == 0 || !assembler.at_boundary()));
    }
    let octets: usize = messages.iter().map(|message| message.len() + PREFIX).sum();
    let (at_boundary, left) = (assembler.at_boundary(), assembler.abandon());
    assert_eq!((octets + left, at_boundary), (most, left == 0), "an octet is lost");
    (messages, None, left)
}

/// What is sent as messages of these sizes arrives as those.
fn there_and_back(sizes: &[u8], content: &[u8]) {
    let mut rest = content;
    let mut sent = Vec::new();
    let mut wire = Vec::new();
    for size in sizes {
        let (message, tail) = rest.split_at(usize::from(*size).min(rest.len()));
        rest = tail;
        encode(&mut BytesEncoder, Bytes::copy_from_slice(message), LIMIT, &mut wire).unwrap();
        sent.push(message.to_vec());
    }
    assert_eq!(take(cut(&wire, sizes), wire.len()), (sent, None, 0));
}
