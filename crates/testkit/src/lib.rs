//! A scripted HTTP/2 peer, a pair of engines on a seeded link, and virtual time: for tests of this workspace only.
//!
//! A conformance test is a dialogue: [`Peer`] plays one side by hand, frame by frame, against an engine in memory.
//!
//! ```
//! use clearway_http2::{Config, ErrorCode};
//! use clearway_testkit::{Peer, data, headers, rst_stream};
//!
//! let mut peer = Peer::of_server(Config::default());
//! peer.send(headers(1).request().end_stream());
//! peer.send(data(1, b"too late"));
//! peer.expect(rst_stream(1, ErrorCode::STREAM_CLOSED));
//! ```
//!
//! [`Pair`] joins two engines by a [`Link`] that cuts the bytes anywhere it likes; its seed replays a run. [`Distant`] joins
//! them by one with a delay and a rate. A [`Way`] is one direction of a link with every fault a network has; [`FrameTap`] tells what
//! it carried, and [`Trail`] remembers a run. Nothing here
//! reads a clock or opens a socket. Used from `tests/` directories: unit tests of the engine would see a second copy of
//! its types.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test kit fails a test by panicking"
)]

mod app;
mod distance;
mod frames;
pub mod fuzz;
mod pair;
mod peer;
mod seed;
mod tap;
mod trail;
mod way;

pub use app::{Answer, App, Event};
pub use distance::{Distance, Distant};
pub use frames::{
    FrameSpec, continuation, data, goaway, headers, ping, priority, push_promise, rst_stream, settings,
    settings_ack, unknown, window_update,
};
pub use pair::{Link, Pair};
pub use peer::Peer;
pub use seed::{Random, seed_from_env};
pub use tap::{FrameTap, Tapped};
pub use trail::Trail;
pub use way::{Way, Weather};
