//! The knobs of keepalive on the server: its own PINGs, how often clients may send theirs (gRFC A8), and TCP's keepalive (gRFC A18).

use core::time::Duration;

use clearway_http2::config::defaults;
use clearway_http2::{Config, Keepalive, PingPolicy};
use clearway_transport::{DriverConfig, TcpOptions};

use crate::client::user_timeout;
use crate::server::Server;

/// How long a client must have been silent before it is asked, unless chosen otherwise (gRFC A8, "Server-side Connection Management").
const INTERVAL: Duration = Duration::from_secs(2 * 3600);
/// No client is asked more often, nor given less time to answer: a PING that was lost is sent again in less.
const SHORTEST: Duration = Duration::from_secs(1);

/// What the knobs here set.
#[derive(Clone, Debug)]
pub(in crate::server) struct Vigilance {
    interval: Option<Duration>,
    timeout: Duration,
    policy: PingPolicy,
    tcp: TcpOptions,
    /// None: what keepalive waits for an answer.
    user_timeout: Option<Option<Duration>>,
}

impl Default for Vigilance {
    fn default() -> Self {
        Self {
            interval: Some(INTERVAL),
            timeout: defaults::KEEPALIVE_TIMEOUT,
            policy: PingPolicy::default(),
            tcp: TcpOptions::default(),
            user_timeout: None,
        }
    }
}

impl Vigilance {
    /// The configuration of connections; where it says something itself, that counts.
    pub(in crate::server) fn configure(&self, config: Config) -> Config {
        let ours = self.interval.map(|interval| Keepalive {
            interval: interval.max(SHORTEST),
            timeout: self.timeout.max(SHORTEST),
            without_streams: true,
        });
        Config {
            keepalive: config.keepalive.or(ours),
            ping_policy: config.ping_policy.or(Some(self.policy)),
            ..config
        }
    }

    /// What the kernel is told.
    pub(in crate::server) fn tcp(&self, driver: &DriverConfig) -> TcpOptions {
        let mut tcp = self.tcp;
        tcp.user_timeout =
            self.user_timeout.unwrap_or_else(|| user_timeout(self.timeout.max(SHORTEST), driver));
        tcp
    }
}

impl Server {
    /// How long nothing must have come from a client before it is asked for a sign of life by a PING, with calls or without (gRPC:
    /// `time`). `None` turns it off.
    ///
    /// Default: 2 hours; less than a second is raised to it. Clients that are gone are noticed much earlier by
    /// [`Server::tcp_keepalive`]. What [`Server::http2_config`] says of keepalive and of PINGs comes before the knobs here. Source: gRFC A8.
    #[must_use]
    pub fn http2_keepalive_interval(mut self, interval: Option<Duration>) -> Self {
        self.vigilance.interval = interval;
        self
    }

    /// How long after that PING anything may take to come (gRPC: `timeout`); then the connection is closed, and its calls are
    /// cancelled. Default, also with `None`: 20 s; less than a second is raised to it.
    #[must_use]
    pub fn http2_keepalive_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.vigilance.timeout = timeout.unwrap_or(defaults::KEEPALIVE_TIMEOUT);
        self
    }

    /// What must lie between two PINGs of a client (gRPC: `permit_keepalive_time`, in Go `EnforcementPolicy.MinTime`). A PING that comes
    /// earlier is a strike; strikes are forgotten whenever HEADERS or DATA are sent to the client; the third ends the connection with
    /// GOAWAY ENHANCE_YOUR_CALM `too_many_pings`.
    ///
    /// Default: [`defaults::MIN_PING_INTERVAL`], 5 minutes; with [`Duration::ZERO`] none is ever too early. Source: gRFC A8. How many strikes
    /// are too many is [`Limits::too_many_pings`](clearway_http2::limits::Limits::too_many_pings).
    #[must_use]
    pub fn min_ping_interval(mut self, interval: Duration) -> Self {
        self.vigilance.policy.min_interval = interval;
        self
    }

    /// Whether [`Server::min_ping_interval`] holds for clients without calls, too (gRPC: `permit_keepalive_without_calls`). Default: no, two
    /// hours must lie between their PINGs.
    #[must_use]
    pub fn permit_pings_without_calls(mut self, permitted: bool) -> Self {
        self.vigilance.policy.without_streams = permitted;
        self
    }

    /// How long a TCP connection may be silent before the kernel asks the client's (TCP_KEEPIDLE). `None` turns it off.
    ///
    /// Default: [`TcpOptions::KEEPALIVE`], 45 s.
    #[must_use]
    pub fn tcp_keepalive(mut self, idle: Option<Duration>) -> Self {
        self.vigilance.tcp.keepalive = idle;
        self
    }

    /// How long the kernel waits between its questions (TCP_KEEPINTVL). Default, also with `None`:
    /// [`TcpOptions::KEEPALIVE_INTERVAL`], 15 s.
    #[must_use]
    pub fn tcp_keepalive_interval(mut self, interval: Option<Duration>) -> Self {
        self.vigilance.tcp.keepalive_interval = interval.unwrap_or(TcpOptions::KEEPALIVE_INTERVAL);
        self
    }

    /// How many of the kernel's questions may stay unanswered (TCP_KEEPCNT); without a TCP_USER_TIMEOUT only, which takes its place.
    /// Default, also with `None`: [`TcpOptions::KEEPALIVE_RETRIES`].
    #[must_use]
    pub fn tcp_keepalive_retries(mut self, retries: Option<u32>) -> Self {
        self.vigilance.tcp.keepalive_retries = retries.unwrap_or(TcpOptions::KEEPALIVE_RETRIES);
        self
    }

    /// How long what was sent may stay unacknowledged by the client's kernel, or unsent because its window is closed, before the kernel
    /// gives the connection up (TCP_USER_TIMEOUT, Linux). `None` leaves it to the system.
    ///
    /// Default: [`Server::http2_keepalive_timeout`], 20 s; or [`Server::write_timeout`], where a longer one than its default was chosen. While
    /// it is set, one question of [`Server::tcp_keepalive`] that stays unanswered ends the connection (gRFC A18).
    #[must_use]
    pub fn tcp_user_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.vigilance.user_timeout = Some(timeout);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_grpcs_and_what_the_engine_is_told_counts() {
        let secs = Duration::from_secs;
        let made = Vigilance::default().configure(Config::default());
        let ours = Keepalive { interval: secs(7200), timeout: secs(20), without_streams: true };
        assert_eq!((made.keepalive, made.ping_policy), (Some(ours), Some(PingPolicy::default())));
        assert_eq!(made.ping_policy.unwrap().min_interval, secs(300));
        let policy = PingPolicy { min_interval: Duration::ZERO, without_streams: true };
        let told = Config { ping_policy: Some(policy), ..Config::default() };
        let off = Server::builder().http2_keepalive_interval(None).vigilance.configure(told);
        assert_eq!((off.keepalive, off.ping_policy), (None, Some(policy)));
        let none = Some(Duration::ZERO);
        let server = Server::builder().http2_keepalive_interval(none).http2_keepalive_timeout(none);
        let raised = server.vigilance.configure(Config::default()).keepalive.unwrap();
        assert_eq!((raised.interval, raised.timeout), (secs(1), secs(1)));
        assert_eq!(server.vigilance.tcp(&DriverConfig::default()).user_timeout, Some(secs(1)));
    }
}
