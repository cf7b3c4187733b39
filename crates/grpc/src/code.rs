//! The status codes of gRPC, and the tables that turn HTTP/2 error codes and HTTP statuses into them.
//!
//! Sources: gRPC's status code page, its HTTP-to-status mapping page, and the protocol page's table of HTTP/2 errors.
//!
//! Invariant: the library itself never makes INVALID_ARGUMENT (but for a wrong content-type), NOT_FOUND, ALREADY_EXISTS,
//! FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE or DATA_LOSS; they are the application's.

use core::fmt;

use clearway_http2::ErrorCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $description:literal;)*) => {
        /// The outcome of a call. Each variant says when the *library* produces it by itself.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Code { $($(#[$doc])* $name = $number,)* }

        impl Code {
            /// Every code, by number.
            pub const ALL: [Self; 17] = [$(Self::$name,)*];

            /// The code's name as the protocol spells it: `DEADLINE_EXCEEDED`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What the code means, in one phrase.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$name => $description,)* }
            }
        }
    };
}

codes! {
    /// The call succeeded. Made when trailers carry `grpc-status: 0`.
    Ok = 0, "OK", "the call succeeded";
    /// The call was cancelled: the caller dropped it, the peer reset it with CANCEL, or (on the server) the connection was
    /// lost.
    Cancelled = 1, "CANCELLED", "the call was cancelled";
    /// A `grpc-status` that is no known number, a handler that panicked, a response without a status.
    Unknown = 2, "UNKNOWN", "unknown error";
    /// The application's, except for a request whose content-type is not gRPC's.
    InvalidArgument = 3, "INVALID_ARGUMENT", "an argument is invalid";
    /// The deadline passed, here or at the peer.
    DeadlineExceeded = 4, "DEADLINE_EXCEEDED", "the deadline passed";
    /// The application's; never made by the library.
    NotFound = 5, "NOT_FOUND", "something was not found";
    /// The application's; never made by the library.
    AlreadyExists = 6, "ALREADY_EXISTS", "something exists already";
    /// An HTTP status 403 without a gRPC status, or a reset with INADEQUATE_SECURITY.
    PermissionDenied = 7, "PERMISSION_DENIED", "the caller is not allowed to do this";
    /// A message or header section above a limit, a full queue, or a reset with ENHANCE_YOUR_CALM.
    ResourceExhausted = 8, "RESOURCE_EXHAUSTED", "a resource is exhausted";
    /// The application's; never made by the library.
    FailedPrecondition = 9, "FAILED_PRECONDITION", "the system is not in the state this needs";
    /// The application's; never made by the library.
    Aborted = 10, "ABORTED", "the operation was aborted";
    /// The application's; never made by the library.
    OutOfRange = 11, "OUT_OF_RANGE", "the operation went past the valid range";
    /// An unknown service or method, an unknown compression, or a message count that the method does not allow.
    Unimplemented = 12, "UNIMPLEMENTED", "the method is not implemented";
    /// A broken rule of the protocol: a bad length prefix, bytes that do not parse, most resets.
    Internal = 13, "INTERNAL", "an internal error";
    /// The connection could not be made or was lost, or the peer refused the stream.
    Unavailable = 14, "UNAVAILABLE", "the service is unavailable";
    /// The application's; never made by the library.
    DataLoss = 15, "DATA_LOSS", "data was lost";
    /// An HTTP status 401 without a gRPC status.
    Unauthenticated = 16, "UNAUTHENTICATED", "the caller is not authenticated";
}

impl Code {
    /// The code with this number; [`Code::Unknown`] if there is none.
    #[must_use]
    pub const fn from_i32(number: i32) -> Self {
        let mut at = 0;
        while at < Self::ALL.len() {
            #[allow(clippy::indexing_slicing, reason = "`at` is below the length; iterators are not const")]
            let code = Self::ALL[at];
            if code as i32 == number {
                return code;
            }
            at += 1;
        }
        Self::Unknown
    }

    /// A `grpc-status` field: decimal digits without leading zeros. Anything else is [`Code::Unknown`].
    #[must_use]
    pub const fn from_bytes(value: &[u8]) -> Self {
        match value {
            [digit @ b'0'..=b'9'] => Self::from_i32((*digit - b'0') as i32),
            [b'1', digit @ b'0'..=b'6'] => Self::from_i32(10 + (*digit - b'0') as i32),
            _ => Self::Unknown,
        }
    }

