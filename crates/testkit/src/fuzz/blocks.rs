//! Field blocks as a connection reads them: over HEADERS and CONTINUATION, cut anywhere, remembered when they repeat. What the
//! program is shown is what a plain decoder makes of the same blocks. RFC 9113 §4.3, RFC 7541.

use std::io::IoSlice;

use clearway_http2::connection::PREFACE;
use clearway_http2::frame::{Flags, FrameHeader, Kind};
use clearway_http2::hpack::{Decoder, FieldSection};
use clearway_http2::{
    Chunk, Config, Connection, ErrorCode, Handler, Instant, RequestHead, Reset, SlotFate, StreamKey, Tx,
    Violation,
};

use super::Input;
use super::hpack::UNLIMITED;
use crate::frames::{settings, settings_ack};

/// Fewer blocks than resets are allowed at once.
const MOST_BLOCKS: usize = 400;

type Fields = Vec<(Vec<u8>, Vec<u8>, bool)>;

/// What the program was shown of the last block.
#[derive(Debug, Default)]
struct Shown {
    request: Option<(StreamKey, Fields)>,
    oversize: Option<(StreamKey, usize)>,
}

impl Handler for Shown {
    fn on_request(&mut self, tx: &mut Tx, stream: StreamKey, head: &RequestHead<'_>, _: bool) {
        assert!(tx.stream_id(stream).is_some());
        let path = head.fields.iter().find(|field| field.name == b":path");
        assert_eq!(path.map_or(&[][..], |field| field.value), head.path);
        self.request = Some((stream, fields(head.fields)));
    }

    fn on_oversize_request(&mut self, _: &mut Tx, stream: StreamKey, octets: usize) {
        self.oversize = Some((stream, octets));
    }

    fn on_data(&mut self, _: &mut Tx, _: StreamKey, _: Chunk<'_>, _: bool) {
        panic!("nobody sent DATA");
    }

    fn on_reset(&mut self, _: &mut Tx, stream: StreamKey, reset: Reset) -> SlotFate {
        panic!("the request of {stream:?} was shown, and then refused: {reset:?}");
    }
}

fn fields(section: &FieldSection) -> Fields {
    section.iter().map(|field| (field.name.to_vec(), field.value.to_vec(), field.sensitive)).collect()
}

/// Blocks, new ones and ones that came before, each on a stream of its own.
///
/// # Panics
/// If the connection and a plain decoder do not agree.
pub fn field_blocks(octets: &[u8]) {
    let mut input = Input::new(octets);
    let (now, mut shown) = (Instant::ZERO, Shown::default());
    let mut server = Connection::server(Config::default(), now);
    let handshake = [PREFACE.to_vec(), settings(&[]).wire(&[]), settings_ack().wire(&[])].concat();
    assert_eq!(server.recv(now, &handshake, &mut shown), Ok(handshake.len()));
    let (mut decoder, mut section) = (Decoder::new(4096), FieldSection::default());
    let mut seen: Vec<&[u8]> = Vec::new();
    for number in 0..MOST_BLOCKS {
        if input.is_empty() {
            return;
        }
        let choice = input.octet();
        let block = if choice & 1 == 0 || seen.is_empty() {
            seen.push(input.string());
            seen[seen.len() - 1]
        } else {
            seen[input.below(seen.len())]
        };
        let wire = frames(number as u32 * 2 + 1, block, &mut input, choice);
        let verdict = decoder.decode(block, &UNLIMITED, &mut section);
        let piece = if choice & 8 == 0 { wire.len() } else { usize::from(choice >> 4) + 1 };
        for piece in wire.chunks(piece) {
            match server.recv(now, piece, &mut shown) {
                Ok(taken) => assert_eq!(taken, piece.len()),
                Err(error) => {
                    assert_eq!((error.violation, verdict.is_err()), (Violation::Compression, true));
                    return;
                }
            }
            server.check();
        }
        assert_eq!(verdict, Ok(()), "the connection took what the decoder did not");
        judge(&mut server, &mut shown, &section);
        write_all(&mut server, &mut shown);
    }
}

/// HEADERS and up to three CONTINUATION frames.
fn frames(stream_id: u32, block: &[u8], input: &mut Input<'_>, choice: u8) -> Vec<u8> {
    let (mut wire, mut rest, mut kind) = (Vec::new(), block, Kind::HEADERS);
    let cuts = usize::from(choice >> 1) & 3;
    for left in (0..=cuts).rev() {
        let at = if left == 0 { rest.len() } else { input.below(rest.len() + 1) };
        let (fragment, tail) = rest.split_at(at);
        rest = tail;
        let end_stream = if kind == Kind::HEADERS { Flags::END_STREAM } else { Flags::default() };
        let flags = if left == 0 { end_stream | Flags::END_HEADERS } else { end_stream };
        let length = fragment.len() as u32;
        wire.extend_from_slice(&FrameHeader { length, kind, flags, stream_id }.encode());
        wire.extend_from_slice(fragment);
        kind = Kind::CONTINUATION;
    }
    wire
}

/// The program was shown just what is in the section, or nothing; the stream is put away.
fn judge(server: &mut Connection, shown: &mut Shown, section: &FieldSection) {
    let Shown { request, oversize } = core::mem::take(shown);
    let stream = match (request, oversize) {
        (None, None) => return,
        (Some((stream, found)), None) => {
            assert_eq!(found, fields(section));
            stream
        }
        (None, Some((stream, octets))) => {
            assert_eq!(octets, section.list_octets());
            stream
        }
        both => panic!("a request and no request: {both:?}"),
    };
    server.tx(Instant::ZERO).reset(stream, ErrorCode::CANCEL);
}

fn write_all(server: &mut Connection, shown: &mut Shown) {
    server.transmit(Instant::ZERO, shown);
    while server.pending_output() > 0 {
        let mut slices = [IoSlice::new(&[]); 8];
        let filled = server.output(&mut slices);
        let octets = slices[..filled].iter().map(|slice| slice.len()).sum();
        server.wrote(octets);
    }
}
