//! What the load generator is asked for on its command line.

use std::error::Error;

use super::process::Scheduler;

const HELP: &str = "\
Calls bench.Echo in a closed loop, checks what comes back, and prints one line of JSON.

  --port N           the server, on 127.0.0.1
  --method M         unary, yield, spin, server-stream, bidi, ping-pong, beside-block, hold-connections, hold-streams (unary)
  --requests N       calls in all; with ping-pong, round trips in all (1000)
  --payload OCTETS   in each message (20)
  --connections C    (1)
  --concurrency S    calls at a time on each connection (1)
  --messages M       messages in each call of server-stream and bidi (100)
  --micros U         what spin computes and block blocks for (50)
  --fresh-metadata   every call has a traceparent of its own and another grpc-timeout than the one before
  --open-streams N   hold N quiet Bidi calls open on each connection meanwhile (0)
  --unread N         leave N ServerStream calls unread on each connection meanwhile (0)
  --latency          print percentiles, of all calls but each caller's first 100
  --runtime R        current_thread or multi_thread (multi_thread)
  --workers K        threads of multi_thread (one for each core)

beside-block makes unary calls one at a time beside one Block call after another on the same connection.
hold-connections and hold-streams make one call or one round trip on each, print `ready`, and wait until stdin ends.
Exits 1 when a call fails or comes back changed.
";

/// What a caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `Unary`, over and over.
    Unary,
    /// `Yield`, over and over.
    Yield,
    /// `Spin`, over and over.
    Spin,
    /// `ServerStream`, over and over.
    ServerStream,
    /// `Bidi` with all messages at once, over and over.
    Bidi,
    /// One `Bidi` call, a message at a time.
    PingPong,
    /// `Unary` while another caller keeps one `Block` call in flight.
    BesideBlock,
    /// One `Unary` call on each connection, then nothing.
    HoldConnections,
    /// One round trip on each of many `Bidi` calls, then nothing.
    HoldStreams,
}

impl Method {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "unary" => Self::Unary,
            "yield" => Self::Yield,
            "spin" => Self::Spin,
            "server-stream" => Self::ServerStream,
            "bidi" => Self::Bidi,
            "ping-pong" => Self::PingPong,
            "beside-block" => Self::BesideBlock,
            "hold-connections" => Self::HoldConnections,
            "hold-streams" => Self::HoldStreams,
            _ => return None,
        })
    }
}

/// The flags' values; the help says what each means.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "named as the flags are")]
pub struct Asked {
    pub port: u16,
    pub scheduler: Scheduler,
    pub method: Method,
    pub requests: u64,
    pub payload: u32,
    pub connections: u32,
    pub concurrency: u32,
    pub messages: u32,
    pub micros: u32,
    pub fresh_metadata: bool,
    pub open_streams: u32,
    pub unread: u32,
    pub latency: bool,
}

impl Asked {
    /// From this process's command line.
    ///
    /// # Errors
    /// The first flag that cannot be read, or the help when there is something else.
    pub fn read() -> Result<Self, Box<dyn Error>> {
        use lexopt::prelude::*;

        let (mut port, mut runtime, mut workers) = (None, String::from("multi_thread"), None);
        let mut asked = Self {
            port: 0,
            scheduler: Scheduler::CurrentThread,
            method: Method::Unary,
            requests: 1000,
            payload: 20,
            connections: 1,
            concurrency: 1,
            messages: 100,
            micros: 50,
            fresh_metadata: false,
            open_streams: 0,
            unread: 0,
            latency: false,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("port") => port = Some(parser.value()?.parse()?),
                Long("runtime") => runtime = parser.value()?.string()?,
                Long("workers") => workers = Some(parser.value()?.parse()?),
                Long("method") => asked.method = Method::named(&parser.value()?.string()?).ok_or(HELP)?,
                Long("requests") => asked.requests = parser.value()?.parse()?,
                Long("payload") => asked.payload = parser.value()?.parse()?,
                Long("connections") => asked.connections = parser.value()?.parse()?,
                Long("concurrency") => asked.concurrency = parser.value()?.parse()?,
                Long("messages") => asked.messages = parser.value()?.parse()?,
                Long("micros") => asked.micros = parser.value()?.parse()?,
                Long("fresh-metadata") => asked.fresh_metadata = true,
                Long("open-streams") => asked.open_streams = parser.value()?.parse()?,
                Long("unread") => asked.unread = parser.value()?.parse()?,
                Long("latency") => asked.latency = true,
                _ => return Err(HELP.into()),
            }
        }
        asked.port = port.ok_or(HELP)?;
        asked.scheduler = Scheduler::from_flags(&runtime, workers)?;
        Ok(asked)
    }
}
