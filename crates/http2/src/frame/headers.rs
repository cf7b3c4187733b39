//! HEADERS: the beginning of a field block, and often all of it. RFC 9113 §6.2.
//!
//! ```text
//!  [Pad Length (8)] | [Exclusive (1) | Stream Dependency (31) | Weight (8)] | Field Block Fragment | [Padding]
//! ```
//!
//! A stream that depends on itself is left to the connection: its field block must be decoded all the same.

use super::{Flags, FrameHeader, Kind, PriorityParams, padding, write_frame};
use crate::error::Violation;

/// A HEADERS frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Headers<'a> {
    /// The stream; never 0.
    pub stream_id: u32,
    /// The field block, or its first part.
    pub fragment: &'a [u8],
    /// Deprecated advice about order.
    pub priority: Option<PriorityParams>,
    /// How many octets of padding.
    pub padding: Option<u8>,
    /// The sender says no more on this stream after this section.
    pub end_stream: bool,
    /// No CONTINUATION follows.
    pub end_headers: bool,
}

impl<'a> Headers<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// The rule it breaks.
    #[inline]
    pub fn decode(header: FrameHeader, payload: &'a [u8]) -> Result<Self, Violation> {
        let stream_id = super::on_stream(header)?;
        let (content, padding) = padding::split(header, payload)?;
        let (priority, fragment) = if header.flags.contains(Flags::PRIORITY) {
            let (octets, fragment) = content
                .split_first_chunk::<{ PriorityParams::OCTETS }>()
                .ok_or_else(|| padding::too_short(padding, payload, PriorityParams::OCTETS))?;
            (Some(PriorityParams::decode(*octets)), fragment)
        } else {
            (None, content)
        };
        Ok(Self {
            stream_id,
            fragment,
            priority,
            padding,
            end_stream: header.flags.contains(Flags::END_STREAM),
            end_headers: header.flags.contains(Flags::END_HEADERS),
        })
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut flags = padding::flag(self.padding);
        for (set, flag) in [
            (self.end_stream, Flags::END_STREAM),
            (self.end_headers, Flags::END_HEADERS),
            (self.priority.is_some(), Flags::PRIORITY),
        ] {
            if set {
                flags = flags | flag;
            }
        }
        write_frame(Kind::HEADERS, flags, self.stream_id, out, |out| {
            padding::write(self.padding, out, |out| {
                if let Some(priority) = &self.priority {
                    priority.encode(out);
                }
                out.extend_from_slice(self.fragment);
            });
        });
    }
}
