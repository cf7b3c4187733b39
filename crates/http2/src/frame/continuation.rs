//! CONTINUATION: more of a field block. RFC 9113 §6.10.

use super::{Flags, FrameHeader, Kind, write_frame};
use crate::error::Violation;

/// A CONTINUATION frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Continuation<'a> {
    /// The stream; never 0.
    pub stream_id: u32,
    /// The next part of the field block.
    pub fragment: &'a [u8],
    /// It is the last part.
    pub end_headers: bool,
}

impl<'a> Continuation<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn decode(header: FrameHeader, payload: &'a [u8]) -> Result<Self, Violation> {
        let stream_id = super::on_stream(header)?;
        Ok(Self { stream_id, fragment: payload, end_headers: header.flags.contains(Flags::END_HEADERS) })
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = if self.end_headers { Flags::END_HEADERS } else { Flags::default() };
        write_frame(Kind::CONTINUATION, flags, self.stream_id, out, |out| {
            out.extend_from_slice(self.fragment);
        });
    }
}
