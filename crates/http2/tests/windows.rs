//! Windows that tune themselves, over links with a delay and a rate in virtual time: a fast reader fills the link, a slow
//! one is never sent more than the window it began with, and nobody holds more than the budget.
//!
//! The engine asserts after every input that credit is conserved (`Connection::check`, in debug builds).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may fail"
)]

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use clearway_http2::frame::Kind;
use clearway_http2::hpack::{HeaderField, Indexing};
use clearway_http2::{
    Chunk, Config, Direction, Handler, Instant, Observer, PingPolicy, RequestHead, Reset, SlotFate,
    StreamKey, Trace, Tx, WindowTuning,
};
use clearway_testkit::{Distance, Distant, Link, Pair, Random, seed_from_env};

const START: usize = 64 * 1024;
const GIGABIT: u64 = 125_000_000;
const CONTINENT: Distance = Distance { delay: Duration::from_millis(25), octets_per_second: GIGABIT };

fn field<'a>(name: &'a str, value: &'a str) -> HeaderField<'a> {
    HeaderField { name: name.as_bytes(), value: value.as_bytes(), indexing: Indexing::Insert }
}

/// Answers every request with octets that never end.
#[derive(Default)]
struct Source {
    streams: Vec<StreamKey>,
    /// Nothing is sent unless the test asks for it.
    on_demand: bool,
}

static ZEROS: [u8; START] = [0; START];

fn pour(tx: &mut Tx, stream: StreamKey) {
    while tx.stream_id(stream).is_some() && !tx.is_backlogged(stream) {
        tx.send_data(stream, Bytes::from_static(&ZEROS), false).unwrap();
    }
}

impl Handler for Source {
    fn on_request(&mut self, tx: &mut Tx, stream: StreamKey, _: &RequestHead<'_>, _: bool) {
        self.streams.push(stream);
        tx.send_headers(stream, [field(":status", "200")], false).unwrap();
        if !self.on_demand {
            pour(tx, stream);
        }
    }

    fn on_writable(&mut self, tx: &mut Tx, stream: StreamKey) {
        if !self.on_demand {
            pour(tx, stream);
        }
    }

    fn on_reset(&mut self, _: &mut Tx, _: StreamKey, reset: Reset) -> SlotFate {
        panic!("nobody is reset: {reset:?}");
    }
}

#[derive(Default, Clone, Copy)]
struct Read {
    arrived: usize,
    held: usize,
    most_held: usize,
    at_once: bool,
    /// It is read at once in messages of this size, each as a whole.
    message: usize,
    /// The rest of a message was asked for.
    expects: bool,
}

impl Read {
    /// Whole messages are taken; the rest of one that is not whole is asked for once.
    fn take_messages(&mut self, tx: &mut Tx, stream: StreamKey) {
        while self.held >= self.message {
            if std::mem::take(&mut self.expects) {
                tx.message_complete(stream);
            }
            self.held -= self.message;
            tx.release(stream, self.message);
        }
        if self.held > 0 && !std::mem::replace(&mut self.expects, true) {
            tx.expect_message(stream, self.message - self.held);
        }
    }
}

/// Reads streams at once, or when the test says so.
#[derive(Default)]
struct Sink {
    reads: BTreeMap<StreamKey, Read>,
}

impl Sink {
    fn held(&self) -> usize {
        self.reads.values().map(|read| read.held).sum()
    }
}

impl Handler for Sink {
    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, data: Chunk<'_>, _: bool) {
        let read = self.reads.get_mut(&stream).unwrap();
        let octets = data.as_slice().len();
        read.arrived += octets;
        if read.at_once {
            tx.release(stream, octets);
        } else {
            read.held += octets;
            read.most_held = read.most_held.max(read.held);
            if read.message > 0 {
                read.take_messages(tx, stream);
            }
        }
    }

    fn on_reset(&mut self, _: &mut Tx, _: StreamKey, reset: Reset) -> SlotFate {
        panic!("nobody is reset: {reset:?}");
    }
}

fn distant(config: Config, distance: Distance) -> Distant<Sink, Source> {
    // It counts PINGs as servers of gRPC do: those that measure the link must never be too many.
    let server = Config { ping_policy: Some(PingPolicy::default()), ..Config::default() };
    Distant::new((config, Sink::default()), (server, Source::default()), distance)
}

fn download(pair: &mut Distant<Sink, Source>, at_once: bool) -> StreamKey {
    let (tx, sink) = pair.client();
    let head =
        [field(":method", "GET"), field(":scheme", "http"), field(":path", "/"), field(":authority", "a")];
    let key = tx.open(head, true).unwrap();
    sink.reads.insert(key, Read { at_once, ..Read::default() });
    key
}

