//! The sending half: commands of the program on top, encoded straight into the output.
//!
//! Headers, trailers and small messages of a stream without backlog are written at once; everything else waits in the
//! stream's backlog for credit and for its turn ([`super::transmit`]).
//!
//! Invariant: HPACK blocks are encoded in the order they go out, so fields that must wait are kept unencoded.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::Role;
use super::keepalive::Pings;
use super::life::{Farewell, Life};
use super::output::Output;
use super::shutdown::{Ours, SHUTDOWN_PING, Shutdown};
use crate::config::Config;
use crate::error::{By, ErrorCode, OpenError, Reset, SendError};
use crate::flow_control::{DEFAULT_WINDOW, ReceiveBudget, RecvWindow, SendWindow, Window};
use crate::frame::{Flags, FrameHeader, Kind};
use crate::hpack::{Encoder, HeaderField, Part};
use crate::limits::Counters;
use crate::observe::{BlockedOn, Direction, Observer, Trace};
use crate::settings::PeerSettings;
use crate::stream::registry::{ClosedBy, MAX_STREAM_ID, Streams};
use crate::stream::{Half, Piece, State, StoredField, Stream, StreamKey, Tenure};
use crate::time::Instant;
use crate::window_tuning::RoundTrip;

/// A message up to this size on a stream without backlog is written at submit time; also the quantum of the scheduler.
pub(crate) const QUANTUM: usize = 16 * 1024;
/// What must still be told to the handler, once it is at hand.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    pub(crate) writable: Vec<StreamKey>,
    pub(crate) stream_slot: bool,
}

/// The sending half of a connection, and all its streams.
pub struct Tx {
    pub(crate) role: Role,
    pub(crate) now: Instant,
    pub(crate) config: Arc<Config>,
    pub(crate) streams: Streams,
    pub(crate) encoder: Encoder,
    pub(crate) output: Output,
    pub(crate) send_window: SendWindow,
    pub(crate) recv_window: RecvWindow,
    pub(crate) round_trip: RoundTrip,
    pub(crate) peer: PeerSettings,
    pub(crate) ready: VecDeque<StreamKey>,
    /// Octets in the backlogs of all streams.
    pub(crate) waiting: usize,
    pub(crate) budget: ReceiveBudget,
    pub(crate) shutdown: Shutdown,
    /// Our SETTINGS are in the output, or past it.
    pub(crate) announced: bool,
    pub(crate) counters: Counters,
    pub(crate) notices: Notices,
    /// The peer acknowledged our SETTINGS_INITIAL_WINDOW_SIZE.
    pub(crate) window_size_binds: bool,
    /// PING frames of ours that were not answered yet.
    pub(crate) pings_in_flight: u32,
    /// PING frames of ours since HEADERS or DATA came.
    pub(super) unearned: u8,
    /// HEADERS or DATA went to the output since the peer's last PING.
    pub(super) spoke: bool,
    pub(super) pings: Option<Box<Pings>>,
    /// When octets came last; the connection's beginning before that.
    pub(super) last_read: Instant,
    /// Somebody was told [`OpenError::StreamLimit`] and waits.
    pub(crate) opener_waits: bool,
    /// Since when the connection's send window has been empty while streams had something to send, or since the last octet that
    /// went out of it.
    pub(crate) window_empty_since: Option<Instant>,
    /// When streams that wait for credit are looked at, if any may.
    pub(crate) stall_check: Option<Instant>,
    /// Since when the output has been above its mark.
    pub(crate) output_full_since: Option<Instant>,
    pub(crate) observer: Option<Box<dyn Observer + Send>>,
    /// Limits of how long the connection lives, if there are any.
    pub(crate) life: Option<Box<Life>>,
}

impl Tx {
    pub(crate) fn new(role: Role, config: Arc<Config>, now: Instant) -> Self {
        let target = config.connection_window_octets.clamp(65_535, crate::flow_control::MAX_WINDOW);
        Self {
            role,
            now,
            streams: Streams::new(role == Role::Client, config.first_stream_id),
            encoder: Encoder::new(config.encoder_table_octets),
            output: Output::default(),
            send_window: Window::new(65_535),
            recv_window: RecvWindow::new(65_535, target),
            round_trip: RoundTrip::new(),
            peer: PeerSettings::initial(),
            ready: VecDeque::new(),
            waiting: 0,
            budget: ReceiveBudget::new(config.receive_budget_octets),
            shutdown: Shutdown::new(),
            announced: false,
            counters: Counters::new(now),
            notices: Notices::default(),
            window_size_binds: false,
            pings_in_flight: 0,
            unearned: 0,
            spoke: false,
            pings: None,
            last_read: now,
            opener_waits: false,
            window_empty_since: None,
            stall_check: None,
            output_full_since: None,
            observer: None,
            life: None,
            config,
        }
    }

