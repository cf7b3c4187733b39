//! gRPC messages inside DATA: the five octets before each, and messages put together across frames.
//!
//! ```text
//!  Compressed-Flag (8) | Message-Length (32) | Message
//! ```
//!
//! A frame may hold several messages, and a message may span several frames; each frame is cut into [`Segment`]s.
//! Invariant: at most [`KEPT_OCTETS`] of a message are held, whatever its prefix says.

/// How much of a message is kept for printing.
const KEPT_OCTETS: usize = 64 * 1024;

/// Octets of the prefix.
const PREFIX: usize = 5;

/// The five octets in front of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Prefix {
    /// 0 or 1; anything else is a fault of the sender.
    pub(crate) flag: u8,
    /// Octets of the message.
    pub(crate) length: u32,
}

/// The part of one message that lies in one DATA frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    /// Counted from 1 in each direction of a stream.
    pub(crate) number: u32,
    /// The prefix, once it is complete.
    pub(crate) prefix: Option<Prefix>,
    /// The prefix is in this frame, or its end is.
    pub(crate) shows_prefix: bool,
    /// Octets of the message in this frame, the prefix not counted.
    pub(crate) here: usize,
    /// Octets of the message up to the end of this frame.
    pub(crate) so_far: usize,
    /// The message, if it ends in this frame: the first [`KEPT_OCTETS`] of it.
    pub(crate) body: Option<Vec<u8>>,
}

/// Cuts the DATA of one direction of a stream into messages.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    /// Messages begun.
    number: u32,
    prefix: Vec<u8>,
    body: Vec<u8>,
    so_far: usize,
}

impl Assembler {
    /// Takes octets of one DATA frame and appends what they are part of to `segments`. A frame that comes in pieces gets
    /// no more segments than a frame in one piece: a piece continues the segment before it.
    pub(crate) fn push(&mut self, mut data: &[u8], segments: &mut Vec<Segment>) {
        while !data.is_empty() {
            let continues = !self.prefix.is_empty() && !segments.is_empty();
            if self.prefix.is_empty() {
                self.number = self.number.saturating_add(1);
            }
            let (segment, rest) = self.advance(data);
            data = rest;
            match segments.last_mut() {
                Some(last) if continues && last.number == segment.number => {
                    last.prefix = segment.prefix;
                    last.shows_prefix |= segment.shows_prefix;
                    last.here = last.here.saturating_add(segment.here);
                    last.so_far = segment.so_far;
                    last.body = segment.body;
                }
                _ => segments.push(segment),
            }
        }
    }

    /// Takes octets up to the end of the message.
    fn advance<'a>(&mut self, data: &'a [u8]) -> (Segment, &'a [u8]) {
        let shows_prefix = self.prefix.len() < PREFIX;
        let (head, data) = cut(data, PREFIX.saturating_sub(self.prefix.len()));
        self.prefix.extend_from_slice(head);
        let mut segment = Segment {
            number: self.number,
            prefix: decode(&self.prefix),
            shows_prefix,
            here: 0,
            so_far: self.so_far,
            body: None,
        };
        let Some(prefix) = segment.prefix else { return (segment, data) };
        let length = prefix.length as usize;
        let (body, rest) = cut(data, length.saturating_sub(self.so_far));
        let room = KEPT_OCTETS.saturating_sub(self.body.len());
        self.body.extend_from_slice(cut(body, room).0);
        self.so_far = self.so_far.saturating_add(body.len());
        segment.here = body.len();
        segment.so_far = self.so_far;
        if self.so_far == length {
            segment.body = Some(core::mem::take(&mut self.body));
            self.prefix.clear();
            self.so_far = 0;
        }
        (segment, rest)
    }
}

fn cut(data: &[u8], at: usize) -> (&[u8], &[u8]) {
    data.split_at_checked(at).unwrap_or((data, &[]))
}

fn decode(octets: &[u8]) -> Option<Prefix> {
    let [flag, l0, l1, l2, l3] = *octets else { return None };
    Some(Prefix { flag, length: u32::from_be_bytes([l0, l1, l2, l3]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(number: u32, body: &[u8]) -> Segment {
        Segment {
            number,
            prefix: Some(Prefix { flag: 0, length: u32::try_from(body.len()).unwrap() }),
            shows_prefix: true,
            here: body.len(),
            so_far: body.len(),
            body: Some(body.to_vec()),
        }
    }

    #[test]
    fn a_frame_may_hold_several_messages_empty_ones_too() {
        let mut segments = Vec::new();
        Assembler::default().push(&[0, 0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 8, 9], &mut segments);
        assert_eq!(segments, [whole(1, &[7]), whole(2, &[]), whole(3, &[8, 9])]);
    }

    #[test]
    fn a_frame_in_pieces_reads_like_a_frame_in_one() {
        let octets = [0, 0, 0, 0, 1, 7, 0, 0, 0, 0, 2, 8, 9];
        for first in 0..octets.len() {
            for second in first..octets.len() {
                let (mut assembler, mut segments) = (Assembler::default(), Vec::new());
                for piece in [&octets[..first], &octets[first..second], &octets[second..]] {
                    assembler.push(piece, &mut segments);
                }
                assert_eq!(segments, [whole(1, &[7]), whole(2, &[8, 9])], "{first} {second}");
            }
        }
    }

    #[test]
    fn a_message_may_span_frames_and_so_may_its_prefix() {
        let (mut assembler, mut frames) = (Assembler::default(), [const { Vec::new() }; 3]);
        for (frame, octets) in frames.iter_mut().zip([&[1u8, 0][..], &[0, 0, 3, 7], &[8, 9]]) {
            assembler.push(octets, frame);
        }
        let prefix = Some(Prefix { flag: 1, length: 3 });
        let base = Segment { number: 1, prefix: None, shows_prefix: true, here: 0, so_far: 0, body: None };
        assert_eq!(frames[0], core::slice::from_ref(&base));
        assert_eq!(frames[1], [Segment { prefix, here: 1, so_far: 1, ..base.clone() }]);
        let end =
            Segment { prefix, shows_prefix: false, here: 2, so_far: 3, body: Some(vec![7, 8, 9]), ..base };
        assert_eq!(frames[2], [end]);
    }

    #[test]
    fn a_lying_prefix_costs_no_memory() {
        let (mut assembler, mut segments) = (Assembler::default(), Vec::new());
        assembler.push(&[0, 0xff, 0xff, 0xff, 0xff], &mut segments);
        for _ in 0..10 {
            assembler.push(&[0; 16 * 1024], &mut segments);
        }
        assert_eq!(segments.len(), 1);
        assert_eq!(segments[0].so_far, 160 * 1024);
        assert!(assembler.body.len() == KEPT_OCTETS);
    }
}
