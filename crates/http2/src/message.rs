//! What a field section must be to count as an HTTP message. RFC 9113 §8.
//!
//! One walk over the decoded fields checks names, values, pseudo-header fields and content-length, and notes where the
//! fields lie that a server or client acts on. Heads borrow the section: nothing is copied, no map is built.
//!
//! Deliberately left out: what a gRPC server demands on top (content-type, te); that is a decision of the layer above,
//! and its answer is a response, not a reset.

use crate::error::Violation;
use crate::hpack::{Field, FieldSection, Name};
use crate::stream::ContentLength;

/// What the handler made of a :path; opaque to the engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct RouteId(pub u32);

impl RouteId {
    /// No route.
    pub const NONE: Self = Self(u32::MAX);
}

/// A request's header section (RFC 9113 §8.3.1), already checked.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// What [`Handler::route`](crate::Handler::route) answered for the path.
    pub route: RouteId,
    /// `:method`.
    pub method: &'a [u8],
    /// `:scheme`; empty for CONNECT.
    pub scheme: &'a [u8],
    /// `:authority`, or else `host`; empty if neither came.
    pub authority: &'a [u8],
    /// `:path`; empty for CONNECT.
    pub path: &'a [u8],
    /// `:authority` and `host` differ, or `host` came twice.
    pub authority_conflict: bool,
    /// `te: trailers` came.
    pub te_trailers: bool,
    /// `content-type`.
    pub content_type: Option<&'a [u8]>,
    /// `grpc-timeout`, as it came.
    pub grpc_timeout: Option<&'a [u8]>,
    /// `grpc-encoding`.
    pub grpc_encoding: Option<&'a [u8]>,
    /// `grpc-accept-encoding`.
    pub grpc_accept_encoding: Option<&'a [u8]>,
    /// All fields in wire order, pseudo-header fields included.
    pub fields: &'a FieldSection,
}

/// A response's header section (RFC 9113 §8.3.2), already checked.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// `:status`, 100 to 999.
    pub status: u16,
    /// `content-type`.
    pub content_type: Option<&'a [u8]>,
    /// `grpc-status`, which a Trailers-Only response has here.
    pub grpc_status: Option<&'a [u8]>,
    /// `grpc-encoding`.
    pub grpc_encoding: Option<&'a [u8]>,
    /// All fields in wire order, `:status` included.
    pub fields: &'a FieldSection,
}

/// What a walk over one section found. Indices are positions in the section.
#[derive(Default)]
struct Found<'a> {
    method: Option<&'a [u8]>,
    scheme: Option<&'a [u8]>,
    authority: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
    status: Option<&'a [u8]>,
    protocol: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
    host_conflict: bool,
    te_trailers: bool,
    content_length: Option<u64>,
    content_type: Option<&'a [u8]>,
    grpc_timeout: Option<&'a [u8]>,
    grpc_encoding: Option<&'a [u8]>,
    grpc_accept_encoding: Option<&'a [u8]>,
    grpc_status: Option<&'a [u8]>,
    regular_seen: bool,
}

/// Which pseudo-header fields may appear.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Request,
    Response,
    Trailers,
}

/// Checks a request's header section.
pub(crate) fn request(section: &FieldSection) -> Result<(RequestHead<'_>, ContentLength), Violation> {
    let found = walk(section, Section::Request)?;
    let method = found.method.filter(|method| is_token(method)).ok_or(Violation::MissingPseudo)?;
    if method == b"CONNECT" {
        // RFC 9113 §8.5: only :method and :authority. Extended CONNECT (RFC 8441) was not offered.
        if found.scheme.is_some() || found.path.is_some() || found.protocol.is_some() {
            return Err(Violation::UnexpectedPseudo);
        }
        found.authority.filter(|authority| !authority.is_empty()).ok_or(Violation::MissingPseudo)?;
    } else {
        if found.protocol.is_some() {
            return Err(Violation::UnexpectedPseudo);
        }
        found.scheme.filter(|scheme| !scheme.is_empty()).ok_or(Violation::MissingPseudo)?;
        let path = found.path.ok_or(Violation::MissingPseudo)?;
        let legal = path.first() == Some(&b'/') || (path == b"*" && method == b"OPTIONS");
        if !legal {
            return Err(Violation::MissingPseudo);
        }
    }
    let conflict = found.host_conflict
        || matches!((found.authority, found.host), (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host));
    let head = RequestHead {
        route: RouteId::NONE,
        method,
        scheme: found.scheme.unwrap_or_default(),
        authority: found.authority.or(found.host).unwrap_or_default(),
        path: found.path.unwrap_or_default(),
        authority_conflict: conflict,
        te_trailers: found.te_trailers,
        content_type: found.content_type,
        grpc_timeout: found.grpc_timeout,
        grpc_encoding: found.grpc_encoding,
        grpc_accept_encoding: found.grpc_accept_encoding,
        fields: section,
    };
    Ok((head, found.content_length.map_or(ContentLength::Unbound, ContentLength::Left)))
}

