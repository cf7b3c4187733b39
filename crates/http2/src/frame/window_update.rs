//! WINDOW_UPDATE: credit. RFC 9113 §6.9. One reserved bit and 31 bits of increment.

use super::{Flags, FrameHeader, Kind, write_frame};
use crate::error::Violation;

/// A WINDOW_UPDATE frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowUpdate {
    /// The stream, or 0 for the connection.
    pub stream_id: u32,
    /// Octets of credit; 1 to 2^31 - 1.
    pub increment: u32,
}

impl WindowUpdate {
    /// Reads a frame.
    ///
    /// # Errors
    /// The rule it breaks; an increment of zero is one of the stream or of the connection.
    pub fn decode(header: FrameHeader, payload: &[u8]) -> Result<Self, Violation> {
        let stream_id = header.stream_id;
        let octets = payload.try_into().map_err(|_| Violation::FrameSize)?;
        match (u32::from_be_bytes(octets) & 0x7fff_ffff, stream_id) {
            (0, 0) => Err(Violation::ZeroIncrementOnConnection),
            (0, _) => Err(Violation::ZeroIncrementOnStream),
            (increment, _) => Ok(Self { stream_id, increment }),
        }
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_frame(Kind::WINDOW_UPDATE, Flags::default(), self.stream_id, out, |out| {
            out.extend_from_slice(&(self.increment & 0x7fff_ffff).to_be_bytes());
        });
    }
}
