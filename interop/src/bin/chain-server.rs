//! A server in the middle of a chain: its handlers call another server, so that deadlines, cancellation and typed errors can be
//! followed from a client of another stack, through ours, to a server of another stack. `interop/python/calls.py` is both ends.
//!
//! Messages are plain text; both servers have the same methods of `chain.Chain`.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use clearway::client::{Grpc, MethodPath};
use clearway::codec::BytesCodec;
use clearway::error_details::ErrorDetails;
use clearway::server::{GenericService, OnCancel};
use clearway::transport::{Address, Channel, Endpoint, Listener, Server};
use clearway::{Request, Response, Status};
use clearway_interop::flags::{self, Asked, Problem, Values};
use core::time::Duration;

const HELP: &str = "\
A server whose handlers call another one (chain.Chain; see interop/python/calls.py).

Usage: chain-server --port N --next HOST:PORT

  --port N          listen on 127.0.0.1:N; 0 takes any free port
  --next HOST:PORT  the next server of the chain
  --help            print this
";

#[derive(Debug, Default)]
struct Flags {
    port: u16,
    next: String,
}

fn set(flags: &mut Flags, name: &str, values: &mut Values) -> Result<bool, Problem> {
    match name {
        "port" => flags.port = values.port()?,
        "next" => flags.next = values.text()?,
        _ => return Ok(false),
    }
    Ok(true)
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = match flags::read(std::env::args_os().skip(1), set) {
        Ok(Asked::Run(flags)) => flags,
        Ok(Asked::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("chain-server: {problem}");
            return ExitCode::from(2);
        }
    };
    match serve(&flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chain-server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(flags: &Flags) -> Result<(), Box<dyn std::error::Error>> {
    let next = Next(Grpc::new(Endpoint::new(format!("http://{}", flags.next))?.connect_lazy()));
    let listener = Listener::bind(&Address::Tcp(([127, 0, 0, 1], flags.port).into())).await?;
    if let Some(address) = listener.local_addr() {
        clearway_interop::announce(address);
    }
    let router = Server::builder().add_service(chain(next));
    Ok(router.serve_with_listener(listener, core::future::pending()).await?)
}

/// The next server.
#[derive(Clone)]
struct Next(Grpc<Channel>);

impl Next {
    async fn call(&self, method: &'static str, message: Bytes) -> Result<Bytes, Status> {
        let path = MethodPath::from_static(method);
        Ok(self.0.unary(Request::new(message), path, BytesCodec).await?.into_inner())
    }
}

/// How the calls that waited have ended.
type Ends = Arc<Mutex<Vec<String>>>;

fn chain(next: Next) -> GenericService {
    let ends = Ends::default();
    let (ask, follow, relay, told) = (next.clone(), next.clone(), next, Arc::clone(&ends));
    GenericService::new("chain.Chain")
        // Milliseconds left here, and what the next server says of itself.
        .unary("Ask", BytesCodec, move |request: Request<Bytes>| {
            let next = ask.clone();
            async move {
                let left = request.remaining().map_or(-1, millis);
                tokio::time::sleep(Duration::from_millis(20)).await;
                let theirs = next.call("/chain.Chain/Ask", Bytes::new()).await?;
                Ok(Response::new(Bytes::from(format!("{left} {}", String::from_utf8_lossy(&theirs)))))
            }
        })
        // Waits at the next server, which notes how that ends.
        .unary("Follow", BytesCodec, move |request: Request<Bytes>| {
            let next = follow.clone();
            async move { Ok(Response::new(next.call("/chain.Chain/Wait", request.into_inner()).await?)) }
        })
        // The status of the next server's Fail, taken apart and put together again.
        .unary("Relay", BytesCodec, move |request: Request<Bytes>| {
            let next = relay.clone();
            async move {
                let status = match next.call("/chain.Chain/Fail", request.into_inner()).await {
                    Ok(_) => return Err(Status::internal("it went well")),
                    Err(status) => status,
                };
                let details =
                    status.check_error_details().map_err(|why| Status::internal(why.to_string()))?;
                Err::<Response<Bytes>, _>(Status::with_error_details(
                    status.code(),
                    status.message(),
                    details,
                ))
            }
        })
        .unary("Fail", BytesCodec, |_: Request<Bytes>| async { Err::<Response<Bytes>, _>(rich()) })
        .unary("Ends", BytesCodec, move |_: Request<Bytes>| {
            let lines = told.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
            async move { Ok(Response::new(Bytes::from(lines))) }
        })
        .when_cancelled(OnCancel::Token)
        .unary("Wait", BytesCodec, move |request: Request<Bytes>| {
            let ends = Arc::clone(&ends);
            async move {
                request.cancelled().await;
                let late = request.remaining().is_some_and(|left| left < Duration::from_millis(2));
                let line = format!(
                    "{} {}",
                    String::from_utf8_lossy(request.get_ref()),
                    if late { "late" } else { "cancelled" }
                );
                ends.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                Err::<Response<Bytes>, _>(Status::cancelled("nobody waits"))
            }
        })
}

fn millis(left: Duration) -> i64 {
    i64::try_from(left.as_millis()).unwrap_or(i64::MAX)
}

/// A status with every standard detail.
fn rich() -> Status {
    let mut details = ErrorDetails::new();
    details
        .set_error_info("STOCKOUT", "shop.example", [("item".to_owned(), "7".to_owned())])
        .set_retry_info(Some(Duration::from_millis(1500)))
        .set_debug_info(["here".to_owned(), "there".to_owned()], "it fell")
        .add_quota_failure_violation("project:1", "used up")
        .add_precondition_failure_violation("TOS", "shop.example", "agree first")
        .add_bad_request_violation("name", "is empty")
        .set_request_info("42", "shard 3")
        .set_resource_info("book", "books/1", "somebody", "is lent")
        .add_help_link("how to order", "https://shop.example/order")
        .set_localized_message("de-CH", "Ausverkauft");
    Status::with_error_details(clearway::Code::ResourceExhausted, "sold out: \u{fc}berall", details)
}
