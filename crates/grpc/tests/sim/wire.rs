//! Frames on a link, turned into facts about calls.

use clearway::Code;
use clearway_http2::ErrorCode;
use clearway_http2::frame::{Flags, FrameHeader, Kind};
use clearway_http2::hpack::{Decoder, FieldSection, SectionLimits};
use clearway_testkit::{FrameTap, Tapped};

use crate::record::{Fact, Record};

/// Listens at one place of one way.
pub(crate) struct Listener {
    tap: FrameTap,
    fields: Fields,
}

/// Field sections, decoded.
struct Fields {
    decoder: Decoder,
    block: Vec<u8>,
    section: FieldSection,
}

fn word(payload: &[u8], at: usize) -> u32 {
    payload[at..at + 4].iter().fold(0, |word, octet| word << 8 | u32::from(*octet))
}

impl Fields {
    /// The section, once it is whole.
    fn take(&mut self, header: FrameHeader, payload: &[u8]) -> Option<&FieldSection> {
        self.block.extend_from_slice(payload);
        if !header.flags.contains(Flags::END_HEADERS) {
            return None;
        }
        let limits = SectionLimits { list_octets: 1 << 20, fields: 1 << 12 };
        let block = std::mem::take(&mut self.block);
        self.decoder.decode(&block, &limits, &mut self.section).expect("what an engine encodes decodes");
        Some(&self.section)
    }

    fn value(section: &FieldSection, name: &str) -> Option<String> {
        let field = section.iter().find(|field| field.name == name.as_bytes())?;
        Some(String::from_utf8_lossy(field.value).into_owned())
    }
}

impl Listener {
    pub(crate) fn new(of_client: bool) -> Self {
        let fields =
            Fields { decoder: Decoder::new(4096), block: Vec::new(), section: FieldSection::default() };
        Self { tap: FrameTap::new(of_client), fields }
    }

    /// The client's octets, as they leave it: which stream is which call.
    pub(crate) fn hear_requests(&mut self, connection: usize, octets: &[u8], record: &mut Record) {
        let fields = &mut self.fields;
        self.tap.feed(octets, |tapped| {
            let Tapped::Whole(header, payload) = tapped else { return };
            if matches!(header.kind, Kind::HEADERS | Kind::CONTINUATION)
                && let Some(section) = fields.take(header, payload)
                && let Some(call) = Fields::value(section, "x-call").and_then(|text| text.parse().ok())
            {
                record.attempt(connection, header.stream_id, call);
            }
        });
    }

    /// The server's octets, as they reach the client.
    pub(crate) fn hear_answers(&mut self, connection: usize, octets: &[u8], record: &mut Record) {
        let fields = &mut self.fields;
        self.tap.feed(octets, |tapped| {
            let Tapped::Whole(header, payload) = tapped else { return };
            let FrameHeader { kind, flags, stream_id, .. } = header;
            let end = flags.contains(Flags::END_STREAM);
            match kind {
                Kind::HEADERS | Kind::CONTINUATION => {
                    let Some(section) = fields.take(header, payload) else { return };
                    let status = Fields::value(section, "grpc-status").and_then(|text| text.parse().ok());
                    match status {
                        Some(number) => {
                            record.ends(connection, stream_id, Fact::Status(Code::from_i32(number)));
                        }
                        None if end => record.ends(connection, stream_id, Fact::BareEnd),
                        None => {
                            record.connections[connection].begun.insert(stream_id);
                        }
                    }
                }
                Kind::DATA if end => record.ends(connection, stream_id, Fact::BareEnd),
                Kind::RST_STREAM => {
                    record.ends(connection, stream_id, Fact::Reset(ErrorCode(word(payload, 0))));
                }
                Kind::SETTINGS => {
                    let now = record.now();
                    record.connections[connection].ready.get_or_insert(now);
                }
                Kind::GOAWAY => {
                    let last = word(payload, 0);
                    record.connections[connection].goaway = Some((record.now(), last));
                    let calls = &record.connections[connection].calls;
                    let left_out: Vec<u32> = calls.range(last + 1..).map(|(stream, _)| *stream).collect();
                    left_out.into_iter().for_each(|stream| record.ends(connection, stream, Fact::LeftOut));
                }
                _ => {}
            }
        });
    }
}
