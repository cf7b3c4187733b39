//! Zstandard (RFC 8878), by the reference library, through the `zstd` crate.
//!
//! What is written is one frame that says how much comes out of it. What is read is one frame or more, skippable ones among them
//! (RFC 8878 §3.1), to the last octet.
//!
//! Invariant: a frame may ask for a window of 8 MiB and no more (RFC 9659 §3), whatever it claims to hold.
//!
//! Contexts are kept, one of each kind for a worker, while they are of ordinary size: high levels and large windows make large
//! ones, which go at once.

use core::cell::Cell;
use std::io;

use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, compress_bound, get_error_name,
    get_frame_content_size,
};

use super::{BELIEVED, Compression, DecompressError, grow, guess, truncated};

/// The algorithm, at a level.
pub(super) struct Zstd {
    level: i32,
}

impl Zstd {
    /// The library's own default, and tonic's.
    pub(super) const DEFAULT: Self = Self { level: 3 };
}

/// Levels there are: the fast ones below zero, as far as they differ much, and all above.
const LEVELS: core::ops::RangeInclusive<i32> = -7..=22;
/// The largest window that is read, as a power of two: 8 MiB.
const WINDOW_LOG: u32 = 23;
/// A larger context is not kept, in octets. Level 3 and a window of 2 MiB, which is its largest, are below.
const KEPT: usize = 4 * 1024 * 1024;
thread_local! {
    static COMPRESSING: Cell<Option<CCtx<'static>>> = const { Cell::new(None) };
    static INFLATING: Cell<Option<DCtx<'static>>> = const { Cell::new(None) };
}

impl Compression for Zstd {
    fn name(&self) -> &str {
        "zstd"
    }

    fn compress(&self, message: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let mut context = COMPRESSING.take().or_else(CCtx::try_create).ok_or(io::ErrorKind::OutOfMemory)?;
        let result = frame(&mut context, self.level, message, out);
        if context.sizeof() <= KEPT {
            COMPRESSING.set(Some(context));
        }
        result.map_err(|code| io::Error::other(get_error_name(code)))
    }

    fn decompress(&self, message: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
        let none = || DecompressError::Memory("there is no memory to inflate it".into());
        let mut context = INFLATING.take().or_else(DCtx::try_create).ok_or_else(none)?;
        let result = frames(&mut context, message, limit, out);
        if context.sizeof() <= KEPT {
            INFLATING.set(Some(context));
        }
        result
    }

    fn at_level(&self, asked: i32) -> Option<Box<dyn Compression>> {
        Some(Box::new(Self { level: asked.clamp(*LEVELS.start(), *LEVELS.end()) }))
    }
}

/// Appends one frame to `out`.
fn frame(context: &mut CCtx<'_>, level: i32, message: &[u8], out: &mut Vec<u8>) -> Result<(), usize> {
    context.reset(ResetDirective::SessionAndParameters)?;
    context.set_parameter(CParameter::CompressionLevel(level))?;
    let bound = compress_bound(message.len());
    if out.is_empty() {
        out.reserve(bound);
        return context.compress2(out, message).map(drop);
    }
    // It writes from a vector's beginning.
    let mut apart = Vec::with_capacity(bound);
    context.compress2(&mut apart, message)?;
    out.extend_from_slice(&apart);
    Ok(())
}

/// Inflates one frame after the other.
fn frames(
    context: &mut DCtx<'_>,
    message: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    context.reset(ResetDirective::SessionAndParameters).map_err(broken)?;
    context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).map_err(broken)?;
    let (start, most) = (out.len(), limit.saturating_add(1));
    let mut expected = guess(message.len());
    if let Ok(Some(said)) = get_frame_content_size(message) {
        // More than the limit is too much or a lie.
        let said =
            usize::try_from(said).ok().filter(|said| *said <= limit).ok_or(DecompressError::TooLarge)?;
        expected = if said <= BELIEVED { said } else { expected };
    }
    let mut input = InBuffer::around(message);
    loop {
        let produced = out.len().saturating_sub(start);
        grow(out, produced, expected, most);
        let at = out.len();
        let left =
            context.decompress_stream(&mut OutBuffer::around_pos(out, at), &mut input).map_err(broken)?;
        if out.len().saturating_sub(start) > limit {
            return Err(DecompressError::TooLarge);
        }
        let is_read = input.pos() >= message.len();
        match left {
            0 if is_read => return Ok(()),
            // With room left, only more input would help.
            1.. if is_read && out.len() < out.capacity() => return Err(truncated()),
            _ => {}
        }
    }
}

/// What the library's error means.
fn broken(code: usize) -> DecompressError {
    let is = |known: ZSTD_ErrorCode| code == 0usize.wrapping_sub(known as usize);
    if is(ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge) {
        return DecompressError::Memory(
            format!("its window is larger than {} octets", 1u32 << WINDOW_LOG).into(),
        );
    }
    DecompressError::corrupt(format!("its frame is broken: {}", get_error_name(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What libzstd allocates is not seen by Rust's allocator; that the contexts are the same is.
    #[test]
    fn contexts_are_kept_unless_they_are_large() {
        assert!(COMPRESSING.take().is_none() && INFLATING.take().is_none());
        let (mut wire, mut out) = (Vec::new(), Vec::new());
        Zstd::DEFAULT.compress(&[7; 1 << 20], &mut wire).unwrap();
        Zstd::DEFAULT.decompress(&wire, 1 << 20, &mut out).unwrap();
        assert_eq!(Zstd::DEFAULT.decompress(&wire, 1, &mut out), Err(DecompressError::TooLarge));
        let compressing = COMPRESSING.take().expect("it was used").sizeof();
        let inflating = INFLATING.take().expect("it was used").sizeof();
        assert!(compressing <= KEPT && inflating <= 512 * 1024, "{compressing} {inflating}");
        let hard = Zstd { level: 19 };
        hard.compress(&vec![7; 8 << 20], &mut Vec::new()).unwrap();
        assert!(COMPRESSING.take().is_none(), "it is large");
    }
}
