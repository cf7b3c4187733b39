//! The receiving half: a push parser over whatever bytes came. RFC 9113 §3.4, §4, §6.1.
//!
//! Whole frames are parsed where they lie; an incomplete one is carried over, except DATA, whose octets go to the handler
//! as they come. Each frame is dispatched to one function by its type.
//!
//! Invariant: between two calls `carry` holds the beginning of one frame, at most 9 octets of header or the payload of a
//! frame other than DATA, so it never exceeds our SETTINGS_MAX_FRAME_SIZE.

use core::time::Duration;

use super::data::DataInFlight;
use super::tx::Tx;
use super::{PREFACE, Role};
use crate::config::Config;
use crate::error::Violation;
use crate::frame::{DataLayout, Flags, FrameHeader, Kind};
use crate::handler::Handler;
use crate::hpack::Decoder;
use crate::observe::{Direction, Trace};
use crate::settings::{self, LocalSettings};
use crate::time::{Instant, earliest};

use super::field_block::OpenBlock;
use super::section_memo::SectionMemo;

/// A carry buffer bigger than this is given back when it is empty.
const CARRY_KEPT: usize = 1024;

/// Where in the byte stream the parser stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// The client's preface; so many octets of it matched.
    Preface { matched: usize, deadline: Instant },
    /// Between frames, or inside a frame header (its octets are in the carry).
    Header,
    /// Inside the payload of a frame that must be whole (its octets are in the carry).
    Payload(FrameHeader),
    /// At the pad length of a DATA frame.
    PadLength(FrameHeader),
    /// Inside the content of a DATA frame.
    Data(DataInFlight),
    /// Inside octets nobody needs.
    Skip(u32),
}

/// The receiving half of a connection.
pub(crate) struct Rx {
    pub(super) role: Role,
    pub(super) phase: Phase,
    carry: Vec<u8>,
    max_frame_size: u32,
    pub(super) decoder: Decoder,
    pub(super) sections: SectionMemo,
    pub(super) block: Option<Box<OpenBlock>>,
    pub(super) local: LocalSettings,
    /// Counts calls of `recv`, to tell streams that did no work.
    pub(super) calls: u64,
    /// Frames that were whole, to tell one unfinished frame from the next.
    whole_frames: u32,
    /// The frame that is unfinished: its number, and since when. [`Instant::FAR_FUTURE`] while none is.
    partial: (u32, Instant),
}

impl Rx {
    pub(super) fn new(role: Role, config: &Config, now: Instant) -> Self {
        let phase = match role {
            Role::Server => Phase::Preface { matched: 0, deadline: now + config.peer_timeout },
            Role::Client => Phase::Header,
        };
        Self {
            role,
            phase,
            carry: Vec::new(),
            max_frame_size: settings::max_frame_size(config),
            decoder: Decoder::new(4096),
            sections: SectionMemo::default(),
            block: None,
            local: LocalSettings::Synced,
            calls: 0,
            whole_frames: 0,
            partial: (0, Instant::FAR_FUTURE),
        }
    }

    /// See [`Connection::rest`](super::Connection::rest).
    pub(super) fn rest(&mut self) {
        self.sections.rest();
        self.decoder.rest();
        self.carry.shrink_to_fit();
    }

    pub(super) fn is_untouched(&self) -> bool {
        self.calls == 0
    }

    /// Sends our SETTINGS.
    pub(super) fn announce(&mut self, tx: &mut Tx) {
        tx.write_announcement();
        self.local = LocalSettings::sent(tx.now, tx.config.peer_timeout);
    }

    pub(super) fn next_timer(&self, peer_timeout: Duration) -> Option<Instant> {
        let preface = match self.phase {
            Phase::Preface { deadline, .. } => Some(deadline),
            _ => None,
        };
        let partial = self.unfinished_since().map(|since| since + peer_timeout);
        earliest(earliest(preface, partial), self.local.deadline())
    }

    /// The rule the peer broke by being late, if it did.
    pub(super) fn expired(&self, peer_timeout: Duration, now: Instant) -> Option<Violation> {
        if matches!(self.phase, Phase::Preface { deadline, .. } if deadline <= now) {
            return Some(Violation::PrefaceTimeout);
        }
        if self.unfinished_since().is_some_and(|since| since + peer_timeout <= now) {
            return Some(Violation::FieldBlockTimeout);
        }
        self.local.deadline().is_some_and(|deadline| deadline <= now).then_some(Violation::SettingsTimeout)
    }

    /// Parses `input`; says how much of it was taken.
    pub(super) fn advance<H: Handler>(
        &mut self,
        tx: &mut Tx,
        input: &[u8],
        handler: &mut H,
    ) -> Result<usize, Violation> {
        self.calls = self.calls.wrapping_add(1);
        let mut rest = input;
        while !rest.is_empty() && !tx.counters.must_stop_reading(&tx.config.limits) {
            rest = self.step(tx, rest, handler)?;
        }
        self.note_partial(tx.now);
        Ok(input.len().saturating_sub(rest.len()))
    }

