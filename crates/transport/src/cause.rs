//! Why a connection is over, in words a person can act on.

use core::fmt;
use core::time::Duration;

use clearway_http2::{ConnectionError, ErrorCode};

use crate::address::PeerAddr;

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
    /// The peer broke a rule of HTTP/2, or pressed against a limit of ours.
    Protocol(ConnectionError),
    /// The socket took nothing for so long.
    WriteStalled(Duration),
    /// Our own program ended it.
    Aborted,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("closed gracefully"),
            Self::GoAway { code, debug } if debug.is_empty() => write!(f, "peer sent GOAWAY({code})"),
            Self::GoAway { code, debug } => write!(f, "peer sent GOAWAY({code}, \"{debug}\")"),
            Self::PeerClosed => f.write_str("closed by the peer without GOAWAY"),
            Self::Io(error) => write!(f, "socket error: {error}"),
            Self::Protocol(error) => write!(f, "peer broke a rule: {error}"),
            Self::WriteStalled(after) => write!(f, "peer read nothing for {after:?}"),
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
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection to {} (up {:.1?}): {}", self.peer, self.age, self.reason)
    }
}
