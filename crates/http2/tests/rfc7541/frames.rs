//! The public frame data set: decode, compare, encode back. RFC 9113 §6.
//!
//! It lies with the HPACK corpora, so its test does too. Hex is upper case, `weight` is the value and not the octet, and
//! field blocks are plain text. Padding must be zero when sent (§6.1) and is text there: it is compared as zeros.

use std::fs;

use clearway_http2::frame::{Flags, Frame, FrameHeader, SettingId};
use serde_json::{Value, json};

/// The payload as the data set writes it, from what we decoded.
fn payload(frame: &Frame<'_>) -> Value {
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    match frame {
        Frame::Data(frame) => json!({"data": text(frame.data), "padding_length": frame.padding}),
        Frame::Headers(frame) => json!({
            "header_block_fragment": text(frame.fragment),
            "padding_length": frame.padding,
            "stream_dependency": frame.priority.map(|priority| priority.dependency),
            "weight": frame.priority.map(|priority| priority.weight),
            "exclusive": frame.priority.map(|priority| priority.exclusive),
        }),
        Frame::Priority(frame) => json!({
            "stream_dependency": frame.params.dependency,
            "weight": frame.params.weight,
            "exclusive": frame.params.exclusive,
            "padding_length": null,
        }),
        Frame::RstStream(frame) => json!({"error_code": frame.code.0}),
        Frame::Settings(clearway_http2::frame::Settings::Values(values)) => {
            let pairs: Vec<_> = values.map(|(SettingId(id), value)| json!([id, value])).collect();
            json!({"settings": pairs})
        }
        Frame::PushPromise(frame) => json!({
            "header_block_fragment": text(frame.fragment),
            "padding_length": frame.padding,
            "promised_stream_id": frame.promised_stream_id,
        }),
        Frame::Ping(frame) => json!({"opaque_data": text(&frame.payload)}),
        Frame::GoAway(frame) => json!({
            "error_code": frame.code.0,
            "additional_debug_data": text(frame.debug),
            "last_stream_id": frame.last_stream_id,
        }),
        Frame::WindowUpdate(frame) => json!({"window_size_increment": frame.increment}),
        Frame::Continuation(frame) => json!({"header_block_fragment": text(frame.fragment)}),
        other => panic!("no such frame in the data set: {other:?}"),
    }
}

#[test]
fn every_frame_of_the_data_set_decodes_and_encodes_back() {
    let Some(data) = crate::data_set("http2-frame-test-case") else { return };
    let mut frames = 0;
    for folder in fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir())
    {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let case: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            let mut wire = crate::octets(case["wire"].as_str().unwrap());
            let mut expected = case["frame"].clone();
            let (head, rest) = wire.split_first_chunk().unwrap();
            let header = FrameHeader::decode(*head);
            assert_eq!(expected["length"], header.length, "{}", path.display());
            assert_eq!(expected["type"], header.kind.0);
            assert_eq!(expected["flags"], header.flags.0);
            assert_eq!(expected["stream_identifier"], header.stream_id);
            let frame = Frame::decode(header, rest).unwrap();
            let padding = expected["frame_payload"].as_object_mut().unwrap().remove("padding");
            assert_eq!(payload(&frame), expected["frame_payload"], "{}", path.display());
            let mut out = Vec::new();
            frame.encode(&mut out);
            let padded = matches!(header.kind.0, 0 | 1 | 5) && header.flags.contains(Flags::PADDED);
            if let Some(text) = padding.as_ref().and_then(Value::as_str).filter(|_| padded) {
                let end = wire.len();
                wire[end - text.len()..].fill(0);
            }
            assert_eq!(out, wire, "{}", path.display());
            frames += 1;
        }
    }
    println!("{frames} frames decoded and encoded back");
    assert_eq!(frames, 12);
}
