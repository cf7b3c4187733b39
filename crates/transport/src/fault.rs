//! Why two sides could not agree on how to speak: typed, so that a program can act on it, with text that says what to change.
//!
//! It is there with and without feature `tls`: whoever looks at the cause of a failed call needs no feature for it.

use core::fmt;
use std::io;

use clearway_http2::Role;

/// What a peer speaks, told by its first octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Spoken {
    /// TLS (RFC 8446 §5.1: a record with an alert or a handshake message).
    Tls,
    /// HTTP/2 in cleartext.
    Http2,
    /// HTTP/1 in cleartext.
    Http1,
    /// Something else.
    Unknown,
}

impl Spoken {
    /// What first octets look like; a preface that is not whole may be taken for something else.
    #[must_use]
    pub fn of(first: &[u8]) -> Self {
        // A record: alert or handshake, version 3.x (RFC 8446 §5.1). As a frame's header its length would be over a million.
        if matches!(first, [21 | 22, 3, ..]) {
            return Self::Tls;
        }
        // A client's preface, or the header of the SETTINGS that a server begins with.
        if first.starts_with(b"PRI ") || matches!(first, [0, 0, _, 4, ..]) {
            return Self::Http2;
        }
        let methods: [&[u8]; 6] = [b"HTTP/1", b"GET ", b"POST ", b"PUT ", b"HEAD ", b"OPTIONS "];
        if methods.iter().any(|text| first.starts_with(text)) { Self::Http1 } else { Self::Unknown }
    }
}

/// A client that speaks cleartext HTTP/2 met a server that speaks something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongProtocol {
    /// What the server speaks.
    pub spoken: Spoken,
}

impl fmt::Display for WrongProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.spoken {
            Spoken::Tls => {
                "the peer speaks TLS and this target is plaintext: the target must say https:// (with \
                 Endpoint::tls_config)"
            }
            Spoken::Http1 => {
                "the peer speaks HTTP/1, not HTTP/2: it is no gRPC server, or there is a proxy for HTTP/1 before it"
            }
            Spoken::Http2 | Spoken::Unknown => "the peer does not speak HTTP/2",
        })
    }
}

impl std::error::Error for WrongProtocol {}

impl From<WrongProtocol> for io::Error {
    fn from(wrong: WrongProtocol) -> Self {
        Self::new(io::ErrorKind::InvalidData, wrong)
    }
}

/// A TLS alert by its number (RFC 8446 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TlsAlert(pub u8);

impl fmt::Display for TlsAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            22 => "record_overflow",
            40 => "handshake_failure",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            90 => "user_canceled",
            109 => "missing_extension",
            110 => "unsupported_extension",
            112 => "unrecognized_name",
            116 => "certificate_required",
            120 => "no_application_protocol",
            number => return write!(f, "{number}"),
        })
    }
}

/// Why a TLS handshake came to nothing, by what has to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsFailure {
    /// The peer's first octets are not TLS's.
    NotTls(Spoken),
    /// The peer speaks TLS, but ALPN did not agree on `h2` (RFC 9113 §3.2).
    NoHttp2,
    /// The peer's certificate is signed by nobody this side trusts.
    UnknownAuthority,
    /// The server's certificate is not for the name it was asked for.
    WrongName,
    /// The peer's certificate has expired.
    Expired,
    /// The peer's certificate is not in force yet.
    NotYetValid,
    /// The peer's certificate was revoked.
    Revoked,
    /// The peer's certificate cannot be used: its signature, its form or its purpose.
    BadCertificate,
    /// This program's own check of the peer refused it.
    Unwelcome,
    /// The server wants a certificate and the client has none.
    CertificateWanted,
    /// The peer does not accept this side's certificate, and said so with this alert.
    CertificateRefused(TlsAlert),
    /// The server has no certificate for the name it was asked for (SNI, RFC 6066 §3).
    UnknownName,
    /// There is no version of TLS that both sides speak.
    VersionMismatch,
    /// There is no suite or parameter that both sides have.
    Incompatible,
    /// The handshake took longer than its limit.
    TimedOut,
    /// A server had so many handshakes under way that this one, the oldest, had to make room.
    Crowded,
    /// The peer closed, or the connection failed, before the end of the handshake.
    Lost,
    /// The peer gave up with an alert that says nothing of the above.
    Alert(TlsAlert),
    /// The peer broke a rule of TLS.
    Protocol,
    /// This side could not begin: a name or a certificate of its own cannot be used.
    Config,
}

