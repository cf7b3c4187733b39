//! What an upload that its handler never reads costs the other calls on the same connection: the latency of unary calls
//! with it and without it, side by side in one run.
//!
//! ```text
//! cargo bench -p clearway --bench unread_upload
//! ```
//!
//! Client and server share this process and talk over a loopback socket. Rounds alternate, so that whatever else the
//! machine does hits both; each figure is over all rounds. Exits 1 when the two p99s are more than [`ALLOWED`] apart.

use core::time::Duration;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use bytes::Bytes;
use clearway::client::{Grpc, MethodPath};
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{Address, Channel, Endpoint, Listener, Router, Server};
use clearway::{Request, Response, Status, Streaming};
use tokio::sync::mpsc;

/// How far apart the p99s may be.
const ALLOWED: Duration = Duration::from_millis(5);
const ROUNDS: usize = 5;
const CALLS: usize = 1_000;
const UPLOAD: usize = 64 * 1024 * 1024;
const PIECE: usize = 64 * 1024;

const ECHO: MethodPath = MethodPath::from_static("/bench.S/Echo");
const HOLD: MethodPath = MethodPath::from_static("/bench.S/Hold");

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn router(held: mpsc::UnboundedSender<()>) -> Router {
    let service = GenericService::new("bench.S")
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            Ok(Response::new(request.into_inner()))
        })
        .client_streaming("Hold", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            let held = held.clone();
            async move {
                let _unread = request;
                // Whoever waits for it may be gone.
                let _ = held.send(());
                core::future::pending().await
            }
        });
    Server::builder().add_service(service)
}

async fn measure(grpc: &Grpc<Channel>, into: &mut Vec<Duration>) -> Result<(), Status> {
    for _ in 0..CALLS {
        let start = Instant::now();
        grpc.unary(Request::new(Bytes::from_static(&[1; 64])), ECHO, BytesCodec).await?;
        into.push(start.elapsed());
    }
    Ok(())
}

/// The time below which so many thousandths of the calls are.
fn quantile(sorted: &[Duration], thousandths: usize) -> Duration {
    let at = sorted.len().saturating_sub(1).saturating_mul(thousandths) / 1000;
    sorted.get(at).copied().unwrap_or_default()
}

fn print(name: &str, times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    let [p50, p99, most] = [500, 990, 1000].map(|thousandths| quantile(times, thousandths));
    println!("{name:<24} calls {:>6}   p50 {p50:>9.1?}   p99 {p99:>9.1?}   max {most:>9.1?}", times.len());
    p99
}

async fn run() -> Result<bool, Failure> {
    let listener = Listener::bind(&Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))).await?;
    let address = listener.local_addr().ok_or("TCP has an address")?;
    let (held, mut holding) = mpsc::unbounded_channel();
    tokio::spawn(router(held).serve_with_listener(listener, core::future::pending()));
    let grpc = Grpc::new(Endpoint::new(format!("http://{address}"))?.connect().await?);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    // Warm.
    measure(&grpc, &mut Vec::new()).await?;
    for _ in 0..ROUNDS {
        measure(&grpc, &mut alone).await?;
        let upload = tokio::spawn({
            let grpc = grpc.clone();
            let piece = Bytes::from(vec![0; PIECE]);
            let pieces = tokio_stream::iter((0..UPLOAD / PIECE).map(move |_| piece.clone()));
            async move { grpc.client_streaming(Request::new(pieces), HOLD, BytesCodec).await }
        });
        holding.recv().await.ok_or("the server is gone")?;
        measure(&grpc, &mut beside).await?;
        if upload.is_finished() {
            return Err("the upload is not stuck: nothing was measured".into());
        }
        upload.abort();
    }
    let without = print("without the upload", &mut alone);
    let with = print("beside an unread upload", &mut beside);
    let apart = with.saturating_sub(without);
    println!("p99 grows by {apart:.1?}; allowed: {ALLOWED:?}");
    Ok(apart <= ALLOWED)
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("unread_upload: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("unread_upload: {error}");
            ExitCode::FAILURE
        }
    }
}
