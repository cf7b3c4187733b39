//! The demo's certificate: made when it starts, signed by itself, for the address it listens on, and never written anywhere.

use clearway::transport::{
    Address, Certificate, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig,
};
use rcgen::{CertificateParams, KeyPair};

use super::Failure;

/// A server with a certificate, and what a client has to trust to call it.
pub(crate) struct Tls {
    certificate: Certificate,
}

/// A server that presents a certificate of its own making.
pub(crate) fn server(address: &Address) -> Result<(Server, Tls), Failure> {
    let failed = |error: rcgen::Error| Failure::Tls(error.to_string());
    let mut names = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    match address {
        Address::Tcp(socket) => names.push(socket.ip().to_string()),
        Address::Host { host, .. } => names.push(host.clone()),
        Address::Unix(_) => {}
    }
    names.sort_unstable();
    names.dedup();
    let key = KeyPair::generate().map_err(failed)?;
    let pem =
        CertificateParams::new(names).and_then(|params| params.self_signed(&key)).map_err(failed)?.pem();
    let config = ServerTlsConfig::new().identity(Identity::from_pem(&pem, key.serialize_pem()));
    let server = Server::builder().tls_config(config).map_err(Failure::Serve)?;
    Ok((server, Tls { certificate: Certificate::from_pem(pem) }))
}

impl Tls {
    /// The endpoint of a client that trusts the server's certificate and no other.
    pub(crate) fn trusted_by(&self, endpoint: Endpoint) -> Result<Endpoint, Failure> {
        let trust = ClientTlsConfig::new().ca_certificate(self.certificate.clone());
        endpoint.tls_config(trust).map_err(Failure::Connect)
    }
}