impl TlsFailure {
    /// A short name for a counter: the variant's, in snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotTls(_) => "not_tls",
            Self::NoHttp2 => "no_http2",
            Self::UnknownAuthority => "unknown_authority",
            Self::WrongName => "wrong_name",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::BadCertificate => "bad_certificate",
            Self::Unwelcome => "unwelcome",
            Self::CertificateWanted => "certificate_wanted",
            Self::CertificateRefused(_) => "certificate_refused",
            Self::UnknownName => "unknown_name",
            Self::VersionMismatch => "version_mismatch",
            Self::Incompatible => "incompatible",
            Self::TimedOut => "timed_out",
            Self::Crowded => "crowded",
            Self::Lost => "lost",
            Self::Alert(_) => "alert",
            Self::Protocol => "protocol",
            Self::Config => "config",
        }
    }

    /// What a client's user has to change.
    const fn to_client(self) -> &'static str {
        match self {
            Self::NotTls(Spoken::Http2) => {
                "the peer speaks cleartext HTTP/2 and this target is TLS: the target must say http://, or the server \
                 needs TLS"
            }
            Self::NotTls(Spoken::Http1) => {
                "the peer does not speak TLS on this port but cleartext HTTP/1: it is the wrong port"
            }
            Self::NotTls(_) => "the peer does not speak TLS on this port, nor HTTP: it is the wrong port",
            Self::NoHttp2 => {
                "the peer speaks TLS but not HTTP/2 (ALPN did not agree on h2): its TLS configuration must offer h2, or it \
                 is no gRPC server"
            }
            Self::UnknownAuthority => {
                "the server's certificate is signed by no authority this client trusts: \
                 ClientTlsConfig::ca_certificate must be given the one that signed it"
            }
            Self::WrongName => {
                "the server's certificate is for another name: the target must be a name in it, or \
                 ClientTlsConfig::domain_name must say one"
            }
            Self::Expired => {
                "the server's certificate has expired: it must be renewed, or this machine's clock is wrong"
            }
            Self::NotYetValid => {
                "the server's certificate is not in force yet: this machine's clock is wrong, or the server's was"
            }
            Self::Revoked => "the server's certificate was revoked: the server needs another",
            Self::BadCertificate => "the server's certificate cannot be used: the server needs another",
            Self::Unwelcome => "this program's own check refused the server",
            Self::CertificateWanted => {
                "the server wants a client certificate and this client has none: ClientTlsConfig::identity must be set"
            }
            Self::CertificateRefused(TlsAlert(48)) => {
                "the server does not trust the authority that signed this client's certificate: the certificate must be \
                 signed by one of its own (ServerTlsConfig::client_ca_root)"
            }
            Self::CertificateRefused(TlsAlert(45)) => {
                "this client's certificate has expired or is not in force yet: ClientTlsConfig::identity needs a new one"
            }
            Self::CertificateRefused(_) => {
                "the server does not accept this client's certificate: ClientTlsConfig::identity needs another"
            }
            Self::UnknownName => {
                "the server has no certificate for the name it was asked for: the target or \
                 ClientTlsConfig::domain_name must say one it has"
            }
            Self::TimedOut => "the TLS handshake took too long (limit: Endpoint::connect_timeout)",
            _ => self.to_either(),
        }
    }

    /// What a server's operator has to change.
    const fn to_server(self) -> &'static str {
        match self {
            Self::NotTls(Spoken::Http2) => {
                "the client speaks cleartext HTTP/2 and this port is TLS: its target must say https://"
            }
            Self::NotTls(Spoken::Http1) => {
                "the client speaks cleartext HTTP/1 and this port is HTTP/2 over TLS: it must say https:// and speak HTTP/2"
            }
            Self::NotTls(_) => "the client does not speak TLS, nor HTTP",
            Self::NoHttp2 => {
                "the client speaks TLS but does not offer HTTP/2 by ALPN (h2): it is no gRPC client"
            }
            Self::UnknownAuthority => {
                "the client's certificate is signed by no authority of ServerTlsConfig::client_ca_root: the client needs \
                 another, or its authority must be added"
            }
            Self::WrongName => "the client's certificate is for another name",
            Self::Expired => "the client's certificate has expired: the client needs a new one",
            Self::NotYetValid => "the client's certificate is not in force yet: one of the clocks is wrong",
            Self::Revoked => "the client's certificate was revoked: the client needs another",
            Self::BadCertificate => "the client's certificate cannot be used: the client needs another",
            Self::Unwelcome => "this program's own check refused the client",
            Self::CertificateWanted => {
                "the client shows no certificate and this server requires one: the client needs an identity, or \
                 ServerTlsConfig::client_auth_optional(true) lets it in"
            }
            Self::CertificateRefused(TlsAlert(48)) => {
                "the client does not trust the authority that signed this server's certificate: it must be given that \
                 authority, or the server's chain lacks an intermediate"
            }
            Self::CertificateRefused(TlsAlert(45)) => {
                "the client says that this server's certificate has expired or is not in force yet: it must be renewed"
            }
            Self::CertificateRefused(_) => {
                "the client does not accept this server's certificate: perhaps it was asked for another name"
            }
            Self::UnknownName => {
                "the client asked for a name this server has no certificate for: ServerTlsConfig::identity_for adds one"
            }
            Self::TimedOut => "the TLS handshake took too long (limit: ServerTlsConfig::timeout)",
            _ => self.to_either(),
        }
    }

    const fn to_either(self) -> &'static str {
        match self {
            Self::VersionMismatch => {
                "the two sides have no version of TLS in common: see min_tls_version and max_tls_version"
            }
            Self::Incompatible => "the two sides have no cipher suite or parameter of TLS in common",
            Self::Crowded => {
                "too many TLS handshakes at once, and this was the oldest (limit: ServerTlsConfig::max_handshakes)"
            }
            Self::Lost => "the connection was lost during the TLS handshake",
            Self::Alert(_) => "the peer gave up the TLS handshake",
            Self::Protocol => "the peer broke a rule of TLS",
            Self::Config => "TLS could not begin",
            // Each side has words of its own for the others.
            _ => "the TLS handshake failed",
        }
    }

    const fn alert(self) -> Option<TlsAlert> {
        match self {
            Self::CertificateRefused(alert) | Self::Alert(alert) => Some(alert),
            _ => None,
        }
    }
}