fn take(pair: &mut Distant<Sink, Source>, key: StreamKey, most: usize) -> usize {
    let (tx, sink) = pair.client();
    let read = sink.reads.get_mut(&key).unwrap();
    let octets = most.min(read.held);
    read.held -= octets;
    tx.release(key, octets);
    octets
}

fn read(pair: &mut Distant<Sink, Source>, key: StreamKey) -> Read {
    pair.client().1.reads[&key]
}

/// Octets that arrive on a stream in a time.
fn arriving(pair: &mut Distant<Sink, Source>, key: StreamKey, time: Duration) -> usize {
    let before = read(pair, key).arrived;
    pair.pass(time);
    read(pair, key).arrived - before
}

/// When a download with defaults has come to nine tenths of the link's rate, in steps of 50 ms.
fn time_to_ninety(distance: Distance, rate: u64, steps: u32) -> Option<Duration> {
    let step = Duration::from_millis(50);
    let mut pair = distant(Config::default(), distance);
    let key = download(&mut pair, true);
    let enough = rate as usize / 20 * 9 / 10;
    (1..=steps).find(|_| arriving(&mut pair, key, step) >= enough).map(|n| n * step)
}

#[test]
fn a_gigabit_over_50_ms_is_reached_in_three_seconds() {
    let reached = time_to_ninety(CONTINENT, GIGABIT, 60);
    println!("90 % of 1 Gbit/s over 50 ms after {reached:?}");
    assert!(reached.is_some_and(|time| time <= Duration::from_secs(3)), "{reached:?}");
}

/// 100 MB/s over 100 ms, of a link that could do a little more.
#[test]
fn a_gigabit_over_100_ms_is_reached_in_three_seconds() {
    let distance = Distance { delay: Duration::from_millis(50), octets_per_second: GIGABIT };
    let reached = time_to_ninety(distance, 112_000_000, 60);
    println!("100 MB/s over 100 ms after {reached:?}");
    assert!(reached.is_some_and(|time| time <= Duration::from_secs(3)), "{reached:?}");
}

/// Also where each message is a little larger than the window, or much: the grant for its rest costs a round trip.
#[test]
fn large_messages_fill_the_link_too() {
    for message in [START + 9, 300_000, 1_000_000, 4 << 20] {
        let mut pair = distant(Config::default(), CONTINENT);
        let key = download(&mut pair, false);
        pair.client().1.reads.get_mut(&key).unwrap().message = message;
        pair.pass(Duration::from_secs(2));
        let octets = arriving(&mut pair, key, Duration::from_millis(500));
        assert!(octets as u64 >= GIGABIT / 2 * 9 / 10, "{octets} in messages of {message}");
    }
}

/// Windows settle at a few times what the link holds, not at their cap.
#[test]
fn a_slow_link_gets_small_windows() {
    // 10 Mbit/s over 20 ms holds 25 kB: 64 KiB are plenty.
    let distance = Distance { delay: Duration::from_millis(10), octets_per_second: 1_250_000 };
    let mut pair = distant(Config::default(), distance);
    let key = download(&mut pair, true);
    let octets = arriving(&mut pair, key, Duration::from_secs(5));
    assert!(octets > 5_900_000, "{octets}");
    stop_reading(&mut pair, key);
    pair.pass(Duration::from_secs(5));
    // A PING waits for a piece of 13 ms each way.
    assert!(read(&mut pair, key).held <= 8 * 45_000, "{}", read(&mut pair, key).held);
}

fn stop_reading(pair: &mut Distant<Sink, Source>, key: StreamKey) {
    pair.client().1.reads.get_mut(&key).unwrap().at_once = false;
}

#[test]
fn explicit_sizes_stay_what_they_are() {
    let config = Config { stream_tuning: WindowTuning::Fixed, ..Config::default() };
    let mut pair = distant(config, CONTINENT);
    let key = download(&mut pair, true);
    let octets = arriving(&mut pair, key, Duration::from_secs(2));
    assert!(octets <= 42 * START, "one window for each round trip: {octets}");
    // The connection's window of 1 MiB binds two streams of 8 MiB.
    let config =
        Config { stream_window_octets: 8 << 20, connection_tuning: WindowTuning::Fixed, ..Config::default() };
    let mut pair = distant(config, CONTINENT);
    let keys = [download(&mut pair, true), download(&mut pair, true)];
    pair.pass(Duration::from_secs(2));
    let octets: usize = keys.iter().map(|key| read(&mut pair, *key).arrived).sum();
    assert!((20 << 20..=42 << 20).contains(&octets), "{octets}");
}