    /// Since when the peer owes us the rest of a frame (other than DATA) or of a field block.
    fn unfinished_since(&self) -> Option<Instant> {
        let (_, since) = self.partial;
        let frame = (since != Instant::FAR_FUTURE).then_some(since);
        let block = self.block.as_ref().map(|block| block.since);
        [frame, block].into_iter().flatten().min()
    }

    /// Notes whether the input ended inside a frame. A busy connection's always may: only the same frame counts.
    fn note_partial(&mut self, now: Instant) {
        let partial = matches!(self.phase, Phase::Payload(_))
            || (matches!(self.phase, Phase::Header) && !self.carry.is_empty());
        if partial {
            let (number, since) = self.partial;
            if number != self.whole_frames || since == Instant::FAR_FUTURE {
                self.partial = (self.whole_frames, now);
            }
        } else {
            self.partial.1 = Instant::FAR_FUTURE;
            if self.carry.capacity() > CARRY_KEPT {
                self.carry = Vec::new();
            }
        }
    }

    /// True if no more than one frame's beginning is carried over, and nothing between frames.
    #[cfg(debug_assertions)]
    pub(super) fn carries_one_frame(&self) -> bool {
        match self.phase {
            Phase::Header => self.carry.len() < FrameHeader::OCTETS,
            Phase::Payload(header) => self.carry.len() < header.length as usize,
            _ => self.carry.is_empty(),
        }
    }

