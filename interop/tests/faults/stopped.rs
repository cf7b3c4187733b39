//! Peers that stop without a word (SIGSTOP: the kernel still answers for them) and connections that are half closed.

use core::time::Duration;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use clearway::transport::{CallPhase, Channel, TransportCause, TransportEvent};
use clearway::{Code, Request};
use clearway_interop::testing::SimpleRequest;
use clearway_interop::testing::test_service_client::TestServiceClient;

use crate::client;
use crate::process::{self, answered, descriptors, ports_to, serve, until_descriptors};

/// A stopped server: calls with a deadline end with it and say what they waited for; once it goes on, the same connection does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_costs_deadlines_and_no_more() {
    let (server, address) = serve(0);
    let client = process::client(address);
    answered(&client).await;
    let connection = ports_to(address);
    assert_eq!(connection.len(), 1, "{connection:?}");
    for _ in 0..10 {
        server.stop().await;
        let cause = deadline_passes(&client).await;
        assert!(cause.connection.is_some(), "{cause:?}");
        server.signal("CONT");
        answered(&client).await;
        assert_eq!(ports_to(address), connection, "another connection");
    }
}

/// A call to a server that has stopped ends with its deadline; the cause, of a call that was sent. On a machine that is busy elsewhere a
/// deadline may pass before, which is a call's end as good as any, and then a longer one is tried.
async fn deadline_passes(client: &TestServiceClient<Channel>) -> TransportCause {
    let mut timeout = Duration::from_millis(100);
    loop {
        let mut request = Request::new(SimpleRequest::default());
        request.set_timeout(timeout);
        let began = Instant::now();
        let status = client.unary_call(request).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        let cause = status.transport().unwrap();
        let TransportEvent::DeadlineExceeded { phase, .. } = cause.event else { panic!("{status}") };
        assert!(began.elapsed() >= timeout, "{status}");
        if phase == CallPhase::AwaitingHeaders {
            return cause.clone();
        }
        timeout *= 2;
        assert!(timeout < Duration::from_secs(60), "never sent: {status}");
    }
}

/// A stopped client holds its streams, and nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_client_holds_up_nobody() {
    let (server, address) = serve(0);
    let neighbour = process::client(address);
    answered(&neighbour).await;
    let at_rest = descriptors(server.0.id());
    let mut clients: Vec<_> = (0..5).map(|_| client::start(address)).collect();
    for client in &clients {
        client.stop().await;
    }
    for _ in 0..50 {
        let took = answered(&neighbour).await;
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    clients.iter().for_each(|client| client.signal("CONT"));
    clients.iter_mut().for_each(process::Killed::kill);
    until_descriptors(server.0.id(), at_rest).await;
}

/// A peer that ends its side at once, after the preface, or in the middle of a frame: the server ends its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_closed_connections_are_ended() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let (server, address) = serve(0);
    let neighbour = process::client(address);
    answered(&neighbour).await;
    let at_rest = descriptors(server.0.id());
    let cut_headers = [PREFACE, b"\0\0\x20\x01\x04\0\0\0\x01\x82"].concat();
    for opening in [&b""[..], &PREFACE[..10], PREFACE, &cut_headers] {
        for _ in 0..25 {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            stream.write_all(opening).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            // SETTINGS perhaps, GOAWAY perhaps, and then the end: a timeout here is the failure.
            stream.read_to_end(&mut Vec::new()).unwrap();
        }
    }
    until_descriptors(server.0.id(), at_rest).await;
    answered(&neighbour).await;
}
