//! Decodes header blocks with the h2 crate, for the program hpack-judges of the interop package.
//!
//! h2's decoder cannot be had alone, so each context is a connection to a whole h2 server: `limit`, which may only follow `new`, is
//! the SETTINGS_HEADER_TABLE_SIZE it announces, and each block is a request. Fields come back in the order of h2's header
//! map, pseudo-header fields first.

use std::fmt::Write as _;
use std::io::BufRead;

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

type Error = Box<dyn std::error::Error + Send + Sync>;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
/// The largest frame before anything else is agreed on.
const MAX_FRAME: usize = 16_384;

/// One compression context.
#[derive(Default)]
struct Context {
    limit: Option<u32>,
    blocks: Vec<Vec<u8>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut contexts: Vec<Context> = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        if verb == "new" {
            contexts.push(Context::default());
            continue;
        }
        let context = contexts.last_mut().ok_or("`new` comes first")?;
        match verb {
            "limit" if context.blocks.is_empty() => context.limit = Some(rest.parse()?),
            "block" => context.blocks.push(unhex(rest)?),
            other => return Err(format!("{other} is not for h2").into()),
        }
    }
    for context in contexts {
        judge(context).await?;
    }
    Ok(())
}

/// Tells one context to a server of its own, and prints what each request was.
async fn judge(context: Context) -> Result<(), Error> {
    let (client, server) = tokio::io::duplex(1 << 20);
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(u32::MAX).max_header_list_size(1 << 24);
    if let Some(limit) = context.limit {
        builder.header_table_size(limit);
    }
    let blocks = context.blocks.len();
    let talk = tokio::spawn(talk(client, context.blocks));
    let mut connection: h2::server::Connection<_, Bytes> = builder.handshake(server).await?;
    for _ in 0..blocks {
        match connection.accept().await {
            Some(Ok((request, _respond))) => println!("{}", fields(&request)?),
            Some(Err(error)) => println!("bad {error}"),
            None => println!("bad the connection is over"),
        }
    }
    talk.abort();
    Ok(())
}

/// The client: it acknowledges the server's SETTINGS before it sends what depends on them.
async fn talk(mut socket: DuplexStream, blocks: Vec<Vec<u8>>) -> Result<(), Error> {
    socket.write_all(PREFACE).await?;
    socket.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let mut header = [0; 9];
        socket.read_exact(&mut header).await?;
        let length = usize::from(header[1]) << 8 | usize::from(header[2]);
        socket.read_exact(&mut vec![0; length]).await?;
        if header[3] == SETTINGS && header[4] & 1 == 0 {
            break;
        }
    }
    socket.write_all(&frame(SETTINGS, 1, 0, &[])).await?;
    for (number, block) in blocks.iter().enumerate() {
        let stream = u32::try_from(number)? * 2 + 1;
        let count = block.len().div_ceil(MAX_FRAME).max(1);
        for part in 0..count {
            let fragment = block.chunks(MAX_FRAME).nth(part).unwrap_or_default();
            let end_headers = if part + 1 == count { 4 } else { 0 };
            let (kind, end_stream) = if part == 0 { (HEADERS, 1) } else { (CONTINUATION, 0) };
            socket.write_all(&frame(kind, end_headers | end_stream, stream, fragment)).await?;
        }
    }
    // What the server says is of no interest; it must be able to say it.
    let mut rest = vec![0; 1 << 16];
    while socket.read(&mut rest).await? > 0 {}
    Ok(())
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn fields(request: &Request<h2::RecvStream>) -> Result<String, Error> {
    let mut text = String::from("ok");
    let uri = request.uri();
    put(&mut text, b":method", request.method().as_str().as_bytes())?;
    for (name, value) in [
        (":scheme", uri.scheme_str()),
        (":authority", uri.authority().map(http::uri::Authority::as_str)),
        (":path", uri.path_and_query().map(http::uri::PathAndQuery::as_str)),
    ] {
        if let Some(value) = value {
            put(&mut text, name.as_bytes(), value.as_bytes())?;
        }
    }
    for (name, value) in request.headers() {
        put(&mut text, name.as_str().as_bytes(), value.as_bytes())?;
    }
    Ok(text)
}

fn put(text: &mut String, name: &[u8], value: &[u8]) -> std::fmt::Result {
    text.push(' ');
    name.iter().try_for_each(|octet| write!(text, "{octet:02x}"))?;
    text.push('=');
    value.iter().try_for_each(|octet| write!(text, "{octet:02x}"))
}

fn unhex(text: &str) -> Result<Vec<u8>, Error> {
    (0..text.len() / 2)
        .map(|at| Ok(u8::from_str_radix(text.get(at * 2..at * 2 + 2).ok_or("odd")?, 16)?))
        .collect()
}
