//! HPACK before judges: other people's decoders read what ours writes, and vote on blocks that are wrong. RFC 7541.
//!
//! A judge is a program that reads lines (`new`, `limit N`, `block HEX`) and answers each block with a line, `ok NAME=VALUE ...` in
//! hex or `bad REASON`. [`stories`] are public header lists as our encoder sends them; [`votes`] are blocks with one octet
//! changed.

pub mod stories;
pub mod votes;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use clearway_http2::hpack::{Decoder, FieldSection, SectionLimits};

/// A field's name and value.
pub type Field = (Vec<u8>, Vec<u8>);

/// What a block was found to be.
pub type Answer = Result<Vec<Field>, String>;

/// One thing a judge is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// A new context, with a table of 4,096 octets.
    New,
    /// A limit of the table that has been announced and acknowledged.
    Limit(u32),
    /// A block. It is answered.
    Block(Vec<u8>),
}

/// A decoder of other people.
#[derive(Clone, Debug)]
pub struct Judge {
    /// What it is called.
    pub name: String,
    /// The program, and what it is told on its command line.
    pub command: Vec<String>,
}

impl Judge {
    /// One answer for every block.
    ///
    /// # Errors
    /// If the program cannot be run, or does not answer as it should.
    pub fn ask(&self, ops: &[Op]) -> Result<Vec<Answer>, String> {
        let failed = |what: &str| format!("{}: {what}", self.name);
        let (program, args) = self.command.split_first().ok_or_else(|| failed("no program"))?;
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&format!("{program}: {error}")))?;
        let mut input = child.stdin.take().ok_or_else(|| failed("no input"))?;
        let output = child.stdout.take().ok_or_else(|| failed("no output"))?;
        let text = lines(ops);
        // It answers while it is still told: neither pipe may fill up.
        let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
        let mut answers = Vec::new();
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|error| failed(&error.to_string()))?;
            answers.push(read(&line).ok_or_else(|| failed(&format!("what is {line:?}?")))?);
        }
        let status = child.wait().map_err(|error| failed(&error.to_string()))?;
        let written = writer.join().map_err(|_| failed("the writer panicked"))?;
        let blocks = ops.iter().filter(|op| matches!(op, Op::Block(_))).count();
        if !status.success() || written.is_err() || answers.len() != blocks {
            return Err(failed(&format!("{} answers to {blocks} blocks, {status}", answers.len())));
        }
        Ok(answers)
    }
}

fn lines(ops: &[Op]) -> String {
    let mut text = String::new();
    for op in ops {
        // Writing to a string does not fail.
        let _ = match op {
            Op::New => writeln!(text, "new"),
            Op::Limit(octets) => writeln!(text, "limit {octets}"),
            Op::Block(block) => writeln!(text, "block {}", hex(block)),
        };
    }
    text
}

/// Octets in hexadecimal.
#[must_use]
pub fn hex(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() * 2);
    for octet in octets {
        let _ = write!(text, "{octet:02x}");
    }
    text
}

/// Octets from hexadecimal.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let octet = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if rest.is_empty() { pairs.iter().map(octet).collect() } else { None }
}

fn read(line: &str) -> Option<Answer> {
    let (verdict, rest) = line.split_once(' ').unwrap_or((line, ""));
    let field = |text: &str| {
        let (name, value) = text.split_once('=')?;
        Some((unhex(name)?, unhex(value)?))
    };
    match verdict {
        "ok" => Some(Ok(rest.split_terminator(' ').map(field).collect::<Option<_>>()?)),
        "bad" => Some(Err(rest.to_owned())),
        _ => None,
    }
}

/// What our own decoder answers.
#[must_use]
pub fn our_answers(ops: &[Op]) -> Vec<Answer> {
    const UNLIMITED: SectionLimits = SectionLimits { list_octets: usize::MAX, fields: usize::MAX };
    let (mut decoder, mut section) = (Decoder::new(4096), FieldSection::default());
    let mut answers = Vec::new();
    for op in ops {
        match op {
            Op::New => decoder = Decoder::new(4096),
            Op::Limit(octets) => decoder.set_max_table_octets(*octets),
            Op::Block(block) => {
                let verdict = decoder.decode(block, &UNLIMITED, &mut section);
                answers.push(match verdict {
                    Ok(()) => {
                        Ok(section.iter().map(|field| (field.name.to_vec(), field.value.to_vec())).collect())
                    }
                    Err(error) => Err(format!("{error:?}")),
                });
            }
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_judges_write_them() {
        assert_eq!(read("ok"), Some(Ok(vec![])));
        assert_eq!(
            read("ok 61=62 63="),
            Some(Ok(vec![(b"a".to_vec(), b"b".to_vec()), (b"c".to_vec(), vec![])]))
        );
        assert_eq!(read("bad index 0"), Some(Err("index 0".into())));
        assert_eq!((read("ok 6=62"), read("what")), (None, None));
        assert_eq!(
            lines(&[Op::New, Op::Limit(7), Op::Block(vec![0x82, 0x0f])]),
            "new\nlimit 7\nblock 820f\n"
        );
    }
}
