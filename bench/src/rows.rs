//! What is measured in rounds: the shapes of load, the methods, and the project's target for each.

use crate::load::{Exchange, H2load};
use crate::peer::{Cores, Peer};
use crate::programs::{Contender, Invocation, Programs, Scheduler, Stack};
use crate::rounds::{Plan, Subject, Work};
use crate::table::{Bar, Target};
use crate::{Outcome, relay};

/// How many calls are in flight, and on how many connections.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    connections: u32,
    /// On each connection.
    streams: u32,
}

const MULTIPLEXED: Shape = Shape { name: "a", connections: 1, streams: 100 };

/// What shows the cost of a call, of a batch, of a call alone, and of a connection.
const SHAPES: [Shape; 4] = [
    MULTIPLEXED,
    Shape { name: "b", connections: 10, streams: 10 },
    Shape { name: "c", connections: 1, streams: 1 },
    Shape { name: "d", connections: 100, streams: 1 },
];

/// Octets of payload: a small answer, and one of everyday size.
const PAYLOADS: [usize; 2] = [20, 1024];

/// Octets of payload of a message of a download.
const BLOCK: usize = 64 * 1024;

const PER_CALL: &str = "us server CPU/call";

fn of_tonic(current_thread: f64, one_worker: f64) -> Vec<Target> {
    let target = |scheduler, most| Target { scheduler: Some(scheduler), bar: Bar::OfTonic(most) };
    vec![target(Scheduler::CurrentThread, current_thread), target(Scheduler::OneWorker, one_worker)]
}

const fn for_both(bar: Bar) -> Target {
    Target { scheduler: None, bar }
}

/// The targets of issue 3.
fn targets(shape: &str, payload: usize) -> Vec<Target> {
    match (shape, payload) {
        ("a", 20) => of_tonic(0.20, 0.12),
        ("a", _) => of_tonic(0.12, 0.10),
        ("b", 20) => of_tonic(0.30, 0.22),
        ("c", _) => vec![for_both(Bar::UserOfTonic(0.45)), for_both(Bar::OfTonic(0.88))],
        ("d", _) => of_tonic(0.62, 0.62),
        _ => Vec::new(),
    }
}

/// Every plan, in the order of the table; only what `wanted` takes by its id is prepared.
pub(crate) fn plans(programs: &Programs, cores: Cores, wanted: &dyn Fn(&str) -> bool) -> Outcome<Vec<Plan>> {
    let mut plans = Vec::new();
    for shape in SHAPES {
        for payload in PAYLOADS {
            if wanted(&format!("{}-{payload}", shape.name)) {
                plans.push(unary(programs, cores, shape, payload)?);
            }
        }
    }
    let others = [
        ("yield-20", yielding as fn(&Programs) -> Outcome<Plan>),
        ("fresh-20", fresh_metadata),
        ("ping-pong", ping_pong),
        ("download-64k", download),
        ("large-64k", |programs| large(programs, "large-64k", BLOCK)),
        ("large-1m", |programs| large(programs, "large-1m", 16 * BLOCK)),
        ("client-20", clients),
    ];
    for (id, plan) in others {
        if wanted(id) {
            plans.push(plan(programs)?);
        }
    }
    Ok(plans)
}

fn servers(contenders: Vec<Contender>, work: &Work) -> Vec<Subject> {
    contenders.into_iter().map(|contender| Subject::Server { contender, work: work.clone() }).collect()
}

fn unary(programs: &Programs, cores: Cores, shape: Shape, payload: usize) -> Outcome<Plan> {
    let Shape { name, connections, streams } = shape;
    let load = |method| H2load::new(programs.scratch(), method, connections, streams, payload);
    let exchange = octets_on_the_wire(programs, cores, payload, streams)?;
    let Exchange { request, response } = exchange;
    let mut raw = programs.raw_server();
    let octets = [format!("--request-octets={request}"), format!("--response-octets={response}")];
    raw.command = raw.command.with(octets.clone());
    let client = programs.raw_client().with(octets);
    let shape = [format!("--connections={connections}"), format!("--concurrency={streams}")];
    let work = Work::Requests(client.with(shape));
    let mut subjects = vec![Subject::Server { contender: raw, work }];
    let work = Work::H2load(load("Unary")?);
    subjects.extend(servers(programs.grpc_servers(), &work));
    subjects.extend(servers(programs.nghttpd(payload).into_iter().collect(), &work));
    Ok(Plan {
        id: format!("{name}-{payload}"),
        title: format!(
            "Unary, {connections} connection(s) x {streams} at a time, payload {payload} B; on the wire {request} B there, {response} B back with clearway"
        ),
        unit: PER_CALL,
        subjects,
        targets: targets(name, payload),
        lonely: name == "c",
    })
}

