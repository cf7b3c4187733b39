//! The command line: from what was typed to what is meant. Exit code 2 for everything that cannot be understood.
//!
//! Only what exists is listed; flags that later versions bring are refused by name rather than as unknown.

use core::fmt;
use std::ffi::OsString;

use clearway::transport::Address;
use lexopt::Arg;

use crate::wire::paint::Colour;

/// Where `clearway demo` listens unless told otherwise.
pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:50051";

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// `clearway demo`.
    Demo(DemoFlags),
    /// A help page, to be printed.
    Help(&'static str),
    /// `clearway --version`.
    Version,
}

/// The flags of `clearway demo`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct DemoFlags {
    pub(crate) listen: Address,
    pub(crate) security: Security,
    pub(crate) then: Then,
    pub(crate) colour: Colour,
}

/// Whether the demo's connection is encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Security {
    /// No.
    Plaintext,
    /// Yes, with a certificate made for the run.
    SelfSigned,
}

/// What the demo does after its calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    /// Serve until Ctrl-C.
    Serve,
    /// Exit.
    Exit,
}

/// A command line that makes no sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}

/// `clearway --help`.
pub(crate) const HELP: &str = "\
clearway: gRPC you can see through

Usage: clearway <verb> [flags]

Verbs:
  demo    start a gRPC server, call it in all four ways over one connection, show every octet

Flags:
  -h, --help       this page; after a verb, the page of the verb
  -V, --version    the version

Start here: clearway demo
";

const DEMO_HELP: &str = "\
clearway demo: a gRPC server and a client on one real connection, made visible

Starts a server (Greeter, RouteGuide, Echo), calls it in all four ways over one connection and prints
each call as it went over the wire: frames, header fields before and after compression, messages,
trailers. Then it goes on serving until Ctrl-C.

Usage: clearway demo [flags]

Flags:
      --listen ADDRESS    host:port or unix:/path to serve on; port 0 takes a free one
                          (default: 127.0.0.1:50051)
      --tls               over TLS, with a certificate made for this run that signs itself
      --once              exit after printing
      --color WHEN        auto, always or never (default: auto; off if NO_COLOR is set)
  -h, --help              this page

Exit codes: 0 done, 1 it failed (the address is taken, a call went wrong), 2 bad usage.
";

const VERBS: &[&str] = &["demo"];
const FLAGS: &[&str] = &["--help", "--version"];
const DEMO_FLAGS: &[&str] = &["--listen", "--tls", "--once", "--color", "--help"];
/// Flags of the demo that come with what they are about.
const DEMO_FLAGS_TO_COME: &[(&str, &str)] = &[("web", "the live view")];

/// Reads a command line, the program's name not included.
///
/// # Errors
/// One line that says what was not understood and, if there is something close, what may have been meant.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut parser = lexopt::Parser::from_args(args);
    match parser.next()? {
        None => Err(UsageError("no verb given".to_owned())),
        Some(Arg::Short('h') | Arg::Long("help")) => Ok(Command::Help(HELP)),
        Some(Arg::Short('V') | Arg::Long("version")) => Ok(Command::Version),
        Some(Arg::Value(verb)) if verb == "demo" => demo(&mut parser),
        Some(Arg::Value(verb)) if verb == "help" => help(&mut parser),
        Some(Arg::Value(verb)) => Err(unknown("verb", &verb.to_string_lossy(), VERBS)),
        Some(Arg::Long(flag)) => Err(unknown("flag", &format!("--{flag}"), FLAGS)),
        Some(Arg::Short(flag)) => Err(unknown("flag", &format!("-{flag}"), &[])),
    }
}

/// `clearway help [verb]`.
fn help(parser: &mut lexopt::Parser) -> Result<Command, UsageError> {
    match parser.next()? {
        None => Ok(Command::Help(HELP)),
        Some(Arg::Value(verb)) if verb == "demo" => Ok(Command::Help(DEMO_HELP)),
        Some(other) => Err(unknown("verb", &typed(&other), VERBS)),
    }
}

fn demo(parser: &mut lexopt::Parser) -> Result<Command, UsageError> {
    let mut flags = DemoFlags {
        listen: address(DEFAULT_LISTEN)?,
        security: Security::Plaintext,
        then: Then::Serve,
        colour: Colour::Auto,
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("listen") => flags.listen = address(&text(parser, "--listen")?)?,
            Arg::Long("tls") if cfg!(feature = "tls") => flags.security = Security::SelfSigned,
            Arg::Long("tls") => {
                return Err(UsageError("--tls: this build has no TLS (cargo feature tls)".to_owned()));
            }
            Arg::Long("once") => flags.then = Then::Exit,
            Arg::Long("color" | "colour") => flags.colour = colour(&text(parser, "--color")?)?,
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help(DEMO_HELP)),
            Arg::Long(flag) => {
                let to_come = DEMO_FLAGS_TO_COME.iter().find(|(name, _)| *name == flag);
                return Err(match to_come {
                    Some((name, what)) => UsageError(format!(
                        "--{name} does not exist yet: it comes with {what}, which is not built"
                    )),
                    None => unknown("flag", &format!("--{flag}"), DEMO_FLAGS),
                });
            }
            Arg::Short(flag) => return Err(unknown("flag", &format!("-{flag}"), &[])),
            Arg::Value(value) => {
                let value = value.to_string_lossy();
                return Err(UsageError(format!(
                    "demo takes no {value:?}; to choose the address: --listen {value}"
                )));
            }
        }
    }
    if flags.security == Security::SelfSigned && matches!(flags.listen, Address::Unix(_)) {
        return Err(UsageError("--tls: a Unix socket needs none; listen on host:port".to_owned()));
    }
    Ok(Command::Demo(flags))
}