/// A TLS handshake that came to nothing. `Display` says what to change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsError {
    /// Why.
    pub failure: TlsFailure,
    /// Which side this is.
    pub role: Role,
    /// What is known beside it, such as the names in a certificate; may be empty.
    pub detail: String,
}

impl TlsError {
    /// An error of the side `role`.
    pub fn new(role: Role, failure: TlsFailure, detail: impl Into<String>) -> Self {
        Self { failure, role, detail: detail.into() }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.role {
            Role::Client => self.failure.to_client(),
            Role::Server => self.failure.to_server(),
        })?;
        match (self.failure.alert(), self.detail.as_str()) {
            (None, "") => Ok(()),
            (None, detail) => write!(f, " ({detail})"),
            (Some(alert), "") => write!(f, " (alert {alert})"),
            (Some(alert), detail) => write!(f, " (alert {alert}, {detail})"),
        }
    }
}

impl std::error::Error for TlsError {}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        let kind = match error.failure {
            TlsFailure::TimedOut => io::ErrorKind::TimedOut,
            TlsFailure::Lost => io::ErrorKind::ConnectionAborted,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// Why a connection could not be made, beside the step it failed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectFault {
    /// An error of the system: refused, timed out, no such name.
    Io(io::ErrorKind),
    /// The TLS handshake failed.
    Tls(TlsFailure),
    /// The peer speaks something else.
    WrongProtocol(Spoken),
    /// The peer ended the connection before it was of use.
    Ended,
}

