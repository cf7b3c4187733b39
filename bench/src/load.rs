//! The load generators: h2load, raw-client for the floor, and programs on gRPC clients; and reading what they print.
//!
//! All are closed loops. A run counts only if every call came back whole: h2load knows HTTP status and octets but not
//! grpc-status, so the octets of DATA must be exactly those of the echoes; the gRPC clients compare messages themselves.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::Outcome;
use crate::peer::pinned;
use crate::programs::Invocation;

/// Octets that a call puts on the wire, in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) request: usize,
    pub(crate) response: usize,
}

/// So many calls of a method, at a time and in all, with the same message.
#[derive(Clone, Debug)]
pub(crate) struct H2load {
    pub(crate) method: &'static str,
    pub(crate) connections: u32,
    /// At a time on each connection.
    pub(crate) streams: u32,
    message: PathBuf,
    message_octets: u64,
    scheme: &'static str,
}

impl H2load {
    /// Writes the message to where h2load finds it.
    pub(crate) fn new(
        scratch: &Path,
        method: &'static str,
        connections: u32,
        streams: u32,
        payload: usize,
    ) -> Outcome<Self> {
        let message = framed_message(payload)?;
        let path = scratch.join(format!("message-{payload}.bin"));
        std::fs::write(&path, &message)?;
        let message_octets = u64::try_from(message.len())?;
        Ok(Self { method, connections, streams, message: path, message_octets, scheme: "http" })
    }

    /// The same over TLS; whose certificate it is does not matter to h2load.
    pub(crate) fn over_tls(self) -> Self {
        Self { scheme: "https", ..self }
    }

    /// Makes `calls` calls and returns how long they took together.
    pub(crate) fn run(&self, core: Option<usize>, port: u16, calls: u64) -> Outcome<Duration> {
        let mut command = pinned(core, "h2load");
        command
            .args([format!("-c{}", self.connections), format!("-n{calls}"), format!("-m{}", self.streams)])
            // A server that says nothing for so long is broken.
            .arg("--connection-inactivity-timeout=10")
            .args(["-H", "content-type: application/grpc", "-H", "te: trailers", "-d"])
            .arg(&self.message)
            .arg(format!("{}://127.0.0.1:{port}/bench.Echo/{}", self.scheme, self.method));
        let report = Report::parse(&printed(command)?)?;
        let octets = calls * self.message_octets;
        if report.succeeded != calls {
            return Err(format!("h2load: {} of {calls} calls succeeded", report.succeeded).into());
        }
        if report.data_octets != octets {
            return Err(format!("h2load: {} octets of DATA came, not {octets}", report.data_octets).into());
        }
        Ok(report.took)
    }
}

/// What a program on a gRPC client, or `raw-client`, printed.
#[derive(Clone, Debug)]
pub(crate) struct Printed(serde_json::Value);

impl Printed {
    /// Runs the program against `port` and reads the line of JSON it ends with.
    pub(crate) fn of(client: &Invocation, core: Option<usize>, port: u16, more: &[String]) -> Outcome<Self> {
        let mut command = client.on_core(core);
        command.arg(format!("--port={port}")).args(more);
        Ok(Self(serde_json::from_str(&printed(command)?)?))
    }

    /// A member of the object.
    pub(crate) fn number(&self, name: &str) -> Outcome<f64> {
        let number = self.0.get(name).and_then(serde_json::Value::as_f64);
        number.ok_or_else(|| format!("a client printed no {name}: {}", self.0).into())
    }

    /// How long its calls took together.
    pub(crate) fn took(&self) -> Outcome<Duration> {
        Ok(Duration::try_from_secs_f64(self.number("seconds")?)?)
    }
}

/// `bench.Msg` with a payload of zeros, behind gRPC's length prefix: what each call sends and gets back.
pub(crate) fn framed_message(payload: usize) -> Outcome<Vec<u8>> {
    // Field 1, length-delimited; its length as a varint of one or two groups of seven bits.
    let mut message = vec![0x0a];
    match (u8::try_from(payload & 0x7f)?, u8::try_from(payload >> 7)?) {
        (low, 0) => message.push(low),
        (low, high @ 1..=0x7f) => message.extend([low | 0x80, high]),
        _ => return Err(format!("a payload of {payload} octets is not provided for").into()),
    }
    message.resize(message.len() + payload, 0);
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len())?.to_be_bytes());
    framed.append(&mut message);
    Ok(framed)
}

fn printed(mut command: Command) -> Outcome<String> {
    let Output { status, stdout, stderr } =
        command.output().map_err(|error| format!("cannot start a load generator: {error}"))?;
    if !status.success() {
        return Err(format!("{command:?}: {status}: {}", String::from_utf8_lossy(&stderr).trim()).into());
    }
    Ok(String::from_utf8(stdout)?)
}

