//! [`Error`]: what goes wrong outside of a call: a bad address, a port that is taken, a server that cannot be reached.

use core::fmt;
use std::error::Error as StdError;

use crate::Status;

/// Why a server could not be started or a channel could not be made.
///
/// `Debug` is the message too: it is what a program prints whose `main` returns this error.
pub struct Error(Box<Kind>);

enum Kind {
    Address(String),
    Listen { address: String, source: std::io::Error },
    Connect(Status),
    Config(String),
}

impl Error {
    pub(crate) fn address(message: impl Into<String>) -> Self {
        Self(Box::new(Kind::Address(message.into())))
    }

    pub(crate) fn listen(address: impl fmt::Display, source: std::io::Error) -> Self {
        Self(Box::new(Kind::Listen { address: address.to_string(), source }))
    }

    pub(crate) fn connect(status: Status) -> Self {
        Self(Box::new(Kind::Connect(status)))
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self(Box::new(Kind::Config(message.into())))
    }

    /// The status of the attempt, if a connection could not be made; its `transport()` says which step failed.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        match &*self.0 {
            Kind::Connect(status) => Some(status),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Address(message) | Kind::Config(message) => f.write_str(message),
            Kind::Listen { address, source } => write!(f, "cannot listen on {address}: {source}"),
            Kind::Connect(status) => f.write_str(status.message()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Error").field(&format_args!("{self}")).finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.0 {
            Kind::Listen { source, .. } => Some(source),
            Kind::Connect(status) => Some(status),
            Kind::Address(_) | Kind::Config(_) => None,
        }
    }
}

impl From<std::net::AddrParseError> for Error {
    fn from(error: std::net::AddrParseError) -> Self {
        Self::address(format!("bad socket address: {error}"))
    }
}

impl From<clearway_transport::AddressError> for Error {
    fn from(error: clearway_transport::AddressError) -> Self {
        Self::address(error.to_string())
    }
}

#[cfg(feature = "tls")]
impl From<clearway_transport::tls::TlsConfigError> for Error {
    fn from(error: clearway_transport::tls::TlsConfigError) -> Self {
        Self::config(error.to_string())
    }
}

impl From<core::convert::Infallible> for Error {
    fn from(never: core::convert::Infallible) -> Self {
        match never {}
    }
}
