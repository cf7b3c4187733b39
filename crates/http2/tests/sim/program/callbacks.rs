//! What the engine tells a program, checked as it comes.

use super::*;

impl Handler for Program {
    fn on_request(&mut self, tx: &mut Tx, stream: StreamKey, head: &RequestHead<'_>, end_stream: bool) {
        let asked = tx.stream_id(stream).and_then(|id| self.truth.borrow().paths.get(&id).copied());
        if asked.map(str::as_bytes) != Some(head.path) {
            return self.blame(format!("a request for {asked:?} came as {:?}", head.path));
        }
        if head.section > 0 {
            self.sections.insert(head.section, head.path.to_vec());
        }
        self.requested(tx, stream, end_stream);
    }

    fn on_request_again(&mut self, tx: &mut Tx, stream: StreamKey, section: u64, end_stream: bool) -> bool {
        let asked = tx.stream_id(stream).and_then(|id| self.truth.borrow().paths.get(&id).copied());
        if asked.map(str::as_bytes) != self.sections.get(&section).map(Vec::as_slice) {
            self.blame(format!(
                "a request for {asked:?} is taken for another: {:?}",
                self.sections.get(&section)
            ));
        }
        // It may have forgotten.
        let known = self.random.one_in(2);
        if known {
            self.requested(tx, stream, end_stream);
        }
        known
    }

    fn on_oversize_request(&mut self, _: &mut Tx, _: StreamKey, octets: usize) {
        self.blame(format!("a request of {octets} octets is over the limit that was announced"));
    }

    fn on_response(&mut self, tx: &mut Tx, stream: StreamKey, head: &ResponseHead<'_>, end_stream: bool) {
        let Some(call) = self.call(stream, "a response") else { return };
        if std::mem::replace(&mut call.got_head, true) || head.status != 200 {
            let text = format!("a second response, or status {}", head.status);
            return self.blame(text);
        }
        if end_stream {
            return self.check_end(stream, None);
        }
        self.react(tx, stream);
    }

    fn on_informational(&mut self, _: &mut Tx, stream: StreamKey, _: &ResponseHead<'_>) {
        if self.call(stream, "an informational response").is_some_and(|call| call.got_head) {
            self.blame("an informational response after the final one".to_owned());
        }
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, end_stream: bool) {
        let peer = if self.role == Role::Client { Role::Server } else { Role::Client };
        let next = 1 + self.random.below(50_000);
        let Some(call) = self.call(stream, "DATA") else { return };
        let octets = data.as_slice();
        if octets != body::octets(call.id, peer, call.received, octets.len()) || !call.got_head {
            let text = format!("call {}: wrong octets at {}", call.id, call.received);
            return self.blame(text);
        }
        call.received += octets.len() as u64;
        match call.reading {
            Reading::AtOnce => tx.release(stream, octets.len()),
            Reading::NowAndThen => call.held += octets.len(),
            Reading::Whole(_) => call.assemble(tx, stream, octets.len(), end_stream, next),
        }
        if end_stream {
            self.check_end(stream, None);
        }
        self.react(tx, stream);
    }

    fn on_trailers(&mut self, tx: &mut Tx, stream: StreamKey, fields: &FieldSection) {
        if self.call(stream, "trailers").is_none() {
            return;
        }
        let claimed = fields.iter().find(|field| field.name == b"x-sent").map(|field| field.value);
        let claimed = claimed.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        if !fields.iter().any(|field| field.name == b"grpc-status" && field.value == b"0") {
            return self.blame("trailers that nobody sent".to_owned());
        }
        self.check_end(stream, claimed);
        self.react(tx, stream);
    }

    fn on_reset(&mut self, tx: &mut Tx, stream: StreamKey, reset: Reset) -> SlotFate {
        let complete = self.calls.get(&stream).is_some_and(|call| call.ended == Some(Ended::Complete));
        let legal = match reset.violation {
            // Nobody resets a complete response, but its server may say that it needs no more of the request.
            None => reset.by == By::Peer && (!complete || reset.code == ErrorCode::NO_ERROR),
            Some(Violation::ReceiveBudget) => self.tight,
            // The programs read when they like, so this may be.
            Some(Violation::AssemblyStalled | Violation::SendStalled) => true,
            Some(_) => false,
        };
        if !complete {
            let Some(call) = self.call(stream, "a reset") else { return SlotFate::Free };
            call.ended = Some(Ended::Reset(reset));
        }
        if !legal {
            self.blame(format!("a legal stream was reset: {reset:?}"));
        }
        if tx.stream_id(stream).is_some() && self.random.one_in(4) {
            self.held_slots.push(stream);
            return SlotFate::HeldByApplication;
        }
        SlotFate::Free
    }

    fn on_writable(&mut self, tx: &mut Tx, stream: StreamKey) {
        let Some(call) = self.calls.get_mut(&stream) else { return };
        call.waits_to_write = false;
        self.react(tx, stream);
    }

    fn on_stream_slot(&mut self, tx: &mut Tx) {
        if !std::mem::take(&mut self.waits_for_slot) && !tx.is_going_away() {
            self.blame("a free stream nobody waits for".to_owned());
        }
    }

    fn on_goaway(&mut self, _: &mut Tx, goaway: &GoAway<'_>) {
        // No call can be opened any more, so nobody waits for a stream.
        self.waits_for_slot = false;
        if goaway.code != ErrorCode::NO_ERROR {
            let debug = String::from_utf8_lossy(goaway.debug);
            self.accused = Some(format!("the peer found fault: {}, {debug}", goaway.code));
        }
    }

    fn on_pong(&mut self, _: &mut Tx, payload: [u8; 8]) {
        self.pings -= 1;
        if self.pings < 0 || payload != *b"sim-ping" {
            self.blame(format!("an answer to a PING nobody sent: {payload:?}"));
        }
    }
}