/// What h2load found.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    took: Duration,
    succeeded: u64,
    /// Octets of DATA payload that came back.
    data_octets: u64,
}

impl Report {
    fn parse(printed: &str) -> Outcome<Self> {
        let line = |start: &str| {
            let found = printed.lines().find_map(|line| line.strip_prefix(start));
            found.ok_or_else(|| format!("h2load printed no line {start:?}"))
        };
        let took = line("finished in ")?.split(',').next().and_then(duration);
        let succeeded = counted(line("requests: ")?, "succeeded");
        let data_octets = line("traffic: ")?.split(", ").find_map(in_parentheses_before_data);
        match (took, succeeded, data_octets) {
            (Some(took), Some(succeeded), Some(data_octets)) => Ok(Self { took, succeeded, data_octets }),
            _ => Err(format!("cannot read what h2load printed:\n{printed}").into()),
        }
    }
}

/// The number before `word` in a list such as `10 total, 10 started, 9 succeeded`.
fn counted(list: &str, word: &str) -> Option<u64> {
    list.split(", ").find_map(|item| item.strip_suffix(word)?.trim().parse().ok())
}

/// The octets in an item such as `1.03MB (1075000) data`.
fn in_parentheses_before_data(item: &str) -> Option<u64> {
    item.strip_suffix(") data")?.rsplit_once('(')?.1.parse().ok()
}

/// A time as h2load prints it: `250.57ms`, `1.02s`, `155us`; minutes and hours come as `2m5s`.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let number: f64 = number.parse().ok()?;
    let (seconds, rest) = if let Some(rest) = unit.strip_prefix("us") {
        (number / 1e6, rest)
    } else if let Some(rest) = unit.strip_prefix("ms") {
        (number / 1e3, rest)
    } else if let Some(rest) = unit.strip_prefix('s') {
        (number, rest)
    } else if let Some(rest) = unit.strip_prefix('m') {
        (number * 60.0, rest)
    } else {
        (number * 3600.0, unit.strip_prefix('h')?)
    };
    let first = Duration::try_from_secs_f64(seconds).ok()?;
    if rest.is_empty() { Some(first) } else { Some(first + duration(rest)?) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
starting benchmark...
spawning thread #0: 1 total client(s). 100000 total requests
Application protocol: h2c
progress: 100% done

finished in 250.57ms, 399083.70 req/s, 21.69MB/s
requests: 100000 total, 100000 started, 100000 done, 99999 succeeded, 1 failed, 0 errored, 0 timeout
status codes: 99999 2xx, 0 3xx, 0 4xx, 1 5xx
traffic: 5.44MB (5700219) total, 195.33KB (200017) headers (space savings 94.74%), 2.57MB (2700000) data
                     min         max         mean         sd        +/- sd
time for request:      155us       652us       210us        20us    84.26%
";

    #[test]
    fn a_report_is_read() {
        let expected =
            Report { took: Duration::from_micros(250_570), succeeded: 99_999, data_octets: 2_700_000 };
        assert_eq!(Report::parse(PRINTED).unwrap(), expected);
    }

    #[test]
    fn a_report_without_an_end_is_an_error() {
        let cut = PRINTED.split_once("finished").unwrap().0;
        let error = Report::parse(cut).unwrap_err().to_string();
        assert_eq!(error, "h2load printed no line \"finished in \"");
        let strange = PRINTED.replace("99999 succeeded", "all succeeded");
        assert!(Report::parse(&strange).is_err());
    }

    #[test]
    fn times_are_read_in_every_unit() {
        assert_eq!(duration("155us"), Some(Duration::from_micros(155)));
        assert_eq!(duration("1.02s"), Some(Duration::from_millis(1_020)));
        assert_eq!(duration("2m5s"), Some(Duration::from_secs(125)));
        assert_eq!(duration("1h0m1s"), Some(Duration::from_secs(3_601)));
        for bad in ["", "12", "s", "1x", "1msx"] {
            assert_eq!(duration(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn messages_are_framed() {
        assert_eq!(framed_message(2).unwrap(), [0, 0, 0, 0, 4, 0x0a, 2, 0, 0]);
        let kibibyte = framed_message(1024).unwrap();
        assert_eq!(kibibyte[..8], [0, 0, 0, 4, 3, 0x0a, 0x80, 8]);
        assert_eq!(kibibyte.len(), 5 + 3 + 1024);
        assert!(framed_message(1 << 14).is_err());
    }
}
