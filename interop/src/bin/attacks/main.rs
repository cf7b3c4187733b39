//! The attack list against a real server process: raw frames over loopback sockets, with the counts at which other stacks
//! were hurt.
//!
//! Each attack gets a fresh process. Around it the rig looks at what must hold for all: the process lives and nothing panicked;
//! its memory grows by no more than a connection's budget and one message for each attacking connection; its CPU time per
//! octet of attack is bounded; a neighbour that calls all the time is answered within a second, and within 100 ms right after; and when the
//! attacker is gone no stream and no task is left. Attacks that wait for a timer of the victim's run beside each other.
//!
//! Left out: what needs a proxy.

mod bomb;
mod fields;
mod floods;
mod flow;
mod grpc;
mod hpack;
mod others;
mod slow;
mod victim;
mod wire;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use lexopt::prelude::*;
use victim::{Neighbour, Victim, Watch, Watched};
use wire::Conn;

const HELP: &str = "\
Plays the attack list against our server programs, and prints a table.

Usage: attacks [--programs DIR] [--only ID]...

  --programs DIR  where bench-server, conformance-server, interop-client and h2-client are (beside this program)
  --only ID       this attack only; may be repeated
  --help          print this

Exits 1 when an attack is not passed, 2 when the command line cannot be used.
";

/// Memory of a connection that is attacked: its receive budget, and one message of 4 MiB.
const BUDGET_KIB: u64 = (16 + 4) * 1024;
/// CPU time that an octet of attack may cost.
const NANOS_PER_OCTET: u128 = 1_000;
/// CPU time that is not the attack's, and what a call of the neighbour's may cost: it wakes threads that sleep.
const CPU_BESIDE: Duration = Duration::from_millis(100);
const CPU_PER_CALL: Duration = Duration::from_micros(300);

/// One attack.
pub(crate) struct Attack {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    /// Flags of the server under attack, beside its port.
    pub(crate) server: &'static [&'static str],
    pub(crate) play: fn(&Scene<'_>) -> Result<Seen, String>,
}

/// Where an attack is played.
pub(crate) struct Scene<'a> {
    pub(crate) victim: &'a Victim,
    pub(crate) programs: &'a PathBuf,
}

impl Scene<'_> {
    pub(crate) fn connect(&self) -> Result<Conn, String> {
        self.connect_with(&[])
    }

    pub(crate) fn connect_with(&self, settings: &[(u16, u32)]) -> Result<Conn, String> {
        let mut conn = Conn::open(self.victim.port, None)?;
        conn.start(settings)?;
        Ok(conn)
    }

    /// A connection that does not read, with a small buffer.
    pub(crate) fn connect_deaf(&self, settings: &[(u16, u32)]) -> Result<Conn, String> {
        let mut conn = Conn::open(self.victim.port, Some(4096))?;
        conn.start(settings)?;
        Ok(conn)
    }

    /// The victim must write a line about this connection's end, soon, that holds `text`.
    pub(crate) fn expect_line(&self, conn: &Conn, text: &str) -> Result<(), String> {
        self.expect_line_within(conn, text, Duration::from_secs(3))
    }

    pub(crate) fn expect_line_within(&self, conn: &Conn, text: &str, limit: Duration) -> Result<(), String> {
        match self.victim.line(conn.local, limit) {
            Some(line) if line.contains(text) => Ok(()),
            other => Err(format!("want a line with {text:?}, got {other:?}")),
        }
    }

    /// The victim must go away with this, and say so in its log.
    pub(crate) fn expect_cut_off(
        &self,
        conn: &Conn,
        code: clearway_http2::ErrorCode,
        text: &str,
    ) -> Result<Seen, String> {
        let how = conn.expect_goaway(code, text)?;
        self.expect_line(conn, text)?;
        Ok(Seen::of(&[conn], how))
    }
}

/// What an attack came to.
pub(crate) struct Seen {
    frames: u64,
    octets: u64,
    connections: u64,
    how: String,
}

