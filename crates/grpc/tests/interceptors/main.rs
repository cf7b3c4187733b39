//! Interceptors on both sides: what they see, what they may change, in which order, and that each hears of one end.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what tests call is a test, too, which clippy cannot see"
)]

mod changes;
#[cfg(feature = "gzip")]
mod compressed;
mod ends;
mod faults;
mod functions;
mod order;
mod service;
mod sizes;
mod story;
