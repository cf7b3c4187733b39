//! The sending half: commands of the program on top, encoded straight into the output.
//!
//! Headers, trailers and small messages of a stream without backlog are written at once; everything else waits in the
//! stream's backlog for credit and for its turn ([`super::transmit`]).
//!
//! Invariant: HPACK blocks are encoded in the order they go out, so fields that must wait are kept unencoded.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Role;
use super::output::Output;
use super::shutdown::{Ours, SHUTDOWN_PING, Shutdown};
use crate::config::Config;
use crate::error::{By, ErrorCode, OpenError, Reset, SendError, Violation};
use crate::flow_control::{DEFAULT_WINDOW, ReceiveBudget, RecvWindow, SendWindow, Share, Window};
use crate::frame::{Flags, FrameHeader, Kind};
use crate::hpack::{Encoder, Field, HeaderField, Indexing, Name};
use crate::limits::Counters;
use crate::observe::{BlockedOn, Direction, Observer, Trace};
use crate::settings::PeerSettings;
use crate::stream::registry::{ClosedBy, MAX_STREAM_ID, Streams};
use crate::stream::{Half, Piece, State, StoredField, Stream, StreamKey, Tenure};
use crate::time::Instant;

/// A message up to this size on a stream without backlog is written at submit time; also the quantum of the scheduler.
pub(crate) const QUANTUM: usize = 16 * 1024;
/// A stream with more than this waiting is backlogged: its writer should pause.
const BACKLOG_MARK: usize = 64 * 1024;

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
    pub(crate) config: Box<Config>,
    pub(crate) streams: Streams,
    pub(crate) encoder: Encoder,
    pub(crate) output: Output,
    pub(crate) send_window: SendWindow,
    pub(crate) recv_window: RecvWindow,
    pub(crate) peer: PeerSettings,
    pub(crate) ready: VecDeque<StreamKey>,
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
    /// Somebody was told [`OpenError::StreamLimit`] and waits.
    pub(crate) opener_waits: bool,
    /// Since when the connection's send window has been empty while streams had something to send.
    pub(crate) window_empty_since: Option<Instant>,
    /// Since when the output has been above its mark.
    pub(crate) output_full_since: Option<Instant>,
    pub(crate) observer: Option<Box<dyn Observer + Send>>,
}