impl Seen {
    pub(crate) fn of(conns: &[&Conn], how: impl Into<String>) -> Self {
        Self {
            frames: conns.iter().map(|conn| conn.sent_frames).sum(),
            octets: conns.iter().map(|conn| conn.sent_octets).sum(),
            connections: conns.len() as u64,
            how: how.into(),
        }
    }

    /// Several ways of one attack.
    pub(crate) fn and(self, other: Self) -> Self {
        let how =
            if self.how.contains(&other.how) { self.how } else { format!("{}; {}", self.how, other.how) };
        Self {
            frames: self.frames.saturating_add(other.frames),
            octets: self.octets.saturating_add(other.octets),
            connections: self.connections.saturating_add(other.connections),
            how,
        }
    }
}

/// A row of the table.
struct Row {
    id: &'static str,
    name: &'static str,
    outcome: Result<Measured, String>,
}

struct Measured {
    seen: Seen,
    grown_kib: u64,
    cpu: Duration,
    /// How much of that may be the neighbour's.
    beside: Duration,
    during: Duration,
    after: Duration,
}

fn main() -> ExitCode {
    let (programs, only) = match read_flags() {
        Ok(Some(asked)) => asked,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("attacks: {message}");
            return ExitCode::from(2);
        }
    };
    let wanted = |attack: &&Attack| only.is_empty() || only.iter().any(|id| id == attack.id);
    let quick: Vec<&Attack> =
        [floods::ALL, hpack::ALL, flow::ALL, fields::ALL, bomb::ALL, grpc::ALL, others::ALL]
            .into_iter()
            .flatten()
            .collect();
    if let Some(unknown) =
        only.iter().find(|id| !quick.iter().copied().chain(slow::ALL).any(|attack| attack.id == **id))
    {
        eprintln!("attacks: there is no {unknown}");
        return ExitCode::from(2);
    }
    let mut rows = thread::scope(|scope| {
        let slow: Vec<_> =
            slow::ALL.iter().filter(wanted).map(|attack| scope.spawn(|| run(attack, &programs))).collect();
        slow.into_iter().filter_map(|thread| thread.join().ok()).collect::<Vec<_>>()
    });
    for attack in quick.into_iter().filter(|attack| wanted(attack)) {
        rows.push(run(attack, &programs));
    }
    rows.sort_by_key(|row| {
        let (letter, rest) = row.id.split_at_checked(1).unwrap_or((row.id, ""));
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (letter, number.parse::<u32>().unwrap_or(0), row.id)
    });
    report(&rows)
}

fn read_flags() -> Result<Option<(PathBuf, Vec<String>)>, String> {
    let mut parser = lexopt::Parser::from_env();
    let beside = std::env::current_exe().ok().and_then(|program| program.parent().map(PathBuf::from));
    let (mut programs, mut only) = (beside.unwrap_or_default(), Vec::new());
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Long("programs") => programs = parser.value().map_err(|error| error.to_string())?.into(),
            Long("only") => {
                only.push(parser.value().and_then(ValueExt::string).map_err(|error| error.to_string())?);
            }
            Long("help") => return Ok(None),
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(Some((programs, only)))
}

fn run(attack: &Attack, programs: &PathBuf) -> Row {
    let outcome = measure(attack, programs);
    match &outcome {
        Ok(Measured { seen, .. }) => println!("{}: {}", attack.id, seen.how),
        Err(failure) => println!("{}: NOT PASSED: {failure}", attack.id),
    }
    Row { id: attack.id, name: attack.name, outcome }
}

