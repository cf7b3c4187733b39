//! Random calls from many tasks on several threads, many of them given up at random moments: nothing hangs, every answer
//! is the right one, and no handler is left over. The seed is printed; `CLEARWAY_E2E_SEED` replays it, as far as threads can
//! be replayed.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{Router, Server};
use clearway::{Code, Request, Response, Status, Streaming};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{Client, socket_endpoint};

const TASKS: u64 = 64;
const CALLS: u64 = 60;

/// How many handlers and response streams live.
#[derive(Clone)]
struct Living(Arc<watch::Sender<usize>>);

impl Living {
    fn one(&self) -> Life {
        self.0.send_modify(|living| *living += 1);
        Life(self.clone())
    }
}

struct Life(Living);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.0.send_modify(|living| *living -= 1);
    }
}

fn router(living: &Living) -> Router {
    let (unary, download, upload, chat) = (living.clone(), living.clone(), living.clone(), living.clone());
    let service = GenericService::new("t.S")
        .unary("Echo", BytesCodec, move |request: Request<Bytes>| {
            let life = unary.one();
            async move {
                let _life = life;
                if request.get_ref().len().is_multiple_of(2) {
                    tokio::time::sleep(Duration::from_micros(300)).await;
                }
                Ok(Response::new(request.into_inner()))
            }
        })
        .server_streaming("Download", BytesCodec, move |request: Request<Bytes>| {
            let life = download.one();
            async move {
                let message = request.into_inner();
                let messages = (0..50).map(move |_| Ok(message.clone()));
                Ok(Response::new(crate::Keeping(tokio_stream::iter(messages), life)))
            }
        })
        .client_streaming("Upload", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            let life = upload.one();
            async move {
                let _life = life;
                let mut uploaded = request.into_inner();
                let mut octets = 0;
                while let Some(message) = uploaded.message().await? {
                    octets += message.len();
                }
                Ok(Response::new(Bytes::from(octets.to_string())))
            }
        })
        .bidi_streaming("Chat", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            let life = chat.one();
            async move { Ok(Response::new(crate::Keeping(request.into_inner(), life))) }
        });
    // Few enough streams that calls wait for them, and for handlers of calls given up.
    Server::builder().max_concurrent_streams(40).add_service(service)
}

/// xorshift64*: small, and good enough to pick sizes and moments.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }

    fn message(&mut self) -> Bytes {
        let most = [10, 2_000, 70_000][usize::try_from(self.below(3)).unwrap()];
        let (octets, fill) = (self.below(most), self.below(256));
        vec![u8::try_from(fill).unwrap(); usize::try_from(octets).unwrap()].into()
    }
}

async fn count(mut stream: Streaming<Bytes>, message: &Bytes) -> Result<usize, Status> {
    let mut seen = 0;
    while let Some(got) = stream.message().await? {
        assert_eq!(got, *message, "somebody else's message");
        seen += 1;
    }
    Ok(seen)
}

/// One call of some kind, checked.
async fn call(client: Client, kind: u64, message: Bytes, timeout: Option<Duration>) -> Result<(), Status> {
    let copies = (0..20).map({
        let message = message.clone();
        move |_| message.clone()
    });
    let mut one = Request::new(message.clone());
    let mut many = Request::new(tokio_stream::iter(copies));
    if let Some(timeout) = timeout {
        one.set_timeout(timeout);
        many.set_timeout(timeout);
    }
    match kind {
        0 => assert_eq!(client.unary("Echo", one).await?.into_inner(), message),
        1 => {
            let stream = client.download("Download", one).await?.into_inner();
            assert_eq!(count(stream, &message).await?, 50);
        }
        2 => {
            let sum = client.upload("Upload", many).await?.into_inner();
            assert_eq!(sum, (message.len() * 20).to_string());
        }
        _ => {
            let stream = client.duplex("Chat", many).await?.into_inner();
            assert_eq!(count(stream, &message).await?, 20);
        }
    }
    Ok(())
}

async fn calls(client: Client, mut random: Random, finished: Arc<AtomicUsize>) {
    for _ in 0..CALLS {
        let (kind, message) = (random.below(4), random.message());
        let timeout = (random.below(4) == 0).then(|| Duration::from_micros(random.below(20_000)));
        let patience = (random.below(3) == 0).then(|| Duration::from_micros(random.below(10_000)));
        let call = call(client.clone(), kind, message, timeout);
        let outcome = match patience {
            Some(patience) => match tokio::time::timeout(patience, call).await {
                Ok(outcome) => outcome,
                Err(_) => continue,
            },
            None => call.await,
        };
        match outcome {
            Ok(()) => drop(finished.fetch_add(1, Ordering::Relaxed)),
            Err(status) if timeout.is_some() => assert_eq!(status.code(), Code::DeadlineExceeded, "{status}"),
            Err(status) => panic!("{status:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn nothing_is_lost_in_a_storm_of_calls() {
    let seed: u64 = std::env::var("CLEARWAY_E2E_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()));
    println!("CLEARWAY_E2E_SEED={seed}");
    let (living, mut lives) = watch::channel(0);
    let living = Living(Arc::new(living));
    let client = Client::at(socket_endpoint(router(&living)).await);
    let finished = Arc::<AtomicUsize>::default();
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let random = Random((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (task + 1));
        tasks.spawn(calls(client.clone(), random, Arc::clone(&finished)));
    }
    let storm = async {
        while let Some(task) = tasks.join_next().await {
            task.expect("a task found something wrong");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), storm).await.expect("calls hang");
    let clear = lives.wait_for(|living| *living == 0);
    tokio::time::timeout(Duration::from_secs(10), clear).await.expect("handlers are left over").unwrap();
    assert!(finished.load(Ordering::Relaxed) > 1000, "most calls finish");
    call(client, 0, Bytes::from_static(b"calm"), None).await.unwrap();
}