impl Tx {
    pub(crate) fn new(role: Role, config: Config, now: Instant) -> Self {
        let target = config.connection_window_octets.clamp(65_535, crate::flow_control::MAX_WINDOW);
        Self {
            role,
            now,
            streams: Streams::new(role == Role::Client),
            encoder: Encoder::new(config.encoder_table_octets),
            output: Output::default(),
            send_window: Window::new(65_535),
            recv_window: RecvWindow::new(65_535, target),
            peer: PeerSettings::initial(),
            ready: VecDeque::new(),
            budget: ReceiveBudget::new(config.receive_budget_octets),
            shutdown: Shutdown::new(),
            announced: false,
            counters: Counters::new(&config.limits, now),
            notices: Notices::default(),
            window_size_binds: false,
            pings_in_flight: 0,
            opener_waits: false,
            window_empty_since: None,
            output_full_since: None,
            observer: None,
            config: Box::new(config),
        }
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
        if self.shutdown.failure().is_some() {
            return Err(OpenError::Closed);
        }
        if !self.shutdown.may_open() {
            return Err(OpenError::GoingAway);
        }
        if self.streams.local_count() >= self.peer.max_concurrent_streams {
            self.opener_waits = true;
            return Err(OpenError::StreamLimit);
        }
        let id = self.streams.next_local_id().ok_or(OpenError::IdsExhausted)?;
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
            self.enqueue(stream, Bytes::from(payload), end_stream);
            return Ok(Ok(()));
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
        let room = data.len() <= QUANTUM && self.may_write_at_once();
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

    /// The handler of a stream held with [`SlotFate::HeldByApplication`](crate::SlotFate) has ended.
    pub fn free(&mut self, stream: StreamKey) {
        let held = self.streams.get(stream).filter(|entry| entry.tenure == Tenure::HeldByApplication);
        let Some(id) = held.map(|entry| entry.id) else { return };
        self.streams.remove(stream);
        if self.streams.is_local(id) {
            self.notices.stream_slot |= self.opener_waits;
        }
    }

    /// The program consumed `octets` of the stream's DATA: the peer may send as many more.
    pub fn release(&mut self, stream: StreamKey, octets: usize) {
        let octets = u32::try_from(octets).unwrap_or(u32::MAX);
        let Some(entry) = self.streams.live_mut(stream) else { return };
        let before = entry.share();
        let octets = octets.min(entry.held);
        entry.held -= octets;
        // What was granted beyond the initial window is paid back before the peer gets new credit.
        let repaid = octets.min(entry.reserve);
        entry.reserve -= repaid;
        entry.recv_window.release(octets - repaid);
        let after = entry.share();
        // Once the peer has ended its side it needs no credit.
        let credit = if entry.recv == Half::Ended { None } else { entry.recv_window.announce() };
        let id = entry.id;
        self.budget.adjust(before, after);
        if let Some(credit) = credit {
            self.write_window_update(id, credit);
        }
        if before != after {
            self.serve_grants();
        }
    }

    /// A reader waits for a message of which `octets` are still to come: the window grows to hold it, as far as the
    /// connection's budget allows; the oldest such message always gets what it needs.
    pub fn expect_message(&mut self, stream: StreamKey, octets: usize) {
        let octets = u32::try_from(octets).unwrap_or(u32::MAX).min(crate::flow_control::MAX_WINDOW);
        let now = self.now;
        let Some(entry) = self.streams.live_mut(stream) else { return };
        let promised = entry.recv_window.promised();
        if entry.recv == Half::Ended {
            return;
        }
        if promised >= octets {
            if let Some(credit) = entry.recv_window.announce_all() {
                let id = entry.id;
                self.write_window_update(id, credit);
            }
            return;
        }
        let contended = self.budget.oldest_while_others_wait().is_some();
        self.budget.request(stream, octets - promised, now);
        self.serve_grants();
        if !contended {
            self.budget.contention_began(now);
        }
    }

    /// The message asked for with [`Tx::expect_message`] is complete.
    pub fn message_complete(&mut self, stream: StreamKey) {
        let now = self.now;
        self.budget.finished(stream, now);
        self.serve_grants();
    }

    pub(crate) fn serve_grants(&mut self) {
        while let Some(grant) = self.budget.next_grant() {
            let Some(entry) = self.streams.live_mut(grant.stream) else {
                let now = self.now;
                self.budget.finished(grant.stream, now);
                continue;
            };
            let before = entry.share();
            entry.reserve = entry.reserve.saturating_add(grant.octets);
            entry.recv_window.release(grant.octets);
            let (id, credit, after) = (entry.id, entry.recv_window.announce_all(), entry.share());
            self.budget.adjust(before, after);
            if let Some(credit) = credit {
                self.write_window_update(id, credit);
            }
        }
    }

    /// True if so much waits on the stream that its writer should pause; then [`Handler::on_writable`] follows.
    ///
    /// [`Handler::on_writable`]: crate::Handler::on_writable
    pub fn is_backlogged(&mut self, stream: StreamKey) -> bool {
        let Some(backlog) = self.streams.live_mut(stream).and_then(|entry| entry.backlog.as_mut()) else {
            return false;
        };
        backlog.writer_waits = backlog.octets() > BACKLOG_MARK;
        backlog.writer_waits
    }

    /// Octets that wait on the stream for credit or for their turn.
    #[must_use]
    pub fn backlog_octets(&self, stream: StreamKey) -> usize {
        self.streams.get(stream).map_or(0, Stream::backlog_octets)
    }

    /// Sends a PING; its answer comes to [`Handler::on_pong`](crate::Handler::on_pong).
    pub fn ping(&mut self, payload: [u8; 8]) {
        let header =
            self.output.frame(Kind::PING, Flags::default(), 0, |tail| tail.extend_from_slice(&payload));
        self.trace_frame(header, &payload);
        self.pings_in_flight = self.pings_in_flight.saturating_add(1);
    }

    /// Begins a graceful end (RFC 9113 §6.8): a server announces it, lets in what is in flight, and then names the last
    /// stream it takes; a client opens no more streams. Streams that are open go on.
    pub fn shutdown(&mut self) {
        if self.shutdown.ours != Ours::Open {
            return;
        }
        match self.role {
            Role::Server => {
                // RFC 9113 §3.4: they come before any other frame, even if the client has not said a word yet.
                self.write_announcement();
                self.write_goaway(MAX_STREAM_ID, ErrorCode::NO_ERROR, b"graceful shutdown");
                self.ping(SHUTDOWN_PING);
                self.shutdown.ours = Ours::Announced { deadline: self.now + self.config.peer_timeout };
            }
            Role::Client => self.finish_shutdown(),
        }
    }

    pub(crate) fn finish_shutdown(&mut self) {
        let last_stream_id = self.streams.last_remote();
        self.write_goaway(last_stream_id, ErrorCode::NO_ERROR, b"");
        self.shutdown.ours = Ours::Final { last_stream_id };
    }

    // What follows is for the other files of the connection.

    pub(crate) fn write_goaway(&mut self, last_stream_id: u32, code: ErrorCode, debug: &[u8]) {
        let goaway = crate::frame::GoAway { last_stream_id, code, debug };
        let start = self.output.tail().len();
        goaway.encode(self.output.tail());
        self.account_raw_frame(start);
    }

    /// Books a whole frame that was encoded into the tail by itself, and traces it.
    pub(crate) fn account_raw_frame(&mut self, start: usize) {
        self.output.account(start);
        if let Some(observer) = &mut self.observer
            && let Some((head, payload)) =
                self.output.since(start).split_first_chunk::<{ FrameHeader::OCTETS }>()
        {
            let header = FrameHeader::decode(*head);
            observer.on_trace(self.now, &Trace::Frame { direction: Direction::Sent, header, payload });
        }
    }

    pub(crate) fn write_reset(&mut self, id: u32, code: ErrorCode) {
        let payload = code.0.to_be_bytes();
        let header = self
            .output
            .frame(Kind::RST_STREAM, Flags::default(), id, |tail| tail.extend_from_slice(&payload));
        self.trace_frame(header, &payload);
    }

    pub(crate) fn write_window_update(&mut self, id: u32, increment: u32) {
        let payload = increment.to_be_bytes();
        let header = self
            .output
            .frame(Kind::WINDOW_UPDATE, Flags::default(), id, |tail| tail.extend_from_slice(&payload));
        self.trace_frame(header, &payload);
    }

    fn sendable(&mut self, stream: StreamKey) -> Result<&mut Stream, SendError> {
        let entry = self.streams.live_mut(stream).ok_or(SendError::StreamGone)?;
        let ends = entry.backlog.as_ref().is_some_and(|backlog| backlog.ends_stream());
        if entry.send == Half::Streaming && !ends { Ok(entry) } else { Err(SendError::OutOfOrder) }
    }

    /// Σ(name + value + 32) against the peer's limit (RFC 9113 §10.5.1), if it has one.
    fn check_list<'a>(&self, fields: impl Iterator<Item = HeaderField<'a>>) -> Result<(), (usize, u32)> {
        let limit = self.peer.max_header_list;
        if limit == u32::MAX {
            return Ok(());
        }
        let octets = fields.fold(0usize, |sum, field| {
            sum.saturating_add(field.name.len()).saturating_add(field.value.len()).saturating_add(32)
        });
        if octets > limit as usize { Err((octets, limit)) } else { Ok(()) }
    }

