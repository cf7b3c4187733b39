//! RFC 9113 §5.2, §6.9: flow control, and what this engine promises beyond it: one unread stream never stops another.

use clearway_http2::frame::{Kind, SettingId};
use clearway_http2::{BlockedOn, By, Config, ErrorCode, Reset, Violation};
use clearway_testkit::{Answer, Event, Peer, data, headers, rst_stream, settings, window_update};

const WINDOW: SettingId = SettingId::INITIAL_WINDOW_SIZE;

/// A server engine whose peer gives streams and connection so much credit, with stream 1 answered and open for DATA.
fn responding(stream: u32, connection: u32) -> Peer {
    let mut peer = Peer::of_server_with(Config::default(), &[(WINDOW, stream)]);
    if connection > 65_535 {
        peer.send(window_update(0, connection - 65_535));
    }
    peer.send(headers(1).request().end_stream());
    peer.respond(1, false);
    peer.expect(headers(1).response());
    peer
}

/// §6.9.1: "The sender MUST NOT send a flow-controlled frame with a length that exceeds the space available in either of
/// the flow-control windows".
#[test]
fn data_waits_for_credit_of_stream_and_connection() {
    let mut peer = responding(10, 65_535);
    peer.write(1, &[1; 25], true);
    assert_eq!(peer.take_data(1), 10);
    let key = peer.app.key(1);
    assert_eq!(peer.tx().blocked_on(key).unwrap().0, BlockedOn::StreamWindow);
    peer.send(window_update(1, 5));
    assert_eq!(peer.take_data(1), 5);
    peer.send(window_update(1, 100));
    peer.expect(data(1, &[1; 10]).end_stream());
    // The connection's window of 65,535 is shared.
    let mut peer = responding(1 << 20, 65_535);
    peer.write(1, &[1; 100_000], true);
    assert_eq!(peer.take_data(1), 65_535);
    let key = peer.app.key(1);
    assert_eq!(peer.tx().blocked_on(key).unwrap().0, BlockedOn::ConnectionWindow);
    assert_eq!(peer.tx().backlog_octets(key), 100_000 - 65_535);
    peer.send(window_update(0, 34_000));
    assert_eq!(peer.take_data(1), 34_000);
    peer.send(window_update(0, 1 << 20));
    assert_eq!(peer.take_data(1), 100_000 - 65_535 - 34_000);
    assert_eq!(peer.tx().stream_count(), 0);
}

/// §6.9.1: "Frames with zero length with the END_STREAM flag set (that is, an empty DATA frame) MAY be sent if there is
/// no available space in either flow-control window." Trailers need none anyway.
#[test]
fn the_end_of_a_stream_needs_no_credit() {
    let mut peer = responding(0, 65_535);
    let key = peer.app.key(1);
    peer.tx().finish(key).unwrap();
    peer.expect(data(1, b"").end_stream());
    let mut peer = responding(0, 65_535);
    peer.trail(1);
    peer.expect(headers(1).field("grpc-status", "0").end_stream());
    // A negative window is no obstacle either.
    let mut peer = responding(100, 65_535);
    peer.write(1, &[0; 100], false);
    peer.send(settings(&[(WINDOW, 0)]));
    peer.drain();
    peer.trail(1);
    peer.expect(headers(1).field("grpc-status", "0").end_stream());
}

/// Nor does it wait behind other streams, whose DATA waits for the connection's credit: the peer may wait for this very end
/// before it gives more (found by simulation, level engine, seed 2).
#[test]
fn an_end_without_octets_does_not_wait_for_the_connection_window_behind_other_streams() {
    for encoded in [false, true] {
        let mut peer = responding(1 << 20, 65_535);
        peer.write(1, &[1; 100_000], true);
        assert_eq!(peer.take_data(1), 65_535);
        peer.send(headers(3).request().end_stream());
        peer.respond(3, false);
        peer.expect(headers(3).response());
        let key = peer.app.key(3);
        if encoded {
            peer.tx().send_data_with(key, 0, true, |_| Ok::<(), ()>(())).unwrap().unwrap();
        } else {
            peer.tx().finish(key).unwrap();
        }
        peer.expect(data(3, b"").end_stream());
    }
}

