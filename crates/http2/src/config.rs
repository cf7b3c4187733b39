//! Every knob of a connection, with its default and its unit. One type serves both roles.

use core::time::Duration;

use crate::limits::Limits;

/// The defaults of [`Config`], each with its reason.
pub mod defaults {
    use core::time::Duration;

    /// 64 KiB: one large message in flight per stream before its reader has proven to drain.
    pub const STREAM_WINDOW: u32 = 64 * 1024;
    /// 1 MiB: connection credit goes back on receipt, so this only has to cover the first round trips.
    pub const CONNECTION_WINDOW: u32 = 1024 * 1024;
    /// 16 KiB: the protocol's own initial value. More saves nine octets in so many, and a peer's one frame delays others
    /// longer.
    pub const MAX_FRAME_SIZE: u32 = 16 * 1024;
    /// RFC 7541's own default, on both sides.
    pub const HEADER_TABLE: u32 = 4096;
    /// Streams a peer may have open at once.
    pub const MAX_CONCURRENT_STREAMS: u32 = 1000;
    /// What a connection may hold of bytes nobody has consumed yet.
    pub const RECEIVE_BUDGET: usize = 16 * 1024 * 1024;
    /// 12 MiB: what all streams of a connection may have waiting together. With what is on its way to the connection, and the
    /// one batch or message that each stream may have whatever the others hold, some 16 MiB.
    pub const SEND_BACKLOG: usize = 12 * 1024 * 1024;
    /// Above this much unsent output no stream data is added. 256 KiB of messages, and the headers of their frames: what one
    /// write carries stays in a processor's cache.
    pub const OUTPUT_MARK: usize = 272 * 1024;
    /// The same while several streams compete, so that scheduling stays late.
    pub const OUTPUT_MARK_SHARED: usize = 64 * 1024;
    /// For the preface, for one header block, for SETTINGS ACK, and between the two steps of a graceful GOAWAY.
    pub const PEER_TIMEOUT: Duration = Duration::from_secs(10);
    /// What gRFC A8 gives a peer to answer a PING of keepalive.
    pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
    /// What gRFC A8 lets pass between two PINGs of a client.
    pub const MIN_PING_INTERVAL: Duration = Duration::from_secs(300);
}

/// Whether a receive window follows what is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WindowTuning {
    /// It starts at the configured size and doubles while the peer uses half of it within two round trips: a stream's up to
    /// 16 MiB, once its reader has drained it and only out of what [`Config::receive_budget_octets`] leaves (a quarter to a
    /// half of it is kept for messages and for the beginnings of streams); a connection's up to 32 MiB. After each half
    /// minute of idleness it is halved, down to the configured size. The round trip is measured by SETTINGS and, while
    /// windows grow, by a PING after DATA was received.
    #[default]
    Auto,
    /// It stays at the configured size.
    Fixed,
}

/// When a silent peer is asked whether it is still there (gRFC A8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalive {
    /// How long nothing must have come before a PING is sent. Counts from the last octet received.
    pub interval: Duration,
    /// How long anything may take to come after that PING; then the connection ends
    /// ([`Violation::KeepaliveExpired`](crate::Violation::KeepaliveExpired)). A8's own value: [`defaults::KEEPALIVE_TIMEOUT`]. It must be
    /// longer than a round trip: with zero the connection ends as soon as it asks.
    pub timeout: Duration,
    /// Whether it is asked while no stream is open. If not, and the interval has passed when a stream opens, it is asked at once.
    pub without_streams: bool,
}

/// How often a client may PING its server (gRFC A8, "Server Enforcement"). A PING that comes earlier is a strike; strikes are
/// forgotten whenever the server sends HEADERS or DATA; more than [`Limits::too_many_pings`] of them end the connection with GOAWAY
/// ENHANCE_YOUR_CALM `too_many_pings`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PingPolicy {
    /// What must lie between two PINGs. Default: [`defaults::MIN_PING_INTERVAL`]; with zero none is ever too early.
    pub min_interval: Duration,
    /// Whether that is all while no stream is open. Default: no, it is two hours then, or `min_interval` if that is longer.
    pub without_streams: bool,
}

impl Default for PingPolicy {
    fn default() -> Self {
        Self { min_interval: defaults::MIN_PING_INTERVAL, without_streams: false }
    }
}