    /// Encodes a field section as HEADERS and, if the peer's frames are too small for it, CONTINUATION.
    pub(crate) fn write_section<'a>(
        &mut self,
        id: u32,
        fields: impl Iterator<Item = HeaderField<'a>> + Clone,
        end_stream: bool,
    ) {
        let start = self.output.begin();
        let mut sizes = Vec::new();
        let observed = self.observer.is_some();
        if observed {
            self.encoder.begin(self.output.tail());
            for field in fields.clone() {
                let before = self.output.tail().len();
                self.encoder.encode(field, self.output.tail());
                sizes.push(self.output.tail().len() - before);
            }
        } else {
            self.encoder.encode_section(fields.clone(), self.output.tail());
        }
        let end = if end_stream { Flags::END_STREAM } else { Flags::default() };
        let max = self.peer.max_frame_size as usize;
        if self.output.payload(start).len() <= max {
            let header = self.output.seal(start, Kind::HEADERS, end | Flags::END_HEADERS, id);
            self.trace_section_frame(header, start);
        } else {
            let block = self.output.take_back(start);
            self.write_split_section(id, &block, end, max);
        }
        if observed {
            self.trace_fields(id, fields, &sizes);
        }
    }

    fn write_split_section(&mut self, id: u32, block: &[u8], end: Flags, max: usize) {
        let count = block.len().div_ceil(max);
        for (n, fragment) in block.chunks(max).enumerate() {
            let kind = if n == 0 { Kind::HEADERS } else { Kind::CONTINUATION };
            let mut flags = if n == 0 { end } else { Flags::default() };
            if n + 1 == count {
                flags = flags | Flags::END_HEADERS;
            }
            let header = self.output.frame(kind, flags, id, |tail| tail.extend_from_slice(fragment));
            self.trace_frame(header, fragment);
        }
    }

    /// Takes credit of stream and connection for a frame, if both have it and the peer's frames are big enough.
    fn take_credit(&mut self, stream: StreamKey, octets: usize) -> bool {
        let Ok(octets) = u32::try_from(octets) else { return false };
        if octets > self.peer.max_frame_size || octets > self.send_window.available() && octets > 0 {
            return false;
        }
        let Some(entry) = self.streams.live_mut(stream) else { return false };
        entry.send_window.take(octets) && self.send_window.take(octets)
    }

    fn data_sent(&mut self, header: FrameHeader, start: usize) {
        self.counters.data_frame_sent();
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

    /// Puts DATA behind what waits already, and lets the scheduler write what may go at once.
    fn enqueue(&mut self, stream: StreamKey, data: Bytes, end_stream: bool) {
        if !data.is_empty() {
            self.push_piece(stream, Piece::Data(data));
        }
        if end_stream {
            self.push_piece(stream, Piece::End);
        }
        self.pump();
    }

    fn push_piece(&mut self, stream: StreamKey, piece: Piece) {
        if let Some(entry) = self.streams.live_mut(stream) {
            entry.backlog.get_or_insert_default().push(piece);
            self.schedule(stream);
        }
    }

    /// END_STREAM went to the output.
    pub(crate) fn sent_end(&mut self, key: StreamKey) {
        let now = self.now;
        let Some(stream) = self.streams.live_mut(key) else { return };
        stream.send = Half::Ended;
        stream.blocked(BlockedOn::Peer, now);
        let (id, done) = (stream.id, stream.recv == Half::Ended);
        if done {
            self.close(key, ClosedBy::End, None);
        } else if self.role == Role::Server {
            // RFC 9113 §8.1: the response is complete; the rest of the request is not needed.
            self.write_reset(id, ErrorCode::NO_ERROR);
            let reset = Reset { code: ErrorCode::NO_ERROR, by: By::Us, violation: None };
            self.close(key, ClosedBy::OurReset, Some(reset));
        }
    }

    /// Takes a stream out of the registry.
    pub(crate) fn close(&mut self, key: StreamKey, why: ClosedBy, reset: Option<Reset>) {
        let Some(stream) = self.streams.remove(key) else { return };
        self.leave(key, &stream, why, reset);
        if self.streams.is_local(stream.id) {
            self.notices.stream_slot |= self.opener_waits;
        }
    }

    /// Ends a stream on the wire while its handler keeps the slot.
    pub(crate) fn hold(&mut self, key: StreamKey, why: ClosedBy, reset: Reset) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        entry.tenure = Tenure::HeldByApplication;
        let id = entry.id;
        let fresh = Stream::new(id, Window::new(0), RecvWindow::new(0, 0), self.now);
        let mut stream = core::mem::replace(entry, fresh);
        entry.tenure = Tenure::HeldByApplication;
        // What it waited for stays: it may explain the reset.
        (entry.blocked_on, entry.blocked_since) = (stream.blocked_on, stream.blocked_since);
        stream.tenure = Tenure::Live;
        self.leave(key, &stream, why, Some(reset));
    }

    fn leave(&mut self, key: StreamKey, stream: &Stream, why: ClosedBy, reset: Option<Reset>) {
        let now = self.now;
        self.streams.remember(stream.id, why);
        self.budget.adjust(stream.share(), Share::default());
        self.budget.finished(key, now);
        if why == ClosedBy::End {
            self.counters.stream_completed(now);
        }
        if stream.backlog.as_ref().is_some_and(|backlog| backlog.scheduled) {
            self.ready.retain(|ready| *ready != key);
        }
        if let Some(observer) = &mut self.observer {
            observer.on_trace(now, &Trace::StreamClosed { stream_id: stream.id, reset });
        }
        if stream.share() != Share::default() {
            self.serve_grants();
        }
    }

    /// A reset the peer makes us send; too many of them end the connection.
    pub(crate) fn provoked_reset(&mut self, id: u32, violation: Violation) -> Result<(), Violation> {
        let now = self.now;
        self.write_reset(id, violation.verdict().1);
        self.counters.answered();
        self.counters.reset(now)
    }

    pub(crate) fn trace_frame(&mut self, header: FrameHeader, payload: &[u8]) {
        if let Some(observer) = &mut self.observer {
            observer.on_trace(self.now, &Trace::Frame { direction: Direction::Sent, header, payload });
        }
    }

    fn trace_section_frame(&mut self, header: FrameHeader, start: usize) {
        if let Some(observer) = &mut self.observer {
            let payload = self.output.payload(start);
            observer.on_trace(self.now, &Trace::Frame { direction: Direction::Sent, header, payload });
        }
    }

    fn trace_fields<'a>(
        &mut self,
        stream_id: u32,
        fields: impl Iterator<Item = HeaderField<'a>>,
        sizes: &[usize],
    ) {
        let Some(observer) = &mut self.observer else { return };
        for (field, size) in fields.zip(sizes) {
            let field = Field {
                known: Name::from_bytes(field.name),
                name: field.name,
                value: field.value,
                sensitive: matches!(field.indexing, Indexing::Never),
                wire_octets: u32::try_from(*size).unwrap_or(u32::MAX),
            };
            observer.on_trace(self.now, &Trace::Field { direction: Direction::Sent, stream_id, field });
        }
    }
}
