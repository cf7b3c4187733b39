//! What it costs a server when nothing happens: memory of connections and of streams that are open and quiet.
//!
//! All servers are measured at the same time, since quiet ones do not disturb each other.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::Outcome;
use crate::load::Printed;
use crate::peer::{Peer, load_average};
use crate::programs::{Contender, Invocation, Programs, Scheduler};
use crate::table::{Bar, Row, Sample, Section, Target};

/// How long nothing happens before memory is read.
const QUIET: Duration = Duration::from_secs(5);

/// What is held open.
struct Held {
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    client: [&'static str; 3],
    number: u32,
    most: f64,
}

const HELD: [Held; 2] = [
    Held {
        id: "idle-connections",
        title: "2,000 connections, one call on each, then 5 s of nothing: growth of the server's resident memory",
        unit: "KiB/connection",
        client: ["--method=hold-connections", "--connections=2000", "--concurrency=1"],
        number: 2_000,
        most: 3.0,
    },
    Held {
        id: "idle-streams",
        title: "10,000 open Bidi calls on 100 connections, one message each way, then 5 s of nothing: the same",
        unit: "KiB/stream",
        client: ["--method=hold-streams", "--connections=100", "--concurrency=100"],
        number: 10_000,
        most: 1.5,
    },
];

/// A client that holds something open until it is dropped.
struct Holding(Child);

impl Holding {
    fn start(client: &Invocation, port: u16) -> Outcome<Self> {
        let mut command = client.on_core(None);
        command.arg(format!("--port={port}")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holding = Self(command.spawn()?);
        let mut line = String::new();
        if let Some(stdout) = holding.0.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if line == "ready\n" {
            Ok(holding)
        } else {
            Err("the client could not open what it should hold".into())
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        // It ends when its stdin does; killing it makes sure.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A server with what is held open on it.
struct Watched {
    contender: Contender,
    server: Peer,
    before: u64,
    holding: Holding,
}

pub(crate) fn sections(programs: &Programs, wanted: &dyn Fn(&str) -> bool) -> Outcome<Vec<Section>> {
    HELD.iter().filter(|held| wanted(held.id)).map(|held| section(programs, held)).collect()
}

fn section(programs: &Programs, held: &Held) -> Outcome<Section> {
    let client = programs.our_client(Scheduler::CurrentThread).command;
    let mut watched = Vec::new();
    for contender in programs.grpc_servers() {
        let server = Peer::start(&contender.command, None)?;
        // What a server keeps for its first calls, whoever makes them, is not the connections'.
        Printed::of(&client, None, server.port(), &["--requests=100".to_owned()])?;
        let before = server.resident()?;
        let holding = Holding::start(&client.clone().with(held.client), server.port())?;
        watched.push(Watched { contender, server, before, holding });
    }
    std::thread::sleep(QUIET);
    let mut rows = Vec::new();
    for Watched { contender, server, before, holding } in watched {
        let grown = server.resident()?.saturating_sub(before);
        drop(holding);
        let mut row = Row::new(&contender);
        row.samples.push(Sample::only(grown as f64 / 1024.0 / f64::from(held.number)));
        rows.push(row);
    }
    Ok(Section {
        id: held.id.into(),
        title: held.title.into(),
        unit: held.unit,
        rows,
        targets: vec![Target { scheduler: None, bar: Bar::AtMost(held.most) }],
        load: load_average(),
    })
}
