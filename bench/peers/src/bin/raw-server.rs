//! The floor: a TCP server on tokio that moves the octets of a gRPC unary echo without looking at them.
//!
//! Whenever `--request-octets` have come in, it owes `--response-octets`; what one read completes goes out in one write,
//! as a good gRPC server batches. What a gRPC server costs above this is its protocol.

use std::error::Error;
use std::net::Ipv4Addr;

use clearway_peers::Scheduler;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const HELP: &str = "\
Answers every A octets with B octets over bare TCP.

Usage: raw-server --port N --request-octets A --response-octets B
                  [--runtime current_thread|multi_thread] [--workers K]
";

/// As much as the other servers read at a time.
const READ_OCTETS: usize = 64 * 1024;

#[derive(Clone, Copy)]
struct Exchange {
    request: usize,
    response: usize,
}

async fn serve(mut stream: TcpStream, exchange: Exchange) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut scratch = vec![0; READ_OCTETS];
    let answers = vec![0; (READ_OCTETS / exchange.request + 1) * exchange.response];
    let mut pending = 0;
    loop {
        let read = stream.read(&mut scratch).await?;
        if read == 0 {
            return Ok(());
        }
        pending += read;
        let due = pending / exchange.request;
        pending %= exchange.request;
        if due > 0 {
            stream.write_all(&answers[..due * exchange.response]).await?;
        }
    }
}

fn read_flags() -> Result<(u16, Scheduler, Exchange), Box<dyn Error>> {
    use lexopt::prelude::*;

    let (mut port, mut runtime, mut workers) = (None, String::from("current_thread"), None);
    let (mut request, mut response) = (0, 0);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("port") => port = Some(parser.value()?.parse()?),
            Long("runtime") => runtime = parser.value()?.string()?,
            Long("workers") => workers = Some(parser.value()?.parse()?),
            Long("request-octets") => request = parser.value()?.parse()?,
            Long("response-octets") => response = parser.value()?.parse()?,
            _ => return Err(HELP.into()),
        }
    }
    if request == 0 || response == 0 {
        return Err(HELP.into());
    }
    let scheduler = Scheduler::from_flags(&runtime, workers)?;
    Ok((port.ok_or(HELP)?, scheduler, Exchange { request, response }))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (port, scheduler, exchange) = read_flags()?;
    scheduler.build()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        clearway_peers::announce(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            // A connection that breaks is the client's affair.
            tokio::spawn(async move { drop(serve(stream, exchange).await) });
        }
    })
}
