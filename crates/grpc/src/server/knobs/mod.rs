//! Knobs of [`Server`](super::Server), by topic.

mod interceptors;
mod keepalive;
#[cfg(feature = "tower")]
mod layers;
pub(super) mod life;
mod overrun;
#[cfg(feature = "tls")]
pub(super) mod tls;

pub(super) use keepalive::Vigilance;
