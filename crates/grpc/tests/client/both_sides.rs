//! Our client and our server, all four kinds of call, over one connection in memory and over a loopback socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clearway::client::{Grpc, MethodPath};
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{Endpoint, Listener, Router, Server, pair};
use clearway::{Code, Request, Response, Status, Streaming};
use tokio::sync::mpsc;

use crate::peer::{Feed, feed};

pub(crate) const UNARY: MethodPath = MethodPath::from_static("/test.Echo/Unary");
const LIST: MethodPath = MethodPath::from_static("/test.Echo/List");
const SUM: MethodPath = MethodPath::from_static("/test.Echo/Sum");
const CHAT: MethodPath = MethodPath::from_static("/test.Echo/Chat");
const SLEEP: MethodPath = MethodPath::from_static("/test.Echo/Sleep");

struct Messages(mpsc::UnboundedReceiver<Result<Bytes, Status>>);

impl clearway::codegen::Stream for Messages {
    type Item = Result<Bytes, Status>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

async fn unary(request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    if request.get_ref().is_empty() {
        let mut status = Status::not_found("nothing, ☺");
        status.metadata_mut().insert("x-why", "empty".parse().unwrap());
        return Err(status);
    }
    let mut response = Response::new(request.get_ref().clone());
    if let Some(value) = request.metadata().get("x-echo") {
        response.metadata_mut().insert("x-echo", value.clone());
    }
    Ok(response)
}

async fn list(request: Request<Bytes>) -> Result<Response<Messages>, Status> {
    let (messages, stream) = mpsc::unbounded_channel();
    for _ in 0..usize::from(request.get_ref()[0]) {
        let _ = messages.send(Ok(Bytes::from(vec![7; 1000])));
    }
    let _ = messages.send(Err(Status::aborted("after the last")));
    Ok(Response::new(Messages(stream)))
}

async fn sum(request: Request<Streaming<Bytes>>) -> Result<Response<Bytes>, Status> {
    let (mut stream, mut octets) = (request.into_inner(), 0u64);
    while let Some(message) = stream.message().await? {
        octets += message.len() as u64;
    }
    Ok(Response::new(Bytes::copy_from_slice(&octets.to_be_bytes())))
}

async fn chat(request: Request<Streaming<Bytes>>) -> Result<Response<Messages>, Status> {
    let (messages, stream) = mpsc::unbounded_channel();
    let mut incoming = request.into_inner();
    tokio::spawn(async move {
        while let Ok(Some(message)) = incoming.message().await {
            let _ = messages.send(Ok(message));
        }
    });
    Ok(Response::new(Messages(stream)))
}

/// Counts the handlers that are running.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn echo(running: &Arc<AtomicUsize>) -> Router {
    echo_on(Server::builder(), running)
}

pub(crate) fn echo_on(server: Server, running: &Arc<AtomicUsize>) -> Router {
    let running = Arc::clone(running);
    let sleep = move |request: Request<Bytes>| {
        running.fetch_add(1, Ordering::SeqCst);
        let guard = Running(Arc::clone(&running));
        async move {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            drop(guard);
            Ok(Response::new(request.into_inner()))
        }
    };
    let service = GenericService::new("test.Echo")
        .unary("Unary", BytesCodec, unary)
        .server_streaming("List", BytesCodec, list)
        .client_streaming("Sum", BytesCodec, sum)
        .bidi_streaming("Chat", BytesCodec, chat)
        .unary("Sleep", BytesCodec, sleep);
    server.add_service(service)
}

fn in_memory() -> (Grpc, Arc<AtomicUsize>) {
    let running = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&running);
    let endpoint = Endpoint::from_static("http://memory").connector(move || {
        let (ours, theirs) = pair();
        tokio::spawn(echo(&counted).serve_connection(theirs));
        std::future::ready(Ok(ours))
    });
    (Grpc::new(endpoint.connect_lazy()), running)
}

