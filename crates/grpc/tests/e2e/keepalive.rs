//! gRFC A8 between our client and our server, on links that can fall silent, in virtual time: hours of it.

use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{CloseReason, Endpoint, Router, Server, TransportEvent};
use clearway::{Code, Request, Response, Streaming};
use clearway_http2::Violation;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt as _;

use crate::{Client, Teller, story, text};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One end of a link in memory that forgets everything once it was told to, and says nothing about it.
struct Link {
    io: DuplexStream,
    forgotten: Arc<AtomicBool>,
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.forgotten.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        if self.forgotten.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(octets.len()));
        }
        Pin::new(&mut self.io).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.forgotten.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Links between clients and one server, and how their connections ended on its side.
#[derive(Clone, Default)]
struct Net {
    links: Arc<Mutex<Vec<Arc<AtomicBool>>>>,
    ends: Arc<Mutex<Vec<CloseReason>>>,
}

impl Net {
    /// An endpoint of a server; each connection has a link of its own.
    fn endpoint(&self, server: &Server, teller: &Teller) -> Endpoint {
        let ends = Arc::clone(&self.ends);
        let report = move |closed: &clearway::transport::Closed| {
            ends.lock().unwrap().push(closed.reason.clone());
        };
        let server = server.clone().on_connection_end(report);
        let (links, teller) = (Arc::clone(&self.links), teller.clone());
        Endpoint::from_static("http://in-memory").idle_timeout(Duration::MAX).connector(move || {
            let (ours, theirs) = tokio::io::duplex(256 * 1024);
            tokio::spawn(router(server.clone(), &teller).serve_connection(theirs.into()));
            let forgotten = Arc::<AtomicBool>::default();
            links.lock().unwrap().push(Arc::clone(&forgotten));
            core::future::ready(Ok(Link { io: ours, forgotten }))
        })
    }

    /// What lies between forgets all links there are.
    fn forget(&self) {
        for link in &*self.links.lock().unwrap() {
            link.store(true, Ordering::Relaxed);
        }
    }

    fn connections(&self) -> usize {
        self.links.lock().unwrap().len()
    }

    fn ends(&self) -> Vec<CloseReason> {
        self.ends.lock().unwrap().clone()
    }
}

fn router(server: Server, teller: &Teller) -> Router {
    let (bidi, unary) = (teller.clone(), teller.clone());
    let service = GenericService::new("t.S")
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            Ok(Response::new(request.into_inner()))
        })
        .unary("Never", BytesCodec, move |_: Request<Bytes>| {
            let teller = unary.clone();
            async move {
                let _dropped = teller.on_drop("dropped");
                core::future::pending().await
            }
        })
        .bidi_streaming("Silent", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            let teller = bidi.clone();
            async move {
                tokio::spawn(async move {
                    let mut requests = request.into_inner();
                    teller.tell("begun");
                    let end = requests.message().await;
                    teller.tell(match end {
                        Ok(_) => "more".to_owned(),
                        Err(status) => format!("{:?}: {}", status.code(), status.message()),
                    });
                });
                Ok(Response::new(tokio_stream::pending::<Result<Bytes, clearway::Status>>()))
            }
        });
    server.add_service(service)
}

/// An open call on which nobody says anything.
async fn silent_call(client: &Client) -> Streaming<Bytes> {
    client.duplex("Silent", Request::new(tokio_stream::pending())).await.unwrap().into_inner()
}

#[tokio::test(start_paused = true)]
async fn a_server_finds_a_dead_client_within_interval_and_timeout_and_cancels_its_calls() {
    let (net, (teller, mut told)) = (Net::default(), story());
    let server =
        Server::builder().http2_keepalive_interval(Some(secs(60))).http2_keepalive_timeout(Some(secs(5)));
    let client = Client::at(net.endpoint(&server, &teller));
    let _open = silent_call(&client).await;
    assert_eq!(told.next().await, "begun");
    let began = Instant::now();
    net.forget();
    sleep(secs(66)).await;
    let said = told.next().await;
    assert!(said.starts_with("Cancelled") && said.contains("keepalive expired"), "{said}");
    assert_eq!(began.elapsed(), secs(66), "it was said before");
    let ends = net.ends();
    let [CloseReason::KeepaliveExpired { silent }] = ends.as_slice() else { panic!("{ends:?}") };
    assert!((secs(65)..secs(66)).contains(silent), "{silent:?}");
}

/// The default, which is gRPC's: two hours and 20 s, with calls and without.
#[tokio::test(start_paused = true)]
async fn a_default_server_notices_in_two_hours_where_no_kernel_helps() {
    let (net, (teller, _told)) = (Net::default(), story());
    let client = Client::at(net.endpoint(&Server::builder(), &teller));
    client.unary("Echo", text("a")).await.unwrap();
    net.forget();
    sleep(secs(7200)).await;
    assert_eq!(net.ends(), []);
    sleep(secs(21)).await;
    assert!(matches!(net.ends()[..], [CloseReason::KeepaliveExpired { .. }]), "{:?}", net.ends());
}