/// Checks a response's header section.
pub(crate) fn response(
    section: &FieldSection,
    to_head_request: bool,
) -> Result<(ResponseHead<'_>, ContentLength), Violation> {
    let found = walk(section, Section::Response)?;
    let status = match found.status {
        Some([a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9']) => {
            [a, b, c].into_iter().fold(0u16, |sum, digit| sum * 10 + u16::from(digit - b'0'))
        }
        _ => return Err(Violation::MissingPseudo),
    };
    let head = ResponseHead {
        status,
        content_type: found.content_type,
        grpc_status: found.grpc_status,
        grpc_encoding: found.grpc_encoding,
        fields: section,
    };
    // RFC 9113 §8.1.1: these never have content, whatever content-length says.
    let no_content = to_head_request || matches!(status, 100..=199 | 204 | 304);
    let length = found.content_length.filter(|_| !no_content);
    Ok((head, length.map_or(ContentLength::Unbound, ContentLength::Left)))
}

/// Checks a trailer section.
pub(crate) fn trailers(section: &FieldSection) -> Result<(), Violation> {
    walk(section, Section::Trailers).map(|_| ())
}

fn walk(section: &FieldSection, kind: Section) -> Result<Found<'_>, Violation> {
    let mut found = Found::default();
    for field in section.iter() {
        if field.known.is_pseudo() {
            if found.regular_seen {
                return Err(Violation::PseudoAfterRegular);
            }
            pseudo(&mut found, field, kind)?;
        } else {
            found.regular_seen = true;
            regular(&mut found, field)?;
        }
        check_value(field.value)?;
    }
    Ok(found)
}

fn pseudo<'a>(found: &mut Found<'a>, field: Field<'a>, kind: Section) -> Result<(), Violation> {
    let place = match (field.known, kind) {
        (Name::Method, Section::Request) => &mut found.method,
        (Name::Scheme, Section::Request) => &mut found.scheme,
        (Name::Authority, Section::Request) => &mut found.authority,
        (Name::Path, Section::Request) => &mut found.path,
        (Name::Protocol, Section::Request) => &mut found.protocol,
        (Name::Status, Section::Response) => &mut found.status,
        _ => return Err(Violation::UnexpectedPseudo),
    };
    match place.replace(field.value) {
        None => Ok(()),
        Some(_) => Err(Violation::DuplicatePseudo),
    }
}

fn regular<'a>(found: &mut Found<'a>, field: Field<'a>) -> Result<(), Violation> {
    match field.known {
        Name::Other => check_name(field.name)?,
        // RFC 9113 §8.2.2.
        Name::Connection
        | Name::KeepAlive
        | Name::ProxyConnection
        | Name::TransferEncoding
        | Name::Upgrade => {
            return Err(Violation::ConnectionSpecificField);
        }
        Name::Te if field.value.eq_ignore_ascii_case(b"trailers") => found.te_trailers = true,
        Name::Te => return Err(Violation::BadTe),
        Name::ContentLength => {
            let length = parse_length(field.value)?;
            if found.content_length.replace(length).is_some_and(|earlier| earlier != length) {
                return Err(Violation::ContentLengthMismatch);
            }
        }
        Name::Host => found.host_conflict |= found.host.replace(field.value).is_some(),
        Name::ContentType => found.content_type = Some(field.value),
        Name::GrpcTimeout => found.grpc_timeout = Some(field.value),
        Name::GrpcEncoding => found.grpc_encoding = Some(field.value),
        Name::GrpcAcceptEncoding => found.grpc_accept_encoding = Some(field.value),
        Name::GrpcStatus => found.grpc_status = Some(field.value),
        _ => {}
    }
    Ok(())
}

/// content-length is 1*DIGIT (RFC 9110 §8.6): no sign, no space, not empty.
fn parse_length(value: &[u8]) -> Result<u64, Violation> {
    if value.is_empty() {
        return Err(Violation::ContentLengthMismatch);
    }
    value.iter().try_fold(0u64, |sum, octet| {
        let digit =
            octet.checked_sub(b'0').filter(|digit| *digit <= 9).ok_or(Violation::ContentLengthMismatch)?;
        sum.checked_mul(10)
            .and_then(|sum| sum.checked_add(u64::from(digit)))
            .ok_or(Violation::ContentLengthMismatch)
    })
}

/// RFC 9113 §8.2.1: no 0x00-0x20, no upper case, no 0x7f-0xff, no colon (a leading one is a pseudo-header); and
/// an empty name is no name (CVE-2019-9516).
fn check_name(name: &[u8]) -> Result<(), Violation> {
    let legal = !name.is_empty() && name.iter().all(|c| matches!(c, 0x21..=0x39 | 0x3b..=0x40 | 0x5b..=0x7e));
    if legal { Ok(()) } else { Err(Violation::BadFieldName) }
}

