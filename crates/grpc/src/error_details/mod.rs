//! Rich errors: typed details that travel with a status, as `google.rpc.Status` in `grpc-status-details-bin`
//! (google.aip.dev/193). The shape is that of tonic-types, without its trait: the methods are those of [`Status`](crate::Status).
//!
//! ```
//! use clearway::error_details::ErrorDetails;
//! use clearway::{Code, Status};
//!
//! let mut details = ErrorDetails::new();
//! details.add_bad_request_violation("name", "must not be empty");
//! details.set_localized_message("de-CH", "Der Name fehlt");
//! let status = Status::with_error_details(Code::InvalidArgument, "the request is not valid", details);
//!
//! // And at the other end:
//! let violations = status.get_details_bad_request().unwrap().field_violations;
//! assert_eq!(violations[0].field, "name");
//! ```
//!
//! Invariant: what a peer sends is data. Details that cannot be read never cost the status: [`crate::Status::get_error_details`] gives what
//! can be read of them, and [`ErrorDetail::Other`] keeps the rest as it came. The code and the message of a status are those of
//! `grpc-status` and `grpc-message`, whatever its details say.

mod messages;
mod on_status;

use core::time::Duration;

use bytes::Bytes;
use prost::DecodeError;
use prost::Message as _;

use crate::Code;
pub use messages::{
    Any, BadRequest, DebugInfo, ErrorInfo, FieldViolation, Help, HelpLink, LocalizedMessage,
    PreconditionFailure, PreconditionViolation, QuotaFailure, QuotaViolation, RequestInfo, ResourceInfo,
};
use messages::{WireDuration, WireRetryInfo, WireStatus};

/// What type names are prefixed with.
const PREFIX: &str = "type.googleapis.com/";
/// The longest span of `google.protobuf.Duration`: about 10,000 years.
const LONGEST: i64 = 315_576_000_000;

/// When the call may be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct RetryInfo {
    /// After so long; more with each attempt that fails. None was said if none is here.
    pub retry_delay: Option<Duration>,
}

impl RetryInfo {
    fn to_wire(self) -> WireRetryInfo {
        let retry_delay = self.retry_delay.map(|delay| WireDuration {
            seconds: i64::try_from(delay.as_secs()).unwrap_or(LONGEST).min(LONGEST),
            nanos: i32::try_from(delay.subsec_nanos()).unwrap_or(0),
        });
        WireRetryInfo { retry_delay }
    }

    /// A delay that is negative is none.
    fn of_wire(wire: WireRetryInfo) -> Self {
        let delay = wire.retry_delay.and_then(|WireDuration { seconds, nanos }| {
            let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
            Some(Duration::new(u64::try_from(seconds).ok()?, nanos))
        });
        Self { retry_delay: delay }
    }
}

