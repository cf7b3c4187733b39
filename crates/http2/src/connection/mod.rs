//! One HTTP/2 connection, without I/O. RFC 9113.
//!
//! # The contract with the driver
//! One owner calls, in any order, with times that never go back:
//!
//! * [`Connection::recv`] with bytes that came; it calls the handler for what they mean and says how many it took. It
//!   takes fewer than given only while the peer does not read what it makes us send: write, then offer the rest again.
//! * [`Connection::tx`] for commands of the program on top (open a stream, send, reset).
//! * [`Connection::on_tick`] when the instant of [`Connection::next_timer`] has come.
//!
//! After any of these: [`Connection::transmit`], which fills the output, then write what
//! [`Connection::output`] shows and report it with [`Connection::wrote`], until the socket blocks or
//! [`Connection::pending_output`] is zero. When `recv` or `on_tick` fails, a GOAWAY is in the output: write it and close.
//!
//! # Structure
//! The receiving half (`receive`, `data`, `field_block`, `section_memo`, `control`) parses and decodes; the sending
//! half ([`Tx`], `pace`, `transmit`, `stalls`, `write`, `output`) owns the streams, the encoder and the output. They are split so that
//! a handler called while bytes are parsed can answer at once. `credit`, `closing` and `shutdown` are about windows,
//! the end of a stream and the end of the connection, `life` about when that comes by itself, `keepalive` about a peer that has fallen
//! silent; `check` is what debug builds assert.
//!
//! Left out: extended CONNECT (RFC 8441), and pushes, which are refused.

mod check;
mod closing;
mod control;
mod credit;
mod data;
mod field_block;
mod keepalive;
mod life;
mod output;
mod pace;
mod receive;
mod section_memo;
mod shutdown;
mod stalls;
mod transmit;
mod tx;
mod windows;
mod write;

use std::io::IoSlice;
use std::sync::Arc;

pub use life::{Farewell, LifeLimits};
pub use shutdown::PeerGoAway;
pub use tx::Tx;
pub use windows::Windows;

use crate::config::Config;
use crate::error::{By, ConnectionError, ErrorCode, Reset, Violation};
use crate::handler::Handler;
use crate::limits::Tally;
use crate::observe::{Direction, Observer, Trace};
use crate::time::{Instant, earliest};
use receive::Rx;
use shutdown::Ours;

/// The client's connection preface (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Which side of the connection we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Role {
    /// We open streams.
    Client,
    /// The peer opens streams.
    Server,
}

/// One HTTP/2 connection. See the [module](self) for the contract.
pub struct Connection {
    rx: Rx,
    tx: Tx,
}

impl Connection {
    /// A client's connection. Its preface and SETTINGS are in the output at once. Connections that are alike can share
    /// their configuration.
    #[must_use]
    pub fn client(config: impl Into<Arc<Config>>, now: Instant) -> Self {
        Self::new(Role::Client, config.into(), now)
    }

    /// A server's connection. Its SETTINGS go out when the client's preface has come. Connections that are alike can share
    /// their configuration.
    #[must_use]
    pub fn server(config: impl Into<Arc<Config>>, now: Instant) -> Self {
        Self::new(Role::Server, config.into(), now)
    }

    fn new(role: Role, config: Arc<Config>, now: Instant) -> Self {
        let mut connection = Self { rx: Rx::new(role, &config, now), tx: Tx::new(role, config, now) };
        if role == Role::Client {
            connection.tx.output.raw(PREFACE);
            connection.rx.announce(&mut connection.tx);
        }
        connection
    }

    /// Sets who sees what happens on this connection; replaces an earlier one.
    ///
    /// A client's own preface and SETTINGS are in the output already; they are shown to the new observer first.
    pub fn observe(&mut self, observer: Box<dyn Observer + Send>) {
        self.tx.observer = Some(observer);
        if self.tx.role == Role::Client && self.rx.is_untouched() {
            self.tx.replay_announcement();
        }
    }

    /// Bytes came from the peer. Says how many were taken; see the [contract](self).
    ///
    /// # Errors
    /// The peer broke a rule that ends the connection; a GOAWAY with its code is in the output.
    pub fn recv<H: Handler>(
        &mut self,
        now: Instant,
        input: &[u8],
        handler: &mut H,
    ) -> Result<usize, ConnectionError> {
        self.tx.now = now;
        match self.tx.shutdown.ours {
            Ours::Failed(error) => return Err(error),
            Ours::CutOff => return Ok(input.len()),
            Ours::Open | Ours::Announced { .. } | Ours::Final { .. } => {}
        }
        self.tx.last_read = now;
        let taken =
            self.rx.advance(&mut self.tx, input, handler).map_err(|violation| self.fail(violation))?;
        if self.tx.is_asking() {
            self.tx.heard(handler);
        }
        self.check();
        Ok(taken)
    }

    /// Commands of the program on top.
    pub fn tx(&mut self, now: Instant) -> &mut Tx {
        self.tx.now = now;
        &mut self.tx
    }

