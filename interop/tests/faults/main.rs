//! Real processes that die, hang and run out of things: what is left sees errors with names, goes on without a restart, and keeps
//! nothing of the dead.
//!
//! Each test kills, stops or starves processes of its own, on loopback. The client that is killed is this program itself, started
//! again for one test ([`client::run_if_asked`]).

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "what tests call is a test, too, which clippy cannot see"
)]

mod client;
mod descriptors;
mod killed;
mod process;
mod stopped;
mod unwritable;