/// RFC 9113 §8.2.1: no NUL, LF or CR anywhere, no space or tab at either end.
fn check_value(value: &[u8]) -> Result<(), Violation> {
    let outer = |c: Option<&u8>| matches!(c, Some(b' ' | b'\t'));
    // Folded without an early exit so that the compiler can do it in wide steps.
    let bad = value.iter().fold(false, |bad, c| bad | matches!(c, 0 | b'\n' | b'\r'));
    if bad || outer(value.first()) || outer(value.last()) { Err(Violation::BadFieldValue) } else { Ok(()) }
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|c| {
            c.is_ascii_alphanumeric()
                || matches!(
                    c,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(fields: &[(&str, &str)]) -> FieldSection {
        let mut section = FieldSection::default();
        for (name, value) in fields {
            section.push(name.as_bytes(), value.as_bytes(), false);
        }
        section
    }

    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];

    fn request_with(extra: &[(&str, &str)]) -> Result<ContentLength, Violation> {
        let fields: Vec<_> = GET.iter().chain(extra).copied().collect();
        request(&section(&fields)).map(|(_, length)| length)
    }

    #[test]
    fn pseudo_header_fields_come_first_once_and_complete() {
        assert!(request_with(&[]).is_ok());
        assert_eq!(request_with(&[("x", "1"), (":path", "/")]), Err(Violation::PseudoAfterRegular));
        assert_eq!(request_with(&[(":path", "/")]), Err(Violation::DuplicatePseudo));
        assert_eq!(request_with(&[(":status", "200")]), Err(Violation::UnexpectedPseudo));
        assert_eq!(request_with(&[(":unknown", "1")]), Err(Violation::UnexpectedPseudo));
        for left_out in 0..3 {
            let fields: Vec<_> =
                GET.iter().enumerate().filter(|(i, _)| *i != left_out).map(|(_, f)| *f).collect();
            assert_eq!(request(&section(&fields)).err(), Some(Violation::MissingPseudo));
        }
        assert_eq!(trailers(&section(&[(":status", "200")])), Err(Violation::UnexpectedPseudo));
    }

    #[test]
    fn every_octet_is_judged_in_names_and_values() {
        for octet in 0..=255u8 {
            let mut in_name = section(&GET);
            in_name.push(&[b'x', octet], b"v", false);
            let legal_name = !matches!(octet, 0..=0x20 | b'A'..=b'Z' | b':' | 0x7f..);
            assert_eq!(request(&in_name).is_ok(), legal_name, "name octet {octet:#x}");
            let mut in_value = section(&GET);
            in_value.push(b"x", &[b'a', octet, b'a'], false);
            assert_eq!(request(&in_value).is_ok(), !matches!(octet, 0 | 10 | 13), "value octet {octet:#x}");
        }
        for value in [" a", "a ", "\ta", "a\t"] {
            assert_eq!(request_with(&[("x", value)]), Err(Violation::BadFieldValue), "{value:?}");
        }
        assert_eq!(request_with(&[("", "v")]), Err(Violation::BadFieldName));
    }

    #[test]
    fn connection_specific_fields_are_malformed() {
        for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
            assert_eq!(request_with(&[(name, "x")]), Err(Violation::ConnectionSpecificField), "{name}");
        }
        assert!(request_with(&[("te", "trailers")]).is_ok());
        assert_eq!(request_with(&[("te", "gzip")]), Err(Violation::BadTe));
    }

    #[test]
    fn content_length_is_digits_and_says_one_thing() {
        assert_eq!(request_with(&[("content-length", "12")]), Ok(ContentLength::Left(12)));
        assert_eq!(
            request_with(&[("content-length", "12"), ("content-length", "12")]),
            Ok(ContentLength::Left(12))
        );
        assert_eq!(
            request_with(&[("content-length", "12"), ("content-length", "13")]),
            Err(Violation::ContentLengthMismatch)
        );
        for value in ["", "+5", "-5", "5,5", "0x5", "99999999999999999999"] {
            assert_eq!(request_with(&[("content-length", value)]), Err(Violation::ContentLengthMismatch));
        }
    }

    #[test]
    fn connect_has_an_authority_and_nothing_else() {
        assert!(request(&section(&[(":method", "CONNECT"), (":authority", "a:1")])).is_ok());
        let with_path = section(&[(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")]);
        assert_eq!(request(&with_path).err(), Some(Violation::UnexpectedPseudo));
        assert_eq!(request(&section(&[(":method", "CONNECT")])).err(), Some(Violation::MissingPseudo));
    }

    #[test]
    fn authority_and_host_must_agree() {
        let conflict = |extra: &[(&str, &str)]| {
            let fields: Vec<_> = GET.iter().chain(extra).copied().collect();
            request(&section(&fields)).unwrap().0.authority_conflict
        };
        assert!(!conflict(&[("host", "a")]));
        assert!(conflict(&[("host", "b")]));
        assert!(conflict(&[("host", "a"), ("host", "a")]));
    }

    #[test]
    fn status_is_three_digits() {
        for (status, good) in [("200", true), ("099", false), ("20", false), ("2000", false), ("2x0", false)]
        {
            assert_eq!(response(&section(&[(":status", status)]), false).is_ok(), good, "{status}");
        }
        let (_, length) = response(&section(&[(":status", "200"), ("content-length", "5")]), true).unwrap();
        assert_eq!(length, ContentLength::Unbound, "a response to HEAD has no content");
    }
}
