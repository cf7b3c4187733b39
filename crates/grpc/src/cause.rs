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
    /// In an interceptor of this program: before it was sent, or at the head of its response.
    Intercepted,
    /// In middleware of this program, or beyond it, without an answer yet.
    Middleware,
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
    /// A message is larger than this side's limit.
    MessageTooLarge {
        /// Which message.
        message: Oversized,
        /// Its octets, as far as they are known: as it came, if it is compressed.
        octets: usize,
        /// The limit, in octets of the message as it is read.
        limit: usize,
    },
    /// What the peer sent cannot be read as messages of gRPC.
    BadMessage {
        /// What is wrong with it.
        what: String,
    },
    /// A call of which one message was wanted had another number of them.
    MessageCount {
        /// There was none; otherwise there were more.
        none: bool,
    },
    /// Something answered that does not speak gRPC, or a server that left out how the call ended.
    NotGrpc {
        /// The HTTP status of the answer.
        http_status: u16,
        /// What is missing or wrong.
        what: String,
    },
    /// The stream that a request is made of was dropped before its end, by a panic of its own or with its runtime.
    UploadDropped,
    /// The name was resolved, to no address at all.
    NoAddress,
    /// The call was made for another one, and that is over ([`CallContext`](crate::CallContext)).
    ContextOver {
        /// What became of it.
        why: &'static str,
    },
    /// The channel was closed by this program.
    ChannelClosed,
}

/// A message that is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oversized {
    /// One of a request, at the server.
    Request,
    /// One of a response, at the client.
    Response,
    /// The same, which is compressed and became too large while it was inflated.
    InflatedRequest,
    /// The same.
    InflatedResponse,
    /// One that this program was about to send.
    Sent,
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

impl TransportCause {
    /// Where it is not known on which connection, and the peer may have acted.
    pub(crate) const fn anywhere(event: TransportEvent) -> Self {
        Self { connection: None, event, processed: Processed::Maybe }
    }
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
            Self::Middleware => "in middleware",
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
                write!(
                    f,
                    "request headers of {octets} octets exceed the peer's limit of {limit} (send less metadata, or raise \
                     SETTINGS_MAX_HEADER_LIST_SIZE there)"
                )
            }
            Self::MessageTooLarge { message, octets, limit } => message.write(*octets, *limit, f),
            Self::BadMessage { what } => f.write_str(what),
            Self::MessageCount { none: true } => f.write_str("the response has no message, want exactly one"),
            Self::MessageCount { none: false } => {
                f.write_str("the response has more than one message, want exactly one")
            }
            Self::NotGrpc { http_status, what } => {
                write!(f, "{what} in a response with HTTP status {http_status}")?;
                if *http_status == 200 {
                    return Ok(());
                }
                f.write_str("; a proxy, or a server of something else, may have answered")
            }
            Self::UploadDropped => f.write_str("the request stream was dropped before its end"),
            Self::NoAddress => f.write_str("the resolver gave no address"),
            Self::ContextOver { why } => write!(
                f,
                "the call that this one was made for is over: {why} (Request::detach_from_context lets a call go on)"
            ),
            Self::ChannelClosed => f.write_str("the channel is closed"),
        }
    }
}

impl Oversized {
    /// Says whose limit it was, and what it is called.
    fn write(self, octets: usize, limit: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (which, whose) = match self {
            Self::Request | Self::InflatedRequest => ("request", "server's"),
            Self::Response | Self::InflatedResponse => ("response", "client's"),
            Self::Sent => {
                return write!(
                    f,
                    "message to send of {octets} bytes exceeds the limit of {limit} (max_encoding_message_size)"
                );
            }
        };
        let verb = match self {
            Self::InflatedRequest | Self::InflatedResponse => "inflates to more than",
            _ => "exceeds",
        };
        write!(
            f,
            "{which} message of {octets} bytes {verb} the {whose} limit of {limit} (max_decoding_message_size)"
        )
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
