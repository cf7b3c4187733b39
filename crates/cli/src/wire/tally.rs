//! Counting: frames, octets, and what header compression saved.

use clearway_http2::Direction;
use clearway_http2::frame::FrameHeader;

use super::collect::{Content, Entry, What};

/// The client's connection preface (RFC 9113 §3.4).
pub(crate) const PREFACE_OCTETS: usize = 24;

/// What went one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) frames: usize,
    /// Frame headers and the preface included.
    pub(crate) octets: usize,
    /// Names and values of all fields.
    pub(crate) fields_raw: usize,
    /// Field blocks.
    pub(crate) fields_wire: usize,
}

/// What went both ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: Traffic,
    pub(crate) received: Traffic,
}

impl Tally {
    /// Counts entries.
    pub(crate) fn of(entries: &[Entry]) -> Self {
        let mut tally = Self::default();
        for entry in entries {
            match &entry.what {
                What::Preface(direction) => tally.traffic(*direction).octets += PREFACE_OCTETS,
                What::Frame { direction, header, content } => {
                    let traffic = tally.traffic(*direction);
                    traffic.frames += 1;
                    traffic.octets += FrameHeader::OCTETS + header.length as usize;
                    if let Content::Section(section) = content {
                        traffic.fields_raw += section.raw_octets();
                        traffic.fields_wire += section.block_octets;
                    }
                }
                What::Closed { .. } => {}
            }
        }
        tally
    }

    /// Adds another count.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent.add(&other.sent);
        self.received.add(&other.received);
    }

    fn traffic(&mut self, direction: Direction) -> &mut Traffic {
        match direction {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        }
    }
}

impl Traffic {
    fn add(&mut self, other: &Self) {
        self.frames += other.frames;
        self.octets += other.octets;
        self.fields_raw += other.fields_raw;
        self.fields_wire += other.fields_wire;
    }
}

/// What compression did, in words: `92 % saved`. Nothing for an empty section.
pub(crate) fn saving(raw: usize, wire: usize) -> Option<String> {
    if raw == 0 {
        return None;
    }
    let percent = |part: usize| part.saturating_mul(200).saturating_add(raw) / raw.saturating_mul(2);
    Some(match raw.checked_sub(wire) {
        Some(saved) => format!("{} % saved", percent(saved)),
        None => format!("{} % more", percent(wire.saturating_sub(raw))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn savings_are_rounded_to_whole_percents() {
        assert_eq!(saving(187, 14).unwrap(), "93 % saved");
        assert_eq!(saving(3, 1).unwrap(), "67 % saved");
        assert_eq!(saving(100, 100).unwrap(), "0 % saved");
        assert_eq!(saving(10, 12).unwrap(), "20 % more");
        assert_eq!(saving(0, 1), None);
    }
}
