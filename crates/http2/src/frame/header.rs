//! The nine octets in front of every frame. RFC 9113 §4.1.
//!
//! ```text
//!  Length (24) | Type (8) | Flags (8) | Reserved (1) | Stream Identifier (31)
//! ```
//!
//! Types and flags are open newtypes: what we do not know is legal, and is ignored by those who read it.

use core::fmt;
use core::ops::BitOr;

/// A frame type (RFC 9113 §6).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// §6.1.
    pub const DATA: Self = Self(0);
    /// §6.2.
    pub const HEADERS: Self = Self(1);
    /// §6.3.
    pub const PRIORITY: Self = Self(2);
    /// §6.4.
    pub const RST_STREAM: Self = Self(3);
    /// §6.5.
    pub const SETTINGS: Self = Self(4);
    /// §6.6.
    pub const PUSH_PROMISE: Self = Self(5);
    /// §6.7.
    pub const PING: Self = Self(6);
    /// §6.8.
    pub const GOAWAY: Self = Self(7);
    /// §6.9.
    pub const WINDOW_UPDATE: Self = Self(8);
    /// §6.10.
    pub const CONTINUATION: Self = Self(9);

    /// The RFC's name, if the type is known.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::DATA => "DATA",
            Self::HEADERS => "HEADERS",
            Self::PRIORITY => "PRIORITY",
            Self::RST_STREAM => "RST_STREAM",
            Self::SETTINGS => "SETTINGS",
            Self::PUSH_PROMISE => "PUSH_PROMISE",
            Self::PING => "PING",
            Self::GOAWAY => "GOAWAY",
            Self::WINDOW_UPDATE => "WINDOW_UPDATE",
            Self::CONTINUATION => "CONTINUATION",
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => f.pad(&format!("UNKNOWN({:#04x})", self.0)),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The flags of a frame; what a bit means depends on the type.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// DATA, HEADERS: the sender says no more on this stream.
    pub const END_STREAM: Self = Self(0x1);
    /// SETTINGS, PING: an acknowledgement.
    pub const ACK: Self = Self(0x1);
    /// HEADERS, PUSH_PROMISE, CONTINUATION: the field block ends here.
    pub const END_HEADERS: Self = Self(0x4);
    /// DATA, HEADERS, PUSH_PROMISE: there is padding.
    pub const PADDED: Self = Self(0x8);
    /// HEADERS: there are priority fields.
    pub const PRIORITY: Self = Self(0x20);

    /// True if all bits of `other` are set.
    #[must_use]
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}

/// A frame header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// Octets of payload; 24 bits on the wire.
    pub length: u32,
    /// What the payload is.
    pub kind: Kind,
    /// Bits whose meaning depends on the type.
    pub flags: Flags,
    /// The stream; 0 is the connection. 31 bits on the wire.
    pub stream_id: u32,
}

impl FrameHeader {
    /// Octets of a frame header.
    pub const OCTETS: usize = 9;

    /// Reads a header. The reserved bit is ignored, as it must be.
    #[must_use]
    #[inline]
    pub const fn decode(octets: [u8; 9]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = octets;
        Self {
            length: u32::from_be_bytes([l0, l1, l2, kind]) >> 8,
            kind: Kind(kind),
            flags: Flags(flags),
            stream_id: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
        }
    }

    /// Writes a header. Lengths of more than 24 bits do not exist; their high octet is lost.
    #[must_use]
    #[inline]
    pub const fn encode(self) -> [u8; 9] {
        // Two words and an octet between them: fewer steps than octet by octet.
        let [l0, l1, l2, kind] = ((self.length << 8) | self.kind.0 as u32).to_be_bytes();
        let [s0, s1, s2, s3] = (self.stream_id & 0x7fff_ffff).to_be_bytes();
        [l0, l1, l2, kind, self.flags.0, s0, s1, s2, s3]
    }

    /// The names of the flags that are set and mean something for this type, joined by ` | `; `-` if there are none.
    #[must_use]
    pub fn flag_names(&self) -> String {
        let meaningful: &[(Flags, &str)] = match self.kind {
            Kind::DATA => &[(Flags::END_STREAM, "END_STREAM"), (Flags::PADDED, "PADDED")],
            Kind::HEADERS => &[
                (Flags::END_STREAM, "END_STREAM"),
                (Flags::END_HEADERS, "END_HEADERS"),
                (Flags::PADDED, "PADDED"),
                (Flags::PRIORITY, "PRIORITY"),
            ],
            Kind::SETTINGS | Kind::PING => &[(Flags::ACK, "ACK")],
            Kind::PUSH_PROMISE => &[(Flags::END_HEADERS, "END_HEADERS"), (Flags::PADDED, "PADDED")],
            Kind::CONTINUATION => &[(Flags::END_HEADERS, "END_HEADERS")],
            _ => &[],
        };
        let names: Vec<_> =
            meaningful.iter().filter(|(flag, _)| self.flags.contains(*flag)).map(|(_, name)| *name).collect();
        if names.is_empty() { "-".to_owned() } else { names.join(" | ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_round_trip_and_lose_the_reserved_bit() {
        let octets = [0x12, 0x34, 0x56, 0x09, 0x2d, 0xff, 0x00, 0x00, 0x07];
        let header = FrameHeader::decode(octets);
        assert_eq!(header.length, 0x0012_3456);
        assert_eq!(header.stream_id, 0x7f00_0007);
        let mut without_reserved = octets;
        without_reserved[5] = 0x7f;
        assert_eq!(header.encode(), without_reserved);
    }

    #[test]
    fn names_are_the_rfcs() {
        assert_eq!(Kind::RST_STREAM.to_string(), "RST_STREAM");
        assert_eq!(Kind(0xbe).to_string(), "UNKNOWN(0xbe)");
        let header = FrameHeader { length: 0, kind: Kind::HEADERS, flags: Flags(0x05), stream_id: 1 };
        assert_eq!(header.flag_names(), "END_STREAM | END_HEADERS");
        assert_eq!(FrameHeader { kind: Kind::PING, ..header }.flag_names(), "ACK");
        assert_eq!(FrameHeader { kind: Kind::GOAWAY, ..header }.flag_names(), "-");
    }
}
