//! Who may write next: deficit round robin over the streams that have data and credit. RFC 9113 §5.2, §6.9.
//!
//! Invariant: a stream is in the ready queue if and only if something waits on it and its own window (or the kind of
//! what waits) allows it to go. The connection's window and the output's mark stop the whole queue.

use bytes::Bytes;

use super::tx::{QUANTUM, Tx};
use crate::config::defaults;
use crate::frame::{Flags, Kind};
use crate::hpack::HeaderField;
use crate::observe::{BlockedOn, Direction, Trace};
use crate::stream::{Piece, StreamKey};

/// What a stream did with its turn.
enum Turn {
    /// It has more, and its quantum is used up.
    Spent,
    /// It has more, and some of its quantum is left.
    Stay,
    /// Nothing waits any more, or its window is empty, or it is gone.
    Done,
    /// The connection's window is empty.
    ConnectionBlocked,
}

impl Tx {
    /// Above this much unsent output no stream data is added.
    #[inline]
    pub(crate) fn output_mark(&self) -> usize {
        if self.ready.len() > 1 { defaults::OUTPUT_MARK_SHARED } else { defaults::OUTPUT_MARK }
    }

    /// Puts a stream that has something waiting into the ready queue, if its window allows.
    pub(crate) fn schedule(&mut self, key: StreamKey) {
        let now = self.now;
        let Some(stream) = self.streams.live_mut(key) else { return };
        let available = stream.send_window.available();
        let Some(backlog) = stream.backlog.as_mut() else { return };
        if backlog.is_empty() || backlog.scheduled {
            return;
        }
        if available == 0 && !backlog.next_needs_no_credit() {
            stream.blocked(BlockedOn::StreamWindow, now);
            self.watch_for_stalls(Some(key));
            return;
        }
        backlog.scheduled = true;
        backlog.deficit = 0;
        stream.blocked(BlockedOn::Scheduler, now);
        self.ready.push_back(key);
    }

    /// Moves data from backlogs into the output, fairly, up to the output's mark.
    pub(crate) fn pump(&mut self) {
        // RFC 9113 §5.4.1: after the GOAWAY of a connection error the connection is closed; it is the last frame.
        if self.shutdown.is_over() {
            return;
        }
        let mut connection_blocked = false;
        let credit = self.send_window.available();
        while let Some(key) = self.ready.front().copied() {
            if self.output.pending() >= self.output_mark() {
                self.output_full_since.get_or_insert(self.now);
                break;
            }
            self.output_full_since = None;
            match self.serve(key) {
                Turn::Spent => {
                    self.ready.pop_front();
                    self.ready.push_back(key);
                }
                Turn::Stay => {}
                Turn::Done => {
                    // Serving may have closed the stream, which takes it out of the queue already.
                    if self.ready.front() == Some(&key) {
                        self.ready.pop_front();
                    }
                }
                Turn::ConnectionBlocked => {
                    connection_blocked = true;
                    break;
                }
            }
        }
        if self.ready.is_empty() {
            self.output_full_since = None;
        }
        if connection_blocked {
            // Whatever went out was progress.
            if self.window_empty_since.is_none() || self.send_window.available() != credit {
                self.window_empty_since = Some(self.now);
            }
            self.watch_for_stalls(None);
        } else {
            self.window_empty_since = None;
        }
    }

    fn serve(&mut self, key: StreamKey) -> Turn {
        let alone = self.ready.len() == 1;
        let max_frame = self.peer.max_frame_size as usize;
        let quantum = if alone { max_frame.max(QUANTUM) } else { QUANTUM };
        let connection = self.send_window.available() as usize;
        // A paused writer goes on when its stream's backlog has shrunk to half of what is allowed.
        let resume_at = self.backlog_mark() / 2;
        let now = self.now;
        let Some(stream) = self.streams.live_mut(key) else { return Turn::Done };
        let id = stream.id;
        let window = stream.send_window.available() as usize;
        let Some(backlog) = stream.backlog.as_mut() else { return Turn::Done };
        if backlog.next_needs_no_credit() {
            return self.serve_end(key);
        }
        if window == 0 {
            backlog.scheduled = false;
            backlog.settle();
            stream.blocked(BlockedOn::StreamWindow, now);
            self.watch_for_stalls(Some(key));
            return Turn::Done;
        }
        if connection == 0 {
            return Turn::ConnectionBlocked;
        }
        if backlog.deficit == 0 {
            backlog.deficit = u32::try_from(quantum).unwrap_or(u32::MAX);
        }
        let limit = window.min(connection).min(max_frame).min(backlog.deficit as usize);
        let Some((data, end_stream)) = backlog.take_data(limit) else {
            backlog.scheduled = false;
            return Turn::Done;
        };
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        backlog.deficit = backlog.deficit.saturating_sub(length);
        let spent = backlog.deficit == 0;
        if backlog.writer_waits && backlog.octets() <= resume_at {
            backlog.writer_waits = false;
            self.notices.writable.push(key);
        }
        let empty = backlog.is_empty();
        // What ends the stream costs nothing: it must not wait behind others for credit.
        let only_end_left = backlog.next_needs_no_credit();
        backlog.scheduled = !empty;
        let _ = stream.send_window.take(length);
        let _ = self.send_window.take(length);
        self.waiting = self.waiting.saturating_sub(length as usize);
        if empty {
            stream.blocked(BlockedOn::Application, now);
        }
        self.write_data(id, data, end_stream);
        if end_stream {
            self.sent_end(key);
        }
        match (empty, spent) {
            (true, _) => Turn::Done,
            (false, true) if !only_end_left => Turn::Spent,
            // More data or the end waits for the next look, which checks the output's mark and the windows again.
            (false, _) => Turn::Stay,
        }
    }

    fn serve_end(&mut self, key: StreamKey) -> Turn {
        let Some(stream) = self.streams.live_mut(key) else { return Turn::Done };
        let id = stream.id;
        let Some(backlog) = stream.backlog.as_mut() else { return Turn::Done };
        backlog.scheduled = false;
        match backlog.take_end() {
            Some(Piece::End) => {
                self.write_data(id, Bytes::new(), true);
                self.sent_end(key);
            }
            Some(Piece::Trailers(fields)) => {
                let fields = fields.iter().map(|field| HeaderField {
                    name: &field.name,
                    value: &field.value,
                    indexing: field.indexing,
                });
                self.write_section(id, fields, true);
                self.sent_end(key);
            }
            Some(Piece::Data(_) | Piece::Gathered(_)) | None => {}
        }
        Turn::Done
    }

    /// Writes one DATA frame; credit was taken for it.
    pub(crate) fn write_data(&mut self, id: u32, data: Bytes, end_stream: bool) {
        let flags = if end_stream { Flags::END_STREAM } else { Flags::default() };
        let shown = self.observer.is_some().then(|| data.clone());
        let header = self.output.frame_with(Kind::DATA, flags, id, data);
        self.counters.data_frame_sent();
        self.spoke = true;
        self.trace_frame(header, &[]);
        if let (Some(observer), Some(data)) = (&mut self.observer, shown) {
            let trace = Trace::Data { direction: Direction::Sent, stream_id: id, data: &data };
            observer.on_trace(self.now, &trace);
        }
    }
}
