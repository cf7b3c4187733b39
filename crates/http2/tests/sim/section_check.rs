//! A decoder of our own beside each engine's encoder, as strict as RFC 7541 §4.2 lets a peer be: it learns of every change of
//! SETTINGS_HEADER_TABLE_SIZE at the acknowledgement of it, also of those that the peer's engine never made.

use std::collections::VecDeque;

use clearway_http2::frame::{Flags, FrameHeader, Kind, SettingId};
use clearway_http2::hpack::{Decoder, FieldSection, SectionLimits};

/// What one side's encoder says, read strictly.
pub(crate) struct SectionCheck {
    decoder: Decoder,
    block: Vec<u8>,
    section: FieldSection,
    /// Of each SETTINGS that came and was not acknowledged, the table size it asked for.
    asked: VecDeque<Option<u32>>,
}

impl SectionCheck {
    pub(crate) fn new() -> Self {
        Self {
            decoder: Decoder::new(4_096),
            block: Vec::new(),
            section: FieldSection::default(),
            asked: VecDeque::new(),
        }
    }

    /// SETTINGS reached this side.
    pub(crate) fn asked(&mut self, header: FrameHeader, payload: &[u8]) {
        if header.kind != Kind::SETTINGS || header.flags.contains(Flags::ACK) {
            return;
        }
        let size = payload.chunks(6).find(|entry| entry[..2] == SettingId::HEADER_TABLE_SIZE.0.to_be_bytes());
        self.asked.push_back(
            size.map(|entry| entry[2..].iter().fold(0, |word, octet| word << 8 | u32::from(*octet))),
        );
    }

    /// This side said something. A whole section comes back as its `:path`, or empty.
    pub(crate) fn said(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<String>, String> {
        if header.kind == Kind::SETTINGS && header.flags.contains(Flags::ACK) {
            if let Some(Some(size)) = self.asked.pop_front() {
                self.decoder.set_max_table_octets(size);
            }
            return Ok(None);
        }
        if !matches!(header.kind, Kind::HEADERS | Kind::CONTINUATION) {
            return Ok(None);
        }
        self.block.extend_from_slice(payload);
        if !header.flags.contains(Flags::END_HEADERS) {
            return Ok(None);
        }
        let block = std::mem::take(&mut self.block);
        let limits = SectionLimits { list_octets: 1 << 20, fields: 1 << 12 };
        let decoded = self.decoder.decode(&block, &limits, &mut self.section);
        decoded.map_err(|error| format!("a strict peer cannot decode a section: {error:?}, {block:x?}"))?;
        let path = self.section.iter().find(|field| field.name == b":path");
        Ok(Some(path.map_or_else(String::new, |field| String::from_utf8_lossy(field.value).into_owned())))
    }
}
