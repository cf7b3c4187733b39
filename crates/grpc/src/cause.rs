//! Why the transport ended a call, in terms a person can act on: [`TransportCause`], behind `Status::transport()`.
//!
//! It is filled where the fault is seen, by the task that owns the connection, and never guessed afterwards.

use core::fmt;
use core::time::Duration;

use clearway_http2::settings::PeerSettings;
use clearway_http2::{BlockedOn, By, ErrorCode, Reset};
use clearway_transport::{CloseReason, ConnectFault, ConnectPhase, PeerAddr};

/// The connection a call was on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Who is at the other end.
    pub peer: PeerAddr,
    /// How long the connection had been up when the call ended.
    pub age: Duration,
}

/// Whether the peer can have acted on the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processed {
    /// No: it never left, or the peer said it did not look at it. Sending it again is safe.
    No,
    /// It may have been, in part or whole.
    Maybe,
}

/// Where a call was when its deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallPhase {
    /// In an interceptor of this program, before it was sent.
    Intercepted,
    /// Waiting for a connection.
    Connecting,
    /// Waiting for a free stream on its connection.
    Queued,
    /// Waiting for a sign of life of a server that had been silent.
    Probing,
    /// Waiting until it is sent again.
    BackingOff,
    /// Sent, without an answer yet.
    AwaitingHeaders,
    /// The response had begun.
    Streaming,
}

/// What a call waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// What for.
    pub on: BlockedOn,
    /// How long.
    pub waited: Duration,
    /// What the peer's SETTINGS allow, if that is what it waited for: octets that may be under way on a new stream
    /// (`StreamWindow`), or streams at once (`StreamLimit`).
    pub allowed: Option<u32>,
}

