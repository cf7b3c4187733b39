//! Where the octets of a request go: into the one message that a method takes, or to the handler of a stream, message by
//! message.
//!
//! Invariant: credit of a message that is collected goes back when the message is dispatched, that of a stream's when its
//! reader takes it; while a message whose reader waits is put together, the engine is asked for the credit of its rest once.

use clearway_http2::{StreamKey, Tx};

use super::call::{Call, Intake};
use super::connection::ServerConnection;
use super::visit::Upload;
use crate::Status;
use crate::codec::DecodeBuf;
use crate::framing::{Incoming, PREFIX};
use crate::inbound::Delivered;
use crate::metadata::MetadataMap;

impl ServerConnection {
    /// Octets of a request whose method takes one message.
    pub(super) fn collect(&mut self, tx: &mut Tx, stream: StreamKey, mut input: &[u8], end_stream: bool) {
        let Some(call) = self.calls.get(stream) else { return };
        let Intake::One { message, compressed, .. } = &mut call.intake else { return };
        call.held = call.held.saturating_add(u32::try_from(input.len()).unwrap_or(u32::MAX));
        loop {
            match call.assembler.next(&mut input) {
                Ok(None) => break,
                Ok(Some(_)) if message.is_some() => return self.fail(tx, stream, &too_many_messages()),
                Ok(Some(whole)) if end_stream && input.is_empty() => return self.dispatch(tx, stream, whole),
                Ok(Some(whole)) => {
                    *compressed = whole.is_compressed();
                    *message = Some(whole.into_message().octets);
                }
                Err(error) => return self.fail(tx, stream, &error.status(Incoming::Request)),
            }
        }
        if end_stream {
            return self.request_ended(tx, stream);
        }
        call.expect(tx);
    }

    /// Octets of a request that is a stream.
    pub(super) fn feed(&mut self, tx: &mut Tx, stream: StreamKey, mut input: &[u8], end_stream: bool) {
        let Some(call) = self.calls.get(stream) else { return };
        let Intake::Many(upload) = &mut call.intake else { return };
        loop {
            match call.assembler.next(&mut input) {
                Ok(None) => break,
                Ok(Some(message)) => {
                    let message = message.into_message();
                    let octets = message.len().saturating_add(PREFIX);
                    if core::mem::take(&mut call.expecting) {
                        tx.message_complete(stream);
                    }
                    match upload.deliver(message) {
                        Delivered::AtHome => self.to_visit.push(stream),
                        Delivered::Told(waker) => self.wakes.extend(waker),
                        Delivered::Unread => tx.release(stream, octets),
                    }
                }
                Err(error) => return self.fail(tx, stream, &error.status(Incoming::Request)),
            }
        }
        if end_stream {
            return self.request_ended(tx, stream);
        }
        if call.assembler.lacking() > 0 && upload.inbound.assembling() {
            call.expect(tx);
        }
    }

    /// END_STREAM came.
    pub(super) fn request_ended(&mut self, tx: &mut Tx, stream: StreamKey) {
        let Some(call) = self.calls.get(stream) else { return };
        if !call.assembler.at_boundary() {
            return self.fail(tx, stream, &Status::internal("the request ended in the middle of a message"));
        }
        match &mut call.intake {
            Intake::One { message, compressed, .. } => match message.take() {
                Some(octets) => {
                    let compressed = *compressed;
                    self.dispatch(tx, stream, DecodeBuf::owned(octets).flagged(compressed));
                }
                None => self.fail(
                    tx,
                    stream,
                    &Status::unimplemented("the request has no message, want exactly one"),
                ),
            },
            Intake::Many(Upload { inbound, .. }) => {
                self.wakes.extend(inbound.end(Ok(MetadataMap::new())));
                call.intake = Intake::Over;
            }
            Intake::Over => {}
        }
    }
}

impl Call {
    /// The reader of the message in assembly waits for the rest of it.
    pub(super) fn expect(&mut self, tx: &mut Tx) {
        let lacking = self.assembler.lacking();
        if lacking > 0 && !self.expecting {
            self.expecting = true;
            tx.expect_message(self.stream, lacking);
        }
    }

    /// Something of the response that came through the queue was applied.
    pub(super) const fn applied(&mut self) {
        if let Intake::Many(upload) = &mut self.intake {
            upload.applied();
        }
    }

    /// Nobody reads the rest of the request.
    pub(super) fn abandon(&mut self, tx: &mut Tx) {
        self.intake = Intake::Over;
        if core::mem::take(&mut self.expecting) {
            tx.message_complete(self.stream);
        }
        let held = self.assembler.abandon();
        tx.release(self.stream, held);
    }
}

fn too_many_messages() -> Status {
    Status::unimplemented("the request has more than one message, want exactly one")
}
