//! The knobs of keepalive (gRFC A8), of the probe before a silent connection is used again, and of TCP's own keepalive (gRFC A18).
//!
//! gRPC's words for them: `time` is [`Endpoint::http2_keep_alive_interval`], `timeout` is [`Endpoint::keep_alive_timeout`],
//! `without_calls` is [`Endpoint::keep_alive_while_idle`].

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clearway_http2::Keepalive;
use clearway_transport::{DriverConfig, TcpOptions};

use crate::client::Endpoint;

/// How long nothing must have come while calls run before the server is asked, unless chosen otherwise: what servers of gRPC allow
/// (gRFC A8: 5 min), and a tenth more for what messages are late.
pub const DEFAULT_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(330);
/// The shortest interval (gRFC A8).
pub const MIN_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long the server may take to answer, unless chosen otherwise (gRFC A8).
pub const DEFAULT_KEEP_ALIVE_TIMEOUT: Duration = clearway_http2::config::defaults::KEEPALIVE_TIMEOUT;
/// The shortest such time: a PING that was lost is sent again in less.
pub const MIN_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(1);
/// After how much silence the first call waits for a sign of life, unless chosen otherwise.
pub const DEFAULT_PROBE_AFTER_SILENCE: Duration = Duration::from_secs(30);

/// What the knobs here set.
#[derive(Clone, Debug)]
pub(in crate::client) struct Vigilance {
    interval: Duration,
    timeout: Duration,
    while_idle: bool,
    pub(in crate::client) probe_after: Option<Duration>,
    tcp: TcpOptions,
    /// None: what keepalive waits for an answer.
    user_timeout: Option<Option<Duration>>,
    /// It was said that the interval is too short, by this endpoint or a copy of it.
    warned: Arc<AtomicBool>,
}

impl Default for Vigilance {
    fn default() -> Self {
        Self {
            interval: DEFAULT_KEEP_ALIVE_INTERVAL,
            timeout: DEFAULT_KEEP_ALIVE_TIMEOUT,
            while_idle: false,
            probe_after: Some(DEFAULT_PROBE_AFTER_SILENCE),
            tcp: TcpOptions::default(),
            user_timeout: None,
            warned: Arc::default(),
        }
    }
}

impl Vigilance {
    /// What was chosen for HTTP/2, if it is on.
    pub(in crate::client) fn keepalive(&self) -> Option<Keepalive> {
        let Self { interval, timeout, while_idle: without_streams, .. } = *self;
        (interval != Duration::MAX).then_some(Keepalive { interval, timeout, without_streams })
    }

    /// True the first time.
    pub(in crate::client) fn may_warn(&self) -> bool {
        !self.warned.swap(true, Ordering::Relaxed)
    }

    /// What the kernel is told.
    pub(in crate::client) fn tcp(&self, driver: &DriverConfig) -> TcpOptions {
        let mut tcp = self.tcp;
        tcp.user_timeout = self.user_timeout.unwrap_or_else(|| user_timeout(self.timeout, driver));
        tcp
    }
}

/// What the kernel waits for an acknowledgement, where nothing was chosen: as long as keepalive (gRFC A18), and not less than somebody
/// said a peer may take nothing.
pub(crate) fn user_timeout(keepalive: Duration, driver: &DriverConfig) -> Option<Duration> {
    let chosen = driver.write_timeout > DriverConfig::WRITE_TIMEOUT;
    Some(if chosen { keepalive.max(driver.write_timeout) } else { keepalive })
}

impl Endpoint {
    /// How long nothing must have come from the server before it is asked for a sign of life by a PING (gRPC: `time`). It counts from
    /// the last octet read. [`Duration::MAX`] turns keepalive off.
    ///
    /// Default: [`DEFAULT_KEEP_ALIVE_INTERVAL`], while calls run. Less than [`MIN_KEEP_ALIVE_INTERVAL`] is raised to it, and a warning says so.
    /// Choose less than the default only for servers that allow it: others end the connection with GOAWAY `too_many_pings`, and this
    /// channel doubles its interval. What [`Endpoint::http2_config`] says of keepalive comes first. Source: gRFC A8.
    #[must_use]
    pub fn http2_keep_alive_interval(mut self, interval: Duration) -> Self {
        self.vigilance.interval = interval;
        self
    }

    /// How long after that PING anything may take to come (gRPC: `timeout`); then the connection is closed, and its calls end with
    /// UNAVAILABLE ([`CloseReason::KeepaliveExpired`](crate::transport::CloseReason)). Any octet is a sign of life.
    ///
    /// Default: [`DEFAULT_KEEP_ALIVE_TIMEOUT`]; less than [`MIN_KEEP_ALIVE_TIMEOUT`] is raised to it. It is TCP_USER_TIMEOUT as well (gRFC A18), unless [`Endpoint::tcp_user_timeout`] says
    /// otherwise.
    #[must_use]
    pub fn keep_alive_timeout(mut self, timeout: Duration) -> Self {
        self.vigilance.timeout = timeout.max(MIN_KEEP_ALIVE_TIMEOUT);
        self
    }

