//! Middleware that others wrote (tower, tower-http) around our servers and channels: all kinds of call, errors, limits, cancellation
//! and backpressure through it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what tests call is a test, too, which clippy cannot see"
)]

mod client;
mod kinds;
mod server;
#[path = "../interceptors/service.rs"]
mod service;
