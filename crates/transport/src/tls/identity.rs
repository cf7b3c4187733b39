//! Who a peer is, read from the certificate it showed (RFC 5280 §4.1, §4.2.1.6).
//!
//! x509-cert does the parsing. A certificate is hostile until a verifier accepted it, and with an accepted one its texts are still
//! the signer's: nothing here panics, and what does not parse is no identity.
//!
//! Left out: everything else a certificate says; `Request::peer_certs` has the whole chain.

use core::fmt;
use core::net::IpAddr;
use std::time::SystemTime;

use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{AnyRef, BmpString, ObjectIdentifier};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

use super::key_log::Hex;

/// id-at-commonName (X.520).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Who a certificate is for. Names are as they stand in it: its signer vouches for them, not for what they look like in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    dns_names: Vec<String>,
    uris: Vec<String>,
    ip_addresses: Vec<IpAddr>,
    emails: Vec<String>,
    common_name: Option<String>,
    serial: String,
    fingerprint: [u8; 32],
    not_before: SystemTime,
    not_after: SystemTime,
}

/// A certificate that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityError(String);

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate cannot be read: {}", self.0)
    }
}

impl std::error::Error for IdentityError {}

impl PeerIdentity {
    /// Reads a certificate in DER. Nothing of it is verified here.
    ///
    /// # Errors
    /// It is not a certificate (RFC 5280 §4.1), or its subjectAltName is not one.
    pub fn parse(der: &[u8]) -> Result<Self, IdentityError> {
        let broken = |error: x509_cert::der::Error| IdentityError(error.to_string());
        let certificate = Certificate::from_der(der).map_err(broken)?;
        let signed = certificate.tbs_certificate();
        let validity = signed.validity();
        let mut identity = Self {
            dns_names: Vec::new(),
            uris: Vec::new(),
            ip_addresses: Vec::new(),
            emails: Vec::new(),
            common_name: common_name(signed.subject()),
            serial: Hex(signed.serial_number().as_bytes()).to_string(),
            fingerprint: super::sha256(der),
            not_before: validity.not_before.to_system_time(),
            not_after: validity.not_after.to_system_time(),
        };
        let names = signed.get_extension::<SubjectAltName>().map_err(broken)?;
        for name in names.into_iter().flat_map(|(_, names)| names.0) {
            identity.add(name);
        }
        Ok(identity)
    }

    fn add(&mut self, name: GeneralName) {
        match name {
            GeneralName::DnsName(name) => self.dns_names.push(name.to_string()),
            GeneralName::UniformResourceIdentifier(uri) => self.uris.push(uri.to_string()),
            GeneralName::Rfc822Name(email) => self.emails.push(email.to_string()),
            GeneralName::IpAddress(octets) => {
                let octets = octets.as_bytes();
                let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
                // Of another length it is no address, and the signer's mistake.
                self.ip_addresses.extend(v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)));
            }
            _ => {}
        }
    }

    /// DNS names among the subject's alternative names; a wildcard stays one.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// URIs among the subject's alternative names.
    #[must_use]
    pub fn uris(&self) -> &[String] {
        &self.uris
    }

    /// The SPIFFE ID: a `spiffe://` URI that is the only URI there is (X509-SVID §2).
    #[must_use]
    pub fn spiffe_id(&self) -> Option<&str> {
        match self.uris.as_slice() {
            [only] if only.starts_with("spiffe://") => Some(only),
            _ => None,
        }
    }

    /// Addresses among the subject's alternative names.
    #[must_use]
    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.ip_addresses
    }

    /// Email addresses among the subject's alternative names.
    #[must_use]
    pub fn emails(&self) -> &[String] {
        &self.emails
    }

    /// The subject's common name; of several, the last, which is the most specific.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// The serial number its authority gave it, in lower-case hexadecimal.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// SHA-256 of the certificate.
    #[must_use]
    pub const fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// When it comes into force.
    #[must_use]
    pub const fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// When it expires.
    #[must_use]
    pub const fn not_after(&self) -> SystemTime {
        self.not_after
    }
}

fn common_name(subject: &Name) -> Option<String> {
    subject.iter().filter(|attribute| attribute.oid == COMMON_NAME).last().and_then(|attribute| {
        let value = AnyRef::from(&attribute.value);
        // UTF8String, PrintableString, IA5String, and what old software calls TeletexString.
        if let Ok(text) = core::str::from_utf8(value.value())
            && value.decode_as::<BmpString>().is_err()
        {
            return Some(text.to_owned());
        }
        value.decode_as::<BmpString>().ok().map(|text| text.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, SerialNumber};
    use std::time::{Duration, UNIX_EPOCH};

    fn certificate() -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a.test".to_owned(), "10.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Zoë");
        params.serial_number = Some(SerialNumber::from(vec![0x0a, 0xff]));
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        params.subject_alt_names.push(SanType::URI("spiffe://td/ns/x".try_into().unwrap()));
        params.subject_alt_names.push(SanType::Rfc822Name("z@a.test".try_into().unwrap()));
        params.subject_alt_names.push(SanType::IpAddress("::1".parse().unwrap()));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn every_kind_of_name_is_read() {
        let der = certificate();
        let identity = PeerIdentity::parse(&der).unwrap();
        assert_eq!(identity.dns_names(), ["a.test"]);
        assert_eq!(identity.uris(), ["spiffe://td/ns/x"]);
        assert_eq!(identity.spiffe_id(), Some("spiffe://td/ns/x"));
        assert_eq!(identity.emails(), ["z@a.test"]);
        assert_eq!(identity.ip_addresses(), ["10.0.0.1", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert_eq!(identity.common_name(), Some("Zoë"));
        assert_eq!(identity.serial(), "0aff");
        assert_eq!(identity.fingerprint(), &super::super::sha256(&der));
        assert_eq!(identity.not_before(), UNIX_EPOCH + Duration::from_secs(978_307_200));
        assert!(identity.not_after() > identity.not_before());
    }

    #[test]
    fn two_uris_are_no_spiffe_id() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        for uri in ["spiffe://td/a", "spiffe://td/b"] {
            params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        }
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(PeerIdentity::parse(der.der()).unwrap().spiffe_id(), None);
    }

    /// Cut anywhere, and with every octet changed in several ways: an error or an identity, never a panic.
    #[test]
    fn hostile_certificates_do_not_panic() {
        let der = certificate();
        for end in 0..der.len() {
            assert!(PeerIdentity::parse(&der[..end]).is_err(), "cut at {end}");
        }
        let mut parsed = 0;
        for at in 0..der.len() {
            for change in [0x01, 0x20, 0x80, 0xff] {
                let mut spoiled = der.clone();
                spoiled[at] ^= change;
                parsed += usize::from(PeerIdentity::parse(&spoiled).is_ok());
            }
        }
        // What is changed in a name or a signature is still a certificate.
        assert!(parsed > 0 && parsed < der.len() * 4);
    }
}