fn measure(attack: &Attack, programs: &PathBuf) -> Result<Measured, String> {
    let mut command = Command::new(programs.join("bench-server"));
    command.args(["--port", "0", "--log-ends"]).args(attack.server);
    let mut victim = Victim::start(command)?;
    let mut neighbour = Neighbour::connect(victim.port)?;
    for _ in 0..20 {
        neighbour.call()?;
    }
    let before = victim.usage()?;
    let watch = Watch::begin(neighbour);
    let played = (attack.play)(&Scene { victim: &victim, programs });
    let watched = watch.end().map_err(|failure| format!("{failure}; {:?}", played.as_ref().err()))?;
    let Watched { mut neighbour, calls, worst: during } = watched;
    let seen = played?;
    let at_once: Result<Vec<Duration>, String> = (0..3).map(|_| neighbour.call()).collect();
    let after = at_once?.into_iter().min().unwrap_or_default();
    let used = victim.usage()?;
    victim.is_well()?;
    let measured = Measured {
        grown_kib: used.peak_kib.saturating_sub(before.resident_kib),
        cpu: used.cpu.saturating_sub(before.cpu),
        beside: CPU_BESIDE.saturating_add(CPU_PER_CALL.saturating_mul(calls)),
        seen,
        during,
        after,
    };
    judge(&measured)?;
    nothing_is_left(&victim, neighbour)?;
    Ok(measured)
}

/// What must hold for every attack.
fn judge(measured: &Measured) -> Result<(), String> {
    let Measured { seen, grown_kib, cpu, beside, during, after } = measured;
    let room = BUDGET_KIB.saturating_mul(seen.connections.max(1));
    let time = beside.as_nanos().saturating_add(NANOS_PER_OCTET.saturating_mul(u128::from(seen.octets)));
    let problem = if *grown_kib > room {
        format!("memory grew by {grown_kib} KiB, want at most {room}")
    } else if cpu.as_nanos() > time {
        format!("{cpu:?} of CPU time for {} octets", seen.octets)
    } else if *during > Duration::from_secs(1) {
        format!("a neighbour waited for {during:?}")
    } else if *after > Duration::from_millis(100) {
        format!("a neighbour waited for {after:?} afterwards")
    } else {
        return Ok(());
    };
    Err(format!("{problem} ({})", seen.how))
}

/// When the attackers are gone only the neighbour's own task is alive.
fn nothing_is_left(victim: &Victim, neighbour: Neighbour) -> Result<(), String> {
    // A connection that is over waits a second for its peer.
    let mut last = String::new();
    let mut neighbours = vec![neighbour];
    for _ in 0..20 {
        let Some(neighbour) = neighbours.pop() else { break };
        let local = neighbour.local();
        drop(neighbour);
        last = victim.line(local, Duration::from_secs(5)).ok_or("no line about the neighbour's end")?;
        if last.contains(" 0 open; 1 tasks alive") {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
        neighbours.push(Neighbour::connect(victim.port)?);
        neighbours.iter_mut().try_for_each(|neighbour| neighbour.call().map(drop))?;
    }
    Err(format!("something is left: {last}"))
}

fn report(rows: &[Row]) -> ExitCode {
    println!("\n| id | attack | sent (frames, octets) | reaction | memory | CPU | neighbour during, after |");
    println!("|---|---|---|---|---|---|---|");
    let mut failed = 0u32;
    for Row { id, name, outcome } in rows {
        match outcome {
            Ok(Measured { seen, grown_kib, cpu, during, after, .. }) => println!(
                "| {id} | {name} | {}, {} | {} | +{:.1} MiB | {:.0} ms | {:.0} ms, {:.1} ms |",
                seen.frames,
                seen.octets,
                seen.how,
                kib_as_mib(*grown_kib),
                cpu.as_secs_f64() * 1e3,
                during.as_secs_f64() * 1e3,
                after.as_secs_f64() * 1e3,
            ),
            Err(failure) => {
                failed = failed.saturating_add(1);
                println!("| {id} | {name} | | NOT PASSED: {failure} | | | |");
            }
        }
    }
    println!("\n{} passed, {failed} not passed", rows.len().saturating_sub(failed as usize));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn kib_as_mib(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}
