//! SETTINGS: what a side asks of the other. RFC 9113 §6.5.
//!
//! ```text
//!  { Identifier (16) | Value (32) } ...
//! ```

use core::fmt;

use super::{Flags, FrameHeader, Kind, MAX_MAX_FRAME_SIZE, MIN_MAX_FRAME_SIZE, write_frame};
use crate::error::Violation;

/// A setting's identifier; open, unknown ones are ignored (§6.5.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SettingId(pub u16);

impl SettingId {
    /// Octets of HPACK dynamic table the sender's decoder allows.
    pub const HEADER_TABLE_SIZE: Self = Self(1);
    /// Whether pushes are allowed.
    pub const ENABLE_PUSH: Self = Self(2);
    /// Streams the sender allows its peer to have open.
    pub const MAX_CONCURRENT_STREAMS: Self = Self(3);
    /// Window of new streams, in octets.
    pub const INITIAL_WINDOW_SIZE: Self = Self(4);
    /// Largest frame payload the sender reads.
    pub const MAX_FRAME_SIZE: Self = Self(5);
    /// Largest field section the sender wants.
    pub const MAX_HEADER_LIST_SIZE: Self = Self(6);
    /// RFC 8441: extended CONNECT.
    pub const ENABLE_CONNECT_PROTOCOL: Self = Self(8);
    /// RFC 9218: the old priorities are not used.
    pub const NO_RFC7540_PRIORITIES: Self = Self(9);
}

impl fmt::Display for SettingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::HEADER_TABLE_SIZE => "HEADER_TABLE_SIZE",
            Self::ENABLE_PUSH => "ENABLE_PUSH",
            Self::MAX_CONCURRENT_STREAMS => "MAX_CONCURRENT_STREAMS",
            Self::INITIAL_WINDOW_SIZE => "INITIAL_WINDOW_SIZE",
            Self::MAX_FRAME_SIZE => "MAX_FRAME_SIZE",
            Self::MAX_HEADER_LIST_SIZE => "MAX_HEADER_LIST_SIZE",
            Self::ENABLE_CONNECT_PROTOCOL => "ENABLE_CONNECT_PROTOCOL",
            Self::NO_RFC7540_PRIORITIES => "NO_RFC7540_PRIORITIES",
            Self(other) => return write!(f, "UNKNOWN({other:#06x})"),
        };
        f.write_str(name)
    }
}

impl fmt::Debug for SettingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A SETTINGS frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settings<'a> {
    /// The acknowledgement of the other side's SETTINGS.
    Ack,
    /// Values, to be applied in order.
    Values(SettingsValues<'a>),
}

impl<'a> Settings<'a> {
    /// Reads a frame. Values are not judged here; see [`check_setting`].
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn decode(header: FrameHeader, payload: &'a [u8]) -> Result<Self, Violation> {
        super::on_connection(header)?;
        match (header.flags.contains(Flags::ACK), payload.len()) {
            (true, 0) => Ok(Self::Ack),
            (false, octets) if octets % 6 == 0 => Ok(Self::Values(SettingsValues { rest: payload })),
            _ => Err(Violation::FrameSize),
        }
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ack => write_frame(Kind::SETTINGS, Flags::ACK, 0, out, |_| {}),
            Self::Values(values) => {
                write_frame(Kind::SETTINGS, Flags::default(), 0, out, |out| {
                    out.extend_from_slice(values.rest);
                });
            }
        }
    }
}

/// The values of a SETTINGS frame, in order; a setting may be named twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SettingsValues<'a> {
    rest: &'a [u8],
}

impl SettingsValues<'_> {
    /// How many are left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rest.len() / 6
    }

    /// True if none is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

impl Iterator for SettingsValues<'_> {
    type Item = (SettingId, u32);

    fn next(&mut self) -> Option<Self::Item> {
        let ([i0, i1, v0, v1, v2, v3], rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some((SettingId(u16::from_be_bytes([*i0, *i1])), u32::from_be_bytes([*v0, *v1, *v2, *v3])))
    }
}

/// Whether a value is legal (§6.5.2). Unknown settings are.
///
/// # Errors
/// The rule the value breaks.
pub fn check_setting(id: SettingId, value: u32, from_server: bool) -> Result<(), Violation> {
    match id {
        SettingId::ENABLE_PUSH if value > u32::from(!from_server) => Err(Violation::SettingEnablePush),
        SettingId::INITIAL_WINDOW_SIZE if value > 0x7fff_ffff => Err(Violation::SettingInitialWindow),
        SettingId::MAX_FRAME_SIZE if !(MIN_MAX_FRAME_SIZE..=MAX_MAX_FRAME_SIZE).contains(&value) => {
            Err(Violation::SettingMaxFrameSize)
        }
        SettingId::ENABLE_CONNECT_PROTOCOL if value > 1 => Err(Violation::SettingConnectProtocol),
        _ => Ok(()),
    }
}

/// Appends a SETTINGS frame with `values` to `out`.
pub fn encode_settings(values: &[(SettingId, u32)], out: &mut Vec<u8>) {
    write_frame(Kind::SETTINGS, Flags::default(), 0, out, |out| {
        for (id, value) in values {
            out.extend_from_slice(&id.0.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_judged_by_who_sent_them() {
        assert!(check_setting(SettingId::ENABLE_PUSH, 1, false).is_ok());
        assert_eq!(check_setting(SettingId::ENABLE_PUSH, 1, true), Err(Violation::SettingEnablePush));
        assert_eq!(check_setting(SettingId::ENABLE_PUSH, 2, false), Err(Violation::SettingEnablePush));
        assert!(check_setting(SettingId::INITIAL_WINDOW_SIZE, 0x7fff_ffff, true).is_ok());
        assert!(check_setting(SettingId::INITIAL_WINDOW_SIZE, 0x8000_0000, true).is_err());
        for (value, legal) in [(16_383, false), (16_384, true), (16_777_215, true), (16_777_216, false)] {
            assert_eq!(check_setting(SettingId::MAX_FRAME_SIZE, value, true).is_ok(), legal);
        }
        assert!(check_setting(SettingId(0xbeef), u32::MAX, true).is_ok());
    }

    #[test]
    fn an_ack_is_empty_and_values_come_in_sixes() {
        let header = |length, flags| FrameHeader { length, kind: Kind::SETTINGS, flags, stream_id: 0 };
        assert_eq!(Settings::decode(header(0, Flags::ACK), &[]), Ok(Settings::Ack));
        assert_eq!(Settings::decode(header(6, Flags::ACK), &[0; 6]), Err(Violation::FrameSize));
        assert_eq!(Settings::decode(header(7, Flags::default()), &[0; 7]), Err(Violation::FrameSize));
        let mut out = Vec::new();
        encode_settings(&[(SettingId::ENABLE_PUSH, 0), (SettingId::ENABLE_PUSH, 1)], &mut out);
        let Ok(Settings::Values(values)) = Settings::decode(header(12, Flags::default()), &out[9..]) else {
            panic!("not values");
        };
        assert_eq!(values.len(), 2);
        assert_eq!(values.collect::<Vec<_>>(), [(SettingId::ENABLE_PUSH, 0), (SettingId::ENABLE_PUSH, 1)]);
    }
}
