//! Knobs of [`Server`](super::Server), by topic.

mod overrun;