    /// The decimal number, as `grpc-status` carries it.
    #[must_use]
    pub const fn as_digits(self) -> &'static str {
        match self {
            Self::Ok => "0",
            Self::Cancelled => "1",
            Self::Unknown => "2",
            Self::InvalidArgument => "3",
            Self::DeadlineExceeded => "4",
            Self::NotFound => "5",
            Self::AlreadyExists => "6",
            Self::PermissionDenied => "7",
            Self::ResourceExhausted => "8",
            Self::FailedPrecondition => "9",
            Self::Aborted => "10",
            Self::OutOfRange => "11",
            Self::Unimplemented => "12",
            Self::Internal => "13",
            Self::Unavailable => "14",
            Self::DataLoss => "15",
            Self::Unauthenticated => "16",
        }
    }

    /// What a response without `grpc-status` means, by its HTTP status (gRPC's HTTP-to-status mapping page). Clients only;
    #[must_use]
    pub const fn from_http_status(status: u16) -> Self {
        match status {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// What a reset without trailers means, by its HTTP/2 error code (gRPC over HTTP/2, "Errors").
    #[must_use]
    pub const fn from_reset(code: ErrorCode) -> Self {
        match code {
            ErrorCode::NO_ERROR
            | ErrorCode::PROTOCOL_ERROR
            | ErrorCode::INTERNAL_ERROR
            | ErrorCode::FLOW_CONTROL_ERROR
            | ErrorCode::SETTINGS_TIMEOUT
            | ErrorCode::FRAME_SIZE_ERROR
            | ErrorCode::COMPRESSION_ERROR
            | ErrorCode::CONNECT_ERROR => Self::Internal,
            ErrorCode::REFUSED_STREAM => Self::Unavailable,
            ErrorCode::CANCEL => Self::Cancelled,
            ErrorCode::ENHANCE_YOUR_CALM => Self::ResourceExhausted,
            ErrorCode::INADEQUATE_SECURITY => Self::PermissionDenied,
            _ => Self::Unknown,
        }
    }
}

impl From<i32> for Code {
    fn from(number: i32) -> Self {
        Self::from_i32(number)
    }
}

impl From<Code> for i32 {
    fn from(code: Code) -> Self {
        code as Self
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_digits_agree() {
        for (number, code) in (0i32..).zip(Code::ALL) {
            assert_eq!(i32::from(code), number);
            assert_eq!(Code::from_i32(number), code);
            assert_eq!(code.as_digits(), number.to_string());
            assert_eq!(Code::from_bytes(code.as_digits().as_bytes()), code);
        }
        for odd in ["", "17", "00", "05", "-1", "1 ", "x", "99999999999", "1\u{0}"] {
            assert_eq!(Code::from_bytes(odd.as_bytes()), Code::Unknown, "{odd:?}");
        }
    }

    #[test]
    fn http_statuses_map_as_the_page_says() {
        use Code::{Internal, PermissionDenied, Unauthenticated, Unavailable, Unimplemented, Unknown};
        let table = [(400, Internal), (401, Unauthenticated), (403, PermissionDenied), (404, Unimplemented)];
        let busy = [429, 502, 503, 504].map(|status| (status, Unavailable));
        let rest = [(200, Unknown), (302, Unknown), (418, Unknown), (500, Unknown), (431, Unknown)];
        for (status, code) in table.into_iter().chain(busy).chain(rest) {
            assert_eq!(Code::from_http_status(status), code, "{status}");
        }
    }

    #[test]
    fn resets_map_as_the_page_says() {
        use Code::{Cancelled, Internal, PermissionDenied, ResourceExhausted, Unavailable, Unknown};
        let expected = [
            Internal,
            Internal,
            Internal,
            Internal,
            Internal,
            Unknown,
            Internal,
            Unavailable,
            Cancelled,
            Internal,
            Internal,
            ResourceExhausted,
            PermissionDenied,
            Unknown,
            Unknown,
        ];
        for (number, code) in (0u32..).zip(expected) {
            assert_eq!(Code::from_reset(ErrorCode(number)), code, "{number}");
        }
    }
}
