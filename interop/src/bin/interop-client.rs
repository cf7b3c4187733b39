//! The cases of the gRPC interop suite on our client, with the official client's flags, against any server of the suite.
//!
//! Generated code, the public API and the library's defaults. Left out: the cases of compression, ORCA, soak and
//! credentials.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clearway::metadata::{MetadataKey, MetadataMap, MetadataValue};
use clearway::transport::{Certificate, ClientTlsConfig, Endpoint};
use clearway_interop::cases::{CASES, Suite};
use clearway_interop::flags::{self, Asked, Problem};

const HELP: &str = "\
The client of the gRPC interop suite.

Usage: interop-client [--server_host H] [--server_port N] [--test_case C] [flags]

  --server_host H           where the server is; localhost by default
  --server_port N           its port; 10000 by default
  --test_case C             one case, or `all`; large_unary by default
  --server_host_override H  the name calls carry in :authority, and the certificate must be for
  --additional_metadata M   metadata for every call: `key:value;key2:value2`
  --use_tls[=BOOL]          speak TLS; false by default
  --use_test_ca[=BOOL]      trust the authority of --ca_file; otherwise, without --ca_file, the machine's
  --ca_file FILE            PEM file of the authority to trust
  --help                    print this

Prints one line for each case: `CASE: ok`, or on stderr what differed. Exits 1 when a case failed, 2 when the command
line cannot be used.
";

const ALL: &str = "all";

