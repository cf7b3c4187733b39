//! Which requests become calls: the rules of gRPC over HTTP/2 for a request's head, and the answer to those that break
//! one.

use core::time::Duration;

use clearway_http2::hpack::Name;
use clearway_http2::{RequestHead, RouteId};

use super::methods::Routes;
use crate::codec::compression::{Agreed, Encodings, Unknown};
use crate::deadline::parse_timeout;
use crate::framing::{is_grpc, subtype};
use crate::metadata::MetadataMap;
use crate::{Code, Status};

/// A request that does not become a call: the HTTP status and the gRPC status of the answer.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) http: &'static str,
    pub(super) status: Status,
    /// What goes into `grpc-accept-encoding`, if the answer says it.
    pub(super) accepted: Option<String>,
}

impl Refusal {
    fn new(http: &'static str, code: Code, message: impl Into<String>) -> Self {
        Self { http, status: Status::new(code, message), accepted: None }
    }

    fn of_call(status: Status) -> Self {
        Self { http: "200", status, accepted: None }
    }
}

/// What the head of a call says.
#[derive(Clone, Debug)]
pub(super) struct Admitted {
    pub(super) route: RouteId,
    pub(super) metadata: MetadataMap,
    pub(super) timeout: Option<Duration>,
    /// `te: trailers` came; it is not insisted on, and its absence is counted.
    pub(super) te_trailers: bool,
    pub(super) agreed: Agreed,
}

/// Checks the head of a request.
pub(super) fn admit(routes: &Routes, head: &RequestHead<'_>) -> Result<Admitted, Refusal> {
    if head.method != b"POST" {
        let method = String::from_utf8_lossy(head.method).into_owned();
        return Err(Refusal::new("405", Code::Internal, format!("method {method:?} is not POST")));
    }
    if !head.content_type.is_some_and(is_grpc) {
        let text = match head.content_type {
            Some(other) => format!("content-type \"{}\" is not application/grpc", other.escape_ascii()),
            None => "content-type is missing, want application/grpc".to_owned(),
        };
        return Err(Refusal::new("415", Code::InvalidArgument, text));
    }
    if head.authority_conflict {
        return Err(Refusal::new("400", Code::Internal, ":authority and host differ, or host is repeated"));
    }
    let timeout = match head.grpc_timeout.map(parse_timeout).transpose() {
        Ok(timeout) => timeout,
        Err(_) => {
            let value = head.grpc_timeout.unwrap_or_default().escape_ascii();
            return Err(Refusal::new("400", Code::Internal, format!("malformed grpc-timeout \"{value}\"")));
        }
    };
    let Ok(metadata) = MetadataMap::of_request(head.fields) else {
        return Err(Refusal::new("400", Code::Internal, "binary metadata is not base64"));
    };
    let Some(route) = routes.get(head.route) else {
        return Err(Refusal::of_call(routes.not_found(head.path)));
    };
    let named = head.content_type.map_or(&b""[..], subtype);
    if let Some(known) = route.subtype.filter(|known| known.as_bytes() != named) {
        let text =
            format!("codec \"{}\" is not supported by this method, want {known}", named.escape_ascii());
        return Err(Refusal::of_call(Status::unimplemented(text)));
    }
    let agreed = agree(&route.encodings, head)?;
    if timeout == Some(Duration::ZERO) {
        return Err(Refusal::of_call(Status::deadline_exceeded(
            "the deadline had passed when the call arrived",
        )));
    }
    Ok(Admitted { route: head.route, metadata, timeout, te_trailers: head.te_trailers, agreed })
}

/// gRPC's compression page: who cannot read a request says what it can read.
fn agree(encodings: &Encodings, head: &RequestHead<'_>) -> Result<Agreed, Refusal> {
    let lists = || {
        head.fields.iter().filter(|field| field.known == Name::GrpcAcceptEncoding).map(|field| field.value)
    };
    let accepted = head.grpc_accept_encoding.map(|_| lists());
    encodings.agree(head.grpc_encoding, accepted).map_err(|Unknown| {
        let accepted = encodings.accept_text();
        let encoding = head.grpc_encoding.unwrap_or_default().escape_ascii();
        let text = format!("grpc-encoding \"{encoding}\" is not supported, want one of {accepted}");
        Refusal { accepted: Some(accepted), ..Refusal::of_call(Status::unimplemented(text)) }
    })
}
