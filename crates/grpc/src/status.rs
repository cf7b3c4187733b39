//! [`Status`]: how a call ended, on one pointer.

use core::fmt;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use clearway_http2::ErrorCode;
use clearway_http2::hpack::{FieldSection, HeaderField, Indexing, Name};

use crate::attempt::{Attempt, Attempts};
use crate::cause::{ConnectionInfo, Processed, TransportCause};
use crate::faults::InjectedReset;
use crate::metadata::MetadataMap;
use crate::{Code, percent};

/// How a call ended: a code, a message for people, and what came with it.
///
/// The size of a pointer, so that results which carry it stay small. A status made by the transport has a
/// [`TransportCause`] that says what happened, where, and whether the call can safely be sent again.
#[derive(Clone)]
pub struct Status(Box<Inner>);

#[derive(Clone)]
struct Inner {
    code: Code,
    message: String,
    details: Bytes,
    metadata: MetadataMap,
    transport: Option<Arc<TransportCause>>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    attempts: Attempts,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $code:ident;)*) => {
        impl Status {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(message: impl Into<String>) -> Self {
                Self::new(Code::$code, message)
            })*
        }
    };
}

constructors! {
    /// [`Code::Ok`].
    ok => Ok;
    /// [`Code::Cancelled`].
    cancelled => Cancelled;
    /// [`Code::Unknown`].
    unknown => Unknown;
    /// [`Code::InvalidArgument`].
    invalid_argument => InvalidArgument;
    /// [`Code::DeadlineExceeded`].
    deadline_exceeded => DeadlineExceeded;
    /// [`Code::NotFound`].
    not_found => NotFound;
    /// [`Code::AlreadyExists`].
    already_exists => AlreadyExists;
    /// [`Code::PermissionDenied`].
    permission_denied => PermissionDenied;
    /// [`Code::ResourceExhausted`].
    resource_exhausted => ResourceExhausted;
    /// [`Code::FailedPrecondition`].
    failed_precondition => FailedPrecondition;
    /// [`Code::Aborted`].
    aborted => Aborted;
    /// [`Code::OutOfRange`].
    out_of_range => OutOfRange;
    /// [`Code::Unimplemented`].
    unimplemented => Unimplemented;
    /// [`Code::Internal`].
    internal => Internal;
    /// [`Code::Unavailable`].
    unavailable => Unavailable;
    /// [`Code::DataLoss`].
    data_loss => DataLoss;
    /// [`Code::Unauthenticated`].
    unauthenticated => Unauthenticated;
}

