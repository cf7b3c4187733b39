//! What a stream could not send at once: pieces of DATA waiting for credit or for their turn, then its end.
//!
//! Invariant: `octets` is the sum of the data pieces; nothing follows a piece that ends the stream.

use std::collections::VecDeque;

use bytes::Bytes;

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
    /// END_STREAM on the last DATA, or on an empty one.
    End,
    /// Trailers, which end the stream.
    Trailers(Vec<StoredField>),
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
        if let Piece::Data(data) = &piece {
            self.octets = self.octets.saturating_add(data.len());
        }
        self.pieces.push_back(piece);
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
        !matches!(self.pieces.front(), Some(Piece::Data(_)) | None)
    }

    /// Takes up to `limit` octets of data from the front, and whether they end the stream.
    pub(crate) fn take_data(&mut self, limit: usize) -> Option<(Bytes, bool)> {
        let Some(Piece::Data(front)) = self.pieces.front_mut() else {
            return None;
        };
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
}
