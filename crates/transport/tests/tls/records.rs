//! How HTTP/2 lies in records: a batch is one record, a record may end anywhere, and large messages get through narrow pipes.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clearway_http2::frame::Kind;
use clearway_transport::Stream;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};

use super::support::{Peer, Reply, request, serve, soon};
use super::{Authority, HOST, WIDE, acceptor, connected};

/// A pipe whose end is watched: everything that is read, and in how many reads.
struct Tap {
    io: DuplexStream,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Tap {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let poll = Pin::new(&mut this.io).poll_read(cx, buf);
        this.seen.lock().unwrap().extend_from_slice(&buf.filled()[before..]);
        poll
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// The lengths of the records in a piece of ciphertext.
fn records(mut octets: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [kind, 3, 3, high, low, rest @ ..] = octets {
        assert_eq!(*kind, 23, "application data");
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(length);
        octets = &rest[length..];
    }
    assert!(octets.is_empty(), "a record is cut");
    lengths
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_answers_is_one_record() {
    let authority = Authority::new();
    let (theirs, ours) = duplex(WIDE);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tap = Tap { io: ours, seen: Arc::clone(&seen) };
    let (acceptor, connector) = (acceptor(authority.server()), authority.connector());
    let (server, client) =
        tokio::join!(acceptor.accept(Stream::InProcess(theirs)), connector.connect(tap, HOST));
    let _server = serve(server.unwrap(), Reply::Body(20));
    let mut peer = Peer::greeted(client.unwrap()).await;
    // The acknowledgement of our SETTINGS is out of the way after this.
    peer.write(&request(1, true)).await;
    peer.expect_data(20).await;
    seen.lock().unwrap().clear();

    let batch: Vec<u8> = (0..90).flat_map(|n| request(3 + 2 * n, true)).collect();
    peer.write(&batch).await;
    peer.expect_data(90 * 20).await;
    let lengths = records(&seen.lock().unwrap());
    assert_eq!(lengths.len(), 1, "{lengths:?}");
    assert!(lengths[0] > 90 * (9 + 9 + 20), "{lengths:?}");
}

#[tokio::test(start_paused = true)]
async fn large_answers_fill_their_records() {
    let authority = Authority::new();
    let (theirs, ours) = duplex(WIDE);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let tap = Tap { io: ours, seen: Arc::clone(&seen) };
    let (acceptor, connector) = (acceptor(authority.server()), authority.connector());
    let (server, client) =
        tokio::join!(acceptor.accept(Stream::InProcess(theirs)), connector.connect(tap, HOST));
    let _server = serve(server.unwrap(), Reply::Body(60_000));
    let mut peer = Peer::greeted(client.unwrap()).await;
    peer.write(&[]).await;
    seen.lock().unwrap().clear();
    peer.write(&request(1, true)).await;
    peer.expect_data(60_000).await;
    let lengths = records(&seen.lock().unwrap());
    // 60,000 octets and four frame headers in the fewest records there can be; an acknowledgement may come before.
    let full = lengths.iter().filter(|length| **length >= 16_384).count();
    assert!(full == 3 && lengths.len() <= 5, "{lengths:?}");
}

#[tokio::test(start_paused = true)]
async fn a_record_may_end_anywhere_in_a_frame() {
    for piece in [1, 2, 5, 9, 10, 13] {
        let (server, client) = connected(WIDE).await;
        let mut server = serve(server, Reply::Body(100));
        let mut peer = Peer::greeted(client).await;
        for id in [1, 3, 5] {
            for part in request(id, true).chunks(piece) {
                // Each write is a record.
                peer.io.write_all(part).await.unwrap();
                peer.io.flush().await.unwrap();
            }
            server.request().await;
            peer.expect_data(100).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_records_in_one_read_are_all_seen() {
    // The client writes 90 records before the server gets to read.
    let (server, client) = connected(WIDE).await;
    let mut peer = Peer { io: client };
    peer.write(clearway_http2::connection::PREFACE).await;
    peer.write(&super::support::frame(Kind::SETTINGS, clearway_http2::frame::Flags::default(), 0, &[])).await;
    for n in 0..90 {
        peer.write(&request(1 + 2 * n, true)).await;
    }
    let _server = serve(server, Reply::Body(1));
    soon(Duration::from_secs(1), peer.expect_data(90)).await;
}

#[tokio::test(start_paused = true)]
async fn narrow_pipes_carry_large_messages() {
    for width in [1, 7, 1000, 20_000] {
        let octets = if width < 10 { 20_000 } else { 60_000 };
        let (server, client) = connected(width).await;
        let mut server = serve(server, Reply::Body(octets));
        let mut peer = Peer::greeted(client).await;
        for id in [1, 3, 5] {
            peer.write(&request(id, true)).await;
            server.request().await;
            peer.expect_data(octets).await;
            let window = u32::try_from(octets).unwrap().to_be_bytes();
            peer.write(&super::support::frame(
                Kind::WINDOW_UPDATE,
                clearway_http2::frame::Flags::default(),
                0,
                &window,
            ))
            .await;
        }
    }
}
