//! Keepalive on real links: peers that die without a word, connections that a NAT forgot, and grpc-go's opinion of our PINGs and
//! ours of its (gRFC A8, A18).
//!
//! Scenes run beside each other, as all of them mostly wait. Those with a dead link play in network namespaces that this program makes,
//! which only root can; without, and without grpc-go, they are left out, with a notice.

mod net;
mod program;
mod roles;
mod scenes;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use lexopt::prelude::*;
use scenes::{ALL, Scene, Stage};

const HELP: &str = "\
Plays keepalive on links that fall silent, and prints a table.

Usage: silence [--go FILE] [--only ID]...

  --go FILE  the program of interop/keepalive, built
  --only ID  this scene only; may be repeated
  --help     print this

Exits 1 when a scene went otherwise than it should, 2 when the command line cannot be used.
";

/// What the command line asks for.
enum Asked {
    Help,
    /// This program is part of a scene.
    Role(String, roles::Told),
    Scenes {
        go: Option<PathBuf>,
        only: Vec<String>,
    },
}

fn main() -> ExitCode {
    match read_flags() {
        Ok(Asked::Help) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Asked::Role(role, told)) => match roles::play(&role, &told) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                println!("{role}: {error}");
                ExitCode::FAILURE
            }
        },
        Ok(Asked::Scenes { go, only }) => play_all(go, &only),
        Err(message) => {
            eprintln!("silence: {message}");
            ExitCode::from(2)
        }
    }
}

fn read_flags() -> Result<Asked, String> {
    let mut parser = lexopt::Parser::from_env();
    let (mut go, mut only, mut role, mut told) = (None, Vec::new(), None, Vec::new());
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Long("go") => go = Some(text(&mut parser)?.into()),
            Long("only") => only.push(text(&mut parser)?),
            Long("role") => role = Some(text(&mut parser)?),
            Long("help") => return Ok(Asked::Help),
            Value(word) => told.push(word.string().map_err(|error| error.to_string())?),
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(match role {
        Some(role) => Asked::Role(role, roles::Told::read(told)),
        None => Asked::Scenes { go, only },
    })
}

/// The value of a flag.
fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    parser.value().and_then(ValueExt::string).map_err(|error| error.to_string())
}

fn play_all(go: Option<PathBuf>, only: &[String]) -> ExitCode {
    let Ok(ours) = std::env::current_exe() else { return ExitCode::from(2) };
    let no_lab = net::Lab::new().err();
    if let Some(why) = &no_lab {
        println!("SKIPPED, as there are no network namespaces here ({why}): K1 to K7");
    }
    if go.is_none() {
        println!("SKIPPED, as grpc-go's program is not there (--go): K2, K7 to K12");
    }
    let possible = |scene: &&Scene| (!scene.lab || no_lab.is_none()) && (!scene.go || go.is_some());
    let wanted = |scene: &&Scene| only.is_empty() || only.iter().any(|id| id == scene.id);
    let stage = Stage { ours, go: go.clone().unwrap_or_default() };
    let played: Vec<(&Scene, Result<String, String>)> = thread::scope(|scope| {
        let stage = &stage;
        let playing: Vec<_> = ALL
            .iter()
            .filter(possible)
            .filter(wanted)
            .map(|scene| (scene, scope.spawn(move || (scene.play)(stage))))
            .collect();
        let outcome =
            |thread: thread::ScopedJoinHandle<'_, _>| thread.join().unwrap_or(Err("it panicked".into()));
        playing.into_iter().map(|(scene, thread)| (scene, outcome(thread))).collect()
    });
    println!("| id | scene | what happened |\n|---|---|---|");
    let mut failed = 0usize;
    for (scene, outcome) in &played {
        let what = match outcome {
            Ok(what) => what.clone(),
            Err(why) => {
                failed = failed.saturating_add(1);
                format!("NOT PASSED: {why}")
            }
        };
        println!("| {} | {} | {what} |", scene.id, scene.name);
    }
    println!("\n{} passed, {failed} not passed", played.len().saturating_sub(failed));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