impl ConnectFault {
    /// The fault an error is about.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        let inner = error.get_ref();
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<TlsError>()) {
            return Self::Tls(tls.failure);
        }
        match inner.and_then(|inner| inner.downcast_ref::<WrongProtocol>()) {
            Some(wrong) => Self::WrongProtocol(wrong.spoken),
            None => Self::Io(error.kind()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spoken_is_recognised() {
        for (first, spoken) in [
            (&b"PRI * HTTP/2.0\r\n"[..], Spoken::Http2),
            (b"\0\0\x12\x04\0\0\0\0\0", Spoken::Http2),
            (b"HTTP/1.1 400 Bad", Spoken::Http1),
            (b"GET / HTTP/1.1\r\n", Spoken::Http1),
            (b"SSH-2.0", Spoken::Unknown),
            (b"\0\0", Spoken::Unknown),
            (&[21, 3, 3, 0, 2, 2, 70], Spoken::Tls),
            (&[22, 3, 1, 2, 0, 1], Spoken::Tls),
            (&[21, 9], Spoken::Unknown),
        ] {
            assert_eq!(Spoken::of(first), spoken, "{first:?}");
        }
    }

    #[test]
    fn errors_keep_their_kind_and_their_type() {
        for (failure, kind) in [
            (TlsFailure::TimedOut, io::ErrorKind::TimedOut),
            (TlsFailure::Lost, io::ErrorKind::ConnectionAborted),
            (TlsFailure::NoHttp2, io::ErrorKind::InvalidData),
        ] {
            let error = io::Error::from(TlsError::new(Role::Client, failure, ""));
            assert_eq!(error.kind(), kind);
            assert_eq!(ConnectFault::of(&error), ConnectFault::Tls(failure));
        }
        let wrong = io::Error::from(WrongProtocol { spoken: Spoken::Tls });
        assert_eq!(ConnectFault::of(&wrong), ConnectFault::WrongProtocol(Spoken::Tls));
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(ConnectFault::of(&refused), ConnectFault::Io(io::ErrorKind::ConnectionRefused));
    }

    #[test]
    fn both_sides_have_words_for_every_failure() {
        let alert = TlsAlert(48);
        for failure in [
            TlsFailure::NotTls(Spoken::Http2),
            TlsFailure::NoHttp2,
            TlsFailure::UnknownAuthority,
            TlsFailure::WrongName,
            TlsFailure::Expired,
            TlsFailure::NotYetValid,
            TlsFailure::Revoked,
            TlsFailure::BadCertificate,
            TlsFailure::Unwelcome,
            TlsFailure::CertificateWanted,
            TlsFailure::CertificateRefused(alert),
            TlsFailure::UnknownName,
            TlsFailure::VersionMismatch,
            TlsFailure::Incompatible,
            TlsFailure::TimedOut,
            TlsFailure::Crowded,
            TlsFailure::Lost,
            TlsFailure::Alert(alert),
            TlsFailure::Protocol,
            TlsFailure::Config,
        ] {
            for role in [Role::Client, Role::Server] {
                let text = TlsError::new(role, failure, "why").to_string();
                assert!(!text.starts_with("the TLS handshake failed") && text.contains("why"), "{text}");
            }
        }
    }
}
