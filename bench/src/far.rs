//! A download over a long link: what a stack's windows allow when an answer takes 50 ms, from its first octet on.
//!
//! `delay-relay` stands between each stack's server and its own client, both with their defaults. Only latency is
//! simulated: the link has no rate of its own and loses nothing.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::peer::{Peer, load_average, port_in};
use crate::programs::{Contender, Invocation, Programs, Scheduler};
use crate::table::{Bar, Row, Sample, Section, Target};
use crate::{Effort, FULL, Outcome};

/// What the link is called in `--only`.
const ID: &str = "far-64k";

/// The link, as a program that ends when this is dropped.
struct Link {
    relay: Child,
    lines: BufReader<std::process::ChildStdout>,
    port: u16,
}

impl Link {
    fn to(server: &Peer, relay: &Invocation, lasts: Duration) -> Outcome<Self> {
        let mut command = relay.on_core(None);
        command.args([format!("--to={}", server.port()), "--rtt=50".into()]);
        command.arg(format!("--seconds={}", lasts.as_secs()));
        let mut relay = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = relay.stdout.take().ok_or("no pipe from the relay")?;
        let mut link = Self { relay, lines: BufReader::new(stdout), port: 0 };
        let first = link.line()?;
        link.port = port_in(&first).ok_or_else(|| format!("the relay says {first:?}"))?;
        Ok(link)
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        drop(self.relay.kill());
        drop(self.relay.wait());
    }
}

/// Megabytes per second with the ramp included, and how long the ramp took.
struct Download {
    rate: f64,
    ramp: f64,
}

fn download(
    server: &Contender,
    client: &Contender,
    relay: &Invocation,
    lasts: Duration,
) -> Outcome<Download> {
    let server = Peer::start(&server.command, None)?;
    let mut link = Link::to(&server, relay, lasts)?;
    let mut command = client.command.on_core(None);
    command.arg(format!("--port={}", link.port)).args(["--method=server-stream", "--payload=65536"]);
    // More than any link carries: the relay ends the connection, so this call always fails.
    command.args(["--requests=1", "--messages=1000000"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status()?;
    let seen: Value = serde_json::from_str(&link.line()?)?;
    let number = |name: &str| seen.get(name).and_then(Value::as_f64);
    let rate = number("megabytes_per_second").ok_or("the relay names no rate")?;
    Ok(Download { rate, ramp: number("seconds_to_90_percent").unwrap_or(f64::NAN) })
}

/// How fast, and how long until it is nearly as fast as it gets.
pub(crate) fn sections(
    programs: &Programs,
    effort: Effort,
    wanted: &dyn Fn(&str) -> bool,
) -> Outcome<Vec<Section>> {
    if !wanted(ID) {
        return Ok(Vec::new());
    }
    let lasts = Duration::from_secs(if effort.rounds < FULL.rounds { 5 } else { 10 });
    let (mut rates, mut ramps) = (Vec::new(), Vec::new());
    let pairs = programs.rust_servers().into_iter().zip(programs.rust_clients());
    for (server, client) in pairs.filter(|(server, _)| server.scheduler == Scheduler::OneWorker) {
        let Download { rate, ramp } = download(&server, &client, &programs.delay_relay(), lasts)?;
        for (rows, figure) in [(&mut rates, rate), (&mut ramps, ramp)] {
            let mut row = Row::new(&server);
            row.samples.push(Sample::only(figure));
            rows.push(row);
        }
    }
    let section = |id: &str, title: String, unit, rows, targets| {
        let load = load_average();
        Section { id: id.into(), title, unit, rows, targets, load }
    };
    let seconds = lasts.as_secs();
    let title = format!(
        "ServerStream, one call, messages of 64 KiB, 50 ms there and back, {seconds} s with the ramp, each stack's own client"
    );
    let least = vec![Target { scheduler: None, bar: Bar::TimesTonic(5.0) }];
    Ok(vec![
        section(ID, title, "MB/s", rates, least),
        section(
            "far-ramp",
            "The same: until nine tenths of its last second's rate".into(),
            "s",
            ramps,
            Vec::new(),
        ),
    ])
}
