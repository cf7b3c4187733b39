//! What the peer answers, turned into messages, metadata and a status.
//!
//! Sources: gRPC over HTTP/2 ("Responses", "Errors"), the HTTP-to-status mapping page, RFC 9113 §8.1.

use clearway_http2::hpack::{FieldSection, Name};
use clearway_http2::stream::State;
use clearway_http2::{
    By, Chunk, ErrorCode, Farewell, GoAway, Handler, Reset, ResponseHead, SlotFate, StreamKey, Tx,
};

use super::channel::Event;
use super::connection::{Call, ClientConnection, Stage};
use super::upload::Leg;
use crate::cause::{Processed, TransportCause, TransportEvent};
use crate::codec::CompressionEncoding;
use crate::codec::compression::IDENTITY;
use crate::framing::{Incoming, PREFIX, bad_message, is_grpc};
use crate::inbound::End;
use crate::metadata::MetadataMap;
use crate::{Code, Status};

/// Messages kept for a caller that wants exactly one: enough to tell that there were more.
const KEPT: u8 = 2;
/// A message that lacks more than this is asked for as a whole, even where its octets are consumed as they come: else it would
/// come window by window.
const LARGE: usize = 64 * 1024;
/// Octets of untrusted text that go into a status message.
const QUOTED: usize = 64;

impl Handler for ClientConnection {
    fn on_response(&mut self, tx: &mut Tx, stream: StreamKey, head: &ResponseHead<'_>, end_stream: bool) {
        self.answered = true;
        if end_stream {
            let end = trailers(head.fields).unwrap_or_else(|| {
                let status = without_status(head.status, unexpected_type(head.content_type));
                Err(status.and_connection(self.info(tx.now())))
            });
            self.complete(tx, stream, end);
            return;
        }
        let Some(call) = self.call(stream) else { return };
        call.stage = Stage::Streaming { http_status: head.status };
        let encoding = match unexpected_type(head.content_type) {
            Some(why) => Err(without_status(head.status, Some(why))),
            None => call.encoding(head.grpc_encoding),
        };
        let encoding = match encoding {
            Ok(encoding) => encoding,
            Err(status) => {
                let status = status.and_connection(self.info(tx.now()));
                self.cancel(tx, stream, status);
                return;
            }
        };
        // Not before it is gRPC that answers: what a proxy says in its place may be a reason to go again.
        call.start.outgoing.forget();
        call.assembler.agreed(encoding.is_some());
        let waker = call.start.inbound.deliver_head(MetadataMap::of_response(head.fields), encoding);
        self.wakers.extend(waker);
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, end_stream: bool) {
        let Some(call) = self.call(stream) else { return };
        match call.take_data(tx, stream, data.as_slice()) {
            Ok(wakers) => self.wakers.extend(wakers),
            Err(status) => {
                let status = status.and_connection(self.info(tx.now()));
                self.cancel(tx, stream, status);
                return;
            }
        }
        if end_stream {
            let end = Err(self.end_without_trailers(stream).and_connection(self.info(tx.now())));
            self.complete(tx, stream, end);
        }
    }

    fn on_trailers(&mut self, tx: &mut Tx, stream: StreamKey, fields: &FieldSection) {
        let Some(call) = self.call(stream) else { return };
        let whole = call.assembler.at_boundary();
        let end = match trailers(fields) {
            Some(Ok(_)) if !whole => Err(cut_short().and_connection(self.info(tx.now()))),
            Some(end) => end,
            None => Err(self.end_without_trailers(stream).and_connection(self.info(tx.now()))),
        };
        self.complete(tx, stream, end);
    }

    fn on_reset(&mut self, tx: &mut Tx, stream: StreamKey, reset: Reset) -> SlotFate {
        let Some(mut call) = self.take(stream) else { return SlotFate::Free };
        let refused = reset.by == By::Peer && reset.code == ErrorCode::REFUSED_STREAM;
        if refused && call.detach() {
            call.start.refused = true;
            call.start.inbound.detached();
            self.shared.take_back(call.start);
            return SlotFate::Free;
        }
        let status = if reset.by == By::Peer && reset.code == ErrorCode::CANCEL && self.is_late(tx, &call) {
            self.deadline_status(tx, &call)
        } else {
            self.reset_status(tx, stream, reset, refused)
        };
        self.wakers.extend(call.start.outgoing.leg().and_then(Leg::close));
        self.wakers.extend(call.start.inbound.end(Err(status)));
        SlotFate::Free
    }

    fn on_writable(&mut self, tx: &mut Tx, stream: StreamKey) {
        let Some(call) = self.call(stream) else { return };
        let waker = call.start.outgoing.leg().and_then(|leg| leg.writable(tx.writer_mark()));
        self.wakers.extend(waker);
    }

    fn on_stream_slot(&mut self, tx: &mut Tx) {
        if self.sharing.is_some() {
            self.streams_are_free(tx);
        } else {
            self.open_waiting(tx);
        }
    }

    fn on_probe(&mut self, tx: &mut Tx, alive: bool) {
        self.probed(tx, alive);
    }

    fn on_ready(&mut self, _: &mut Tx) {
        self.tell(Event::Ready);
    }

    fn on_going_away(&mut self, _: &mut Tx, why: Farewell) {
        self.stop_sharing();
        self.tell(match why {
            Farewell::MaxIdle => Event::Rests,
            Farewell::MaxAge | Farewell::Shutdown => Event::GoingAway { answered: self.answered },
        });
        self.hand_back_waiting();
    }