/// Trailers that come behind DATA go as soon as the DATA is gone, also when the connection has no credit for others.
#[test]
fn trailers_do_not_wait_for_the_connection_window_behind_other_streams() {
    let mut peer = Peer::of_server_with(Config::default(), &[(WINDOW, 1 << 20)]);
    for id in [1, 3] {
        peer.send(headers(id).request().end_stream());
        peer.respond(id, false);
    }
    peer.drain();
    // Stream 3 has one quantum of DATA and its trailers to send; stream 1 has more than the credit that comes.
    peer.write(1, &[0; 300_000], false);
    peer.write(3, &[0; 16_384], false);
    peer.trail(3);
    peer.drain();
    // One octet is left of stream 1's turn; then stream 3 takes its quantum, and nothing is left.
    peer.send(window_update(0, 1 + 16_384));
    let frames = peer.drain();
    let trailers = headers(3).field("grpc-status", "0").end_stream();
    assert!(
        frames.contains(&trailers),
        "{:?}",
        frames.iter().map(|f| (f.kind(), f.octets().len())).collect::<Vec<_>>()
    );
}

/// §6.9.2: a changed SETTINGS_INITIAL_WINDOW_SIZE moves the windows of all streams, below zero if need be; "a sender MUST
/// track the negative flow-control window and MUST NOT send new flow-controlled frames until it receives WINDOW_UPDATE".
#[test]
fn a_window_may_become_negative() {
    let mut peer = responding(1000, 65_535);
    peer.write(1, &[0; 1500], false);
    assert_eq!(peer.take_data(1), 1000);
    peer.send(settings(&[(WINDOW, 400)]));
    peer.send(window_update(1, 600));
    assert_eq!(peer.take_data(1), 0, "the window is -600 + 600");
    peer.send(window_update(1, 1));
    assert_eq!(peer.take_data(1), 1);
    peer.send(settings(&[(WINDOW, 500)]));
    assert_eq!(peer.take_data(1), 100, "a raised size gives credit at once");
    // The connection's window is not touched by it.
    peer.send(settings(&[(WINDOW, 0x7fff_ffff)]));
    assert_eq!(peer.take_data(1), 399);
    peer.expect_kind(Kind::SETTINGS);
}

/// §6.9.2: the change is relative to what was set before, also twice in one frame, and new streams start with it.
#[test]
fn the_last_initial_window_counts() {
    let mut peer = responding(100, 65_535);
    peer.write(1, &[0; 500], false);
    assert_eq!(peer.take_data(1), 100);
    peer.send(settings(&[(WINDOW, 0), (WINDOW, 300), (WINDOW, 250)]));
    assert_eq!(peer.take_data(1), 150);
    peer.send(headers(3).request().end_stream());
    peer.respond(3, false);
    peer.write(3, &[0; 500], false);
    assert_eq!(peer.take_data(3), 250);
}

