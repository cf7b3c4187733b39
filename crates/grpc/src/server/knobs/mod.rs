//! Knobs of [`Server`](super::Server), by topic.

mod keepalive;
mod overrun;

pub(super) use keepalive::Vigilance;
