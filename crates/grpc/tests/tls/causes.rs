//! The table of causes for TLS: what a call says of a handshake that failed. The other causes are in `tests/client/causes.rs`.

use clearway::transport::{
    Certificate, ClientTlsConfig, ConnectFault, ConnectPhase, Endpoint, Identity, Processed, Server,
    ServerTlsConfig, TlsFailure, TransportEvent,
};
use clearway::{Code, Status};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use super::{echo, echoes, serve};

/// Signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = Certificate::from_pem(params.self_signed(&key).unwrap().pem());
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn sign(&self, name: &str, years: [i32; 2]) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        [params.not_before, params.not_after] = years.map(|year| date_time_ymd(year, 1, 1));
        Identity::from_pem(params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn trusted(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().ca_certificate(self.certificate.clone())
    }
}

/// The status of a call to such a server by such a client.
async fn failure(server: ServerTlsConfig, client: ClientTlsConfig) -> Status {
    let address = serve(echoes(Server::builder().tls_config(server).unwrap())).await;
    let endpoint = Endpoint::new(format!("https://{address}")).unwrap().tls_config(client).unwrap();
    echo(endpoint.connect_lazy(), 1).await.unwrap_err()
}

#[tokio::test]
async fn handshakes_that_fail_by_what_is_wrong() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let identity = |identity| ServerTlsConfig::new().identity(identity);
    let good = ours.sign("127.0.0.1", [2020, 2100]);
    for (server, client, failure_wanted, words) in [
        (
            identity(good.clone()),
            others.trusted(),
            TlsFailure::UnknownAuthority,
            "no authority this client trusts",
        ),
        (identity(ours.sign("127.0.0.9", [2020, 2100])), ours.trusted(), TlsFailure::WrongName, "127.0.0.1"),
        (identity(ours.sign("127.0.0.1", [2020, 2021])), ours.trusted(), TlsFailure::Expired, "expired"),
        (identity(ours.sign("127.0.0.1", [2099, 2100])), ours.trusted(), TlsFailure::NotYetValid, "not"),
        (
            identity(good.clone()).client_ca_root(ours.certificate.clone()),
            ours.trusted(),
            TlsFailure::CertificateWanted,
            "ClientTlsConfig::identity must be set",
        ),
    ] {
        let status = failure(server, client).await;
        let cause = status.transport().unwrap();
        let TransportEvent::Connect { phase, fault, .. } = &cause.event else { panic!("{status:?}") };
        assert_eq!((*phase, fault), (ConnectPhase::Tls, &ConnectFault::Tls(failure_wanted)), "{status}");
        assert_eq!((status.code(), cause.processed), (Code::Unavailable, Processed::No), "{status}");
        assert_eq!(status.message(), cause.to_string());
        let said = status.message().starts_with("the TLS handshake failed for 127.0.0.1:");
        assert!(said && status.message().contains(words), "{status}");
    }
}
