//! TLS meets cleartext, HTTP/2 meets HTTP/1: both sides are told within a second, by type and in words that say what to change.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clearway::transport::{
    CloseReason, Closed, ConnectFault, Endpoint, HandshakeFailure, Server, Spoken, TlsFailure,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{certificates, echo, echoes, failure, fault, serve};

/// A cleartext server of ours, and the ends of its connections.
async fn cleartext() -> (SocketAddr, UnboundedReceiver<Closed>) {
    let (told, hears) = unbounded_channel();
    let server = Server::builder().on_connection_end(move |closed| {
        let _ = told.send(closed.clone());
    });
    (serve(echoes(server)).await, hears)
}

/// A server of ours with TLS, and its failed handshakes.
async fn with_tls(server: Server) -> (SocketAddr, UnboundedReceiver<HandshakeFailure>) {
    let (told, hears) = unbounded_channel();
    let server = server.on_handshake_failure(move |failure| {
        let _ = told.send(failure.clone());
    });
    (serve(echoes(server)).await, hears)
}

fn plain(address: SocketAddr) -> Endpoint {
    Endpoint::new(format!("http://{address}")).unwrap()
}

/// What a server answers to these octets; it must end within a second.
async fn answer(address: SocketAddr, said: &[u8]) -> Vec<u8> {
    let began = Instant::now();
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(said).await.unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    answer
}

/// A server of somebody else's: reads a little, says this, and closes.
async fn stranger(says: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 1024]).await;
            let _ = socket.write_all(says).await;
            let _ = socket.shutdown().await;
            let _ = socket.read(&mut [0; 1024]).await;
        }
    });
    address
}

#[tokio::test]
async fn our_tls_client_at_our_cleartext_server() {
    let certificates = certificates();
    let (address, mut ends) = cleartext().await;
    let (_, error) = failure(certificates.endpoint(address)).await;
    assert!(error.contains("the target must say http://"), "{error}");
    let end = ends.recv().await.unwrap().to_string();
    assert!(end.contains("the client speaks TLS and this port is cleartext"), "{end}");
    let named = fault(certificates.endpoint(address)).await;
    assert_eq!(named, ConnectFault::Tls(TlsFailure::NotTls(Spoken::Http2)));
    assert_eq!(echo(plain(address).connect_lazy(), 1).await.unwrap(), 1, "nobody else is harmed");
}

#[tokio::test]
async fn our_cleartext_client_at_our_tls_server() {
    let certificates = certificates();
    let (address, mut failures) = with_tls(certificates.server()).await;
    let (_, error) = failure(plain(address)).await;
    assert!(error.contains("the peer speaks TLS and this target is plaintext"), "{error}");
    assert_eq!(failures.recv().await.unwrap().error.failure, TlsFailure::NotTls(Spoken::Http2));
    assert_eq!(fault(plain(address)).await, ConnectFault::WrongProtocol(Spoken::Tls));
    assert_eq!(echo(certificates.endpoint(address).connect_lazy(), 1).await.unwrap(), 1);
}

#[tokio::test]
async fn http1_clients_are_answered_in_http1_on_both_kinds_of_port() {
    let (clear, mut ends) = cleartext().await;
    let (tls, mut failures) = with_tls(certificates().server()).await;
    let get = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let said = String::from_utf8(answer(tls, get).await).unwrap();
    assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("https://"), "{said}");
    let line = failures.recv().await.unwrap().to_string();
    assert!(line.contains("the client speaks cleartext HTTP/1"), "{line}");
    let said = String::from_utf8(answer(clear, get).await).unwrap();
    assert!(said.starts_with("HTTP/1.1 505 "), "{said}");
    match ends.recv().await.unwrap().reason {
        CloseReason::Protocol(error) => assert!(error.to_string().contains("HTTP/1.x request"), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn strangers_are_named() {
    let certificates = certificates();
    let http1 = stranger(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    let settings = stranger(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    let alert = stranger(&[21, 3, 1, 0, 2, 2, 10]).await;
    let silent = stranger(b"").await;
    let not_tls = |spoken| ConnectFault::Tls(TlsFailure::NotTls(spoken));
    for (endpoint, named) in [
        (certificates.endpoint(http1), not_tls(Spoken::Http1)),
        (certificates.endpoint(settings), not_tls(Spoken::Http2)),
        (certificates.endpoint(silent), ConnectFault::Tls(TlsFailure::Lost)),
        (plain(http1), ConnectFault::WrongProtocol(Spoken::Http1)),
        (plain(alert), ConnectFault::WrongProtocol(Spoken::Tls)),
    ] {
        let began = Instant::now();
        assert_eq!(fault(endpoint.clone()).await, named, "{endpoint}");
        assert!(began.elapsed() < Duration::from_secs(1), "{named:?}: {:?}", began.elapsed());
    }
    let (_, error) = failure(plain(silent)).await;
    assert!(error.contains("if it speaks TLS, the target must say https://"), "{error}");
}
