//! Handlers of streams that are polled on their connection's task when a message comes ([`Placement`]): which are, that their
//! messages keep their order, and that they end, panic and are slowed down as anywhere else.

use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::{GenericService, Placement, Service as _};
use clearway::transport::{Router, Server};
use clearway::{Code, Request, Response, Status, Streaming};
use tokio::sync::mpsc;
use tokio_stream::Stream as MessageStream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::{Client, Keeping, Teller, endpoint, socket_endpoint, story};

/// Long enough for everybody to wait, when time is virtual.
const PAUSE: Duration = Duration::from_secs(1);

/// A call with messages both ways.
struct Talk {
    send: mpsc::Sender<Bytes>,
    answers: Streaming<Bytes>,
}

impl Talk {
    async fn open(client: &Client, method: &str, first: &'static str) -> Result<Self, Status> {
        let (send, messages) = mpsc::channel(1);
        send.send(Bytes::from_static(first.as_bytes())).await.expect("it is taken");
        let answers = client.duplex(method, Request::new(ReceiverStream::new(messages))).await?.into_inner();
        Ok(Self { send, answers })
    }

    async fn answer(&mut self) -> Result<Option<Bytes>, Status> {
        self.answers.message().await
    }

    async fn round_trip(&mut self, message: &'static str) -> Result<Option<Bytes>, Status> {
        let _ = self.send.send(Bytes::from_static(message.as_bytes())).await;
        self.answer().await
    }
}

fn echo(message: Result<Bytes, Status>) -> Result<Bytes, Status> {
    let message = message?;
    match &message[..] {
        b"panic" => panic!("in a visit"),
        b"fail" => Err(Status::aborted("as asked")),
        _ => Ok(message),
    }
}

fn service(teller: &Teller) -> GenericService {
    let (late, three) = (teller.clone(), teller.clone());
    GenericService::new("t.S")
        // Says for each message who polled it.
        .bidi_streaming("Where", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            let home = tokio::task::id();
            Ok(Response::new(request.into_inner().map(move |message| {
                let spins = message? == "spin";
                let until = std::time::Instant::now() + Duration::from_micros(300);
                while spins && std::time::Instant::now() < until {
                    std::hint::spin_loop();
                }
                let visited = tokio::task::id() != home;
                Ok(Bytes::from_static(if visited { b"visited" } else { b"at home" }))
            })))
        })
        .bidi_streaming("Echo", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            Ok(Response::new(request.into_inner().map(echo)))
        })
        // Begins its response with the third message.
        .bidi_streaming("Late", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            let over = late.on_drop("dropped");
            async move {
                let mut messages = request.into_inner();
                let mut size = 0;
                for _ in 0..3 {
                    size += messages.message().await?.map_or(0, |message| message.len());
                }
                let mut response = Response::new(Keeping(messages, over));
                response.metadata_mut().insert("x-size", size.to_string().parse().expect("digits"));
                if size > 9 {
                    let long = "x".repeat(100_000).parse().expect("letters");
                    response.metadata_mut().insert("x-long", long);
                }
                Ok(response)
            }
        })
        .client_streaming("Three", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            let over = three.on_drop("dropped");
            async move {
                let _over = over;
                let mut messages = request.into_inner();
                let mut size = 0;
                for _ in 0..3 {
                    size += messages.message().await?.map_or(0, |message| message.len());
                }
                Ok(Response::new(Bytes::from(size.to_string())))
            }
        })
        .bidi_streaming("Ticks", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            let (send, ticks) = mpsc::channel(4);
            tokio::spawn(async move {
                while send.send(()).await.is_ok() {
                    tokio::task::yield_now().await;
                }
            });
            Ok(Response::new(Numbered { messages: Some(request.into_inner()), ticks, next: 0 }))
        })
}

/// An answer for each message and for each tick, with its number; the end is that of the messages.
struct Numbered {
    messages: Option<Streaming<Bytes>>,
    ticks: mpsc::Receiver<()>,
    next: u32,
}

impl MessageStream for Numbered {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(messages) = &mut this.messages else { return Poll::Ready(None) };
        match Pin::new(messages).poll_next(cx) {
            Poll::Ready(None) => {
                this.messages = None;
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(Err(status))),
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Pending => match this.ticks.poll_recv(cx) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            },
        }
        let number = this.next.to_string();
        this.next += 1;
        Poll::Ready(Some(Ok(Bytes::from(number))))
    }
}

fn router(teller: &Teller, placement: Placement) -> Router {
    Server::builder().add_service(service(teller).placed(placement))
}

/// How many of so many messages, one at a time, were answered in a visit.
async fn visited(client: &Client, message: &'static str, messages: usize) -> Result<usize, Status> {
    let mut talk = Talk::open(client, "Where", message).await?;
    let mut visited = usize::from(talk.answer().await?.expect("an answer") == "visited");
    for _ in 1..messages {
        visited += usize::from(talk.round_trip(message).await?.expect("an answer") == "visited");
    }
    Ok(visited)
}

#[tokio::test(start_paused = true)]
async fn a_quick_handler_is_polled_where_its_messages_come_unless_its_owner_says_otherwise() {
    for (placement, least, most) in
        [(Placement::Auto, 47, 49), (Placement::Inline, 47, 49), (Placement::Spawn, 0, 0)]
    {
        let client = Client::of(router(&story().0, placement));
        let visited = visited(&client, "m", 50).await.unwrap();
        assert!((least..=most).contains(&visited), "{placement:?}: {visited}");
    }
}

