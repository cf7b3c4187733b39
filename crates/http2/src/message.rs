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
    /// The number of this header section on its connection; one that is decoded anew gets a number of its own. Zero if
    /// it is not kept, so that it cannot come again.
    pub section: u64,
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

/// What a walk over one section found: positions of fields in the section, so that it stays true for a section that is
/// kept and comes again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    method: At,
    scheme: At,
    authority: At,
    path: At,
    status: At,
    protocol: At,
    host: At,
    host_conflict: bool,
    te_trailers: bool,
    content_length: Option<u64>,
    content_type: At,
    grpc_timeout: At,
    grpc_encoding: At,
    grpc_accept_encoding: At,
    grpc_status: At,
    regular_seen: bool,
}

/// The position of a field, if it came.
#[derive(Clone, Copy, Debug)]
struct At(u16);

impl Default for At {
    /// Nowhere. No section has so many fields.
    fn default() -> Self {
        Self(u16::MAX)
    }
}

impl At {
    /// Notes a field; true if there was one before.
    fn put(&mut self, position: u16) -> bool {
        core::mem::replace(&mut self.0, position) != u16::MAX
    }

    fn came(self) -> bool {
        self.0 != u16::MAX
    }

    #[inline]
    fn value(self, section: &FieldSection) -> Option<&[u8]> {
        section.field(usize::from(self.0)).filter(|_| self.came()).map(|field| field.value)
    }
}

/// What kind of section it is, which decides the pseudo-header fields that may appear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Section {
    /// The header section of a request.
    Request,
    /// The header section of a response.
    Response,
    /// A trailer section.
    Trailers,
}

/// Checks a request's header section, after [`walk`].
pub(crate) fn request<'a>(
    section: &'a FieldSection,
    found: &Found,
) -> Result<(RequestHead<'a>, ContentLength), Violation> {
    let method =
        found.method.value(section).filter(|method| is_token(method)).ok_or(Violation::MissingPseudo)?;
    let (scheme, path) = (found.scheme.value(section), found.path.value(section));
    let (authority, host) = (found.authority.value(section), found.host.value(section));
    if method == b"CONNECT" {
        // RFC 9113 §8.5: only :method and :authority. Extended CONNECT (RFC 8441) was not offered.
        if scheme.is_some() || path.is_some() || found.protocol.came() {
            return Err(Violation::UnexpectedPseudo);
        }
        authority.filter(|authority| !authority.is_empty()).ok_or(Violation::MissingPseudo)?;
    } else {
        if found.protocol.came() {
            return Err(Violation::UnexpectedPseudo);
        }
        scheme.filter(|scheme| !scheme.is_empty()).ok_or(Violation::MissingPseudo)?;
        let path = path.ok_or(Violation::MissingPseudo)?;
        let legal = path.first() == Some(&b'/') || (path == b"*" && method == b"OPTIONS");
        if !legal || !path.iter().all(|octet| is_visible(*octet)) {
            return Err(Violation::MissingPseudo);
        }
    }
    // RFC 9113 §8.3.1: no userinfo; RFC 9110 §4.2.4. An authority with a space in it is two to somebody.
    let good = |authority: &[u8]| authority.iter().all(|octet| is_visible(*octet) && *octet != b'@');
    if !authority.is_none_or(good) {
        return Err(Violation::MissingPseudo);
    }
    let conflict = found.host_conflict
        || matches!((authority, host), (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host));
    let head = RequestHead {
        route: RouteId::NONE,
        section: 0,
        method,
        scheme: scheme.unwrap_or_default(),
        authority: authority.or(host).unwrap_or_default(),
        path: path.unwrap_or_default(),
        authority_conflict: conflict,
        te_trailers: found.te_trailers,
        content_type: found.content_type.value(section),
        grpc_timeout: found.grpc_timeout.value(section),
        grpc_encoding: found.grpc_encoding.value(section),
        grpc_accept_encoding: found.grpc_accept_encoding.value(section),
        fields: section,
    };
    Ok((head, found.content_length.map_or(ContentLength::Unbound, ContentLength::Left)))
}

