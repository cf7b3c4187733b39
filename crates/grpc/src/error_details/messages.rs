//! The standard details as messages: what `google/rpc/error_details.proto` publishes, by its names, numbers and types.
//! `proto/google/rpc/error_details.proto` is the same in our own words; a test in `interop` compares the two.

use std::collections::HashMap;

/// What failed, for programs: a reason that is unique in its domain, and what makes it concrete.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ErrorInfo {
    /// Why, in UPPER_SNAKE_CASE, at most 63 characters: `API_DISABLED`.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// Who defines the reason: a name of the service, as `pubsub.googleapis.com`.
    #[prost(string, tag = "2")]
    pub domain: String,
    /// What it was about.
    #[prost(map = "string, string", tag = "3")]
    pub metadata: HashMap<String, String>,
}

/// Where it happened, for the authors of the server. Not for clients of others.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct DebugInfo {
    /// The stack, innermost first.
    #[prost(string, repeated, tag = "1")]
    pub stack_entries: Vec<String>,
    /// Anything else.
    #[prost(string, tag = "2")]
    pub detail: String,
}

/// Which quotas were used up.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QuotaFailure {
    /// One for each.
    #[prost(message, repeated, tag = "1")]
    pub violations: Vec<QuotaViolation>,
}

/// A quota that was used up.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QuotaViolation {
    /// Whose: `project:<id>`, `clientip:<address>`.
    #[prost(string, tag = "1")]
    pub subject: String,
    /// What, for people.
    #[prost(string, tag = "2")]
    pub description: String,
    /// The service it belongs to, if another than the one that was called.
    #[prost(string, tag = "3")]
    pub api_service: String,
    /// What is counted.
    #[prost(string, tag = "4")]
    pub quota_metric: String,
    /// The limit's name.
    #[prost(string, tag = "5")]
    pub quota_id: String,
    /// Where the limit applies: `region`, `user`.
    #[prost(map = "string, string", tag = "6")]
    pub quota_dimensions: HashMap<String, String>,
    /// How much was allowed.
    #[prost(int64, tag = "7")]
    pub quota_value: i64,
    /// How much will be, if that is being changed.
    #[prost(int64, optional, tag = "8")]
    pub future_quota_value: Option<i64>,
}

/// What must be put in order before the call can go well.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct PreconditionFailure {
    /// One for each.
    #[prost(message, repeated, tag = "1")]
    pub violations: Vec<PreconditionViolation>,
}

/// Something that must be put in order.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct PreconditionViolation {
    /// The kind, as the service defines it: `TOS`.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// What of that kind.
    #[prost(string, tag = "2")]
    pub subject: String,
    /// What is to be done, for people.
    #[prost(string, tag = "3")]
    pub description: String,
}

/// What is wrong with the request.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct BadRequest {
    /// One for each field.
    #[prost(message, repeated, tag = "1")]
    pub field_violations: Vec<FieldViolation>,
}

/// What is wrong with a field.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct FieldViolation {
    /// Its path: `orders[1].customer.name`.
    #[prost(string, tag = "1")]
    pub field: String,
    /// What is wrong, for people.
    #[prost(string, tag = "2")]
    pub description: String,
    /// The same for programs, in UPPER_SNAKE_CASE.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// The same in the language of the user.
    #[prost(message, optional, tag = "4")]
    pub localized_message: Option<LocalizedMessage>,
}

/// What names the call in the logs of the server.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct RequestInfo {
    /// The id of the request.
    #[prost(string, tag = "1")]
    pub request_id: String,
    /// Anything that helps to find it.
    #[prost(string, tag = "2")]
    pub serving_data: String,
}

/// What the call was about.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ResourceInfo {
    /// The kind of the resource.
    #[prost(string, tag = "1")]
    pub resource_type: String,
    /// Its name.
    #[prost(string, tag = "2")]
    pub resource_name: String,
    /// Whose it is.
    #[prost(string, tag = "3")]
    pub owner: String,
    /// What is wrong with it, for people.
    #[prost(string, tag = "4")]
    pub description: String,
}

/// Where to read on.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Help {
    /// One for each page.
    #[prost(message, repeated, tag = "1")]
    pub links: Vec<HelpLink>,
}

/// A page to read.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct HelpLink {
    /// What it offers.
    #[prost(string, tag = "1")]
    pub description: String,
    /// Where it is.
    #[prost(string, tag = "2")]
    pub url: String,
}

/// A message for users, in their language.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct LocalizedMessage {
    /// The language: `de-CH` (BCP 47).
    #[prost(string, tag = "1")]
    pub locale: String,
    /// The message.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// `google.rpc.RetryInfo`; users see [`RetryInfo`](super::RetryInfo).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct WireRetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(super) retry_delay: Option<WireDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct WireDuration {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

/// `google.protobuf.Any`: a detail as it travels.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Any {
    /// What it is: `type.googleapis.com/google.rpc.BadRequest`.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// Its octets.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `google.rpc.Status`: what `grpc-status-details-bin` holds.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct WireStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Any>,
}