    /// Tells the handler what happened to streams outside of `recv`, and fills the output from the backlogs.
    pub fn transmit<H: Handler>(&mut self, now: Instant, handler: &mut H) {
        self.tx.now = now;
        self.tx.pump();
        // Each round may cause another: a writer that is told to go on submits more.
        while self.dispatch_notices(handler) {
            self.tx.pump();
        }
        // RFC 9113 §3.4: SETTINGS come first. Until the client's preface is here nothing is said.
        if self.tx.announced && !self.tx.shutdown.is_over() {
            self.tx.announce_connection_credit();
        }
        self.check();
    }

    fn dispatch_notices<H: Handler>(&mut self, handler: &mut H) -> bool {
        let mut any = false;
        for key in core::mem::take(&mut self.tx.notices.writable) {
            handler.on_writable(&mut self.tx, key);
            any = true;
        }
        if core::mem::take(&mut self.tx.notices.stream_slot) {
            self.tx.opener_waits = false;
            handler.on_stream_slot(&mut self.tx);
            any = true;
        }
        any
    }

    /// Octets waiting to be written.
    #[must_use]
    pub fn pending_output(&self) -> usize {
        self.tx.output.pending()
    }

    /// Fills `slices` with what to write next, in order; says how many were filled.
    pub fn output<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.tx.output.slices(slices)
    }

    /// The first `octets` of the output were written.
    pub fn wrote(&mut self, octets: usize) {
        self.tx.output.wrote(octets);
        self.tx.counters.output_written(octets, self.tx.output.pending());
    }

    /// Takes the output's buffer when nothing is pending, so that idle connections hold none.
    pub fn take_buffer(&mut self) -> Option<Vec<u8>> {
        self.tx.output.take_buffer()
    }

    /// True if the output has a buffer to encode into.
    #[must_use]
    pub fn has_buffer(&self) -> bool {
        self.tx.output.has_buffer()
    }

    /// Lends the output a buffer to encode into.
    pub fn give_buffer(&mut self, buffer: Vec<u8>) {
        self.tx.output.give_buffer(buffer);
    }

    /// Gives back the memory that can be had again when there is use for it: what was remembered to save work, and spare
    /// room. For a connection on which nothing happens; it may be called at any time, and costs the next streams some time.
    pub fn rest(&mut self) {
        self.rx.rest();
        self.tx.rest();
    }

    /// When [`Connection::on_tick`] must be called, if ever.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        if self.tx.shutdown.is_over() {
            return None;
        }
        let goaway = match self.tx.shutdown.ours {
            Ours::Announced { deadline } => Some(deadline),
            _ => None,
        };
        let patience = self.tx.config.limits.assembly_stall;
        let assembly = self.tx.budget.oldest_while_others_wait().map(|(_, since)| since + patience);
        let rx = self.rx.next_timer(self.tx.config.peer_timeout);
        let stalls = earliest(self.tx.stall_check, rx);
        let peer = earliest(self.life_timer(), self.tx.silence_timer());
        earliest(earliest(goaway, assembly), earliest(stalls, peer))
    }

    /// Acts on every timer that has run out.
    ///
    /// # Errors
    /// A deadline of the peer's has passed that ends the connection; a GOAWAY is in the output.
    pub fn on_tick<H: Handler>(&mut self, now: Instant, handler: &mut H) -> Result<(), ConnectionError> {
        self.tx.now = now;
        if let Some(error) = self.tx.shutdown.failure() {
            return Err(error);
        }
        if let Some(violation) = self.rx.expired(self.tx.config.peer_timeout, now) {
            return Err(self.fail(violation));
        }
        if matches!(self.tx.shutdown.ours, Ours::Announced { deadline } if deadline <= now) {
            self.tx.finish_shutdown();
        }
        self.mind_life(now, handler);
        if self.is_cut_off() {
            return Ok(());
        }
        if let Some((stream, since)) = self.tx.budget.oldest_while_others_wait()
            && since + self.tx.config.limits.assembly_stall <= now
        {
            self.tx
                .stream_error(stream, Violation::AssemblyStalled, handler)
                .map_err(|violation| self.fail(violation))?;
        }
        self.tx.mind_silence(handler).map_err(|violation| self.fail(violation))?;
        self.tx.end_stalled(handler).map_err(|violation| self.fail(violation))
    }

    /// How long nothing has come from the peer.
    #[must_use]
    pub fn silence(&self, now: Instant) -> core::time::Duration {
        now - self.tx.last_read
    }

    /// What the peer has made us do, in all.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tx.counters.tally()
    }

    /// True once the connection may be closed: it goes away and no stream is left, it failed, or it was cut off.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let over = match self.tx.shutdown.ours {
            Ours::Failed(_) | Ours::CutOff => return true,
            Ours::Final { .. } => true,
            // A client that was told to go away has nothing to wait for but its own streams.
            Ours::Open => self.tx.role == Role::Client && self.tx.shutdown.peers_last_id.is_some(),
            Ours::Announced { .. } => false,
        };
        over && self.tx.stream_count() == 0
    }

    /// The peer broke a rule: GOAWAY goes to the output and nothing is received any more.
    fn fail(&mut self, violation: Violation) -> ConnectionError {
        let error = ConnectionError { violation };
        if violation == Violation::Http1Request {
            self.tx.output.raw(HTTP1_ANSWER);
        } else {
            // RFC 9113 §3.4: SETTINGS come before anything else, GOAWAY included.
            self.tx.write_announcement();
            let last = self.tx.shutdown.bound(self.tx.streams.last_remote());
            self.tx.write_goaway(last, error.code(), violation.text().as_bytes());
        }
        self.tx.shutdown.ours = Ours::Failed(error);
        error
    }
}

