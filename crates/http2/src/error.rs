//! What can go wrong on a connection, sorted by who is to blame and how far the damage goes. RFC 9113 §5.4, §7.
//!
//! A [`Violation`] is a rule the peer broke; [`Violation::verdict`] says what that costs. A misuse by our own caller
//! is a different type ([`SendError`], [`OpenError`]). Nothing here allocates.

use core::fmt;

/// An HTTP/2 error code (RFC 9113 §7). Open: unknown codes are legal on the wire and are kept as they came.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The RFC's name of the code, if it has one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($value => Some(stringify!($name)),)* _ => None }
            }
        }
    };
}

error_codes! {
    /// Not an error: a graceful end.
    NO_ERROR = 0x0,
    /// A rule of the protocol was broken, and no other code says it better.
    PROTOCOL_ERROR = 0x1,
    /// The sender failed on its own account.
    INTERNAL_ERROR = 0x2,
    /// More DATA than the window allowed, or a window above 2^31 - 1.
    FLOW_CONTROL_ERROR = 0x3,
    /// SETTINGS were not acknowledged in time.
    SETTINGS_TIMEOUT = 0x4,
    /// A frame for a stream that was already half-closed or closed.
    STREAM_CLOSED = 0x5,
    /// A frame of a length its type does not allow.
    FRAME_SIZE_ERROR = 0x6,
    /// The stream was not processed: it is safe to send it again.
    REFUSED_STREAM = 0x7,
    /// The stream is not wanted any more.
    CANCEL = 0x8,
    /// HPACK state can no longer be kept in step.
    COMPRESSION_ERROR = 0x9,
    /// A CONNECT tunnel broke.
    CONNECT_ERROR = 0xa,
    /// The peer causes too much work.
    ENHANCE_YOUR_CALM = 0xb,
    /// TLS parameters are not good enough.
    INADEQUATE_SECURITY = 0xc,
    /// The peer should use HTTP/1.1.
    HTTP_1_1_REQUIRED = 0xd,
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {:#x}", self.0),
        }
    }
}

/// Who caused something to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum By {
    /// The engine, because the peer broke a rule or a limit.
    Us,
    /// The peer, by a frame it sent.
    Peer,
    /// The program that uses the engine.
    Application,
}

/// How far the damage of a violation goes (RFC 9113 §5.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Scope {
    /// One stream is reset; the connection and its other streams go on.
    Stream,
    /// The connection ends with GOAWAY.
    Connection,
}