/// Readers that take a little now and then, everything now and then, or one large message at a time.
#[test]
fn a_slow_readers_window_never_grows() {
    for (pause, octets) in [(10, 1_000), (60, 16_384), (500, usize::MAX), (150, 20_000)] {
        let mut pair = distant(Config::default(), CONTINENT);
        let key = download(&mut pair, false);
        let mut taken = 0;
        for _ in 0..40 {
            pair.pass(Duration::from_millis(pause));
            taken += take(&mut pair, key, octets);
        }
        let most = read(&mut pair, key).most_held;
        assert!(taken > 0 && most <= START, "{most} held by a reader of {octets} each {pause} ms");
    }
}

/// One stream nobody reads, and one that is read: the second gets the whole link.
#[test]
fn an_unread_stream_never_stops_another() {
    let mut pair = distant(Config::default(), CONTINENT);
    let unread: Vec<StreamKey> = (0..20).map(|_| download(&mut pair, false)).collect();
    let key = download(&mut pair, true);
    pair.pass(Duration::from_secs(2));
    let octets = arriving(&mut pair, key, Duration::from_millis(500));
    assert!(octets as u64 >= GIGABIT / 2 * 9 / 10, "{octets}");
    assert!(unread.iter().all(|key| read(&mut pair, *key).held == START));
}

/// Streams that were fast and stop reading hold no more than the budget leaves beyond what they began with.
#[test]
fn readers_that_stop_hold_no_more_than_the_budget() {
    let mut pair = distant(Config::default(), CONTINENT);
    let keys: Vec<StreamKey> = (0..8).map(|_| download(&mut pair, true)).collect();
    pair.pass(Duration::from_millis(1500));
    keys.iter().for_each(|key| stop_reading(&mut pair, *key));
    pair.pass(Duration::from_secs(2));
    let held = pair.client().1.held();
    assert!(held > 8 * START, "they had grown");
    assert!(held <= 8 * START + (12 << 20), "{held}");
    // All of them full, another is served, within its first window.
    let key = download(&mut pair, true);
    let octets = arriving(&mut pair, key, Duration::from_secs(1));
    assert!((15 * START..=21 * START).contains(&octets), "{octets}");
}

/// A small budget is kept: nobody grows beyond it.
#[test]
fn nobody_grows_out_of_a_budget_that_is_spent() {
    let config = Config { receive_budget_octets: 200_000, ..Config::default() };
    let mut pair = distant(config, CONTINENT);
    let key = download(&mut pair, true);
    pair.pass(Duration::from_secs(1));
    stop_reading(&mut pair, key);
    pair.pass(Duration::from_secs(1));
    let held = read(&mut pair, key).held;
    assert!(held > START && held <= 200_000, "{held}");
}

/// What windows have grown by goes to messages that wait for the budget, as their readers go on.
#[test]
fn a_message_that_waits_takes_back_what_windows_have_grown_by() {
    let mut pair = distant(Config::default(), CONTINENT);
    let bulk = download(&mut pair, true);
    pair.pass(Duration::from_millis(1500));
    let messages = [download(&mut pair, false), download(&mut pair, false)];
    pair.pass(Duration::from_millis(200));
    // The first fits what is left for messages; the second waits for the bulk stream's window.
    for key in messages {
        pair.client().0.expect_message(key, 3 << 20);
    }
    pair.pass(Duration::from_secs(1));
    for key in messages {
        assert!(read(&mut pair, key).held >= 3 << 20, "{}", read(&mut pair, key).held);
    }
    assert!(arriving(&mut pair, bulk, Duration::from_millis(100)) > START, "and the bulk stream goes on");
}

/// After each half minute of idleness a window is halved; what was announced before can still come once.
#[test]
fn an_idle_window_shrinks() {
    for (idle, held) in
        [(10, 4 << 20..=(12 << 20) + START), (31, 2 << 20..=(6 << 20) + START), (1000, START..=START)]
    {
        let mut pair = distant(Config::default(), CONTINENT);
        let key = download(&mut pair, true);
        pair.pass(Duration::from_millis(1500));
        // The server has nothing to send for a while.
        pair.server().1.on_demand = true;
        pair.pass(Duration::from_secs(1));
        pair.pass(Duration::from_secs(idle));
        pair.server().1.on_demand = false;
        let (tx, source) = pair.server();
        pour(tx, source.streams[0]);
        // The credit that was out is used and read; then nobody reads.
        while arriving(&mut pair, key, Duration::from_millis(1)) == 0 {}
        pair.pass(Duration::from_millis(u64::from(idle > 10)));
        stop_reading(&mut pair, key);
        pair.pass(Duration::from_secs(3));
        let first = take(&mut pair, key, usize::MAX);
        pair.pass(Duration::from_secs(3));
        let left = read(&mut pair, key).held;
        assert!(held.contains(&left), "{left} after {idle} s of idleness, {first} at first");
    }
}

