//! The server's side: handlers that do what the plan of their call says, and check what they are sent.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use clearway::codec::BytesCodec;
#[cfg(feature = "gzip")]
use clearway::codec::CompressionEncoding;
use clearway::codegen::Stream;
use clearway::server::GenericService;
use clearway::transport::{Router, Server};
use clearway::{Code, Request, Response, Status, Streaming};
use clearway_http2::{Config, Instant, Observer, Trace};
use clearway_testkit::Random;
use tokio::sync::mpsc;

use crate::plan::{From, Plan, Style};
use crate::record::{Happened, World};

/// Messages from a task.
pub(crate) struct Messages<T>(pub(crate) mpsc::Receiver<T>);

impl<T> Stream for Messages<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(cx)
    }
}

/// A handler that runs; counted until it is dropped.
struct Running {
    world: World,
    plan: Plan,
    /// Where it counts against the limit of handlers.
    connection: Option<usize>,
}

/// What the handlers of one connection have in common.
#[derive(Clone)]
struct Place {
    world: World,
    connection: usize,
    /// How many may run at once.
    limit: usize,
}

impl Running {
    /// Of those whose whole work is done by the handler itself no more may run than streams are allowed.
    fn begin_counted(place: &Place, metadata: &clearway::metadata::MetadataMap) -> Self {
        let mut running = Self::begin(&place.world, metadata);
        running.connection = Some(place.connection);
        let record = &mut *place.world.record();
        let count = record.handlers.entry(place.connection).or_default();
        *count += 1;
        if *count > place.limit {
            let text = format!("{count} handlers run on a connection of {} streams", place.limit);
            record.faults.push(text);
        }
        running
    }

    fn begin(world: &World, metadata: &clearway::metadata::MetadataMap) -> Self {
        let call = metadata.get("x-call").and_then(|value| value.to_str().ok()?.parse().ok());
        let call: u32 = call.expect("every call says which it is");
        let mut record = world.record();
        record.running += 1;
        record.note(Happened::Handler { call, what: "begins" });
        record.calls[call as usize].handlers += 1;
        let plan = record.plans[call as usize];
        Self { world: world.clone(), plan, connection: None }
    }

    fn says(&self, code: Code) {
        let mut record = self.world.record();
        record.note(Happened::Handler { call: self.plan.number, what: "is done" });
        record.calls[self.plan.number as usize].said = Some(code);
    }

    /// What the plan ends with.
    fn end(&self) -> Result<(), Status> {
        if self.plan.panics {
            self.says(Code::Unknown);
            // Without the message that a panic prints.
            std::panic::resume_unwind(Box::new("as planned"));
        }
        self.says(self.plan.code);
        if self.plan.code == Code::Ok { Ok(()) } else { Err(Status::new(self.plan.code, "as planned")) }
    }

    async fn wait(&self) {
        if !self.plan.delay.is_zero() {
            tokio::time::sleep(self.plan.delay).await;
        }
    }

    fn check(&self, index: u32, message: &Bytes) {
        if *message != self.plan.message(From::Client, index) {
            self.world.fault(format!("call {}: request {index} is not what was sent", self.plan.number));
        }
    }

    /// Reads up to `most` messages; says how many came in all. The end must come after the last one only.
    async fn read(&self, requests: &mut Streaming<Bytes>, seen: u32, most: u32) -> Result<u32, Status> {
        let mut seen = seen;
        for _ in 0..most {
            match requests.message().await {
                Ok(Some(message)) => {
                    self.check(seen, &message);
                    seen += 1;
                }
                Ok(None) => {
                    if seen != self.plan.requests {
                        let number = self.plan.number;
                        self.world.fault(format!("call {number}: a cut upload looks like its end at {seen}"));
                    }
                    break;
                }
                Err(status) => {
                    self.says(status.code());
                    return Err(status);
                }
            }
        }
        Ok(seen)
    }

