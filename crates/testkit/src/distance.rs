//! Two engines joined by a long link: a delay each way and a rate, in virtual time, without a random choice.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use clearway_http2::{Config, Connection, Handler, Instant, Tx};

/// Octets that set out together.
const PIECE: usize = 16 * 1024;

/// What lies between the two.
#[derive(Clone, Copy, Debug)]
pub struct Distance {
    /// How long an octet travels, one way.
    pub delay: Duration,
    /// How many octets set out in a second, each way.
    pub octets_per_second: u64,
}

/// One side, and what is on its way to it.
struct Side<H> {
    connection: Connection,
    app: H,
    arriving: VecDeque<(Instant, Vec<u8>)>,
    /// When its last piece has set out.
    free_at: Instant,
}

/// A client and a server engine far from each other.
pub struct Distant<C, S> {
    client: Side<C>,
    server: Side<S>,
    distance: Distance,
    now: Instant,
}

impl<C: Handler, S: Handler> Distant<C, S> {
    /// Joins two engines.
    #[must_use]
    pub fn new(client: (Config, C), server: (Config, S), distance: Distance) -> Self {
        let now = Instant::ZERO;
        Self {
            client: Side::new(Connection::client(client.0, now), client.1),
            server: Side::new(Connection::server(server.0, now), server.1),
            distance,
            now,
        }
    }

    /// The client's sending half and its program.
    pub fn client(&mut self) -> (&mut Tx, &mut C) {
        (self.client.connection.tx(self.now), &mut self.client.app)
    }

    /// The server's sending half and its program.
    pub fn server(&mut self) -> (&mut Tx, &mut S) {
        (self.server.connection.tx(self.now), &mut self.server.app)
    }

    /// The client's engine.
    pub fn client_engine(&mut self) -> &mut Connection {
        &mut self.client.connection
    }

    /// What time it is.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Lets time pass, and everything happen in it.
    ///
    /// # Panics
    /// If either engine finds fault with the other.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.client.send(&mut self.server.arriving, self.distance, self.now);
            self.server.send(&mut self.client.arriving, self.distance, self.now);
            let next = [self.client.next(), self.server.next()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = next.max(self.now);
            self.client.happen(self.now);
            self.server.happen(self.now);
        }
        self.now = until;
    }
}

impl<H: Handler> Side<H> {
    fn new(connection: Connection, app: H) -> Self {
        Self { connection, app, arriving: VecDeque::new(), free_at: Instant::ZERO }
    }

    /// The next piece sets out, if the link is free.
    fn send(&mut self, way: &mut VecDeque<(Instant, Vec<u8>)>, distance: Distance, now: Instant) {
        self.connection.transmit(now, &mut self.app);
        if self.free_at > now || self.connection.pending_output() == 0 {
            return;
        }
        let mut slices = [IoSlice::new(&[]); 8];
        let filled = self.connection.output(&mut slices);
        let mut piece = Vec::with_capacity(PIECE);
        for slice in &slices[..filled] {
            piece.extend_from_slice(&slice[..slice.len().min(PIECE - piece.len())]);
        }
        self.connection.wrote(piece.len());
        let nanos = piece.len() as u64 * 1_000_000_000 / distance.octets_per_second;
        self.free_at = now + Duration::from_nanos(nanos);
        way.push_back((self.free_at + distance.delay, piece));
    }

    /// When something happens here by itself.
    fn next(&self) -> Option<Instant> {
        let arrival = self.arriving.front().map(|(at, _)| *at);
        let sending = (self.connection.pending_output() > 0).then_some(self.free_at);
        [arrival, sending, self.connection.next_timer()].into_iter().flatten().min()
    }

    fn happen(&mut self, now: Instant) {
        while self.arriving.front().is_some_and(|(at, _)| *at <= now) {
            let (_, piece) = self.arriving.pop_front().expect("it was just seen");
            let taken = self.connection.recv(now, &piece, &mut self.app).expect("a legal peer");
            assert_eq!(taken, piece.len(), "nobody here makes the other side answer that much");
        }
        if self.connection.next_timer().is_some_and(|at| at <= now) {
            self.connection.on_tick(now, &mut self.app).expect("no timer ends a connection here");
        }
    }
}
