//! The suite `retries`, on our client and on our server: calls whose server fails as they ask it to, and a report of what it
//! saw. The flags, the scripts and the output are those of `interop/retries`, which is the same on grpc-go.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clearway::client::{Grpc, MethodPath};
use clearway::codec::BytesCodec;
use clearway::metadata::{MetadataMap, MetadataValue};
use clearway::server::GenericService;
use clearway::transport::{Endpoint, Server};
use clearway::{Code, Request, Response, Status, Streaming};
use clearway_interop::flags::{self, Asked, Problem};

const HELP: &str = "\
Calls whose server fails as they ask it to, and what it saw of them.

Usage: retries server --port N
       retries client --target H:P [--service_config_json JSON] [--kind unary|upload] [--calls N] [--script S] [--timeout MS]

A script says what the server does with a call, attempt by attempt; its last step repeats:
  ok      answers
  14      fails with code 14, Trailers-Only
  14:50   the same, with grpc-retry-pushback-ms 50
  h14     sends a head, then fails with code 14
The client prints a line for each call: its code, and what the server saw of it.
";

const SERVICE: &str = "clearway.Retries";
const UNARY: MethodPath = MethodPath::from_static("/clearway.Retries/Unary");
const UPLOAD: MethodPath = MethodPath::from_static("/clearway.Retries/Upload");
const REPORT: MethodPath = MethodPath::from_static("/clearway.Retries/Report");
const NAME: &str = "x-call";
const SCRIPT: &str = "x-script";

