//! DATA as it arrives, in pieces of any size. RFC 9113 §6.1, §6.9.
//!
//! Invariant: a frame counts against the connection's window by its whole length whatever becomes of it, and that credit
//! goes back at once; against its stream's window only if the stream takes it.

use super::receive::{Phase, Rx, trace};
use super::tx::Tx;
use crate::error::Violation;
use crate::frame::{DataLayout, Flags, FrameHeader};
use crate::handler::{Chunk, Handler};
use crate::observe::{Direction, Trace};
use crate::stream::registry::{ClosedBy, Lookup};
use crate::stream::{Half, StreamKey};

/// What is left of a DATA frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataInFlight {
    /// None if the stream is gone: its octets are skipped.
    stream: Option<StreamKey>,
    stream_id: u32,
    data: u32,
    padding: u32,
    end_stream: bool,
}

impl DataInFlight {
    /// How much of the frame is still to come for this stream.
    #[cfg(debug_assertions)]
    pub(super) fn left_for(&self, stream: StreamKey) -> u32 {
        if self.stream == Some(stream) { self.data } else { 0 }
    }
}

impl Rx {
    /// DATA counts against the connection's window by its whole length, whatever becomes of it, and that credit goes
    /// back at once: one unread stream can never stop another (RFC 9113 §6.9, trap of §5.1).
    #[allow(clippy::unused_self, reason = "a frame handler like the others")]
    pub(super) fn account_data(&self, tx: &mut Tx, header: FrameHeader) -> Result<(), Violation> {
        if header.stream_id == 0 {
            return Err(Violation::FrameOnStreamZero);
        }
        if header.flags.contains(Flags::PADDED) && header.length == 0 {
            return Err(Violation::FrameSize);
        }
        if tx.streams.is_idle(header.stream_id) {
            return Err(Violation::FrameOnIdleStream);
        }
        if !tx.recv_window.received(header.length) {
            return Err(Violation::ConnectionWindowExceeded);
        }
        tx.connection_credit_used(header.length);
        tx.unearned = 0;
        Ok(())
    }