    /// See [`Connection::rest`](super::Connection::rest).
    pub(crate) fn rest(&mut self) {
        self.streams.rest();
        self.encoder.rest();
        self.output.rest();
        self.ready.shrink_to_fit();
        self.budget.rest();
        self.notices.writable.shrink_to_fit();
    }

    /// The instant of the input being handled.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// What the peer announced.
    #[must_use]
    pub fn peer_settings(&self) -> PeerSettings {
        self.peer
    }

    /// True once either side has sent GOAWAY.
    #[must_use]
    pub fn is_going_away(&self) -> bool {
        self.shutdown.is_going_away()
    }

    /// The stream's id, if it is not gone.
    #[must_use]
    pub fn stream_id(&self, stream: StreamKey) -> Option<u32> {
        self.streams.get(stream).map(|stream| stream.id)
    }

    /// The stream's state; closed if it is gone.
    #[must_use]
    pub fn stream_state(&self, stream: StreamKey) -> State {
        self.streams.get(stream).filter(|s| s.tenure == Tenure::Live).map_or(State::Closed, Stream::state)
    }

    /// Streams open in both directions, those included that only a handler still holds.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.streams.local_count() as usize + self.streams.remote_count() as usize
    }

    /// What a stream waits for, and since when.
    #[must_use]
    pub fn blocked_on(&self, stream: StreamKey) -> Option<(BlockedOn, Instant)> {
        let stream = self.streams.get(stream)?;
        let own = (stream.blocked_on, stream.blocked_since);
        if stream.blocked_on != BlockedOn::Scheduler {
            return Some(own);
        }
        // While the whole connection is stuck, that is what a scheduled stream waits for.
        let connection = self.window_empty_since.map(|since| (BlockedOn::ConnectionWindow, since));
        let socket = self.output_full_since.map(|since| (BlockedOn::Socket, since));
        let stuck = socket.or(connection);
        Some(stuck.map_or(own, |(on, since)| (on, since.max(stream.blocked_since))))
    }

    /// Client: opens a stream with a request's header section, pseudo-header fields first. With `end_stream` it has no
    /// body.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was sent.
    pub fn open<'a, F>(&mut self, fields: F, end_stream: bool) -> Result<StreamKey, OpenError>
    where
        F: IntoIterator<Item = HeaderField<'a>>,
        F::IntoIter: Clone,
    {
        let id = self.may_open()?;
        let fields = fields.into_iter();
        self.check_list(fields.clone())
            .map_err(|(octets, limit)| OpenError::HeaderListTooLarge { octets, limit })?;
        let head_request = fields.clone().any(|field| field.name == b":method" && field.value == b"HEAD");
        let mut stream = self.new_stream(id);
        stream.head_request = head_request;
        let key = self.streams.insert(stream);
        self.counters.stream_opened();
        self.write_section(id, fields, end_stream);
        self.headers_sent(key, end_stream);
        Ok(key)
    }

    /// As [`Tx::open`], for a request that is mostly like others, and not HEAD: `first`, then a field if there is one, `second`,
    /// and `rest`. The encoded parts are kept; the body must follow.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was sent.
    pub fn open_parts<'a, F>(
        &mut self,
        first: Part<'a>,
        between: Option<HeaderField<'a>>,
        second: Part<'a>,
        rest: F,
    ) -> Result<StreamKey, OpenError>
    where
        F: Iterator<Item = HeaderField<'a>> + Clone,
    {
        if self.observer.is_some() {
            let fields = first.fields.iter().copied().chain(between);
            return self.open(fields.chain(second.fields.iter().copied()).chain(rest), false);
        }
        let id = self.may_open()?;
        let limit = self.peer.max_header_list;
        if limit != u32::MAX {
            let octets = [first, second]
                .iter()
                .map(|part| self.encoder.part_octets(*part))
                .fold(list_octets(between.into_iter().chain(rest.clone())), usize::saturating_add);
            if octets > limit as usize {
                return Err(OpenError::HeaderListTooLarge { octets, limit });
            }
        }
        let mut stream = self.new_stream(id);
        stream.send = Half::Streaming;
        let key = self.streams.insert(stream);
        self.counters.stream_opened();
        if rest.clone().next().is_none()
            && let Some(block) = self.encoder.known_parts([first.number, second.number], between)
        {
            self.output.short_frame(Kind::HEADERS, Flags::END_HEADERS, id, block);
            return Ok(key);
        }
        let start = self.output.begin();
        let tail = self.output.tail();
        self.encoder.encode_parts(first, between, second, tail);
        rest.for_each(|field| self.encoder.encode(field, tail));
        self.finish_section(id, start, false);
        Ok(key)
    }

    /// The id of the stream that may be opened now.
    fn may_open(&mut self) -> Result<u32, OpenError> {
        if self.shutdown.is_over() {
            return Err(OpenError::Closed);
        }
        if !self.shutdown.may_open() {
            return Err(OpenError::GoingAway);
        }
        if self.streams.local_count() >= self.peer.max_concurrent_streams {
            self.opener_waits = true;
            return Err(OpenError::StreamLimit);
        }
        self.streams.next_local_id().ok_or(OpenError::IdsExhausted)
    }

    #[inline]
    pub(crate) fn new_stream(&self, id: u32) -> Stream {
        let target = self.config.stream_window_octets;
        let open = if self.window_size_binds { target } else { target.max(DEFAULT_WINDOW) };
        Stream::new(id, Window::new(self.peer.initial_window), RecvWindow::new(open, target), self.now)
    }

    /// Sends the header section of a response, `:status` first. An informational (1xx) section may come before the
    /// final one; any number of them.
    ///
    /// # Errors
    /// See [`SendError`]; nothing was sent.
    pub fn send_headers<'a, F>(
        &mut self,
        stream: StreamKey,
        fields: F,
        end_stream: bool,
    ) -> Result<(), SendError>
    where
        F: IntoIterator<Item = HeaderField<'a>>,
        F::IntoIter: Clone,
    {
        let entry = self.streams.live_mut(stream).ok_or(SendError::StreamGone)?;
        if entry.send != Half::AwaitingHeaders {
            return Err(SendError::OutOfOrder);
        }
        let id = entry.id;
        let fields = fields.into_iter();
        let informational = fields
            .clone()
            .next()
            .is_some_and(|first| first.name == b":status" && first.value.first() == Some(&b'1'));
        if informational && end_stream {
            return Err(SendError::OutOfOrder);
        }
        self.check_list(fields.clone())
            .map_err(|(octets, limit)| SendError::HeaderListTooLarge { octets, limit })?;
        self.write_section(id, fields, end_stream);
        if !informational {
            self.headers_sent(stream, end_stream);
        }
        Ok(())
    }

    /// As [`Tx::send_headers`], for a final response whose fields are part of the program; it is faster.
    ///
    /// # Errors
    /// See [`SendError`]; nothing was sent.
    pub fn send_fixed_headers(
        &mut self,
        stream: StreamKey,
        fields: &'static [HeaderField<'static>],
        end_stream: bool,
    ) -> Result<(), SendError> {
        if self.observer.is_some() {
            return self.send_headers(stream, fields.iter().copied(), end_stream);
        }
        self.check_list(fields.iter().copied())
            .map_err(|(octets, limit)| SendError::HeaderListTooLarge { octets, limit })?;
        let now = self.now;
        let entry = self.streams.live_mut(stream).ok_or(SendError::StreamGone)?;
        if entry.send != Half::AwaitingHeaders {
            return Err(SendError::OutOfOrder);
        }
        entry.send = Half::Streaming;
        entry.blocked(BlockedOn::Application, now);
        let id = entry.id;
        self.write_fixed(id, fields, end_stream);
        if end_stream {
            self.sent_end(stream);
        }
        Ok(())
    }

    /// As [`Tx::send_trailers`], for fields that are part of the program; it is faster.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_fixed_trailers(
        &mut self,
        stream: StreamKey,
        fields: &'static [HeaderField<'static>],
    ) -> Result<(), SendError> {
        let entry = self.sendable(stream)?;
        let (id, waits) = (entry.id, entry.has_backlog());
        if waits || self.observer.is_some() {
            return self.send_trailers(stream, fields.iter().copied());
        }
        self.check_list(fields.iter().copied())
            .map_err(|(octets, limit)| SendError::HeaderListTooLarge { octets, limit })?;
        self.write_fixed(id, fields, true);
        self.sent_end(stream);
        Ok(())
    }

    fn headers_sent(&mut self, key: StreamKey, end_stream: bool) {
        let now = self.now;
        if let Some(stream) = self.streams.live_mut(key) {
            stream.send = Half::Streaming;
            stream.blocked(BlockedOn::Application, now);
        }
        if end_stream {
            self.sent_end(key);
        }
    }

    /// Encodes DATA straight into the output: `encode` appends the octets to the buffer it is given (which already
    /// holds others). `expected` is how many it will be, as far as is known; above 16 KiB they are kept apart.
    /// What the windows do not allow yet waits in the stream's backlog.
    ///
    /// # Errors
    /// The outer error is [`SendError`]; the inner result is what `encode` answered, and with `Err` nothing is sent.
    pub fn send_data_with<E>(
        &mut self,
        stream: StreamKey,
        expected: usize,
        end_stream: bool,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Result<(), E>, SendError> {
        let entry = self.sendable(stream)?;
        let (id, direct) = (entry.id, !entry.has_backlog());
        if !direct || expected > QUANTUM || !self.may_write_at_once() {
            let mut payload = Vec::with_capacity(expected);
            if let Err(error) = encode(&mut payload) {
                return Ok(Err(error));
            }
            return self.send_data(stream, Bytes::from(payload), end_stream).map(Ok);
        }
        let start = self.output.begin();
        if let Err(error) = encode(self.output.tail()) {
            self.output.abandon(start);
            return Ok(Err(error));
        }
        let length = self.output.payload(start).len();
        if length == 0 && !end_stream {
            self.output.abandon(start);
        } else if self.take_credit(stream, length) {
            let flags = if end_stream { Flags::END_STREAM } else { Flags::default() };
            let header = self.output.seal(start, Kind::DATA, flags, id);
            self.data_sent(header, start);
            if end_stream {
                self.sent_end(stream);
            }
        } else {
            let payload = self.output.take_back(start);
            self.enqueue(stream, Bytes::from(payload), end_stream);
        }
        Ok(Ok(()))
    }

    /// Sends DATA that is ready-made. What the windows do not allow yet waits in the stream's backlog.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_data(&mut self, stream: StreamKey, data: Bytes, end_stream: bool) -> Result<(), SendError> {
        let entry = self.sendable(stream)?;
        let (id, direct) = (entry.id, !entry.has_backlog());
        // RFC 9113 §6.9.1: an end without octets needs no credit, so it waits for nobody's.
        let room = data.is_empty() || (data.len() <= QUANTUM && self.may_write_at_once());
        if direct && room && (end_stream || !data.is_empty()) && self.take_credit(stream, data.len()) {
            self.write_data(id, data, end_stream);
            if end_stream {
                self.sent_end(stream);
            }
        } else {
            self.enqueue(stream, data, end_stream);
        }
        Ok(())
    }

    /// False while streams wait for the output to drain or for the connection's credit: whoever comes now queues behind
    /// them.
    #[inline]
    fn may_write_at_once(&self) -> bool {
        self.window_empty_since.is_none() && self.output.pending() < self.output_mark()
    }

    /// Sends a trailer section, which ends our side of the stream, after everything that waits before it.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_trailers<'a, F>(&mut self, stream: StreamKey, fields: F) -> Result<(), SendError>
    where
        F: IntoIterator<Item = HeaderField<'a>>,
        F::IntoIter: Clone,
    {
        let entry = self.sendable(stream)?;
        let (id, waits) = (entry.id, entry.has_backlog());
        let fields = fields.into_iter();
        self.check_list(fields.clone())
            .map_err(|(octets, limit)| SendError::HeaderListTooLarge { octets, limit })?;
        if waits {
            let stored = fields
                .map(|field| StoredField {
                    name: Bytes::copy_from_slice(field.name),
                    value: Bytes::copy_from_slice(field.value),
                    indexing: field.indexing,
                })
                .collect();
            self.push_piece(stream, Piece::Trailers(stored));
        } else {
            self.write_section(id, fields, true);
            self.sent_end(stream);
        }
        Ok(())
    }

    /// Ends our side of the stream without trailers.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn finish(&mut self, stream: StreamKey) -> Result<(), SendError> {
        self.send_data(stream, Bytes::new(), true)
    }

    /// Ends the stream at once, in both directions; what waits in its backlog is dropped. A stream that is gone is left
    /// alone. The handler is not called for it.
    pub fn reset(&mut self, stream: StreamKey, code: ErrorCode) {
        let Some(id) = self.streams.live_mut(stream).map(|entry| entry.id) else { return };
        self.write_reset(id, code);
        self.close(stream, ClosedBy::OurReset, Some(Reset { code, by: By::Application, violation: None }));
    }

    /// As [`Tx::reset`], while the handler keeps the slot: it counts against the stream limit until [`Tx::free`].
    pub fn reset_and_hold(&mut self, stream: StreamKey, code: ErrorCode) {
        let Some(id) = self.streams.live_mut(stream).map(|entry| entry.id) else { return };
        self.write_reset(id, code);
        self.hold(stream, ClosedBy::OurReset, Reset { code, by: By::Application, violation: None });
    }

    /// Sends a PING; its answer comes to [`Handler::on_pong`](crate::Handler::on_pong).
    pub fn ping(&mut self, payload: [u8; 8]) {
        // RFC 9113 §3.4: SETTINGS come first, even if the client has not said a word yet.
        self.write_announcement();
        let header =
            self.output.frame(Kind::PING, Flags::default(), 0, |tail| tail.extend_from_slice(&payload));
        self.trace_frame(header, &payload);
        self.pings_in_flight = self.pings_in_flight.saturating_add(1);
        self.pinged();
    }

    /// Begins a graceful end (RFC 9113 §6.8): a server announces it, lets in what is in flight, and then names the last
    /// stream it takes; a client opens no more streams. Streams that are open go on.
    pub fn shutdown(&mut self) {
        self.go_away(Farewell::Shutdown);
    }

    /// The first step of a server's.
    pub(super) fn announce_shutdown(&mut self, debug: &str) {
        // RFC 9113 §3.4: they come before any other frame, even if the client has not said a word yet.
        self.write_announcement();
        self.write_goaway(MAX_STREAM_ID, ErrorCode::NO_ERROR, debug.as_bytes());
        self.ping(SHUTDOWN_PING);
        self.shutdown.ours = Ours::Announced { deadline: self.now + self.farewell_patience() };
    }

    /// The second, and a client's only one: it names the last stream that is taken.
    pub(crate) fn finish_shutdown(&mut self) {
        let last_stream_id = self.streams.last_remote();
        self.write_goaway(last_stream_id, ErrorCode::NO_ERROR, self.shutdown.farewell.text().as_bytes());
        self.shutdown.ours = Ours::Final { last_stream_id };
    }

    // What follows is for the other files of the connection.

    #[inline]
    fn sendable(&mut self, stream: StreamKey) -> Result<&mut Stream, SendError> {
        let entry = self.streams.live_mut(stream).ok_or(SendError::StreamGone)?;
        let ends = entry.backlog.as_ref().is_some_and(|backlog| backlog.ends_stream());
        if entry.send == Half::Streaming && !ends { Ok(entry) } else { Err(SendError::OutOfOrder) }
    }

    /// Σ(name + value + 32) against the peer's limit (RFC 9113 §10.5.1), if it has one.
    #[inline]
    fn check_list<'a>(&self, fields: impl Iterator<Item = HeaderField<'a>>) -> Result<(), (usize, u32)> {
        let limit = self.peer.max_header_list;
        if limit == u32::MAX {
            return Ok(());
        }
        let octets = list_octets(fields);
        if octets > limit as usize { Err((octets, limit)) } else { Ok(()) }
    }

    /// Takes credit of stream and connection for a frame, if both have it and the peer's frames are big enough.
    #[inline]
    fn take_credit(&mut self, stream: StreamKey, octets: usize) -> bool {
        let Ok(octets) = u32::try_from(octets) else { return false };
        if octets > self.peer.max_frame_size || octets > self.send_window.available() && octets > 0 {
            return false;
        }
        let Some(entry) = self.streams.live_mut(stream) else { return false };
        entry.send_window.take(octets) && self.send_window.take(octets)
    }

    #[inline]
    fn data_sent(&mut self, header: FrameHeader, start: usize) {
        self.counters.data_frame_sent();
        self.spoke = true;
        if let Some(observer) = &mut self.observer {
            let now = self.now;
            observer.on_trace(now, &Trace::Frame { direction: Direction::Sent, header, payload: &[] });
            let data = self.output.payload(start);
            observer.on_trace(
                now,
                &Trace::Data { direction: Direction::Sent, stream_id: header.stream_id, data },
            );
        }
    }
}

/// Σ(name + value + 32) (RFC 9113 §6.5.2).
#[inline]
fn list_octets<'a>(fields: impl Iterator<Item = HeaderField<'a>>) -> usize {
    fields.fold(0, |sum: usize, field| {
        sum.saturating_add(field.name.len()).saturating_add(field.value.len()).saturating_add(32)
    })
}
