//! What is to be written to the peer: a contiguous tail that frames are encoded into, and owned payloads chained between
//! stretches of it, so that one vectored write carries many frames of many streams.
//!
//! A chained payload takes an entry in a queue and nothing else: the headers of all frames lie in the one tail.
//!
//! Invariant: what was put here goes out in order and whole; a frame once begun is finished even if its stream dies.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf as _, Bytes};

use crate::frame::{Flags, FrameHeader, Kind};
use crate::hpack::Short;

/// Ready-made payloads from this size on are chained, below it copied (two iovecs cost more than the copy).
const CHAIN_FROM: usize = 4096;
/// Written octets in front of the tail are removed from this many on, once they outweigh what is left.
const REMOVE_FROM: usize = 32 * 1024;
/// A buffer that grew beyond this is not kept.
const KEEP_UP_TO: usize = 256 * 1024;

/// A payload that was not copied.
#[derive(Debug)]
struct Chained {
    /// How far the tail goes out before it.
    after: usize,
    /// What is left of it.
    payload: Bytes,
}

/// Unsent output.
#[derive(Debug, Default)]
pub(crate) struct Output {
    chain: VecDeque<Chained>,
    tail: Vec<u8>,
    /// Octets at the front of the tail that are written already.
    written: usize,
    pending: usize,
}

impl Output {
    /// Octets not written yet.
    #[inline]
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// True if `pending` is what is kept and not written, and every payload has its place in the tail, in order.
    #[cfg(debug_assertions)]
    pub(crate) fn adds_up(&self) -> bool {
        let chained: usize = self.chain.iter().map(|each| each.payload.len()).sum();
        let places: Vec<usize> = self.chain.iter().map(|each| each.after).collect();
        let in_order = places.is_sorted() && places.iter().all(|place| *place <= self.tail.len());
        in_order && self.pending + self.written == chained + self.tail.len()
    }

    /// Appends a frame whose payload `fill` writes; the header is patched in afterwards.
    pub(crate) fn frame(
        &mut self,
        kind: Kind,
        flags: Flags,
        stream_id: u32,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> FrameHeader {
        let start = self.tail.len();
        self.tail.extend_from_slice(&[0; FrameHeader::OCTETS]);
        fill(&mut self.tail);
        self.seal(start, kind, flags, stream_id)
    }

    /// Appends a frame around a block of a few octets.
    #[inline]
    pub(crate) fn short_frame<const N: usize>(
        &mut self,
        kind: Kind,
        flags: Flags,
        stream_id: u32,
        block: &Short<N>,
    ) {
        let start = self.tail.len();
        let header = FrameHeader { length: block.octets(), kind, flags, stream_id };
        self.tail.extend_from_slice(&header.encode());
        block.append_to(&mut self.tail);
        self.account(start);
    }

    /// Where the next frame will begin in the tail.
    #[inline]
    pub(crate) fn begin(&mut self) -> usize {
        let start = self.tail.len();
        self.tail.extend_from_slice(&[0; FrameHeader::OCTETS]);
        start
    }

    /// The buffer to encode a frame's payload into after [`Output::begin`].
    #[inline]
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// What was encoded since the frame at `start` was begun.
    #[inline]
    pub(crate) fn payload(&self, start: usize) -> &[u8] {
        self.tail.get(start.saturating_add(FrameHeader::OCTETS)..).unwrap_or_default()
    }

    /// Patches the header of the frame begun at `start`.
    #[inline]
    pub(crate) fn seal(&mut self, start: usize, kind: Kind, flags: Flags, stream_id: u32) -> FrameHeader {
        let end = self.tail.len();
        let length = end.saturating_sub(start).saturating_sub(FrameHeader::OCTETS);
        let header =
            FrameHeader { length: u32::try_from(length).unwrap_or(u32::MAX), kind, flags, stream_id };
        if let Some(place) = self.tail.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
            *place = header.encode();
        }
        self.pending = self.pending.saturating_add(end.saturating_sub(start));
        header
    }