impl Status {
    /// A status with a code and a message.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            message: message.into(),
            details: Bytes::new(),
            metadata: MetadataMap::new(),
            transport: None,
            source: None,
            attempts: Attempts::default(),
        }))
    }

    /// A status with details: a serialized `google.rpc.Status`, sent as `grpc-status-details-bin`.
    #[must_use]
    pub fn with_details(code: Code, message: impl Into<String>, details: Bytes) -> Self {
        Self::with_details_and_metadata(code, message, details, MetadataMap::new())
    }

    /// A status with metadata, which travels in the trailers.
    #[must_use]
    pub fn with_metadata(code: Code, message: impl Into<String>, metadata: MetadataMap) -> Self {
        Self::with_details_and_metadata(code, message, Bytes::new(), metadata)
    }

    /// A status with details and metadata.
    #[must_use]
    pub fn with_details_and_metadata(
        code: Code,
        message: impl Into<String>,
        details: Bytes,
        metadata: MetadataMap,
    ) -> Self {
        let mut status = Self::new(code, message);
        status.0.details = details;
        status.0.metadata = metadata;
        status
    }

    /// A status the transport makes. Its message is the cause in one line.
    pub(crate) fn from_transport(code: Code, cause: TransportCause) -> Self {
        let mut status = Self::new(code, cause.to_string());
        status.0.transport = Some(Arc::new(cause));
        status
    }

    /// The same, with the connection it happened on, if the transport made it and did not say.
    pub(crate) fn and_connection(mut self, connection: ConnectionInfo) -> Self {
        if let Some(cause) = &mut self.0.transport
            && cause.connection.is_none()
        {
            Arc::make_mut(cause).connection = Some(connection);
            self.0.message = cause.to_string();
        }
        self
    }

    /// A status for any error: itself if it is one, [`Code::Unknown`] with the error as source otherwise.
    #[must_use]
    pub fn from_error(error: Box<dyn StdError + Send + Sync + 'static>) -> Self {
        match error.downcast::<Self>() {
            Ok(status) => *status,
            Err(error) => {
                let mut status = Self::new(Code::Unknown, error.to_string());
                status.0.source = Some(Arc::from(error));
                status
            }
        }
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The message, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The details: a serialized `google.rpc.Status`, or empty. Untrusted when it came from a peer.
    #[must_use]
    pub fn details(&self) -> &[u8] {
        &self.0.details
    }

    /// The metadata of the trailers.
    #[must_use]
    pub fn metadata(&self) -> &MetadataMap {
        &self.0.metadata
    }

    /// The code that the stream is to be reset with instead of being told this, if a fault was injected that says so.
    pub(crate) fn injected_reset(&self) -> Option<ErrorCode> {
        Some(self.0.source.as_ref()?.downcast_ref::<InjectedReset>()?.0)
    }

    pub(crate) fn into_metadata(self) -> MetadataMap {
        self.0.metadata
    }

    /// The metadata to send in the trailers.
    pub fn metadata_mut(&mut self) -> &mut MetadataMap {
        &mut self.0.metadata
    }

    /// What happened on the transport, if it made this status.
    #[must_use]
    pub fn transport(&self) -> Option<&TransportCause> {
        self.0.transport.as_deref()
    }

    /// The attempts that were made at the call, the one this status is of at the end; empty for a call without a policy of
    /// retries or hedging. [`Status::message`] does not have them, its `Display` has.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        self.0.attempts.as_slice()
    }

    /// Sets what caused this status; it is not sent.
    pub fn set_source(&mut self, source: Arc<dyn StdError + Send + Sync + 'static>) -> &mut Self {
        self.0.source = Some(source);
        self
    }

    /// The status in a trailer section, or in the header section of a Trailers-Only response. None if there is no
    /// `grpc-status`.
    pub(crate) fn from_section(section: &FieldSection) -> Option<Self> {
        let (mut code, mut message, mut details) = (None, String::new(), Bytes::new());
        for field in section.iter() {
            match field.known {
                Name::GrpcStatus => code = code.or(Some(Code::from_bytes(field.value))),
                Name::GrpcMessage => message = percent::decode(field.value),
                // Wire data like any other: what is not base64 is dropped and the status survives.
                Name::GrpcStatusDetailsBin => {
                    details = crate::metadata::decode_base64(field.value).unwrap_or_default();
                }
                _ => {}
            }
        }
        let mut status = Self::new(code?, message);
        status.0.details = details;
        Some(status)
    }

    /// The same status with the metadata that came in the same section.
    pub(crate) fn and_metadata(mut self, metadata: MetadataMap) -> Self {
        self.0.metadata = metadata;
        self
    }

    /// The same status with the metadata of the head that came before it, if one did.
    pub(crate) fn and_head(mut self, head: Option<MetadataMap>) -> Self {
        if let Some(mut head) = head.filter(|head| !head.is_empty()) {
            head.merge(&self.0.metadata);
            self.0.metadata = head;
        }
        self
    }

    /// The same status with more to read in its message.
    pub(crate) fn and_note(mut self, note: String) -> Self {
        self.0.message = format!("{}; {note}", self.0.message);
        self
    }

    /// The same status with the attempts that led to it.
    pub(crate) fn and_attempts(mut self, attempts: Vec<Attempt>) -> Self {
        self.0.attempts = Attempts::of(attempts);
        self
    }

    /// The same status of a call that the peer may have acted on in an attempt before.
    pub(crate) fn and_maybe_processed(mut self) -> Self {
        if let Some(cause) = self.0.transport.as_mut().filter(|cause| cause.processed == Processed::No) {
            let said = cause.to_string();
            Arc::make_mut(cause).processed = Processed::Maybe;
            self.0.message = self.0.message.replace(&said, &cause.to_string());
        }
        self
    }

    /// This status as trailer fields.
    pub(crate) fn trailer(&self) -> Trailer<'_> {
        let details = &self.0.details;
        Trailer {
            status: self,
            message: percent::encode(self.message()),
            details: if details.is_empty() { String::new() } else { STANDARD_NO_PAD.encode(details) },
        }
    }
}

/// A status encoded for the wire.
pub(crate) struct Trailer<'a> {
    status: &'a Status,
    message: Cow<'a, str>,
    details: String,
}

