//! Attacks a peer can mount with legal-looking frames (RFC 9113 §10.5), one file each.
//!
//! Each is driven far beyond its limit. It must end with the GOAWAY that names the limit, or be swallowed at a bounded cost;
//! and what a good peer does in the same way must pass.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may fail"
)]

mod after_trailers;
mod closed_streams;
mod continuation;
mod control_frames;
mod credit;
mod empty_frames;
mod empty_names;
mod half_open;
mod hpack_bomb;
mod hpack_input;
mod lengths;
mod octets;
mod pings;
mod priority;
mod provoked_resets;
mod pushes;
mod rapid_reset;
mod slow_headers;
mod slow_readers;
mod stream_ids;
mod stuck_end;
mod unknown_frames;
mod window_updates;

use clearway_http2::ErrorCode;
use clearway_testkit::{FrameSpec, Peer};

/// Sends a frame again and again, until the connection ends; says how many it took. The GOAWAY must name the limit.
#[track_caller]
fn flood(peer: &mut Peer, most: usize, limit: &str, mut frame: impl FnMut(usize) -> FrameSpec) -> usize {
    for n in 0..most {
        if peer.failure().is_some() {
            peer.expect_last_goaway(ErrorCode::ENHANCE_YOUR_CALM, limit);
            return n;
        }
        peer.send(frame(n));
    }
    panic!("{most} frames and no reaction");
}
