//! Other people's HPACK decoders judge ours: they read back what our encoder makes of the raw stories of the public corpus, and
//! vote on changed blocks. Prints what came of it; exits 1 if somebody disagrees without a reason we know.
//!
//! `hpack-judges --corpus hpack-test-case --python COMMAND --go COMMAND [--h2 COMMAND]`; a command's words are separated by
//! spaces.

use std::path::PathBuf;
use std::process::ExitCode;

use clearway_interop::hpack::stories::{self, Plan, Story};
use clearway_interop::hpack::{Answer, Judge, Op, our_answers, votes};
use lexopt::prelude::*;

struct Flags {
    corpus: Option<PathBuf>,
    python: Judge,
    go: Judge,
    h2: Option<Judge>,
}

fn main() -> ExitCode {
    match flags().and_then(|flags| run(&flags)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("hpack-judges: {message}");
            ExitCode::FAILURE
        }
    }
}

fn flags() -> Result<Flags, String> {
    let mut parser = lexopt::Parser::from_env();
    let (mut corpus, mut python, mut go, mut h2) = (None, None, None, None);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        let Long(name) = argument else { return Err(argument.unexpected().to_string()) };
        let name = name.to_owned();
        let value = parser.value().and_then(|value| value.string()).map_err(|error| error.to_string())?;
        let judge =
            || Some(Judge { name: name.clone(), command: value.split(' ').map(str::to_owned).collect() });
        match name.as_str() {
            "corpus" => corpus = Some(PathBuf::from(&value)),
            "python" => python = judge(),
            "go" => go = judge(),
            "h2" => h2 = judge(),
            other => return Err(format!("no flag --{other}")),
        }
    }
    let python = python.ok_or("--python is missing")?;
    Ok(Flags { corpus, python, go: go.ok_or("--go is missing")?, h2 })
}

fn run(flags: &Flags) -> Result<(), String> {
    match &flags.corpus {
        Some(corpus) => {
            let stories = stories::read(corpus)?;
            read_back(flags, &stories)?;
            if let Some(h2) = &flags.h2 {
                read_by_h2(h2, &stories)?;
            }
        }
        None => println!("NOTICE: no --corpus: nothing is read back"),
    }
    vote(flags)
}

/// Our blocks as python-hpack and Go read them.
fn read_back(flags: &Flags, stories: &[Story]) -> Result<(), String> {
    for plan in Plan::ALL {
        let mut blocks = 0;
        for all_alike in [false, true] {
            let (ops, expected) = stories::told(stories, plan, all_alike);
            compare(&flags.python.name, &flags.python.ask(&ops)?, &expected)?;
            let by_go = compare(&flags.go.name, &flags.go.ask(&ops)?, &expected);
            match plan {
                Plan::Dipping if by_go.is_ok() => return Err("Go reads two size updates now".into()),
                Plan::Dipping => {}
                _ => by_go?,
            }
            compare("we", &our_answers(&ops), &expected)?;
            blocks += expected.len();
        }
        let go = if plan == Plan::Dipping { "" } else { "Go, " };
        println!("{plan:?}: {blocks} blocks read back alike by {go}python-hpack and us");
    }
    Ok(())
}

/// The same by h2, of which only a whole server can be had: what is no request is told as one.
fn read_by_h2(h2: &Judge, stories: &[Story]) -> Result<(), String> {
    let requests = stories::as_requests(stories);
    for plan in Plan::ALL.into_iter().filter(|plan| matches!(plan, Plan::Fixed(_))) {
        let (ops, expected) = stories::told(&requests, plan, false);
        let answers: Vec<Answer> = h2.ask(&ops)?.iter().map(stories::by_name).collect();
        let expected: Vec<Answer> = expected.iter().map(stories::by_name).collect();
        compare("h2", &answers, &expected)?;
        println!("{plan:?}: {} blocks read back alike by h2", expected.len());
    }
    Ok(())
}

fn compare(who: &str, answers: &[Answer], expected: &[Answer]) -> Result<(), String> {
    match answers.iter().zip(expected).position(|(answer, expected)| answer != expected) {
        None if answers.len() == expected.len() => Ok(()),
        None => Err(format!("{who}: {} answers to {} blocks", answers.len(), expected.len())),
        Some(at) => {
            Err(format!("{who} read block {at} as {:?}, and not as {:?}", answers.get(at), expected.get(at)))
        }
    }
}

fn vote(flags: &Flags) -> Result<(), String> {
    let (ops, ballots) = votes::ballots()?;
    let ask = |judge: &Judge, ops: &[Op]| judge.ask(ops);
    let (ours, python, go) = (our_answers(&ops), ask(&flags.python, &ops)?, ask(&flags.go, &ops)?);
    let tally = votes::count(
        &ballots,
        &votes::last_answers(&ops, &ours),
        &votes::last_answers(&ops, &python),
        &votes::last_answers(&ops, &go),
    );
    let alone: usize = tally.alone.values().sum();
    println!(
        "{} votes: {} read alike, {} refused by all, {alone} with one alone",
        ballots.len(),
        tally.all_read,
        tally.all_refused
    );
    for (row, times) in &tally.alone {
        if let Some(row) = votes::ALONE.get(*row) {
            println!(
                "{times:>6}  {:?} alone says {:?} (we: {:?}): {}",
                row.who, row.said, row.we_said, row.why
            );
        }
    }
    if tally.unexplained.is_empty() {
        return Ok(());
    }
    for line in tally.unexplained.iter().take(20) {
        println!("  {line}");
    }
    Err(format!("{} votes that nothing explains", tally.unexplained.len()))
}