    fn on_goaway(&mut self, tx: &mut Tx, goaway: &GoAway<'_>) {
        let debug = goaway.debug.get(..goaway.debug.len().min(256)).unwrap_or_default();
        let event = self.heed(tx, goaway).unwrap_or_else(|| TransportEvent::GoAway {
            code: goaway.code,
            debug: debug.escape_ascii().to_string(),
            last_stream_id: goaway.last_stream_id,
        });
        self.goaway = Some(event);
        self.goaway_last_id = goaway.last_stream_id;
        // The channel hears of it first, so that it does not pick this connection for what is handed back.
        self.stop_sharing();
        self.tell(Event::GoingAway { answered: self.answered });
        self.hand_back_waiting();
    }
}

impl ClientConnection {
    /// The peer ended its side. If our request is not complete the peer does not need the rest of it (RFC 9113 §8.1); the
    /// status stands.
    fn complete(&mut self, tx: &mut Tx, stream: StreamKey, end: End) {
        if tx.stream_state(stream) == State::HalfClosedRemote {
            tx.reset(stream, ErrorCode::NO_ERROR);
        }
        self.finish(stream, end);
    }

    fn end_without_trailers(&mut self, stream: StreamKey) -> Status {
        let Some(call) = self.call(stream) else { return cut_short() };
        match call.stage {
            _ if !call.assembler.at_boundary() => cut_short(),
            Stage::Streaming { http_status } => without_status(http_status, None),
            Stage::AwaitingHeaders => without_status(200, None),
        }
    }

    fn reset_status(&self, tx: &Tx, stream: StreamKey, reset: Reset, refused: bool) -> Status {
        let code = match (reset.by, Code::from_reset(reset.code)) {
            (By::Peer, code) => code,
            // We reset it because the peer broke a rule or pressed against a limit.
            (By::Us | By::Application, Code::ResourceExhausted) => Code::ResourceExhausted,
            (By::Us | By::Application, _) => Code::Internal,
        };
        let left_out = refused && tx.stream_id(stream).is_some_and(|id| id > self.goaway_last_id);
        let event = match &self.goaway {
            Some(goaway) if left_out => goaway.clone(),
            _ => TransportEvent::reset(reset),
        };
        let processed = if refused { Processed::No } else { Processed::Maybe };
        let connection = Some(self.info(tx.now()));
        Status::from_transport(code, TransportCause { connection, event, processed })
    }
}

impl Call {
    /// What the messages of a response are compressed by (gRPC's compression page): only what the client said it can read, or
    /// wrote itself, which some servers take for the same.
    fn encoding(&self, named: Option<&[u8]>) -> Result<Option<CompressionEncoding>, Status> {
        let Some(named) = named.filter(|named| *named != IDENTITY.as_bytes()) else { return Ok(None) };
        let own = self.start.encoding.filter(|own| own.name().as_bytes() == named);
        let found = own.or_else(|| self.start.accepted.as_ref()?.find(named));
        found.map(Some).ok_or_else(|| {
            bad_message(format!(
                "response is compressed by \"{}\", which this client does not accept",
                quoted(named)
            ))
        })
    }

    /// Octets of the response: whole messages go to the reader, and credit back to the peer if nobody else will give it.
    fn take_data(
        &mut self,
        tx: &mut Tx,
        stream: StreamKey,
        mut input: &[u8],
    ) -> Result<Option<core::task::Waker>, Status> {
        let mut waker = None;
        if self.is_collected() {
            tx.release(stream, input.len());
        }
        while let Some(message) =
            self.assembler.next(&mut input).map_err(|error| error.status(Incoming::Response))?
        {
            if core::mem::take(&mut self.expecting) {
                tx.message_complete(stream);
            }
            if self.is_collected() {
                if self.kept == KEPT {
                    continue;
                }
                self.kept = self.kept.saturating_add(1);
            }
            let message = message.into_message();
            let octets = message.len().saturating_add(PREFIX);
            match self.start.inbound.deliver(message) {
                Some(woken) => waker = waker.or(woken),
                None => tx.release(stream, octets),
            }
        }
        let lacking = self.assembler.lacking();
        let worth_it = if self.is_collected() { lacking > LARGE } else { lacking > 0 };
        if worth_it && !self.expecting && self.start.inbound.assembling() {
            self.expecting = true;
            tx.expect_message(stream, lacking);
        }
        Ok(waker)
    }
}

/// The end that a trailer section stands for; none if it has no `grpc-status`.
fn trailers(fields: &FieldSection) -> Option<End> {
    if fields.len() == 1
        && fields.field(0).is_some_and(|field| field.known == Name::GrpcStatus && field.value == b"0")
    {
        return Some(Ok(MetadataMap::new()));
    }
    let status = Status::from_section(fields)?;
    let metadata = MetadataMap::of_response(fields);
    Some(if status.code() == Code::Ok { Ok(metadata) } else { Err(status.and_metadata(metadata)) })
}

fn cut_short() -> Status {
    bad_message("the response ended in the middle of a message")
}

/// What a response without `grpc-status` means.
fn without_status(http_status: u16, why: Option<String>) -> Status {
    let what = why.unwrap_or_else(|| "no grpc-status".to_owned());
    let event = TransportEvent::NotGrpc { http_status, what };
    Status::from_transport(Code::from_http_status(http_status), TransportCause::anywhere(event))
}

/// Says what is wrong with a content-type that is not gRPC's.
fn unexpected_type(content_type: Option<&[u8]>) -> Option<String> {
    match content_type {
        None => Some("no content-type".to_owned()),
        Some(value) if is_grpc(value) => None,
        Some(value) => Some(format!("content-type is \"{}\", want application/grpc,", quoted(value))),
    }
}

/// Untrusted text, escaped and cut.
fn quoted(text: &[u8]) -> String {
    text.get(..text.len().min(QUOTED)).unwrap_or_default().escape_ascii().to_string()
}
