//! Buffers of the worker, not of the connection: one read scratch, and a few output buffers, per thread.
//!
//! A buffer is taken out of its thread-local while a connection uses it, because user code that runs inside may drive
//! another connection on the same thread.

use std::cell::{Cell, RefCell};

/// Octets read at once.
pub(crate) const SCRATCH_OCTETS: usize = 64 * 1024;
/// Output buffers kept by a worker.
const POOLED: usize = 16;

thread_local! {
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
    static OUTPUT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The read scratch, for as long as it is kept out.
pub(crate) fn take_scratch() -> Box<[u8]> {
    SCRATCH.take().unwrap_or_else(|| vec![0; SCRATCH_OCTETS].into_boxed_slice())
}

/// Puts the scratch back for the next connection on this thread.
pub(crate) fn put_scratch(scratch: Box<[u8]>) {
    SCRATCH.set(Some(scratch));
}

/// An empty output buffer.
pub(crate) fn take_output() -> Vec<u8> {
    OUTPUT.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(4096))
}

/// Keeps an output buffer for another connection.
pub(crate) fn put_output(buffer: Vec<u8>) {
    OUTPUT.with_borrow_mut(|pool| {
        if pool.len() < POOLED {
            pool.push(buffer);
        }
    });
}