fn text(parser: &mut lexopt::Parser, flag: &str) -> Result<String, UsageError> {
    let value = parser.value().map_err(|_| UsageError(format!("{flag} needs a value")))?;
    value
        .into_string()
        .map_err(|value| UsageError(format!("{flag}: {} is not UTF-8", value.to_string_lossy())))
}

fn address(text: &str) -> Result<Address, UsageError> {
    text.parse().map_err(|error| UsageError(format!("--listen: {error}")))
}

fn colour(when: &str) -> Result<Colour, UsageError> {
    match when {
        "auto" => Ok(Colour::Auto),
        "always" => Ok(Colour::Always),
        "never" => Ok(Colour::Never),
        other => Err(UsageError(format!("--color {other}: want auto, always or never"))),
    }
}

/// An argument as it was typed.
fn typed(arg: &Arg<'_>) -> String {
    match arg {
        Arg::Short(flag) => format!("-{flag}"),
        Arg::Long(flag) => format!("--{flag}"),
        Arg::Value(value) => value.to_string_lossy().into_owned(),
    }
}

fn unknown(what: &str, typed: &str, known: &[&str]) -> UsageError {
    let close =
        known.iter().map(|name| (distance(typed, name), name)).min().filter(|(distance, _)| *distance <= 2);
    UsageError(match close {
        Some((_, name)) => format!("no {what} {typed:?}; did you mean {name}?"),
        None => format!("no {what} {typed:?}"),
    })
}

/// How many letters to add, drop, change or swap with their neighbour to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut last = None;
    for (row, x) in a.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, y) in b.iter().enumerate() {
            let at = |line: &[usize], column: usize| line.get(column).copied().unwrap_or(usize::MAX - 1);
            let changed = at(&above, column) + usize::from(x != *y);
            let mut least = changed.min(at(&above, column + 1) + 1).min(at(&current, column) + 1);
            let left = column.checked_sub(1);
            if let (Some(left), Some(last)) = (left, last)
                && b.get(left) == Some(&x)
                && last == *y
            {
                least = least.min(at(&before, left) + 1);
            }
            current.push(least);
        }
        before = core::mem::replace(&mut above, current);
        last = Some(x);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Command, String> {
        parse(args.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_demo_has_defaults_and_flags() {
        let defaults = DemoFlags {
            listen: DEFAULT_LISTEN.parse().unwrap(),
            security: Security::Plaintext,
            then: Then::Serve,
            colour: Colour::Auto,
        };
        assert_eq!(parsed(&["demo"]), Ok(Command::Demo(defaults)));
        let all = ["demo", "--once", "--tls", "--listen", "[::1]:0", "--color=always"];
        let flags = DemoFlags {
            listen: "[::1]:0".parse().unwrap(),
            security: Security::SelfSigned,
            then: Then::Exit,
            colour: Colour::Always,
        };
        let refused = Err("--tls: this build has no TLS (cargo feature tls)".to_owned());
        assert_eq!(parsed(&all), if cfg!(feature = "tls") { Ok(Command::Demo(flags)) } else { refused });
    }

    #[test]
    fn help_is_at_hand_and_names_every_flag() {
        assert_eq!(parsed(&["--help"]), Ok(Command::Help(HELP)));
        assert_eq!(parsed(&["help"]), Ok(Command::Help(HELP)));
        assert_eq!(parsed(&["help", "demo"]), Ok(Command::Help(DEMO_HELP)));
        assert_eq!(parsed(&["demo", "--once", "-h"]), Ok(Command::Help(DEMO_HELP)));
        assert_eq!(parsed(&["-V"]), Ok(Command::Version));
        assert!(DEMO_FLAGS.iter().all(|flag| DEMO_HELP.contains(flag)));
        assert!(VERBS.iter().all(|verb| HELP.contains(verb)));
        assert!(DEMO_HELP.contains(DEFAULT_LISTEN));
    }

    #[test]
    fn what_is_not_understood_is_named_with_what_is_close() {
        for (args, error) in [
            (&[][..], "no verb given"),
            (&["dmeo"], "no verb \"dmeo\"; did you mean demo?"),
            (&["help", "demmo"], "no verb \"demmo\"; did you mean demo?"),
            (&["frobnicate"], "no verb \"frobnicate\""),
            (&["--hepl"], "no flag \"--hepl\"; did you mean --help?"),
            (&["demo", "--onse"], "no flag \"--onse\"; did you mean --once?"),
            (&["demo", "--port"], "no flag \"--port\""),
            (&["demo", "-x"], "no flag \"-x\""),
            (&["demo", "--listen"], "--listen needs a value"),
            (
                &["demo", "--listen", "50051"],
                "--listen: bad address \"50051\": want host:port, [ipv6]:port or unix:/path",
            ),
            (&["demo", "--color", "red"], "--color red: want auto, always or never"),
            (
                &["demo", "--web", "a:1"],
                "--web does not exist yet: it comes with the live view, which is not built",
            ),
            (&["demo", "a:1"], "demo takes no \"a:1\"; to choose the address: --listen a:1"),
        ] {
            assert_eq!(parsed(args), Err(error.to_owned()), "{args:?}");
        }
        assert!(parsed(&["demo", "--once=yes"]).is_err());
    }

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("demo", "demo", 0), ("dmeo", "demo", 1), ("dem", "demo", 1), ("", "demo", 4)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
