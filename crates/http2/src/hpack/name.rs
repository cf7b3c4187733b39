//! The field names this stack acts on, as an enum.
//!
//! A name is recognised once, when it enters a table or a section; everyone after that compares one octet. A name
//! that is in no list here is [`Name::Other`] and is told apart by its octets.
//!
//! **Invariant:** names are lower-case (RFC 9113 §8.2): `Content-Type` is [`Name::Other`]. Judging such a name is the
//! message layer's business.

macro_rules! names {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// A field name the stack acts on: pseudo-headers, gRPC's names, and names HTTP/2 forbids or treats specially.
        #[repr(u8)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
        pub enum Name {
            /// Any name without a variant of its own that does not start with `:`.
            #[default]
            Other,
            /// Any name that starts with `:` and is no pseudo-header this stack knows.
            UnknownPseudo,
            $($(#[$doc])* $variant,)*
        }

        impl Name {
            /// Every name that has octets of its own, in order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name as it is written on the wire; empty for [`Name::Other`] and [`Name::UnknownPseudo`].
            #[must_use]
            pub const fn as_bytes(self) -> &'static [u8] {
                match self {
                    Self::Other | Self::UnknownPseudo => b"",
                    $(Self::$variant => $text,)*
                }
            }

            // The compiler turns these patterns into one switch on the length and a few comparisons after it.
            const fn known(octets: &[u8]) -> Option<Self> {
                match octets {
                    $($text => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

names! {
    /// `:authority` (RFC 9113 §8.3.1).
    Authority = b":authority",
    /// `:method` (RFC 9113 §8.3.1).
    Method = b":method",
    /// `:path` (RFC 9113 §8.3.1).
    Path = b":path",
    /// `:protocol` (RFC 8441 §4).
    Protocol = b":protocol",
    /// `:scheme` (RFC 9113 §8.3.1).
    Scheme = b":scheme",
    /// `:status` (RFC 9113 §8.3.2).
    Status = b":status",
    /// `content-type`: `application/grpc` and its kin.
    ContentType = b"content-type",
    /// `content-length` (RFC 9113 §8.1.1 checks it against DATA).
    ContentLength = b"content-length",
    /// `te`: only `trailers` is allowed (RFC 9113 §8.2.2), and gRPC demands it.
    Te = b"te",
    /// `user-agent`.
    UserAgent = b"user-agent",
    /// `host` (RFC 9113 §8.3.1 relates it to `:authority`).
    Host = b"host",
    /// `cookie`: may be split into several fields (RFC 9113 §8.2.3); never indexed.
    Cookie = b"cookie",
    /// `authorization`: never indexed.
    Authorization = b"authorization",
    /// `grpc-timeout`.
    GrpcTimeout = b"grpc-timeout",
    /// `grpc-encoding`.
    GrpcEncoding = b"grpc-encoding",
    /// `grpc-accept-encoding`.
    GrpcAcceptEncoding = b"grpc-accept-encoding",
    /// `grpc-status`.
    GrpcStatus = b"grpc-status",
    /// `grpc-message`.
    GrpcMessage = b"grpc-message",
    /// `grpc-status-details-bin`.
    GrpcStatusDetailsBin = b"grpc-status-details-bin",
    /// `grpc-previous-rpc-attempts` (gRFC A6).
    GrpcPreviousRpcAttempts = b"grpc-previous-rpc-attempts",
    /// `grpc-retry-pushback-ms` (gRFC A6).
    GrpcRetryPushbackMs = b"grpc-retry-pushback-ms",
    /// `connection`: forbidden (RFC 9113 §8.2.2).
    Connection = b"connection",
    /// `keep-alive`: forbidden (RFC 9113 §8.2.2).
    KeepAlive = b"keep-alive",
    /// `proxy-connection`: forbidden (RFC 9113 §8.2.2).
    ProxyConnection = b"proxy-connection",
    /// `transfer-encoding`: forbidden (RFC 9113 §8.2.2).
    TransferEncoding = b"transfer-encoding",
    /// `upgrade`: forbidden (RFC 9113 §8.2.2).
    Upgrade = b"upgrade",
}

impl Name {
    /// Recognises a name by its octets.
    #[must_use]
    pub const fn from_bytes(octets: &[u8]) -> Self {
        match (Self::known(octets), octets) {
            (Some(name), _) => name,
            (None, [b':', ..]) => Self::UnknownPseudo,
            (None, _) => Self::Other,
        }
    }

    /// Whether the name starts with `:` (RFC 9113 §8.3).
    #[must_use]
    pub const fn is_pseudo(self) -> bool {
        matches!(
            self,
            Self::Authority
                | Self::Method
                | Self::Path
                | Self::Protocol
                | Self::Scheme
                | Self::Status
                | Self::UnknownPseudo
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_recognised_by_its_octets() {
        for &name in Name::ALL {
            assert_eq!(Name::from_bytes(name.as_bytes()), name);
            assert_eq!(name.is_pseudo(), name.as_bytes().starts_with(b":"), "{name:?}");
        }
        assert_eq!(Name::ALL.len(), 26);
    }

    #[test]
    fn near_misses_are_other_names() {
        for &name in Name::ALL {
            for position in 0..name.as_bytes().len() {
                let mut octets = name.as_bytes().to_vec();
                octets[position] ^= 0x20;
                assert!(matches!(Name::from_bytes(&octets), Name::Other | Name::UnknownPseudo), "{octets:?}");
                // `grpc-status` is a name of its own and the beginning of another.
                let cut = &name.as_bytes()[..position];
                let meant = Name::ALL.iter().copied().find(|whole| whole.as_bytes() == cut);
                let expected =
                    meant.unwrap_or(if cut.starts_with(b":") { Name::UnknownPseudo } else { Name::Other });
                assert_eq!(Name::from_bytes(cut), expected, "{cut:?}");
            }
        }
    }

    #[test]
    fn a_colon_makes_a_pseudo_header() {
        assert_eq!(Name::from_bytes(b":"), Name::UnknownPseudo);
        assert_eq!(Name::from_bytes(b":paths"), Name::UnknownPseudo);
        assert!(Name::UnknownPseudo.is_pseudo());
        assert_eq!(Name::from_bytes(b""), Name::Other);
        assert_eq!(Name::from_bytes(b"x-request-id"), Name::Other);
        assert!(!Name::Other.is_pseudo());
    }
}
