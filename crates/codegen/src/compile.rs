//! Parsing and checking `.proto` files with protox, and turning its findings into [`Problem`]s with positions.
//!
//! protox names files as imports do, relative to an include directory; a person wants the path that their editor opens,
//! so names are looked up in the include directories again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use miette::{Diagnostic, LabeledSpan, SourceCode, SourceSpan};
use prost_types::FileDescriptorSet;

use crate::error::{Error, Position, Problem, path_of};

/// A checked set of files.
pub(crate) struct Compiled {
    /// All files, imported ones included, each after those it imports.
    pub(crate) set: FileDescriptorSet,
    /// The same, encoded, with the custom options that the typed form loses.
    pub(crate) encoded: Vec<u8>,
    /// Every file read from disk.
    pub(crate) read: Vec<PathBuf>,
}

/// Parses `protos` and all they import from `includes`.
pub(crate) fn compile(protos: &[&Path], includes: &[&Path]) -> Result<Compiled, Error> {
    let missing: Vec<Problem> = protos.iter().filter_map(|proto| missing(proto, includes)).collect();
    if !missing.is_empty() {
        return Err(Error::problems_found(missing));
    }
    let explain = |error: protox::Error| Error::problems_found(explain(&error, includes));
    let mut compiler = protox::Compiler::new(includes).map_err(explain)?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(protos).map_err(explain)?;
    Ok(Compiled {
        set: compiler.file_descriptor_set(),
        encoded: compiler.encode_file_descriptor_set(),
        read: compiler.files().filter_map(|file| file.path().map(Path::to_owned)).collect(),
    })
}

/// Checks descriptors that something else compiled: prost panics on those that refer to nothing.
pub(crate) fn check(set: &FileDescriptorSet) -> Result<(), Error> {
    let unknown = set.file.iter().find(|file| !matches!(file.syntax(), "" | "proto2" | "proto3"));
    if let Some(file) = unknown {
        let message = format!("syntax `{}` is not supported, only proto2 and proto3", file.syntax());
        let problem = Problem { file: file.name.clone(), ..Problem::new(message) };
        return Err(Error::problems_found(vec![problem]));
    }
    if let Some(name) = circular(set) {
        // prost-reflect follows imports until the stack is used up.
        let problem =
            Problem { file: Some(name.to_owned()), ..Problem::new("its imports go round in a circle") };
        return Err(Error::problems_found(vec![problem]));
    }
    match protox::prost_reflect::DescriptorPool::from_file_descriptor_set(set.clone()) {
        Ok(_) => Ok(()),
        Err(error) => {
            let place = (error.line(), error.column());
            let position = match place {
                (Some(line), Some(column)) => Some(Position { line: line + 1, column: column + 1 }),
                _ => None,
            };
            let mut problem = Problem::new(error.to_string());
            problem.file = error.file().map(str::to_owned);
            problem.position = position;
            Err(Error::problems_found(vec![problem]))
        }
    }
}

/// A file whose imports lead into a circle; protoc never makes one.
fn circular(set: &FileDescriptorSet) -> Option<&str> {
    let mut left: Vec<_> = set.file.iter().collect();
    loop {
        let names: BTreeSet<&str> = left.iter().map(|file| file.name()).collect();
        let before = left.len();
        // What imports nothing that is left cannot be part of a circle.
        left.retain(|file| file.dependency.iter().any(|import| names.contains(import.as_str())));
        if left.len() == before {
            return left.first().map(|file| file.name());
        }
    }
}

/// protox says of a file that does not exist that it is in no include directory; these are two different mistakes.
fn missing(proto: &Path, includes: &[&Path]) -> Option<Problem> {
    let exists = proto.exists() || includes.iter().any(|include| include.join(proto).exists());
    (!exists).then(|| {
        let mut problem = Problem::new("no such file");
        problem.file = Some(proto.display().to_string());
        problem
    })
}

