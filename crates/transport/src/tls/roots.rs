//! Sets of root certificates. Invariant: a store that comes out of here is not empty.

use std::path::Path;

use rustls::RootCertStore;

use super::TlsConfigError;
use super::material::{Certificate, Files};

/// A set of roots a client may choose.
#[derive(Clone, Debug)]
pub(super) enum Roots {
    Pem(Certificate),
    #[cfg(feature = "tls-webpki-roots")]
    WebPki,
    #[cfg(feature = "tls-native-roots")]
    Native,
}

impl Roots {
    /// The file they are in, if it is one.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Pem(certificate) => certificate.path(),
            #[cfg(any(feature = "tls-native-roots", feature = "tls-webpki-roots"))]
            _ => None,
        }
    }
}

/// All of these together.
pub(super) fn chosen(roots: &[Roots], files: &Files) -> Result<RootCertStore, TlsConfigError> {
    let mut store = RootCertStore::empty();
    for roots in roots {
        match roots {
            Roots::Pem(certificate) => add(&mut store, certificate, files)?,
            #[cfg(feature = "tls-webpki-roots")]
            Roots::WebPki => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            #[cfg(feature = "tls-native-roots")]
            Roots::Native => {
                let found = rustls_native_certs::load_native_certs();
                // A machine may have certificates that nobody can use; the others count.
                let (usable, _) = store.add_parsable_certificates(found.certs);
                if usable == 0 {
                    let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
                    return Err(TlsConfigError::new(format!("this machine has no root certificates{why}")));
                }
            }
        }
    }
    if store.is_empty() {
        return Err(TlsConfigError::new(
            "no root certificates were chosen: ClientTlsConfig::ca_certificate, or with_native_roots or \
             with_webpki_roots (cargo features tls-native-roots, tls-webpki-roots)",
        ));
    }
    Ok(store)
}

/// Adds the certificates of a text or a file, of which there is one at least.
pub(super) fn add(
    store: &mut RootCertStore,
    certificate: &Certificate,
    files: &Files,
) -> Result<(), TlsConfigError> {
    certificate.read(files)?.into_iter().try_for_each(|root| Ok(store.add(root)?))
}
