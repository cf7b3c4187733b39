//! PING: eight octets, there and back. RFC 9113 §6.7.

use super::{Flags, FrameHeader, Kind, write_frame};
use crate::error::Violation;

/// A PING frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ping {
    /// It is the answer.
    pub ack: bool,
    /// What comes back unchanged.
    pub payload: [u8; 8],
}

impl Ping {
    /// Reads a frame.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn decode(header: FrameHeader, payload: &[u8]) -> Result<Self, Violation> {
        super::on_connection(header)?;
        let payload = payload.try_into().map_err(|_| Violation::FrameSize)?;
        Ok(Self { ack: header.flags.contains(Flags::ACK), payload })
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let flags = if self.ack { Flags::ACK } else { Flags::default() };
        write_frame(Kind::PING, flags, 0, out, |out| out.extend_from_slice(&self.payload));
    }
}