/// What an observer saw of PINGs and DATA, in order.
struct Pings(Sender<&'static str>);

impl Observer for Pings {
    fn on_trace(&mut self, _: Instant, trace: &Trace<'_>) {
        if let Trace::Frame { direction, header, .. } = trace {
            let seen = match (header.kind, direction) {
                (Kind::PING, Direction::Sent) => "ping",
                (Kind::PING, Direction::Received) => "pong",
                (Kind::DATA, Direction::Received) => "data",
                _ => return,
            };
            self.0.send(seen).unwrap();
        }
    }
}

/// gRPC servers count pings and forget the count when they send DATA: there is some between the answer to a PING and the
/// next, none while a window does not grow, and none without DATA at all.
#[test]
fn pings_are_few_and_earned() {
    let mut pair = distant(Config::default(), CONTINENT);
    let (sender, pings) = channel();
    pair.client_engine().observe(Box::new(Pings(sender)));
    let key = download(&mut pair, true);
    pair.pass(Duration::from_secs(2));
    let seen: Vec<_> = pings.try_iter().collect();
    let sent = seen.iter().filter(|what| **what == "ping").count();
    assert!((3..=12).contains(&sent), "{sent}");
    let mut earned = false;
    for what in &seen {
        match *what {
            "data" => earned = true,
            "pong" => earned = false,
            _ => assert!(std::mem::take(&mut earned), "a PING without DATA before it"),
        }
    }
    pair.pass(Duration::from_secs(1));
    assert!(read(&mut pair, key).arrived > 100_000_000);
    assert!(!pings.try_iter().any(|what| what == "ping"), "it is as large as it gets");
}

/// Random readers on a link that cuts anywhere: who reads gets everything, who does not is sent no more than the window
/// it began with, and the budget holds. Credit is checked by the engine itself.
fn run(seed: u64) {
    println!("seed {seed} (CLEARWAY_SEED={seed} replays it)");
    let mut random = Random::new(seed);
    let budget = [100_000, 400_000, 1 << 24][random.below(3)];
    let start = [10_000, 65_536][random.below(2)];
    let config = Config { stream_window_octets: start, receive_budget_octets: budget, ..Config::default() };
    let mut link = Link::new(random.bits());
    (link.longest_delay_micros, link.longest_piece) = (20_000, 10_000);
    let mut pair = Pair::new((config, Sink::default()), (Config::default(), Source::default()), link);
    let head =
        [field(":method", "GET"), field(":scheme", "http"), field(":path", "/"), field(":authority", "a")];
    // At least one is read; so few are not that what they hold fits the budget.
    let keys: Vec<(StreamKey, usize)> = (0..1 + random.below(5))
        .map(|n| {
            let (tx, sink) = pair.client();
            let key = tx.open(head, true).unwrap();
            let kind = if n == 0 { 0 } else { random.below(3) };
            let unread = sink.reads.values().filter(|read| !read.at_once).count();
            let kind = if (unread + 1) * start as usize > budget { 0 } else { kind };
            sink.reads.insert(key, Read { at_once: kind == 0, ..Read::default() });
            (key, kind)
        })
        .collect();
    let mut arrived = 0;
    for _ in 0..100 {
        for _ in 0..30 {
            pair.step();
        }
        let (tx, sink) = pair.client();
        for (key, kind) in &keys {
            let read = sink.reads.get_mut(key).unwrap();
            if *kind == 1 && random.one_in(20) {
                // Slow: a little now and then.
                let octets = read.held.min(2_000);
                read.held -= octets;
                tx.release(*key, octets);
            }
            assert!(read.most_held <= start as usize, "{}", read.most_held);
        }
        arrived = sink.reads[&keys[0].0].arrived;
    }
    assert!(arrived > 4 * start as usize, "{arrived}: the reader starves");
    let before = arrived;
    for _ in 0..500 {
        pair.step();
    }
    assert!(pair.client().1.reads[&keys[0].0].arrived > before, "and it went on to the end");
}

#[test]
fn random_readers_on_a_random_link() {
    match seed_from_env() {
        Some(seed) => run(seed),
        None => (1..=12).for_each(run),
    }
}
