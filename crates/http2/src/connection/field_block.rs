//! Field blocks: HEADERS and CONTINUATION, decoded and turned into requests, responses and trailers.
//! RFC 9113 §4.3, §6.2, §6.10, §8.
//!
//! Invariant: every block is decoded in full and in order, also for streams that are refused, reset or unknown;
//! otherwise the HPACK state of the two sides drifts apart (RFC 7541 §2.3).

use super::Role;
use super::receive::Rx;
use super::tx::Tx;
use crate::error::Violation;
use crate::frame::{Continuation, FrameHeader, Headers};
use crate::handler::Handler;
use crate::hpack::SectionLimits;
use crate::message::{self, Section};
use crate::observe::{Direction, Trace};
use crate::stream::registry::{ClosedBy, Lookup};
use crate::stream::{ContentLength, Half, StreamKey};
use crate::time::Instant;

/// A block whose END_HEADERS has not come yet.
#[derive(Debug)]
pub(super) struct OpenBlock {
    pub(super) stream_id: u32,
    end_stream: bool,
    self_dependent: bool,
    continuations: u32,
    /// When HEADERS came: the whole block has so much time and no more.
    pub(super) since: Instant,
    fragments: Vec<u8>,
}

/// What HEADERS said beside its fields.
#[derive(Clone, Copy)]
struct Block {
    stream_id: u32,
    end_stream: bool,
    /// The stream depends on itself (RFC 7540 §5.3.1): a stream error, but the block counts.
    self_dependent: bool,
}

impl Rx {
    pub(super) fn on_headers<H: Handler>(
        &mut self,
        tx: &mut Tx,
        header: FrameHeader,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), Violation> {
        let frame = Headers::decode(header, payload)?;
        tx.unearned = 0;
        let self_dependent = frame.priority.is_some_and(|priority| priority.dependency == frame.stream_id);
        let (stream_id, end_stream) = (frame.stream_id, frame.end_stream);
        if frame.fragment.len() > tx.config.limits.field_block_octets {
            return Err(Violation::FieldBlockTooLarge);
        }
        if frame.end_headers {
            return self.on_block(
                tx,
                Block { stream_id, end_stream, self_dependent },
                frame.fragment,
                handler,
            );
        }
        let fragments = frame.fragment.to_vec();
        let since = tx.now;
        let open = OpenBlock { stream_id, end_stream, self_dependent, continuations: 0, since, fragments };
        self.block = Some(Box::new(open));
        Ok(())
    }

    pub(super) fn on_continuation<H: Handler>(
        &mut self,
        tx: &mut Tx,
        header: FrameHeader,
        payload: &[u8],
        handler: &mut H,
    ) -> Result<(), Violation> {
        let frame = Continuation::decode(header, payload)?;
        let Some(block) = &mut self.block else { return Err(Violation::UnexpectedContinuation) };
        block.continuations = block.continuations.saturating_add(1);
        // RFC 9113 §10.5.1; CVE-2024-27316: both counts are bounded before anything is decoded.
        if block.continuations > tx.config.limits.continuations {
            return Err(Violation::TooManyContinuations);
        }
        if block.fragments.len().saturating_add(frame.fragment.len()) > tx.config.limits.field_block_octets {
            return Err(Violation::FieldBlockTooLarge);
        }
        block.fragments.extend_from_slice(frame.fragment);
        if !frame.end_headers {
            return Ok(());
        }
        let Some(open) = self.block.take() else { return Ok(()) };
        let block = Block {
            stream_id: open.stream_id,
            end_stream: open.end_stream,
            self_dependent: open.self_dependent,
        };
        self.on_block(tx, block, &open.fragments, handler)
    }