    fn step<'a, H: Handler>(
        &mut self,
        tx: &mut Tx,
        input: &'a [u8],
        handler: &mut H,
    ) -> Result<&'a [u8], Violation> {
        match self.phase {
            Phase::Preface { matched, deadline } => self.preface(tx, input, matched, deadline),
            Phase::Header => self.header(tx, input, handler),
            Phase::Payload(header) => self.payload(tx, input, header, handler),
            Phase::PadLength(header) => {
                let Some((pad_length, rest)) = input.split_first() else { return Ok(input) };
                let layout = DataLayout::padded(header.length, *pad_length)?;
                self.begin_data(tx, header, layout, rest, handler)
            }
            Phase::Data(data) => self.data(tx, input, data, handler),
            Phase::Skip(left) => {
                let taken = input.len().min(left as usize);
                let left = left.saturating_sub(u32::try_from(taken).unwrap_or(left));
                self.phase = if left == 0 { Phase::Header } else { Phase::Skip(left) };
                Ok(input.get(taken..).unwrap_or_default())
            }
        }
    }

    fn preface<'a>(
        &mut self,
        tx: &mut Tx,
        input: &'a [u8],
        matched: usize,
        deadline: Instant,
    ) -> Result<&'a [u8], Violation> {
        let expected = PREFACE.get(matched..).unwrap_or_default();
        let taken = expected.len().min(input.len());
        let (head, rest) = input.split_at_checked(taken).unwrap_or((input, &[]));
        if !expected.starts_with(head) {
            let began = PREFACE.get(..matched).unwrap_or_default();
            return Err(match input {
                _ if is_http1(began, input) => Violation::Http1Request,
                // RFC 8446 §5.1: a handshake message, version 3.x.
                [22] | [22, 3, ..] if began.is_empty() => Violation::TlsHandshake,
                _ => Violation::BadPreface,
            });
        }
        if taken == expected.len() {
            self.phase = Phase::Header;
            if let Some(observer) = &mut tx.observer {
                observer.on_trace(tx.now, &Trace::Preface { direction: Direction::Received });
            }
            self.announce(tx);
        } else {
            self.phase = Phase::Preface { matched: matched.saturating_add(taken), deadline };
        }
        Ok(rest)
    }

    fn header<'a, H: Handler>(
        &mut self,
        tx: &mut Tx,
        input: &'a [u8],
        handler: &mut H,
    ) -> Result<&'a [u8], Violation> {
        if self.carry.is_empty() {
            if let Some((head, rest)) = input.split_first_chunk::<{ FrameHeader::OCTETS }>() {
                return self.begin_frame(tx, FrameHeader::decode(*head), rest, handler);
            }
            self.carry.extend_from_slice(input);
            return Ok(&[]);
        }
        let missing = FrameHeader::OCTETS.saturating_sub(self.carry.len());
        let (head, rest) = input.split_at_checked(missing).unwrap_or((input, &[]));
        self.carry.extend_from_slice(head);
        match <[u8; FrameHeader::OCTETS]>::try_from(self.carry.as_slice()) {
            Ok(whole) => {
                self.carry.clear();
                self.begin_frame(tx, FrameHeader::decode(whole), rest, handler)
            }
            Err(_) => Ok(rest),
        }
    }

    fn begin_frame<'a, H: Handler>(
        &mut self,
        tx: &mut Tx,
        header: FrameHeader,
        rest: &'a [u8],
        handler: &mut H,
    ) -> Result<&'a [u8], Violation> {
        self.admit(tx, header)?;
        if header.kind == Kind::DATA {
            self.whole_frames = self.whole_frames.wrapping_add(1);
            self.phase = Phase::Header;
            self.account_data(tx, header)?;
            if header.flags.contains(Flags::PADDED) {
                self.phase = Phase::PadLength(header);
                return Ok(rest);
            }
            let layout = DataLayout { data: header.length, padding: 0 };
            return self.begin_data(tx, header, layout, rest, handler);
        }
        if header.kind.0 > Kind::CONTINUATION.0 {
            // RFC 9113 §4.1: unknown types are ignored; ignoring is not free.
            self.whole_frames = self.whole_frames.wrapping_add(1);
            self.phase = if header.length == 0 { Phase::Header } else { Phase::Skip(header.length) };
            trace(tx, header, &[]);
            tx.counters.glitch(&tx.config.limits, tx.now)?;
            return Ok(rest);
        }
        match rest.split_at_checked(header.length as usize) {
            Some((payload, rest)) => {
                self.phase = Phase::Header;
                self.dispatch(tx, header, payload, handler)?;
                Ok(rest)
            }
            None => {
                self.carry.extend_from_slice(rest);
                self.phase = Phase::Payload(header);
                Ok(&[])
            }
        }
    }

    /// Rules that need no payload: size (§4.2), order (§3.4, §6.10).
    #[inline]
    fn admit(&self, tx: &Tx, header: FrameHeader) -> Result<(), Violation> {
        if !tx.peer.received && header.kind != Kind::SETTINGS {
            return Err(Violation::FirstFrameNotSettings);
        }
        if header.length > self.max_frame_size {
            return Err(Violation::FrameTooLarge);
        }
        match &self.block {
            Some(block) if header.kind != Kind::CONTINUATION || header.stream_id != block.stream_id => {
                Err(Violation::ExpectedContinuation)
            }
            None if header.kind == Kind::CONTINUATION => Err(Violation::UnexpectedContinuation),
            _ => Ok(()),
        }
    }

    fn payload<'a, H: Handler>(
        &mut self,
        tx: &mut Tx,
        input: &'a [u8],
        header: FrameHeader,
        handler: &mut H,
    ) -> Result<&'a [u8], Violation> {
        let missing = (header.length as usize).saturating_sub(self.carry.len());
        let Some((head, rest)) = input.split_at_checked(missing) else {
            self.carry.extend_from_slice(input);
            return Ok(&[]);
        };
        self.carry.extend_from_slice(head);
        let payload = core::mem::take(&mut self.carry);
        self.phase = Phase::Header;
        let verdict = self.dispatch(tx, header, &payload, handler);
        self.carry = payload;
        self.carry.clear();
        verdict.map(|()| rest)
    }

    fn dispatch<H: Handler>(
        &mut self,
        tx: &mut Tx,
        header: FrameHeader,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), Violation> {
        trace(tx, header, payload);
        self.whole_frames = self.whole_frames.wrapping_add(1);
        match header.kind {
            Kind::HEADERS => self.on_headers(tx, header, payload, handler),
            Kind::CONTINUATION => self.on_continuation(tx, header, payload, handler),
            Kind::PRIORITY => self.on_priority(tx, header, payload, handler),
            Kind::RST_STREAM => self.on_rst_stream(tx, header, payload, handler),
            Kind::SETTINGS => self.on_settings(tx, header, payload, handler),
            Kind::PUSH_PROMISE => Err(Violation::PushNotAllowed),
            Kind::PING => self.on_ping(tx, header, payload, handler),
            Kind::GOAWAY => self.on_goaway(tx, header, payload, handler),
            Kind::WINDOW_UPDATE => self.on_window_update(tx, header, payload, handler),
            _ => Ok(()),
        }
    }
}

/// True if the connection's first octets are, or begin like, the request line of HTTP/1.x.
fn is_http1(began: &[u8], rest: &[u8]) -> bool {
    let methods = ["GET ", "POST ", "HEAD ", "PUT ", "OPTIONS ", "DELETE ", "PATCH ", "CONNECT "];
    methods.iter().any(|method| method.bytes().zip(began.iter().chain(rest)).all(|(a, b)| a == *b))
}

#[inline]
pub(super) fn trace(tx: &mut Tx, header: FrameHeader, payload: &[u8]) {
    if let Some(observer) = &mut tx.observer {
        observer.on_trace(tx.now, &Trace::Frame { direction: Direction::Received, header, payload });
    }
}

impl Tx {
    /// True for a stream of the peer's above the last id our GOAWAY named.
    pub(super) fn is_unwelcome(&self, id: u32) -> bool {
        !self.streams.is_local(id) && !self.shutdown.admits(id)
    }
}
