//! Validation: D2 to D4.

use clearway_http2::ErrorCode;

use crate::floods::id;
use crate::wire::{self, Conn, END_STREAM, RST_STREAM};
use crate::{Attack, Scene, Seen};

pub(crate) const ALL: &[Attack] = &[
    Attack { id: "D2", name: "every octet in names and values", server: &[], play: octets },
    Attack { id: "D3", name: ":authority against host", server: &[], play: authorities },
    Attack { id: "D4", name: "pseudo-header fields", server: &[], play: pseudo },
];

const PATH: &[u8] = b"/bench.Echo/Unary";

/// The fields of a request, from which one is changed.
fn request(change: impl FnOnce(&mut Vec<(Vec<u8>, Vec<u8>)>)) -> Vec<u8> {
    let fields: [(&[u8], &[u8]); 6] = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", PATH),
        (b":authority", b"victim"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    ];
    let mut fields: Vec<_> = fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    change(&mut fields);
    fields.iter().flat_map(|(name, value)| wire::field(name, value)).collect()
}

fn set(name: &'static [u8], value: Vec<u8>) -> Vec<u8> {
    request(|fields| {
        if let Some(field) = fields.iter_mut().find(|field| field.0 == name) {
            field.1 = value;
        }
    })
}

fn added(name: &[u8], value: &[u8]) -> Vec<u8> {
    request(|fields| fields.push((name.to_vec(), value.to_vec())))
}

/// What becomes of a request: None if its stream is reset with PROTOCOL_ERROR, otherwise the status of the answer.
fn outcome(conn: &mut Conn, stream: u32, block: &[u8]) -> Result<Option<String>, String> {
    conn.send(&wire::headers(stream, END_STREAM, block), 1);
    loop {
        let frame = conn.next(std::time::Duration::from_secs(5)).ok_or("neither an answer nor a reset")?;
        match frame.kind {
            RST_STREAM
                if frame.stream == stream && frame.payload == ErrorCode::PROTOCOL_ERROR.0.to_be_bytes() =>
            {
                return Ok(None);
            }
            wire::HEADERS if frame.stream == stream => {
                return Ok(Some(frame.field(":status").unwrap_or_default().to_owned()));
            }
            RST_STREAM | wire::GOAWAY => return Err(format!("{frame:?}")),
            _ => {}
        }
    }
}

/// A place for an octet: the request that has it there, and whether that is legal.
type Place = (&'static str, fn(u8) -> Vec<u8>, fn(u8) -> bool);

const PLACES: &[Place] = &[
    (
        "name",
        |octet| added(&[b'x', octet, b'y'], b"v"),
        |octet| matches!(octet, 0x21..=0x39 | 0x3b..=0x40 | 0x5b..=0x7e),
    ),
    ("value", |octet| added(b"x", &[b'a', octet, b'b']), |octet| !matches!(octet, 0 | b'\r' | b'\n')),
    (
        "value's end",
        |octet| added(b"x", &[b'a', octet]),
        |octet| !matches!(octet, 0 | b'\r' | b'\n' | b' ' | b'\t'),
    ),
    ("path", |octet| set(b":path", [PATH, &[octet]].concat()), |octet| !matches!(octet, 0..=0x20 | 0x7f)),
    (
        "method",
        |octet| set(b":method", [b"PO", &[octet][..], b"ST"].concat()),
        |octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet),
    ),
    (
        "authority",
        |octet| set(b":authority", vec![b'a', octet]),
        |octet| !matches!(octet, 0..=0x20 | 0x7f | b'@'),
    ),
];

fn octets(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut all = Vec::new();
    for (place, make, legal) in PLACES {
        let mut conn = scene.connect()?;
        for octet in 0..=255u8 {
            let found = outcome(&mut conn, id(u32::from(octet)), &make(octet))?;
            if found.is_some() != legal(octet) {
                return Err(format!("octet {octet:#04x} in the {place}: answer {found:?}"));
            }
        }
        conn.expect_alive()?;
        all.push(Seen::of(&[&conn], "RST_STREAM PROTOCOL_ERROR for what is not legal"));
    }
    all.into_iter().reduce(Seen::and).ok_or("nothing was tried".into())
}

fn authorities(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    let two_hosts = request(|fields| {
        fields.extend([(b"host".to_vec(), b"victim".to_vec()), (b"host".to_vec(), b"victim".to_vec())]);
    });
    let cases = [
        (added(b"host", b"victim"), Some("200")),
        (added(b"host", b"VICTIM"), Some("200")),
        (added(b"host", b"other"), Some("400")),
        (two_hosts, Some("400")),
        (set(b":authority", b"user@victim".to_vec()), None),
        (set(b":authority", b"user:password@victim:80".to_vec()), None),
    ];
    for (n, (block, want)) in (0..).zip(cases) {
        let found = outcome(&mut conn, id(n), &block)?;
        if found.as_deref() != want {
            return Err(format!("case {n}: {found:?}, want {want:?}"));
        }
    }
    conn.expect_alive()?;
    Ok(Seen::of(&[&conn], "different or doubled: 400; userinfo: RST_STREAM PROTOCOL_ERROR"))
}

fn pseudo(scene: &Scene<'_>) -> Result<Seen, String> {
    let mut conn = scene.connect()?;
    let mut cases: Vec<Vec<u8>> = Vec::new();
    for name in [b":method".as_slice(), b":scheme", b":path", b":authority"] {
        // Twice, after a regular field.
        cases.push(added(name, b"/"));
        cases.push(request(|fields| {
            let at = fields.iter().position(|field| field.0 == name).unwrap_or(0);
            fields.insert(at, (name.to_vec(), b"/".to_vec()));
        }));
        if name != b":authority" {
            cases.push(request(|fields| fields.retain(|field| field.0 != name)));
            cases.push(request(|fields| {
                fields.iter_mut().filter(|field| field.0 == name).for_each(|field| field.1.clear());
            }));
        }
    }
    for unknown in [b":status".as_slice(), b":protocol", b":unknown", b":"] {
        cases.push(request(|fields| fields.insert(0, (unknown.to_vec(), b"200".to_vec()))));
    }
    // CONNECT has neither scheme nor path, and must have an authority.
    cases.push(set(b":method", b"CONNECT".to_vec()));
    cases.push([wire::field(b":method", b"CONNECT"), wire::field(b"te", b"trailers")].concat());
    for (n, block) in (0..).zip(&cases) {
        let found = outcome(&mut conn, id(n), block)?;
        if found.is_some() {
            return Err(format!("case {n}: {found:?}"));
        }
    }
    let in_trailers = id(u32::try_from(cases.len()).unwrap_or(0));
    conn.send(&wire::headers(in_trailers, 0, &wire::call("/bench.Echo/Hold")), 1);
    conn.send(&wire::headers(in_trailers, END_STREAM, &wire::field(b":path", b"/")), 1);
    let how = conn.expect_reset(in_trailers, ErrorCode::PROTOCOL_ERROR)?;
    Ok(Seen::of(&[&conn], format!("{how} each")))
}