    /// The frame's content begins, and goes on in `rest`.
    pub(super) fn begin_data<'a, H: Handler>(
        &mut self,
        tx: &mut Tx,
        header: FrameHeader,
        layout: DataLayout,
        rest: &'a [u8],
        handler: &mut H,
    ) -> Result<&'a [u8], Violation> {
        trace(tx, header, &[]);
        let stream = self.admit_data(tx, header, layout, handler)?;
        let data = DataInFlight {
            stream,
            stream_id: header.stream_id,
            data: layout.data,
            padding: layout.padding,
            end_stream: header.flags.contains(Flags::END_STREAM),
        };
        // Without content nothing more has to come for the handler to hear of it.
        if layout.data == 0 || !rest.is_empty() {
            return self.data(tx, rest, data, handler);
        }
        self.phase = Phase::Data(data);
        Ok(rest)
    }

    /// The stream a DATA frame is for, if it is to be delivered.
    pub(super) fn admit_data<H: Handler>(
        &mut self,
        tx: &mut Tx,
        header: FrameHeader,
        layout: DataLayout,
        handler: &mut H,
    ) -> Result<Option<StreamKey>, Violation> {
        let key = match tx.streams.lookup(header.stream_id) {
            Lookup::Idle => return Err(Violation::FrameOnIdleStream),
            Lookup::Closed(why) => return closed_data(tx, header, why).map(|()| None),
            Lookup::Live(key) => key,
        };
        let limits_empties = tx.config.limits.empty_frames;
        let now = tx.now;
        let Some(stream) = tx.streams.live_mut(key) else { return Ok(None) };
        if stream.recv_window.is_idle(now) {
            let before = stream.share();
            stream.recv_window.shrink_if_idle(now);
            tx.budget.adjust(before, stream.share());
        }
        let violation = match stream.recv {
            Half::AwaitingHeaders => Some(Violation::DataBeforeHeaders),
            Half::Ended => Some(Violation::FrameAfterEndStream),
            Half::Streaming if !stream.recv_window.received(header.length) => {
                Some(Violation::StreamWindowExceeded)
            }
            Half::Streaming => None,
        };
        if let Some(violation) = violation {
            tx.stream_error(key, violation, handler)?;
            return Ok(None);
        }
        // RFC 9113 §6.1: padding counts against the window. Nobody will ever consume it, so its credit goes back now.
        let overhead = header.length.saturating_sub(layout.data);
        if overhead > 0 {
            let before = stream.share();
            stream.recv_window.release(overhead);
            tx.budget.adjust(before, stream.share());
        }
        if layout.data == 0 && !header.flags.contains(Flags::END_STREAM) {
            stream.empties = stream.empties.saturating_add(1);
            if stream.empties > limits_empties {
                return Err(Violation::TooManyEmptyFrames);
            }
        } else {
            stream.empties = 0;
        }
        if overhead > 0
            && !header.flags.contains(Flags::END_STREAM)
            && let Some(credit) = stream.recv_window.announce()
        {
            tx.write_window_update(header.stream_id, credit);
        }
        Ok(Some(key))
    }

    pub(super) fn data<'a, H: Handler>(
        &mut self,
        tx: &mut Tx,
        input: &'a [u8],
        mut data: DataInFlight,
        handler: &mut H,
    ) -> Result<&'a [u8], Violation> {
        let taken = input.len().min(data.data as usize);
        let (piece, rest) = input.split_at_checked(taken).unwrap_or((input, &[]));
        data.data = data.data.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
        self.phase = match (data.data, data.padding) {
            (0, 0) => Phase::Header,
            (0, padding) => Phase::Skip(padding),
            _ => Phase::Data(data),
        };
        self.deliver(tx, data, piece, handler)?;
        Ok(rest)
    }

    /// Hands a piece of DATA to the handler; the last piece carries END_STREAM.
    #[allow(clippy::unused_self, reason = "a frame handler like the others")]
    pub(super) fn deliver<H: Handler>(
        &self,
        tx: &mut Tx,
        data: DataInFlight,
        piece: &[u8],
        handler: &mut H,
    ) -> Result<(), Violation> {
        let Some(key) = data.stream else { return Ok(()) };
        let end_stream = data.end_stream && data.data == 0;
        if let Some(observer) = &mut tx.observer {
            let trace =
                Trace::Data { direction: Direction::Received, stream_id: data.stream_id, data: piece };
            observer.on_trace(tx.now, &trace);
        }
        let now = tx.now;
        let Some(stream) = tx.streams.live_mut(key) else { return Ok(()) };
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        let fits = stream.content_length.consume(length);
        if !fits || (end_stream && !stream.content_length.is_satisfied()) {
            return tx.stream_error(key, Violation::ContentLengthMismatch, handler);
        }
        let before = stream.share();
        stream.held = stream.held.saturating_add(length);
        let after = stream.share();
        if end_stream {
            stream.recv = Half::Ended;
        }
        tx.budget.adjust(before, after);
        tx.budget.progressed(key, now);
        handler.on_data(tx, key, Chunk(piece), end_stream);
        if end_stream {
            tx.close_if_ended(key);
        }
        tx.relieve_budget(handler)
    }
}

/// DATA on a closed stream (RFC 9113 §5.1 closed).
fn closed_data(tx: &mut Tx, header: FrameHeader, why: ClosedBy) -> Result<(), Violation> {
    let id = header.stream_id;
    match why {
        // RFC 9113 §6.8: above the last id we named, everything is ignored.
        _ if tx.is_unwelcome(id) => tx.counters.late_frame(header.length, &tx.config.limits, tx.now),
        ClosedBy::End => Err(Violation::FrameOnClosedStream),
        // In flight when we reset it. To ignore is not free.
        ClosedBy::OurReset => tx.counters.late_frame(header.length, &tx.config.limits, tx.now),
        ClosedBy::PeerReset => tx.provoked_reset(id, Violation::FrameAfterReset),
        // Perhaps reset by us, before many others were.
        ClosedBy::Forgotten if tx.counters.was_in_flight(header.length) => Ok(()),
        ClosedBy::Forgotten => {
            tx.counters.glitch(&tx.config.limits, tx.now)?;
            tx.provoked_reset(id, Violation::FrameAfterReset)
        }
    }
}
