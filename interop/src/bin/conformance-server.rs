//! The server under test of connectconformance: gRPC over HTTP/2, with and without TLS.
//!
//! One `ServerCompatRequest` comes on stdin and says how to serve; where that is goes to stdout; then it serves until SIGTERM.
//! Generated code, the public API and the library's defaults.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clearway::transport::{Address, Certificate, Identity, Listener, Router, Server, ServerTlsConfig};
use clearway_interop::COMPRESSIONS;
use clearway_interop::conformance::proto::conformance_service_server::ConformanceServiceServer;
use clearway_interop::conformance::proto::{Codec, ServerCompatRequest, ServerCompatResponse};
use clearway_interop::conformance::service::Conformance;
use clearway_interop::conformance::{check, delimited};
use tokio::signal::unix::{SignalKind, signal};

const HELP: &str = "\
The server under test of connectconformance: gRPC over HTTP/2, with and without TLS.

Usage: connectconformance --conf FILE --mode server -- conformance-server

Reads one ServerCompatRequest from stdin and writes one ServerCompatResponse to stdout, each with four octets of length before
it. Serves until SIGTERM. Exits 1 when it cannot do what is asked.
";

fn main() -> ExitCode {
    if let Some(argument) = std::env::args().nth(1) {
        print!("{HELP}");
        return if argument == "--help" { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let served = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(serve()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conformance-server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let request: ServerCompatRequest =
        delimited::read(&mut tokio::io::stdin()).await?.ok_or("no request came on stdin")?;
    let (router, certificate) = router(&request)?;
    let mut terminated = signal(SignalKind::terminate())?;
    let any = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let listener = Listener::bind(&any).await?;
    let address = listener.local_addr().ok_or("the listener has no address")?;
    let response = ServerCompatResponse {
        host: address.ip().to_string(),
        port: address.port().into(),
        pem_cert: certificate,
    };
    delimited::write(&mut tokio::io::stdout(), &response).await?;
    // At once, and not when the last call is done: whoever says so has what it wanted.
    tokio::select! {
        served = router.serve_with_listener(listener, std::future::pending()) => Ok(served?),
        _ = terminated.recv() => Ok(()),
    }
}

/// The server that a request describes, and its certificate.
fn router(request: &ServerCompatRequest) -> Result<(Router, Vec<u8>), Box<dyn Error>> {
    check(request.protocol(), request.http_version(), Codec::Proto)?;
    let mut server = Server::builder();
    let mut certificate = Vec::new();
    if request.use_tls {
        let creds = request.server_creds.clone().ok_or("TLS is wanted, and no certificate came")?;
        let mut tls = ServerTlsConfig::new().identity(Identity::from_pem(&creds.cert, &creds.key));
        if !request.client_tls_cert.is_empty() {
            tls = tls.client_ca_root(Certificate::from_pem(&request.client_tls_cert));
        }
        server = server.tls_config(tls)?;
        certificate = creds.cert;
    }
    let mut service = ConformanceServiceServer::new(Conformance);
    for encoding in COMPRESSIONS {
        // The suite's messages are small, and are to be compressed all the same.
        service = service.accept_compressed(encoding).send_compressed(encoding.with_threshold(0));
    }
    if let Ok(limit @ 1..) = usize::try_from(request.message_receive_limit) {
        service = service.max_decoding_message_size(limit);
    }
    Ok((server.add_service(service), certificate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clearway_interop::certificates;
    use clearway_interop::conformance::proto::{HttpVersion, Protocol, TlsCreds};

    fn request() -> ServerCompatRequest {
        ServerCompatRequest {
            protocol: Protocol::Grpc.into(),
            http_version: HttpVersion::HttpVersion2.into(),
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn what_is_asked_for_is_made_or_refused() {
        assert!(router(&request()).is_ok_and(|(_, certificate)| certificate.is_empty()));
        let other = ServerCompatRequest { protocol: Protocol::GrpcWeb.into(), ..request() };
        assert!(router(&other).is_err_and(|error| error.to_string().contains("GrpcWeb")));
        let bare = ServerCompatRequest { use_tls: true, ..request() };
        assert!(router(&bare).is_err_and(|error| error.to_string().contains("no certificate came")));
        let pem = certificates::self_signed().expect("made");
        let creds = TlsCreds { cert: pem.certificate.clone().into(), key: pem.key.into() };
        let tls = ServerCompatRequest { server_creds: Some(creds), ..bare };
        assert!(router(&tls).is_ok_and(|(_, certificate)| certificate == pem.certificate.as_bytes()));
        let mutual = ServerCompatRequest { client_tls_cert: b"no certificate".to_vec(), ..tls };
        assert!(router(&mutual).is_err());
    }
}