async fn all_four(grpc: &Grpc) {
    let mut request = Request::new(Bytes::from_static(b"hello"));
    request.metadata_mut().insert("x-echo", "abc".parse().unwrap());
    let response = grpc.unary(request, UNARY, BytesCodec).await.unwrap();
    assert_eq!(response.metadata().get("x-echo").unwrap(), "abc");
    assert_eq!(response.into_inner(), "hello");

    let status = grpc.unary(Request::new(Bytes::new()), UNARY, BytesCodec).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "nothing, ☺"));
    assert_eq!(status.metadata().get("x-why").unwrap(), "empty");

    let listed = grpc.server_streaming(Request::new(Bytes::from_static(&[200])), LIST, BytesCodec).await;
    let mut stream = listed.unwrap().into_inner();
    for _ in 0..200 {
        assert_eq!(stream.message().await.unwrap().unwrap().len(), 1000);
    }
    assert_eq!(stream.message().await.unwrap_err().code(), Code::Aborted);

    let (sender, messages) = feed();
    for _ in 0..500 {
        sender.send(Bytes::from(vec![7; 1000])).unwrap();
    }
    drop(sender);
    let summed = grpc.client_streaming::<_, Feed>(Request::new(messages), SUM, BytesCodec).await.unwrap();
    assert_eq!(summed.into_inner()[..], 500_000u64.to_be_bytes());

    let (sender, messages) = feed();
    let mut chat = grpc.bidi_streaming(Request::new(messages), CHAT, BytesCodec).await.unwrap().into_inner();
    for n in 0..50u8 {
        sender.send(Bytes::from(vec![n; usize::from(n) * 100])).unwrap();
        assert_eq!(chat.message().await.unwrap().unwrap().len(), usize::from(n) * 100);
    }
    drop(sender);
    assert_eq!(chat.message().await.unwrap(), None);
    assert!(chat.trailers().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn all_four_kinds_of_call_in_memory() {
    all_four(&in_memory().0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_four_kinds_of_call_over_tcp_many_at_once() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(echo(&Arc::default()).serve_with_listener(listener, async {
        let _ = stopped.await;
    }));
    let channel = Endpoint::new(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let grpc = Grpc::new(channel.clone());
        clients.spawn(async move { all_four(&grpc).await });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    drop(channel);
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_deadline_and_a_dropped_call_drop_the_handler() {
    let (grpc, running) = in_memory();
    let mut request = Request::new(Bytes::from_static(b"z"));
    request.set_timeout(Duration::from_secs(1));
    let status = grpc.unary(request, SLEEP, BytesCodec).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let sleeping = {
        let grpc = grpc.clone();
        tokio::spawn(
            async move { grpc.unary(Request::new(Bytes::from_static(b"z")), SLEEP, BytesCodec).await },
        )
    };
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(running.load(Ordering::SeqCst), 1, "the first is gone, the second is there");
    sleeping.abort();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(running.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn unknown_methods_and_services_are_unimplemented() {
    let grpc = in_memory().0;
    for path in ["/test.Echo/Nothing", "/test.Nobody/Unary"] {
        let path = MethodPath::new(path).unwrap();
        let status = grpc.unary(Request::new(Bytes::new()), path, BytesCodec).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn large_messages_go_both_ways_beside_small_ones() {
    let grpc = in_memory().0;
    let large = {
        let grpc = grpc.clone();
        let message = Bytes::from(vec![7; 4 * 1024 * 1024]);
        tokio::spawn(async move { grpc.unary(Request::new(message), UNARY, BytesCodec).await })
    };
    for _ in 0..100 {
        let message = Bytes::from_static(b"small");
        assert!(grpc.unary(Request::new(message), UNARY, BytesCodec).await.is_ok());
    }
    assert_eq!(large.await.unwrap().unwrap().into_inner().len(), 4 * 1024 * 1024);
    let message = Bytes::from(vec![7; 4 * 1024 * 1024 + 1]);
    let status = grpc.unary(Request::new(message), UNARY, BytesCodec).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_calls_share_one_connection() {
    let grpc = in_memory().0;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..10_000u32 {
        let grpc = grpc.clone();
        calls.spawn(async move {
            let message = Bytes::copy_from_slice(&n.to_be_bytes());
            let response = grpc.unary(Request::new(message.clone()), UNARY, BytesCodec).await.unwrap();
            assert_eq!(response.into_inner(), message);
        });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
}

/// Serves on an address until the test is over; says where.
async fn serve(address: &str) -> Option<std::net::SocketAddr> {
    let listener = Listener::bind(&address.parse().unwrap()).await.unwrap();
    let address = listener.local_addr();
    tokio::spawn(echo(&Arc::default()).serve_with_listener(listener, std::future::pending()));
    address
}

#[tokio::test]
async fn every_kind_of_target_leads_to_its_server() {
    let address = serve("127.0.0.1:0").await.unwrap();
    let socket = std::env::temp_dir().join(format!("clearway-client-{}.sock", std::process::id()));
    let socket = socket.to_str().unwrap();
    serve(&format!("unix:{socket}")).await;
    let port = address.port();
    // The second address of the list is the one that answers.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for target in [
        format!("http://127.0.0.1:{port}"),
        format!("http://localhost:{port}"),
        format!("dns:///localhost:{port}"),
        format!("localhost:{port}"),
        format!("ipv4:127.0.0.1:{port}"),
        format!("ipv4:{nobody},{address}"),
        format!("unix:{socket}"),
        format!("unix://{socket}"),
    ] {
        let endpoint = Endpoint::new(&target).unwrap().plaintext();
        let grpc = Grpc::new(endpoint.connect().await.unwrap_or_else(|error| panic!("{target}: {error}")));
        let answer = grpc.unary(Request::new(Bytes::from_static(b"hi")), UNARY, BytesCodec).await;
        assert_eq!(answer.unwrap().into_inner(), "hi", "{target}");
    }
    let _ = std::fs::remove_file(socket);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_hangs_however_connections_end() {
    let (tell, mut connections) = mpsc::unbounded_channel();
    let endpoint = Endpoint::from_static("http://memory").connector(move || {
        let (ours, theirs) = pair();
        let _ = tell.send(tokio::spawn(echo(&Arc::default()).serve_connection(theirs)));
        std::future::ready(Ok(ours))
    });
    let channel = endpoint.connect_lazy();
    // The connector keeps the other end of `connections`.
    drop(endpoint);
    // Every connection is cut after a while, in the middle of whatever it does.
    let reaper = tokio::spawn(async move {
        let mut cut = 0u32;
        while let Some(connection) = connections.recv().await {
            tokio::time::sleep(Duration::from_micros(u64::from(cut % 7) * 300)).await;
            connection.abort();
            cut += 1;
        }
        cut
    });
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let grpc = Grpc::new(channel.clone());
        callers.spawn(async move {
            let (mut answered, mut lost) = (0, 0);
            for _ in 0..200 {
                match grpc.unary(Request::new(Bytes::from_static(b"x")), UNARY, BytesCodec).await {
                    Ok(_) => answered += 1,
                    Err(status) if status.code() == Code::Unavailable => lost += 1,
                    Err(status) => panic!("{status:?}"),
                }
                tokio::task::yield_now().await;
            }
            (answered, lost)
        });
    }
    drop(channel);
    let everybody = async {
        while let Some(done) = callers.join_next().await {
            let (answered, lost) = done.unwrap();
            assert_eq!(answered + lost, 200);
        }
        reaper.await.unwrap()
    };
    let cut = tokio::time::timeout(Duration::from_secs(60), everybody).await.expect("a call hangs");
    assert!(cut > 3, "{cut} connections were cut");
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_made_for_each_connection_and_sees_its_frames() {
    use clearway::observe::{Direction, Instant, Kind, Observer, Trace};
    struct Count(Arc<AtomicUsize>);
    impl Observer for Count {
        fn on_trace(&mut self, _: Instant, trace: &Trace<'_>) {
            if let Trace::Frame { direction: Direction::Sent, header, .. } = trace
                && header.kind == Kind::HEADERS
            {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
    let (made, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (making, counting) = (Arc::clone(&made), Arc::clone(&requests));
    let endpoint = Endpoint::from_static("http://memory")
        .connector(|| {
            let (ours, theirs) = pair();
            tokio::spawn(echo(&Arc::default()).serve_connection(theirs));
            std::future::ready(Ok(ours))
        })
        .observe(move |_| {
            making.fetch_add(1, Ordering::SeqCst);
            Box::new(Count(Arc::clone(&counting)))
        });
    let grpc = Grpc::new(endpoint.connect().await.unwrap());
    for _ in 0..3 {
        grpc.unary(Request::new(Bytes::from_static(b"x")), UNARY, BytesCodec).await.unwrap();
    }
    assert_eq!((made.load(Ordering::SeqCst), requests.load(Ordering::SeqCst)), (1, 3));
}
