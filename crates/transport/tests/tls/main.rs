//! TLS between our two sides, and with peers that do it wrong. Certificates are made when a test begins.

#![cfg(feature = "tls")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod choices;
mod ends;
mod handshakes;
mod records;
mod reload;

use std::sync::atomic::{AtomicUsize, Ordering};

use clearway_transport::Stream;
use clearway_transport::tls::{
    Certificate, ClientTlsConfig, Identity, ServerTlsConfig, TlsAcceptor, TlsConnector, TlsStream,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::io::{DuplexStream, duplex};

/// What the servers of these tests are called.
const HOST: &str = "server.test";
/// As wide as an in-process pair.
const WIDE: usize = 256 * 1024;

/// Signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: Certificate,
    text: String,
}

impl Authority {
    /// Each has a name of its own: by its name an issuer is looked for.
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let text = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem: Certificate::from_pem(&text), text }
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity::from_pem(certificate.pem(), key.serialize_pem())
    }

    fn server(&self) -> Identity {
        self.sign(&params(HOST))
    }

    /// A client that trusts this authority.
    fn connector(&self) -> TlsConnector {
        TlsConnector::new(&self.trust()).unwrap()
    }

    fn trust(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().ca_certificate(self.pem.clone())
    }
}

fn params(host: &str) -> CertificateParams {
    CertificateParams::new(vec![host.to_owned()]).unwrap()
}

fn acceptor(identity: Identity) -> TlsAcceptor {
    TlsAcceptor::new(&ServerTlsConfig::new().identity(identity)).unwrap()
}

/// Both ends of a TLS connection, over a pipe of this width.
async fn connected(width: usize) -> (Stream, TlsStream<DuplexStream>) {
    let authority = Authority::new();
    let (theirs, ours) = duplex(width);
    let (acceptor, connector) = (acceptor(authority.server()), authority.connector());
    let (server, client) =
        tokio::join!(acceptor.accept(Stream::InProcess(theirs)), connector.connect(ours, HOST));
    (server.unwrap(), client.unwrap())
}