macro_rules! details {
    ($($(#[$doc:meta])* $name:ident = $url:literal, $get:ident, $set:ident;)*) => {
        /// One detail of a status.
        #[derive(Clone, PartialEq, Debug)]
        #[non_exhaustive]
        pub enum ErrorDetail {
            $($(#[$doc])* $name($name),)*
            /// One of a type that is not among these, or one that cannot be read.
            Other(Any),
        }

        $(impl From<$name> for ErrorDetail {
            fn from(detail: $name) -> Self {
                Self::$name(detail)
            }
        })*

        impl ErrorDetails {
            $(
            /// The first of this type.
            #[must_use]
            pub fn $get(&self) -> Option<&$name> {
                self.0.iter().find_map(|detail| match detail {
                    ErrorDetail::$name(detail) => Some(detail),
                    _ => None,
                })
            }

            /// The same, to change; made if there is none.
            fn $set(&mut self) -> &mut $name {
                let found = self.0.iter().position(|detail| matches!(detail, ErrorDetail::$name(_)));
                let at = found.unwrap_or_else(|| {
                    self.0.push(ErrorDetail::$name($name::default()));
                    self.0.len().saturating_sub(1)
                });
                match self.0.get_mut(at) {
                    Some(ErrorDetail::$name(detail)) => detail,
                    _ => unreachable!("it was found there, or put there"),
                }
            }
            )*
        }

        impl ErrorDetail {
            fn type_of(&self) -> &str {
                match self {
                    $(Self::$name(_) => $url,)*
                    Self::Other(any) => &any.type_url,
                }
            }
        }
    };
}

details! {
    /// What failed, for programs.
    ErrorInfo = "google.rpc.ErrorInfo", error_info, error_info_mut;
    /// When the call may be sent again.
    RetryInfo = "google.rpc.RetryInfo", retry_info, retry_info_mut;
    /// Where it happened.
    DebugInfo = "google.rpc.DebugInfo", debug_info, debug_info_mut;
    /// Which quotas were used up.
    QuotaFailure = "google.rpc.QuotaFailure", quota_failure, quota_failure_mut;
    /// What must be put in order first.
    PreconditionFailure = "google.rpc.PreconditionFailure", precondition_failure, precondition_failure_mut;
    /// What is wrong with the request.
    BadRequest = "google.rpc.BadRequest", bad_request, bad_request_mut;
    /// What names the call in the server's logs.
    RequestInfo = "google.rpc.RequestInfo", request_info, request_info_mut;
    /// What the call was about.
    ResourceInfo = "google.rpc.ResourceInfo", resource_info, resource_info_mut;
    /// Where to read on.
    Help = "google.rpc.Help", help, help_mut;
    /// A message for users.
    LocalizedMessage = "google.rpc.LocalizedMessage", localized_message, localized_message_mut;
}

impl ErrorDetail {
    fn into_any(self) -> Any {
        let type_url = format!("{PREFIX}{}", self.type_of());
        let value = match self {
            Self::ErrorInfo(detail) => detail.encode_to_vec(),
            Self::RetryInfo(detail) => detail.to_wire().encode_to_vec(),
            Self::DebugInfo(detail) => detail.encode_to_vec(),
            Self::QuotaFailure(detail) => detail.encode_to_vec(),
            Self::PreconditionFailure(detail) => detail.encode_to_vec(),
            Self::BadRequest(detail) => detail.encode_to_vec(),
            Self::RequestInfo(detail) => detail.encode_to_vec(),
            Self::ResourceInfo(detail) => detail.encode_to_vec(),
            Self::Help(detail) => detail.encode_to_vec(),
            Self::LocalizedMessage(detail) => detail.encode_to_vec(),
            Self::Other(any) => return any,
        };
        Any { type_url, value }
    }

    /// Reads a detail of a type that is known.
    ///
    /// # Errors
    /// It is of that type and cannot be read.
    fn read(any: &Any) -> Result<Option<Self>, DecodeError> {
        fn as_detail<T: prost::Message + Default + Into<ErrorDetail>>(
            value: &[u8],
        ) -> Result<Option<ErrorDetail>, DecodeError> {
            T::decode(value).map(|detail| Some(detail.into()))
        }
        // What comes before the last slash is anybody's (google.protobuf.Any).
        let (_, name) = any.type_url.rsplit_once('/').unwrap_or(("", &any.type_url));
        let value = any.value.as_slice();
        match name {
            "google.rpc.ErrorInfo" => as_detail::<ErrorInfo>(value),
            "google.rpc.RetryInfo" => Ok(Some(RetryInfo::of_wire(WireRetryInfo::decode(value)?).into())),
            "google.rpc.DebugInfo" => as_detail::<DebugInfo>(value),
            "google.rpc.QuotaFailure" => as_detail::<QuotaFailure>(value),
            "google.rpc.PreconditionFailure" => as_detail::<PreconditionFailure>(value),
            "google.rpc.BadRequest" => as_detail::<BadRequest>(value),
            "google.rpc.RequestInfo" => as_detail::<RequestInfo>(value),
            "google.rpc.ResourceInfo" => as_detail::<ResourceInfo>(value),
            "google.rpc.Help" => as_detail::<Help>(value),
            "google.rpc.LocalizedMessage" => as_detail::<LocalizedMessage>(value),
            _ => Ok(None),
        }
    }
}

/// The details of a status, in their order. There is room for one of each type, as most programs send them; more of one type
/// are kept and seen by [`ErrorDetails::iter`].
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ErrorDetails(Vec<ErrorDetail>);

impl ErrorDetails {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// All of them.
    pub fn iter(&self) -> core::slice::Iter<'_, ErrorDetail> {
        self.0.iter()
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one behind the others.
    pub fn push(&mut self, detail: impl Into<ErrorDetail>) -> &mut Self {
        self.0.push(detail.into());
        self
    }

    /// Adds one behind the others.
    #[must_use]
    pub fn with(mut self, detail: impl Into<ErrorDetail>) -> Self {
        self.0.push(detail.into());
        self
    }

    /// Says what failed, for programs.
    pub fn set_error_info(
        &mut self,
        reason: impl Into<String>,
        domain: impl Into<String>,
        metadata: impl IntoIterator<Item = (String, String)>,
    ) -> &mut Self {
        let metadata = metadata.into_iter().collect();
        *self.error_info_mut() = ErrorInfo { reason: reason.into(), domain: domain.into(), metadata };
        self
    }

    /// Says when the call may be sent again.
    pub fn set_retry_info(&mut self, retry_delay: Option<Duration>) -> &mut Self {
        *self.retry_info_mut() = RetryInfo { retry_delay };
        self
    }

    /// Says where it happened.
    pub fn set_debug_info(
        &mut self,
        stack_entries: impl Into<Vec<String>>,
        detail: impl Into<String>,
    ) -> &mut Self {
        *self.debug_info_mut() = DebugInfo { stack_entries: stack_entries.into(), detail: detail.into() };
        self
    }

    /// Adds a quota that was used up.
    pub fn add_quota_failure_violation(
        &mut self,
        subject: impl Into<String>,
        description: impl Into<String>,
    ) -> &mut Self {
        let (subject, description) = (subject.into(), description.into());
        let violation = QuotaViolation { subject, description, ..QuotaViolation::default() };
        self.quota_failure_mut().violations.push(violation);
        self
    }

    /// Adds something that must be put in order.
    pub fn add_precondition_failure_violation(
        &mut self,
        r#type: impl Into<String>,
        subject: impl Into<String>,
        description: impl Into<String>,
    ) -> &mut Self {
        let (r#type, subject, description) = (r#type.into(), subject.into(), description.into());
        self.precondition_failure_mut().violations.push(PreconditionViolation {
            r#type,
            subject,
            description,
        });
        self
    }

    /// Adds a field of the request that is not as it should be.
    pub fn add_bad_request_violation(
        &mut self,
        field: impl Into<String>,
        description: impl Into<String>,
    ) -> &mut Self {
        let (field, description) = (field.into(), description.into());
        let violation = FieldViolation { field, description, ..FieldViolation::default() };
        self.bad_request_mut().field_violations.push(violation);
        self
    }

    /// Says what names the call in the server's logs.
    pub fn set_request_info(
        &mut self,
        request_id: impl Into<String>,
        serving_data: impl Into<String>,
    ) -> &mut Self {
        let (request_id, serving_data) = (request_id.into(), serving_data.into());
        *self.request_info_mut() = RequestInfo { request_id, serving_data };
        self
    }

    /// Says what the call was about.
    pub fn set_resource_info(
        &mut self,
        resource_type: impl Into<String>,
        resource_name: impl Into<String>,
        owner: impl Into<String>,
        description: impl Into<String>,
    ) -> &mut Self {
        *self.resource_info_mut() = ResourceInfo {
            resource_type: resource_type.into(),
            resource_name: resource_name.into(),
            owner: owner.into(),
            description: description.into(),
        };
        self
    }

    /// Adds a page to read.
    pub fn add_help_link(&mut self, description: impl Into<String>, url: impl Into<String>) -> &mut Self {
        self.help_mut().links.push(HelpLink { description: description.into(), url: url.into() });
        self
    }

    /// Says it for users, in their language.
    pub fn set_localized_message(
        &mut self,
        locale: impl Into<String>,
        message: impl Into<String>,
    ) -> &mut Self {
        *self.localized_message_mut() = LocalizedMessage { locale: locale.into(), message: message.into() };
        self
    }

    /// As `grpc-status-details-bin` has them.
    fn encode(self, code: Code, message: &str) -> Bytes {
        let details = self.0.into_iter().map(ErrorDetail::into_any).collect();
        let status = WireStatus { code: i32::from(code), message: message.to_owned(), details };
        Bytes::from(status.encode_to_vec())
    }

    /// Reads `grpc-status-details-bin`; what cannot be read stays as it is.
    fn decode(octets: &[u8]) -> Self {
        // Octets that are no google.rpc.Status at all are no details.
        let status = WireStatus::decode(octets).unwrap_or_default();
        let read = |any: Any| match ErrorDetail::read(&any) {
            Ok(Some(detail)) => detail,
            Ok(None) | Err(_) => ErrorDetail::Other(any),
        };
        Self(status.details.into_iter().map(read).collect())
    }

    /// The same, strictly.
    fn check(octets: &[u8]) -> Result<Self, DecodeError> {
        let status = WireStatus::decode(octets)?;
        let read = |any: Any| Ok(ErrorDetail::read(&any)?.unwrap_or(ErrorDetail::Other(any)));
        status.details.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl FromIterator<ErrorDetail> for ErrorDetails {
    fn from_iter<I: IntoIterator<Item = ErrorDetail>>(details: I) -> Self {
        Self(details.into_iter().collect())
    }
}

impl IntoIterator for ErrorDetails {
    type Item = ErrorDetail;
    type IntoIter = std::vec::IntoIter<ErrorDetail>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a ErrorDetails {
    type Item = &'a ErrorDetail;
    type IntoIter = core::slice::Iter<'a, ErrorDetail>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests;