fn explain(error: &protox::Error, includes: &[&Path]) -> Vec<Problem> {
    let name = error.file();
    let path = name.map(|name| path_of(name, includes));
    let mut first = problem(error, error.source_code(), path.as_deref());
    first.position = name.and_then(|name| stated(error, name, path.as_deref()?)).or(first.position);
    let mut problems = vec![first];
    for related in error.related().into_iter().flatten() {
        problems.push(problem(related, error.source_code(), path.as_deref()));
    }
    problems
}

/// The place that protox states at the start of its `Debug` text, `name:line:column: `, with the column in octets. Labels
/// of the errors it takes from prost-reflect are wrong in lines that are not ASCII; nothing else in its interface has
/// the place. If the text changes one day, labels are what is left.
fn stated(error: &protox::Error, name: &str, path: &str) -> Option<Position> {
    let text = format!("{error:?}");
    let mut numbers =
        text.strip_prefix(name)?.strip_prefix(':')?.splitn(3, ':').map(|number| number.parse().ok());
    let (line, column): (usize, usize) = (numbers.next()??, numbers.next()??);
    let source = std::fs::read_to_string(path).ok()?;
    let before = source.lines().nth(line.checked_sub(1)?)?.get(..column.checked_sub(1)?)?;
    Some(Position { line, column: before.chars().count() + 1 })
}

fn problem(diagnostic: &dyn Diagnostic, source: Option<&dyn SourceCode>, path: Option<&str>) -> Problem {
    let mut labels: Vec<LabeledSpan> = diagnostic.labels().into_iter().flatten().collect();
    // Of two places the one that is wrong comes first: "found here" or "defined again here", not what it clashes with.
    labels.sort_by_key(|label| {
        !label.label().is_some_and(|text| text.contains("found") || text.contains("again"))
    });
    let mut labels = labels.into_iter();
    let position = match labels.next() {
        Some(label) => position(source, *label.inner()),
        None if diagnostic.to_string().ends_with("reached end of file") => end(path),
        None => None,
    };
    let place = |label: &LabeledSpan| position_text(path, position_of(source, label));
    let notes = labels
        .filter_map(|label| Some(format!("{}: {}", place(&label)?, label.label()?)))
        .chain(diagnostic.help().map(|help| format!("help: {help}")))
        .collect();
    Problem { file: path.map(str::to_owned), position, message: diagnostic.to_string(), notes }
}

fn position_of(source: Option<&dyn SourceCode>, label: &LabeledSpan) -> Option<Position> {
    position(source, *label.inner())
}

fn position(source: Option<&dyn SourceCode>, span: SourceSpan) -> Option<Position> {
    // All from the start of the file, to count characters: miette's own columns are octets.
    let contents = source?.read_span(&(0..span.offset()).into(), 0, 0).ok()?;
    let before = std::str::from_utf8(contents.data().get(..span.offset())?).ok()?;
    let line = before.rsplit('\n').next()?;
    Some(Position { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 })
}

fn position_text(path: Option<&str>, position: Option<Position>) -> Option<String> {
    Some(format!("{}:{}", path?, position?))
}

/// The place after the last character: protox gives none where something is missing at the end.
fn end(path: Option<&str>) -> Option<Position> {
    let text = std::fs::read_to_string(path?).ok()?;
    let text = text.trim_end();
    let last = text.lines().next_back().unwrap_or_default();
    Some(Position { line: text.lines().count().max(1), column: last.chars().count() + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What cargo is told to watch.
    #[test]
    fn every_file_on_disk_is_listed_and_no_built_in_one() {
        let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protos");
        let compiled = compile(&[&protos.join("library.proto")], &[&protos]).unwrap();
        let expected = ["plain.proto", "shared/paging.proto", "library.proto"].map(|name| protos.join(name));
        assert_eq!(compiled.read, expected);
        assert!(compiled.set.file.iter().any(|file| file.name() == "google/protobuf/empty.proto"));
    }
}
