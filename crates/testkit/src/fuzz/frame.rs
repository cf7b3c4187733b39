//! One frame of each type: whatever comes is refused or read, and what is read can be written. RFC 9113 §4, §6.

use clearway_http2::frame::{Flags, Frame, FrameHeader, Kind};

use super::Input;

/// A frame: its type, flags and stream, and then its payload.
///
/// # Panics
/// If what decodes does not encode to a frame of the same length that decodes to the same.
pub fn frame(octets: &[u8]) {
    let mut input = Input::new(octets);
    let (kind, flags, on_stream) = (input.octet(), input.octet(), input.octet());
    let stream_id = if on_stream < 4 { u32::from(on_stream) } else { input.word() & 0x7fff_ffff };
    let payload = input.rest();
    let length = payload.len() as u32;
    let header = FrameHeader { length, kind: Kind(kind), flags: Flags(flags), stream_id };
    assert_eq!(FrameHeader::decode(header.encode()), header);
    let Ok(frame) = Frame::decode(header, payload) else { return };
    let mut out = b"before".to_vec();
    frame.encode(&mut out);
    let (head, again) = out[6..].split_first_chunk().expect("a frame has a header");
    let read = FrameHeader::decode(*head);
    assert_eq!((read.length, read.kind, read.stream_id), (length, header.kind, stream_id));
    assert_eq!(Frame::decode(read, again), Ok(frame));
    // A second time it is the same octets: what was left out (reserved bits, unused flags, padding) stays out.
    let mut twice = Vec::new();
    Frame::decode(read, again).expect("just decoded").encode(&mut twice);
    assert_eq!(twice, out[6..]);
}
