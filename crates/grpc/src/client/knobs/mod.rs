//! Knobs of [`Endpoint`](super::Endpoint), by topic.

pub(super) mod connections;
mod retry;

pub use connections::{DEFAULT_IDLE_TIMEOUT, DEFAULT_MAX_CONNECTIONS_PER_ADDRESS};
pub(super) use retry::Repeats;
pub use retry::{DEFAULT_RETRY_BUFFER_SIZE, DEFAULT_RETRY_CALL_BUFFER_SIZE};
