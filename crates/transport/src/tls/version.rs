//! Which versions of TLS may be spoken.

use core::fmt;

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use super::TlsConfigError;

/// A version of TLS. Older ones are never spoken (RFC 8996).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_2 => "TLS 1.2",
            Self::V1_3 => "TLS 1.3",
        })
    }
}

/// The versions a side speaks. Default: both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Versions {
    pub(super) min: TlsVersion,
    pub(super) max: TlsVersion,
}

impl Versions {
    pub(super) const ALL: Self = Self { min: TlsVersion::V1_2, max: TlsVersion::V1_3 };

    /// What rustls calls them; an error if the smallest is above the largest.
    pub(super) fn supported(self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsConfigError> {
        match (self.min, self.max) {
            (TlsVersion::V1_2, TlsVersion::V1_2) => Ok(vec![&TLS12]),
            (TlsVersion::V1_2, TlsVersion::V1_3) => Ok(vec![&TLS13, &TLS12]),
            (TlsVersion::V1_3, TlsVersion::V1_3) => Ok(vec![&TLS13]),
            (TlsVersion::V1_3, TlsVersion::V1_2) => {
                Err(TlsConfigError::new("min_tls_version is above max_tls_version"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_without_a_version_is_an_error() {
        let none = Versions { min: TlsVersion::V1_3, max: TlsVersion::V1_2 };
        assert!(none.supported().unwrap_err().to_string().contains("min_tls_version"));
        assert_eq!(Versions::ALL.supported().unwrap().len(), 2);
    }
}
