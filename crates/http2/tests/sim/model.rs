//! The independent model: what must have become of every stream of one side, said from the frames that reached it and the
//! frames it sent, by the rules of RFC 9113 §5.1, §6.4, §6.8 and §8.1, and from nothing the engine says about itself.
//!
//! Frames of one step are concurrent: the model knows their order on each way and not between the ways. Where that matters
//! several verdicts are right.

use std::collections::BTreeMap;

use clearway_http2::frame::{Flags, FrameHeader, Kind};
use clearway_http2::stream::State;
use clearway_http2::{ErrorCode, Role};

/// How a call may have ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// The response is whole; of a server: or it did not need the rest of the request.
    Complete,
    PeerReset(ErrorCode),
    WeReset(ErrorCode),
    /// Above the last stream of a GOAWAY: it was not processed.
    LeftOut,
    /// The connection ended.
    Lost,
}

/// One stream, as the wire tells it.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    sent_end: bool,
    got_end: bool,
    closed: bool,
    /// By what came, and by what was sent; of one step only.
    verdicts: [Option<Verdict>; 2],
    sealed: bool,
}

/// All streams of one side.
#[derive(Debug)]
pub(crate) struct Model {
    role: Role,
    streams: BTreeMap<u32, Stream>,
    /// The last stream our GOAWAY named.
    last_admitted: u32,
    /// HEADERS that came and that CONTINUATION follows.
    open_block: Option<FrameHeader>,
}

impl Stream {
    fn end(&mut self, by_us: usize, verdict: Verdict, closed: bool) {
        if !self.sealed && self.verdicts[by_us].is_none() {
            self.verdicts[by_us] = Some(verdict);
        }
        self.closed |= closed;
    }

    fn ended(&mut self, role: Role, by_us: usize) {
        let both = self.sent_end && self.got_end;
        if both || (role == Role::Client && self.got_end) {
            self.end(by_us, Verdict::Complete, both);
        }
    }

    /// True if the call may have ended so.
    pub(crate) fn allows(&self, verdict: Verdict) -> bool {
        self.verdicts.contains(&Some(verdict))
    }

    pub(crate) fn state(&self) -> State {
        match (self.closed, self.sent_end, self.got_end) {
            (true, _, _) => State::Closed,
            (_, true, _) => State::HalfClosedLocal,
            (_, _, true) => State::HalfClosedRemote,
            _ => State::Open,
        }
    }
}

fn word(payload: &[u8], at: usize) -> u32 {
    payload[at..at + 4].iter().fold(0, |word, octet| word << 8 | u32::from(*octet))
}

impl Model {
    pub(crate) fn new(role: Role) -> Self {
        Self { role, streams: BTreeMap::new(), last_admitted: u32::MAX, open_block: None }
    }

    pub(crate) fn stream(&self, id: u32) -> Option<&Stream> {
        self.streams.get(&id)
    }

    /// A frame reached this side whole. True if it is a request that must be shown to the program, unless it is refused.
    pub(crate) fn got(&mut self, mut header: FrameHeader, payload: &[u8]) -> bool {
        let field_block = matches!(header.kind, Kind::HEADERS | Kind::CONTINUATION);
        if field_block {
            // A section counts when it is whole (§4.3).
            let began = self.open_block.take().unwrap_or(header);
            if !header.flags.contains(Flags::END_HEADERS) {
                self.open_block = Some(began);
                return false;
            }
            header = began;
        }
        let FrameHeader { kind, flags, stream_id, .. } = header;
        if kind == Kind::GOAWAY && self.role == Role::Client {
            let last = word(payload, 0);
            let left_out = self.streams.range_mut(last + 1..).filter(|(_, stream)| !stream.closed);
            left_out.for_each(|(_, stream)| stream.end(0, Verdict::LeftOut, true));
        }
        let fresh =
            self.role == Role::Server && kind == Kind::HEADERS && !self.streams.contains_key(&stream_id);
        if fresh {
            self.streams.insert(stream_id, Stream::default());
        }
        let role = self.role;
        let Some(stream) = self.streams.get_mut(&stream_id).filter(|stream| !stream.closed) else {
            return fresh;
        };
        match kind {
            Kind::DATA | Kind::HEADERS if flags.contains(Flags::END_STREAM) => {
                stream.got_end = true;
                stream.ended(role, 0);
            }
            Kind::RST_STREAM => stream.end(0, Verdict::PeerReset(ErrorCode(word(payload, 0))), true),
            _ => {}
        }
        fresh
    }

    /// This side sent a frame.
    pub(crate) fn sent(&mut self, header: FrameHeader, payload: &[u8]) {
        let FrameHeader { kind, flags, stream_id, .. } = header;
        let role = self.role;
        if kind == Kind::GOAWAY {
            self.last_admitted = word(payload, 0);
        }
        if kind == Kind::HEADERS && role == Role::Client {
            self.streams.entry(stream_id).or_default();
        }
        let Some(stream) = self.streams.get_mut(&stream_id).filter(|stream| !stream.sealed || !stream.closed)
        else {
            return;
        };
        match kind {
            Kind::DATA | Kind::HEADERS if flags.contains(Flags::END_STREAM) => {
                stream.sent_end = true;
                stream.ended(role, 1);
            }
            // RFC 9113 §8.1: a server that has answered does not need the rest of the request.
            Kind::RST_STREAM if role == Role::Server && stream.sent_end && word(payload, 0) == 0 => {
                stream.end(1, Verdict::Complete, true);
            }
            Kind::RST_STREAM => stream.end(1, Verdict::WeReset(ErrorCode(word(payload, 0))), true),
            _ => {}
        }
    }

    /// The connection is over on this side.
    pub(crate) fn lost(&mut self) {
        let open = self.streams.values_mut().filter(|stream| !stream.closed);
        open.for_each(|stream| stream.end(0, Verdict::Lost, true));
    }

    /// What comes later cannot have come before this.
    pub(crate) fn end_step(&mut self, ids: impl Iterator<Item = u32>) {
        for id in ids {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.sealed |= stream.verdicts != [None; 2];
            }
        }
    }

    /// Server: whether a request that came had to be shown to the program.
    pub(crate) fn admits(&self, id: u32) -> bool {
        let refused = self.stream(id).is_some_and(|s| s.allows(Verdict::WeReset(ErrorCode::REFUSED_STREAM)));
        id <= self.last_admitted && !refused
    }
}
