//! What configurations choose: versions, certificates by name, verifiers, and what is known of the peer afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clearway_http2::Role;
use clearway_transport::tls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use clearway_transport::tls::rustls::pki_types::UnixTime;
use clearway_transport::tls::rustls::{self, DigitallySignedStruct, SignatureScheme};
use clearway_transport::tls::{
    ClientTlsConfig, PeerIdentity, ServerTlsConfig, TlsAcceptor, TlsConnector, TlsError, TlsFailure,
    TlsStream, TlsVersion,
};
use clearway_transport::{Stream, TlsAlert};
use rcgen::{CertificateParams, SanType, SerialNumber};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::{Authority, HOST, WIDE, params};

/// Both ends of a handshake. A failure of TLS 1.3 may show only when the client reads, so a server that is content says a word.
async fn shake(
    server: &ServerTlsConfig,
    client: &ClientTlsConfig,
    host: &str,
) -> (Result<Stream, TlsError>, Result<TlsStream<DuplexStream>, TlsError>) {
    let (acceptor, connector) = (TlsAcceptor::new(server).unwrap(), TlsConnector::new(client).unwrap());
    again(&acceptor, &connector, host).await
}

async fn again(
    acceptor: &TlsAcceptor,
    connector: &TlsConnector,
    host: &str,
) -> (Result<Stream, TlsError>, Result<TlsStream<DuplexStream>, TlsError>) {
    let (theirs, ours) = duplex(WIDE);
    let server = async {
        let mut stream = acceptor.accept(Stream::InProcess(theirs)).await?;
        stream.write_all(b"!").await.unwrap();
        stream.flush().await.unwrap();
        Ok(stream)
    };
    let client = async {
        let mut stream = connector.connect(ours, host).await?;
        match stream.read_u8().await {
            Ok(_) => Ok(stream),
            Err(error) => {
                let named = error.get_ref().and_then(|error| error.downcast_ref::<TlsError>()).cloned();
                Err(named.unwrap_or_else(|| TlsError::new(Role::Client, TlsFailure::Lost, error.to_string())))
            }
        }
    };
    tokio::join!(server, client)
}

fn failures(
    (server, client): (Result<Stream, TlsError>, Result<TlsStream<DuplexStream>, TlsError>),
) -> (TlsFailure, TlsFailure) {
    (server.unwrap_err().failure, client.unwrap_err().failure)
}

#[tokio::test(start_paused = true)]
async fn versions_meet_or_the_mismatch_is_named() {
    let authority = Authority::new();
    let server = ServerTlsConfig::new().identity(authority.server());
    for (limited, spoken) in [
        (server.clone(), TlsVersion::V1_3),
        (server.clone().max_tls_version(TlsVersion::V1_2), TlsVersion::V1_2),
        (server.clone().min_tls_version(TlsVersion::V1_3), TlsVersion::V1_3),
    ] {
        let (theirs, ours) = shake(&limited, &authority.trust(), HOST).await;
        assert_eq!(ours.unwrap().tls_peer().version(), spoken);
        assert_eq!(theirs.unwrap().remote().tls().unwrap().version(), spoken);
    }
    let old = authority.trust().max_tls_version(TlsVersion::V1_2);
    let modern = server.clone().min_tls_version(TlsVersion::V1_3);
    let mismatch = (TlsFailure::VersionMismatch, TlsFailure::VersionMismatch);
    assert_eq!(failures(shake(&modern, &old, HOST).await), mismatch);
    let old = server.clone().max_tls_version(TlsVersion::V1_2);
    let modern = authority.trust().min_tls_version(TlsVersion::V1_3);
    assert_eq!(failures(shake(&old, &modern, HOST).await), mismatch);
    let none = server.min_tls_version(TlsVersion::V1_3).max_tls_version(TlsVersion::V1_2);
    assert!(TlsAcceptor::new(&none).unwrap_err().to_string().contains("min_tls_version"));
}

