//! Knobs of [`Endpoint`](super::Endpoint), by topic.

pub(super) mod balancing;
pub(super) mod connections;
mod interceptors;
mod keepalive;
mod retry;

pub use balancing::LoadBalancing;
pub use connections::{DEFAULT_IDLE_TIMEOUT, DEFAULT_MAX_CONNECTIONS_PER_ADDRESS};
pub(super) use keepalive::Vigilance;
pub(crate) use keepalive::user_timeout;
pub use keepalive::{
    DEFAULT_KEEP_ALIVE_INTERVAL, DEFAULT_KEEP_ALIVE_TIMEOUT, DEFAULT_PROBE_AFTER_SILENCE,
    MIN_KEEP_ALIVE_INTERVAL, MIN_KEEP_ALIVE_TIMEOUT,
};
pub(super) use retry::Repeats;
pub use retry::{DEFAULT_RETRY_BUFFER_SIZE, DEFAULT_RETRY_CALL_BUFFER_SIZE};
