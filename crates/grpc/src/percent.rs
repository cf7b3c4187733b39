//! The percent-encoding of `grpc-message` (gRPC over HTTP/2, "Status-Message").
//!
//! Octets outside 0x20-0x7E and `%` itself travel as `%XX`. Decoding never fails and never discards: a broken escape stays
//! as it is, and octets that are not UTF-8 are replaced, because a status must survive a careless peer.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

/// What must be escaped: controls, `%`, and (always, in this crate's sets) everything that is not ASCII.
const ESCAPED: AsciiSet = CONTROLS.add(b'%');

/// Encodes a message for the wire.
pub(crate) fn encode(message: &str) -> Cow<'_, str> {
    utf8_percent_encode(message, &ESCAPED).into()
}

/// Decodes a message from the wire.
pub(crate) fn decode(value: &[u8]) -> String {
    percent_decode(value).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_ascii_but_percent_stays() {
        for octet in 0u8..0x80 {
            let text = char::from(octet).to_string();
            let plain = matches!(octet, 0x20..=0x7e) && octet != b'%';
            assert_eq!(encode(&text) == text, plain, "{octet:#x}");
            assert_eq!(decode(encode(&text).as_bytes()), text);
        }
        assert_eq!(
            encode("\t\ntest with whitespace\r\nand Unicode BMP ☺"),
            "%09%0Atest with whitespace%0D%0Aand Unicode BMP %E2%98%BA"
        );
    }

    #[test]
    fn broken_input_survives() {
        assert_eq!(decode(b"100%"), "100%");
        assert_eq!(decode(b"%zz%4"), "%zz%4");
        assert_eq!(decode(b"a%FFb"), "a\u{fffd}b");
        assert_eq!(decode(&[0xe2, 0x98, 0xba]), "☺");
    }
}
