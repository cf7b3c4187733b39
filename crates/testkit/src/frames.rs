//! Frames by name, legal and illegal ones: what a test sends, and what it expects.
//!
//! A [`FrameSpec`] is only a description; [`Peer`](crate::Peer) encodes it with its own HPACK state, and compares it with
//! what came. Every flag, length and field can be made wrong.

use clearway_http2::ErrorCode;
use clearway_http2::frame::{Flags, FrameHeader, Kind, PriorityParams, SettingId};

/// What a frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Octets(Vec<u8>),
    /// A field section, to be encoded when it is sent.
    Fields(Vec<(String, String)>),
}

/// A frame to send or to expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameSpec {
    pub(crate) kind: Kind,
    pub(crate) flags: Flags,
    pub(crate) stream_id: u32,
    pub(crate) payload: Payload,
    /// Octets before the content that are not field block: priority fields, the promised id.
    pub(crate) prefix: Vec<u8>,
    pub(crate) padding: Option<u8>,
}

impl FrameSpec {
    fn new(kind: Kind, flags: Flags, stream_id: u32, payload: Payload) -> Self {
        Self { kind, flags, stream_id, payload, prefix: Vec::new(), padding: None }
    }

    /// Sets END_STREAM.
    #[must_use]
    pub fn end_stream(self) -> Self {
        self.flags(Flags::END_STREAM)
    }

    /// Sets flags on top of those it has.
    #[must_use]
    pub fn flags(mut self, flags: Flags) -> Self {
        self.flags = self.flags | flags;
        self
    }

    /// Takes END_HEADERS away: CONTINUATION must follow.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.flags = Flags(self.flags.0 & !Flags::END_HEADERS.0);
        self
    }

    /// Sets END_HEADERS.
    #[must_use]
    pub fn end_headers(self) -> Self {
        self.flags(Flags::END_HEADERS)
    }

    /// Adds a field to a field section.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        match &mut self.payload {
            Payload::Fields(fields) => fields.push((name.to_owned(), value.to_owned())),
            Payload::Octets(_) => panic!("{:?} has no fields here", self.kind),
        }
        self
    }

    /// Adds fields to a field section.
    #[must_use]
    pub fn fields(self, fields: &[(&str, &str)]) -> Self {
        fields.iter().fold(self, |spec, (name, value)| spec.field(name, value))
    }

    /// Adds the pseudo-header fields of a gRPC request: POST to `/pkg.Svc/Method`.
    #[must_use]
    pub fn request(self) -> Self {
        self.fields(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/pkg.Svc/Method"),
            (":authority", "test"),
        ])
    }

    /// Adds `:status: 200`.
    #[must_use]
    pub fn response(self) -> Self {
        self.field(":status", "200")
    }

    /// Puts these octets where the field block would be.
    #[must_use]
    pub fn block(mut self, octets: &[u8]) -> Self {
        self.payload = Payload::Octets(octets.to_vec());
        self
    }

    /// Adds padding: the pad length octet and so many zeros.
    #[must_use]
    pub fn padded(mut self, octets: u8) -> Self {
        self.padding = Some(octets);
        self.flags(Flags::PADDED)
    }

    /// Adds priority fields to HEADERS.
    #[must_use]
    pub fn depends_on(mut self, dependency: u32) -> Self {
        PriorityParams { dependency, exclusive: false, weight: 16 }.encode(&mut self.prefix);
        self.flags(Flags::PRIORITY)
    }

    /// Moves the frame to another stream.
    #[must_use]
    pub fn on(mut self, stream_id: u32) -> Self {
        self.stream_id = stream_id;
        self
    }

    /// The frame's type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The stream it is on.
    #[must_use]
    pub fn stream_id(&self) -> u32 {
        self.stream_id
    }

    /// Whether these flags are set.
    #[must_use]
    pub fn has(&self, flags: Flags) -> bool {
        self.flags.contains(flags)
    }

    /// The payload; empty for a field section.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        match &self.payload {
            Payload::Octets(octets) => octets,
            Payload::Fields(_) => &[],
        }
    }

    /// The whole frame on the wire, with `content` where the payload is.
    pub(crate) fn wire(&self, content: &[u8]) -> Vec<u8> {
        let mut payload = Vec::new();
        payload.extend(self.padding);
        payload.extend_from_slice(&self.prefix);
        payload.extend_from_slice(content);
        payload.resize(payload.len() + usize::from(self.padding.unwrap_or(0)), 0);
        let length = u32::try_from(payload.len()).unwrap();
        let header = FrameHeader { length, kind: self.kind, flags: self.flags, stream_id: self.stream_id };
        let mut out = header.encode().to_vec();
        out.extend_from_slice(&payload);
        out
    }
}