#[tokio::test(start_paused = true)]
async fn a_server_may_be_told_not_to_ask() {
    let (net, (teller, _told)) = (Net::default(), story());
    let client = Client::at(net.endpoint(&Server::builder().http2_keepalive_interval(None), &teller));
    client.unary("Echo", text("a")).await.unwrap();
    net.forget();
    sleep(secs(100_000)).await;
    assert_eq!(net.ends(), []);
}

/// All defaults: the link was forgotten while it was idle, and the next call takes a second longer than others.
#[tokio::test(start_paused = true)]
async fn after_a_silence_on_a_link_that_forgot_us_the_next_call_succeeds() {
    let (net, (teller, _told)) = (Net::default(), story());
    let client = Client::at(net.endpoint(&Server::builder(), &teller));
    client.unary("Echo", text("a")).await.unwrap();
    net.forget();
    sleep(secs(350)).await;
    let began = Instant::now();
    assert_eq!(client.unary("Echo", text("b")).await.unwrap().into_inner(), "b");
    assert_eq!((began.elapsed().as_millis(), net.connections()), (1000, 2));
}

/// A day of default client and server: bursts, silences of every length, calls that are given up, and a call that says nothing for hours.
/// No PING of ours is ever one too many.
#[tokio::test(start_paused = true)]
async fn a_day_between_defaults_brings_no_strike() {
    let (net, (teller, _told)) = (Net::default(), story());
    let client = Client::at(net.endpoint(&Server::builder(), &teller));
    for hour in 0..24u64 {
        let open = silent_call(&client).await;
        sleep(secs(1200)).await;
        for pause in [1, 29, 31, 45, 60, 61, 90, 200, 299, 301] {
            client.unary("Echo", text("a")).await.unwrap();
            sleep(secs(pause + hour)).await;
        }
        drop(open);
        for pause in [31, 45, 60, 400] {
            let given_up = tokio::time::timeout(secs(1), client.unary("Never", text("a"))).await;
            assert!(given_up.is_err());
            sleep(secs(pause)).await;
        }
    }
    client.unary("Echo", text("a")).await.unwrap();
    assert_eq!((net.connections(), net.ends()), (1, Vec::new()));
}

/// A client that asks a default server every 10 s learns what it allows: five connections later it asks every 320 s.
#[tokio::test(start_paused = true)]
async fn a_client_that_asks_too_often_learns_what_its_server_allows() {
    let (net, (teller, _told)) = (Net::default(), story());
    let endpoint = net.endpoint(&Server::builder(), &teller).http2_keep_alive_interval(secs(10));
    let client = Client::at(endpoint);
    for interval in [10, 20, 40, 80, 160] {
        let mut open = silent_call(&client).await;
        let began = Instant::now();
        let status = open.message().await.unwrap_err();
        let (was, next) = (secs(interval), secs(2 * interval));
        assert_eq!(
            status.transport().unwrap().event,
            TransportEvent::TooManyPings { interval: was, next, keepalive: true }
        );
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(began.elapsed().as_secs(), 4 * interval, "the first is free, and three are strikes");
    }
    let mut open = silent_call(&client).await;
    assert!(tokio::time::timeout(secs(86_400), open.next()).await.is_err());
    let ends = net.ends();
    assert_eq!(ends.len(), 5);
    for end in ends {
        let CloseReason::Protocol(error) = end else { panic!("{end:?}") };
        assert_eq!(error.violation, Violation::TooManyPings);
    }
}

/// The knobs of the server, as it was agreed.
#[tokio::test(start_paused = true)]
async fn what_was_agreed_is_no_strike() {
    let (net, (teller, _told)) = (Net::default(), story());
    let server = Server::builder().min_ping_interval(secs(10)).permit_pings_without_calls(true);
    let endpoint = net.endpoint(&server, &teller).http2_keep_alive_interval(secs(10));
    let client = Client::at(endpoint.keep_alive_while_idle(true));
    let mut open = silent_call(&client).await;
    assert!(tokio::time::timeout(secs(3600), open.next()).await.is_err());
    drop(open);
    sleep(secs(3600)).await;
    client.unary("Echo", text("a")).await.unwrap();
    assert_eq!((net.connections(), net.ends()), (1, Vec::new()));
}

/// PINGs without calls, which a default server allows once in two hours.
#[tokio::test(start_paused = true)]
async fn pings_without_calls_are_strikes_unless_permitted() {
    let (net, (teller, _told)) = (Net::default(), story());
    let endpoint = net.endpoint(&Server::builder(), &teller).keep_alive_while_idle(true);
    let client = Client::at(endpoint);
    client.unary("Echo", text("a")).await.unwrap();
    // HEADERS were sent since the connection began, so the first is free, and the next three are strikes.
    sleep(secs(4 * 330 + 1)).await;
    let ends = net.ends();
    let [CloseReason::Protocol(error)] = ends.as_slice() else { panic!("{ends:?}") };
    assert_eq!(error.violation, Violation::TooManyPings);
    assert_eq!(client.unary("Echo", text("b")).await.unwrap().into_inner(), "b", "the next connection");
}