    /// Takes back a frame that was begun and not sealed, and gives its payload out.
    pub(crate) fn take_back(&mut self, start: usize) -> Vec<u8> {
        let payload = self.tail.split_off(start.saturating_add(FrameHeader::OCTETS).min(self.tail.len()));
        self.tail.truncate(start);
        payload
    }

    /// Drops a frame that was begun and not sealed.
    pub(crate) fn abandon(&mut self, start: usize) {
        self.tail.truncate(start);
    }

    /// Books what was appended to the tail since `start` by other means.
    #[inline]
    pub(crate) fn account(&mut self, start: usize) {
        self.pending = self.pending.saturating_add(self.tail.len().saturating_sub(start));
    }

    /// What was appended to the tail since `start`.
    pub(crate) fn since(&self, start: usize) -> &[u8] {
        self.tail.get(start..).unwrap_or_default()
    }

    /// Appends raw octets.
    pub(crate) fn raw(&mut self, octets: &[u8]) {
        self.tail.extend_from_slice(octets);
        self.pending = self.pending.saturating_add(octets.len());
    }

    /// Appends a frame around a ready-made payload.
    pub(crate) fn frame_with(
        &mut self,
        kind: Kind,
        flags: Flags,
        stream_id: u32,
        payload: Bytes,
    ) -> FrameHeader {
        if payload.len() < CHAIN_FROM {
            return self.frame(kind, flags, stream_id, |tail| tail.extend_from_slice(&payload));
        }
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let header = FrameHeader { length, kind, flags, stream_id };
        self.raw(&header.encode());
        self.pending = self.pending.saturating_add(payload.len());
        self.chain.push_back(Chained { after: self.tail.len(), payload });
        header
    }

