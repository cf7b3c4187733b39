//! What a server says: heads, trailers, Trailers-Only responses. gRPC over HTTP/2, "Responses".
//!
//! Sends that fail because the stream is gone are dropped: whoever waits for the answer is gone, too.

use clearway_http2::hpack::{HeaderField, Indexing};
use clearway_http2::{ErrorCode, SendError, StreamKey, Tx};

use super::admit::Refusal;
use crate::Status;
use crate::codec::CompressionEncoding;
use crate::metadata::MetadataMap;

const CONTENT_TYPE: HeaderField<'static> = stable("content-type", "application/grpc");
const OK_200: HeaderField<'static> = stable(":status", "200");
const STATUS_0: HeaderField<'static> = stable("grpc-status", "0");

/// The sections of nearly every response.
static HEAD: [HeaderField<'static>; 2] = [OK_200, CONTENT_TYPE];
static TRAILERS: [HeaderField<'static>; 1] = [STATUS_0];

const fn stable(name: &'static str, value: &'static str) -> HeaderField<'static> {
    HeaderField { name: name.as_bytes(), value: value.as_bytes(), indexing: Indexing::Insert }
}

/// The head of a response whose messages follow.
pub(super) fn head(
    tx: &mut Tx,
    stream: StreamKey,
    metadata: &MetadataMap,
    encoding: Option<CompressionEncoding>,
) -> Result<(), Status> {
    let sent = if metadata.is_untouched() && encoding.is_none() {
        tx.send_fixed_headers(stream, &HEAD, false)
    } else {
        let encoding = encoding.map(|encoding| stable("grpc-encoding", encoding.name()));
        tx.send_headers(stream, HEAD.into_iter().chain(encoding).chain(metadata.fields()), false)
    };
    match sent {
        Err(SendError::HeaderListTooLarge { octets, limit }) => {
            Err(too_large("response headers", octets, limit))
        }
        Ok(()) | Err(SendError::StreamGone | SendError::OutOfOrder) => Ok(()),
    }
}

fn too_large(what: &str, octets: usize, limit: u32) -> Status {
    Status::resource_exhausted(format!("{what} of {octets} bytes exceed the client's limit of {limit}"))
}

/// Trailers of a call that went well.
pub(super) fn trailers_ok(tx: &mut Tx, stream: StreamKey, metadata: &MetadataMap) {
    if metadata.is_untouched()
        && !matches!(tx.send_fixed_trailers(stream, &TRAILERS), Err(SendError::HeaderListTooLarge { .. }))
    {
        return;
    }
    send_trailers(tx, stream, TRAILERS.into_iter().chain(metadata.fields()));
}

/// Trailers after a head.
pub(super) fn trailers(tx: &mut Tx, stream: StreamKey, status: &Status) {
    if let Some(code) = status.injected_reset() {
        return tx.reset(stream, code);
    }
    send_trailers(tx, stream, status.trailer().fields());
}

fn send_trailers<'a>(
    tx: &mut Tx,
    stream: StreamKey,
    fields: impl IntoIterator<Item = HeaderField<'a>, IntoIter: Clone>,
) {
    let sent = tx.send_trailers(stream, fields);
    if let Err(SendError::HeaderListTooLarge { octets, limit }) = sent {
        let _ = tx.send_trailers(stream, too_large("trailers", octets, limit).trailer().fields());
    }
}

/// A Trailers-Only response.
pub(super) fn trailers_only(tx: &mut Tx, stream: StreamKey, status: &Status) {
    if let Some(code) = status.injected_reset() {
        return tx.reset(stream, code);
    }
    send_only(tx, stream, OK_200, status, None);
}

/// The answer to a request that does not become a call.
pub(super) fn refuse(tx: &mut Tx, stream: StreamKey, refusal: &Refusal) {
    let http = stable(":status", refusal.http);
    let accepted = refusal.accepted.as_ref().map(|accepted| HeaderField {
        name: b"grpc-accept-encoding",
        value: accepted.as_bytes(),
        indexing: Indexing::Without,
    });
    send_only(tx, stream, http, &refusal.status, accepted);
}

fn send_only(
    tx: &mut Tx,
    stream: StreamKey,
    http: HeaderField<'static>,
    status: &Status,
    extra: Option<HeaderField<'_>>,
) {
    let send = |tx: &mut Tx, status: &Status| {
        let trailer = status.trailer();
        let fields = [http, CONTENT_TYPE].into_iter().chain(extra).chain(trailer.fields());
        tx.send_headers(stream, fields, true)
    };
    if let Err(SendError::HeaderListTooLarge { octets, limit }) = send(tx, status) {
        let smaller = Status::new(
            status.code(),
            format!("status of {octets} bytes exceeds the client's limit of {limit}"),
        );
        if send(tx, &smaller).is_err() {
            tx.reset(stream, ErrorCode::INTERNAL_ERROR);
        }
    }
}
