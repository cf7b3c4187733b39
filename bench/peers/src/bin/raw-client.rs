//! The load on `raw-server`: a closed loop over bare TCP, with as many exchanges in flight as the gRPC calls it stands for.
//!
//! What one read completes is asked for again in one write, as h2load does with calls; all connections are on one thread.
//! Prints one line of JSON.

use std::error::Error;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HELP: &str = "\
Exchanges A octets for B octets with raw-server, or has it send blocks of D octets.

Usage: raw-client --port N --request-octets A --response-octets B --requests N [--concurrency S] [--connections C]
       raw-client --port N --download-octets D --messages N

  --concurrency S  exchanges in flight on each connection (1)
";

/// A server that says nothing for so long is broken.
const PATIENCE: Duration = Duration::from_secs(10);

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Clone, Copy, Default)]
struct Asked {
    port: u16,
    request: usize,
    response: usize,
    requests: usize,
    concurrency: usize,
    connections: usize,
    download: usize,
    messages: u32,
}

fn read_flags() -> Result<Asked, Box<dyn Error>> {
    use lexopt::prelude::*;

    let mut asked = Asked { concurrency: 1, connections: 1, ..Asked::default() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("port") => asked.port = parser.value()?.parse()?,
            Long("request-octets") => asked.request = parser.value()?.parse()?,
            Long("response-octets") => asked.response = parser.value()?.parse()?,
            Long("requests") => asked.requests = parser.value()?.parse()?,
            Long("concurrency") => asked.concurrency = parser.value()?.parse()?,
            Long("connections") => asked.connections = parser.value()?.parse()?,
            Long("download-octets") => asked.download = parser.value()?.parse()?,
            Long("messages") => asked.messages = parser.value()?.parse()?,
            _ => return Err(HELP.into()),
        }
    }
    let exchanges = asked.request * asked.response * asked.requests * asked.concurrency * asked.connections;
    if exchanges == 0 && asked.download == 0 {
        return Err(HELP.into());
    }
    Ok(asked)
}

fn main() -> Result<(), Box<dyn Error>> {
    let asked = read_flags()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(asked)).map_err(|failure| failure as Box<dyn Error>)
}

async fn run(asked: Asked) -> Result<(), Failure> {
    let mut streams = Vec::new();
    for _ in 0..asked.connections {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, asked.port)).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let start = Instant::now();
    let calls = if asked.download > 0 {
        for stream in streams {
            download(stream, asked.download, asked.messages).await?;
        }
        usize::try_from(asked.messages)?
    } else {
        let each = asked.requests.div_ceil(asked.connections);
        let loops: Vec<_> =
            streams.into_iter().map(|stream| tokio::spawn(exchange(stream, asked, each))).collect();
        for each in loops {
            each.await??;
        }
        each * asked.connections
    };
    println!("{{\"calls\":{calls},\"seconds\":{:.6}}}", start.elapsed().as_secs_f64());
    Ok(())
}

/// Octets that came; none is an error, as the server never closes.
async fn read_some(stream: &mut TcpStream, scratch: &mut [u8]) -> Result<usize, Failure> {
    match tokio::time::timeout(PATIENCE, stream.read(scratch)).await?? {
        0 => Err("the server closed the connection".into()),
        read => Ok(read),
    }
}

async fn exchange(mut stream: TcpStream, asked: Asked, requests: usize) -> Result<(), Failure> {
    let asking = vec![0; asked.request * asked.concurrency];
    let mut scratch = vec![0; 64 * 1024];
    let (mut begun, mut pending, mut done) = (asked.concurrency.min(requests), 0, 0);
    stream.write_all(&asking[..begun * asked.request]).await?;
    while done < requests {
        pending += read_some(&mut stream, &mut scratch).await?;
        let complete = pending / asked.response;
        pending %= asked.response;
        done += complete;
        let again = complete.min(requests - begun);
        if again > 0 {
            stream.write_all(&asking[..again * asked.request]).await?;
            begun += again;
        }
    }
    Ok(())
}

async fn download(mut stream: TcpStream, octets: usize, messages: u32) -> Result<(), Failure> {
    let mut scratch = vec![0; 64 * 1024];
    let mut left = octets * usize::try_from(messages)?;
    stream.write_u32(messages).await?;
    while left > 0 {
        let read = read_some(&mut stream, &mut scratch).await?;
        left = left.checked_sub(read).ok_or("more came than was asked for")?;
    }
    Ok(())
}