    /// Whether PINGs are sent while no call runs, too (gRPC: `without_calls`). Default: no.
    ///
    /// Servers of gRPC allow that once in two hours unless they are told otherwise
    /// ([`Server::permit_pings_without_calls`](crate::transport::Server::permit_pings_without_calls)). Connections without calls are guarded
    /// by [`Endpoint::tcp_keepalive`] and [`Endpoint::probe_after_silence`], which offend no server.
    #[must_use]
    pub fn keep_alive_while_idle(mut self, enabled: bool) -> Self {
        self.vigilance.while_idle = enabled;
        self
    }

    /// After so much silence of a connection, a call waits until the server has answered a PING: for a second, or four round trips where
    /// those take longer. Without an answer the call goes to a new connection, as nothing of it was sent, and the old one is closed
    /// ([`CloseReason::ProbeUnanswered`](crate::transport::CloseReason)); calls that are open on it have as long as keepalive's timeout.
    /// So a connection that a NAT or a load balancer forgot costs the next call a second, and not its deadline.
    ///
    /// Default: [`DEFAULT_PROBE_AFTER_SILENCE`]; `None` sends calls at once, always. It costs a busy connection nothing. The answers of calls
    /// make up for the PINGs with any server (gRFC A8: strikes are cleared by what it sends), and where two in a row brought no
    /// answer to a call, there is no third.
    #[must_use]
    pub fn probe_after_silence(mut self, silence: Option<Duration>) -> Self {
        self.vigilance.probe_after = silence;
        self
    }

    /// How long a TCP connection may be silent before the kernel asks the peer's (TCP_KEEPIDLE), which no server counts and which keeps
    /// middle boxes from forgetting the connection. `None` turns it off.
    ///
    /// Default: [`TcpOptions::KEEPALIVE`], 45 s. It is for sockets this library connects, not for [`Endpoint::connector`]'s.
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

    /// How long what was sent may stay unacknowledged by the peer's kernel, or unsent because its window is closed, before the kernel gives
    /// the connection up (TCP_USER_TIMEOUT, Linux). `None` leaves it to the system: a quarter of an hour or so.
    ///
    /// Default: [`Endpoint::keep_alive_timeout`], 20 s; or [`Endpoint::write_timeout`], where a longer one than its default was chosen. While it
    /// is set, one question of [`Endpoint::tcp_keepalive`] that stays unanswered ends the connection (gRFC A18).
    #[must_use]
    pub fn tcp_user_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.vigilance.user_timeout = Some(timeout);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint::from_static("http://a:1")
    }

    fn kernel(endpoint: &Endpoint) -> TcpOptions {
        endpoint.vigilance.tcp(&endpoint.driver)
    }

    #[test]
    fn the_user_timeout_follows_keepalive_and_the_patience_with_readers() {
        let secs = Duration::from_secs;
        assert_eq!(kernel(&endpoint()), TcpOptions::default());
        let user_timeout = |endpoint: Endpoint| kernel(&endpoint).user_timeout;
        assert_eq!(user_timeout(endpoint().keep_alive_timeout(secs(5))), Some(secs(5)));
        assert_eq!(user_timeout(endpoint().keep_alive_timeout(Duration::ZERO)), Some(secs(1)));
        assert_eq!(user_timeout(endpoint().write_timeout(secs(300))), Some(secs(300)));
        assert_eq!(user_timeout(endpoint().write_timeout(secs(10))), Some(secs(20)));
        assert_eq!(user_timeout(endpoint().tcp_user_timeout(None)), None);
        let chosen = endpoint().tcp_user_timeout(Some(secs(9))).write_timeout(secs(300));
        assert_eq!(user_timeout(chosen), Some(secs(9)));
    }

    #[test]
    fn the_kernel_is_told_what_was_chosen() {
        let secs = Duration::from_secs;
        let chosen = endpoint()
            .tcp_keepalive(Some(secs(60)))
            .tcp_keepalive_interval(Some(secs(7)))
            .tcp_keepalive_retries(Some(2));
        let told = kernel(&chosen);
        assert_eq!(
            (told.keepalive, told.keepalive_interval, told.keepalive_retries),
            (Some(secs(60)), secs(7), 2)
        );
        let back = chosen.tcp_keepalive_interval(None).tcp_keepalive_retries(None).tcp_keepalive(None);
        assert_eq!(kernel(&back), {
            let mut off = TcpOptions::default();
            off.keepalive = None;
            off
        });
    }
}
