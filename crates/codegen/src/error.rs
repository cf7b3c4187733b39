//! What can go wrong, said so that an editor can jump to it: `proto/hello.proto:12:3: what is wrong`.
//!
//! `Debug` prints the same as `Display`: `fn main() -> Result<(), Box<dyn Error>>` of a build script shows `Debug`.

use std::fmt;
use std::io;
use std::path::Path;

/// Why no code was generated.
pub struct Error {
    kind: Kind,
}

enum Kind {
    /// Faults of the `.proto` files; never empty.
    Problems(Vec<Problem>),
    /// An operation of the file system failed.
    Io { doing: String, source: io::Error },
    /// An option that makes no sense.
    Option(String),
}

impl Error {
    pub(crate) fn problems_found(problems: Vec<Problem>) -> Self {
        Self { kind: Kind::Problems(problems) }
    }

    pub(crate) fn io(doing: &str, path: &Path, source: io::Error) -> Self {
        Self { kind: Kind::Io { doing: format!("{doing} {}", path.display()), source } }
    }

    pub(crate) fn option(message: impl Into<String>) -> Self {
        Self { kind: Kind::Option(message.into()) }
    }

    /// The same error with files named by where they lie below `includes`.
    pub(crate) fn locate(mut self, includes: &[&Path]) -> Self {
        if let Kind::Problems(problems) = &mut self.kind {
            for file in problems.iter_mut().filter_map(|problem| problem.file.as_mut()) {
                *file = path_of(file, includes);
            }
        }
        self
    }

    /// The faults found in `.proto` files, the first one first; empty if the failure is of another kind.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match &self.kind {
            Kind::Problems(problems) => problems,
            Kind::Io { .. } | Kind::Option(_) => &[],
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Problems(problems) => {
                for (index, problem) in problems.iter().enumerate() {
                    if index > 0 {
                        f.write_str("\n")?;
                    }
                    problem.fmt(f)?;
                }
                Ok(())
            }
            Kind::Io { doing, source } => write!(f, "cannot {doing}: {source}"),
            Kind::Option(message) => f.write_str(message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            Kind::Io { source, .. } => Some(source),
            Kind::Problems(_) | Kind::Option(_) => None,
        }
    }
}

/// So that a build script which returns `std::io::Result`, as with tonic-build, keeps compiling.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

/// Where the file called `name` in imports lies; its name if it is not on disk.
pub(crate) fn path_of(name: &str, includes: &[&Path]) -> String {
    let found = includes.iter().map(|include| include.join(name)).find(|path| path.exists());
    let found = found.as_deref().map(|path| path.strip_prefix(".").unwrap_or(path));
    found.map_or_else(|| name.to_owned(), |path| path.display().to_string())
}

/// One fault of a `.proto` file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    pub(crate) file: Option<String>,
    pub(crate) position: Option<Position>,
    pub(crate) message: String,
    pub(crate) notes: Vec<String>,
}

/// A place in a file, counted from 1 as editors do. Columns are characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { file: None, position: None, message: message.into(), notes: Vec::new() }
    }

    /// The file, as a path from where the build script runs if it is on disk, otherwise as imports name it.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The line, counted from 1.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.position.map(|position| position.line)
    }

    /// The column in characters, counted from 1.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        self.position.map(|position| position.column)
    }

    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            if let Some(position) = self.position {
                write!(f, "{position}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)?;
        for note in &self.notes {
            write!(f, "\n  {note}")?;
        }
        Ok(())
    }
}