macro_rules! violations {
    ($($(#[$doc:meta])* $name:ident => $scope:ident, $code:ident, $text:literal;)*) => {
        /// A rule the peer broke. One variant per rule, so that a test can name the rule it breaks.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum Violation { $($(#[$doc])* $name,)* }

        impl Violation {
            /// Every violation, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// How far the damage goes, and the code to put on the wire.
            #[must_use]
            pub const fn verdict(self) -> (Scope, ErrorCode) {
                match self { $(Self::$name => (Scope::$scope, ErrorCode::$code),)* }
            }

            /// The rule in one lower-case phrase; it is also the debug text of the GOAWAY it causes.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

violations! {
    // RFC 9113 §3.4, §4.
    /// §3.4: the client's first octets are not the preface.
    BadPreface => Connection, PROTOCOL_ERROR, "bad connection preface";
    /// §3.4: the first octets are a record of TLS (RFC 8446 §5.1).
    TlsHandshake => Connection, PROTOCOL_ERROR,
        "the client speaks TLS and this port is cleartext: its target must say http://, or the server needs TLS";
    /// §3.4: the first octets are an HTTP/1.x request line.
    Http1Request => Connection, HTTP_1_1_REQUIRED, "HTTP/1.x request on an HTTP/2 port";
    /// §3.4: the first frame is not SETTINGS.
    FirstFrameNotSettings => Connection, PROTOCOL_ERROR, "first frame is not SETTINGS";
    /// §4.2: longer than our SETTINGS_MAX_FRAME_SIZE.
    FrameTooLarge => Connection, FRAME_SIZE_ERROR, "frame longer than SETTINGS_MAX_FRAME_SIZE";
    /// §4.2, §6: a length its type does not allow, where the whole connection depends on it.
    FrameSize => Connection, FRAME_SIZE_ERROR, "frame length not allowed for its type";
    /// §6.3: PRIORITY of a length other than 5.
    PrioritySize => Stream, FRAME_SIZE_ERROR, "PRIORITY frame is not 5 octets long";
    /// §4.3: a field block HPACK cannot decode.
    Compression => Connection, COMPRESSION_ERROR, "field block cannot be decoded";
    /// §6.10: another frame where CONTINUATION had to come.
    ExpectedContinuation => Connection, PROTOCOL_ERROR, "expected CONTINUATION";
    /// §6.10: CONTINUATION without an open field block.
    UnexpectedContinuation => Connection, PROTOCOL_ERROR, "CONTINUATION without an open field block";
    /// §6.1, §6.2: padding as long as the payload or longer.
    PaddingTooLong => Connection, PROTOCOL_ERROR, "padding exceeds the payload";
    /// §6: a frame that needs a stream came on stream 0.
    FrameOnStreamZero => Connection, PROTOCOL_ERROR, "frame must not be on stream 0";
    /// §6: a frame that concerns the connection came on a stream.
    FrameNotOnStreamZero => Connection, PROTOCOL_ERROR, "frame must be on stream 0";
    // §5.1.
    /// §5.1 idle: a frame other than HEADERS or PRIORITY on an idle stream.
    FrameOnIdleStream => Connection, PROTOCOL_ERROR, "frame on an idle stream";
    /// §5.1 half-closed (remote): DATA or HEADERS after END_STREAM.
    FrameAfterEndStream => Stream, STREAM_CLOSED, "frame after END_STREAM";
    /// §5.1 closed: DATA or HEADERS on a stream that both sides ended.
    FrameOnClosedStream => Connection, STREAM_CLOSED, "frame on a closed stream";
    /// §5.1 closed: DATA or HEADERS after the peer itself reset the stream.
    FrameAfterReset => Stream, STREAM_CLOSED, "frame on a stream its sender had reset";
    /// §5.1.1: an id that is not above every id used before.
    StreamIdNotIncreasing => Connection, PROTOCOL_ERROR, "stream id is not increasing";
    /// §5.1.1: an even id from a client, or a stream opened by a server without a push.
    StreamIdWrongParity => Connection, PROTOCOL_ERROR, "stream id has the wrong parity";
    /// §5.1.2: more streams than we allow.
    StreamLimitExceeded => Stream, REFUSED_STREAM, "SETTINGS_MAX_CONCURRENT_STREAMS exceeded";
    /// §5.3.1 of RFC 7540: a stream that depends on itself.
    SelfDependency => Stream, PROTOCOL_ERROR, "stream depends on itself";
    /// §8.4: PUSH_PROMISE although we announced SETTINGS_ENABLE_PUSH = 0, or from a client.
    PushNotAllowed => Connection, PROTOCOL_ERROR, "PUSH_PROMISE is not allowed here";
    // §6.5.
    /// §6.5.2: SETTINGS_ENABLE_PUSH other than 0 or 1, or other than 0 from a server.
    SettingEnablePush => Connection, PROTOCOL_ERROR, "bad value of SETTINGS_ENABLE_PUSH";
    /// §6.5.2: SETTINGS_INITIAL_WINDOW_SIZE above 2^31 - 1.
    SettingInitialWindow => Connection, FLOW_CONTROL_ERROR, "bad value of SETTINGS_INITIAL_WINDOW_SIZE";
    /// §6.5.2: SETTINGS_MAX_FRAME_SIZE outside 16,384 to 16,777,215.
    SettingMaxFrameSize => Connection, PROTOCOL_ERROR, "bad value of SETTINGS_MAX_FRAME_SIZE";
    /// RFC 8441 §3: SETTINGS_ENABLE_CONNECT_PROTOCOL other than 0 or 1, or 0 after 1.
    SettingConnectProtocol => Connection, PROTOCOL_ERROR, "bad value of SETTINGS_ENABLE_CONNECT_PROTOCOL";
    /// §6.5.3: SETTINGS ACK although none is outstanding.
    UnexpectedSettingsAck => Connection, PROTOCOL_ERROR, "SETTINGS ACK without SETTINGS";
    /// §6.5.3: our SETTINGS were not acknowledged in time.
    SettingsTimeout => Connection, SETTINGS_TIMEOUT, "SETTINGS not acknowledged in time (limit: peer_timeout)";
    // §6.8, §6.9.
    /// §6.8: a later GOAWAY with a higher last stream id.
    GoAwayIdRaised => Connection, PROTOCOL_ERROR, "GOAWAY raised its last stream id";
    /// §6.9: an increment of zero, on a stream.
    ZeroIncrementOnStream => Stream, PROTOCOL_ERROR, "WINDOW_UPDATE with increment 0";
    /// §6.9: an increment of zero, on the connection.
    ZeroIncrementOnConnection => Connection, PROTOCOL_ERROR, "WINDOW_UPDATE with increment 0";
    /// §6.9.1: the peer lifted a stream window above 2^31 - 1.
    StreamWindowOverflow => Stream, FLOW_CONTROL_ERROR, "stream window above 2^31 - 1";
    /// §6.9.1: the peer lifted the connection window above 2^31 - 1.
    ConnectionWindowOverflow => Connection, FLOW_CONTROL_ERROR, "connection window above 2^31 - 1";
    /// §6.9.2: a new SETTINGS_INITIAL_WINDOW_SIZE lifts a stream's window above 2^31 - 1.
    SettingsWindowOverflow => Connection, FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE lifts a window above 2^31 - 1";
    /// §6.9.1: DATA beyond the credit of its stream.
    StreamWindowExceeded => Stream, FLOW_CONTROL_ERROR, "DATA beyond the stream window";
    /// §6.9.1: DATA beyond the credit of the connection.
    ConnectionWindowExceeded => Connection, FLOW_CONTROL_ERROR, "DATA beyond the connection window";
    // §8.
    /// §8.1: DATA before the header section was complete.
    DataBeforeHeaders => Stream, PROTOCOL_ERROR, "DATA before HEADERS";
    /// §8.1: a second header section without END_STREAM.
    TrailersWithoutEndStream => Stream, PROTOCOL_ERROR, "trailers without END_STREAM";
    /// §8.1: a 1xx response with END_STREAM, or 101.
    BadInformational => Stream, PROTOCOL_ERROR, "malformed informational response";
    /// §8.1.1: content-length differs from the sum of DATA, or is not a number, or is given twice differently.
    ContentLengthMismatch => Stream, PROTOCOL_ERROR, "content-length does not match DATA";
    /// §8.2.1: a character a field name may not have, upper-case letters among them.
    BadFieldName => Stream, PROTOCOL_ERROR, "malformed field name";
    /// §8.2.1: a character a field value may not have.
    BadFieldValue => Stream, PROTOCOL_ERROR, "malformed field value";
    /// §8.2.2: connection-specific fields.
    ConnectionSpecificField => Stream, PROTOCOL_ERROR, "connection-specific field";
    /// §8.2.2: te with a value other than `trailers`.
    BadTe => Stream, PROTOCOL_ERROR, "te other than trailers";
    /// §8.3: a pseudo-header after a regular field.
    PseudoAfterRegular => Stream, PROTOCOL_ERROR, "pseudo-header field after a regular field";
    /// §8.3: a pseudo-header that is unknown, or that does not belong in this message.
    UnexpectedPseudo => Stream, PROTOCOL_ERROR, "pseudo-header field not allowed here";
    /// §8.3: a pseudo-header given twice.
    DuplicatePseudo => Stream, PROTOCOL_ERROR, "pseudo-header field repeated";
    /// §8.3.1, §8.3.2: a required pseudo-header is absent or malformed.
    MissingPseudo => Stream, PROTOCOL_ERROR, "required pseudo-header field missing or malformed";
    // Limits of ours; RFC 9113 §10.5.
    /// §10.5.1: a field block longer than we assemble.
    FieldBlockTooLarge => Connection, ENHANCE_YOUR_CALM, "field block too large (limit: field_block_octets)";
    /// §10.5.1: more CONTINUATION frames than we accept for a block.
    TooManyContinuations => Connection, ENHANCE_YOUR_CALM, "too many CONTINUATION frames (limit: continuations)";
    /// §10.5: more resets than the budget allows.
    TooManyResets => Connection, ENHANCE_YOUR_CALM, "too_many_resets (limit: resets)";
    /// §10.5: more entries in one SETTINGS frame than we read.
    TooManySettings => Connection, ENHANCE_YOUR_CALM, "too many entries in SETTINGS (limit: settings_entries)";
    /// §10.5: too many empty DATA or HEADERS frames in a row.
    TooManyEmptyFrames => Connection, ENHANCE_YOUR_CALM, "too many empty frames (limit: empty_frames)";
    /// §10.5: more PRIORITY frames than streams would explain.
    TooManyPriorities => Connection, ENHANCE_YOUR_CALM, "too many PRIORITY frames (limit: priorities_per_stream)";
    /// §10.5: more WINDOW_UPDATE frames than DATA sent would explain.
    TooManyWindowUpdates => Connection, ENHANCE_YOUR_CALM, "too many WINDOW_UPDATE frames (limit: window_updates)";
    /// §10.5: too many frames we ignore, or frames on streams long closed.
    TooManyGlitches => Connection, ENHANCE_YOUR_CALM, "too many useless frames (limit: glitches)";
    /// gRFC A8: PING more often than agreed. Clients of gRPC know the text, and slow down.
    TooManyPings => Connection, ENHANCE_YOUR_CALM, "too_many_pings";
    /// §6.7: a PING of keepalive was not answered, nor did anything else come.
    KeepaliveExpired => Connection, NO_ERROR, "PING not answered in time (limit: keepalive)";
    /// §6.7: a PING before a silent connection was used again was not answered; it had no stream.
    ProbeUnanswered => Connection, NO_ERROR, "silent connection did not answer a PING before it was used again";
    /// The preface did not arrive in time.
    PrefaceTimeout => Connection, PROTOCOL_ERROR, "connection preface not received in time (limit: peer_timeout)";
    /// A field block was begun and not finished in time.
    FieldBlockTimeout => Connection, ENHANCE_YOUR_CALM, "field block not finished in time (limit: peer_timeout)";
    /// §10.5.1: a response or trailer section over our SETTINGS_MAX_HEADER_LIST_SIZE.
    HeaderListTooLarge => Stream, ENHANCE_YOUR_CALM, "field section too large (limit: header_list_octets)";
    /// The bytes this stream would hold do not fit the connection's receive budget.
    ReceiveBudget => Stream, ENHANCE_YOUR_CALM, "receive budget of the connection is spent (limit: receive_budget_octets)";
    /// A message in assembly made no progress while others waited for the budget it holds.
    AssemblyStalled => Stream, ENHANCE_YOUR_CALM, "message made no progress while others waited for its receive budget (limit: assembly_stall)";
    /// §6.9: octets waited for credit, and none came for too long (CVE-2016-1546).
    SendStalled => Stream, ENHANCE_YOUR_CALM, "data waited too long for credit (limit: send_stall, zero_window_stall)";
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Violation {}

/// The end of a connection, caused by a violation of connection scope. A GOAWAY with its code and text is in the output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionError {
    /// The rule that was broken.
    pub violation: Violation,
}

impl ConnectionError {
    /// The code of the GOAWAY sent.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.violation.verdict().1
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.violation, self.code())
    }
}

impl std::error::Error for ConnectionError {}

/// Why a stream ended before both sides had finished it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reset {
    /// The code on the wire.
    pub code: ErrorCode,
    /// Who ended it.
    pub by: By,
    /// The rule that was broken, when it was us who ended it.
    pub violation: Option<Violation>,
}

/// Why a stream cannot be opened now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// The peer's SETTINGS_MAX_CONCURRENT_STREAMS is reached (RFC 9113 §5.1.2): wait for [`Handler::on_stream_slot`].
    ///
    /// [`Handler::on_stream_slot`]: crate::Handler::on_stream_slot
    StreamLimit,
    /// GOAWAY was sent or received: open the stream on another connection.
    GoingAway,
    /// Stream ids are used up (RFC 9113 §5.1.1): open the stream on another connection.
    IdsExhausted,
    /// The peer announced a SETTINGS_MAX_HEADER_LIST_SIZE that this header section exceeds.
    HeaderListTooLarge {
        /// Σ(name + value + 32) of the section.
        octets: usize,
        /// The peer's limit.
        limit: u32,
    },
    /// The connection is closed.
    Closed,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StreamLimit => f.write_str("the peer's stream limit is reached"),
            Self::GoingAway => f.write_str("the connection is going away"),
            Self::IdsExhausted => f.write_str("the connection has no stream ids left"),
            Self::HeaderListTooLarge { octets, limit } => {
                write!(f, "header list of {octets} octets exceeds the peer's limit of {limit}")
            }
            Self::Closed => f.write_str("the connection is closed"),
        }
    }
}

