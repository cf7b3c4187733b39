//! What the kernel is told about a TCP connection, so that it notices a peer that is gone. RFC 9293 §3.8.3, §3.8.4, RFC 5482.
//!
//! TCP keepalive asks a silent peer, which HTTP/2 does not hear of and no server counts; it also keeps a NAT's or a load balancer's
//! memory of the connection alive. The user timeout says how long what was sent may stay unacknowledged.
//!
//! Left out: Windows and others without TCP_USER_TIMEOUT have the first half alone.

use core::time::Duration;
use std::io;

use socket2::{SockRef, TcpKeepalive};

use crate::stream::Stream;

/// Linux takes no longer times of keepalive, and refuses them.
const LONGEST: Duration = Duration::from_secs(32_767);
/// Nor shorter ones. A user timeout of less would be over before a lost packet is sent again, and zero the system's default.
const SHORTEST: Duration = Duration::from_secs(1);
/// Nor more retries.
const MOST_RETRIES: u32 = 127;
/// Nor a user timeout of more milliseconds than a positive `int` holds: 24 days.
#[cfg(any(target_os = "linux", target_os = "android"))]
const LONGEST_USER_TIMEOUT: Duration = Duration::from_millis(0x7fff_ffff);

/// What the kernel is told about a TCP connection. What is more than it takes is lowered to that, and times of less than a second are
/// raised to one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct TcpOptions {
    /// How long nothing must have come before the kernel asks the peer (TCP_KEEPIDLE). `None`: it never does.
    ///
    /// Default: [`TcpOptions::KEEPALIVE`]. Whole seconds, at least one; parts are dropped.
    pub keepalive: Option<Duration>,
    /// How long after one such question the next follows, if nothing came (TCP_KEEPINTVL). Default:
    /// [`TcpOptions::KEEPALIVE_INTERVAL`].
    pub keepalive_interval: Duration,
    /// How many questions go unanswered before the connection ends (TCP_KEEPCNT), if there is no user timeout, which takes its place.
    /// Default: [`TcpOptions::KEEPALIVE_RETRIES`].
    pub keepalive_retries: u32,
    /// How long what was sent may stay unacknowledged, or unsent because the peer's window is closed, before the connection ends
    /// (TCP_USER_TIMEOUT, Linux). `None`: as long as the system says, a quarter of an hour or so.
    ///
    /// Default: [`TcpOptions::USER_TIMEOUT`].
    pub user_timeout: Option<Duration>,
}

impl TcpOptions {
    /// The default of [`TcpOptions::keepalive`]: less than the minute after which the most forgetful load balancers forget.
    pub const KEEPALIVE: Duration = Duration::from_secs(45);
    /// The default of [`TcpOptions::keepalive_interval`].
    pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
    /// The default of [`TcpOptions::keepalive_retries`].
    pub const KEEPALIVE_RETRIES: u32 = 4;
    /// The default of [`TcpOptions::user_timeout`]: gRFC A18 makes it the timeout of keepalive.
    pub const USER_TIMEOUT: Duration = Duration::from_secs(20);

    /// Tells the kernel about a stream; of those that are not TCP it has nothing to be told.
    ///
    /// # Errors
    /// The system's. The connection works all the same.
    pub fn apply(&self, stream: &Stream) -> io::Result<()> {
        let Some(tcp) = stream.tcp() else { return Ok(()) };
        let socket = SockRef::from(tcp);
        match self.keepalive {
            Some(idle) => {
                let kernels = |time: Duration| time.clamp(SHORTEST, LONGEST);
                let keepalive = TcpKeepalive::new()
                    .with_time(kernels(idle))
                    .with_interval(kernels(self.keepalive_interval))
                    .with_retries(self.keepalive_retries.clamp(1, MOST_RETRIES));
                socket.set_tcp_keepalive(&keepalive)?;
            }
            None => socket.set_keepalive(false)?,
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            let kernels = |timeout: Duration| timeout.clamp(SHORTEST, LONGEST_USER_TIMEOUT);
            socket.set_tcp_user_timeout(self.user_timeout.map(kernels))?;
        }
        Ok(())
    }
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            keepalive: Some(Self::KEEPALIVE),
            keepalive_interval: Self::KEEPALIVE_INTERVAL,
            keepalive_retries: Self::KEEPALIVE_RETRIES,
            user_timeout: Some(Self::USER_TIMEOUT),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    async fn connected() -> (Stream, Stream) {
        let listener = crate::Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap().into();
        let (accepted, connected) =
            tokio::join!(listener.accept(), crate::connect(&address, Duration::from_secs(5)));
        (accepted.unwrap(), connected.unwrap())
    }

    fn told(stream: &Stream) -> (bool, Duration, Duration, u32, Option<Duration>) {
        let socket = SockRef::from(stream.tcp().unwrap());
        (
            socket.keepalive().unwrap(),
            socket.tcp_keepalive_time().unwrap(),
            socket.tcp_keepalive_interval().unwrap(),
            socket.tcp_keepalive_retries().unwrap(),
            socket.tcp_user_timeout().unwrap(),
        )
    }

    #[tokio::test]
    async fn the_kernel_knows_what_it_was_told() {
        let (ours, theirs) = connected().await;
        TcpOptions::default().apply(&ours).unwrap();
        let secs = Duration::from_secs;
        assert_eq!(told(&ours), (true, secs(45), secs(15), 4, Some(secs(20))));
        let mut options = TcpOptions { keepalive: None, user_timeout: None, ..TcpOptions::default() };
        options.apply(&ours).unwrap();
        assert!(matches!(told(&ours), (false, .., None)));
        options.keepalive = Some(Duration::from_millis(1));
        options.keepalive_interval = Duration::ZERO;
        options.keepalive_retries = 0;
        options.user_timeout = Some(Duration::ZERO);
        options.apply(&theirs).unwrap();
        assert_eq!(
            told(&theirs),
            (true, secs(1), secs(1), 1, Some(secs(1))),
            "what the kernel would refuse is raised"
        );
        options.keepalive = Some(Duration::MAX);
        options.keepalive_interval = secs(12 * 3600);
        options.keepalive_retries = 1000;
        options.user_timeout = Some(secs(7));
        options.apply(&theirs).unwrap();
        assert_eq!(
            told(&theirs),
            (true, secs(32_767), secs(32_767), 127, Some(secs(7))),
            "or lowered, and the rest is told"
        );
        options.user_timeout = Some(Duration::MAX);
        options.apply(&theirs).unwrap();
        assert_eq!(told(&theirs).4, Some(LONGEST_USER_TIMEOUT));
    }

    #[tokio::test]
    async fn other_streams_have_nothing_to_be_told() {
        let (ours, _theirs) = crate::pair();
        TcpOptions::default().apply(&ours).unwrap();
    }
}
