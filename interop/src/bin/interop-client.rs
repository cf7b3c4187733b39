//! The cases of the gRPC interop suite on our client, with the official client's flags, against any server of the suite.
//!
//! Generated code, the public API and the library's defaults. Left out: the cases of credentials and of name resolution.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clearway::codec::CompressionEncoding;
use clearway::metadata::{MetadataKey, MetadataMap, MetadataValue};
use clearway::transport::{Certificate, ClientTlsConfig, Endpoint};
use clearway_interop::cases::{CASES, NEGATIVE_CASES, Suite};
use clearway_interop::compressions;
use clearway_interop::flags::{self, Asked, Problem, Values};
use clearway_interop::soak::{self, Over, SOAK_CASES, Soak};

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
  --service_config_json J   the channel's service config
  --ca_file FILE            PEM file of the authority to trust
  --compression A           compress every call by gzip, deflate or zstd, and accept it (not an official flag)

For rpc_soak and channel_soak:
  --soak_iterations N       calls in all; 10 by default
  --soak_num_threads N      lanes that share them equally; 1 by default
  --soak_max_failures N     more of them fail the case; 0 by default
  --soak_overall_timeout_seconds S                   all calls must be made within; 10 by default
  --soak_per_iteration_max_acceptable_latency_ms MS  a slower call has failed; 1000 by default
  --soak_min_time_ms_between_rpcs MS                 between two calls of a lane; 0 by default
  --soak_request_size N     octets of payload there; 271828 by default
  --soak_response_size N    octets of payload back; 314159 by default

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
            println!("Cases: {}", all_cases());
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
    let cases = match asked.cases {
        Cases::Calls(cases) => cases,
        Cases::Soak(case, over) => {
            return match soak::run(asked.soak, over, asked.endpoint, asked.metadata).await {
                Ok(()) => said(case, Ok(())),
                Err(problem) => said(case, Err(problem)),
            };
        }
    };
    let target = asked.endpoint.to_string();
    let suite = match Suite::connect(asked.endpoint, asked.metadata).await {
        Ok(suite) => asked.compression.into_iter().fold(suite, Suite::compressed),
        Err(error) => {
            eprintln!("interop-client: cannot connect to {target}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut code = ExitCode::SUCCESS;
    for case in cases {
        let outcome = suite.run(case).await.map_err(|problem| problem.to_string());
        if said(case, outcome) == ExitCode::FAILURE {
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// Says how a case went.
fn said(case: &str, outcome: Result<(), String>) -> ExitCode {
    let written =
        |()| writeln!(std::io::stdout(), "{case}: ok").map_err(|error| format!("cannot write: {error}"));
    match outcome.and_then(written) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{case}: {problem}");
            ExitCode::FAILURE
        }
    }
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
    compression: Option<String>,
    soak: Soak,
    service_config: Option<String>,
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
            compression: None,
            soak: Soak::default(),
            service_config: None,
        }
    }
}

/// What they mean.
#[derive(Debug)]
struct Work {
    endpoint: Endpoint,
    metadata: MetadataMap,
    compression: Option<CompressionEncoding>,
    soak: Soak,
    cases: Cases,
}

/// What is run.
#[derive(Debug, PartialEq, Eq)]
enum Cases {
    /// These, one after the other, over one channel.
    Calls(Vec<&'static str>),
    /// One of the cases that make many calls.
    Soak(&'static str, Over),
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
            "service_config_json" => flags.service_config = Some(values.text()?),
            "compression" => flags.compression = Some(values.text()?),
            _ => return set_soak(&mut flags.soak, name, values),
        }
        Ok(true)
    })?;
    match asked {
        Asked::Help => Ok(Asked::Help),
        Asked::Run(flags) => resolve(&flags).map(Asked::Run),
    }
}

