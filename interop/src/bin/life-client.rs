//! Calls one after the other from many tasks over one channel, until standard input ends: what a server that is replaced, or whose
//! connections are short-lived, must answer without one failure.
//!
//! Half of the tasks make unary calls, the others streams of some messages each way.

use std::io::Read as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use clearway::transport::{Channel, Endpoint};
use clearway::{Request, Status};
use clearway_interop::flags::{self, Asked};
use clearway_interop::testing::test_service_client::TestServiceClient;
use clearway_interop::testing::{Empty, StreamingOutputCallRequest};
use tokio::task::JoinSet;

const HELP: &str = "\
Calls grpc.testing.TestService until standard input ends, and counts failures.

Usage: life-client --server_port N

  --server_port N  the server is at 127.0.0.1:N
  --help           print this

Prints `N calls, M failed` and the first failures; exits 1 if there are any.
";
const TASKS: usize = 16;
/// Messages of a stream, and what lies between them.
const MESSAGES: u32 = 10;
const GAP: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Flags {
    port: Option<u16>,
}

/// What came of the calls.
#[derive(Default)]
struct Score {
    stop: AtomicBool,
    calls: AtomicU64,
    failed: AtomicU64,
}

impl Score {
    fn count(&self, outcome: Result<(), Status>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(status) = outcome
            && self.failed.fetch_add(1, Ordering::Relaxed) < 10
        {
            println!("failed: {status}");
        }
    }
}

fn main() -> ExitCode {
    let asked = flags::read(std::env::args_os().skip(1), |flags: &mut Flags, name, values| {
        if name == "server_port" {
            flags.port = Some(values.port()?);
        }
        Ok(name == "server_port")
    });
    let port = match asked {
        Ok(Asked::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Run(Flags { port: Some(port) })) => port,
        _ => {
            eprintln!("life-client: --server_port is missing; see --help");
            return ExitCode::from(2);
        }
    };
    let score = Arc::new(Score::default());
    let stopped = Arc::clone(&score);
    std::thread::spawn(move || {
        // Whatever ends it: there is nothing to read.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stopped.stop.store(true, Ordering::Relaxed);
    });
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime.block_on(call(port, &score)),
        Err(error) => println!("failed: no runtime: {error}"),
    }
    let (calls, failed) = (score.calls.load(Ordering::Relaxed), score.failed.load(Ordering::Relaxed));
    println!("{calls} calls, {failed} failed");
    if failed == 0 && calls > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn call(port: u16, score: &Arc<Score>) {
    let channel = match Endpoint::new(format!("http://127.0.0.1:{port}")) {
        Ok(endpoint) => endpoint.connect_lazy(),
        Err(error) => return println!("failed: {error}"),
    };
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (client, score) = (TestServiceClient::new(channel.clone()), Arc::clone(score));
        tasks.spawn(async move {
            while !score.stop.load(Ordering::Relaxed) {
                let outcome = if task % 2 == 0 { unary(&client).await } else { chat(&client).await };
                score.count(outcome);
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

async fn unary(client: &TestServiceClient<Channel>) -> Result<(), Status> {
    client.empty_call(Empty::default()).await?;
    tokio::time::sleep(Duration::from_millis(1)).await;
    Ok(())
}

async fn chat(client: &TestServiceClient<Channel>) -> Result<(), Status> {
    let messages = tokio_stream::iter(0..MESSAGES);
    let messages = tokio_stream::StreamExt::then(messages, |_| async {
        tokio::time::sleep(GAP).await;
        StreamingOutputCallRequest { response_parameters: vec![<_>::default()], ..<_>::default() }
    });
    let mut answers = client.full_duplex_call(Request::new(Box::pin(messages))).await?.into_inner();
    let mut count = 0;
    while answers.message().await?.is_some() {
        count += 1;
    }
    if count == MESSAGES { Ok(()) } else { Err(Status::data_loss(format!("{count} answers to {MESSAGES}"))) }
}
