//! DATA: content of a stream. RFC 9113 §6.1.
//!
//! ```text
//!  [Pad Length (8)] | Data | [Padding]
//! ```
//!
//! The connection hands DATA on in pieces as it arrives, so it splits a frame by [`DataLayout`] before all of it is there;
//! [`Data`] is for whole frames.

use super::{Flags, FrameHeader, Kind, padding, write_frame};
use crate::error::Violation;

/// A whole DATA frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Data<'a> {
    /// The stream; never 0.
    pub stream_id: u32,
    /// The content.
    pub data: &'a [u8],
    /// How many octets of padding; `Some(0)` is a pad length of zero, which costs an octet.
    pub padding: Option<u8>,
    /// The sender says no more on this stream.
    pub end_stream: bool,
}

impl<'a> Data<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn decode(header: FrameHeader, payload: &'a [u8]) -> Result<Self, Violation> {
        let stream_id = super::on_stream(header)?;
        let (data, padding) = padding::split(header, payload)?;
        Ok(Self { stream_id, data, padding, end_stream: header.flags.contains(Flags::END_STREAM) })
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let end = if self.end_stream { Flags::END_STREAM } else { Flags::default() };
        write_frame(Kind::DATA, end | padding::flag(self.padding), self.stream_id, out, |out| {
            padding::write(self.padding, out, |out| out.extend_from_slice(self.data));
        });
    }
}

/// How the payload of a DATA frame divides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataLayout {
    /// Octets of content.
    pub data: u32,
    /// Octets of padding after it, without the pad length octet before it.
    pub padding: u32,
}

impl DataLayout {
    /// The layout of a padded frame of `length` octets whose first payload octet is `pad_length`.
    ///
    /// # Errors
    /// [`Violation::PaddingTooLong`] if the padding leaves no room for itself (§6.1).
    pub fn padded(length: u32, pad_length: u8) -> Result<Self, Violation> {
        let padding = u32::from(pad_length);
        let data = length.checked_sub(1).and_then(|rest| rest.checked_sub(padding));
        Ok(Self { data: data.ok_or(Violation::PaddingTooLong)?, padding })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_as_long_as_the_payload_is_refused() {
        assert_eq!(DataLayout::padded(4, 3), Ok(DataLayout { data: 0, padding: 3 }));
        assert_eq!(DataLayout::padded(4, 4), Err(Violation::PaddingTooLong));
        assert_eq!(DataLayout::padded(0, 0), Err(Violation::PaddingTooLong));
        let header = FrameHeader { length: 4, kind: Kind::DATA, flags: Flags::PADDED, stream_id: 1 };
        assert_eq!(Data::decode(header, &[4, 0, 0, 0]), Err(Violation::PaddingTooLong));
        assert_eq!(Data::decode(header, &[2, 9, 0, 0]).unwrap().data, [9]);
    }
}
