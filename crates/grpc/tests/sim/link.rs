//! Connections in memory with a faulty link between their ends: what the channel's connector gives.
//!
//! Each way is a task that moves bytes as its [`Way`] lets it, and writes down what it delivered. What befalls a connection is
//! chosen when it is made: nothing, a stall, an end whole or by half, or a server that goes away.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use clearway::transport::Stream;
use clearway_http2::Instant;
use clearway_testkit::{Random, Way, Weather};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf, WriteHalf,
};

use crate::record::{Happened, World};
use crate::service;
use crate::wire::Listener;

/// Half of what befalls a connection does so at multiples of so many milliseconds, as half of the calls begin then.
pub(crate) const GRID: usize = 250;

/// What befalls one way, and when.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// Both ways break here, and what is on them is lost.
    cut: Instant,
    /// The sender's side is closed here, behind its back.
    close: Instant,
    stall: Instant,
    stalled_for: Duration,
    /// The server's SETTINGS promise more streams than it takes.
    boasts: bool,
}

impl Fate {
    const NOTHING: Self = Self {
        cut: Instant::FAR_FUTURE,
        close: Instant::FAR_FUTURE,
        stall: Instant::FAR_FUTURE,
        stalled_for: Duration::ZERO,
        boasts: false,
    };

    fn next(&self) -> Instant {
        self.cut.min(self.close).min(self.stall)
    }
}

/// What befalls a connection: its two ways, and when its server goes away.
fn fates(random: &mut Random, now: Instant) -> ([Fate; 2], Instant) {
    let mut soon = now + Duration::from_millis(random.bits() % 6_000);
    if random.one_in(2) {
        let grid = GRID as u64 * 1_000_000;
        soon = Instant::from_nanos(soon.as_nanos() / grid * grid);
    }
    let mut fates = [Fate::NOTHING; 2];
    let mut goes = Instant::FAR_FUTURE;
    fates[1].boasts = random.one_in(3);
    match random.below(8) {
        0 => fates.iter_mut().for_each(|fate| fate.cut = soon),
        1 => fates[random.below(2)].close = soon,
        2 | 3 => goes = soon,
        4 | 5 => {
            let fate = &mut fates[random.below(2)];
            // Shorter than anybody's patience.
            (fate.stall, fate.stalled_for) = (soon, Duration::from_millis(random.bits() % 8_000));
            if random.one_in(2) {
                goes = soon + Duration::from_millis(random.bits() % 4_000);
            }
        }
        _ => {}
    }
    (fates, goes)
}

/// In the SETTINGS at the beginning of what a server says, SETTINGS_MAX_CONCURRENT_STREAMS is raised to 50.
fn boast(octets: &mut [u8]) {
    let length = usize::from(octets[2]);
    for entry in octets[9..9 + length].chunks_exact_mut(6) {
        if entry[1] == 3 {
            entry[2..].copy_from_slice(&50u32.to_be_bytes());
        }
    }
}

/// A connection to a server that was made for it. Or none.
pub(crate) async fn connect(world: World) -> io::Result<ClientEnd> {
    let (pause, refused) = {
        let record = &mut *world.record();
        (Duration::from_micros(record.random.bits() % 50_000), record.random.one_in(8))
    };
    tokio::time::sleep(pause).await;
    if refused {
        let mut record = world.record();
        let now = record.now();
        record.refusals.push(now);
        record.note(Happened::Refused);
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(connected(&world))
}

fn connected(world: &World) -> ClientEnd {
    let mut record = world.record();
    let now = record.now();
    let number = record.connections.len();
    record.connections.push(crate::record::ConnectionRecord::default());
    record.note(Happened::Connected(number));
    let random = &mut record.random;
    let slow = random.below(3);
    let weather = Weather {
        longest_delay: Duration::from_micros([10, 2_000, 50_000][slow]),
        longest_piece: [200, 5_000, 5_000, 60_000, 60_000][random.below(5)],
        crumbs: [3, 30, 30][random.below(3)],
        // What is on a long way must be much, or it takes for ever.
        capacity: [500 << (3 * slow), 50_000, 200_000][random.below(3)],
    };
    let ([up, down], goes) = fates(random, now);
    let mut way = || Way::new(Random::new(random.bits()), weather);
    let (up_way, down_way) = (way(), way());
    let (config, watched) = (service::config(random), random.one_in(3));
    // A server that is killed takes its handlers with it.
    let killed = if random.one_in(10) { random.bits() % 6_000 } else { 86_400_000 };
    let gzip = record.gzip;
    drop(record);
    let (client, client_side) = tokio::io::duplex(weather.capacity.min(16_384));
    let (server, server_side) = tokio::io::duplex(weather.capacity.min(16_384));
    let (client_reads, client_writes) = tokio::io::split(client_side);
    let (server_reads, server_writes) = tokio::io::split(server_side);
    let relay = |fate, way, to_server| Relay { world: world.clone(), number, to_server, fate, way };
    tokio::spawn(relay(up, up_way, true).run(client_reads, server_writes));
    tokio::spawn(relay(down, down_way, false).run(server_reads, client_writes));
    let goes = world.at(goes.min(Instant::from_millis(86_400_000)));
    let router = service::router(world, number, config, watched, gzip);
    tokio::spawn(async move {
        let goes = tokio::time::sleep_until(goes);
        let serving = router.serve_connection_with_shutdown(Stream::from(server), goes);
        let _ = tokio::time::timeout(Duration::from_millis(killed), serving).await;
    });
    ClientEnd { io: client, listener: Listener::new(true), world: world.clone(), number }
}

/// The client's end of a connection, where what it sends is first seen.
pub(crate) struct ClientEnd {
    io: DuplexStream,
    listener: Listener,
    world: World,
    number: usize,
}

impl AsyncRead for ClientEnd {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.io).poll_write(cx, octets))?;
        let record = &mut *this.world.record();
        this.listener.hear_requests(this.number, &octets[..written], record);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// One way of one connection.