#[tokio::test(start_paused = true)]
async fn a_name_has_its_certificate_and_an_unknown_one_is_refused() {
    let authority = Authority::new();
    let named = |name: &str, serial: u8| {
        let mut params = params(name);
        params.serial_number = Some(SerialNumber::from(vec![serial]));
        authority.sign(&params)
    };
    let server = ServerTlsConfig::new()
        .identity_for("a.test", named("a.test", 1))
        .identity_for("*.wild.test", named("*.wild.test", 2));
    let with_default = server.clone().identity(named(HOST, 3));
    for (asked, serial) in [("a.test", "01"), ("x.wild.test", "02"), (HOST, "03")] {
        let (theirs, ours) = shake(&with_default, &authority.trust(), asked).await;
        let ours = ours.unwrap().tls_peer();
        assert_eq!(ours.identity().unwrap().unwrap().serial(), serial);
        assert_eq!(theirs.unwrap().remote().tls().unwrap().server_name(), Some(asked));
    }
    let unknown = (TlsFailure::UnknownName, TlsFailure::UnknownName);
    assert_eq!(failures(shake(&server, &authority.trust(), "b.test").await), unknown);
}

#[tokio::test(start_paused = true)]
async fn the_server_learns_who_the_client_is() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let mut params = CertificateParams::new(vec!["client.test".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI("spiffe://td/billing".try_into().unwrap()));
    let client = authority.trust().identity(clients.sign(&params));
    let server = ServerTlsConfig::new().identity(authority.server()).client_ca_root(clients.pem.clone());
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let server = server.clone().max_tls_version(version);
        let (acceptor, connector) = (TlsAcceptor::new(&server).unwrap(), TlsConnector::new(&client).unwrap());
        for resumed in [false, true] {
            let (theirs, ours) = again(&acceptor, &connector, HOST).await;
            let remote = theirs.unwrap().remote();
            let tls = remote.tls().unwrap();
            assert_eq!(tls.is_resumed(), resumed, "{version}");
            // A resumed session is that client's, too.
            let identity = tls.identity().unwrap().unwrap();
            assert_eq!(identity.spiffe_id(), Some("spiffe://td/billing"));
            assert_eq!(identity.dns_names(), ["client.test"]);
            assert_eq!(tls.certificates().unwrap().len(), 1);
            assert!(tls.cipher_suite().unwrap().starts_with("TLS"));
            assert_eq!(ours.unwrap().tls_peer().is_resumed(), resumed);
        }
    }
    let optional = server.client_auth_optional(true);
    let (theirs, _ours) = shake(&optional, &authority.trust(), HOST).await;
    let remote = theirs.unwrap().remote();
    assert!(remote.tls().unwrap().identity().is_none() && remote.tls().unwrap().certificates().is_none());
}

