//! Where handlers run: slow ones do not hold up their connection, and many spread over all workers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clearway::client::{Grpc, MethodPath};
use clearway::codec::BytesCodec;
use clearway::server::{GenericService, Placement, Service as _};
use clearway::transport::Server;
use clearway::{Request, Response};

type Seen = Arc<Mutex<HashMap<(&'static str, ThreadId), u32>>>;

/// A handler that keeps its worker for so long, and notes which worker that was.
fn service(seen: &Seen) -> GenericService {
    fn note(seen: &Seen, method: &'static str) {
        *seen.lock().unwrap().entry((method, std::thread::current().id())).or_default() += 1;
    }
    let (for_spin, for_quick) = (Arc::clone(seen), Arc::clone(seen));
    GenericService::new("test.Place")
        .unary("Spin", BytesCodec, move |request: Request<Bytes>| {
            let seen = Arc::clone(&for_spin);
            async move {
                note(&seen, "Spin");
                let until = Instant::now() + Duration::from_micros(300);
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
                Ok(Response::new(request.into_inner()))
            }
        })
        .unary("Quick", BytesCodec, move |request: Request<Bytes>| {
            note(&for_quick, "Quick");
            async move { Ok(Response::new(request.into_inner())) }
        })
}

fn run(workers: usize, placement: Placement, method: &'static str, calls: usize) -> Seen {
    let seen = Seen::default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = Server::builder().add_service(service(&seen).placed(placement)).in_process();
        let client = Grpc::new(channel);
        let path = MethodPath::new(&format!("/test.Place/{method}")).unwrap();
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (client, path) = (client.clone(), path.clone());
                tokio::spawn(async move {
                    for _ in 0..calls / 64 {
                        let request = Request::new(Bytes::from_static(b"x"));
                        client.unary(request, path.clone(), BytesCodec).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    seen
}

/// 64 calls of 300 microseconds in flight on one connection: no connection task could do them on two workers, handlers as
/// tasks do.
#[test]
fn slow_handlers_of_one_connection_run_on_both_workers() {
    let seen = run(2, Placement::Auto, "Spin", 640);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.values().sum::<u32>(), 640);
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen.values().all(|calls| *calls >= 20), "{seen:?}");
}

/// What the owner of a method says is done, and every call is answered either way.
#[test]
fn placements_answer_every_call() {
    for placement in [Placement::Inline, Placement::Spawn, Placement::Auto] {
        let seen = run(2, placement, "Quick", 6400);
        assert_eq!(seen.lock().unwrap().values().sum::<u32>(), 6400, "{placement:?}");
    }
}
