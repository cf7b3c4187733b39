//! What waits unsent, and when writers are told to wait with more. RFC 9113 §5.2, §10.5.
//!
//! Invariant: `waiting` is the sum of all backlogs. What one stream may have waiting is a part of what is left of
//! [`Config::send_backlog_octets`](crate::Config::send_backlog_octets), so the sum stays below that as long as writers heed
//! [`Tx::is_backlogged`], but for one message or batch of each.

use bytes::Bytes;

use super::tx::Tx;
use crate::stream::{Piece, Stream, StreamKey};

/// A stream with more than this waiting is backlogged in any case: its writer should pause.
const BACKLOG_MARK: usize = 64 * 1024;
/// A stream may have waiting at most this part of what is left of [`Config::send_backlog_octets`](crate::Config::send_backlog_octets). So the more is taken the
/// less each may take of the rest, and the sum stays below the limit however many streams there are.
const PART_OF_ROOM: usize = 16;
/// What one writer may have on its way to the connection: what one write to the socket carries.
const WRITER_MARK: usize = 256 * 1024;
/// The same for the writers of all open streams together.
const WRITERS_MARK: usize = 2 * 1024 * 1024;

impl Tx {
    /// True if so much waits on the stream that its writer should pause; then [`Handler::on_writable`] follows.
    ///
    /// How much that is depends on what all streams have waiting ([`Config::send_backlog_octets`]); at most it is 64 KiB.
    ///
    /// [`Handler::on_writable`]: crate::Handler::on_writable
    /// [`Config::send_backlog_octets`]: crate::Config::send_backlog_octets
    pub fn is_backlogged(&mut self, stream: StreamKey) -> bool {
        let mark = self.backlog_mark();
        let Some(backlog) = self.streams.live_mut(stream).and_then(|entry| entry.backlog.as_mut()) else {
            return false;
        };
        backlog.writer_waits = backlog.octets() > mark;
        backlog.writer_waits
    }

    /// A stream with more than this waiting is backlogged.
    #[inline]
    pub(crate) fn backlog_mark(&self) -> usize {
        BACKLOG_MARK.min(self.part_of_room())
    }

    fn part_of_room(&self) -> usize {
        self.config.send_backlog_octets.saturating_sub(self.waiting) / PART_OF_ROOM
    }

    /// How many octets the writer of one stream may have under way that were not submitted here yet, when writers are tasks
    /// of their own: at most 256 KiB, less while many streams are open or much waits. It may change with every operation.
    #[must_use]
    pub fn writer_mark(&self) -> usize {
        let each = WRITERS_MARK / self.stream_count().max(1);
        WRITER_MARK.min(each).min(self.part_of_room())
    }

    /// Octets that wait on the stream for credit or for their turn.
    #[must_use]
    pub fn backlog_octets(&self, stream: StreamKey) -> usize {
        self.streams.get(stream).map_or(0, Stream::backlog_octets)
    }

    /// Puts DATA behind what waits already, and lets the scheduler write what may go at once.
    pub(super) fn enqueue(&mut self, stream: StreamKey, data: Bytes, end_stream: bool) {
        if !data.is_empty() {
            self.push_piece(stream, Piece::Data(data));
        }
        if end_stream {
            self.push_piece(stream, Piece::End);
        }
        self.pump();
    }

    pub(super) fn push_piece(&mut self, stream: StreamKey, piece: Piece) {
        if let Some(entry) = self.streams.live_mut(stream) {
            let octets = piece.octets();
            entry.backlog.get_or_insert_default().push(piece);
            self.waiting = self.waiting.saturating_add(octets);
            self.schedule(stream);
        }
    }
}
