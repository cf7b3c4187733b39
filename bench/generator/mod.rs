//! The load generator for `bench.Echo`: one source, compiled against our client and against tonic's, so that both do the
//! same and differ only in the stack below. The program that includes it names that stack in `stack`.
//!
//! Closed loop: each of `connections x concurrency` callers starts its next call when its last one ended, and checks what
//! came back. Default configuration of either stack; nothing is set on an endpoint or a channel. Left out: open loops.

pub mod flags;
pub mod process;

use std::error::Error;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::stack::bench::echo_client::EchoClient;
use super::stack::bench::{Msg, StreamReq, Work};
use super::stack::{Channel, Endpoint, Request, Streaming};
use flags::{Asked, Method};

type Failure = Box<dyn Error + Send + Sync>;

/// Calls of each caller whose latency is not counted: what the server learns from.
const LEARNING: usize = 100;

/// Runs what the command line asks for.
///
/// # Errors
/// A flag that cannot be read, or the first call that failed.
pub fn main() -> Result<(), Box<dyn Error>> {
    let asked = Asked::read()?;
    asked.scheduler.build()?.block_on(run(asked)).map_err(|failure| failure as Box<dyn Error>)
}

async fn run(asked: Asked) -> Result<(), Failure> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", asked.port))?;
    let mut clients = Vec::new();
    for _ in 0..asked.connections {
        clients.push(EchoClient::new(endpoint.clone().connect().await?));
    }
    match asked.method {
        Method::HoldConnections => hold_connections(asked, clients).await,
        Method::HoldStreams => hold_streams(asked, clients).await,
        _ => measure(asked, &clients).await,
    }
}

async fn measure(asked: Asked, clients: &[EchoClient<Channel>]) -> Result<(), Failure> {
    let _beside = Beside::open(asked, clients).await?;
    let left = Arc::new(AtomicU64::new(asked.requests));
    let (cpu, start) = (process::cpu_time()?, Instant::now());
    let over = Arc::new(AtomicBool::new(false));
    let blocking = (asked.method == Method::BesideBlock).then(|| {
        clients.first().map(|client| tokio::spawn(block_until(over.clone(), client.clone(), asked.micros)))
    });
    let callers: Vec<_> = clients
        .iter()
        .flat_map(|client| (0..asked.concurrency).map(|_| client.clone()))
        .zip(1..)
        .map(|(client, number)| tokio::spawn(Caller::new(asked, left.clone(), client, number).run()))
        .collect();
    let mut latencies = Vec::new();
    for caller in callers {
        latencies.append(&mut caller.await??);
    }
    let (elapsed, cpu) = (start.elapsed(), process::cpu_time()?.saturating_sub(cpu));
    over.store(true, Ordering::Relaxed);
    if let Some(Some(blocking)) = blocking {
        blocking.await??;
    }
    println!(
        "{{\"calls\":{},\"seconds\":{:.6},\"client_cpu_seconds\":{:.6}{}}}",
        asked.requests,
        elapsed.as_secs_f64(),
        cpu.as_secs_f64(),
        percentiles(&mut latencies),
    );
    Ok(())
}

/// Members of a JSON object, or nothing when nothing was timed.
fn percentiles(latencies: &mut [Duration]) -> String {
    latencies.sort_unstable();
    let Some(last) = latencies.len().checked_sub(1) else { return String::new() };
    let mut members = String::new();
    for (name, thousandths) in [("p50", 500), ("p99", 990), ("p999", 999), ("max", 1000)] {
        let at = latencies.get(last * thousandths / 1000).copied().unwrap_or_default();
        members += &format!(",\"{name}_micros\":{:.1}", at.as_secs_f64() * 1e6);
    }
    members
}

/// Calls that are open while others are measured.
struct Beside {
    _quiet: Vec<Open>,
    _unread: Vec<Streaming<Msg>>,
}

impl Beside {
    async fn open(asked: Asked, clients: &[EchoClient<Channel>]) -> Result<Self, Failure> {
        let (mut opening, mut unread) = (Vec::new(), Vec::new());
        for client in clients {
            for first in 0..asked.open_streams.min(100) {
                let client = client.clone();
                opening.push(tokio::spawn(async move {
                    let mut open = Vec::new();
                    for _ in (first..asked.open_streams).step_by(100) {
                        open.push(Open::start(&client, &message(asked.payload)).await?);
                    }
                    Ok::<_, Failure>(open)
                }));
            }
            for _ in 0..asked.unread {
                #[allow(unused_mut, reason = "tonic's calls take &mut self, ours &self")]
                let mut client = client.clone();
                // Never at its end, and soon out of credit.
                let endless = StreamReq { count: u32::MAX, size: 16 * 1024 };
                unread.push(client.server_stream(endless).await?.into_inner());
            }
        }
        let mut quiet = Vec::new();
        for opening in opening {
            quiet.append(&mut opening.await??);
        }
        Ok(Self { _quiet: quiet, _unread: unread })
    }
}

/// Keeps one `Block` call in flight.
async fn block_until(over: Arc<AtomicBool>, client: EchoClient<Channel>, micros: u32) -> Result<(), Failure> {
    #[allow(unused_mut, reason = "tonic's calls take &mut self, ours &self")]
    let mut client = client;
    while !over.load(Ordering::Relaxed) {
        client.block(Work { micros, payload: Vec::new() }).await?;
    }
    Ok(())
}

/// One of the callers. `left` is shared by all, so that they end together.
struct Caller {
    asked: Asked,
    left: Arc<AtomicU64>,
    client: EchoClient<Channel>,
    message: Msg,
    metadata: FreshMetadata,
}

