//! PRIORITY: advice about order, deprecated; read and ignored. RFC 9113 §6.3, RFC 7540 §5.3.
//!
//! ```text
//!  Exclusive (1) | Stream Dependency (31) | Weight (8)
//! ```

use super::{Flags, FrameHeader, Kind, write_frame};
use crate::error::Violation;

/// The fields PRIORITY and HEADERS share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PriorityParams {
    /// The stream this one depends on.
    pub dependency: u32,
    /// Whether it shall be the only one to do so.
    pub exclusive: bool,
    /// 1 to 256; on the wire one less.
    pub weight: u16,
}

impl PriorityParams {
    /// Octets on the wire.
    pub const OCTETS: usize = 5;

    /// Reads the fields.
    #[must_use]
    pub fn decode(octets: [u8; 5]) -> Self {
        let [d0, d1, d2, d3, weight] = octets;
        Self {
            dependency: u32::from_be_bytes([d0 & 0x7f, d1, d2, d3]),
            exclusive: d0 & 0x80 != 0,
            weight: u16::from(weight).saturating_add(1),
        }
    }

    /// Writes the fields.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let exclusive = if self.exclusive { 0x8000_0000 } else { 0 };
        out.extend_from_slice(&((self.dependency & 0x7fff_ffff) | exclusive).to_be_bytes());
        out.push(u8::try_from(self.weight.saturating_sub(1)).unwrap_or(u8::MAX));
    }
}

/// A PRIORITY frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Priority {
    /// The stream; never 0.
    pub stream_id: u32,
    /// What it asks for.
    pub params: PriorityParams,
}

impl Priority {
    /// Reads a frame.
    ///
    /// # Errors
    /// The rule it breaks; a length other than 5 is an error of the stream.
    pub fn decode(header: FrameHeader, payload: &[u8]) -> Result<Self, Violation> {
        let stream_id = super::on_stream(header)?;
        let octets = payload.try_into().map_err(|_| Violation::PrioritySize)?;
        let params = PriorityParams::decode(octets);
        if params.dependency == stream_id {
            return Err(Violation::SelfDependency);
        }
        Ok(Self { stream_id, params })
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_frame(Kind::PRIORITY, Flags::default(), self.stream_id, out, |out| self.params.encode(out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_is_one_more_than_on_the_wire() {
        let params = PriorityParams::decode([0x80, 0, 0, 3, 255]);
        assert_eq!(params, PriorityParams { dependency: 3, exclusive: true, weight: 256 });
        let mut out = Vec::new();
        params.encode(&mut out);
        assert_eq!(out, [0x80, 0, 0, 3, 255]);
    }

    #[test]
    fn a_stream_cannot_depend_on_itself() {
        let header = FrameHeader { length: 5, kind: Kind::PRIORITY, flags: Flags::default(), stream_id: 3 };
        assert_eq!(Priority::decode(header, &[0, 0, 0, 3, 0]), Err(Violation::SelfDependency));
        assert_eq!(Priority::decode(header, &[0, 0, 0, 3]), Err(Violation::PrioritySize));
    }
}
