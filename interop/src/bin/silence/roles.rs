//! Our client and our server as a scene needs them: this program itself, run again with a role. Everything that is not told is a
//! default.
//!
//! `serve`: a server that says how each connection ended and how many PINGs came in all. `hold`: a client with calls, one after
//! another, on which nobody says anything. `calls`: a client with calls and pauses between them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clearway::Request;
use clearway::observe::{Direction, Flags, Kind, Observer, Trace};
use clearway::transport::{Address, Channel, Endpoint, Listener, Server};
use clearway_interop::service::Interop;
use clearway_interop::testing::test_service_client::TestServiceClient;
use clearway_interop::testing::test_service_server::TestServiceServer;
use clearway_interop::testing::{ResponseParameters, SimpleRequest, StreamingOutputCallRequest};
use tokio_stream::StreamExt as _;

type Failure = Box<dyn std::error::Error>;

/// What a role was told, by name: texts, and seconds.
pub(crate) struct Told(HashMap<String, String>);

impl Told {
    /// Reads `name=value` words.
    pub(crate) fn read(words: impl IntoIterator<Item = String>) -> Self {
        let pair =
            |word: String| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self(words.into_iter().filter_map(pair).collect())
    }

    fn text(&self, name: &str) -> Result<&str, String> {
        self.0.get(name).map(String::as_str).ok_or(format!("{name} is missing"))
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.parse().ok()
    }

    fn seconds(&self, name: &str) -> Option<Duration> {
        self.number(name).map(Duration::from_secs_f64)
    }
}

/// Plays a role to its end.
pub(crate) fn play(role: &str, told: &Told) -> Result<(), Failure> {
    // What is said to the log is one of the lines.
    tracing_subscriber::fmt().with_writer(std::io::stdout).with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match role {
            "serve" => serve(told).await,
            "hold" => hold(told).await,
            "calls" => calls(told).await,
            other => Err(format!("there is no role {other}").into()),
        }
    })
}

/// Counts PINGs that are no answers, and connections.
#[derive(Default)]
struct Counted {
    pings: AtomicU64,
    connections: AtomicU64,
}

struct Count(Arc<Counted>, Direction);

impl Observer for Count {
    fn on_trace(&mut self, _: clearway::observe::Instant, trace: &Trace<'_>) {
        if let Trace::Frame { direction, header, .. } = trace
            && *direction == self.1
            && header.kind == Kind::PING
            && !header.flags.contains(Flags::ACK)
        {
            self.0.pings.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn serve(told: &Told) -> Result<(), Failure> {
    let counted = Arc::<Counted>::default();
    let (seen, total) = (Arc::clone(&counted), counted);
    let mut server = Server::builder()
        .observe(move |_| Box::new(Count(Arc::clone(&seen), Direction::Received)))
        .on_connection_end(move |closed| {
            println!("ended after {} PINGs: {closed}", total.pings.load(Ordering::Relaxed));
        });
    if let Some(interval) = told.seconds("interval") {
        server = server.http2_keepalive_interval(Some(interval));
    }
    server = server.http2_keepalive_timeout(told.seconds("timeout"));
    if let Some(idle) = told.seconds("tcp_keepalive") {
        server = server.tcp_keepalive(Some(idle)).tcp_keepalive_interval(Some(Duration::from_secs(1)));
    }
    if let Some(timeout) = told.seconds("tcp_user_timeout") {
        server = server.tcp_user_timeout(Some(timeout));
    }
    if let Some(interval) = told.seconds("min_ping_interval") {
        server = server.min_ping_interval(interval);
    }
    let listener = Listener::bind(&Address::Tcp(told.text("listen")?.parse()?)).await?;
    let address = listener.local_addr().ok_or("no address")?;
    println!("listening on {address}");
    let router = server.add_service(TestServiceServer::new(Interop::default()));
    Ok(router.serve_with_listener(listener, std::future::pending()).await?)
}

/// The client of a role, which counts.
fn client(told: &Told) -> Result<(TestServiceClient<Channel>, Arc<Counted>), Failure> {
    let counted = Arc::<Counted>::default();
    let seen = Arc::clone(&counted);
    let mut endpoint = Endpoint::new(format!("http://{}", told.text("to")?))?.observe(move |_| {
        seen.connections.fetch_add(1, Ordering::Relaxed);
        Box::new(Count(Arc::clone(&seen), Direction::Sent))
    });
    if let Some(interval) = told.seconds("interval") {
        endpoint = endpoint.http2_keep_alive_interval(interval);
    }
    if let Some(timeout) = told.seconds("timeout") {
        endpoint = endpoint.keep_alive_timeout(timeout);
    }
    if let Some(silence) = told.seconds("silence") {
        endpoint = endpoint.probe_after_silence(Some(silence));
    }
    Ok((TestServiceClient::new(endpoint.connect_lazy()), counted))
}

async fn hold(told: &Told) -> Result<(), Failure> {
    let (client, _) = client(told)?;
    loop {
        // Some servers say nothing before they have something to say.
        let ask = StreamingOutputCallRequest {
            response_parameters: vec![ResponseParameters { size: 1, ..ResponseParameters::default() }],
            ..StreamingOutputCallRequest::default()
        };
        let requests = tokio_stream::once(ask).chain(tokio_stream::pending());
        let mut answers = client.full_duplex_call(Request::new(requests)).await?.into_inner();
        answers.message().await?.ok_or("no answer")?;
        println!("open");
        let began = Instant::now();
        match answers.message().await {
            Ok(_) => println!("ended by the server"),
            Err(status) => println!("lost after {:.2} s: {status}", began.elapsed().as_secs_f64()),
        }
    }
}

async fn calls(told: &Told) -> Result<(), Failure> {
    let (client, counted) = client(told)?;
    let pause = told.seconds("pause").ok_or("pause is missing")?;
    let mut n = 0u32;
    while told.number("count").is_some_and(|count| f64::from(n) < count) {
        let began = Instant::now();
        let how = match client.unary_call(Request::new(SimpleRequest::default())).await {
            Ok(_) => "ok".to_owned(),
            Err(status) => status.to_string(),
        };
        println!("call {n} after {:.3} s: {how}", began.elapsed().as_secs_f64());
        n = n.saturating_add(1);
        tokio::time::sleep(pause).await;
    }
    let (pings, connections) = (&counted.pings, &counted.connections);
    let (pings, connections) = (pings.load(Ordering::Relaxed), connections.load(Ordering::Relaxed));
    println!("done: {pings} PINGs, {connections} connections");
    Ok(())
}
