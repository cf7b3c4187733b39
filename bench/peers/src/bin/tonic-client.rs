//! A load generator on tonic's client for `bench.Echo`: the client that ours is measured against, and a check that a
//! server sends back what it got.
//!
//! Closed loop: each of `connections x concurrency` callers starts its next call when the last one ended. Prints one
//! line of JSON. Left out: rates, histograms and open loops.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clearway_peers::bench::echo_client::EchoClient;
use clearway_peers::bench::{Msg, StreamReq};
use clearway_peers::{Scheduler, cpu_time};
use tonic::transport::{Channel, Endpoint};

const HELP: &str = "\
Calls bench.Echo with tonic's client and prints one line of JSON.

Usage: tonic-client --port N [--method unary|server-stream|bidi] [--requests N] [--payload OCTETS]
                    [--connections C] [--concurrency S] [--messages M]
                    [--runtime current_thread|multi_thread] [--workers K]

  --requests     calls in all (1000)
  --payload      octets in each message (20)
  --concurrency  calls at a time on each connection (1)
  --messages     messages in each streaming call (100)
Exits 1 when a call fails or comes back changed.
";

#[derive(Clone, Copy)]
enum Method {
    Unary,
    ServerStream,
    Bidi,
}

struct Asked {
    port: u16,
    scheduler: Scheduler,
    method: Method,
    requests: u64,
    payload: u32,
    connections: u32,
    concurrency: u32,
    messages: u32,
}

fn read_flags() -> Result<Asked, Box<dyn Error>> {
    use lexopt::prelude::*;

    let (mut port, mut runtime, mut workers) = (None, String::from("multi_thread"), None);
    let (mut method, mut requests, mut payload) = (Method::Unary, 1000, 20);
    let (mut connections, mut concurrency, mut messages) = (1, 1, 100);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("port") => port = Some(parser.value()?.parse()?),
            Long("runtime") => runtime = parser.value()?.string()?,
            Long("workers") => workers = Some(parser.value()?.parse()?),
            Long("requests") => requests = parser.value()?.parse()?,
            Long("payload") => payload = parser.value()?.parse()?,
            Long("connections") => connections = parser.value()?.parse()?,
            Long("concurrency") => concurrency = parser.value()?.parse()?,
            Long("messages") => messages = parser.value()?.parse()?,
            Long("method") => {
                method = match parser.value()?.string()?.as_str() {
                    "unary" => Method::Unary,
                    "server-stream" => Method::ServerStream,
                    "bidi" => Method::Bidi,
                    _ => return Err(HELP.into()),
                }
            }
            _ => return Err(HELP.into()),
        }
    }
    let scheduler = Scheduler::from_flags(&runtime, workers)?;
    let port = port.ok_or(HELP)?;
    Ok(Asked { port, scheduler, method, requests, payload, connections, concurrency, messages })
}

fn main() -> Result<(), Box<dyn Error>> {
    let asked = read_flags()?;
    asked.scheduler.build()?.block_on(run(&asked))
}

async fn run(asked: &Asked) -> Result<(), Box<dyn Error>> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", asked.port))?;
    let mut channels = Vec::new();
    for _ in 0..asked.connections {
        channels.push(endpoint.connect().await?);
    }
    let left = Arc::new(AtomicU64::new(asked.requests));
    let (cpu, start) = (cpu_time()?, Instant::now());
    let callers: Vec<_> = channels
        .iter()
        .flat_map(|channel| (0..asked.concurrency).map(|_| channel.clone()))
        .map(|channel| {
            tokio::spawn(call_until_none_left(
                channel,
                left.clone(),
                asked.method,
                asked.payload,
                asked.messages,
            ))
        })
        .collect();
    for caller in callers {
        caller.await?.map_err(|error| error as Box<dyn Error>)?;
    }
    let (elapsed, cpu) = (start.elapsed(), cpu_time()? - cpu);
    print_result(asked, elapsed, cpu);
    Ok(())
}

/// One caller. `left` is shared by all, so that they end together.
async fn call_until_none_left(
    channel: Channel,
    left: Arc<AtomicU64>,
    method: Method,
    payload: u32,
    messages: u32,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut client = EchoClient::new(channel);
    let message = Msg { payload: (0..payload).map(|index| index.to_le_bytes()[0]).collect() };
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let right = match method {
            Method::Unary => client.unary(message.clone()).await?.into_inner() == message,
            Method::ServerStream => {
                let request = StreamReq { count: messages, size: payload };
                let mut stream = client.server_stream(request).await?.into_inner();
                let mut got = 0;
                while let Some(each) = stream.message().await? {
                    got += u32::from(each.payload.len() == message.payload.len());
                }
                got == messages
            }
            Method::Bidi => {
                let sent: Vec<_> = (0..messages).map(|_| message.clone()).collect();
                let mut stream = client.bidi(tokio_stream::iter(sent)).await?.into_inner();
                let mut got = 0;
                while let Some(each) = stream.message().await? {
                    got += u32::from(each == message);
                }
                got == messages
            }
        };
        if !right {
            return Err("the server sent back something else".into());
        }
    }
    Ok(())
}

fn print_result(asked: &Asked, elapsed: Duration, cpu: Duration) {
    println!(
        "{{\"calls\":{},\"seconds\":{:.6},\"client_cpu_seconds\":{:.6},\"payload_octets\":{},\"connections\":{},\"concurrency\":{}}}",
        asked.requests,
        elapsed.as_secs_f64(),
        cpu.as_secs_f64(),
        asked.payload,
        asked.connections,
        asked.concurrency,
    );
}