impl std::error::Error for OpenError {}

/// Why something could not be sent on a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendError {
    /// The stream is gone: it was reset, or both sides had ended it.
    StreamGone,
    /// The call is out of order: DATA before HEADERS, anything after END_STREAM.
    OutOfOrder,
    /// The peer announced a SETTINGS_MAX_HEADER_LIST_SIZE that this field section exceeds.
    HeaderListTooLarge {
        /// Σ(name + value + 32) of the section.
        octets: usize,
        /// The peer's limit.
        limit: u32,
    },
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StreamGone => f.write_str("the stream is gone"),
            Self::OutOfOrder => f.write_str("sent out of order"),
            Self::HeaderListTooLarge { octets, limit } => {
                write!(f, "field section of {octets} octets exceeds the peer's limit of {limit}")
            }
        }
    }
}

impl std::error::Error for SendError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_reads_as_one_phrase() {
        for violation in Violation::ALL {
            let text = violation.text();
            assert!(!text.is_empty() && !text.ends_with('.') && text.is_ascii(), "{violation:?}: {text}");
        }
    }

    /// Whoever reads the debug text of a GOAWAY finds the knob by it; and what ends a connection for its cost has one.
    #[test]
    fn every_limit_named_is_a_knob() {
        let knobs = format!("{:?}", crate::Config::default());
        for violation in Violation::ALL {
            let text = violation.text();
            // A text that is one word is the name itself.
            let listed = text.split_once("(limit: ").map(|(_, names)| names.trim_end_matches(')'));
            let names = listed.or((!text.contains(' ')).then_some(text)).map(|names| names.split(", "));
            assert!(
                names.is_some() || violation.verdict().1 != ErrorCode::ENHANCE_YOUR_CALM,
                "{violation:?} names no limit"
            );
            for name in names.into_iter().flatten() {
                assert!(knobs.contains(&format!(" {name}: ")), "{violation:?} names {name:?}");
            }
        }
    }

    #[test]
    fn unknown_codes_are_kept_and_printed() {
        assert_eq!(ErrorCode(0xbeef).to_string(), "error code 0xbeef");
        assert_eq!(ErrorCode(8), ErrorCode::CANCEL);
        assert_eq!(ErrorCode::CANCEL.to_string(), "CANCEL");
    }
}
