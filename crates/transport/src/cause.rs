//! Why a connection is over, in words a person can act on.

use core::fmt;
use core::time::Duration;
use std::io;

use clearway_http2::limits::Tally;
use clearway_http2::{ConnectionError, ErrorCode, Farewell, Violation};

use crate::address::PeerAddr;
use crate::fault::{ConnectFault, TlsError, WrongProtocol};

/// What ended a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// It was ended gracefully, by either side, and no stream was left.
    Finished,
    /// The peer sent GOAWAY with an error and closed.
    GoAway {
        /// The code it gave.
        code: ErrorCode,
        /// Its debug text, escaped and cut.
        debug: String,
    },
    /// The peer closed the socket without a word.
    PeerClosed,
    /// The socket failed.
    Io(String),
    /// The peer's system has not answered ours for too long: it acknowledged nothing of what was sent, or not one of TCP keepalive's
    /// questions ([`TcpOptions`](crate::TcpOptions)).
    TimedOut,
    /// TLS failed: the peer's refusal, which may come after the handshake is over for this side, or a broken rule.
    Tls(TlsError),
    /// The server speaks something else than cleartext HTTP/2.
    WrongProtocol(WrongProtocol),
    /// The peer broke a rule of HTTP/2, or pressed against a limit of ours.
    Protocol(ConnectionError),
    /// The socket took nothing for so long.
    WriteStalled(Duration),
    /// It went away for this reason, gracefully, and streams were left when the time for them was over.
    CutOff(Farewell),
    /// Keepalive's PING was not answered, nor did anything else come (gRFC A8).
    KeepaliveExpired {
        /// How long nothing had come.
        silent: Duration,
    },
    /// A client was about to use a connection that had been silent, and a PING first brought no sign of life.
    ProbeUnanswered {
        /// How long nothing had come.
        silent: Duration,
    },
    /// Our own program ended it.
    Aborted,
}

impl CloseReason {
    /// The reason an error of the stream is.
    pub(crate) fn of(error: &io::Error) -> Self {
        let inner = error.get_ref();
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<TlsError>()) {
            return Self::Tls(tls.clone());
        }
        match inner.and_then(|inner| inner.downcast_ref::<WrongProtocol>()) {
            Some(wrong) => Self::WrongProtocol(*wrong),
            None if error.kind() == io::ErrorKind::TimedOut => Self::TimedOut,
            None => Self::Io(error.to_string()),
        }
    }

    /// Why a connection is of no use that ended for this reason before the peer's SETTINGS came.
    #[must_use]
    pub const fn connect_fault(&self) -> ConnectFault {
        match self {
            Self::Tls(error) => ConnectFault::Tls(error.failure),
            Self::WrongProtocol(wrong) => ConnectFault::WrongProtocol(wrong.spoken),
            _ => ConnectFault::Ended,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("closed gracefully"),
            Self::GoAway { code, debug } if debug.is_empty() => write!(f, "peer sent GOAWAY({code})"),
            Self::GoAway { code, debug } => write!(f, "peer sent GOAWAY({code}, \"{debug}\")"),
            Self::PeerClosed => f.write_str("closed by the peer without GOAWAY"),
            Self::Io(error) => write!(f, "socket error: {error}"),
            Self::TimedOut => f.write_str(
                "the peer's system does not answer any more (limit: tcp_user_timeout, tcp_keepalive)",
            ),
            Self::Tls(error) => error.fmt(f),
            Self::WrongProtocol(wrong) => wrong.fmt(f),
            // The text on the wire is gRPC's own, and names no limit.
            Self::Protocol(error) if error.violation == Violation::TooManyPings => write!(
                f,
                "peer broke a rule: {error}: it asked for signs of life more often than the limit permits (limit: \
                 min_ping_interval)"
            ),
            Self::Protocol(error) => write!(f, "peer broke a rule: {error}"),
            Self::WriteStalled(after) => {
                write!(f, "peer read nothing for {after:?} (limit: write_timeout, tcp_user_timeout)")
            }
            Self::CutOff(why) => f.write_str(why.cut_text()),
            Self::KeepaliveExpired { silent } => {
                write!(
                    f,
                    "keepalive expired: nothing came from the peer for {silent:.1?}, nor an answer to a PING; it is gone, or a \
                     NAT, firewall or load balancer on the way forgot the connection (its idle timeout should be longer than \
                     the keepalive interval)"
                )
            }
            Self::ProbeUnanswered { silent } => write!(
                f,
                "nothing came from the peer for {silent:.1?}, nor an answer to the PING before the connection was used again"
            ),
            Self::Aborted => f.write_str("aborted by this program"),
        }
    }
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Who was at the other end.
    pub peer: PeerAddr,
    /// How long the connection had been up.
    pub age: Duration,
    /// What ended it.
    pub reason: CloseReason,
    /// Streams that were open then.
    pub streams_open: usize,
    /// What the peer has made the connection do, in all.
    pub tally: Tally,
}

impl Closed {
    /// True if the peer is to blame: it broke a rule, pressed against a limit, or did not read what it asked for. Worth a line in a
    /// log, which this type's `Display` is.
    #[must_use]
    pub const fn is_peers_fault(&self) -> bool {
        matches!(self.reason, CloseReason::Protocol(_) | CloseReason::WriteStalled(_))
    }
}

impl fmt::Display for Closed {
    /// One line: who, for how long, why (which names the limit), and what there was.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, age, reason, streams_open, tally } = self;
        write!(f, "connection to {peer} (up {age:.1?}): {reason}; {tally}, {streams_open} open")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_gave_up_is_told_apart_and_names_its_limits() {
        let gave_up = CloseReason::of(&io::Error::from(io::ErrorKind::TimedOut));
        assert_eq!(gave_up, CloseReason::TimedOut);
        assert!(gave_up.to_string().contains("limit: tcp_user_timeout, tcp_keepalive"));
        let reset = CloseReason::of(&io::Error::from(io::ErrorKind::ConnectionReset));
        assert!(matches!(reset, CloseReason::Io(_)), "{reset}");
    }
}