fn octets(kind: Kind, stream_id: u32, octets: &[u8]) -> FrameSpec {
    FrameSpec::new(kind, Flags::default(), stream_id, Payload::Octets(octets.to_vec()))
}

/// DATA (RFC 9113 §6.1).
#[must_use]
pub fn data(stream_id: u32, content: &[u8]) -> FrameSpec {
    octets(Kind::DATA, stream_id, content)
}

/// HEADERS with END_HEADERS and no fields yet (§6.2).
#[must_use]
pub fn headers(stream_id: u32) -> FrameSpec {
    FrameSpec::new(Kind::HEADERS, Flags::END_HEADERS, stream_id, Payload::Fields(Vec::new()))
}

/// PRIORITY (§6.3).
#[must_use]
pub fn priority(stream_id: u32, dependency: u32) -> FrameSpec {
    let mut payload = Vec::new();
    PriorityParams { dependency, exclusive: false, weight: 16 }.encode(&mut payload);
    octets(Kind::PRIORITY, stream_id, &payload)
}

/// RST_STREAM (§6.4).
#[must_use]
pub fn rst_stream(stream_id: u32, code: ErrorCode) -> FrameSpec {
    octets(Kind::RST_STREAM, stream_id, &code.0.to_be_bytes())
}

/// SETTINGS (§6.5).
#[must_use]
pub fn settings(values: &[(SettingId, u32)]) -> FrameSpec {
    let mut payload = Vec::new();
    for (id, value) in values {
        payload.extend_from_slice(&id.0.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    octets(Kind::SETTINGS, 0, &payload)
}

/// The acknowledgement of SETTINGS (§6.5.3).
#[must_use]
pub fn settings_ack() -> FrameSpec {
    octets(Kind::SETTINGS, 0, &[]).flags(Flags::ACK)
}

/// PUSH_PROMISE with a block nobody will read (§6.6).
#[must_use]
pub fn push_promise(stream_id: u32, promised: u32) -> FrameSpec {
    let mut payload = promised.to_be_bytes().to_vec();
    payload.push(0x82);
    octets(Kind::PUSH_PROMISE, stream_id, &payload).end_headers()
}

/// PING (§6.7).
#[must_use]
pub fn ping(payload: [u8; 8]) -> FrameSpec {
    octets(Kind::PING, 0, &payload)
}

/// GOAWAY without debug data (§6.8).
#[must_use]
pub fn goaway(last_stream_id: u32, code: ErrorCode) -> FrameSpec {
    let mut payload = last_stream_id.to_be_bytes().to_vec();
    payload.extend_from_slice(&code.0.to_be_bytes());
    octets(Kind::GOAWAY, 0, &payload)
}

/// WINDOW_UPDATE (§6.9).
#[must_use]
pub fn window_update(stream_id: u32, increment: u32) -> FrameSpec {
    octets(Kind::WINDOW_UPDATE, stream_id, &increment.to_be_bytes())
}

/// CONTINUATION (§6.10), without END_HEADERS.
#[must_use]
pub fn continuation(stream_id: u32, fragment: &[u8]) -> FrameSpec {
    octets(Kind::CONTINUATION, stream_id, fragment)
}

/// A frame of any type.
#[must_use]
pub fn unknown(kind: u8, stream_id: u32, payload: &[u8]) -> FrameSpec {
    octets(Kind(kind), stream_id, payload)
}
