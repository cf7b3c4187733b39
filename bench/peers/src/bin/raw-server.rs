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
       raw-server --port N --download-octets D [...]

With --download-octets it reads a count (four octets, big-endian) and writes so many blocks of D octets, one after another.
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

/// The floor of a server stream: one write for each message, and as many as were asked for.
async fn download(mut stream: TcpStream, octets: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let count = stream.read_u32().await?;
        for _ in 0..count {
            // Made anew each time, as a service makes its messages.
            stream.write_all(&vec![0; octets]).await?;
        }
    }
}

/// What a connection is for.
#[derive(Clone, Copy)]
enum Work {
    Exchange(Exchange),
    Download(usize),
}

fn read_flags() -> Result<(u16, Scheduler, Work), Box<dyn Error>> {
    use lexopt::prelude::*;

    let (mut port, mut runtime, mut workers) = (None, String::from("current_thread"), None);
    let (mut request, mut response, mut download) = (0, 0, 0);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("port") => port = Some(parser.value()?.parse()?),
            Long("runtime") => runtime = parser.value()?.string()?,
            Long("workers") => workers = Some(parser.value()?.parse()?),
            Long("request-octets") => request = parser.value()?.parse()?,
            Long("response-octets") => response = parser.value()?.parse()?,
            Long("download-octets") => download = parser.value()?.parse()?,
            _ => return Err(HELP.into()),
        }
    }
    let work = match (request, response, download) {
        (0, 0, octets @ 1..) => Work::Download(octets),
        (request @ 1.., response @ 1.., 0) => Work::Exchange(Exchange { request, response }),
        _ => return Err(HELP.into()),
    };
    let scheduler = Scheduler::from_flags(&runtime, workers)?;
    Ok((port.ok_or(HELP)?, scheduler, work))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (port, scheduler, work) = read_flags()?;
    scheduler.build()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        // A floor does not pace on loopback, whatever the system's choice is. Without this algorithm it isn't Linux.
        let _ = socket2::SockRef::from(&listener).set_tcp_congestion(b"reno");
        clearway_peers::announce(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            // A connection that breaks is the client's affair.
            tokio::spawn(async move {
                drop(match work {
                    Work::Exchange(exchange) => serve(stream, exchange).await,
                    Work::Download(octets) => download(stream, octets).await,
                });
            });
        }
    })
}
