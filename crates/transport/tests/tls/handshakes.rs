//! Handshakes that come to nothing: each is named, on the side that can know, and harms no other.

use std::sync::Arc;
use std::time::Duration;

use clearway_http2::Role;
use clearway_transport::tls::{ServerTlsConfig, TlsAcceptor, TlsConnector, TlsError, TlsFailure};
use clearway_transport::{Spoken, Stream, TlsAlert, pair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::Instant;

use super::{Authority, HOST, WIDE, acceptor, params};

/// How both ends saw a handshake.
async fn shake(
    acceptor: &TlsAcceptor,
    connector: &TlsConnector,
    host: &str,
) -> (Result<Stream, TlsError>, Result<(), TlsError>) {
    let (theirs, ours) = duplex(WIDE);
    let client = async {
        let mut tls = connector.connect(ours, host).await?;
        // TLS 1.3: the server may refuse after the client is done.
        let refused = tokio::time::timeout(Duration::from_secs(1), tls.read_u8()).await;
        match refused {
            Ok(Err(error)) => {
                let named = error.get_ref().and_then(|error| error.downcast_ref::<TlsError>());
                Err(named
                    .cloned()
                    .unwrap_or_else(|| TlsError::new(Role::Client, TlsFailure::Lost, error.to_string())))
            }
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    };
    tokio::join!(acceptor.accept(Stream::InProcess(theirs)), client)
}

/// How a side failed.
fn failed<T>(outcome: Result<T, TlsError>) -> TlsFailure {
    outcome.map(drop).unwrap_err().failure
}

#[tokio::test(start_paused = true)]
async fn both_sides_agree_on_tls_1_3_and_http2() {
    let authority = Authority::new();
    let (server, client) = shake(&acceptor(authority.server()), &authority.connector(), HOST).await;
    assert!(server.is_ok() && client.is_ok(), "{client:?}");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_not_good_is_refused_and_the_server_hears_why() {
    let authority = Authority::new();
    let good = acceptor(authority.server());

    let (server, client) = shake(&good, &Authority::new().connector(), HOST).await;
    assert_eq!(failed(client), TlsFailure::UnknownAuthority);
    assert_eq!(failed(server), TlsFailure::CertificateRefused(TlsAlert(48)));

    let (server, client) = shake(&good, &authority.connector(), "other.test").await;
    assert!(client.as_ref().unwrap_err().to_string().contains(HOST), "{client:?}");
    assert_eq!(failed(client), TlsFailure::WrongName);
    assert_eq!(failed(server), TlsFailure::CertificateRefused(TlsAlert(42)));

    let past = |year| {
        let mut params = params(HOST);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params
    };
    let expired = acceptor(authority.sign(&past(2001)));
    let (server, client) = shake(&expired, &authority.connector(), HOST).await;
    assert_eq!(failed(client), TlsFailure::Expired);
    assert_eq!(failed(server), TlsFailure::CertificateRefused(TlsAlert(45)));
}

#[tokio::test(start_paused = true)]
async fn another_name_can_be_asked_for() {
    let authority = Authority::new();
    let named = TlsConnector::new(&authority.trust().domain_name(HOST)).unwrap();
    let (server, client) = shake(&acceptor(authority.server()), &named, "127.0.0.1").await;
    assert!(server.is_ok() && client.is_ok(), "{client:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_it_is_can_be_accepted() {
    let anybody = super::ClientTlsConfig::new().dangerously_accept_any_certificate();
    let anybody = TlsConnector::new(&anybody).unwrap();
    let (server, client) = shake(&acceptor(Authority::new().server()), &anybody, "anything.test").await;
    assert!(server.is_ok() && client.is_ok(), "{client:?}");
}

#[tokio::test(start_paused = true)]
async fn clients_show_a_certificate_if_they_must() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let config = || ServerTlsConfig::new().identity(authority.server()).client_ca_root(clients.pem.clone());
    let strict = TlsAcceptor::new(&config()).unwrap();
    let lenient = TlsAcceptor::new(&config().client_auth_optional(true)).unwrap();
    let as_client = |signer: &Authority| {
        let identity = signer.sign(&params("client.test"));
        TlsConnector::new(&authority.trust().identity(identity)).unwrap()
    };

    let (server, client) = shake(&strict, &as_client(&clients), HOST).await;
    assert!(server.is_ok() && client.is_ok(), "{client:?}");
    let (server, client) = shake(&strict, &authority.connector(), HOST).await;
    assert_eq!(
        (failed(server), failed(client)),
        (TlsFailure::CertificateWanted, TlsFailure::CertificateWanted)
    );
    let (server, client) = shake(&strict, &as_client(&authority), HOST).await;
    assert_eq!(failed(server), TlsFailure::UnknownAuthority);
    assert_eq!(failed(client), TlsFailure::CertificateRefused(TlsAlert(48)));
    let (server, client) = shake(&lenient, &authority.connector(), HOST).await;
    assert!(server.is_ok() && client.is_ok(), "{client:?}");
}

/// A client of rustls's own, with these protocols to offer.
async fn foreign_client(
    authority: &Authority,
    alpn: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Result<Stream, TlsError> {
    let (theirs, mut ours) = duplex(WIDE);
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.text.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from(HOST).unwrap();
    let mut session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let client = async move {
        loop {
            let mut out = Vec::new();
            while session.wants_write() {
                session.write_tls(&mut out).unwrap();
            }
            ours.write_all(&out).await.unwrap();
            let mut input = vec![0; 20_000];
            match ours.read(&mut input).await {
                Ok(0) | Err(_) => break,
                Ok(octets) => {
                    let mut input = &input[..octets];
                    while !input.is_empty() && session.read_tls(&mut input).unwrap() > 0 {}
                    if session.process_new_packets().is_err() {
                        break;
                    }
                }
            }
        }
        drop(ours);
        std::future::pending::<core::convert::Infallible>().await
    };
    let acceptor = acceptor(authority.server());
    tokio::select! {
        outcome = acceptor.accept(Stream::InProcess(theirs)) => outcome,
        never = client => match never {},
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_offer_http2_is_refused_by_name() {
    let authority = Authority::new();
    for alpn in [&[][..], &[&b"http/1.1"[..]]] {
        let outcome = foreign_client(&authority, alpn, rustls::ALL_VERSIONS).await;
        assert_eq!(failed(outcome), TlsFailure::NoHttp2, "{alpn:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn tls_1_2_is_spoken_too() {
    let outcome = foreign_client(&Authority::new(), &[b"h2"], &[&rustls::version::TLS12]).await;
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_choose_http2_is_refused_by_name() {
    let authority = Authority::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params(HOST).signed_by(&key, &authority.issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    // It knows no ALPN at all.
    let mut session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
    let (mut theirs, ours) = duplex(WIDE);
    let server = async {
        let mut input = vec![0; 20_000];
        loop {
            let octets = theirs.read(&mut input).await.unwrap();
            let mut input = &input[..octets];
            while !input.is_empty() && session.read_tls(&mut input).unwrap() > 0 {}
            session.process_new_packets().unwrap();
            let mut out = Vec::new();
            while session.wants_write() {
                session.write_tls(&mut out).unwrap();
            }
            theirs.write_all(&out).await.unwrap();
        }
    };
    let connector = authority.connector();
    tokio::select! {
        outcome = connector.connect(ours, HOST) => assert_eq!(failed(outcome), TlsFailure::NoHttp2),
        () = server => {}
    }
}

#[tokio::test(start_paused = true)]
async fn cleartext_to_a_tls_port_is_named_and_answered_at_once() {
    let acceptor = acceptor(Authority::new().server());
    for (said, spoken) in [
        (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..], Spoken::Http2),
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", Spoken::Http1),
        (b"\0", Spoken::Unknown),
    ] {
        let (theirs, mut ours) = duplex(WIDE);
        let began = Instant::now();
        let client = async {
            ours.write_all(said).await.unwrap();
            let mut answer = Vec::new();
            ours.read_to_end(&mut answer).await.unwrap();
            drop(ours);
            answer
        };
        let (outcome, answer) = tokio::join!(acceptor.accept(Stream::InProcess(theirs)), client);
        assert_eq!(failed(outcome), TlsFailure::NotTls(spoken));
        match spoken {
            Spoken::Http1 => {
                let answer = String::from_utf8(answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");
                let (head, body) = answer.split_once("\r\n\r\n").unwrap();
                assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
            }
            // A fatal alert, whole.
            _ => assert_eq!(answer, [21, 3, 1, 0, 2, 2, 10]),
        }
        assert!(began.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn tls_to_a_cleartext_port_is_named_at_once() {
    let authority = Authority::new();
    for (said, spoken) in [
        (&b"\0\0\0\x04\0\0\0\0\0"[..], Spoken::Http2),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Spoken::Http1),
        (b"SSH-2.0-x\r\n", Spoken::Unknown),
    ] {
        let (mut theirs, ours) = duplex(WIDE);
        theirs.write_all(said).await.unwrap();
        let outcome = authority.connector().connect(ours, HOST).await;
        assert_eq!(failed(outcome), TlsFailure::NotTls(spoken));
    }
    let (theirs, ours) = duplex(WIDE);
    drop(theirs);
    let outcome = authority.connector().connect(ours, HOST).await;
    assert_eq!(failed(outcome), TlsFailure::Lost);
}

/// The first flight of an honest client.
async fn client_hello(authority: &Authority) -> Vec<u8> {
    let (mut theirs, ours) = duplex(WIDE);
    let connector = authority.connector();
    let mut hello = vec![0; 8192];
    let octets = tokio::select! {
        octets = theirs.read(&mut hello) => octets.unwrap(),
        _ = connector.connect(ours, HOST) => panic!("nobody answered"),
    };
    hello.truncate(octets);
    hello
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_stops_half_way_ends_when_its_time_is_over() {
    let authority = Authority::new();
    let hello = client_hello(&authority).await;
    let acceptor = acceptor(authority.server());
    for said in [&hello[..0], &hello[..3], &hello[..hello.len() / 2], &hello] {
        let (theirs, mut ours) = duplex(WIDE);
        ours.write_all(said).await.unwrap();
        let began = Instant::now();
        let outcome = acceptor.accept(Stream::InProcess(theirs)).await;
        assert_eq!(failed(outcome), TlsFailure::TimedOut, "after {} octets", said.len());
        assert_eq!(began.elapsed().as_secs(), ServerTlsConfig::TIMEOUT.as_secs());
    }
    // One that stops and goes is over at once.
    let (theirs, mut ours) = duplex(WIDE);
    ours.write_all(&hello[..100]).await.unwrap();
    drop(ours);
    let outcome = acceptor.accept(Stream::InProcess(theirs)).await;
    assert_eq!(failed(outcome), TlsFailure::Lost);
}

#[tokio::test(start_paused = true)]
async fn garbage_never_gets_through_and_never_panics() {
    let authority = Authority::new();
    let (hello, acceptor) = (client_hello(&authority).await, acceptor(authority.server()));
    for at in (0..hello.len()).step_by(7) {
        let mut spoiled = hello.clone();
        spoiled[at] ^= 0x55;
        spoiled.extend_from_slice(&hello);
        let (theirs, mut ours) = duplex(WIDE);
        ours.write_all(&spoiled).await.unwrap();
        ours.shutdown().await.unwrap();
        let outcome = acceptor.accept(Stream::InProcess(theirs)).await;
        assert!(outcome.is_err(), "octet {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crowd_of_stuck_handshakes_makes_room_for_honest_ones() {
    let authority = Authority::new();
    let config = ServerTlsConfig::new().identity(authority.server()).max_handshakes(4);
    let acceptor = TlsAcceptor::new(&config).unwrap();
    let mut stuck = Vec::new();
    for _ in 0..20 {
        let (theirs, ours) = pair();
        let acceptor = acceptor.clone();
        stuck.push((ours, tokio::spawn(async move { acceptor.accept(theirs).await.map(drop) })));
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    let (server, client) = shake(&acceptor, &authority.connector(), HOST).await;
    assert!(server.is_ok() && client.is_ok(), "{client:?}");
    assert!(began.elapsed() <= Duration::from_secs(1), "only the test's own wait");
    let mut ends = Vec::new();
    for (_, handshake) in stuck {
        ends.push(handshake.await.unwrap().unwrap_err());
    }
    // Seventeen were evicted: all but the three youngest of those before the honest one.
    assert_eq!(ends.iter().filter(|end| end.failure == TlsFailure::Crowded).count(), 17);
    assert_eq!(ends.iter().filter(|end| end.failure == TlsFailure::TimedOut).count(), 3);
}