    /// A whole field block.
    fn on_block<H: Handler>(
        &mut self,
        tx: &mut Tx,
        block: Block,
        fragment: &[u8],
        handler: &mut H,
    ) -> Result<(), Violation> {
        let limits = SectionLimits {
            list_octets: tx.config.limits.header_list_octets as usize,
            fields: tx.config.limits.header_fields,
        };
        self.sections.decode(&mut self.decoder, fragment, &limits)?;
        if let Some(observer) = &mut tx.observer {
            for field in self.sections.section().iter() {
                let stream_id = block.stream_id;
                observer.on_trace(tx.now, &Trace::Field { direction: Direction::Received, stream_id, field });
            }
        }
        match tx.streams.lookup(block.stream_id) {
            Lookup::Live(key) if block.self_dependent => {
                tx.stream_error(key, Violation::SelfDependency, handler)
            }
            Lookup::Live(key) => self.on_live_block(tx, key, block.end_stream, handler),
            Lookup::Idle => match self.role {
                Role::Server => self.on_new_request(tx, block, handler),
                // We refuse pushes, so a server opens nothing.
                Role::Client if tx.streams.is_local(block.stream_id) => Err(Violation::FrameOnIdleStream),
                Role::Client => Err(Violation::StreamIdWrongParity),
            },
            Lookup::Closed(why) => self.on_closed_block(tx, block.stream_id, why),
        }
    }

    /// HEADERS on a stream that is closed (RFC 9113 §5.1, §5.1.1).
    fn on_closed_block(&self, tx: &mut Tx, id: u32, why: ClosedBy) -> Result<(), Violation> {
        match why {
            // RFC 9113 §6.8: above the last id we named, everything is ignored.
            _ if tx.is_unwelcome(id) => tx.counters.glitch(&tx.config.limits, tx.now),
            ClosedBy::End => Err(Violation::FrameOnClosedStream),
            // In flight when we reset it. To ignore is not free.
            ClosedBy::OurReset => tx.counters.late_frame(0, &tx.config.limits, tx.now),
            ClosedBy::PeerReset => tx.provoked_reset(id, Violation::FrameAfterReset),
            // A client may have reset it long ago; a server never sees a lower id that was not used.
            ClosedBy::Forgotten if self.role == Role::Client => tx.counters.glitch(&tx.config.limits, tx.now),
            // Perhaps the trailers of a request that we reset before many others.
            ClosedBy::Forgotten if tx.counters.was_in_flight(0) => Ok(()),
            ClosedBy::Forgotten => Err(Violation::StreamIdNotIncreasing),
        }
    }

    fn on_new_request<H: Handler>(
        &mut self,
        tx: &mut Tx,
        block: Block,
        handler: &mut H,
    ) -> Result<(), Violation> {
        let id = block.stream_id;
        if id.is_multiple_of(2) {
            return Err(Violation::StreamIdWrongParity);
        }
        if !tx.shutdown.admits(id) {
            // RFC 9113 §6.8: streams above the last id are ignored; their fields were decoded.
            tx.streams.note_remote_id(id);
            tx.counters.expect_late(tx.config.stream_window_octets);
            return tx.counters.glitch(&tx.config.limits, tx.now);
        }
        if tx.streams.remote_count() >= tx.config.max_concurrent_streams {
            return refuse(tx, id, Violation::StreamLimitExceeded);
        }
        if block.self_dependent {
            return refuse(tx, id, Violation::SelfDependency);
        }
        if let Some((number, length)) = self.sections.known_request()
            && (!block.end_stream || length.is_satisfied())
        {
            let key = self.open_remote(tx, id, block.end_stream, length);
            if !handler.on_request_again(tx, key, number, block.end_stream)
                && let Ok(found) = self.sections.walk(Section::Request)
                && let Ok((mut head, _)) = message::request(self.sections.section(), &found)
            {
                (head.route, head.section) = (handler.route(head.path), number);
                handler.on_request(tx, key, &head, block.end_stream);
            }
            tx.close_if_ended(key);
            return Ok(());
        }
        self.on_unknown_request(tx, block, handler)
    }

    /// A request whose header section is not known to be good.
    fn on_unknown_request<H: Handler>(
        &mut self,
        tx: &mut Tx,
        block: Block,
        handler: &mut H,
    ) -> Result<(), Violation> {
        let id = block.stream_id;
        if self.sections.section().exceeded() {
            let key = self.open_remote(tx, id, block.end_stream, ContentLength::Unbound);
            let octets = self.sections.section().list_octets();
            handler.on_oversize_request(tx, key, octets);
            tx.close_if_ended(key);
            return Ok(());
        }
        let parsed = self.sections.walk(Section::Request);
        let section = self.sections.section();
        let (mut head, length) = match parsed.and_then(|found| message::request(section, &found)) {
            Ok(parsed) => parsed,
            Err(violation) => return refuse(tx, id, violation),
        };
        if block.end_stream && !length.is_satisfied() {
            return refuse(tx, id, Violation::ContentLengthMismatch);
        }
        (head.route, head.section) = (handler.route(head.path), self.sections.next_number());
        let key = self.open_remote(tx, id, block.end_stream, length);
        handler.on_request(tx, key, &head, block.end_stream);
        self.sections.number(length);
        tx.close_if_ended(key);
        Ok(())
    }

