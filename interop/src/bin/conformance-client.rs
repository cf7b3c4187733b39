//! The client under test of connectconformance: gRPC over HTTP/2, with and without TLS.
//!
//! Each `ClientCompatRequest` on stdin is one call to make, and each `ClientCompatResponse` on stdout what became of one, in the
//! order in which calls end. It exits when stdin has ended and all calls have. Generated code, the public API and the library's
//! defaults.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use clearway_interop::conformance::call::{Channels, make};
use clearway_interop::conformance::delimited;
use clearway_interop::conformance::proto::ClientCompatRequest;
use tokio::sync::{Semaphore, mpsc};

const HELP: &str = "\
The client under test of connectconformance: gRPC over HTTP/2, with and without TLS.

Usage: connectconformance --conf FILE --mode client -- conformance-client

Reads ClientCompatRequests from stdin, makes a call for each, and writes a ClientCompatResponse to stdout for each, all with four
octets of length before them. Exits when stdin has ended and all calls have; 1 when it cannot.
";

/// Calls that are made at once: enough to be quick, few enough for the suite's timeouts to mean something on a small machine.
const AT_ONCE: usize = 8;

fn main() -> ExitCode {
    if let Some(argument) = std::env::args().nth(1) {
        print!("{HELP}");
        return if argument == "--help" { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance-client: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> io::Result<()> {
    let (tell, mut told) = mpsc::unbounded_channel();
    let writing = tokio::spawn(async move {
        let mut output = tokio::io::stdout();
        while let Some(response) = told.recv().await {
            delimited::write(&mut output, &response).await?;
        }
        Ok(())
    });
    let mut input = tokio::io::stdin();
    let mut channels = Channels::default();
    let room = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(request) = delimited::read::<ClientCompatRequest>(&mut input).await? {
        let place = Arc::clone(&room).acquire_owned().await.map_err(io::Error::other)?;
        let (client, tell) = (channels.client(&request), tell.clone());
        tokio::spawn(async move {
            // Without a writer nobody hears of it, and that ends the program.
            let _ = tell.send(make(client, request).await);
            drop(place);
        });
    }
    drop(tell);
    writing.await.map_err(io::Error::other)?
}
