//! The load on `raw-server`: a closed loop over bare TCP, with as many exchanges in flight as the gRPC calls it stands for.
//!
//! What one read completes is asked for again in one write, as h2load does with calls. One connection, no runtime. Prints
//! one line of JSON.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

const HELP: &str = "\
Exchanges A octets for B octets with raw-server.

Usage: raw-client --port N --request-octets A --response-octets B --requests N [--concurrency S]
";

/// A server that says nothing for so long is broken.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    use lexopt::prelude::*;

    let (mut port, mut request, mut response, mut requests, mut concurrency) = (None, 0, 0, 0, 1);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("port") => port = Some(parser.value()?.parse::<u16>()?),
            Long("request-octets") => request = parser.value()?.parse::<usize>()?,
            Long("response-octets") => response = parser.value()?.parse::<usize>()?,
            Long("requests") => requests = parser.value()?.parse::<usize>()?,
            Long("concurrency") => concurrency = parser.value()?.parse::<usize>()?,
            _ => return Err(HELP.into()),
        }
    }
    if request == 0 || response == 0 || requests == 0 || concurrency == 0 {
        return Err(HELP.into());
    }
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port.ok_or(HELP)?))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let start = Instant::now();
    exchange(&mut stream, request, response, requests, concurrency)?;
    println!("{{\"calls\":{requests},\"seconds\":{:.6}}}", start.elapsed().as_secs_f64());
    Ok(())
}

fn exchange(
    stream: &mut TcpStream,
    request: usize,
    response: usize,
    requests: usize,
    concurrency: usize,
) -> Result<(), Box<dyn Error>> {
    let asking = vec![0; request * concurrency];
    let mut scratch = vec![0; 64 * 1024];
    let (mut asked, mut pending, mut done) = (concurrency.min(requests), 0, 0);
    stream.write_all(&asking[..asked * request])?;
    while done < requests {
        let read = stream.read(&mut scratch)?;
        if read == 0 {
            return Err("the server closed the connection".into());
        }
        pending += read;
        let complete = pending / response;
        pending %= response;
        done += complete;
        let again = complete.min(requests - asked);
        if again > 0 {
            stream.write_all(&asking[..again * request])?;
            asked += again;
        }
    }
    Ok(())
}