#[tokio::test(start_paused = true)]
async fn sessions_of_another_servers_configuration_are_not_resumed() {
    let authority = Authority::new();
    let server = ServerTlsConfig::new().identity(authority.server());
    let connector = TlsConnector::new(&authority.trust()).unwrap();
    for _ in 0..2 {
        // Another one each time: its keys for tickets are new.
        let (theirs, ours) = again(&TlsAcceptor::new(&server).unwrap(), &connector, HOST).await;
        assert!(
            !ours.unwrap().tls_peer().is_resumed() && !theirs.unwrap().remote().tls().unwrap().is_resumed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_client_certificate_is_named_in_both_versions() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let strict = ServerTlsConfig::new().identity(authority.server()).client_ca_root(clients.pem.clone());
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let strict = strict.clone().max_tls_version(version);
        let wanted = (TlsFailure::CertificateWanted, TlsFailure::CertificateWanted);
        assert_eq!(failures(shake(&strict, &authority.trust(), HOST).await), wanted, "{version}");
        let stranger = authority.trust().identity(authority.sign(&params("client.test")));
        let refused = (TlsFailure::UnknownAuthority, TlsFailure::CertificateRefused(TlsAlert(48)));
        assert_eq!(failures(shake(&strict, &stranger, HOST).await), refused, "{version}");
    }
}

/// Some servers (BoringSSL under grpcio) close without an alert.
#[tokio::test(start_paused = true)]
async fn a_server_that_asks_and_closes_without_a_word_is_understood() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let server = ServerTlsConfig::new().identity(authority.server()).client_ca_root(clients.pem.clone());
    let acceptor = TlsAcceptor::new(&server.client_auth_optional(true)).unwrap();
    let known = authority.trust().identity(clients.sign(&params("client.test")));
    for (client, named) in [(authority.trust(), TlsFailure::CertificateWanted), (known, TlsFailure::Lost)] {
        let (theirs, ours) = duplex(WIDE);
        let connector = TlsConnector::new(&client).unwrap();
        let closes = async { drop(acceptor.accept(Stream::InProcess(theirs)).await.unwrap()) };
        let (_, ours) = tokio::join!(closes, connector.connect(ours, HOST));
        let error = ours.unwrap().read_u8().await.unwrap_err();
        let error = error.get_ref().unwrap().downcast_ref::<TlsError>().unwrap().clone();
        assert_eq!(error.failure, named);
        assert!(error.to_string().contains("without a word"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_out_of_force_is_named_on_both_sides() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let dated = |signer: &Authority, host: &str, from, to| {
        let mut params = params(host);
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        signer.sign(&params)
    };
    let expired_alert = TlsFailure::CertificateRefused(TlsAlert(45));
    for (from, to, failure) in [(2000, 2001, TlsFailure::Expired), (2100, 2101, TlsFailure::NotYetValid)] {
        let server = ServerTlsConfig::new().identity(dated(&authority, HOST, from, to));
        assert_eq!(failures(shake(&server, &authority.trust(), HOST).await), (expired_alert, failure));
        let strict = ServerTlsConfig::new().identity(authority.server()).client_ca_root(clients.pem.clone());
        let client = authority.trust().identity(dated(&clients, "client.test", from, to));
        assert_eq!(failures(shake(&strict, &client, HOST).await), (failure, expired_alert));
    }
}

#[tokio::test(start_paused = true)]
async fn checks_of_the_users_own_come_on_top() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let server = ServerTlsConfig::new().identity(authority.server()).client_ca_root(clients.pem.clone());
    let client = authority.trust().identity(clients.sign(&params("client.test")));
    let only = |name: &'static str| {
        move |who: &PeerIdentity| {
            if who.dns_names() == [name] { Ok(()) } else { Err(format!("not {name}")) }
        }
    };
    let (theirs, ours) = shake(
        &server.clone().check_client(only("client.test")),
        &client.clone().check_server(only(HOST)),
        HOST,
    )
    .await;
    assert!(theirs.is_ok() && ours.is_ok());

    let (theirs, ours) = shake(&server.clone().check_client(only("other.test")), &client, HOST).await;
    let error = theirs.unwrap_err();
    assert!(
        error.failure == TlsFailure::Unwelcome && error.to_string().contains("not other.test"),
        "{error}"
    );
    assert_eq!(ours.unwrap_err().failure, TlsFailure::CertificateRefused(TlsAlert(46)));

    let (theirs, ours) = shake(&server, &client.check_server(only("other.test")), HOST).await;
    assert_eq!(ours.unwrap_err().failure, TlsFailure::Unwelcome);
    assert_eq!(theirs.unwrap_err().failure, TlsFailure::CertificateRefused(TlsAlert(46)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_no_longer_welcome_does_not_come_back_by_its_ticket() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let welcome = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&welcome);
    let server = ServerTlsConfig::new()
        .identity(authority.server())
        .client_ca_root(clients.pem.clone())
        .check_client(move |_| if asked.load(Ordering::Relaxed) { Ok(()) } else { Err("gone".to_owned()) });
    let client = authority.trust().identity(clients.sign(&params("client.test")));
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        welcome.store(true, Ordering::Relaxed);
        let server = server.clone().max_tls_version(version);
        let (acceptor, connector) = (TlsAcceptor::new(&server).unwrap(), TlsConnector::new(&client).unwrap());
        for resumed in [false, true] {
            let (theirs, ours) = again(&acceptor, &connector, HOST).await;
            assert!(theirs.is_ok());
            assert_eq!(ours.unwrap().tls_peer().is_resumed(), resumed);
        }
        welcome.store(false, Ordering::Relaxed);
        let (theirs, ours) = again(&acceptor, &connector, HOST).await;
        assert_eq!(theirs.unwrap_err().failure, TlsFailure::Unwelcome);
        assert!(ours.is_err());
    }
}

/// Knows one certificate, and no authority.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    signatures: rustls::crypto::WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match PeerIdentity::parse(end_entity) {
            Ok(shown) if *shown.fingerprint() == self.fingerprint => Ok(ServerCertVerified::assertion()),
            _ => Err(rustls::Error::InvalidCertificate(
                rustls::CertificateError::ApplicationVerificationFailure,
            )),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.signatures)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.signatures)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_schemes()
    }
}

