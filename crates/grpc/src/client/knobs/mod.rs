//! Knobs of [`Endpoint`](super::Endpoint), by topic.

mod retry;

pub(super) use retry::Repeats;
pub use retry::{DEFAULT_RETRY_BUFFER_SIZE, DEFAULT_RETRY_CALL_BUFFER_SIZE};
