//! What a stream could not send at once: pieces of DATA waiting for credit or for their turn, then its end.
//!
//! Small pieces are gathered into one: a writer is made to wait by octets, so what they take up must be bounded by their
//! octets, too, and a [`Bytes`] of five costs many times five. It also makes fewer frames of them.
//!
//! Invariant: `octets` is the sum of the data pieces; nothing follows a piece that ends the stream.

use std::collections::VecDeque;

use bytes::Bytes;

/// Pieces smaller than this are gathered: copying them costs less than keeping them.
const SMALL: usize = 512;
/// What is gathered is closed when it has so many octets.
const GATHERED: usize = 4096;

/// A field kept until its turn comes; HPACK encodes in wire order, so it cannot be encoded earlier.
#[derive(Clone, Debug)]
pub(crate) struct StoredField {
    pub(crate) name: Bytes,
    pub(crate) value: Bytes,
    pub(crate) indexing: crate::hpack::Indexing,
}

/// One thing waiting.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Octets of DATA.
    Data(Bytes),
    /// Octets of several small writes.
    Gathered(Vec<u8>),
    /// END_STREAM on the last DATA, or on an empty one.
    End,
    /// Trailers, which end the stream.
    Trailers(Vec<StoredField>),
}

impl Piece {
    /// Octets of data.
    pub(crate) fn octets(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Gathered(octets) => octets.len(),
            Self::End | Self::Trailers(_) => 0,
        }
    }
}

/// What waits on one stream.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    pieces: VecDeque<Piece>,
    octets: usize,
    /// What is left of this turn's quantum (deficit round robin).
    pub(crate) deficit: u32,
    /// True while the stream is in the ready queue.
    pub(crate) scheduled: bool,
    /// The application was told to wait, and must be told when to go on.
    pub(crate) writer_waits: bool,
}

impl Backlog {
    pub(crate) fn push(&mut self, piece: Piece) {
        self.octets = self.octets.saturating_add(piece.octets());
        if let Piece::Data(data) = &piece
            && data.len() < SMALL
            && self.gather(data)
        {
            return;
        }
        self.pieces.push_back(piece);
    }

    /// Appends to the last piece if that is small or gathered; false if it is not.
    fn gather(&mut self, data: &[u8]) -> bool {
        match self.pieces.back_mut() {
            Some(Piece::Gathered(octets)) if octets.len() < GATHERED => octets.extend_from_slice(data),
            Some(last) => match last {
                Piece::Data(small) if small.len() < SMALL => *last = Piece::Gathered([small, data].concat()),
                _ => return false,
            },
            None => return false,
        }
        true
    }

    /// The invariant of this file.
    #[cfg(debug_assertions)]
    pub(crate) fn adds_up(&self) -> bool {
        let ends = |piece: &&Piece| matches!(piece, Piece::End | Piece::Trailers(_));
        self.octets == self.pieces.iter().map(Piece::octets).sum::<usize>()
            && self.pieces.iter().filter(ends).count() == usize::from(self.ends_stream())
    }

    pub(crate) fn octets(&self) -> usize {
        self.octets
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// True if the stream's end is among what waits: nothing may follow it.
    pub(crate) fn ends_stream(&self) -> bool {
        matches!(self.pieces.back(), Some(Piece::End | Piece::Trailers(_)))
    }

    /// True if the next thing to send needs no credit.
    pub(crate) fn next_needs_no_credit(&self) -> bool {
        !matches!(self.pieces.front(), Some(Piece::Data(_) | Piece::Gathered(_)) | None)
    }

    /// Takes up to `limit` octets of data from the front, and whether they end the stream.
    pub(crate) fn take_data(&mut self, limit: usize) -> Option<(Bytes, bool)> {
        let first = self.pieces.front_mut()?;
        if let Piece::Gathered(octets) = first {
            *first = Piece::Data(Bytes::from(core::mem::take(octets)));
        }
        let Piece::Data(front) = first else { return None };
        let data = if front.len() <= limit {
            let whole = core::mem::take(front);
            self.pieces.pop_front();
            whole
        } else {
            front.split_to(limit)
        };
        self.octets = self.octets.saturating_sub(data.len());
        let ends = matches!(self.pieces.front(), Some(Piece::End));
        if ends {
            self.pieces.pop_front();
        }
        Some((data, ends))
    }

    /// The stream waits for credit, perhaps for long: a little rest of a large piece is copied, so that it does not hold the
    /// whole.
    pub(crate) fn settle(&mut self) {
        if let Some(Piece::Data(front)) = self.pieces.front_mut()
            && front.len() <= GATHERED
        {
            *front = Bytes::copy_from_slice(front);
        }
    }

    /// Takes the end of the stream, once all data is gone.
    pub(crate) fn take_end(&mut self) -> Option<Piece> {
        if self.next_needs_no_credit() { self.pieces.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_cut_to_the_limit_and_carries_the_end() {
        let mut backlog = Backlog::default();
        backlog.push(Piece::Data(Bytes::from_static(b"hello")));
        backlog.push(Piece::End);
        assert_eq!(backlog.take_data(3), Some((Bytes::from_static(b"hel"), false)));
        assert_eq!(backlog.octets(), 2);
        assert!(backlog.take_end().is_none());
        assert_eq!(backlog.take_data(3), Some((Bytes::from_static(b"lo"), true)));
        assert!(backlog.is_empty());
    }

    #[test]
    fn a_little_rest_that_waits_does_not_hold_the_whole() {
        let whole = Bytes::from(vec![7; 65_541]);
        let mut backlog = Backlog::default();
        backlog.push(Piece::Data(whole.clone()));
        assert!(backlog.take_data(65_535).is_some_and(|(data, end)| data.len() == 65_535 && !end));
        assert!(!whole.is_unique());
        backlog.settle();
        assert!(whole.is_unique(), "the rest is a copy");
        assert_eq!(backlog.take_data(100), Some((Bytes::from(vec![7; 6]), false)));
    }

    #[test]
    fn small_pieces_take_no_more_room_than_their_octets() {
        let mut backlog = Backlog::default();
        let mut sent = Vec::new();
        for n in 0..13_000_u32 {
            let [a, b, ..] = n.to_le_bytes();
            let message = [a, b, 1, 2, 3];
            sent.extend_from_slice(&message);
            backlog.push(Piece::Data(Bytes::copy_from_slice(&message)));
        }
        backlog.push(Piece::Data(Bytes::from(vec![9; SMALL])));
        backlog.push(Piece::Data(Bytes::from_static(b"end")));
        backlog.push(Piece::End);
        sent.extend_from_slice(&[9; SMALL]);
        sent.extend_from_slice(b"end");
        assert_eq!(backlog.octets(), sent.len());
        let room = |piece: &Piece| match piece {
            Piece::Gathered(octets) => octets.capacity(),
            Piece::Data(data) => data.len(),
            Piece::End | Piece::Trailers(_) => 0,
        };
        let room =
            backlog.pieces.iter().map(room).sum::<usize>() + backlog.pieces.capacity() * size_of::<Piece>();
        assert!(room <= 2 * sent.len() + 4096, "{room}");
        let (mut got, mut ended) = (Vec::new(), false);
        while let Some((data, ends)) = backlog.take_data(1000) {
            assert!(!ended && (!data.is_empty() || ends));
            got.extend_from_slice(&data);
            ended = ends;
        }
        assert!(ended && got == sent && backlog.is_empty() && backlog.octets() == 0);
    }
}
