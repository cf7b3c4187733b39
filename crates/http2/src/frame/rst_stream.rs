//! RST_STREAM: the end of a stream, at once. RFC 9113 §6.4. Four octets of error code.

use super::{Flags, FrameHeader, Kind, write_frame};
use crate::error::{ErrorCode, Violation};

/// An RST_STREAM frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RstStream {
    /// The stream; never 0.
    pub stream_id: u32,
    /// Why.
    pub code: ErrorCode,
}

impl RstStream {
    /// Reads a frame.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn decode(header: FrameHeader, payload: &[u8]) -> Result<Self, Violation> {
        let stream_id = super::on_stream(header)?;
        let code = payload.try_into().map_err(|_| Violation::FrameSize)?;
        Ok(Self { stream_id, code: ErrorCode(u32::from_be_bytes(code)) })
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_frame(Kind::RST_STREAM, Flags::default(), self.stream_id, out, |out| {
            out.extend_from_slice(&self.code.0.to_be_bytes());
        });
    }
}
