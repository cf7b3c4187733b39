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
    let encoded: Cow<'_, str> = utf8_percent_encode(message, &ESCAPED).into();
    // RFC 9113 §8.2.1: a field value with a space at either end is malformed.
    match (encoded.starts_with(' '), encoded.ends_with(' ')) {
        (false, false) => encoded,
        (first, last) => {
            let inner = encoded.get(usize::from(first)..).unwrap_or_default();
            let inner = if last { inner.strip_suffix(' ').unwrap_or(inner) } else { inner };
            let space = |there: bool| if there { "%20" } else { "" };
            // A single space is first and last at once.
            let last = last && encoded.len() > 1;
            Cow::Owned(format!("{}{inner}{}", space(first), space(last)))
        }
    }
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
            let plain = matches!(octet, 0x21..=0x7e) && octet != b'%';
            assert_eq!(encode(&text) == text, plain, "{octet:#x}");
            assert_eq!(decode(encode(&text).as_bytes()), text);
        }
        assert_eq!(
            encode("\t\ntest with whitespace\r\nand Unicode BMP ☺"),
            "%09%0Atest with whitespace%0D%0Aand Unicode BMP %E2%98%BA"
        );
    }

    #[test]
    fn outer_spaces_are_escaped() {
        for (text, wire) in
            [(" ", "%20"), ("  ", "%20%20"), (" a ", "%20a%20"), ("a  b", "a  b"), ("a ", "a%20")]
        {
            assert_eq!(encode(text), wire);
            assert_eq!(decode(wire.as_bytes()), text);
        }
    }

    #[test]
    fn broken_input_survives() {
        assert_eq!(decode(b"100%"), "100%");
        assert_eq!(decode(b"%zz%4"), "%zz%4");
        assert_eq!(decode(b"a%FFb"), "a\u{fffd}b");
        assert_eq!(decode(&[0xe2, 0x98, 0xba]), "☺");
    }
}