/// What a call of this load is made of: our server behind a relay that counts.
fn octets_on_the_wire(programs: &Programs, cores: Cores, payload: usize, streams: u32) -> Outcome<Exchange> {
    /// Two runs of different length, so that the opening of the connection cancels out.
    const FEW: u64 = 500;
    const MANY: u64 = 5_500;

    let load = H2load::new(programs.scratch(), "Unary", 1, streams, payload)?;
    let server = Peer::start(&programs.our_server(Scheduler::CurrentThread).command, cores.server)?;
    let few = relay::count(server.port(), |port| load.run(cores.load, port, FEW).map(drop))?;
    let many = relay::count(server.port(), |port| load.run(cores.load, port, MANY).map(drop))?;
    let each = |few: u64, many: u64| usize::try_from((many - few + (MANY - FEW) / 2) / (MANY - FEW));
    Ok(Exchange { request: each(few.up, many.up)?, response: each(few.down, many.down)? })
}

/// A handler that is not ready at its first poll. C++ has no such method here: its handlers are not polled.
fn yielding(programs: &Programs) -> Outcome<Plan> {
    let Shape { connections, streams, .. } = MULTIPLEXED;
    let mut contenders = programs.grpc_servers();
    contenders.retain(|contender| contender.stack != Stack::Cpp);
    let work = Work::H2load(H2load::new(programs.scratch(), "Yield", connections, streams, 20)?);
    Ok(Plan {
        id: "yield-20".into(),
        title: "Yield (a handler that awaits once), 1 connection x 100 at a time, payload 20 B".into(),
        unit: PER_CALL,
        subjects: servers(contenders, &work),
        targets: of_tonic(0.35, 0.20),
        lonely: false,
    })
}

/// Our client as the load, on one thread.
fn our_load(programs: &Programs, args: &[&str]) -> Invocation {
    programs.our_client(Scheduler::CurrentThread).command.with(args.iter().copied())
}

fn fresh_metadata(programs: &Programs) -> Outcome<Plan> {
    let work = Work::Requests(our_load(programs, &["--concurrency=100", "--fresh-metadata"]));
    Ok(Plan {
        id: "fresh-20".into(),
        title: "Unary with a new traceparent and another grpc-timeout each, 1 connection x 100 at a time, payload 20 B, by our client".into(),
        unit: PER_CALL,
        subjects: servers(programs.grpc_servers(), &work),
        targets: of_tonic(0.30, 0.20),
        lonely: false,
    })
}

fn ping_pong(programs: &Programs) -> Outcome<Plan> {
    let work = Work::Requests(our_load(programs, &["--method=ping-pong", "--concurrency=100"]));
    Ok(Plan {
        id: "ping-pong".into(),
        title:
            "Bidi, 100 open streams on 1 connection, a message of 20 B there and back on each, by our client"
                .into(),
        unit: "us server CPU/round trip",
        subjects: servers(programs.grpc_servers(), &work),
        targets: of_tonic(0.45, 0.10),
        lonely: false,
    })
}

fn download(programs: &Programs) -> Outcome<Plan> {
    let size = format!("--download-octets={BLOCK}");
    let mut raw = programs.raw_server();
    raw.command = raw.command.with([size.clone()]);
    let work = Work::Messages(programs.raw_client().with([size]));
    let mut subjects = vec![Subject::Server { contender: raw, work }];
    let payload = format!("--payload={BLOCK}");
    let load = our_load(programs, &["--method=server-stream", "--requests=1", &payload]);
    subjects.extend(servers(programs.grpc_servers(), &Work::Messages(load)));
    let mut targets = of_tonic(0.5, 0.5);
    targets.push(for_both(Bar::OfRaw(1.6)));
    Ok(Plan {
        id: "download-64k".into(),
        title: "ServerStream, one call, messages of 64 KiB, by our client (raw TCP: the same octets in one write each)".into(),
        unit: "us server CPU/message",
        subjects,
        targets,
        lonely: false,
    })
}

/// Large messages both ways: memory counts for more than the protocol.
fn large(programs: &Programs, id: &str, octets: usize) -> Outcome<Plan> {
    let load = our_load(programs, &["--concurrency=10", &format!("--payload={octets}")]);
    Ok(Plan {
        id: id.into(),
        title: format!("Unary, 1 connection x 10 at a time, payload {octets} B, by our client"),
        unit: PER_CALL,
        subjects: servers(programs.grpc_servers(), &Work::Requests(load)),
        targets: Vec::new(),
        lonely: false,
    })
}

/// Every client against our server.
fn clients(programs: &Programs) -> Outcome<Plan> {
    let server = programs.our_server(Scheduler::CurrentThread).command;
    let subject = |contender: Contender| {
        let command = contender.command.with(["--concurrency=100", "--payload=20"]);
        Subject::Client { contender: Contender { command, ..contender }, server: server.clone() }
    };
    Ok(Plan {
        id: "client-20".into(),
        title: "Clients: Unary, 100 in flight on one channel, payload 20 B, each against clearway's server"
            .into(),
        unit: "us client CPU/call",
        subjects: programs.grpc_clients().into_iter().map(subject).collect(),
        targets: of_tonic(0.25, 0.20),
        lonely: false,
    })
}