struct Flags {
    port: u16,
    target: String,
    config: String,
    kind: String,
    script: String,
    calls: u16,
    timeout: u16,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            port: 0,
            target: String::new(),
            config: "{}".into(),
            kind: "unary".into(),
            script: "ok".into(),
            calls: 1,
            timeout: 10_000,
        }
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let mode = args.next().and_then(|mode| mode.into_string().ok()).unwrap_or_default();
    let flags = match read(args) {
        Ok(Asked::Run(flags)) if matches!(mode.as_str(), "server" | "client") => flags,
        Ok(_) => {
            print!("{HELP}");
            return ExitCode::from(if mode == "--help" { 0 } else { 2 });
        }
        Err(problem) => {
            eprintln!("retries: {problem}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("retries: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime
        .block_on(async { if mode == "server" { serve(flags.port).await } else { run(&flags).await } });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("retries: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn read(args: impl IntoIterator<Item = OsString>) -> Result<Asked<Flags>, Problem> {
    flags::read(args, |flags: &mut Flags, name, values| {
        match name {
            "port" => flags.port = values.port()?,
            "target" => flags.target = values.text()?,
            "service_config_json" => flags.config = values.text()?,
            "kind" => flags.kind = values.text()?,
            "script" => flags.script = values.text()?,
            "calls" => flags.calls = values.port()?,
            "timeout" => flags.timeout = values.port()?,
            _ => return Ok(false),
        }
        Ok(true)
    })
}

/// What is known of one call.
struct Call {
    attempts: usize,
    previous: Vec<String>,
    not_before: Instant,
    early: usize,
    first: Vec<u8>,
    different: usize,
}

#[derive(Clone, Default)]
struct Calls(Arc<Mutex<BTreeMap<String, Call>>>);

fn text(metadata: &MetadataMap, key: &str) -> String {
    metadata.get(key).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned()
}

impl Calls {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<String, Call>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is done with an attempt.
    fn step(&self, metadata: &MetadataMap, whole: Vec<u8>) -> String {
        let script = text(metadata, SCRIPT);
        self.with(|calls| {
            let call = calls.entry(text(metadata, NAME)).or_insert_with(|| Call {
                attempts: 0,
                previous: Vec::new(),
                not_before: Instant::now(),
                early: 0,
                first: whole.clone(),
                different: 0,
            });
            let step = script.split(',').take(call.attempts + 1).last().unwrap_or_default().to_owned();
            call.attempts += 1;
            call.previous.push(text(metadata, "grpc-previous-rpc-attempts"));
            call.early += usize::from(Instant::now() < call.not_before);
            call.different += usize::from(whole != call.first);
            if let Some((_, pushback)) = step.split_once(':') {
                let millis = pushback.parse::<u64>().unwrap_or(0).saturating_sub(1);
                call.not_before = Instant::now() + Duration::from_millis(millis);
            }
            step
        })
    }

    fn report(&self, name: &str) -> String {
        self.with(|calls| {
            calls.get(name).map_or_else(
                || "attempts=0 previous= early=0 different=0".to_owned(),
                |Call { attempts, previous, early, different, .. }| {
                    let previous = previous.join("/");
                    format!("attempts={attempts} previous={previous} early={early} different={different}")
                },
            )
        })
    }
}

/// Fails as a step says.
fn failure(step: &str) -> Option<Status> {
    let (code, pushback) = match step.split_once(':') {
        Some((code, pushback)) => (code, Some(pushback)),
        None => (step, None),
    };
    let code = code.trim_start_matches('h').parse().ok()?;
    let mut status = Status::new(Code::from_i32(code), "as asked");
    if let Some(pushback) = pushback {
        status.set_retry_pushback(pushback.parse().ok().map(Duration::from_millis));
    }
    Some(status)
}

/// What a call brings in the end. A head before a failure needs a stream of responses, of which this is the only one.
type Answers = tokio_stream::Once<Result<Bytes, Status>>;

fn answer(step: &str) -> Result<Response<Answers>, Status> {
    match failure(step) {
        None => Ok(Response::new(tokio_stream::once(Ok(Bytes::from_static(b"done"))))),
        Some(status) if step.starts_with('h') => Ok(Response::new(tokio_stream::once(Err(status)))),
        Some(status) => Err(status),
    }
}

async fn serve(port: u16) -> Result<(), Problem> {
    let reports = Calls::default();
    let (unary, uploads) = (reports.clone(), reports.clone());
    let service = GenericService::new(SERVICE)
        .server_streaming("Unary", BytesCodec, move |request: Request<Bytes>| {
            let step = unary.step(request.metadata(), request.get_ref().to_vec());
            async move { answer(&step) }
        })
        .bidi_streaming("Upload", BytesCodec, move |request: Request<Streaming<Bytes>>| {
            let calls = uploads.clone();
            async move {
                let (metadata, _, mut messages) = request.into_parts();
                let mut whole = Vec::new();
                while let Some(message) = messages.message().await? {
                    whole.extend_from_slice(&message);
                    whole.push(b'|');
                }
                answer(&calls.step(&metadata, whole))
            }
        })
        .unary("Report", BytesCodec, move |request: Request<Bytes>| {
            let report = reports.report(&text(request.metadata(), NAME));
            async move { Ok(Response::new(Bytes::from(report))) }
        });
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    Server::builder().add_service(service).serve(address).await.map_err(|error| error.to_string())
}

fn named(request: &mut MetadataMap, key: &'static str, value: &str) -> Result<(), Problem> {
    let value: MetadataValue<_> = value.parse().map_err(|_| format!("{value:?} is not visible ASCII"))?;
    request.insert(key, value);
    Ok(())
}

async fn run(flags: &Flags) -> Result<(), Problem> {
    let endpoint = Endpoint::new(format!("http://{}", flags.target)).map_err(|error| error.to_string())?;
    let endpoint = endpoint.service_config(flags.config.as_str()).map_err(|error| error.to_string())?;
    let grpc = Grpc::new(endpoint.connect_lazy());
    for n in 0..flags.calls {
        let name = format!("clearway-{}-{n}", std::process::id());
        let mut metadata = MetadataMap::new();
        named(&mut metadata, NAME, &name)?;
        named(&mut metadata, SCRIPT, &flags.script)?;
        let timeout = Duration::from_millis(flags.timeout.into());
        let outcome = if flags.kind == "unary" {
            let mut request = Request::new(Bytes::from_static(b"message"));
            *request.metadata_mut() = metadata;
            request.set_timeout(timeout);
            grpc.unary(request, UNARY, BytesCodec).await
        } else {
            let parts = tokio_stream::iter(["a", "bb", "ccc"].map(Bytes::from));
            let mut request = Request::new(parts);
            *request.metadata_mut() = metadata;
            request.set_timeout(timeout);
            grpc.client_streaming(request, UPLOAD, BytesCodec).await
        };
        let code = outcome.err().map_or(Code::Ok, |status| status.code());
        let mut question = Request::new(Bytes::new());
        named(question.metadata_mut(), NAME, &name)?;
        let report = grpc.unary(question, REPORT, BytesCodec).await.map_err(|status| status.to_string())?;
        let report = String::from_utf8_lossy(report.get_ref()).into_owned();
        writeln!(std::io::stdout(), "code={} {report}", code as i32).map_err(|error| error.to_string())?;
    }
    Ok(())
}
