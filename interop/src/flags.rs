//! The official programs' flags: `--name value` or `--name=value`, and for switches also `--name` alone.

use std::ffi::OsString;

use clearway::transport::{Identity, TlsVersion};
use lexopt::prelude::*;

/// Why a command line cannot be used, in one line.
pub type Problem = String;

/// What a program was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked<T> {
    /// To run with these.
    Run(T),
    /// To print its help.
    Help,
}

/// Reads flags; `set` takes one, reads its value from the parser, and says false if it knows no such flag.
///
/// # Errors
/// The first flag that is unknown or has a bad value.
pub fn read<T: Default>(
    args: impl IntoIterator<Item = OsString>,
    mut set: impl FnMut(&mut T, &str, &mut Values) -> Result<bool, Problem>,
) -> Result<Asked<T>, Problem> {
    let mut read = T::default();
    let mut values = Values(lexopt::Parser::from_args(args));
    while let Some(argument) = values.0.next().map_err(|error| error.to_string())? {
        let name = match argument {
            Long("help") => return Ok(Asked::Help),
            Long(name) => name.to_owned(),
            other => return Err(format!("{}; see --help", other.unexpected())),
        };
        match set(&mut read, &name, &mut values) {
            Ok(true) => {}
            Ok(false) => return Err(format!("invalid option '--{name}'; see --help")),
            Err(problem) => return Err(format!("--{name}: {problem}")),
        }
    }
    Ok(Asked::Run(read))
}

/// Where the values of flags come from.
#[derive(Debug)]
pub struct Values(lexopt::Parser);

impl Values {
    /// The value of a flag that must have one.
    ///
    /// # Errors
    /// There is none, or it is not UTF-8.
    pub fn text(&mut self) -> Result<String, Problem> {
        let value = self.0.value().map_err(|error| error.to_string())?;
        value.string().map_err(|error| error.to_string())
    }

    /// The value of a flag that is a port.
    ///
    /// # Errors
    /// It is missing or not between 0 and 65535.
    pub fn port(&mut self) -> Result<u16, Problem> {
        let text = self.text()?;
        text.parse().map_err(|_| format!("{text:?} is not a port"))
    }

    /// The value of a flag that is a number.
    ///
    /// # Errors
    /// It is missing or not a number of this type.
    pub fn number<T: core::str::FromStr>(&mut self) -> Result<T, Problem> {
        let text = self.text()?;
        text.parse().map_err(|_| format!("{text:?} is not a number that fits"))
    }

    /// The value of a switch: `true` when it stands alone.
    ///
    /// # Errors
    /// A value that is neither `true` nor `false`.
    pub fn switch(&mut self) -> Result<bool, Problem> {
        let attached = self.0.optional_value();
        let value = match attached {
            Some(value) => value,
            None => match self.0.try_raw_args() {
                Some(mut rest) => match rest.next_if(|next| next == "true" || next == "false") {
                    Some(value) => value,
                    None => return Ok(true),
                },
                None => return Ok(true),
            },
        };
        match value.to_str() {
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            _ => Err(format!("{value:?} is neither true nor false")),
        }
    }
}

/// A version of TLS, as its numbers.
///
/// # Errors
/// It is another than 1.2 and 1.3.
pub fn tls_version(text: &str) -> Result<TlsVersion, Problem> {
    match text {
        "1.2" => Ok(TlsVersion::V1_2),
        "1.3" => Ok(TlsVersion::V1_3),
        other => Err(format!("{other:?} is neither 1.2 nor 1.3")),
    }
}

/// A file that a flag names.
///
/// # Errors
/// It cannot be read; the error names flag and file.
pub fn file(flag: &str, path: &str) -> Result<Vec<u8>, Problem> {
    std::fs::read(path).map_err(|error| format!("--{flag}: {path}: {error}"))
}

/// A server's certificate chain and key, from the two files that a pair of flags names.
///
/// # Errors
/// One is missing, or cannot be read.
pub fn identity(
    (cert_flag, cert): (&str, Option<&str>),
    (key_flag, key): (&str, Option<&str>),
) -> Result<Identity, Problem> {
    let cert = cert.ok_or_else(|| format!("--{cert_flag} is missing; TLS needs a certificate"))?;
    let key = key.ok_or_else(|| format!("--{key_flag} is missing; TLS needs the certificate's key"))?;
    Ok(Identity::from_pem(file(cert_flag, cert)?, file(key_flag, key)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Flags {
        port: u16,
        tls: bool,
        host: String,
    }

    fn parse(line: &str) -> Result<Asked<Flags>, Problem> {
        read(line.split_whitespace().map(OsString::from), |flags: &mut Flags, name, values| {
            match name {
                "server_port" => flags.port = values.port()?,
                "use_tls" => flags.tls = values.switch()?,
                "server_host" => flags.host = values.text()?,
                _ => return Ok(false),
            }
            Ok(true)
        })
    }

    #[test]
    fn both_ways_of_giving_a_value_are_read() {
        for (line, port, tls) in [
            ("--server_host=h --server_port=1 --use_tls=true", 1, true),
            ("--server_host h --server_port 1 --use_tls true", 1, true),
            ("--use_tls --server_port=65535 --server_host h", 65535, true),
            ("--use_tls false --server_port=0 --server_host h", 0, false),
            ("--use_tls=false --server_port 2 --server_host=h", 2, false),
            ("--server_port 2 --server_host=h", 2, false),
        ] {
            assert_eq!(parse(line), Ok(Asked::Run(Flags { port, tls, host: "h".into() })), "{line}");
        }
        assert_eq!(parse("--server_port 1 --help"), Ok(Asked::Help));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (line, named) in [
            ("--server_port", "--server_port"),
            ("--server_port 65536", "--server_port"),
            ("--use_tls=maybe", "--use_tls"),
            ("--prot 1", "--prot"),
            ("--use_tls maybe", "maybe"),
            ("extra", "extra"),
        ] {
            let problem = parse(line).expect_err(line);
            assert!(problem.contains(named), "{line}: {problem}");
        }
    }
}
