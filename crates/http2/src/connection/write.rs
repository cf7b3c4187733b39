//! Frames written to the output, and shown to the observer as they are. RFC 9113 §6.
//!
//! Invariant: every frame is traced once, when it is whole in the output; a field block is contiguous (§4.3).

use super::Role;
use super::tx::Tx;
use crate::error::ErrorCode;
use crate::frame::{Flags, FrameHeader, Kind};
use crate::hpack::{Field, HeaderField, Indexing, Name};
use crate::observe::{Direction, Trace};
use crate::settings;

impl Tx {
    pub(super) fn write_goaway(&mut self, last_stream_id: u32, code: ErrorCode, debug: &[u8]) {
        let goaway = crate::frame::GoAway { last_stream_id, code, debug };
        let start = self.output.tail().len();
        goaway.encode(self.output.tail());
        self.account_raw_frame(start);
    }

    /// Books a whole frame that was encoded into the tail by itself, and traces it.
    pub(super) fn account_raw_frame(&mut self, start: usize) {
        self.output.account(start);
        if let Some(observer) = &mut self.observer
            && let Some((head, payload)) =
                self.output.since(start).split_first_chunk::<{ FrameHeader::OCTETS }>()
        {
            let header = FrameHeader::decode(*head);
            observer.on_trace(self.now, &Trace::Frame { direction: Direction::Sent, header, payload });
        }
    }

    pub(super) fn write_reset(&mut self, id: u32, code: ErrorCode) {
        let payload = code.0.to_be_bytes();
        let header = self
            .output
            .frame(Kind::RST_STREAM, Flags::default(), id, |tail| tail.extend_from_slice(&payload));
        self.trace_frame(header, &payload);
    }

    pub(super) fn write_window_update(&mut self, id: u32, increment: u32) {
        let payload = increment.to_be_bytes();
        let header = self
            .output
            .frame(Kind::WINDOW_UPDATE, Flags::default(), id, |tail| tail.extend_from_slice(&payload));
        self.trace_frame(header, &payload);
    }

    /// Our SETTINGS, unless they went out already, and the connection window they cannot express (RFC 9113 §6.9.2).
    pub(super) fn write_announcement(&mut self) {
        if self.announced {
            return;
        }
        self.announced = true;
        let values = settings::announced(&self.config, self.role == Role::Client);
        let start = self.output.tail().len();
        crate::frame::encode_settings(&values, self.output.tail());
        self.account_raw_frame(start);
        self.round_trip.asked(self.now);
        if let Some(credit) = self.recv_window.announce_all() {
            self.write_window_update(0, credit);
        }
    }

    pub(super) fn write_settings_ack(&mut self) {
        let header = self.output.frame(Kind::SETTINGS, Flags::ACK, 0, |_| {});
        self.trace_frame(header, &[]);
        self.counters.answered();
    }

    pub(super) fn write_pong(&mut self, payload: [u8; 8]) {
        let header = self.output.frame(Kind::PING, Flags::ACK, 0, |tail| tail.extend_from_slice(&payload));
        self.trace_frame(header, &payload);
        self.counters.answered();
    }

    /// Encodes a field section as HEADERS and, if the peer's frames are too small for it, CONTINUATION.
    pub(super) fn write_section<'a>(
        &mut self,
        id: u32,
        fields: impl Iterator<Item = HeaderField<'a>> + Clone,
        end_stream: bool,
    ) {
        let start = self.output.begin();
        let mut sizes = Vec::new();
        let observed = self.observer.is_some();
        if observed {
            self.encoder.begin(self.output.tail());
            for field in fields.clone() {
                let before = self.output.tail().len();
                self.encoder.encode(field, self.output.tail());
                sizes.push(self.output.tail().len() - before);
            }
        } else {
            self.encoder.encode_section(fields.clone(), self.output.tail());
        }
        self.finish_section(id, start, end_stream);
        if observed {
            self.trace_fields(id, fields, &sizes);
        }
    }

    /// As [`Tx::write_section`], for fields that are part of the program, while nobody observes.
    #[inline]
    pub(super) fn write_fixed(&mut self, id: u32, fields: &'static [HeaderField<'static>], end_stream: bool) {
        if let Some(block) = self.encoder.known_fixed(fields) {
            self.spoke = true;
            let end = if end_stream { Flags::END_STREAM } else { Flags::default() };
            return self.output.short_frame(Kind::HEADERS, end | Flags::END_HEADERS, id, block);
        }
        let start = self.output.begin();
        self.encoder.encode_fixed(fields, self.output.tail());
        self.finish_section(id, start, end_stream);
    }

    /// Makes frames of the field block that was encoded since `start`.
    #[inline]
    pub(super) fn finish_section(&mut self, id: u32, start: usize, end_stream: bool) {
        self.spoke = true;
        let end = if end_stream { Flags::END_STREAM } else { Flags::default() };
        let max = self.peer.max_frame_size as usize;
        if self.output.payload(start).len() <= max {
            let header = self.output.seal(start, Kind::HEADERS, end | Flags::END_HEADERS, id);
            self.trace_section_frame(header, start);
        } else {
            let block = self.output.take_back(start);
            self.write_split_section(id, &block, end, max);
        }
    }

    pub(super) fn write_split_section(&mut self, id: u32, block: &[u8], end: Flags, max: usize) {
        let count = block.len().div_ceil(max);
        for (n, fragment) in block.chunks(max).enumerate() {
            let kind = if n == 0 { Kind::HEADERS } else { Kind::CONTINUATION };
            let mut flags = if n == 0 { end } else { Flags::default() };
            if n + 1 == count {
                flags = flags | Flags::END_HEADERS;
            }
            let header = self.output.frame(kind, flags, id, |tail| tail.extend_from_slice(fragment));
            self.trace_frame(header, fragment);
        }
    }

    #[inline]
    pub(super) fn trace_frame(&mut self, header: FrameHeader, payload: &[u8]) {
        if let Some(observer) = &mut self.observer {
            observer.on_trace(self.now, &Trace::Frame { direction: Direction::Sent, header, payload });
        }
    }

    #[inline]
    pub(super) fn trace_section_frame(&mut self, header: FrameHeader, start: usize) {
        if let Some(observer) = &mut self.observer {
            let payload = self.output.payload(start);
            observer.on_trace(self.now, &Trace::Frame { direction: Direction::Sent, header, payload });
        }
    }

    pub(super) fn trace_fields<'a>(
        &mut self,
        stream_id: u32,
        fields: impl Iterator<Item = HeaderField<'a>>,
        sizes: &[usize],
    ) {
        let Some(observer) = &mut self.observer else { return };
        for (field, size) in fields.zip(sizes) {
            let field = Field {
                known: Name::from_bytes(field.name),
                name: field.name,
                value: field.value,
                sensitive: matches!(field.indexing, Indexing::Never),
                wire_octets: u32::try_from(*size).unwrap_or(u32::MAX),
            };
            observer.on_trace(self.now, &Trace::Field { direction: Direction::Sent, stream_id, field });
        }
    }
}