/// What somebody reads who speaks HTTP/1.x to an HTTP/2 port.
const HTTP1_ANSWER: &[u8] = b"HTTP/1.1 505 HTTP Version Not Supported\r\n\
    content-type: text/plain\r\ncontent-length: 63\r\nconnection: close\r\n\r\n\
    This port speaks HTTP/2 with prior knowledge (gRPC) and no more";

impl Tx {
    /// Shows an observer what went to the output before it was set.
    fn replay_announcement(&mut self) {
        let Some(mut observer) = self.observer.take() else { return };
        observer.on_trace(self.now, &Trace::Preface { direction: Direction::Sent });
        let mut rest = self.output.since(PREFACE.len());
        while let Some((head, tail)) = rest.split_first_chunk() {
            let header = crate::frame::FrameHeader::decode(*head);
            let Some((payload, next)) = tail.split_at_checked(header.length as usize) else { break };
            observer.on_trace(self.now, &Trace::Frame { direction: Direction::Sent, header, payload });
            rest = next;
        }
        self.observer = Some(observer);
    }

    /// The code for a stream that a GOAWAY of the peer left unprocessed.
    pub(crate) const UNPROCESSED: Reset =
        Reset { code: ErrorCode::REFUSED_STREAM, by: By::Peer, violation: None };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpack::{HeaderField, Indexing};
    use crate::message::RequestHead;
    use crate::stream::StreamKey;

    /// What an idle connection costs, its streams and tables apart; the goal is 3 KiB with everything around it.
    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<Connection>() <= 1152, "{} octets", size_of::<Connection>());
    }

    struct Answer(u32);
    impl Handler for Answer {
        fn on_request(&mut self, tx: &mut Tx, stream: StreamKey, _: &RequestHead<'_>, _: bool) {
            let field = |name, value| HeaderField { name, value, indexing: Indexing::Insert };
            tx.send_headers(stream, [field(b":status", b"200"), field(b"x", b"a value that is kept")], true)
                .unwrap();
            self.0 += 1;
        }
    }

    /// Carries what both say until both are silent.
    fn settle(client: &mut Connection, server: &mut Connection, app: &mut Answer) {
        let now = Instant::ZERO;
        while {
            client.transmit(now, &mut Answer(0));
            let said = take_output(client);
            server.recv(now, &said, app).unwrap();
            server.transmit(now, app);
            let answered = take_output(server);
            client.recv(now, &answered, &mut Answer(0)).unwrap();
            !said.is_empty() || !answered.is_empty()
        } {}
    }

    fn take_output(connection: &mut Connection) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 8];
        let filled = connection.output(&mut slices);
        let octets = slices[..filled].iter().map(|slice| &**slice).collect::<Vec<_>>().concat();
        connection.wrote(octets.len());
        octets
    }

    /// After many calls a connection at rest holds what the protocol makes it remember, and no more; then it goes on.
    #[test]
    fn a_connection_at_rest_holds_its_tables_and_nothing_else() {
        let now = Instant::ZERO;
        let (mut client, mut server) =
            (Connection::client(Config::default(), now), Connection::server(Config::default(), now));
        let mut app = Answer(0);
        let field = |name, value| HeaderField { name, value, indexing: Indexing::Insert };
        let request =
            [field(&b":method"[..], &b"POST"[..]), field(b":scheme", b"http"), field(b":path", b"/a/b")];
        let mut stale = Vec::new();
        for round in 1..=3 {
            for _ in 0..20 {
                let many: Vec<_> = (0..40).map(|_| client.tx(now).open(request, true).unwrap()).collect();
                stale.push(many[round]);
                settle(&mut client, &mut server, &mut app);
            }
            for connection in [&mut client, &mut server] {
                connection.rest();
                assert_eq!(connection.tx.streams.room(), 0, "but for how the last ones ended");
                assert!(connection.rx.sections.is_at_rest());
                let tables = connection.rx.decoder.table_octets() + connection.tx.encoder.table_octets();
                let room = connection.rx.decoder.room() + connection.tx.encoder.room();
                assert!(room <= 2 * tables, "{room} octets for tables of {tables}");
            }
        }
        assert_eq!(app.0, 3 * 20 * 40);
        let fresh = client.tx(now).open(request, true).unwrap();
        assert!(
            stale.iter().all(|key| *key != fresh && client.tx.stream_id(*key).is_none()),
            "keys stay stale"
        );
    }
}
