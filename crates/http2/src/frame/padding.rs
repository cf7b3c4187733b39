//! Padding of DATA, HEADERS and PUSH_PROMISE. RFC 9113 §6.1.
//!
//! ```text
//!  [Pad Length (8)] | content | Padding (Pad Length octets)
//! ```

use super::{Flags, FrameHeader};
use crate::error::Violation;

/// Splits off the pad length and the padding, if the frame has them: the content and how many octets were padding.
#[inline]
pub(super) fn split(header: FrameHeader, payload: &[u8]) -> Result<(&[u8], Option<u8>), Violation> {
    if !header.flags.contains(Flags::PADDED) {
        return Ok((payload, None));
    }
    let (pad_length, rest) = payload.split_first().ok_or(Violation::FrameSize)?;
    let content = rest.len().checked_sub(usize::from(*pad_length)).ok_or(Violation::PaddingTooLong)?;
    Ok((rest.get(..content).unwrap_or_default(), Some(*pad_length)))
}

/// The rule broken when `needed` octets in front of a field block are not all there: padding that takes their room
/// (§6.2), or a frame that is too short for them anyway.
pub(super) fn too_short(padding: Option<u8>, payload: &[u8], needed: usize) -> Violation {
    if padding.is_some() && payload.len() > needed { Violation::PaddingTooLong } else { Violation::FrameSize }
}

/// Writes content with its padding around it.
pub(super) fn write(padding: Option<u8>, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    out.extend(padding);
    content(out);
    out.resize(out.len().saturating_add(usize::from(padding.unwrap_or(0))), 0);
}

/// The PADDED flag, if there is padding.
pub(super) fn flag(padding: Option<u8>) -> Flags {
    if padding.is_some() { Flags::PADDED } else { Flags::default() }
}
