//! Listening and connecting over real sockets on the loopback: what no single connection may end, and what is said to
//! those who speak something else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clearway_http2::ErrorCode;
use clearway_http2::frame::Kind;
use clearway_transport::{
    Address, CloseReason, ConnectPhase, Listener, PeerAddr, Stream, accept_loop, connect,
};
use support::{Peer, Reply, frame, request, serve, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SECOND: Duration = Duration::from_secs(1);

async fn listen() -> (Listener, Address) {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap().into();
    (listener, address)
}

/// Serves every connection of a listener for as long as the runtime lives.
fn serve_all(listener: Listener) {
    tokio::spawn(async move { accept_loop(&listener, |stream| drop(serve(stream, Reply::Body(5)))).await });
}

/// A call on a connection of its own.
async fn one_call(address: &Address) {
    let stream = connect(address, SECOND).await.unwrap();
    let mut peer = Peer::greeted(stream).await;
    peer.write(&request(1, true)).await;
    soon(10 * SECOND, peer.expect_data(5)).await;
}

/// Everything the server says until it closes.
async fn last_words(address: &Address, ours: &[u8]) -> Vec<u8> {
    let mut stream = connect(address, SECOND).await.unwrap();
    stream.write_all(ours).await.unwrap();
    let mut said = Vec::new();
    soon(10 * SECOND, stream.read_to_end(&mut said)).await.unwrap();
    said
}

#[tokio::test]
async fn http1_is_told_what_this_port_speaks() {
    let (listener, address) = listen().await;
    serve_all(listener);
    for request in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "POST /a HTTP/1.0\r\n\r\nbody", "GET /"] {
        let said = String::from_utf8(last_words(&address, request.as_bytes()).await).unwrap();
        let (head, body) = said.split_once("\r\n\r\n").expect("a whole response");
        assert!(head.starts_with("HTTP/1.1 505 "), "{head}");
        assert!(head.contains("connection: close"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}\n{body}");
        assert!(body.contains("HTTP/2"), "{body}");
    }
    one_call(&address).await;
}

#[tokio::test]
async fn a_garbage_preface_is_a_protocol_error() {
    let (listener, address) = listen().await;
    serve_all(listener);
    let almost = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"[..], b"x"].concat();
    let hello_of_tls = [0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
    for garbage in [&almost[..], &hello_of_tls, &[0; 1000]] {
        let mut stream = connect(&address, SECOND).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let mut peer = Peer { io: stream };
        let (_, code, _) = soon(10 * SECOND, peer.expect_goaway()).await;
        assert_eq!(code, ErrorCode::PROTOCOL_ERROR);
        assert_eq!(peer.frame().await, None);
    }
    one_call(&address).await;
}

/// Broken handshakes of every kind, many of them, stay with their connections.
#[tokio::test]
async fn the_accept_loop_survives_broken_handshakes() {
    let (listener, address) = listen().await;
    serve_all(listener);
    let Address::Tcp(tcp) = address.clone() else { panic!("TCP") };
    for n in 0..200 {
        let mut stream = TcpStream::connect(tcp).await.unwrap();
        match n % 4 {
            0 => stream.write_all(b"\0\0\0 garbage").await.unwrap(),
            1 => stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap(),
            // Closing with a reset rather than an end.
            2 => stream.set_zero_linger().unwrap(),
            _ => {}
        }
    }
    one_call(&address).await;
}

/// Runs this test in a process of its own that may open few descriptors.
#[test]
fn the_accept_loop_sits_out_a_full_descriptor_table() {
    const CHILD: &str = "CLEARWAY_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(CHILD).is_some() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        return runtime.block_on(fill_the_descriptor_table());
    }
    let child = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "the_accept_loop_sits_out_a_full_descriptor_table", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

async fn fill_the_descriptor_table() {
    let (listener, address) = listen().await;
    let stream = connect(&address, SECOND).await.unwrap();
    let mut files = Vec::new();
    let full = loop {
        match File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => break error,
        }
    };
    assert!(full.to_string().contains("Too many open files"), "{full}");
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    tokio::spawn(async move {
        accept_loop(&listener, |stream| {
            count.fetch_add(1, Ordering::SeqCst);
            drop(serve(stream, Reply::Body(5)));
        })
        .await
    });
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(served.load(Ordering::SeqCst), 0, "there is no descriptor for it");
    drop(files);
    // Whoever waits is served soon after there is room.
    tokio::time::sleep(SECOND / 10).await;
    assert_eq!(served.load(Ordering::SeqCst), 1);
    let mut peer = Peer::greeted(stream).await;
    peer.write(&request(1, true)).await;
    peer.expect_data(5).await;
}

/// A path of this test alone, in the build's own directory.
fn socket_path(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

#[tokio::test]
async fn a_call_goes_over_a_unix_socket() {
    let address = Address::Unix(socket_path("call"));
    let listener = Listener::bind(&address).await.unwrap();
    assert_eq!(listener.local_addr(), None);
    serve_all(listener);
    let stream = connect(&address, SECOND).await.unwrap();
    assert!(matches!(stream.peer(), PeerAddr::Unix(Some(_))), "{}", stream.peer());
    one_call(&address).await;
}

#[tokio::test]
async fn a_unix_socket_left_behind_is_taken_over() {
    let path = socket_path("stale");
    let address = Address::Unix(path.clone());
    // The standard library's listener leaves its path behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = Listener::bind(&address).await.expect("nobody listens there");
    // While it is alive it is not taken away from it.
    let refused = Listener::bind(&address).await.expect_err("somebody listens there");
    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    assert!(connect(&address, SECOND).await.is_ok());
    drop(listener);
    assert!(!path.exists(), "the path is removed at the end");
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_never_removed() {
    let path = socket_path("file");
    std::fs::write(&path, "precious").unwrap();
    assert!(Listener::bind(&Address::Unix(path.clone())).await.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
}

/// A path that somebody else has taken in the meantime is theirs.
#[tokio::test]
async fn a_path_that_changed_hands_is_left_alone() {
    let path = socket_path("handed-over");
    let old = Listener::bind(&Address::Unix(path.clone())).await.unwrap();
    // Moved away rather than removed, so that its inode is not used again.
    let moved = socket_path("moved");
    std::fs::rename(&path, &moved).unwrap();
    let new = Listener::bind(&Address::Unix(path.clone())).await.unwrap();
    drop(old);
    assert!(path.exists());
    drop(new);
    assert!(!path.exists());
    std::fs::remove_file(&moved).unwrap();
}

#[tokio::test]
async fn a_refused_connection_names_its_phase() {
    let (listener, address) = listen().await;
    drop(listener);
    let error = connect(&address, SECOND).await.expect_err("nobody listens there");
    assert_eq!((error.phase, error.source.kind()), (ConnectPhase::Tcp, ErrorKind::ConnectionRefused));
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    let missing = Address::Unix(socket_path("missing"));
    let error = connect(&missing, SECOND).await.expect_err("there is no such socket");
    assert_eq!(error.source.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_name_is_resolved() {
    let (listener, address) = listen().await;
    serve_all(listener);
    let Address::Tcp(tcp) = address else { panic!("TCP") };
    one_call(&format!("localhost:{}", tcp.port()).parse().unwrap()).await;
}

/// A reset of the peer's ends the connection with the system's word for it.
#[tokio::test]
async fn a_reset_connection_is_an_io_error() {
    let (listener, address) = listen().await;
    let stream = connect(&address, SECOND).await.unwrap();
    let Stream::Tcp(tcp) = stream else { panic!("TCP") };
    let server = serve(listener.accept().await.unwrap(), Reply::Body(5));
    let mut peer = Peer::greeted(tcp).await;
    peer.write(&frame(Kind::PING, clearway_http2::frame::Flags::default(), 0, &[0; 8])).await;
    peer.io.set_zero_linger().unwrap();
    drop(peer);
    let (closed, _) = server.closed().await;
    assert!(matches!(closed.reason, CloseReason::Io(_)), "{closed}");
}

/// A connector runs connects on tasks of its own.
#[test]
fn connecting_can_be_spawned() {
    const fn is_send<T: Send>(_: &T) {}
    let address = "127.0.0.1:1".parse().unwrap();
    is_send(&connect(&address, Duration::ZERO));
}
