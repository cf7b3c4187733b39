//! What a channel can tell of itself: [`ChannelStats`].

use core::fmt;
use core::sync::atomic::Ordering;

use super::channel::Channel;

/// What a channel has and what it lacks, at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ChannelStats {
    /// Connections that take calls; at most
    /// [`Endpoint::max_connections_per_address`](super::Endpoint::max_connections_per_address).
    pub connections: usize,
    /// Calls that wait for a connection or for a free stream; at most
    /// [`Endpoint::max_queued_calls`](super::Endpoint::max_queued_calls). Calls that wait while there are connections wait for the
    /// server, which allows no more of them at once.
    pub calls_waiting: usize,
}

impl fmt::Display for ChannelStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} connections, {} calls wait", self.connections, self.calls_waiting)
    }
}

impl Channel {
    /// How many connections there are, and how many calls wait.
    #[must_use]
    pub fn stats(&self) -> ChannelStats {
        let shared = self.shared();
        ChannelStats {
            connections: shared.connections.load(Ordering::Relaxed),
            calls_waiting: shared.places.taken(),
        }
    }
}
