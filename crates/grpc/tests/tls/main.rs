//! A server and channels over TLS on real sockets: every kind of call, and every way in which TLS meets something else.
//! Certificates are made when a test begins.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod causes;
mod identity;
mod mismatch;
mod reload;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clearway::client::{Grpc, MethodPath};
use clearway::codec::BytesCodec;
use clearway::server::GenericService;
use clearway::transport::{
    Address, Certificate, Channel, ClientTlsConfig, ConnectFault, ConnectPhase, Endpoint, Identity, Listener,
    Router, Server, ServerTlsConfig, TransportEvent,
};
use clearway::{Code, Request, Response, Status, Streaming};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// An authority, and a certificate for 127.0.0.1 and `server.test` that it signed.
struct Certificates {
    authority: Certificate,
    authority_pem: String,
    issuer: Issuer<'static, KeyPair>,
    server: Identity,
}

fn certificates() -> Certificates {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "the authority of a test");
    let key = KeyPair::generate().unwrap();
    let authority_pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let (certificate, key) = signed(&issuer, &server_params());
    let server = Identity::from_pem(certificate, key);
    Certificates { authority: Certificate::from_pem(&authority_pem), authority_pem, issuer, server }
}

fn server_params() -> CertificateParams {
    CertificateParams::new(["127.0.0.1", "server.test"].map(String::from).to_vec()).unwrap()
}

/// A certificate and its key, in PEM.
fn signed(issuer: &Issuer<'static, KeyPair>, params: &CertificateParams) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

impl Certificates {
    fn server(&self) -> Server {
        Server::builder().tls_config(ServerTlsConfig::new().identity(self.server.clone())).unwrap()
    }

    fn trust(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().ca_certificate(self.authority.clone())
    }

    fn endpoint(&self, address: SocketAddr) -> Endpoint {
        Endpoint::new(format!("https://{address}")).unwrap().tls_config(self.trust()).unwrap()
    }
}

fn echoes(server: Server) -> Router {
    let service = GenericService::new("t.S")
        .unary("Echo", BytesCodec, |request: Request<Bytes>| async move {
            Ok(Response::new(request.into_inner()))
        })
        .server_streaming("Letters", BytesCodec, |request: Request<Bytes>| async move {
            let word = request.into_inner();
            let letters = (0..word.len()).map(move |at| Ok(word.slice(at..=at)));
            Ok(Response::new(tokio_stream::iter(letters)))
        })
        .client_streaming("Join", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            let mut letters = request.into_inner();
            let mut word = Vec::new();
            while let Some(letter) = letters.message().await? {
                word.extend_from_slice(&letter);
            }
            Ok(Response::new(Bytes::from(word)))
        })
        .bidi_streaming("Chat", BytesCodec, |request: Request<Streaming<Bytes>>| async move {
            Ok(Response::new(request.into_inner()))
        });
    server.add_service(service)
}

async fn listener() -> (Listener, SocketAddr) {
    let any = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = Listener::bind(&any).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Serves until the runtime ends.
async fn serve(router: Router) -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(router.serve_with_listener(listener, std::future::pending()));
    address
}

fn path(method: &str) -> MethodPath {
    MethodPath::new(&format!("/t.S/{method}")).unwrap()
}

async fn echo(channel: Channel, octets: usize) -> Result<usize, Status> {
    let request = Request::new(Bytes::from(vec![b'e'; octets]));
    Ok(Grpc::new(channel).unary(request, path("Echo"), BytesCodec).await?.into_inner().len())
}

async fn collect(mut stream: Streaming<Bytes>) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        all.extend_from_slice(&message);
    }
    all
}

/// The step a connection failed in, and how it is told; it must not take a second.
async fn failure(endpoint: Endpoint) -> (ConnectPhase, String) {
    let began = Instant::now();
    let error = endpoint.connect().await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let status = error.status().unwrap();
    assert_eq!(status.code(), Code::Unavailable);
    match &status.transport().unwrap().event {
        TransportEvent::Connect { phase, .. } => (*phase, error.to_string()),
        other => panic!("{other:?}"),
    }
}