impl Blocked {
    pub(crate) fn new(on: BlockedOn, waited: Duration, peer: PeerSettings) -> Self {
        let allowed = match on {
            BlockedOn::StreamWindow => Some(peer.initial_window),
            BlockedOn::StreamLimit => Some(peer.max_concurrent_streams),
            _ => None,
        };
        Self { on, waited, allowed }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportEvent {
    /// No connection could be made.
    Connect {
        /// The step that failed.
        phase: ConnectPhase,
        /// Where to.
        address: String,
        /// What failed, for a program.
        fault: ConnectFault,
        /// What failed, for a person.
        error: String,
    },
    /// The peer is going away and did not take the stream, or ended the connection with an error.
    GoAway {
        /// The code it gave (RFC 9113 §7).
        code: ErrorCode,
        /// Its debug text, escaped and cut.
        debug: String,
        /// The last stream it says it processed.
        last_stream_id: u32,
    },
    /// The server ended the connection since this client sends more PINGs than it allows (gRFC A8).
    TooManyPings {
        /// How long this client waited before it asked for a sign of life.
        interval: Duration,
        /// How long new connections of the channel wait.
        next: Duration,
        /// Whether it was keepalive that asked. Otherwise it was the question before a silent connection is used again.
        keepalive: bool,
    },
    /// The stream was reset.
    Reset {
        /// The code on the wire.
        code: ErrorCode,
        /// Who reset it.
        by: By,
        /// The rule the peer broke, if that was why.
        rule: Option<&'static str>,
    },
    /// The connection is gone.
    ConnectionClosed(CloseReason),
    /// The deadline passed.
    DeadlineExceeded {
        /// How long the call had been going.
        after: Duration,
        /// Where it was.
        phase: CallPhase,
        /// What it waited for at the end, and how long.
        blocked_on: Option<Blocked>,
    },
    /// Too many calls wait for a stream.
    QueueFull {
        /// How many may wait.
        limit: usize,
    },
    /// The request's headers are larger than the peer accepts.
    HeaderListTooLarge {
        /// Σ(name + value + 32) of the headers.
        octets: usize,
        /// The peer's limit.
        limit: u32,
    },
    /// The call was made for another one, and that is over ([`CallContext`](crate::CallContext)).
    ContextOver {
        /// What became of it.
        why: &'static str,
    },
    /// The channel was closed by this program.
    ChannelClosed,
}

/// Why the transport ended a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportCause {
    /// The connection, if the call had one.
    pub connection: Option<ConnectionInfo>,
    /// What happened.
    pub event: TransportEvent,
    /// Whether the peer can have acted on the call.
    pub processed: Processed,
}

impl TransportEvent {
    pub(crate) fn reset(reset: Reset) -> Self {
        Self::Reset {
            code: reset.code,
            by: reset.by,
            rule: reset.violation.map(clearway_http2::Violation::text),
        }
    }
}

impl fmt::Display for CallPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Intercepted => "in an interceptor",
            Self::Connecting => "while waiting for a connection",
            Self::Queued => "while waiting for a free stream",
            Self::Probing => "while waiting for a sign of life of a server that had been silent",
            Self::BackingOff => "while waiting to be sent again",
            Self::AwaitingHeaders => "while waiting for the response to begin",
            Self::Streaming => "in the middle of the response",
        })
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { on, waited, allowed } = self;
        let what = match on {
            BlockedOn::Application => "this program to send more",
            BlockedOn::StreamWindow => "the peer's credit for the stream",
            BlockedOn::ConnectionWindow => "the peer's credit for the connection",
            BlockedOn::StreamLimit => "a free stream",
            BlockedOn::Scheduler => "its turn to send",
            BlockedOn::Socket => "the socket",
            BlockedOn::Peer => "the peer's answer",
        };
        write!(f, "it waited for {what} for {waited:.1?}")?;
        match (on, allowed) {
            (BlockedOn::StreamWindow, Some(octets)) => write!(
                f,
                ": the peer announces stream windows of {octets} octets and its reader has to keep up; if it does, raise \
                 SETTINGS_INITIAL_WINDOW_SIZE there"
            ),
            (BlockedOn::StreamLimit, Some(streams)) => write!(
                f,
                ": the peer allows {streams} at once on a connection; raise SETTINGS_MAX_CONCURRENT_STREAMS there, or the \
                 number of connections here"
            ),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for TransportEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { phase, address, fault, error } => {
                write!(f, "{phase} failed for {address}: {error}")?;
                match (phase, fault) {
                    (ConnectPhase::Settings, ConnectFault::Io(_) | ConnectFault::Ended) => {
                        f.write_str("; it may be a port for HTTP/1, or with TLS on one side only")
                    }
                    _ => Ok(()),
                }
            }
            Self::GoAway { code, debug, last_stream_id } => {
                write!(f, "peer sent GOAWAY({code}, last stream {last_stream_id}")?;
                if !debug.is_empty() {
                    write!(f, ", \"{debug}\"")?;
                }
                f.write_str(")")
            }
            Self::TooManyPings { interval, next, keepalive } => {
                let knob = if *keepalive { "http2_keep_alive_interval" } else { "probe_after_silence" };
                write!(
                    f,
                    "peer sent GOAWAY(ENHANCE_YOUR_CALM, \"too_many_pings\"): it allows fewer PINGs than one after {interval:?} of \
                     silence; new connections wait {next:?}; raise {knob} here, or let the server allow it (Clearway: \
                     min_ping_interval, permit_pings_without_calls; grpc-go: keepalive.EnforcementPolicy)"
                )
            }
            Self::Reset { code, by: By::Peer, .. } => write!(f, "stream reset by the peer with {code}"),
            Self::Reset { code, rule: Some(rule), .. } => {
                write!(f, "stream reset by us with {code}: the peer broke a rule: {rule}")
            }
            Self::Reset { code, .. } => write!(f, "stream reset by us with {code}"),
            Self::ConnectionClosed(reason) => write!(f, "connection lost: {reason}"),
            Self::DeadlineExceeded { after, phase, blocked_on } => {
                write!(f, "deadline passed after {after:.1?} {phase}")?;
                match blocked_on {
                    Some(blocked) => write!(f, " ({blocked})"),
                    None => Ok(()),
                }
            }
            Self::QueueFull { limit } => {
                write!(f, "{limit} calls wait for a stream already (limit: max_queued_calls)")
            }
            Self::HeaderListTooLarge { octets, limit } => {
                write!(f, "request headers of {octets} octets exceed the peer's limit of {limit}")
            }
            Self::ContextOver { why } => write!(
                f,
                "the call that this one was made for is over: {why} (Request::detach_from_context lets a call go on)"
            ),
            Self::ChannelClosed => f.write_str("the channel is closed"),
        }
    }
}

impl fmt::Display for TransportCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.event.fmt(f)?;
        if let Some(ConnectionInfo { peer, age }) = &self.connection {
            write!(f, "; connection to {peer}, up {age:.1?}")?;
        }
        match self.processed {
            Processed::No => f.write_str("; the peer has not processed the call"),
            Processed::Maybe => Ok(()),
        }
    }
}

impl std::error::Error for TransportCause {}