    /// Fills `slices` with what to write next and says how many were filled.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut at = self.written;
        let mut up_to = |end: usize| {
            let stretch = self.tail.get(at..end).unwrap_or_default();
            at = end;
            stretch
        };
        // Each of the chain takes at least one place.
        let chained = self.chain.iter().take(slices.len());
        let mut filled = 0_usize;
        let mut places = slices.iter_mut();
        let mut fill = |part: &'a [u8]| {
            if !part.is_empty()
                && let Some(place) = places.next()
            {
                *place = IoSlice::new(part);
                filled = filled.saturating_add(1);
            }
        };
        for each in chained {
            fill(up_to(each.after));
            fill(&each.payload);
        }
        fill(up_to(self.tail.len()));
        filled
    }

    /// `octets` were written.
    pub(crate) fn wrote(&mut self, octets: usize) {
        self.pending = self.pending.saturating_sub(octets);
        let mut left = octets;
        while let Some(front) = self.chain.front_mut() {
            let stretch = front.after.saturating_sub(self.written).min(left);
            self.written = self.written.saturating_add(stretch);
            left = left.saturating_sub(stretch);
            if self.written < front.after || left < front.payload.len() {
                front.payload.advance(left);
                return self.remove_written();
            }
            left = left.saturating_sub(front.payload.len());
            self.chain.pop_front();
        }
        self.written = self.written.saturating_add(left);
        self.remove_written();
    }

    fn remove_written(&mut self) {
        if self.pending == 0 {
            self.tail.clear();
            self.written = 0;
        } else if self.written >= REMOVE_FROM.max(self.tail.len() / 2) {
            // A peer that always leaves a little unread must not make the buffer grow for ever.
            self.tail.drain(..self.written.min(self.tail.len()));
            for each in &mut self.chain {
                each.after = each.after.saturating_sub(self.written);
            }
            self.written = 0;
        }
    }

    /// The buffer, if nothing is pending: an idle connection keeps none.
    pub(crate) fn take_buffer(&mut self) -> Option<Vec<u8>> {
        if self.pending > 0 || self.tail.capacity() == 0 {
            return None;
        }
        let buffer = core::mem::take(&mut self.tail);
        (buffer.capacity() <= KEEP_UP_TO).then_some(buffer)
    }

    /// A buffer to encode into, kept if there is none.
    pub(crate) fn give_buffer(&mut self, mut buffer: Vec<u8>) {
        if self.tail.capacity() == 0 {
            buffer.clear();
            self.tail = buffer;
        }
    }

    /// Gives back spare room.
    pub(crate) fn rest(&mut self) {
        self.chain.shrink_to_fit();
    }

    pub(crate) fn has_buffer(&self) -> bool {
        self.tail.capacity() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(output: &mut Output, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while output.pending() > 0 {
            let mut slices = [IoSlice::new(&[]); 4];
            let filled = output.slices(&mut slices);
            let octets: Vec<u8> =
                slices[..filled].iter().flat_map(|s| s.iter().copied()).take(step).collect();
            assert!(!octets.is_empty());
            all.extend_from_slice(&octets);
            output.wrote(octets.len());
        }
        all
    }

    #[test]
    fn output_is_in_order_whatever_is_written_at_a_time() {
        for step in [1, 7, 100, 5000, 100_000] {
            let mut output = Output::default();
            let big = Bytes::from(vec![7u8; 5000]);
            output.frame(Kind::PING, Flags::ACK, 0, |tail| tail.extend_from_slice(b"12345678"));
            output.frame_with(Kind::DATA, Flags::default(), 1, big.clone());
            output.frame_with(Kind::DATA, Flags::END_STREAM, 1, Bytes::from_static(b"small"));
            let all = drain(&mut output, step);
            assert_eq!(all.len(), 17 + 5009 + 14);
            assert_eq!(&all[..9], &[0, 0, 8, 6, 1, 0, 0, 0, 0]);
            assert_eq!(&all[17..26], &[0, 0x13, 0x88, 0, 0, 0, 0, 0, 1]);
            assert_eq!(&all[26..5026], &big[..]);
            assert_eq!(&all[5035..], b"small");
            assert!(output.take_buffer().is_some());
        }
    }

    #[test]
    fn whatever_is_put_in_between_partial_writes_goes_out_in_order() {
        let (mut output, mut put, mut gone) = (Output::default(), Vec::new(), Vec::new());
        let mut random = 1_u32;
        let mut next = |below: usize| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) as usize % below
        };
        for n in 0..20_000_usize {
            let fill = n.to_le_bytes()[0];
            match next(4) {
                0 => {
                    let octets = next(300);
                    output.frame(Kind::DATA, Flags::default(), 1, |tail| tail.extend(vec![fill; octets]));
                    put.extend([0, octets.to_be_bytes()[6], octets.to_be_bytes()[7], 0, 0, 0, 0, 0, 1]);
                    put.extend(vec![fill; octets]);
                }
                1 => {
                    let octets = next(2 * CHAIN_FROM);
                    output.frame_with(Kind::DATA, Flags::default(), 1, vec![fill; octets].into());
                    put.extend([0, octets.to_be_bytes()[6], octets.to_be_bytes()[7], 0, 0, 0, 0, 0, 1]);
                    put.extend(vec![fill; octets]);
                }
                _ => {
                    let mut slices = [IoSlice::new(&[]); 5];
                    let filled = output.slices(&mut slices);
                    let offered: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
                    let octets = next(offered + 1).min(next(offered + 1) + next(9000));
                    gone.extend(slices[..filled].iter().flat_map(|slice| slice.iter()).take(octets));
                    output.wrote(octets);
                }
            }
            assert_eq!(output.pending(), put.len() - gone.len());
            assert!(
                output.tail.len() <= put.len() - gone.len() + 2 * REMOVE_FROM,
                "what is written is removed"
            );
        }
        gone.extend(drain(&mut output, 100_000));
        assert!(gone == put);
        assert!(output.chain.is_empty() && output.tail.is_empty());
    }

    #[test]
    fn a_frame_taken_back_leaves_no_trace() {
        let mut output = Output::default();
        output.raw(b"before");
        let start = output.begin();
        output.tail().extend_from_slice(b"payload");
        assert_eq!(output.take_back(start), b"payload");
        assert_eq!(drain(&mut output, 100), b"before");
    }
}