impl Trailer<'_> {
    /// The fields, `grpc-status` first.
    pub(crate) fn fields(&self) -> impl Iterator<Item = HeaderField<'_>> + Clone {
        let Inner { code, metadata, .. } = &*self.status.0;
        let status = HeaderField {
            name: b"grpc-status",
            value: code.as_digits().as_bytes(),
            indexing: Indexing::Insert,
        };
        let optional = [(&b"grpc-message"[..], self.message.as_bytes()), (DETAILS, self.details.as_bytes())]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| HeaderField { name, value, indexing: Indexing::Without });
        core::iter::once(status).chain(optional).chain(metadata.fields())
    }
}

const DETAILS: &[u8] = b"grpc-status-details-bin";

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, message) = (self.code(), self.message());
        if message.is_empty() {
            code.fmt(f)?;
        } else {
            write!(f, "{code}: {message}")?;
        }
        self.0.attempts.fmt(f)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Status");
        debug.field("code", &self.0.code);
        debug.field("message", &self.0.message);
        if !self.0.details.is_empty() {
            debug.field("details", &self.0.details);
        }
        if !self.0.metadata.is_empty() {
            debug.field("metadata", &self.0.metadata);
        }
        if let Some(transport) = &self.0.transport {
            debug.field("transport", transport);
        }
        if !self.attempts().is_empty() {
            debug.field("attempts", &self.attempts());
        }
        debug.finish()
    }
}

impl StdError for Status {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match (&self.0.source, &self.0.transport) {
            (Some(source), _) => Some(&**source),
            (None, Some(transport)) => Some(&**transport),
            (None, None) => None,
        }
    }
}

impl From<std::io::Error> for Status {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let code = match error.kind() {
            ErrorKind::NotFound => Code::NotFound,
            ErrorKind::PermissionDenied => Code::PermissionDenied,
            ErrorKind::AlreadyExists => Code::AlreadyExists,
            ErrorKind::InvalidInput => Code::InvalidArgument,
            ErrorKind::InvalidData => Code::DataLoss,
            ErrorKind::TimedOut => Code::DeadlineExceeded,
            ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof => Code::Unavailable,
            _ => Code::Unknown,
        };
        let mut status = Self::new(code, error.to_string());
        status.0.source = Some(Arc::new(error));
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(status: &Status) -> FieldSection {
        let mut section = FieldSection::default();
        status.trailer().fields().for_each(|field| section.push(field.name, field.value, false));
        section
    }

    #[test]
    fn a_status_is_one_pointer() {
        assert_eq!(size_of::<Status>(), size_of::<usize>());
        assert_eq!(size_of::<Result<(), Status>>(), size_of::<usize>());
    }

    #[test]
    fn a_message_may_be_any_text_borrowed_or_owned() {
        let (name, letter) = (String::from("ada"), 'x');
        let borrowed: &str = &name;
        assert_eq!(Status::not_found(borrowed).message(), "ada");
        assert_eq!(Status::not_found(&name).message(), "ada");
        assert_eq!(Status::new(Code::Internal, String::from_utf8_lossy(b"odd")).message(), "odd");
        assert_eq!(Status::internal(letter).message(), "x");
    }

    #[test]
    fn trailers_carry_everything_there_and_back() {
        let mut status = Status::with_details(Code::NotFound, "no ☺ here", Bytes::from_static(&[0, 1, 255]));
        status.metadata_mut().insert("x-a", "1".parse().unwrap());
        let section = written(&status);
        assert_eq!(section.field(0).unwrap().name, b"grpc-status");
        let read = Status::from_section(&section).unwrap().and_metadata(MetadataMap::of_response(&section));
        assert_eq!(
            (read.code(), read.message(), read.details()),
            (Code::NotFound, "no ☺ here", &[0, 1, 255][..])
        );
        assert_eq!(read.metadata().get("x-a").unwrap(), "1");
        assert_eq!(written(&Status::ok("")).len(), 1, "nothing but the code");
    }

    #[test]
    fn a_careless_peers_status_survives() {
        let mut section = FieldSection::default();
        section.push(b"grpc-message", b"100%", false);
        assert!(Status::from_section(&section).is_none());
        section.push(b"grpc-status", b"99", false);
        section.push(b"grpc-status-details-bin", b"!!", false);
        let status = Status::from_section(&section).unwrap();
        assert_eq!((status.code(), status.message(), status.details()), (Code::Unknown, "100%", &[][..]));
        assert_eq!(status.to_string(), "UNKNOWN: 100%");
    }

    #[test]
    fn errors_become_statuses_and_keep_their_source() {
        let status = Status::from_error(Box::new(Status::aborted("x")));
        assert_eq!(status.code(), Code::Aborted);
        let status = Status::from_error("odd".into());
        assert_eq!((status.code(), status.message()), (Code::Unknown, "odd"));
        assert!(status.source().is_some());
    }
}
