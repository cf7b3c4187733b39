//! A buffer that each thread keeps for octets that are looked at or copied at once: a message before it is compressed, a small one before
//! it lies in its call.
//!
//! Invariant: it is taken while it is used, not borrowed, so that what runs meanwhile may use another: an encoder is the user's
//! and may do anything, such as make a call.

use core::cell::Cell;

/// What a thread keeps of the buffer, in octets.
pub(crate) const KEPT: usize = 64 * 1024;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Runs `act` with an empty buffer. It may keep the buffer's memory for itself.
pub(crate) fn with<T>(act: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    // A thread that ends has none.
    let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
    buffer.clear();
    let result = act(&mut buffer);
    if buffer.capacity() <= KEPT {
        let _ = BUFFER.try_with(|kept| kept.set(buffer));
    }
    result
}

/// What this thread keeps.
#[cfg(test)]
pub(crate) fn kept() -> usize {
    with(|buffer| buffer.capacity())
}
