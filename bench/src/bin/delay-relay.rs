//! A long link on loopback: passes connections on to a port, each octet so and so much later, and says how fast the
//! server's octets came through.
//!
//! What counts for a stack's windows is the round trip; the octets that are on their way are kept here, without a bound but
//! the windows under test, so the link itself never slows a sender down. One connection at a time. Left out: a rate, losses
//! and jitter.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

const HELP: &str = "\
Delays connections to a port of this machine, and measures what comes back.

Usage: delay-relay --to PORT [--port N] [--rtt MILLIS] [--seconds S]

  --to PORT     where connections are passed on to
  --port N      listen on 127.0.0.1:N (any free port)
  --rtt MILLIS  what the way there and back takes (50)
  --seconds S   end each connection S seconds after its first octet (never)
  --help        print this

Prints `listening on 127.0.0.1:PORT`, and for each connection, when it has ended, one line of JSON: seconds and megabytes
from the server, megabytes per second, and when its rate first came to nine tenths of the rate of its last second.
";

/// Octets read at once.
const PIECE: usize = 64 * 1024;
/// Rates are taken over so long.
const STEP: Duration = Duration::from_millis(100);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

struct Asked {
    port: u16,
    to: u16,
    one_way: Duration,
    lasts: Option<Duration>,
}

fn read_flags() -> Outcome<Option<Asked>> {
    use lexopt::prelude::*;

    let (mut port, mut to, mut rtt, mut lasts) = (0, None, 50.0, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("port") => port = parser.value()?.parse()?,
            Long("to") => to = Some(parser.value()?.parse()?),
            Long("rtt") => rtt = parser.value()?.parse()?,
            Long("seconds") => lasts = Some(Duration::try_from_secs_f64(parser.value()?.parse()?)?),
            Long("help") => return Ok(None),
            other => return Err(format!("{}; see --help", other.unexpected()).into()),
        }
    }
    let one_way = Duration::try_from_secs_f64(rtt / 2000.0)?;
    Ok(Some(Asked { port, to: to.ok_or("--to is missing; see --help")?, one_way, lasts }))
}

/// What came from the server, in steps of [`STEP`] since the first octet.
#[derive(Default)]
struct Seen {
    first: Option<Instant>,
    steps: Vec<usize>,
}

impl Seen {
    fn add(&mut self, octets: usize) {
        let elapsed = self.first.get_or_insert_with(Instant::now).elapsed();
        let at = usize::try_from(elapsed.as_millis() / STEP.as_millis()).unwrap_or(usize::MAX);
        if at >= self.steps.len() {
            self.steps.resize(at.saturating_add(1), 0);
        }
        if let Some(step) = self.steps.get_mut(at) {
            *step = step.saturating_add(octets);
        }
    }

    /// When the rate first was nine tenths of that of the last whole second.
    fn to_ninety(&self) -> Option<f64> {
        let whole = self.steps.get(..self.steps.len().saturating_sub(1))?;
        let last = whole.get(whole.len().checked_sub(10)?..)?;
        let enough = last.iter().sum::<usize>() / 10 * 9 / 10;
        let at = whole.iter().position(|octets| *octets >= enough)?;
        Some(as_f64(at.saturating_add(1)) * STEP.as_secs_f64())
    }

    fn line(&self) -> String {
        let seconds = self.first.map_or(0.0, |first| first.elapsed().as_secs_f64());
        let megabytes = as_f64(self.steps.iter().sum()) / 1e6;
        let to_ninety = self.to_ninety().map_or("null".to_owned(), |seconds| format!("{seconds:.1}"));
        format!(
            "{{\"seconds\":{seconds:.3},\"megabytes\":{megabytes:.1},\"megabytes_per_second\":{:.1},\
             \"seconds_to_90_percent\":{to_ninety}}}",
            megabytes / seconds.max(1e-3),
        )
    }
}

fn as_f64(octets: usize) -> f64 {
    u32::try_from(octets).map_or_else(|_| 1024.0 * as_f64(octets / 1024), f64::from)
}

/// Passes octets on when their time has come. The end of either side ends both.
fn deliver(mut to: &TcpStream, arriving: &Receiver<(Instant, Vec<u8>)>) -> io::Result<()> {
    for (due, piece) in arriving {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        to.write_all(&piece)?;
    }
    to.shutdown(Shutdown::Write)
}

/// Takes octets in as they come; `false` from `seen` ends it.
fn collect(
    mut from: &TcpStream,
    one_way: Duration,
    way: &Sender<(Instant, Vec<u8>)>,
    mut seen: impl FnMut(usize) -> bool,
) -> io::Result<()> {
    let mut scratch = vec![0; PIECE];
    loop {
        let read = from.read(&mut scratch)?;
        let piece = scratch.get(..read).unwrap_or_default().to_vec();
        if piece.is_empty() || !seen(read) || way.send((Instant::now() + one_way, piece)).is_err() {
            return Ok(());
        }
    }
}

fn relay(client: &TcpStream, asked: &Asked) -> io::Result<Seen> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, asked.to))?;
    for stream in [client, &server] {
        stream.set_nodelay(true)?;
    }
    let mut seen = Seen::default();
    thread::scope(|scope| {
        let server = &server;
        let ((up, at_server), (down, at_client)) = (channel(), channel());
        let closing = || [client, server].map(|stream| stream.shutdown(Shutdown::Both));
        scope.spawn(move || deliver(server, &at_server));
        scope.spawn(move || {
            let ended = deliver(client, &at_client);
            drop(closing());
            ended
        });
        scope.spawn(move || collect(client, asked.one_way, &up, |_| true));
        let ended = collect(server, asked.one_way, &down, |octets| {
            seen.add(octets);
            let lasted = seen.first.map_or(Duration::ZERO, |first| first.elapsed());
            asked.lasts.is_none_or(|lasts| lasted < lasts)
        });
        if asked.lasts.is_some() {
            drop(closing());
        }
        // A side that is gone resets its connection as often as it closes it.
        ended.or_else(|error| if error.kind() == ErrorKind::ConnectionReset { Ok(()) } else { Err(error) })
    })?;
    Ok(seen)
}

fn serve(asked: &Asked) -> Outcome<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, asked.port))?;
    println!("listening on {}", listener.local_addr()?);
    io::stdout().flush()?;
    for client in listener.incoming() {
        println!("{}", relay(&client?, asked)?.line());
        io::stdout().flush()?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let outcome = match read_flags() {
        Ok(Some(asked)) => serve(&asked),
        Ok(None) => {
            print!("{HELP}");
            Ok(())
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("delay-relay: {error}");
            ExitCode::FAILURE
        }
    }
}
