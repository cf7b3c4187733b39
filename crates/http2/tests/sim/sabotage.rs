//! Bugs on purpose: the simulation must find each of them, or it would not find the next one either.

use clearway_http2::frame::{Flags, FrameHeader, Kind};
use clearway_http2::hpack::FieldSection;
use clearway_http2::{Chunk, GoAway, Handler, RequestHead, Reset, ResponseHead, SlotFate, StreamKey, Tx};

use crate::program::Program;

/// A bug to seed. It strikes again and again, with so many occasions between.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bug {
    /// A WINDOW_UPDATE is booked and never sent.
    LostWindowUpdate,
    /// The end of a call is told twice.
    DoubleFinish,
    /// Trailers come and are not told.
    DroppedTrailer,
    /// A frame with trailers is lost on its way.
    LostTrailerFrame,
}

/// A bug and when it strikes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sabotage {
    bug: Bug,
    /// Occasions to let pass each time, and those left.
    between: usize,
    spare: usize,
    pub(crate) struck: bool,
}

impl Sabotage {
    pub(crate) const fn new(bug: Bug, between: usize) -> Self {
        Self { bug, between, spare: between, struck: false }
    }

    fn strikes(&mut self, bug: Bug) -> bool {
        if self.bug != bug {
            return false;
        }
        let strikes = self.spare == 0;
        self.spare = if strikes { self.between } else { self.spare - 1 };
        self.struck |= strikes;
        strikes
    }

    /// True if this frame is never sent, although the engine believes so.
    pub(crate) fn swallows(&mut self, header: FrameHeader) -> bool {
        header.kind == Kind::WINDOW_UPDATE && self.strikes(Bug::LostWindowUpdate)
    }

    /// True if the link loses this frame. It must not be the first HEADERS of its stream.
    pub(crate) fn loses(&mut self, header: FrameHeader, from_server: bool, first: bool) -> bool {
        let trailers = header.kind == Kind::HEADERS && header.flags.contains(Flags::END_STREAM) && !first;
        from_server && trailers && self.strikes(Bug::LostTrailerFrame)
    }
}

/// Stands between an engine and its program, and lets the bug happen there.
pub(crate) struct Between<'a> {
    pub(crate) program: &'a mut Program,
    pub(crate) sabotage: Option<&'a mut Sabotage>,
}

impl Between<'_> {
    fn strikes(&mut self, bug: Bug) -> bool {
        self.sabotage.as_mut().is_some_and(|sabotage| sabotage.strikes(bug))
    }
}

impl Handler for Between<'_> {
    fn on_request(&mut self, tx: &mut Tx, stream: StreamKey, head: &RequestHead<'_>, end_stream: bool) {
        self.program.on_request(tx, stream, head, end_stream);
    }

    fn on_request_again(&mut self, tx: &mut Tx, stream: StreamKey, section: u64, end_stream: bool) -> bool {
        self.program.on_request_again(tx, stream, section, end_stream)
    }

    fn on_oversize_request(&mut self, tx: &mut Tx, stream: StreamKey, octets: usize) {
        self.program.on_oversize_request(tx, stream, octets);
    }

    fn on_response(&mut self, tx: &mut Tx, stream: StreamKey, head: &ResponseHead<'_>, end_stream: bool) {
        self.program.on_response(tx, stream, head, end_stream);
    }

    fn on_informational(&mut self, tx: &mut Tx, stream: StreamKey, head: &ResponseHead<'_>) {
        self.program.on_informational(tx, stream, head);
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, end_stream: bool) {
        self.program.on_data(tx, stream, data, end_stream);
    }

    fn on_trailers(&mut self, tx: &mut Tx, stream: StreamKey, fields: &FieldSection) {
        if self.strikes(Bug::DroppedTrailer) {
            return;
        }
        self.program.on_trailers(tx, stream, fields);
        if self.strikes(Bug::DoubleFinish) {
            self.program.on_trailers(tx, stream, fields);
        }
    }

    fn on_reset(&mut self, tx: &mut Tx, stream: StreamKey, reset: Reset) -> SlotFate {
        self.program.on_reset(tx, stream, reset)
    }

    fn on_writable(&mut self, tx: &mut Tx, stream: StreamKey) {
        self.program.on_writable(tx, stream);
    }

    fn on_stream_slot(&mut self, tx: &mut Tx) {
        self.program.on_stream_slot(tx);
    }

    fn on_goaway(&mut self, tx: &mut Tx, goaway: &GoAway<'_>) {
        self.program.on_goaway(tx, goaway);
    }

    fn on_pong(&mut self, tx: &mut Tx, payload: [u8; 8]) {
        self.program.on_pong(tx, payload);
    }
}