impl Caller {
    fn new(asked: Asked, left: Arc<AtomicU64>, client: EchoClient<Channel>, number: u64) -> Self {
        Self { asked, left, client, message: message(asked.payload), metadata: FreshMetadata(number << 32) }
    }

    fn take_one(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    async fn run(mut self) -> Result<Vec<Duration>, Failure> {
        let mut latencies = Vec::new();
        if self.asked.method == Method::PingPong {
            self.ping_pong().await?;
            return Ok(latencies);
        }
        let mut made = 0;
        while self.take_one() {
            let start = self.asked.latency.then(Instant::now);
            if !self.call().await? {
                return Err("the server sent back something else".into());
            }
            made += 1;
            if let Some(start) = start.filter(|_| made > LEARNING) {
                latencies.push(start.elapsed());
            }
        }
        Ok(latencies)
    }

    fn request<T>(&mut self, message: T) -> Result<Request<T>, Failure> {
        let mut request = Request::new(message);
        if self.asked.fresh_metadata {
            let (traceparent, timeout) = self.metadata.next();
            request.metadata_mut().insert("traceparent", traceparent.parse()?);
            request.set_timeout(timeout);
        }
        Ok(request)
    }

    /// Makes one call and says whether it came back right.
    async fn call(&mut self) -> Result<bool, Failure> {
        let Asked { messages, payload, micros, .. } = self.asked;
        let request = self.request(self.message.clone())?;
        Ok(match self.asked.method {
            Method::Yield => self.client.r#yield(request).await?.into_inner() == self.message,
            Method::Spin => {
                let work = Work { micros, payload: self.message.payload.clone() };
                self.client.spin(work).await?.into_inner() == self.message
            }
            Method::ServerStream => {
                let request = StreamReq { count: messages, size: payload };
                let mut stream = self.client.server_stream(request).await?.into_inner();
                let mut got = 0;
                while let Some(each) = stream.message().await? {
                    got += u32::from(each.payload.len() == self.message.payload.len());
                }
                got == messages
            }
            Method::Bidi => {
                let sent: Vec<_> = (0..messages).map(|_| self.message.clone()).collect();
                let mut stream = self.client.bidi(tokio_stream::iter(sent)).await?.into_inner();
                let mut got = 0;
                while let Some(each) = stream.message().await? {
                    got += u32::from(each == self.message);
                }
                got == messages
            }
            _ => self.client.unary(request).await?.into_inner() == self.message,
        })
    }

    /// Round trips on one call, as long as there are some left.
    async fn ping_pong(&mut self) -> Result<(), Failure> {
        if !self.take_one() {
            return Ok(());
        }
        let mut open = Open::start(&self.client, &self.message).await?;
        while self.take_one() {
            open.round_trip(&self.message).await?;
        }
        Ok(())
    }
}

/// A `Bidi` call with a round trip behind it.
struct Open {
    send: mpsc::Sender<Msg>,
    answers: Streaming<Msg>,
}

impl Open {
    async fn start(client: &EchoClient<Channel>, message: &Msg) -> Result<Self, Failure> {
        #[allow(unused_mut, reason = "tonic's calls take &mut self, ours &self")]
        let mut client = client.clone();
        let (send, requests) = mpsc::channel(1);
        send.send(message.clone()).await?;
        let answers = client.bidi(ReceiverStream::new(requests)).await?.into_inner();
        let mut open = Self { send, answers };
        open.answer(message).await?;
        Ok(open)
    }

    async fn round_trip(&mut self, message: &Msg) -> Result<(), Failure> {
        self.send.send(message.clone()).await?;
        self.answer(message).await
    }

    async fn answer(&mut self, message: &Msg) -> Result<(), Failure> {
        match self.answers.message().await? {
            Some(answer) if answer == *message => Ok(()),
            _ => Err("the server sent back something else".into()),
        }
    }
}

/// Metadata as a traced caller with a deadline sends it, never twice alike, and the same on every stack.
struct FreshMetadata(u64);

impl FreshMetadata {
    /// A W3C traceparent (55 octets) and a time limit.
    fn next(&mut self) -> (String, Duration) {
        self.0 += 1;
        // Multiplying by an odd number keeps numbers apart and spreads their bits over all hexadecimal digits.
        let mixed = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let traceparent = format!("00-{mixed:016x}{:016x}-{:016x}-01", mixed.rotate_left(32), !mixed);
        (traceparent, Duration::from_micros(5_000_000 + self.0 % 1_000_000))
    }
}

fn message(payload: u32) -> Msg {
    Msg { payload: (0..payload).map(|index| index.to_le_bytes()[0]).collect() }
}

async fn hold_connections(asked: Asked, clients: Vec<EchoClient<Channel>>) -> Result<(), Failure> {
    let message = message(asked.payload);
    for client in &clients {
        #[allow(unused_mut, reason = "tonic's calls take &mut self, ours &self")]
        let mut client = client.clone();
        client.unary(message.clone()).await?;
    }
    until_stdin_ends().await
}

async fn hold_streams(asked: Asked, clients: Vec<EchoClient<Channel>>) -> Result<(), Failure> {
    let message = message(asked.payload);
    let mut open = Vec::new();
    for client in &clients {
        for _ in 0..asked.concurrency {
            open.push(Open::start(client, &message).await?);
        }
    }
    until_stdin_ends().await
}

async fn until_stdin_ends() -> Result<(), Failure> {
    println!("ready");
    std::io::stdout().flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}
