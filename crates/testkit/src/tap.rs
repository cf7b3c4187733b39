//! Listening to a byte stream as frames, whatever pieces it comes in: what a link carried, told apart from what either
//! engine says about it.

use clearway_http2::connection::PREFACE;
use clearway_http2::frame::{FrameHeader, Kind};

/// Something that went by. Every frame begins and, if all of it comes, is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tapped<'a> {
    /// A frame's header was complete.
    Begins(FrameHeader),
    /// So many octets of a DATA frame's payload.
    Content(FrameHeader, usize),
    /// A frame was complete. The payload of DATA is not kept.
    Whole(FrameHeader, &'a [u8]),
}

/// Cuts a byte stream into frames.
#[derive(Clone, Debug)]
pub struct FrameTap {
    preface_left: usize,
    head: Vec<u8>,
    frame: Option<FrameHeader>,
    left: usize,
    payload: Vec<u8>,
}

impl FrameTap {
    /// A tap on what a client says, which begins with the preface, or on what a server says.
    #[must_use]
    pub const fn new(of_client: bool) -> Self {
        let preface_left = if of_client { PREFACE.len() } else { 0 };
        Self { preface_left, head: Vec::new(), frame: None, left: 0, payload: Vec::new() }
    }

    /// Octets went by.
    pub fn feed(&mut self, mut octets: &[u8], mut see: impl FnMut(Tapped<'_>)) {
        let preface = self.preface_left.min(octets.len());
        self.preface_left -= preface;
        octets = &octets[preface..];
        loop {
            let Some(header) = self.frame else {
                let missing = (FrameHeader::OCTETS - self.head.len()).min(octets.len());
                self.head.extend_from_slice(&octets[..missing]);
                octets = &octets[missing..];
                let Ok(head) = self.head.as_slice().try_into() else { return };
                let header = FrameHeader::decode(head);
                self.head.clear();
                (self.frame, self.left) = (Some(header), header.length as usize);
                see(Tapped::Begins(header));
                continue;
            };
            let taken = self.left.min(octets.len());
            if header.kind == Kind::DATA {
                if taken > 0 {
                    see(Tapped::Content(header, taken));
                }
            } else {
                self.payload.extend_from_slice(&octets[..taken]);
            }
            (self.left, octets) = (self.left - taken, &octets[taken..]);
            if self.left > 0 {
                return;
            }
            see(Tapped::Whole(header, &self.payload));
            self.payload.clear();
            self.frame = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_the_same_however_the_octets_are_cut() {
        let mut octets = PREFACE.to_vec();
        octets.extend_from_slice(&[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        octets.extend_from_slice(&[0, 0, 3, 0, 1, 0, 0, 0, 5, 7, 7, 7]);
        octets.extend_from_slice(&[0, 0, 0, 4, 1, 0, 0, 0, 0]);
        for cut in [1, 2, 5, 9, 1000] {
            let (mut tap, mut whole, mut content) = (FrameTap::new(true), Vec::new(), 0);
            for piece in octets.chunks(cut) {
                tap.feed(piece, |tapped| match tapped {
                    Tapped::Whole(header, payload) => whole.push((header.kind, payload.to_vec())),
                    Tapped::Content(_, octets) => content += octets,
                    Tapped::Begins(_) => {}
                });
            }
            let expected =
                [(Kind::WINDOW_UPDATE, vec![0, 0, 1, 0]), (Kind::DATA, vec![]), (Kind::SETTINGS, vec![])];
            assert_eq!((whole.as_slice(), content), (expected.as_slice(), 3), "in pieces of {cut}");
        }
    }
}
