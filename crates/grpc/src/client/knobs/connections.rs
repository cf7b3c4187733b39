//! How many connections a channel makes, and how long it keeps one without calls.

use core::time::Duration;

use clearway_http2::LifeLimits;

use crate::client::Endpoint;

/// How long a connection is kept without calls: gRPC's own figure for when a channel becomes idle.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// A connection that is kept for less would be gone before its second call.
const SHORTEST_IDLE: Duration = Duration::from_secs(1);
/// Connections to one address. Servers commonly allow 100 streams on each, so this is 400 calls at once; more would make little
/// of a limit that a server chose to protect itself, and is for those who asked it.
pub const DEFAULT_MAX_CONNECTIONS_PER_ADDRESS: usize = 4;

/// How many, and for how long.
#[derive(Clone, Debug)]
pub(in crate::client) struct Connections {
    pub(in crate::client) most: usize,
    pub(in crate::client) life: LifeLimits,
}

impl Default for Connections {
    fn default() -> Self {
        let life = LifeLimits { max_idle: DEFAULT_IDLE_TIMEOUT, ..LifeLimits::default() };
        Self { most: DEFAULT_MAX_CONNECTIONS_PER_ADDRESS, life }
    }
}

impl Endpoint {
    /// How many connections there may be to one address. A second one is made when calls wait because the server allows no
    /// more streams at once (SETTINGS_MAX_CONCURRENT_STREAMS, RFC 9113 §5.1.2), and so on; calls go to the one with the most
    /// free streams (gRFC A105). [`Channel::stats`](super::super::Channel::stats) shows how many there are and how many calls wait.
    ///
    /// Default: [`DEFAULT_MAX_CONNECTIONS_PER_ADDRESS`]. With 1, or 0, there is never a second one, but for the moment in
    /// which one takes the place of another whose stream ids run out.
    #[must_use]
    pub fn max_connections_per_address(mut self, connections: usize) -> Self {
        self.connections.most = connections.max(1);
        self
    }

    /// How long a connection is kept without calls; the next call makes a new one. It is closed with a GOAWAY whose debug text is
    /// `max_idle`. [`Duration::MAX`] keeps it for ever.
    ///
    /// Default: [`DEFAULT_IDLE_TIMEOUT`], 30 minutes; less than a second is raised to it.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.connections.life.max_idle = timeout.max(SHORTEST_IDLE);
        self
    }
}
