//! Two engines joined in memory by a link that cuts the bytes wherever its seed says.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use clearway_http2::{Config, Connection, Handler, Instant, Tx};

use crate::seed::Random;

/// How bytes travel: in pieces of random size, each taking some virtual time.
#[derive(Clone, Debug)]
pub struct Link {
    random: Random,
    /// The longest piece, in octets.
    pub longest_piece: usize,
    /// How long one piece takes at most, in microseconds.
    pub longest_delay_micros: u64,
}

impl Link {
    /// A link that cuts anywhere, into pieces of one octet and more.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), longest_piece: 40_000, longest_delay_micros: 100 }
    }

    /// Mostly small pieces, sometimes large ones.
    fn piece(&mut self) -> usize {
        let longest = if self.random.one_in(2) { 32 } else { self.longest_piece };
        1 + self.random.below(longest)
    }
}

/// One side and what is on its way to it.
struct Side<H> {
    connection: Connection,
    app: H,
    inbound: VecDeque<u8>,
}

/// A client and a server engine with a program on each.
pub struct Pair<C, S> {
    client: Side<C>,
    server: Side<S>,
    link: Link,
    now: Instant,
}

impl<C: Handler, S: Handler> Pair<C, S> {
    /// Joins two engines.
    #[must_use]
    pub fn new(client: (Config, C), server: (Config, S), link: Link) -> Self {
        let now = Instant::ZERO;
        let (client_config, client_app) = client;
        let (server_config, server_app) = server;
        Self {
            client: Side {
                connection: Connection::client(client_config, now),
                app: client_app,
                inbound: VecDeque::new(),
            },
            server: Side {
                connection: Connection::server(server_config, now),
                app: server_app,
                inbound: VecDeque::new(),
            },
            link,
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

    /// The two engines.
    #[must_use]
    pub fn engines(&self) -> (&Connection, &Connection) {
        (&self.client.connection, &self.server.connection)
    }

    /// Carries one piece one way. False if nothing is on its way and neither side has anything to say.
    ///
    /// # Panics
    /// If either engine finds fault with the other.
    pub fn step(&mut self) -> bool {
        self.now =
            self.now + Duration::from_micros(self.link.random.bits() % self.link.longest_delay_micros.max(1));
        let to_server = self.link.random.one_in(2);
        let (mut busy, now) = (false, self.now);
        if to_server {
            busy |= carry(&mut self.client, &mut self.server, &mut self.link, now);
            busy |= carry(&mut self.server, &mut self.client, &mut self.link, now);
        } else {
            busy |= carry(&mut self.server, &mut self.client, &mut self.link, now);
            busy |= carry(&mut self.client, &mut self.server, &mut self.link, now);
        }
        // A driver may do this at any time, and it must make no difference.
        match self.link.random.below(16) {
            0 => self.client.connection.rest(),
            1 => self.server.connection.rest(),
            _ => {}
        }
        busy
    }

    /// Carries pieces until nothing moves any more.
    ///
    /// # Panics
    /// If it does not come to rest within `most` pieces.
    pub fn run(&mut self, most: usize) {
        for _ in 0..most {
            if !self.step() {
                return;
            }
        }
        panic!("not at rest after {most} pieces");
    }

    /// Time passes with nothing on its way.
    ///
    /// # Panics
    /// If a timer ends a connection.
    pub fn advance(&mut self, by: Duration) {
        self.now = self.now + by;
        self.client.connection.on_tick(self.now, &mut self.client.app).expect("the client's timers");
        self.server.connection.on_tick(self.now, &mut self.server.app).expect("the server's timers");
    }
}

/// A part of what `from` has to say sets out, and a part of what is on its way arrives.
fn carry<F: Handler, T: Handler>(
    from: &mut Side<F>,
    to: &mut Side<T>,
    link: &mut Link,
    now: Instant,
) -> bool {
    from.connection.transmit(now, &mut from.app);
    let mut slices = [IoSlice::new(&[]); 8];
    let filled = from.connection.output(&mut slices);
    let most = link.piece();
    let octets: Vec<u8> =
        slices[..filled].iter().flat_map(|slice| slice.iter().copied()).take(most).collect();
    from.connection.wrote(octets.len());
    to.inbound.extend(&octets);
    let arriving = link.piece().min(to.inbound.len());
    let piece: Vec<u8> = to.inbound.iter().copied().take(arriving).collect();
    if !piece.is_empty() {
        let taken = to.connection.recv(now, &piece, &mut to.app).expect("a legal peer");
        to.inbound.drain(..taken);
    }
    !octets.is_empty() || !piece.is_empty() || from.connection.pending_output() > 0
}