fn main() -> ExitCode {
    let asked = match read_flags(std::env::args_os().skip(1)) {
        Ok(Asked::Run(asked)) => asked,
        Ok(Asked::Help) => {
            print!("{HELP}");
            println!("Cases: {}", CASES.join(" "));
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("interop-client: {problem}");
            return ExitCode::from(2);
        }
    };
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(asked)),
        Err(error) => {
            eprintln!("interop-client: no runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(asked: Work) -> ExitCode {
    let target = asked.endpoint.to_string();
    let suite = match Suite::connect(asked.endpoint, asked.metadata).await {
        Ok(suite) => suite,
        Err(error) => {
            eprintln!("interop-client: cannot connect to {target}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut code = ExitCode::SUCCESS;
    for case in asked.cases {
        let outcome = match suite.run(case).await {
            Ok(()) => {
                writeln!(std::io::stdout(), "{case}: ok").map_err(|error| format!("cannot write: {error}"))
            }
            Err(problem) => Err(problem.to_string()),
        };
        if let Err(problem) = outcome {
            eprintln!("{case}: {problem}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// The flags as they were typed.
#[derive(Debug)]
struct Flags {
    host: String,
    port: u16,
    case: String,
    host_override: Option<String>,
    metadata: String,
    use_tls: bool,
    use_test_ca: bool,
    ca_file: Option<String>,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            host: "localhost".into(),
            port: 10_000,
            case: "large_unary".into(),
            host_override: None,
            metadata: String::new(),
            use_tls: false,
            use_test_ca: false,
            ca_file: None,
        }
    }
}

/// What they mean.
#[derive(Debug)]
struct Work {
    endpoint: Endpoint,
    metadata: MetadataMap,
    cases: Vec<&'static str>,
}

fn read_flags(args: impl IntoIterator<Item = OsString>) -> Result<Asked<Work>, Problem> {
    let asked = flags::read(args, |flags: &mut Flags, name, values| {
        match name {
            "server_host" => flags.host = values.text()?,
            "server_port" => flags.port = values.port()?,
            "test_case" => flags.case = values.text()?,
            "server_host_override" => flags.host_override = Some(values.text()?),
            "additional_metadata" => flags.metadata = values.text()?,
            "use_tls" => flags.use_tls = values.switch()?,
            "use_test_ca" => flags.use_test_ca = values.switch()?,
            "ca_file" => flags.ca_file = Some(values.text()?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    match asked {
        Asked::Help => Ok(Asked::Help),
        Asked::Run(flags) => resolve(&flags).map(Asked::Run),
    }
}

fn resolve(flags: &Flags) -> Result<Work, Problem> {
    let bare_ipv6 = flags.host.contains(':') && !flags.host.starts_with('[');
    let host = if bare_ipv6 { format!("[{}]", flags.host) } else { flags.host.clone() };
    let scheme = if flags.use_tls { "https" } else { "http" };
    let target = format!("{scheme}://{host}:{}", flags.port);
    let mut endpoint = Endpoint::new(target).map_err(|error| error.to_string())?;
    if let Some(name) = &flags.host_override {
        endpoint = endpoint.origin(name).map_err(|error| format!("--server_host_override: {error}"))?;
    }
    if flags.use_tls {
        endpoint = endpoint.tls_config(trust(flags)?).map_err(|error| error.to_string())?;
    }
    let metadata =
        read_metadata(&flags.metadata).map_err(|problem| format!("--additional_metadata: {problem}"))?;
    Ok(Work { endpoint, metadata, cases: select(&flags.case)? })
}

fn trust(flags: &Flags) -> Result<ClientTlsConfig, Problem> {
    match &flags.ca_file {
        Some(path) => {
            let authority = Certificate::from_pem(flags::file("ca_file", path)?);
            Ok(ClientTlsConfig::new().ca_certificate(authority))
        }
        None if flags.use_test_ca => {
            Err("--use_test_ca: --ca_file is missing, which names its PEM file".into())
        }
        None => Ok(ClientTlsConfig::new().with_native_roots()),
    }
}

fn select(wanted: &str) -> Result<Vec<&'static str>, Problem> {
    if wanted == ALL {
        return Ok(CASES.to_vec());
    }
    match CASES.iter().find(|case| **case == wanted) {
        Some(case) => Ok(vec![case]),
        None => Err(format!("--test_case: unknown case {wanted:?}; cases: {} {ALL}", CASES.join(" "))),
    }
}

/// Reads `key:value;key2:value2`. A key ends at its first colon.
fn read_metadata(text: &str) -> Result<MetadataMap, Problem> {
    let mut metadata = MetadataMap::new();
    for entry in text.split(';').filter(|entry| !entry.is_empty()) {
        let Some((key, value)) = entry.split_once(':') else {
            return Err(format!("{entry:?} is not key:value"));
        };
        let bad_key = || format!("{key:?} is no metadata key");
        if key.ends_with("-bin") {
            let key = MetadataKey::from_bytes(key.as_bytes()).map_err(|_| bad_key())?;
            metadata.append_bin(key, MetadataValue::from_bytes(value.as_bytes()));
        } else {
            let key = MetadataKey::from_bytes(key.as_bytes()).map_err(|_| bad_key())?;
            let value = value.parse().map_err(|_| format!("value {value:?} is not visible ASCII"))?;
            metadata.append(key, value);
        }
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Asked<Work>, Problem> {
        read_flags(line.split_whitespace().map(OsString::from))
    }

    fn work(line: &str) -> Work {
        match read(line) {
            Ok(Asked::Run(work)) => work,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn official_flags_are_read() {
        let work_of = work(
            "--server_host 127.0.0.1 --server_port=1 --test_case ping_pong --use_tls=false \
             --server_host_override=foo.test.google.fr --use_test_ca=true --ca_file F",
        );
        assert_eq!(work_of.endpoint.to_string(), "http://127.0.0.1:1");
        assert_eq!(work_of.cases, ["ping_pong"]);
        assert_eq!(work("").cases, ["large_unary"]);
        assert_eq!(work("").endpoint.to_string(), "http://localhost:10000");
        assert_eq!(work("--server_host ::1").endpoint.to_string(), "http://[::1]:10000");
        assert_eq!(work("--test_case=all").cases, CASES);
    }

    #[test]
    fn metadata_is_split_at_the_first_colon() {
        let metadata = work("--additional_metadata a:b:c;x-bin:\u{1};a:d;").metadata;
        let values: Vec<_> = metadata.get_all("a").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(values, ["b:c", "d"]);
        assert_eq!(metadata.get_bin("x-bin").unwrap().to_bytes().unwrap(), "\u{1}");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (line, named) in [
            ("--test_case=nope", "cancel_after_first_response"),
            ("--use_tls=true --ca_file /no/such", "/no/such"),
            ("--use_tls=true --use_test_ca", "--ca_file is missing"),
            ("--additional_metadata a", "\"a\" is not key:value"),
            ("--additional_metadata a/b:1", "a/b"),
            ("--additional_metadata a:\u{e9}", "--additional_metadata"),
            ("--server_port=x", "--server_port"),
            ("--server_host_override=a/b", "--server_host_override"),
            ("--soak_iterations=1", "--soak_iterations"),
        ] {
            let problem = read(line).expect_err(line);
            assert!(problem.contains(named), "{line}: {problem}");
        }
    }
}