/// The same, for a program.
async fn fault(endpoint: Endpoint) -> ConnectFault {
    let error = endpoint.connect().await.unwrap_err();
    match error.status().and_then(Status::transport).map(|cause| &cause.event) {
        Some(TransportEvent::Connect { fault, .. }) => *fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn all_four_kinds_of_call_and_large_messages() {
    let certificates = certificates();
    let address = serve(echoes(certificates.server())).await;
    let channel = certificates.endpoint(address).connect().await.unwrap();
    for octets in [0, 20, 16_384, 3_000_000] {
        assert_eq!(echo(channel.clone(), octets).await.unwrap(), octets);
    }
    let grpc = Grpc::new(channel);
    let word = || Request::new(Bytes::from_static(b"abc"));
    let letters = grpc.server_streaming(word(), path("Letters"), BytesCodec).await.unwrap();
    assert_eq!(collect(letters.into_inner()).await, b"abc");
    let parts =
        || Request::new(tokio_stream::iter(["a", "", "bc"].map(|part| Bytes::from_static(part.as_bytes()))));
    let joined = grpc.client_streaming(parts(), path("Join"), BytesCodec).await.unwrap();
    assert_eq!(joined.into_inner(), "abc");
    let chat = grpc.bidi_streaming(parts(), path("Chat"), BytesCodec).await.unwrap();
    assert_eq!(collect(chat.into_inner()).await, b"abc");
}

#[tokio::test]
async fn the_name_is_the_targets_or_the_origins_or_the_configurations() {
    let certificates = certificates();
    let address = serve(echoes(certificates.server())).await;
    let by_origin = certificates.endpoint(address).origin("server.test:1").unwrap();
    assert_eq!(echo(by_origin.connect().await.unwrap(), 1).await.unwrap(), 1);
    let (phase, error) = failure(certificates.endpoint(address).origin("other.test").unwrap()).await;
    assert!(phase == ConnectPhase::Tls && error.contains("other.test"), "{error}");
    let target = Endpoint::new(format!("https://{address}")).unwrap();
    let configured = target.clone().tls_config(certificates.trust().domain_name("server.test")).unwrap();
    let configured = configured.origin("other.test").unwrap();
    assert_eq!(echo(configured.connect().await.unwrap(), 1).await.unwrap(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_refused_by_name() {
    let certificates = certificates();
    let address = serve(echoes(certificates.server())).await;
    let mistrusting = Endpoint::new(format!("https://{address}")).unwrap();
    let mistrusting = mistrusting.tls_config(self::certificates().trust()).unwrap();
    let (phase, error) = failure(mistrusting).await;
    assert!(phase == ConnectPhase::Tls && error.contains("no authority this client trusts"), "{error}");
}

#[tokio::test]
async fn tls_and_cleartext_that_meet_are_named_within_a_second() {
    let certificates = certificates();
    let (tls, clear) = (serve(echoes(certificates.server())).await, serve(echoes(Server::builder())).await);
    let (phase, error) = failure(certificates.endpoint(clear)).await;
    assert!(phase == ConnectPhase::Tls && error.contains("the target must say http://"), "{error}");
    let (phase, error) = failure(Endpoint::new(format!("http://{tls}")).unwrap()).await;
    assert!(phase == ConnectPhase::Settings && error.contains("the peer speaks TLS"), "{error}");
    // Neither server minds.
    assert_eq!(echo(certificates.endpoint(tls).connect_lazy(), 5).await.unwrap(), 5);
    assert_eq!(echo(Endpoint::new(format!("http://{clear}")).unwrap().connect_lazy(), 5).await.unwrap(), 5);
}

#[tokio::test]
async fn what_was_not_chosen_is_an_error_and_never_a_default() {
    for (target, wanted) in [("https://a.example", "tls_config"), ("a.example:1", "tls_config")] {
        let error = Endpoint::from_static(target).connect().await.unwrap_err().to_string();
        assert!(error.contains("wants TLS") && error.contains(wanted), "{error}");
    }
    let nobody = Endpoint::from_static("https://a.example").tls_config(ClientTlsConfig::new());
    assert!(nobody.unwrap_err().to_string().contains("no root certificates"));
    let certificates = certificates();
    let plain = Endpoint::from_static("http://a.example").tls_config(certificates.trust());
    assert!(plain.unwrap_err().to_string().contains("says plaintext"));
    let both = Endpoint::from_static("a.example:1").tls_config(certificates.trust()).unwrap().plaintext();
    assert!(both.connect().await.unwrap_err().to_string().contains("exclude each other"));
    let anonymous = Server::builder().tls_config(ServerTlsConfig::new());
    assert!(anonymous.unwrap_err().to_string().contains("certificate"));
    // Two keys that do not belong to each other's certificates.
    let key = KeyPair::generate().unwrap();
    let other = CertificateParams::new(vec!["a".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let mixed = Identity::from_pem(other, KeyPair::generate().unwrap().serialize_pem());
    assert!(Server::builder().tls_config(ServerTlsConfig::new().identity(mixed)).is_err());
}

#[tokio::test]
async fn clients_are_asked_for_a_certificate_if_the_server_wants_one() {
    let (certificates, clients) = (certificates(), certificates());
    let config = ServerTlsConfig::new()
        .identity(certificates.server.clone())
        .client_ca_root(clients.authority.clone());
    let address = serve(echoes(Server::builder().tls_config(config).unwrap())).await;
    let known = certificates.trust().identity(clients.server.clone());
    let known = Endpoint::new(format!("https://{address}")).unwrap().tls_config(known).unwrap();
    assert_eq!(echo(known.connect().await.unwrap(), 1).await.unwrap(), 1);
    let (phase, error) = failure(certificates.endpoint(address)).await;
    assert!(phase == ConnectPhase::Tls && error.contains("ClientTlsConfig::identity must be set"), "{error}");
}

#[tokio::test]
async fn stuck_handshakes_harm_nobody_and_do_not_hold_up_the_end() {
    let certificates = certificates();
    let config = ServerTlsConfig::new().identity(certificates.server.clone()).max_handshakes(8);
    let (listener, address) = listener().await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let router = echoes(Server::builder().tls_config(config).unwrap());
    let serving = tokio::spawn(router.serve_with_listener(listener, async {
        let _ = stopped.await;
    }));
    let mut stuck = Vec::new();
    for n in 0..100_usize {
        let mut connection = TcpStream::connect(address).await.unwrap();
        // The beginning of a record that does not go on; or nothing.
        connection.write_all(&[22, 3, 1, 2, 0, 1][..n % 7]).await.unwrap();
        stuck.push(connection);
    }
    let channel = certificates.endpoint(address).connect().await.unwrap();
    assert_eq!(echo(channel.clone(), 10).await.unwrap(), 10);
    let began = Instant::now();
    drop((channel, stop));
    tokio::time::timeout(Duration::from_secs(5), serving)
        .await
        .expect("the end waits for handshakes")
        .unwrap()
        .unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