/// 300 microseconds for each message: the first visit shows that, and there is no other for a thousand messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_handler_is_left_to_its_task() {
    let client = Client::at(socket_endpoint(router(&story().0, Placement::Auto)).await);
    let visited = visited(&client, "spin", 100).await.unwrap();
    assert!(visited <= 1, "{visited} visits");
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_begin_fail_and_end_in_a_visit() {
    let (teller, mut told) = story();
    let client = Client::of(router(&teller, Placement::Inline));
    let paced = |messages: [&'static str; 3]| {
        Request::new(tokio_stream::iter(messages).then(|message| async move {
            tokio::time::sleep(PAUSE).await;
            Bytes::from_static(message.as_bytes())
        }))
    };
    let sum = client.upload("Three", paced(["a", "bc", "def"])).await.unwrap();
    assert_eq!(sum.into_inner(), "6");
    assert_eq!(told.next().await, "dropped");

    let response = client.duplex("Late", paced(["a", "bc", "d"])).await.unwrap();
    assert_eq!(response.metadata().get("x-size").unwrap(), "4");
    assert_eq!(response.into_inner().message().await.unwrap(), None);
    assert_eq!(told.next().await, "dropped");

    let mut talk = Talk::open(&client, "Echo", "1").await.unwrap();
    assert_eq!(talk.answer().await.unwrap().unwrap(), "1");
    for message in ["2", "3", "4"] {
        assert_eq!(talk.round_trip(message).await.unwrap().unwrap(), message);
    }
    assert_eq!(talk.round_trip("fail").await.unwrap_err().code(), Code::Aborted);
    assert!(told.is_silent());
}

/// A head above what the client takes: the call fails, and its handler is dropped.
#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_large_fails_its_call_in_a_visit() {
    let (teller, mut told) = story();
    let client = Client::at(endpoint(router(&teller, Placement::Inline)));
    let messages = tokio_stream::iter(["0123456789", "", ""]).then(|message| async move {
        tokio::time::sleep(PAUSE).await;
        Bytes::from_static(message.as_bytes())
    });
    let status = client.duplex("Late", Request::new(messages)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_eq!(told.next().await, "dropped");
}

async fn a_panic_ends_its_own_call(client: &Client) -> Result<(), Status> {
    let mut panics = Talk::open(client, "Echo", "0").await?;
    let mut other = Talk::open(client, "Echo", "0").await?;
    for talk in [&mut panics, &mut other] {
        assert_eq!(talk.answer().await?.expect("an answer"), "0");
        for message in ["1", "2", "3"] {
            assert_eq!(talk.round_trip(message).await?.expect("an answer"), message);
        }
    }
    let status = panics.round_trip("panic").await.expect_err("it panics");
    assert_eq!((status.code(), status.message()), (Code::Unknown, "the handler panicked"));
    assert_eq!(other.round_trip("4").await?.expect("an answer"), "4");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_visit_ends_its_own_call() {
    a_panic_ends_its_own_call(&Client::of(router(&story().0, Placement::Inline))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_visit_over_a_socket_ends_its_own_call() {
    let endpoint = socket_endpoint(router(&story().0, Placement::Inline)).await;
    a_panic_ends_its_own_call(&Client::at(endpoint)).await.unwrap();
}

/// A handler that is woken by other tasks all the time, on other workers, and visited meanwhile: what it sends through the queue and
/// what it sends in visits comes in the order it was made, and nothing is lost.
async fn answers_keep_their_order(client: &Client) -> Result<(), Status> {
    const MESSAGES: u32 = 500;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let client = client.clone();
        calls.spawn(async move {
            let (send, messages) = mpsc::channel(1);
            let answers = client.duplex("Ticks", Request::new(ReceiverStream::new(messages))).await?;
            let mut answers = answers.into_inner();
            let sender = tokio::spawn(async move {
                for _ in 0..MESSAGES {
                    send.send(Bytes::from_static(b"m")).await.expect("the call goes on");
                    tokio::task::yield_now().await;
                }
            });
            let mut next = 0;
            while let Some(answer) = answers.message().await? {
                assert_eq!(answer, next.to_string());
                next += 1;
            }
            sender.await.expect("it sent everything");
            Ok::<u32, Status>(next)
        });
    }
    while let Some(call) = calls.join_next().await {
        assert!(call.expect("no panic")? >= MESSAGES);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn answers_keep_their_order_whoever_polls() {
    for placement in [Placement::Inline, Placement::Auto] {
        let client = Client::at(socket_endpoint(router(&story().0, placement)).await);
        answers_keep_their_order(&client).await.unwrap();
    }
}

/// A client that sends and does not read: its handler is stopped by what waits for it, also when every message is a visit.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_not_answered_for_ever() {
    const MESSAGE: usize = 1024;
    let client = Client::of(router(&story().0, Placement::Inline));
    let (send, messages) = mpsc::channel(1);
    let mut answers =
        client.duplex("Echo", Request::new(ReceiverStream::new(messages))).await.unwrap().into_inner();
    let mut sent = 0;
    let message = Bytes::from(vec![7; MESSAGE]);
    while let Ok(permit) = tokio::time::timeout(PAUSE, send.reserve()).await {
        permit.expect("the call goes on").send(message.clone());
        sent += 1;
        assert!(sent * MESSAGE < 2 << 20, "{sent} messages are on their way");
    }
    drop(send);
    let mut seen = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        assert_eq!(answer, message);
        seen += 1;
    }
    assert_eq!(seen, sent);
}
