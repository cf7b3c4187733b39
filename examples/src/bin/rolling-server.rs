//! A server that replaces itself without losing a call: `cargo run -p clearway-examples --bin rolling-server`.
//!
//! SIGHUP starts the program anew, with the listening socket (docs/rolling-restart.md); SIGTERM ends it.

use std::process::Command;
use std::time::Duration;

use clearway::transport::{Handover, Listener, Server, notify_ready};
use clearway::{Request, Response, Status};
use clearway_examples::hello::greeter_server::{Greeter, GreeterServer};
use clearway_examples::hello::{HelloReply, HelloRequest};
use tokio::signal::unix::{SignalKind, signal};

struct Hello;

impl Greeter for Hello {
    async fn say_hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let message = format!("Hello {} from {}", request.into_inner().name, std::process::id());
        Ok(Response::new(HelloReply { message }))
    }
}

/// Ready on SIGTERM, and on SIGHUP once a successor serves. One that fails changes nothing.
fn replaced(socket: Handover) -> std::io::Result<impl Future<Output = ()>> {
    let (mut hangup, mut end) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
    // Found out now: when another version is put in its place, this one's path is lost.
    let program = std::env::current_exe()?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = end.recv() => return,
                _ = hangup.recv() => {
                    let mut successor = Command::new(&program);
                    successor.args(std::env::args_os().skip(1));
                    match socket.start(successor, Duration::from_secs(10)).await {
                        Ok(_) => return,
                        Err(error) => eprintln!("still serving: {error}"),
                    }
                }
            }
        }
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:50051".to_owned());
    let mut listener = match Listener::inherited()?.pop() {
        Some(inherited) => inherited,
        None => Listener::bind(&address.parse()?).await?,
    };
    let replaced = replaced(listener.share()?)?;
    let server = Server::builder().shutdown_grace(Duration::from_secs(20));
    notify_ready()?;
    let router = server.add_service(GreeterServer::new(Hello));
    router.serve_with_listener(listener, replaced).await?;
    Ok(())
}
