//! The wire view over two connections of the engine that talk to each other in memory: expected output, literally.

use bytes::Bytes;
use clearway_http2::frame::{Flags, FrameHeader, Kind};
use clearway_http2::hpack::{HeaderField, Indexing};
use clearway_http2::{
    Chunk, Config, Connection, Direction, ErrorCode, Handler, Instant, RequestHead, StreamKey, Tx,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::collect::Collector;
use super::event::{Event, Recorder, Seen};
use super::paint::Paint;
use super::print::Printer;
use super::tally::{Tally, Traffic};

const GRPC: &str = "application/grpc";

fn field<'a>(name: &'a str, value: &'a str) -> HeaderField<'a> {
    HeaderField { name: name.as_bytes(), value: value.as_bytes(), indexing: Indexing::Insert }
}

/// Answers every request once it has ended, but for one it refuses at once.
struct Server;

impl Handler for Server {
    fn on_request(&mut self, tx: &mut Tx, stream: StreamKey, head: &RequestHead<'_>, _: bool) {
        let ok = [field(":status", "200"), field("content-type", GRPC)];
        if head.path == b"/p.S/No" {
            let no = [field("grpc-status", "5"), field("grpc-message", "not here")];
            // Before the request has ended: RFC 9113 §8.1 wants RST_STREAM after it.
            tx.send_headers(stream, ok.into_iter().chain(no), true).unwrap();
        } else {
            tx.send_headers(stream, ok, false).unwrap();
        }
    }

    fn on_data(&mut self, tx: &mut Tx, stream: StreamKey, _: Chunk<'_>, end_stream: bool) {
        assert!(end_stream, "the client sends one frame");
        tx.send_data(stream, Bytes::from_static(&[0, 0, 0, 0, 2, 0x08, 0x2a]), false).unwrap();
        tx.send_trailers(stream, [field("grpc-status", "0")]).unwrap();
    }
}

/// Only listens.
struct Client;
impl Handler for Client {}

/// A client that is recorded and the server it talks to.
struct Pair {
    client: Connection,
    server: Connection,
    seen: UnboundedReceiver<Seen>,
    collector: Collector,
}

impl Pair {
    fn new() -> Self {
        let (to, seen) = unbounded_channel();
        let now = Instant::ZERO;
        let mut client = Connection::client(Config::default(), now);
        client.observe(Box::new(Recorder::new(to)));
        let server = Connection::server(Config::default(), now);
        let mut pair = Self { client, server, seen, collector: Collector::default() };
        pair.run();
        pair
    }

    fn run(&mut self) {
        for _ in 0..4 {
            carry(&mut self.client, &mut Client, &mut self.server, &mut Server);
            carry(&mut self.server, &mut Server, &mut self.client, &mut Client);
        }
        while let Ok(seen) = self.seen.try_recv() {
            self.collector.push(seen);
        }
    }

    fn call(&mut self, path: &str, message: &'static [u8]) {
        let request = [
            field(":method", "POST"),
            field(":scheme", "http"),
            field(":path", path),
            field(":authority", "a:1"),
            field("content-type", GRPC),
            field("te", "trailers"),
        ];
        let tx = self.client.tx(Instant::ZERO);
        let stream = tx.open(request, false).unwrap();
        tx.send_data(stream, Bytes::from_static(message), true).unwrap();
        self.run();
    }

    fn printed(&mut self) -> String {
        let entries = self.collector.take();
        print(&entries)
    }
}

fn carry(from: &mut Connection, by: &mut impl Handler, to: &mut Connection, other: &mut impl Handler) {
    from.transmit(Instant::ZERO, by);
    let mut slices = [std::io::IoSlice::new(&[]); 8];
    let filled = from.output(&mut slices);
    let octets: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
    from.wrote(octets.len());
    assert_eq!(to.recv(Instant::ZERO, &octets, other).unwrap(), octets.len());
}

fn describe(path: &str, direction: Direction, octets: &[u8]) -> Option<String> {
    (path == "/p.S/M").then(|| format!("{direction:?} {{ octets: {} }}", octets.len()))
}

fn print(entries: &[super::collect::Entry]) -> String {
    let mut out = Vec::new();
    Paint::new(false, 80).write(&Printer::new(80, &describe).lines(entries), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Compares line by line, so that a failure names the line.
fn assert_lines(printed: &str, expected: &str) {
    for (at, (printed, expected)) in printed.lines().zip(expected.lines()).enumerate() {
        assert_eq!(printed, expected, "line {at}");
    }
    assert_eq!(printed.lines().count(), expected.lines().count(), "{printed}");
}

#[test]
fn the_beginning_of_a_connection() {
    assert_lines(
        &Pair::new().printed(),
        r#"  -> PREFACE        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"                      24 B
  -> SETTINGS       connection                                              30 B
       HEADER_TABLE_SIZE = 4,096        octets of HPACK table you may use
       ENABLE_PUSH = 0                  push me nothing
       INITIAL_WINDOW_SIZE = 65,536     octets of DATA you may send on a stream
       MAX_FRAME_SIZE = 16,384          octets of payload in a frame I read
       MAX_HEADER_LIST_SIZE = 16,384    octets of a header section I accept
  -> WINDOW_UPDATE  connection                                               4 B
       +983,041 octets of DATA allowed on all streams together
  <- SETTINGS       connection                                              30 B
       HEADER_TABLE_SIZE = 4,096        octets of HPACK table you may use
       MAX_CONCURRENT_STREAMS = 1,000   streams you may have open at once
       INITIAL_WINDOW_SIZE = 65,536     octets of DATA you may send on a stream
       MAX_FRAME_SIZE = 16,384          octets of payload in a frame I read
       MAX_HEADER_LIST_SIZE = 16,384    octets of a header section I accept
  -> SETTINGS       connection  ACK                                          0 B
       the other side's SETTINGS are in force
  <- WINDOW_UPDATE  connection                                               4 B
       +983,041 octets of DATA allowed on all streams together
  <- SETTINGS       connection  ACK                                          0 B
       the other side's SETTINGS are in force
"#,
    );
}

#[test]
fn a_call_and_the_same_call_again() {
    let mut pair = Pair::new();
    pair.printed();
    pair.call("/p.S/M", &[0, 0, 0, 0, 3, 0x0a, 0x01, b'x']);
    let first = Tally::of(pair.collector.entries());
    assert_lines(
        &pair.printed(),
        r#"  -> HEADERS        stream 1    END_HEADERS                                 46 B
       :method: POST                                               11 ->     1
       :scheme: http                                               11 ->     1
       :path: /p.S/M                                               11 ->     8
       :authority: a:1                                             13 ->     5
       content-type: application/grpc                              28 ->    18
       te: trailers                                                10 ->    13
       headers: 84 B raw -> 46 B on the wire (45 % saved)
  -> DATA           stream 1    END_STREAM                                   8 B
       prefix 00 00 00 00 03: not compressed, 3 octets
       message 1: Sent { octets: 3 }
                  0a 01 78  |..x|
  <- HEADERS        stream 1    END_HEADERS                                 19 B
       :status: 200                                                10 ->     1
       content-type: application/grpc                              28 ->    18
       headers: 38 B raw -> 19 B on the wire (50 % saved)
  <- DATA           stream 1                                                 7 B
       prefix 00 00 00 00 02: not compressed, 2 octets
       message 1: Received { octets: 2 }
                  08 2a  |.*|
  <- HEADERS        stream 1    END_STREAM | END_HEADERS                    12 B
       grpc-status: 0 (OK)                                         12 ->    12
       trailers: 12 B raw -> 12 B on the wire (0 % saved)
"#,
    );
    pair.call("/p.S/M", &[0, 0, 0, 0, 3, 0x0a, 0x01, b'x']);
    let second = Tally::of(pair.collector.entries());
    assert_lines(
        &pair.printed(),
        r#"  -> HEADERS        stream 3    END_HEADERS                                  6 B
       :method: POST                                               11 ->     1
       :scheme: http                                               11 ->     1
       :path: /p.S/M                                               11 ->     1
       :authority: a:1                                             13 ->     1
       content-type: application/grpc                              28 ->     1
       te: trailers                                                10 ->     1
       headers: 84 B raw -> 6 B on the wire (93 % saved)
  -> DATA           stream 3    END_STREAM                                   8 B
       prefix 00 00 00 00 03: not compressed, 3 octets
       message 1: Sent { octets: 3 }
                  0a 01 78  |..x|
  <- HEADERS        stream 3    END_HEADERS                                  2 B
       :status: 200                                                10 ->     1
       content-type: application/grpc                              28 ->     1
       headers: 38 B raw -> 2 B on the wire (95 % saved)
  <- DATA           stream 3                                                 7 B
       prefix 00 00 00 00 02: not compressed, 2 octets
       message 1: Received { octets: 2 }
                  08 2a  |.*|
  <- HEADERS        stream 3    END_STREAM | END_HEADERS                     1 B
       grpc-status: 0 (OK)                                         12 ->     1
       trailers: 12 B raw -> 1 B on the wire (92 % saved)
"#,
    );
    assert_eq!(first.sent, Traffic { frames: 2, octets: 9 + 46 + 9 + 8, fields_raw: 84, fields_wire: 46 });
    assert_eq!(second.sent, Traffic { frames: 2, octets: 9 + 6 + 9 + 8, fields_raw: 84, fields_wire: 6 });
    assert_eq!(
        second.received,
        Traffic { frames: 3, octets: 9 + 2 + 9 + 7 + 9 + 1, fields_raw: 50, fields_wire: 3 }
    );
}

#[test]
fn a_refused_call_is_one_header_section() {
    let mut pair = Pair::new();
    pair.printed();
    pair.call("/p.S/No", &[0, 0, 0, 0, 0]);
    assert_lines(
        &pair.printed(),
        r#"  -> HEADERS        stream 1    END_HEADERS                                 47 B
       :method: POST                                               11 ->     1
       :scheme: http                                               11 ->     1
       :path: /p.S/No                                              12 ->     9
       :authority: a:1                                             13 ->     5
       content-type: application/grpc                              28 ->    18
       te: trailers                                                10 ->    13
       headers: 85 B raw -> 47 B on the wire (45 % saved)
  -> DATA           stream 1    END_STREAM                                   5 B
       prefix 00 00 00 00 00: not compressed, 0 octets
       message 1: 0 octets
  <- HEADERS        stream 1    END_STREAM | END_HEADERS                    51 B
       :status: 200                                                10 ->     1
       content-type: application/grpc                              28 ->    18
       grpc-status: 5 (NOT_FOUND)                                  12 ->    12
       grpc-message: not here                                      20 ->    20
       headers: 70 B raw -> 51 B on the wire (27 % saved), Trailers-Only
  <- RST_STREAM     stream 1                                                 4 B
       NO_ERROR (0x0)
"#,
    );
}

#[test]
fn every_other_frame_has_its_say() {
    let mut collector = Collector::default();
    let frames: [(Kind, Flags, u32, &[u8]); 7] = [
        (Kind::WINDOW_UPDATE, Flags::default(), 3, &[0, 1, 0, 0]),
        (Kind::PING, Flags::ACK, 0, b"clearway"),
        (Kind::RST_STREAM, Flags::default(), 3, &ErrorCode::CANCEL.0.to_be_bytes()),
        (Kind::RST_STREAM, Flags::default(), 5, &[0, 0, 0, 99]),
        (Kind::GOAWAY, Flags::default(), 0, b"\0\0\0\x07\0\0\0\x0bcalm \x1b[2J"),
        (Kind(0xbe), Flags::default(), 0, b"?"),
        // A length that its type does not allow.
        (Kind::PING, Flags::default(), 0, b"short"),
    ];
    for (kind, flags, stream_id, payload) in frames {
        let header = FrameHeader { length: u32::try_from(payload.len()).unwrap(), kind, flags, stream_id };
        let event = Event::Frame { direction: Direction::Received, header, payload: payload.to_vec() };
        collector.push(Seen { at: Instant::ZERO, event });
    }
    assert_lines(
        &print(collector.entries()),
        r#"  <- WINDOW_UPDATE  stream 3                                                 4 B
       +65,536 octets of DATA allowed on this stream
  <- PING           connection  ACK                                          8 B
       63 6c 65 61 72 77 61 79  |clearway|
  <- RST_STREAM     stream 3                                                 4 B
       CANCEL (0x8)
  <- RST_STREAM     stream 5                                                 4 B
       unknown code 0x63
  <- GOAWAY         connection                                              17 B
       ENHANCE_YOUR_CALM (0xb), last stream 7, "calm \x1b[2J"
  <- UNKNOWN(0xbe)  connection                                               1 B
       3f  |?|
  <- PING           connection                                               5 B
       73 68 6f 72 74  |short|
"#,
    );
}

#[test]
fn a_message_over_two_frames_and_data_that_is_not_grpc() {
    let mut collector = Collector::default();
    let mut push = |event| collector.push(Seen { at: Instant::ZERO, event });
    let direction = Direction::Sent;
    let frame = |kind, flags, stream_id, payload: &[u8]| Event::Frame {
        direction,
        header: FrameHeader { length: u32::try_from(payload.len()).unwrap(), kind, flags, stream_id },
        payload: if kind == Kind::DATA { Vec::new() } else { payload.to_vec() },
    };
    let field = |name: &str, value: &str, wire_octets| Event::Field {
        direction,
        stream_id: 1,
        field: super::event::Field {
            name: name.into(),
            value: value.into(),
            sensitive: name == "token",
            wire_octets,
        },
    };
    push(frame(Kind::HEADERS, Flags::default(), 1, &[0x3f, 0xe1, 0x1f]));
    push(frame(Kind::CONTINUATION, Flags::END_HEADERS, 1, &[0; 90]));
    push(field(":path", "/p.S/M", 8));
    push(field("content-type", GRPC, 12));
    push(field("token", &"0123456789".repeat(12), 70));
    let (first, second) = ([0, 0, 0, 0, 4, 1, 2], [3, 4]);
    for part in [&first[..], &second] {
        push(frame(Kind::DATA, Flags::default(), 1, part));
        push(Event::Data { direction, stream_id: 1, data: part.to_vec() });
    }
    push(frame(Kind::DATA, Flags::END_STREAM, 1, &[]));
    push(frame(Kind::DATA, Flags::END_STREAM, 3, b"plain text"));
    push(Event::Data { direction, stream_id: 3, data: b"plain text".to_vec() });
    assert_lines(
        &print(collector.entries()),
        r#"  -> HEADERS        stream 1                                                 3 B
       the field section goes on in the next frame
  -> CONTINUATION   stream 1    END_HEADERS                                 90 B
       :path: /p.S/M                                               11 ->     8
       content-type: application/grpc                              28 ->    12
       token: 0123456789012 ... 456789 (120 B) (never indexed)    125 ->    70
       (HPACK table size update)                                             3
       headers: 164 B raw -> 93 B on the wire (43 % saved)
  -> DATA           stream 1                                                 7 B
       prefix 00 00 00 00 04: not compressed, 4 octets
       message 1: 2 octets here, 2 of 4 so far
  -> DATA           stream 1                                                 2 B
       message 1: Sent { octets: 4 }
                  01 02 03 04  |....|
  -> DATA           stream 1    END_STREAM                                   0 B
       no octets: only the end of the stream
  -> DATA           stream 3    END_STREAM                                  10 B
       70 6c 61 69 6e 20 74 65 78 74  |plain text|
"#,
    );
}