/// §6.9.1: "A sender MUST NOT allow a flow-control window to exceed 2^31-1 octets": RST_STREAM for a stream, GOAWAY for
/// the connection; §6.9.2: GOAWAY when SETTINGS do it.
#[test]
fn windows_do_not_overflow() {
    let mut peer = responding(65_535, 65_535);
    peer.send(window_update(1, 0x7fff_ffff - 65_535));
    peer.expect_silence();
    peer.send(window_update(1, 1));
    peer.expect(rst_stream(1, ErrorCode::FLOW_CONTROL_ERROR));
    peer.expect_alive();
    peer.send(window_update(0, 0x7fff_ffff - 65_535));
    peer.expect_alive();
    peer.send(window_update(0, 1));
    peer.expect_goaway(ErrorCode::FLOW_CONTROL_ERROR, "connection window");
    // One of several streams overflows by SETTINGS: the connection ends, whatever the order of the streams.
    for grown in [1, 3, 5] {
        let mut peer = Peer::of_server(Config::default());
        for id in [1, 3, 5] {
            peer.send(headers(id).request().end_stream());
        }
        peer.send(window_update(grown, 0x7fff_ffff - 65_535));
        peer.send(settings(&[(WINDOW, 65_534)]));
        peer.expect_alive();
        peer.send(settings(&[(WINDOW, 65_536)]));
        peer.expect_goaway(ErrorCode::FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE");
    }
}

/// §6.9.1: what comes without credit is FLOW_CONTROL_ERROR: on the stream, or on the connection.
#[test]
fn data_beyond_our_windows_is_an_error() {
    let mut peer =
        Peer::of_server(Config { stream_window_octets: 20_000, max_frame_size: 20_000, ..Config::default() });
    peer.app.keeps_data = true;
    peer.send(headers(1).request());
    peer.send(data(1, &[0; 20_000]));
    peer.expect_silence();
    peer.send(data(1, b""));
    peer.expect_silence();
    peer.send(data(1, b"x"));
    peer.expect(rst_stream(1, ErrorCode::FLOW_CONTROL_ERROR));
    let violation = Some(Violation::StreamWindowExceeded);
    assert_eq!(peer.app.reset(1), Some(Reset { code: ErrorCode::FLOW_CONTROL_ERROR, by: By::Us, violation }));
    assert_eq!(peer.app.body(1).len(), 20_000, "the octet too many was not delivered");
    peer.expect_alive();
    // Streams can have more than the connection.
    let config = Config {
        connection_window_octets: 0,
        stream_window_octets: 1 << 20,
        max_frame_size: 1 << 16,
        ..Config::default()
    };
    let mut peer = Peer::of_server(config);
    let now = peer.now();
    let octets: Vec<u8> = [headers(1).request(), data(1, &[0; 40_000]), data(1, &[0; 40_000])]
        .iter()
        .flat_map(|spec| peer.encode(spec))
        .collect();
    // In one read, before we had a chance to give any back.
    let error = peer.engine.recv(now, &octets, &mut peer.app).unwrap_err();
    assert_eq!(error.violation, Violation::ConnectionWindowExceeded);
}

/// DESIGN: connection credit goes back on receipt. Streams that nobody reads can never stop another.
#[test]
fn unread_streams_never_stop_another() {
    let mut peer = Peer::of_server(Config::default());
    peer.app.keeps_data = true;
    for n in 0..100 {
        let id = 2 * n + 1;
        peer.send(headers(id).request());
        for _ in 0..4 {
            peer.send(data(id, &[0; 16_384]));
        }
        assert_eq!(peer.credit(id), 0, "nobody has read it");
    }
    assert!(peer.credit(0) >= 100 * 65_536 - 512 * 1024, "the connection's credit came back");
    peer.send(headers(201).request());
    peer.send(data(201, &[1; 10_000]).end_stream());
    assert_eq!(peer.app.body(201).len(), 10_000);
    assert_eq!(peer.app.reset(1), None);
}

/// Stream credit goes back when the program has consumed what came, in steps of a quarter of the window.
#[test]
fn stream_credit_comes_back_on_consumption() {
    let mut peer =
        Peer::of_server(Config { stream_window_octets: 40_000, max_frame_size: 40_000, ..Config::default() });
    peer.app.keeps_data = true;
    peer.send(headers(1).request());
    peer.send(data(1, &[0; 40_000]));
    assert_eq!(peer.credit(1), 0);
    peer.release(1, 10_000);
    peer.release(1, 20_000);
    peer.release(1, 1_000_000);
    assert_eq!(peer.credit(1), 40_000, "what was never received cannot be released");
    peer.send(data(1, &[0; 1000]));
    peer.release(1, 1000);
    assert_eq!(peer.credit(1), 0, "a trickle waits");
    peer.send(data(1, &[0; 9000]).end_stream());
    peer.release(1, 9000);
    assert_eq!(peer.credit(1), 0, "a stream that ended needs none");
}

/// §6.1, §6.9.1: "The entire DATA frame payload is included in flow control, including the Pad Length and Padding";
/// padding is consumed by nobody, so its credit comes back at once.
#[test]
fn padding_counts_and_is_credited() {
    let mut peer = Peer::of_server(Config { stream_window_octets: 1000, ..Config::default() });
    peer.app.keeps_data = true;
    peer.send(headers(1).request());
    peer.send(data(1, &[0; 800]).padded(199));
    assert_eq!(peer.credit(1), 200);
    peer.send(data(1, &[0; 1]).padded(199));
    peer.expect(rst_stream(1, ErrorCode::FLOW_CONTROL_ERROR));
    // A hundred thousand padded frames, then an ordinary upload, on one stream that is read.
    let mut peer = Peer::of_server(Config::default());
    peer.app.answer = Answer::Echo;
    peer.send(headers(1).request());
    let frame = peer.encode(&data(1, b"x").padded(200));
    for _ in 0..1000 {
        peer.send_octets(&frame.repeat(100));
    }
    let credit = (peer.credit(1), peer.credit(0));
    let sent = 100_000 * 202;
    assert!(credit.0 >= sent - 65_536 && credit.1 >= sent - (1 << 20), "{credit:?} of {sent} octets");
    assert_eq!(peer.failure(), None);
}

/// Two streams share the connection fairly: neither waits for the other's megabyte.
#[test]
fn streams_take_turns() {
    let mut peer = Peer::of_server_with(Config::default(), &[(WINDOW, 1 << 24)]);
    for id in [1, 3] {
        peer.send(headers(id).request().end_stream());
        peer.respond(id, false);
    }
    peer.drain();
    peer.write(1, &[0; 1 << 20], true);
    peer.write(3, &[0; 1 << 20], true);
    peer.drain();
    let (mut first, mut second) = (0, 0);
    for _ in 0..10 {
        peer.send(window_update(0, 65_536));
        first += peer.take_data(1);
        second += peer.take_data(3);
    }
    assert_eq!(first + second, 10 * 65_536);
    assert!(first.abs_diff(second) <= 2 * 16_384, "{first} and {second}");
}

/// A hundred streams share the connection evenly whatever size their pieces have: Jain's index is 0.99 or more, also in the
/// middle of a turn.
#[test]
fn shares_do_not_depend_on_the_size_of_pieces() {
    const STREAMS: usize = 100;
    const TURNS_IN_HALVES: usize = 21;

    let mut peer = Peer::of_server_with(Config::default(), &[(WINDOW, 1 << 24)]);
    let ids: Vec<u32> = (0..100).map(|n| n * 2 + 1).collect();
    for id in &ids {
        peer.send(headers(*id).request().end_stream());
        peer.respond(*id, false);
    }
    peer.drain();
    for (n, id) in ids.iter().enumerate() {
        // From one piece that is all to many that are a part of a frame each.
        let piece = vec![0; [192 * 1024, 40_000, 16_384, 9_000, 3_000][n % 5]];
        for _ in 0..(192 * 1024_usize).div_ceil(piece.len()) {
            peer.write(*id, &piece, false);
        }
    }
    let mut octets = vec![0_usize; STREAMS];
    for _ in 0..TURNS_IN_HALVES {
        peer.send(window_update(0, 50 * 16_384));
        for (sum, id) in octets.iter_mut().zip(&ids) {
            *sum += peer.take_data(*id);
        }
    }
    let (sum, squares) = octets.iter().fold((0.0, 0.0), |(sum, squares), octets| {
        let octets = *octets as f64;
        (sum + octets, squares + octets * octets)
    });
    assert!(sum >= (TURNS_IN_HALVES * 50 * 16_384) as f64, "all credit is used: {sum}");
    let index = sum * sum / (STREAMS as f64 * squares);
    assert!(index >= 0.99, "Jain's index {index}: {octets:?}");
}

/// A stream that comes late and is small does not take the credit others have waited for.
#[test]
fn small_writes_do_not_starve_a_stream_that_waits_for_connection_credit() {
    let mut peer = Peer::of_server_with(Config::default(), &[(WINDOW, 1 << 20)]);
    for id in [1, 3] {
        peer.send(headers(id).request().end_stream());
        peer.respond(id, false);
    }
    peer.write(1, &[0; 300_000], false);
    peer.drain();
    for _ in 0..100 {
        // Credit comes and before the scheduler ran the program writes on the other stream.
        let octets = peer.encode(&window_update(0, 1000));
        let now = peer.now();
        peer.engine.recv(now, &octets, &mut peer.app).unwrap();
        let key = peer.app.key(3);
        peer.tx().send_data(key, vec![0; 1000].into(), false).unwrap();
    }
    let (waiting, late) = (peer.take_data(1), peer.take_data(3));
    assert!(waiting >= 40_000, "{waiting} and {late}");
}

/// A writer that got ahead of its reader is told when to go on.
#[test]
fn a_backlogged_writer_is_told_when_there_is_room() {
    let mut peer = responding(10, 1 << 20);
    let key = peer.app.key(1);
    peer.write(1, &[0; 65_536], false);
    assert!(!peer.tx().is_backlogged(key));
    peer.write(1, &[0; 65_536], false);
    assert!(peer.tx().is_backlogged(key));
    let told = |peer: &Peer| {
        peer.app.events.iter().filter(|event| matches!(event, Event::Writable { id: 1 })).count()
    };
    peer.send(window_update(1, 90_000));
    assert_eq!(told(&peer), 0, "more than 32 KiB still wait");
    peer.send(window_update(1, 10_000));
    assert_eq!(told(&peer), 1);
    peer.send(window_update(1, 1 << 20));
    assert_eq!(told(&peer), 1, "once");
}

/// Streams whose writers heed the marks, all without credit after their first octets.
fn stalled_writers(peer: &mut Peer, streams: u32, batch: usize, in_queue: &mut dyn FnMut(usize)) {
    for n in 0..streams {
        let id = 3 + 2 * n;
        peer.send(headers(id).request().end_stream());
        peer.respond(id, false);
        peer.expect(headers(id).response());
        let key = peer.app.key(id);
        // What a writer pushed before it heard anything is taken in together; then it may go on, or must wait.
        let mut mark = peer.tx().writer_mark();
        loop {
            let mut pushed = 0;
            while pushed == 0 || pushed < mark {
                pushed += batch;
            }
            in_queue(pushed);
            peer.write(id, &vec![7; pushed], false);
            if peer.tx().is_backlogged(key) {
                break;
            }
            mark = peer.tx().writer_mark();
        }
        assert_eq!(peer.take_data(id), 100);
    }
}

/// However many streams there are, what waits on all of them together stays near the limit, and a stream with nothing
/// waiting may always take in something.
#[test]
fn many_stalled_writers_together_hold_no_more_than_the_limit() {
    const LIMIT: usize = 12 * 1024 * 1024;
    for (streams, batch) in [(900, 1000), (900, 16_384), (180, 65_541)] {
        let mut peer = responding(100, 1 << 20);
        let mut most_in_queue = 0;
        stalled_writers(&mut peer, streams, batch, &mut |octets| most_in_queue = octets.max(most_in_queue));
        let keys: Vec<_> = (0..streams).map(|n| peer.app.key(3 + 2 * n)).collect();
        let each: Vec<_> = keys.iter().map(|key| peer.tx().backlog_octets(*key)).collect();
        let total: usize = each.iter().sum();
        // Each stream may overshoot by one batch.
        assert!(total <= LIMIT + streams as usize * batch, "{total} octets wait on {streams} streams");
        assert!(total <= 16 * 1024 * 1024 || batch > 16_000, "{total}");
        assert!(each.iter().all(|octets| *octets >= batch - 100), "every stream got its share");
        assert!(most_in_queue <= 256 * 1024 + batch);
        // The first streams give up: those that come later find room.
        let before = peer.tx().writer_mark();
        for id in (0..streams / 2).map(|n| 3 + 2 * n) {
            peer.send(rst_stream(id, ErrorCode::CANCEL));
        }
        assert!(peer.tx().writer_mark() > before);
    }
}

/// A message encoded to nothing makes no frame: an empty DATA frame counts against us at the peer.
#[test]
fn nothing_is_no_frame() {
    let mut peer = responding(1000, 65_535);
    let key = peer.app.key(1);
    peer.tx().send_data_with(key, 0, false, |_| Ok::<(), ()>(())).unwrap().unwrap();
    peer.tx().send_data(key, bytes::Bytes::new(), false).unwrap();
    peer.expect_silence();
    assert_eq!(peer.tx().send_data_with(key, 5, true, |_| Err("no")), Ok(Err("no")));
    peer.expect_silence();
    peer.tx()
        .send_data_with(key, 5, true, |out| {
            out.extend_from_slice(b"hello");
            Ok::<(), ()>(())
        })
        .unwrap()
        .unwrap();
    peer.expect(data(1, b"hello").end_stream());
}

/// What is written is dropped from memory, also when the output is never empty.
#[test]
fn output_that_is_never_drained_does_not_grow() {
    let mut peer = responding(0x7fff_ffff, 0x7fff_ffff);
    peer.pause_reading();
    let key = peer.app.key(1);
    let mut most = 0;
    for _ in 0..20_000 {
        peer.tx().send_data(key, vec![0; 1000].into(), false).unwrap();
        peer.flush();
        // The socket takes what came, but a little always stays.
        let octets = peer.engine.pending_output().saturating_sub(100);
        peer.engine.wrote(octets);
        most = most.max(peer.engine.pending_output());
    }
    let pending = peer.engine.pending_output();
    peer.engine.wrote(pending);
    let buffer = peer.engine.take_buffer().expect("a buffer worth keeping");
    assert!(
        buffer.capacity() <= 256 * 1024,
        "20 MB passed through, {most} at once; {} kept",
        buffer.capacity()
    );
}
