//! GOAWAY: the end of a connection, announced. RFC 9113 §6.8.
//!
//! ```text
//!  Reserved (1) | Last-Stream-ID (31) | Error Code (32) | Additional Debug Data
//! ```

use super::{Flags, FrameHeader, Kind, write_frame};
use crate::error::{ErrorCode, Violation};

/// A GOAWAY frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GoAway<'a> {
    /// The last stream the sender has processed or may process.
    pub last_stream_id: u32,
    /// Why.
    pub code: ErrorCode,
    /// Untrusted octets of the sender's choosing.
    pub debug: &'a [u8],
}

impl<'a> GoAway<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn decode(header: FrameHeader, payload: &'a [u8]) -> Result<Self, Violation> {
        super::on_connection(header)?;
        let (last, rest) = payload.split_first_chunk::<4>().ok_or(Violation::FrameSize)?;
        let (code, debug) = rest.split_first_chunk::<4>().ok_or(Violation::FrameSize)?;
        let last_stream_id = u32::from_be_bytes(*last) & 0x7fff_ffff;
        Ok(Self { last_stream_id, code: ErrorCode(u32::from_be_bytes(*code)), debug })
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_frame(Kind::GOAWAY, Flags::default(), 0, out, |out| {
            out.extend_from_slice(&(self.last_stream_id & 0x7fff_ffff).to_be_bytes());
            out.extend_from_slice(&self.code.0.to_be_bytes());
            out.extend_from_slice(self.debug);
        });
    }
}
