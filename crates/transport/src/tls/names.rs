//! Which certificate a server presents, by the name it was asked for (SNI, RFC 6066 §3).
//!
//! An exact name comes before a wildcard, a wildcard before the certificate for everybody else. A wildcard stands for one label,
//! as in certificates (RFC 6125 §6.4.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::TlsConfigError;
use super::failure::Notes;

/// The certificates of a server.
#[derive(Debug, Default)]
pub(super) struct ByName {
    /// In lower case; a wildcard begins with `*.`.
    named: BTreeMap<String, Arc<CertifiedKey>>,
    /// For everybody else, and those who ask for no name.
    default: Option<Arc<CertifiedKey>>,
}

impl ByName {
    pub(super) fn new(default: Option<Arc<CertifiedKey>>) -> Self {
        Self { named: BTreeMap::new(), default }
    }

    /// Adds a name.
    pub(super) fn insert(&mut self, name: &str, certified: Arc<CertifiedKey>) -> Result<(), TlsConfigError> {
        let name = name.to_ascii_lowercase();
        let bare = name.strip_prefix("*.").unwrap_or(&name);
        if rustls::pki_types::DnsName::try_from(bare).is_err() {
            return Err(TlsConfigError::new(format!("{name:?} is neither a DNS name nor *. before one")));
        }
        self.named.insert(name, certified);
        Ok(())
    }

    fn find(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let named = name.and_then(|name| {
            // rustls gives it in lower case, without a dot at its end.
            let wildcard = || self.named.get(&format!("*.{}", name.split_once('.')?.1));
            self.named.get(name).or_else(wildcard)
        });
        named.or(self.default.as_ref())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = self.find(hello.server_name()).cloned();
        if found.is_none() {
            Notes::leave(|notes| notes.unknown_name = true);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::material::{Files, Identity};
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn certified(name: &str) -> Arc<CertifiedKey> {
        let key = KeyPair::generate().unwrap();
        let pem = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        Identity::from_pem(pem, key.serialize_pem()).certified(&Files::default()).unwrap()
    }

    #[test]
    fn an_exact_name_comes_first_then_a_wildcard_then_the_default() {
        let [a, b, c] = ["a.example", "*.example", "other.test"].map(certified);
        let mut names = ByName::new(Some(Arc::clone(&c)));
        names.insert("A.example", Arc::clone(&a)).unwrap();
        names.insert("*.example", Arc::clone(&b)).unwrap();
        for (asked, wanted) in [
            (Some("a.example"), &a),
            (Some("b.example"), &b),
            (Some("x.b.example"), &c),
            (Some("example"), &c),
            (None, &c),
        ] {
            assert!(names.find(asked).is_some_and(|found| Arc::ptr_eq(found, wanted)), "{asked:?}");
        }
        names.default = None;
        assert!(names.find(None).is_none() && names.find(Some("x.test")).is_none());
        for bad in ["", "*", "a b", "*.", "*.*.x"] {
            assert!(names.insert(bad, Arc::clone(&a)).is_err(), "{bad:?}");
        }
    }
}
