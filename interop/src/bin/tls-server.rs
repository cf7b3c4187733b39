//! A server whose TLS can be chosen, for other people's TLS stacks: its one method says who asked, and handshakes that fail
//! are written down.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{
    Address, Certificate, Identity, Listener, Reload, Server, ServerTlsConfig, TlsVersion,
};
use clearway::{Request, Response, Status};
use clearway_interop::flags::{self, Asked, Problem, Values};

const HELP: &str = "\
A server that says who asked: clearway.Tls/Who, in plain text.

Usage: tls-server --port N [--cert FILE --key FILE] [flags]

  --port N              listen on 127.0.0.1:N; 0 takes any free port
  --cert, --key FILE    speak TLS with these, and read them again when they change; otherwise cleartext
  --client_ca FILE      ask clients for a certificate that this authority signed
  --optional[=BOOL]     clients need not have one
  --min, --max V        oldest and newest version of TLS: 1.2 or 1.3
  --key_log FILE        write secrets down there
  --log FILE            write failed handshakes and ends of connections down there
  --help                print this
";

#[derive(Debug, Default)]
struct Flags {
    port: u16,
    cert: Option<String>,
    key: Option<String>,
    client_ca: Option<String>,
    optional: bool,
    min: Option<TlsVersion>,
    max: Option<TlsVersion>,
    key_log: Option<String>,
    log: Option<String>,
}

fn set(flags: &mut Flags, name: &str, values: &mut Values) -> Result<bool, Problem> {
    match name {
        "port" => flags.port = values.port()?,
        "cert" => flags.cert = Some(values.text()?),
        "key" => flags.key = Some(values.text()?),
        "client_ca" => flags.client_ca = Some(values.text()?),
        "optional" => flags.optional = values.switch()?,
        "min" => flags.min = Some(flags::tls_version(&values.text()?)?),
        "max" => flags.max = Some(flags::tls_version(&values.text()?)?),
        "key_log" => flags.key_log = Some(values.text()?),
        "log" => flags.log = Some(values.text()?),
        _ => return Ok(false),
    }
    Ok(true)
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = match flags::read(std::env::args_os().skip(1), set) {
        Ok(Asked::Run(flags)) => flags,
        Ok(Asked::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("tls-server: {problem}");
            return ExitCode::from(2);
        }
    };
    match serve(flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tls-server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(flags: Flags) -> Result<(), Box<dyn std::error::Error>> {
    let mut server = Server::builder();
    if let Some(log) = &flags.log {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(log)?;
        let ends = file.try_clone()?;
        // A line that cannot be written is missed by whoever looks for it.
        server = server
            .on_handshake_failure(move |failure| {
                let _ = writeln!(&file, "{}: {failure}", failure.error.failure.name());
            })
            .on_connection_end(move |closed| {
                let _ = writeln!(&ends, "end: {closed}");
            });
    }
    if let Some(config) = tls(&flags) {
        server = server.tls_config(config)?;
    }
    let address = Address::Tcp(([127, 0, 0, 1], flags.port).into());
    let listener = Listener::bind(&address).await?;
    if let Some(address) = listener.local_addr() {
        clearway_interop::announce(address);
    }
    let who = GenericService::new("clearway.Tls").unary("Who", BytesCodec, who);
    server.add_service(who).serve_with_listener(listener, std::future::pending()).await?;
    Ok(())
}

fn tls(flags: &Flags) -> Option<ServerTlsConfig> {
    let identity = Identity::from_files(flags.cert.as_ref()?, flags.key.as_ref()?);
    let mut config =
        ServerTlsConfig::new().identity(identity).reload(Reload::every(Duration::from_millis(100)));
    if let Some(path) = &flags.client_ca {
        config = config.client_ca_root(Certificate::from_file(path)).client_auth_optional(flags.optional);
    }
    config = flags.min.into_iter().fold(config, ServerTlsConfig::min_tls_version);
    config = flags.max.into_iter().fold(config, ServerTlsConfig::max_tls_version);
    Some(flags.key_log.iter().fold(config, ServerTlsConfig::key_log_file))
}

async fn who(request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    let version = request.tls().map_or_else(|| "cleartext".to_owned(), |tls| tls.version().to_string());
    let identity = request.peer_identity();
    let name = identity.map_or("nobody", |who| who.spiffe_id().or(who.common_name()).unwrap_or("nameless"));
    Ok(Response::new(Bytes::from(format!("{name} over {version}"))))
}