/// Checks a response's header section, after [`walk`].
pub(crate) fn response<'a>(
    section: &'a FieldSection,
    found: &Found,
    to_head_request: bool,
) -> Result<(ResponseHead<'a>, ContentLength), Violation> {
    let status = match found.status.value(section) {
        Some([a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9']) => {
            [a, b, c].into_iter().fold(0u16, |sum, digit| sum * 10 + u16::from(digit - b'0'))
        }
        _ => return Err(Violation::MissingPseudo),
    };
    let head = ResponseHead {
        status,
        content_type: found.content_type.value(section),
        grpc_status: found.grpc_status.value(section),
        grpc_encoding: found.grpc_encoding.value(section),
        fields: section,
    };
    // RFC 9113 §8.1.1: these never have content, whatever content-length says.
    let no_content = to_head_request || matches!(status, 100..=199 | 204 | 304);
    let length = found.content_length.filter(|_| !no_content);
    Ok((head, length.map_or(ContentLength::Unbound, ContentLength::Left)))
}

/// Checks every field of a section by itself and against the others, and notes where those are that matter. For trailers
/// there is nothing more to check.
pub(crate) fn walk(section: &FieldSection, kind: Section) -> Result<Found, Violation> {
    let mut found = Found::default();
    for (position, field) in section.iter().enumerate() {
        // Sections of more fields than that do not pass any sane limit.
        let position = u16::try_from(position).unwrap_or(u16::MAX);
        if field.known.is_pseudo() {
            if found.regular_seen {
                return Err(Violation::PseudoAfterRegular);
            }
            pseudo(&mut found, field, position, kind)?;
        } else {
            found.regular_seen = true;
            regular(&mut found, field, position)?;
        }
        check_value(field.value)?;
    }
    Ok(found)
}

fn pseudo(found: &mut Found, field: Field<'_>, position: u16, kind: Section) -> Result<(), Violation> {
    let place = match (field.known, kind) {
        (Name::Method, Section::Request) => &mut found.method,
        (Name::Scheme, Section::Request) => &mut found.scheme,
        (Name::Authority, Section::Request) => &mut found.authority,
        (Name::Path, Section::Request) => &mut found.path,
        (Name::Protocol, Section::Request) => &mut found.protocol,
        (Name::Status, Section::Response) => &mut found.status,
        _ => return Err(Violation::UnexpectedPseudo),
    };
    if place.put(position) { Err(Violation::DuplicatePseudo) } else { Ok(()) }
}

fn regular(found: &mut Found, field: Field<'_>, position: u16) -> Result<(), Violation> {
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
        Name::Host => found.host_conflict |= found.host.put(position),
        Name::ContentType => found.content_type = At(position),
        Name::GrpcTimeout => found.grpc_timeout = At(position),
        Name::GrpcEncoding => found.grpc_encoding = At(position),
        Name::GrpcAcceptEncoding => found.grpc_accept_encoding = At(position),
        Name::GrpcStatus => found.grpc_status = At(position),
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

/// True for octets that can be part of a URI, and for those beyond ASCII that some clients do not escape.
fn is_visible(octet: u8) -> bool {
    !matches!(octet, 0..=0x20 | 0x7f)
}

fn is_token(text: &[u8]) -> bool {
    if text == b"POST" || text == b"GET" {
        return true;
    }
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

    fn request(section: &FieldSection) -> Result<(RequestHead<'_>, ContentLength), Violation> {
        super::request(section, &walk(section, Section::Request)?)
    }

    fn response(
        section: &FieldSection,
        to_head: bool,
    ) -> Result<(ResponseHead<'_>, ContentLength), Violation> {
        super::response(section, &walk(section, Section::Response)?, to_head)
    }

    fn trailers(section: &FieldSection) -> Result<(), Violation> {
        walk(section, Section::Trailers).map(|_| ())
    }

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
