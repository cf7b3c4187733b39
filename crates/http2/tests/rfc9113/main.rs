//! RFC 9113, one test for each rule a peer can break or rely on; one file per section.
//!
//! Each test is a dialogue with a scripted peer in memory, named as a sentence, with the requirement as its comment.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may fail"
)]

mod every_rule;
mod s10_5_receive_budget;
mod s3_4_preface;
mod s4_frames;
mod s5_1_state_table;
mod s5_1_stream_states;
mod s6_10_continuation;
mod s6_1_data_splits;
mod s6_5_settings;
mod s6_7_ping;
mod s6_8_goaway;
mod s6_8_life;
mod s6_9_flow_control;
mod s6_layouts;
mod s8_messages;
