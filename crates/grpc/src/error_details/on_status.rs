//! The methods of [`Status`] for its details.

use prost::DecodeError;

use super::{
    BadRequest, DebugInfo, ErrorDetail, ErrorDetails, ErrorInfo, Help, LocalizedMessage, PreconditionFailure,
    QuotaFailure, RequestInfo, ResourceInfo, RetryInfo,
};
use crate::metadata::MetadataMap;
use crate::{Code, Status};

impl Status {
    /// A status with typed details; see [`crate::error_details`].
    #[must_use]
    pub fn with_error_details(code: Code, message: impl Into<String>, details: ErrorDetails) -> Self {
        Self::with_error_details_and_metadata(code, message, details, MetadataMap::new())
    }

    /// A status with typed details, and metadata.
    #[must_use]
    pub fn with_error_details_and_metadata(
        code: Code,
        message: impl Into<String>,
        details: ErrorDetails,
        metadata: MetadataMap,
    ) -> Self {
        let message = message.into();
        let details = details.encode(code, &message);
        Self::with_details_and_metadata(code, message, details, metadata)
    }

    /// A status with typed details, in this order.
    #[must_use]
    pub fn with_error_details_vec(
        code: Code,
        message: impl Into<String>,
        details: impl IntoIterator<Item = ErrorDetail>,
    ) -> Self {
        Self::with_error_details(code, message, details.into_iter().collect())
    }

    /// The details that came with the status; those that cannot be read are [`ErrorDetail::Other`], and there are none if nothing
    /// can.
    #[must_use]
    pub fn get_error_details(&self) -> ErrorDetails {
        ErrorDetails::decode(self.details())
    }

    /// The same as a list.
    #[must_use]
    pub fn get_error_details_vec(&self) -> Vec<ErrorDetail> {
        self.get_error_details().into_iter().collect()
    }

    /// The details that came with the status.
    ///
    /// # Errors
    /// What came as such is no `google.rpc.Status`, or one of its details is not what it says.
    pub fn check_error_details(&self) -> Result<ErrorDetails, DecodeError> {
        ErrorDetails::check(self.details())
    }
}

macro_rules! getters {
    ($($name:ident => $of:ident, $type:ident;)*) => {
        impl Status {
            $(
            #[doc = concat!("The first [`", stringify!($type), "`] among the details.")]
            #[must_use]
            pub fn $name(&self) -> Option<$type> {
                self.get_error_details().$of().cloned()
            }
            )*
        }
    };
}

getters! {
    get_details_error_info => error_info, ErrorInfo;
    get_details_retry_info => retry_info, RetryInfo;
    get_details_debug_info => debug_info, DebugInfo;
    get_details_quota_failure => quota_failure, QuotaFailure;
    get_details_precondition_failure => precondition_failure, PreconditionFailure;
    get_details_bad_request => bad_request, BadRequest;
    get_details_request_info => request_info, RequestInfo;
    get_details_resource_info => resource_info, ResourceInfo;
    get_details_help => help, Help;
    get_details_localized_message => localized_message, LocalizedMessage;
}
