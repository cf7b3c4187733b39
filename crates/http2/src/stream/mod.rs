//! One stream: two halves, two windows, and what waits to be sent. RFC 9113 §5.1.
//!
//! The two [`Half`]s are the truth and the RFC's name of the state is derived from them; `docs/stream-states.md` prints
//! the table and a test checks it. "idle" and "closed" streams are not stored: `registry` knows them by id.
//! "reserved" cannot occur: pushes are refused (§8.4).

mod backlog;
pub(crate) mod registry;

pub(crate) use backlog::{Backlog, Piece, StoredField};

use crate::flow_control::{RecvWindow, SendWindow, Share};
use crate::observe::BlockedOn;
use crate::time::Instant;

/// A stream of one connection: an index and the generation that makes a stale key harmless.
///
/// Keys are small, are passed between threads, and outlive their stream: everything that takes a key ignores one whose
/// stream is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct StreamKey {
    slot: u32,
    generation: u32,
}

impl StreamKey {
    /// The slot, for tables beside ours: below the largest number of streams ever open at once, and reused.
    #[must_use]
    pub const fn slot(self) -> usize {
        self.slot as usize
    }

    #[cfg(test)]
    pub(crate) const fn for_tests(slot: u32) -> Self {
        Self { slot, generation: 0 }
    }
}

/// One direction of a stream. RFC 9113 §5.1, §8.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Half {
    /// The header section has not gone by yet (1xx responses do not count).
    AwaitingHeaders,
    /// DATA or trailers may follow.
    Streaming,
    /// END_STREAM went by.
    Ended,
}

/// The RFC's name for the state of a stream (RFC 9113 §5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum State {
    /// Not used yet.
    Idle,
    /// Both sides may send.
    Open,
    /// We have ended our side.
    HalfClosedLocal,
    /// The peer has ended its side.
    HalfClosedRemote,
    /// Both sides ended it, or it was reset.
    Closed,
}

/// The state a pair of halves stands for.
#[must_use]
pub const fn state(send: Half, recv: Half) -> State {
    match (send, recv) {
        (Half::Ended, Half::Ended) => State::Closed,
        (Half::Ended, _) => State::HalfClosedLocal,
        (_, Half::Ended) => State::HalfClosedRemote,
        (_, _) => State::Open,
    }
}

/// What content-length promises about the DATA still to come. RFC 9113 §8.1.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ContentLength {
    /// Not given, or it says nothing about DATA (a response to HEAD, 204, 304).
    Unbound,
    /// This many octets must still come.
    Left(u64),
}

impl ContentLength {
    /// Counts octets of DATA; false if there are more than promised.
    pub(crate) fn consume(&mut self, octets: u32) -> bool {
        match self {
            Self::Unbound => true,
            Self::Left(left) => match left.checked_sub(u64::from(octets)) {
                Some(rest) => {
                    *left = rest;
                    true
                }
                None => false,
            },
        }
    }

    /// True if the stream may end here.
    pub(crate) const fn is_satisfied(self) -> bool {
        matches!(self, Self::Unbound | Self::Left(0))
    }
}

/// Whether the program on top still works on the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tenure {
    /// Frames may go both ways.
    Live,
    /// Reset or ended on the wire, but its handler still runs: it counts against the stream limit (CVE-2023-44487).
    HeldByApplication,
}

/// The hot part of a stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    pub(crate) send: Half,
    pub(crate) recv: Half,
    pub(crate) tenure: Tenure,
    pub(crate) send_window: SendWindow,
    pub(crate) recv_window: RecvWindow,
    /// Octets received and not released.
    pub(crate) held: u32,
    pub(crate) content_length: ContentLength,
    /// Empty frames in a row.
    pub(crate) empties: u8,
    /// The request was HEAD: the response has no content whatever its content-length says.
    pub(crate) head_request: bool,
    /// The peer gave it credit by a WINDOW_UPDATE.
    pub(crate) credited: bool,
    /// Which `recv` call opened it, to tell work from none (rapid reset).
    pub(crate) opened_in: u64,
    pub(crate) blocked_on: BlockedOn,
    pub(crate) blocked_since: Instant,
    /// What waits for credit or for its turn; none on a stream that never had to wait.
    pub(crate) backlog: Option<Box<Backlog>>,
}

