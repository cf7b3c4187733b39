//! PUSH_PROMISE: a request the server makes up. RFC 9113 §6.6. Read for logs and tests; connections refuse it.
//!
//! ```text
//!  [Pad Length (8)] | Reserved (1) | Promised Stream ID (31) | Field Block Fragment | [Padding]
//! ```

use super::{Flags, FrameHeader, Kind, padding, write_frame};
use crate::error::Violation;

/// A PUSH_PROMISE frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PushPromise<'a> {
    /// The stream it came on; never 0.
    pub stream_id: u32,
    /// The stream it announces.
    pub promised_stream_id: u32,
    /// The field block, or its first part.
    pub fragment: &'a [u8],
    /// How many octets of padding.
    pub padding: Option<u8>,
    /// No CONTINUATION follows.
    pub end_headers: bool,
}

impl<'a> PushPromise<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn decode(header: FrameHeader, payload: &'a [u8]) -> Result<Self, Violation> {
        let stream_id = super::on_stream(header)?;
        let (content, padding) = padding::split(header, payload)?;
        let (promised, fragment) =
            content.split_first_chunk::<4>().ok_or_else(|| padding::too_short(padding, payload, 4))?;
        let promised_stream_id = u32::from_be_bytes(*promised) & 0x7fff_ffff;
        let end_headers = header.flags.contains(Flags::END_HEADERS);
        Ok(Self { stream_id, promised_stream_id, fragment, padding, end_headers })
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let end = if self.end_headers { Flags::END_HEADERS } else { Flags::default() };
        write_frame(Kind::PUSH_PROMISE, end | padding::flag(self.padding), self.stream_id, out, |out| {
            padding::write(self.padding, out, |out| {
                out.extend_from_slice(&(self.promised_stream_id & 0x7fff_ffff).to_be_bytes());
                out.extend_from_slice(self.fragment);
            });
        });
    }
}
