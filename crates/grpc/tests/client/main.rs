//! Our client: against a server played by hand, frame by frame, in memory and in virtual time; and against our server.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in shared code, too"
)]

mod both_sides;
mod cancelling;
mod causes;
#[cfg(feature = "gzip")]
mod compression;
mod connecting;
mod deadlines;
mod flow;
mod going_away;
mod hedge_rules;
mod hedging;
mod keepalive;
mod many_connections;
mod peer;
mod probing;
mod queue;
mod requests;
mod responses;
mod retries;
mod retry_rules;
mod retry_storm;
mod side_by_side;
mod uploads;
mod wait_for_ready;