/// Everything that can be set about one connection. `Config::default()` is safe on the open internet.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many octets of DATA the peer may send on one stream before it must wait for us.
    ///
    /// Default: [`defaults::STREAM_WINDOW`]; range: 0 to 2^31 - 1, larger values are cut. Announced as
    /// SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113 §6.5.2).
    pub stream_window_octets: u32,
    /// How many octets of DATA the peer may send on all streams together before it must wait for us.
    ///
    /// Default: [`defaults::CONNECTION_WINDOW`]; range: 65,535 to 2^31 - 1, values outside are moved to its ends. Announced by
    /// WINDOW_UPDATE on stream 0 (RFC 9113 §6.9.2).
    pub connection_window_octets: u32,
    /// Whether stream windows grow from [`Config::stream_window_octets`]. Default: [`WindowTuning::Auto`].
    pub stream_tuning: WindowTuning,
    /// Whether the connection's window grows from [`Config::connection_window_octets`]. Default: [`WindowTuning::Auto`].
    pub connection_tuning: WindowTuning,
    /// The largest frame payload the peer may send, in octets.
    ///
    /// Default: [`defaults::MAX_FRAME_SIZE`]; range: 16,384 to 16,777,215, values outside are moved to its ends.
    /// Announced as SETTINGS_MAX_FRAME_SIZE.
    pub max_frame_size: u32,
    /// Octets of HPACK dynamic table the peer's encoder may use. Default: [`defaults::HEADER_TABLE`].
    /// Announced as SETTINGS_HEADER_TABLE_SIZE.
    pub header_table_octets: u32,
    /// Octets of HPACK dynamic table our encoder uses at most, whatever the peer allows.
    /// Default: [`defaults::HEADER_TABLE`].
    pub encoder_table_octets: u32,
    /// Streams the peer may have open at once. Default: [`defaults::MAX_CONCURRENT_STREAMS`].
    /// Announced as SETTINGS_MAX_CONCURRENT_STREAMS by a server; a client allows none (it refuses pushes).
    pub max_concurrent_streams: u32,
    /// How many octets received and not yet consumed the connection may hold. Kept by stream windows alone:
    /// connection credit is never withheld. Default: [`defaults::RECEIVE_BUDGET`].
    pub receive_budget_octets: usize,
    /// How many octets may wait for the peer's credit or their turn on all streams of the connection together, as far as
    /// writers heed [`Tx::is_backlogged`](crate::Tx::is_backlogged) and [`Tx::writer_mark`](crate::Tx::writer_mark): the more
    /// of it is taken, the less a stream is allowed before its writer must pause. A stream with nothing waiting may always
    /// take in one more write. Default: [`defaults::SEND_BACKLOG`]; with 0 every writer waits until its last write is out.
    pub send_backlog_octets: usize,
    /// How long the peer has for its preface, for a whole header block, for acknowledging SETTINGS, and for answering
    /// the PING of a graceful shutdown. Default: [`defaults::PEER_TIMEOUT`].
    pub peer_timeout: Duration,
    /// The id of the first stream a client opens, odd; others are raised to the next. Ids are used up at 2^31 - 1 (RFC 9113
    /// §5.1.1), and a connection that begins late shows what happens then.
    ///
    /// Default: 1. A server opens no streams.
    pub first_stream_id: u32,
    /// When a silent peer is asked whether it is still there. Default: never.
    pub keepalive: Option<Keepalive>,
    /// Server: how often the client may PING. Default: as often as it likes, as RFC 9113 knows no rule; gRPC does.
    pub ping_policy: Option<PingPolicy>,
    /// The bounds a peer can press against.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            stream_window_octets: defaults::STREAM_WINDOW,
            connection_window_octets: defaults::CONNECTION_WINDOW,
            stream_tuning: WindowTuning::Auto,
            connection_tuning: WindowTuning::Auto,
            max_frame_size: defaults::MAX_FRAME_SIZE,
            header_table_octets: defaults::HEADER_TABLE,
            encoder_table_octets: defaults::HEADER_TABLE,
            max_concurrent_streams: defaults::MAX_CONCURRENT_STREAMS,
            receive_budget_octets: defaults::RECEIVE_BUDGET,
            send_backlog_octets: defaults::SEND_BACKLOG,
            peer_timeout: defaults::PEER_TIMEOUT,
            first_stream_id: 1,
            keepalive: None,
            ping_policy: None,
            limits: Limits::default(),
        }
    }
}
