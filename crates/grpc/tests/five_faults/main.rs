//! The five faults that every team meets (the design's first page): a default client and a default server do not have them, and
//! where a peer brings one, what our side says names the setting to change. The same in prose is `docs/five-faults.md`.
//!
//! Every pair here is made of defaults: a setting that differs belongs to the peer that is at fault.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what tests call is a test, too, which clippy cannot see"
)]

mod connection_per_call;
mod enhance_your_calm;
mod far;
mod log;
mod one_backend;
mod service;
mod silent_death;
mod small_windows;
