//! Who the client is, for the handler; who the server is, for the client; and handshakes that fail, for the operator.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use clearway::client::Grpc;
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{
    ConnectFault, Endpoint, HandshakeFailure, Identity, PeerIdentity, Server, ServerTlsConfig, TlsFailure,
    TlsVersion,
};
use clearway::{Request, Response, Status, Streaming};
use rcgen::{CertificateParams, DnType, SanType, SerialNumber};

use super::{certificates, echo, echoes, failure, fault, path, serve, signed};

/// Answers with who asks.
fn who_asks() -> GenericService {
    fn name<T>(request: &Request<T>) -> Result<Bytes, Status> {
        let Some(who) = request.peer_identity() else {
            assert!(request.peer_certs().is_none());
            return Ok(Bytes::from_static(b"nobody"));
        };
        assert_eq!(request.peer_certs().unwrap().len(), 1);
        assert_eq!(request.tls().unwrap().version(), TlsVersion::V1_3);
        let (spiffe, common) = (who.spiffe_id().unwrap_or("-"), who.common_name().unwrap_or("-"));
        Ok(Bytes::from(format!("{spiffe} {common} {} {}", who.dns_names().join(","), who.serial())))
    }
    GenericService::new("t.S")
        .unary("Who", BytesCodec, |request: Request<Bytes>| async move { Ok(Response::new(name(&request)?)) })
        .bidi_streaming("WhoChats", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            Ok(Response::new(tokio_stream::iter([name(&request)])))
        })
}

async fn ask(endpoint: Endpoint) -> [Bytes; 2] {
    let grpc = Grpc::new(endpoint.connect().await.unwrap());
    let unary = grpc.unary(Request::new(Bytes::new()), path("Who"), BytesCodec).await.unwrap().into_inner();
    let nothing = Request::new(tokio_stream::iter([Bytes::new()]));
    let mut chat = grpc.bidi_streaming(nothing, path("WhoChats"), BytesCodec).await.unwrap().into_inner();
    [unary, chat.message().await.unwrap().unwrap()]
}

#[tokio::test]
async fn handlers_see_who_the_client_is() {
    let (certificates, clients) = (certificates(), certificates());
    let config = ServerTlsConfig::new()
        .identity(certificates.server.clone())
        .client_ca_root(clients.authority.clone())
        .client_auth_optional(true);
    let address = serve(Server::builder().tls_config(config).unwrap().add_service(who_asks())).await;

    let mut params = CertificateParams::new(vec!["billing.test".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "billing");
    params.serial_number = Some(SerialNumber::from(vec![0x2a]));
    params.subject_alt_names.push(SanType::URI("spiffe://td/billing".try_into().unwrap()));
    let (certificate, key) = signed(&clients.issuer, &params);
    let known = certificates.trust().identity(Identity::from_pem(certificate, key));
    let known = Endpoint::new(format!("https://{address}")).unwrap().tls_config(known).unwrap();
    assert_eq!(ask(known).await, ["spiffe://td/billing billing billing.test 2a"; 2]);
    assert_eq!(ask(certificates.endpoint(address)).await, ["nobody"; 2]);
    // In cleartext nobody is anybody either.
    let clear = serve(Server::builder().add_service(who_asks())).await;
    assert_eq!(ask(Endpoint::new(format!("http://{clear}")).unwrap()).await, ["nobody"; 2]);
}

#[tokio::test]
async fn a_client_checks_the_server_itself() {
    let certificates = certificates();
    let address = serve(echoes(certificates.server())).await;
    let seen = Arc::new(Mutex::new(None::<PeerIdentity>));
    let see = Arc::clone(&seen);
    let curious = certificates.trust().check_server(move |server| {
        *see.lock().unwrap() = Some(server.clone());
        Ok(())
    });
    let target = Endpoint::new(format!("https://{address}")).unwrap();
    assert_eq!(echo(target.clone().tls_config(curious).unwrap().connect_lazy(), 1).await.unwrap(), 1);
    assert_eq!(seen.lock().unwrap().as_ref().unwrap().dns_names(), ["server.test"]);
    let picky =
        target.tls_config(certificates.trust().check_server(|_| Err("not my type".to_owned()))).unwrap();
    let (_, error) = failure(picky.clone()).await;
    assert!(error.contains("not my type"), "{error}");
    assert_eq!(fault(picky).await, ConnectFault::Tls(TlsFailure::Unwelcome));
}

#[tokio::test]
async fn failed_handshakes_are_counted_and_told_by_name() {
    let (certificates, clients) = (certificates(), certificates());
    let config = ServerTlsConfig::new()
        .identity(certificates.server.clone())
        .client_ca_root(clients.authority.clone())
        .timeout(Duration::from_millis(300));
    let (told, mut hears) = tokio::sync::mpsc::unbounded_channel::<HandshakeFailure>();
    let server = Server::builder().tls_config(config).unwrap().on_handshake_failure(move |failure| {
        let _ = told.send(failure.clone());
        panic!("a report that panics harms nobody");
    });
    let counters = server.counters();
    let address = serve(echoes(server)).await;
    let mut next = async || hears.recv().await.unwrap();

    let wanted = fault(certificates.endpoint(address)).await;
    assert_eq!(wanted, ConnectFault::Tls(TlsFailure::CertificateWanted));
    let told = next().await;
    assert_eq!(told.error.failure, TlsFailure::CertificateWanted);
    let line = told.to_string();
    assert!(
        line.contains("no TLS connection with 127.0.0.1:") && line.contains("client_auth_optional"),
        "{line}"
    );

    let stuck = tokio::net::TcpStream::connect(address).await.unwrap();
    let told = next().await;
    assert_eq!((told.error.failure, told.after >= Duration::from_millis(300)), (TlsFailure::TimedOut, true));
    drop(stuck);

    let names = counters.handshake_failures();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), [("certificate_wanted", 1), ("timed_out", 1)]);
    assert_eq!(counters.connections(), 0);
}
