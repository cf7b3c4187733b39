//! A client whose TLS can be chosen, for other people's TLS stacks: one call, or why there is no connection, by type.

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clearway::client::{Grpc, MethodPath};
use clearway::codec::BytesCodec;
use clearway::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, TlsVersion, TransportEvent};
use clearway::{Error, Request};
use clearway_interop::flags::{self, Asked, Problem, Values};

const HELP: &str = "\
Calls a method with an empty message, and prints the answer as text.

Usage: tls-client --target URL [flags]

  --target URL         https://host:port, or http://host:port for cleartext
  --method PATH        /clearway.Tls/Who by default
  --ca FILE            the authority to trust
  --name NAME          the name the server's certificate must be for
  --cert, --key FILE   what to show a server that asks
  --min, --max V       oldest and newest version of TLS: 1.2 or 1.3
  --key_log FILE       write secrets down there
  --help               print this

When there is no connection it prints the kind of failure, a colon, and the reason, and exits 1.
";

#[derive(Debug, Default)]
struct Flags {
    target: String,
    method: Option<String>,
    ca: Option<String>,
    name: Option<String>,
    cert: Option<String>,
    key: Option<String>,
    min: Option<TlsVersion>,
    max: Option<TlsVersion>,
    key_log: Option<String>,
}

fn set(flags: &mut Flags, name: &str, values: &mut Values) -> Result<bool, Problem> {
    match name {
        "target" => flags.target = values.text()?,
        "method" => flags.method = Some(values.text()?),
        "ca" => flags.ca = Some(values.text()?),
        "name" => flags.name = Some(values.text()?),
        "cert" => flags.cert = Some(values.text()?),
        "key" => flags.key = Some(values.text()?),
        "min" => flags.min = Some(flags::tls_version(&values.text()?)?),
        "max" => flags.max = Some(flags::tls_version(&values.text()?)?),
        "key_log" => flags.key_log = Some(values.text()?),
        _ => return Ok(false),
    }
    Ok(true)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let flags = match flags::read(std::env::args_os().skip(1), set) {
        Ok(Asked::Run(flags)) => flags,
        Ok(Asked::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("tls-client: {problem}");
            return ExitCode::from(2);
        }
    };
    match call(&flags).await {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}

async fn call(flags: &Flags) -> Result<String, String> {
    let path = flags.method.as_deref().unwrap_or("/clearway.Tls/Who");
    let path = MethodPath::new(path).map_err(|error| error.to_string())?;
    let channel =
        endpoint(flags).map_err(|error| error.to_string())?.connect().await.map_err(|error| named(&error))?;
    let answer = Grpc::new(channel).unary(Request::new(Bytes::new()), path, BytesCodec).await;
    let answer = answer.map_err(|status| status.to_string())?.into_inner();
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn endpoint(flags: &Flags) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::new(&flags.target)?.connect_timeout(Duration::from_secs(5));
    if !flags.target.starts_with("https://") {
        return Ok(endpoint);
    }
    let mut config = ClientTlsConfig::new();
    config = flags.ca.iter().map(Certificate::from_file).fold(config, ClientTlsConfig::ca_certificate);
    config = flags.name.iter().fold(config, ClientTlsConfig::domain_name);
    if let (Some(cert), Some(key)) = (&flags.cert, &flags.key) {
        config = config.identity(Identity::from_files(cert, key));
    }
    config = flags.min.into_iter().fold(config, ClientTlsConfig::min_tls_version);
    config = flags.max.into_iter().fold(config, ClientTlsConfig::max_tls_version);
    endpoint.tls_config(flags.key_log.iter().fold(config, ClientTlsConfig::key_log_file))
}

/// The kind of a failure and its reason.
fn named(error: &Error) -> String {
    match error.status().and_then(|status| status.transport()).map(|cause| &cause.event) {
        Some(TransportEvent::Connect { phase, fault, .. }) => format!("{fault:?} in {phase:?}: {error}"),
        _ => error.to_string(),
    }
}