fn set_soak(soak: &mut Soak, name: &str, values: &mut Values) -> Result<bool, Problem> {
    match name {
        "soak_iterations" => soak.iterations = values.number()?,
        "soak_num_threads" => soak.threads = values.number()?,
        "soak_max_failures" => soak.max_failures = values.number()?,
        "soak_overall_timeout_seconds" => soak.overall_timeout = Duration::from_secs(values.number()?),
        "soak_per_iteration_max_acceptable_latency_ms" => {
            soak.acceptable_latency = Duration::from_millis(values.number()?);
        }
        "soak_min_time_ms_between_rpcs" => soak.between = Duration::from_millis(values.number()?),
        "soak_request_size" => soak.request_size = values.number()?,
        "soak_response_size" => soak.response_size = values.number()?,
        _ => return Ok(false),
    }
    Ok(true)
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
    if let Some(json) = &flags.service_config {
        let with = endpoint.service_config(json.as_str());
        endpoint = with.map_err(|error| format!("--service_config_json: {error}"))?;
    }
    let metadata =
        read_metadata(&flags.metadata).map_err(|problem| format!("--additional_metadata: {problem}"))?;
    let compression = match flags.compression.as_deref().map(compressions).transpose() {
        Ok(named) => named.and_then(|named| named.first().copied()),
        Err(problem) => return Err(format!("--compression: {problem}")),
    };
    Ok(Work { endpoint, metadata, compression, soak: flags.soak, cases: select(&flags.case)? })
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

fn select(wanted: &str) -> Result<Cases, Problem> {
    if wanted == ALL {
        return Ok(Cases::Calls(CASES.to_vec()));
    }
    for case in SOAK_CASES {
        if let (true, Some(over)) = (case == wanted, Over::of_case(case)) {
            return Ok(Cases::Soak(case, over));
        }
    }
    match CASES.iter().chain(&NEGATIVE_CASES).find(|case| **case == wanted) {
        Some(case) => Ok(Cases::Calls(vec![case])),
        None => Err(format!("--test_case: unknown case {wanted:?}; cases: {} {ALL}", all_cases())),
    }
}

fn all_cases() -> String {
    [&CASES[..], &NEGATIVE_CASES, &SOAK_CASES].concat().join(" ")
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
        assert_eq!(work_of.cases, Cases::Calls(vec!["ping_pong"]));
        assert_eq!(work("").cases, Cases::Calls(vec!["large_unary"]));
        assert_eq!(work("--test_case goaway").cases, Cases::Calls(vec!["goaway"]));
        assert_eq!(work("").endpoint.to_string(), "http://localhost:10000");
        assert_eq!(work("--server_host ::1").endpoint.to_string(), "http://[::1]:10000");
        assert_eq!(work("--test_case=all").cases, Cases::Calls(CASES.to_vec()));
    }

    #[test]
    fn soak_has_flags_of_its_own() {
        let work_of = work(
            "--test_case=channel_soak --soak_iterations=500 --soak_num_threads 4 --soak_max_failures=1 \
             --soak_overall_timeout_seconds 60 --soak_per_iteration_max_acceptable_latency_ms=500 \
             --soak_min_time_ms_between_rpcs=3 --soak_request_size=10 --soak_response_size 20",
        );
        assert_eq!(work_of.cases, Cases::Soak("channel_soak", Over::New));
        let wanted = Soak {
            iterations: 500,
            threads: 4,
            max_failures: 1,
            overall_timeout: Duration::from_secs(60),
            acceptable_latency: Duration::from_millis(500),
            between: Duration::from_millis(3),
            request_size: 10,
            response_size: 20,
        };
        assert_eq!(work_of.soak, wanted);
        assert_eq!(work("--test_case=rpc_soak").cases, Cases::Soak("rpc_soak", Over::One));
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
            ("--soak_iterations=x", "--soak_iterations"),
            ("--soak_wishes=1", "--soak_wishes"),
            ("--compression=br", "--compression"),
            ("--service_config_json={\"methodConfig\":1}", "methodConfig: want a list"),
        ] {
            let problem = read(line).expect_err(line);
            assert!(problem.contains(named), "{line}: {problem}");
        }
    }
}