    fn open_remote(&self, tx: &mut Tx, id: u32, end_stream: bool, length: ContentLength) -> StreamKey {
        let mut stream = tx.new_stream(id);
        stream.content_length = length;
        stream.recv = if end_stream { Half::Ended } else { Half::Streaming };
        stream.opened_in = self.calls;
        tx.counters.stream_opened();
        tx.streams.insert(stream)
    }

    /// HEADERS on a stream that exists: a response, or trailers.
    fn on_live_block<H: Handler>(
        &mut self,
        tx: &mut Tx,
        key: StreamKey,
        end_stream: bool,
        handler: &mut H,
    ) -> Result<(), Violation> {
        let Some(stream) = tx.streams.live_mut(key) else { return Ok(()) };
        match stream.recv {
            Half::Ended => tx.stream_error(key, Violation::FrameAfterEndStream, handler),
            _ if self.sections.section().exceeded() => {
                tx.stream_error(key, Violation::HeaderListTooLarge, handler)
            }
            Half::AwaitingHeaders => self.on_response(tx, key, end_stream, handler),
            Half::Streaming if !end_stream => {
                tx.stream_error(key, Violation::TrailersWithoutEndStream, handler)
            }
            Half::Streaming => {
                let satisfied = stream.content_length.is_satisfied();
                if let Err(violation) = self.sections.walk(Section::Trailers) {
                    return tx.stream_error(key, violation, handler);
                }
                if !satisfied {
                    return tx.stream_error(key, Violation::ContentLengthMismatch, handler);
                }
                stream.recv = Half::Ended;
                handler.on_trailers(tx, key, self.sections.section());
                tx.close_if_ended(key);
                Ok(())
            }
        }
    }

    fn on_response<H: Handler>(
        &mut self,
        tx: &mut Tx,
        key: StreamKey,
        end_stream: bool,
        handler: &mut H,
    ) -> Result<(), Violation> {
        let empty_frames = tx.config.limits.empty_frames;
        let Some(stream) = tx.streams.live_mut(key) else { return Ok(()) };
        let to_head = stream.head_request;
        let parsed = self.sections.walk(Section::Response);
        let section = self.sections.section();
        let (head, length) = match parsed.and_then(|found| message::response(section, &found, to_head)) {
            Ok(parsed) => parsed,
            Err(violation) => return tx.stream_error(key, violation, handler),
        };
        if head.status < 200 {
            // RFC 9113 §8.1: 101 does not exist in HTTP/2, and an interim response ends nothing.
            if end_stream || head.status == 101 {
                return tx.stream_error(key, Violation::BadInformational, handler);
            }
            stream.empties = stream.empties.saturating_add(1);
            if stream.empties > empty_frames {
                return Err(Violation::TooManyEmptyFrames);
            }
            handler.on_informational(tx, key, &head);
            return Ok(());
        }
        if end_stream && !length.is_satisfied() {
            return tx.stream_error(key, Violation::ContentLengthMismatch, handler);
        }
        stream.empties = 0;
        stream.content_length = length;
        stream.recv = if end_stream { Half::Ended } else { Half::Streaming };
        handler.on_response(tx, key, &head, end_stream);
        tx.close_if_ended(key);
        Ok(())
    }
}

/// Refuses a request that never becomes a stream.
fn refuse(tx: &mut Tx, id: u32, violation: Violation) -> Result<(), Violation> {
    tx.streams.note_remote_id(id);
    tx.streams.remember(id, ClosedBy::OurReset);
    tx.counters.expect_late(tx.config.stream_window_octets);
    tx.provoked_reset(id, violation)
}
