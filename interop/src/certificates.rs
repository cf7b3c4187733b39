//! Certificates that are made when a program starts and forgotten when it ends: for tests and benchmarks. None is ever in the
//! checkout.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

/// What the servers of these programs are called.
pub const NAMES: [&str; 4] = ["localhost", "127.0.0.1", "::1", "*.test.google.fr"];

/// What the client's certificate is for.
pub const CLIENT_ID: &str = "spiffe://clearway.test/client";

/// A certificate and its key, in PEM.
#[derive(Debug)]
pub struct Pem {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// Why there is no certificate.
pub type Error = rcgen::Error;

/// A certificate that nobody signed but itself, for [`NAMES`].
///
/// # Errors
/// The system has no randomness to give.
pub fn self_signed() -> Result<Pem, Error> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(NAMES.map(String::from))?.self_signed(&key)?;
    Ok(Pem { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// An authority's certificate in PEM, and a certificate for [`NAMES`] that it signed.
///
/// # Errors
/// The system has no randomness to give.
pub fn signed() -> Result<(String, Pem), Error> {
    let authority = Authority::new("authority of one run")?;
    let server = authority.sign(&CertificateParams::new(NAMES.map(String::from))?)?;
    Ok((authority.certificate, server))
}

/// What a suite with certificates on both sides needs.
#[derive(Debug)]
pub struct Run {
    /// The authority, in PEM.
    pub authority: String,
    /// For [`NAMES`].
    pub server: Pem,
    /// For [`CLIENT_ID`].
    pub client: Pem,
    /// As the client's, signed by somebody else.
    pub stranger: Pem,
}

/// Makes them.
///
/// # Errors
/// The system has no randomness to give.
pub fn run() -> Result<Run, Error> {
    let (ours, theirs) = (Authority::new("authority of one run")?, Authority::new("authority of nobody")?);
    let mut client = CertificateParams::new(Vec::new())?;
    client.distinguished_name.push(DnType::CommonName, "client of one run");
    client.subject_alt_names.push(SanType::URI(CLIENT_ID.try_into()?));
    Ok(Run {
        server: ours.sign(&CertificateParams::new(NAMES.map(String::from))?)?,
        client: ours.sign(&client)?,
        stranger: theirs.sign(&client)?,
        authority: ours.certificate,
    })
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    /// Its name differs from what it signs: by their names issuers are told from certificates that sign themselves.
    fn new(name: &str) -> Result<Self, Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    fn sign(&self, params: &CertificateParams) -> Result<Pem, Error> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pem { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}