struct Relay {
    world: World,
    number: usize,
    to_server: bool,
    fate: Fate,
    way: Way,
}

/// How moving bytes ended.
#[derive(PartialEq, Eq)]
enum Stopped {
    /// The link broke, or the receiver is gone.
    Broken,
    /// Everything was delivered and the sender has closed.
    AtEnd,
}

impl Relay {
    async fn run(mut self, mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>) {
        let stopped = self.carry(&mut from, &mut to).await;
        if !self.to_server {
            self.world.record().over(self.number);
        }
        if stopped == Stopped::Broken {
            return;
        }
        let _ = to.shutdown().await;
        // The sender may go on, unheard, until the link breaks or it stops.
        let cut = self.world.at(self.fate.cut.min(Instant::from_millis(86_400_000)));
        let mut scratch = vec![0; 4_096];
        let _ = tokio::time::timeout_at(cut, async {
            while from.read(&mut scratch).await.is_ok_and(|octets| octets > 0) {}
        })
        .await;
    }

    /// Moves bytes until there will be no more.
    async fn carry(
        &mut self,
        from: &mut ReadHalf<DuplexStream>,
        to: &mut WriteHalf<DuplexStream>,
    ) -> Stopped {
        let mut exit = Listener::new(self.to_server);
        let mut buffer = vec![0; 16_384];
        let mut ended = false;
        loop {
            let now = self.world.now();
            if self.befalls(now) {
                return Stopped::Broken;
            }
            if let Some(piece) = self.way.take(now) {
                if !self.deliver(to, &piece, &mut exit).await {
                    return Stopped::Broken;
                }
                continue;
            }
            if self.way.has_ended() {
                return Stopped::AtEnd;
            }
            let room = self.way.room().min(buffer.len());
            let next = self.way.next().unwrap_or(Instant::FAR_FUTURE).min(self.fate.next());
            let next = self.world.at(next.min(Instant::from_millis(86_400_000)));
            tokio::select! {
                biased;
                read = from.read(&mut buffer[..room]), if room > 0 && !ended => match read {
                    Ok(octets) if octets > 0 => {
                        if std::mem::take(&mut self.fate.boasts) {
                            boast(&mut buffer[..octets]);
                        }
                        self.way.push(self.world.now(), &buffer[..octets]);
                    }
                    _ => {
                        ended = true;
                        self.way.close();
                    }
                },
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// What is due befalls the way; true if it breaks.
    fn befalls(&mut self, now: Instant) -> bool {
        let connection = self.number;
        let note = |what| self.world.note(Happened::Fault { connection, what });
        if self.fate.cut <= now {
            note("cut");
            return true;
        }
        if self.fate.close <= now {
            self.fate.close = Instant::FAR_FUTURE;
            note("half-closed");
            self.way.close();
        }
        if self.fate.stall <= now {
            self.fate.stall = Instant::FAR_FUTURE;
            note("stalls");
            self.way.stall(now + self.fate.stalled_for);
        }
        false
    }

    /// Hands a piece to the receiver, as fast as it reads; false if the link breaks meanwhile.
    async fn deliver(&mut self, to: &mut WriteHalf<DuplexStream>, piece: &[u8], exit: &mut Listener) -> bool {
        let cut = self.world.at(self.fate.cut.min(Instant::from_millis(86_400_000)));
        let mut rest = piece;
        while !rest.is_empty() {
            let written = tokio::select! {
                biased;
                written = to.write(rest) => written.unwrap_or(0),
                () = tokio::time::sleep_until(cut) => 0,
            };
            if written == 0 {
                return false;
            }
            let (head, tail) = rest.split_at(written);
            let record = &mut *self.world.record();
            let (connection, to_server) = (self.number, self.to_server);
            record.note(Happened::Delivered { connection, to_server, octets: written });
            if !to_server {
                exit.hear_answers(connection, head, record);
            }
            rest = tail;
        }
        true
    }
}
