//! Certificates that are made when a program starts and forgotten when it ends: for tests and benchmarks. None is ever in the
//! checkout.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// What the servers of these programs are called.
pub const NAMES: [&str; 4] = ["localhost", "127.0.0.1", "::1", "*.test.google.fr"];

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
    let mut params = CertificateParams::new(Vec::new())?;
    // Its name differs from what it signs: by their names issuers are told from certificates that sign themselves.
    params.distinguished_name.push(DnType::CommonName, "authority of one run");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(NAMES.map(String::from))?.signed_by(&key, &issuer)?;
    Ok((authority, Pem { certificate: certificate.pem(), key: key.serialize_pem() }))
}