#[tokio::test(start_paused = true)]
async fn a_verifier_of_the_users_own_decides_alone() {
    let authority = Authority::new();
    let server = ServerTlsConfig::new().identity(authority.server());
    let (_theirs, ours) = shake(&server, &authority.trust(), HOST).await;
    let peer = ours.unwrap().tls_peer();
    let fingerprint = *peer.identity().unwrap().unwrap().fingerprint();
    let signatures = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let pinned = |fingerprint| ClientTlsConfig::new().verifier(Arc::new(Pinned { fingerprint, signatures }));
    // No root was chosen, and the name is another.
    assert!(shake(&server, &pinned(fingerprint), "other.test").await.1.is_ok());
    let (theirs, ours) = shake(&server, &pinned([0; 32]), HOST).await;
    assert_eq!(ours.unwrap_err().failure, TlsFailure::Unwelcome);
    assert_eq!(theirs.unwrap_err().failure, TlsFailure::CertificateRefused(TlsAlert(49)));
}

#[tokio::test(start_paused = true)]
async fn both_sides_write_the_same_secrets_down() {
    let authority = Authority::new();
    let file = |name: &str| std::env::temp_dir().join(format!("clearway-{name}-{}", std::process::id()));
    let (theirs, ours) = (file("server-keys"), file("client-keys"));
    let server = ServerTlsConfig::new().identity(authority.server());
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        for path in [&theirs, &ours] {
            let _ = std::fs::remove_file(path);
        }
        let server = server.clone().key_log_file(&theirs).max_tls_version(version);
        let both = shake(&server, &authority.trust().key_log_file(&ours), HOST).await;
        assert!(both.0.is_ok() && both.1.is_ok());
        let lines = |path: &std::path::Path| {
            let text = std::fs::read_to_string(path).unwrap();
            let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
            lines.sort();
            lines
        };
        let label = if version == TlsVersion::V1_2 { "CLIENT_RANDOM " } else { "CLIENT_TRAFFIC_SECRET_0 " };
        assert!(lines(&ours).iter().any(|line| line.starts_with(label)), "{:?}", lines(&ours));
        assert_eq!(lines(&ours), lines(&theirs));
    }
    for path in [theirs, ours] {
        std::fs::remove_file(path).unwrap();
    }
}

/// The variable alone does nothing: a program has to ask for it. It can only be set for another process.
#[test]
fn the_environment_writes_no_secrets_down_unless_the_program_asks() {
    const NAME: &str = "choices::the_environment_writes_no_secrets_down_unless_the_program_asks";
    const CHILD: &str = "CLEARWAY_TEST_KEY_LOG";
    if let Some(asks) = std::env::var_os(CHILD) {
        let authority = Authority::new();
        let trust = authority.trust();
        let trust = if asks == "yes" { trust.use_key_log() } else { trust };
        let server = ServerTlsConfig::new().identity(authority.server());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (theirs, ours) = runtime.block_on(shake(&server, &trust, HOST));
        assert!(theirs.is_ok() && ours.is_ok());
        return;
    }
    let path = std::env::temp_dir().join(format!("clearway-environment-{}", std::process::id()));
    for (asks, written) in [("no", false), ("yes", true)] {
        let _ = std::fs::remove_file(&path);
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", NAME]).env(CHILD, asks).env("SSLKEYLOGFILE", &path);
        let output = again.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text.contains("CLIENT_TRAFFIC_SECRET_0 "), written, "{asks}: {text}");
    }
    std::fs::remove_file(&path).unwrap();
}

/// A machine whose store loads nothing is told so when the endpoint is made, not at the first call. The variable that says where
/// the store is can only be set for another process.
#[cfg(feature = "tls-native-roots")]
#[test]
fn a_native_store_without_certificates_is_an_error() {
    const CHILD: &str = "CLEARWAY_TEST_EMPTY_STORE";
    if std::env::var_os(CHILD).is_some() {
        let error = TlsConnector::new(&ClientTlsConfig::new().with_native_roots()).unwrap_err().to_string();
        assert!(error.contains("this machine has no root certificates"), "{error}");
        return;
    }
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "choices::a_native_store_without_certificates_is_an_error"]);
    let output =
        again.env(CHILD, "1").env("SSL_CERT_FILE", "/dev/null").env_remove("SSL_CERT_DIR").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