impl Stream {
    pub(crate) fn new(id: u32, send_window: SendWindow, recv_window: RecvWindow, now: Instant) -> Self {
        Self {
            id,
            send: Half::AwaitingHeaders,
            recv: Half::AwaitingHeaders,
            tenure: Tenure::Live,
            send_window,
            recv_window,
            held: 0,
            content_length: ContentLength::Unbound,
            empties: 0,
            head_request: false,
            credited: false,
            opened_in: 0,
            blocked_on: BlockedOn::Application,
            blocked_since: now,
            backlog: None,
        }
    }

    pub(crate) const fn state(&self) -> State {
        state(self.send, self.recv)
    }

    /// False once only its handler holds it.
    pub(crate) const fn is_live(&self) -> bool {
        matches!(self.tenure, Tenure::Live)
    }

    /// This stream's share of the receive budget.
    #[inline]
    pub(crate) fn share(&self) -> Share {
        Share { spoken_for: self.held.max(self.recv_window.beyond_start()), held: self.held }
    }

    pub(crate) fn backlog_octets(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.octets())
    }

    /// True while something waits in the backlog, be it only trailers or an empty end.
    #[inline]
    pub(crate) fn has_backlog(&self) -> bool {
        self.backlog.as_ref().is_some_and(|backlog| !backlog.is_empty())
    }

    #[inline]
    pub(crate) fn blocked(&mut self, on: BlockedOn, now: Instant) {
        if self.blocked_on != on {
            self.blocked_on = on;
            self.blocked_since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// Something that happens to a stream, from the view of the side that owns the two halves.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Input {
        SendHeaders,
        SendEnd,
        RecvHeaders,
        RecvEnd,
        Reset,
    }

    fn step(send: Half, recv: Half, input: Input) -> Option<(Half, Half)> {
        Some(match (input, send, recv) {
            (Input::SendHeaders, Half::AwaitingHeaders, _) => (Half::Streaming, recv),
            (Input::SendEnd, Half::Streaming, _) => (Half::Ended, recv),
            (Input::RecvHeaders, _, Half::AwaitingHeaders) => (send, Half::Streaming),
            (Input::RecvEnd, _, Half::Streaming) => (send, Half::Ended),
            (Input::Reset, _, _) => (Half::Ended, Half::Ended),
            _ => return None,
        })
    }

    #[test]
    fn the_state_table_is_the_one_in_the_docs() {
        let halves = [Half::AwaitingHeaders, Half::Streaming, Half::Ended];
        let inputs = [Input::SendHeaders, Input::SendEnd, Input::RecvHeaders, Input::RecvEnd, Input::Reset];
        let mut table = String::from("| send | recv | state | input | next state |\n|---|---|---|---|---|\n");
        for send in halves {
            for recv in halves {
                for input in inputs {
                    let next = step(send, recv, input)
                        .map_or("not legal".to_owned(), |(send, recv)| format!("{:?}", state(send, recv)));
                    if state(send, recv) != State::Closed {
                        writeln!(
                            table,
                            "| {send:?} | {recv:?} | {:?} | {input:?} | {next} |",
                            state(send, recv)
                        )
                        .unwrap();
                    }
                }
            }
        }
        println!("{table}");
        let page = include_str!("../../../../docs/stream-states.md");
        assert!(page.contains(&table), "docs/stream-states.md does not hold the table printed above");
    }

    #[test]
    fn content_length_is_counted_down() {
        let mut left = ContentLength::Left(10);
        assert!(left.consume(4) && !left.is_satisfied());
        assert!(!left.consume(7));
        assert!(left.consume(6) && left.is_satisfied());
        assert!(ContentLength::Unbound.consume(u32::MAX) && ContentLength::Unbound.is_satisfied());
    }
}