    /// Sends what the plan says.
    async fn send(self, mut requests: Option<Streaming<Bytes>>, sender: mpsc::Sender<Result<Bytes, Status>>) {
        let (plan, mut seen) = (self.plan, 0);
        for index in 0..plan.responses {
            if plan.style == Style::Alternates
                && let Some(requests) = &mut requests
            {
                match self.read(requests, seen, 1).await {
                    Ok(now) => seen = now,
                    Err(status) => return drop(sender.send(Err(status)).await),
                }
            }
            if !plan.response_gap.is_zero() {
                tokio::time::sleep(plan.response_gap).await;
            }
            if sender.send(Ok(plan.message(From::Server, index))).await.is_err() {
                return;
            }
            self.world.note(Happened::Sent { call: plan.number, by_client: false, index });
        }
        if plan.style == Style::Alternates
            && let Some(requests) = &mut requests
            && let Err(status) = self.read(requests, seen, u32::MAX).await
        {
            return drop(sender.send(Err(status)).await);
        }
        if let Err(status) = self.end() {
            let _ = sender.send(Err(status)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut record = self.world.record();
        if let Some(count) = self.connection.and_then(|connection| record.handlers.get_mut(&connection)) {
            *count -= 1;
        }
        record.running -= 1;
        record.note(Happened::Handler { call: self.plan.number, what: "is gone" });
    }
}

async fn unary(running: Running, request: Bytes) -> Result<Response<Bytes>, Status> {
    running.check(0, &request);
    running.wait().await;
    running.end()?;
    Ok(Response::new(running.plan.message(From::Server, 0)))
}

async fn upload(running: Running, mut requests: Streaming<Bytes>) -> Result<Response<Bytes>, Status> {
    if running.plan.style != Style::Ignores {
        running.read(&mut requests, 0, u32::MAX).await?;
    }
    running.wait().await;
    running.end()?;
    Ok(Response::new(running.plan.message(From::Server, 0)))
}

async fn many(
    running: Running,
    mut requests: Option<Streaming<Bytes>>,
) -> Result<Response<Messages<Result<Bytes, Status>>>, Status> {
    if running.plan.style == Style::ReadsFirst
        && let Some(requests) = &mut requests
    {
        running.read(requests, 0, u32::MAX).await?;
    }
    running.wait().await;
    let (sender, messages) = mpsc::channel(2);
    let number = running.plan.number;
    if running.plan.panics {
        // What panics here is the handler, and not the task that makes its messages.
        running.end()?;
    }
    tokio::spawn(running.send(requests, sender));
    let mut response = Response::new(Messages(messages));
    response.metadata_mut().insert("x-for", number.to_string().parse().expect("digits"));
    Ok(response)
}

/// An observer that looks away: with it connections go other ways than without.
pub(crate) struct Blind;

impl Observer for Blind {
    fn on_trace(&mut self, _: Instant, _: &Trace<'_>) {}
}

/// A server's knobs.
pub(crate) fn config(random: &mut Random) -> Config {
    Config {
        stream_window_octets: [2_000, 65_536, 65_536][random.below(3)],
        receive_budget_octets: [200_000, 1 << 24, 1 << 24][random.below(3)],
        max_concurrent_streams: [1, 4, 100, 1_000][random.below(4)],
        // The last stream is named before those on their way are in.
        peer_timeout: Duration::from_millis([60, 10_000, 10_000][random.below(3)]),
        ..Config::default()
    }
}

/// The methods, which are the same for calls with a policy and without.
fn service(name: &'static str, place: &Place) -> GenericService {
    let (one, three) = (place.clone(), place.clone());
    let (two, four) = (place.world.clone(), place.world.clone());
    GenericService::new(name)
        .unary("Unary", BytesCodec, move |request: Request<Bytes>| {
            unary(Running::begin_counted(&one, request.metadata()), request.into_inner())
        })
        .server_streaming("Download", BytesCodec, move |request: Request<Bytes>| {
            let running = Running::begin(&two, request.metadata());
            running.check(0, request.get_ref());
            many(running, None)
        })
        .client_streaming("Upload", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            upload(Running::begin_counted(&three, request.metadata()), request.into_inner())
        })
        .bidi_streaming("Chat", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            many(Running::begin(&four, request.metadata()), Some(request.into_inner()))
        })
}

/// A server for one connection.
pub(crate) fn router(world: &World, connection: usize, config: Config, watched: bool, gzip: bool) -> Router {
    let limit = config.max_concurrent_streams as usize;
    let place = Place { world: world.clone(), connection, limit };
    let mut server = Server::builder().http2_config(config);
    #[cfg(feature = "gzip")]
    if gzip {
        server =
            server.accept_compressed(CompressionEncoding::Gzip).send_compressed(CompressionEncoding::Gzip);
    }
    #[cfg(not(feature = "gzip"))]
    let _ = gzip;
    if watched {
        server = server.observe(|_| Box::new(Blind));
    }
    server.add_service(service("sim.Calls", &place)).add_service(service("sim.Retried", &place))
}
