//! What the encoder puts on the wire, octet by octet, and what it must never put there.

use super::*;
use crate::hpack::{Decoder, FieldSection, SectionLimits};

const LIMITS: SectionLimits = SectionLimits { list_octets: 1 << 20, fields: 1 << 10 };

fn field<'a>(name: &'a str, value: &'a str, indexing: Indexing) -> HeaderField<'a> {
    HeaderField { name: name.as_bytes(), value: value.as_bytes(), indexing }
}

fn block(encoder: &mut Encoder, fields: &[(&str, &str)], indexing: Indexing) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value) in fields {
        encoder.encode(field(name, value, indexing), &mut out);
    }
    out
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Appendix C.3: values up to 24 octets go out plain, so all but the custom name is what the appendix prints.
#[test]
fn c_3_requests() {
    let mut encoder = Encoder::new(4096);
    let first = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
    let out = block(&mut encoder, &first, Indexing::Insert);
    assert_eq!(hex(&out), "828684410f7777772e6578616d706c652e636f6d");
    assert_eq!((encoder.table_octets(), encoder.table_entries()), (57, 1));
    let second = [&first[..], &[("cache-control", "no-cache")]].concat();
    let out = block(&mut encoder, &second, Indexing::Insert);
    assert_eq!(hex(&out), "828684be58086e6f2d6361636865");
    assert_eq!((encoder.table_octets(), encoder.table_entries()), (110, 2));
    let third = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        first[3],
        ("custom-key", "custom-value"),
    ];
    let out = block(&mut encoder, &third, Indexing::Insert);
    assert_eq!(hex(&out), "828785bf408825a849e95ba97d7f0c637573746f6d2d76616c7565");
    assert_eq!((encoder.table_octets(), encoder.table_entries()), (164, 3));
}

#[test]
fn a_field_comes_again_as_one_octet() {
    let mut encoder = Encoder::new(4096);
    let path = [(":path", "/pkg.Service/Method")];
    assert!(block(&mut encoder, &path, Indexing::Insert).len() > 10);
    assert_eq!(block(&mut encoder, &path, Indexing::Insert), [0xbe]);
    assert_eq!(block(&mut encoder, &path, Indexing::Without), [0xbe], "an entry that is there is used");
    let epoch = encoder.epoch();
    block(&mut encoder, &path, Indexing::Insert);
    assert_eq!(encoder.epoch(), epoch);
}

#[test]
fn without_indexing_nothing_enters_the_table() {
    let mut encoder = Encoder::new(4096);
    let out = block(&mut encoder, &[("grpc-timeout", "100m")], Indexing::Without);
    assert_eq!(out[0], 0x00);
    assert_eq!((encoder.table_entries(), encoder.epoch()), (0, Encoder::new(4096).epoch()));
    // The name alone is used once it is in the table.
    block(&mut encoder, &[("grpc-timeout", "1S")], Indexing::Insert);
    assert_eq!(hex(&block(&mut encoder, &[("grpc-timeout", "100m")], Indexing::Without)), "0f2f043130306d");
}

/// §7.1.3: secrets go out as never-indexed literals whatever the caller says, and enter no table.
#[test]
fn secrets_are_never_indexed() {
    let mut encoder = Encoder::new(4096);
    for (name, prefix) in [
        ("authorization", "1f08"),
        ("cookie", "1f11"),
        ("proxy-authorization", "1f22"),
        ("set-cookie", "1f28"),
    ] {
        for _ in 0..2 {
            let out = block(&mut encoder, &[(name, "secret")], Indexing::Insert);
            assert_eq!(hex(&out), format!("{prefix}06736563726574"), "{name}");
        }
    }
    let out = block(&mut encoder, &[("x-token", "secret")], Indexing::Never);
    assert_eq!(out[0], 0x10);
    assert_eq!(encoder.table_entries(), 0);
    // Even if the same field is in the table already, and even if it is in the static one.
    block(&mut encoder, &[("x-token", "secret")], Indexing::Insert);
    let out = block(&mut encoder, &[("x-token", "secret")], Indexing::Never);
    assert_eq!(hex(&out), "1f2f06736563726574");
    assert_eq!(hex(&block(&mut encoder, &[(":method", "GET")], Indexing::Never)), "1203474554");
    // ... and a decoder tells so.
    let mut section = FieldSection::default();
    Decoder::new(4096).decode(&[0x12, 3, b'G', b'E', b'T'], &LIMITS, &mut section).unwrap();
    assert!(section.field(0).unwrap().sensitive);
}

#[test]
fn a_field_that_would_drive_out_the_rest_is_not_inserted() {
    let mut encoder = Encoder::new(4096);
    let large = "v".repeat(3 * 1024);
    block(&mut encoder, &[("a", "b"), ("x", &large)], Indexing::Insert);
    assert_eq!(encoder.table_entries(), 1);
    let fits = "v".repeat(3 * 1024 - 33);
    block(&mut encoder, &[("x", &fits)], Indexing::Insert);
    assert_eq!(encoder.table_entries(), 2);
}

/// §4.2: a size update opens the next block, and only that one.
#[test]
fn a_changed_size_is_announced_once() {
    let mut encoder = Encoder::new(4096);
    block(&mut encoder, &[("a", "b")], Indexing::Insert);
    encoder.set_peer_limit(0);
    assert!(encoder.size_update_is_due());
    assert_eq!((encoder.table_entries(), encoder.table_capacity()), (0, 0), "the entries go at once");
    assert_eq!(hex(&block(&mut encoder, &[(":method", "GET")], Indexing::Insert)), "2082");
    assert_eq!(hex(&block(&mut encoder, &[(":method", "GET")], Indexing::Insert)), "82");
    assert_eq!(
        block(&mut encoder, &[("a", "b")], Indexing::Insert)[0],
        0x00,
        "there is no table to insert into"
    );
}

#[test]
fn a_size_that_fell_and_rose_is_announced_twice() {
    let mut encoder = Encoder::new(4096);
    encoder.set_peer_limit(10);
    encoder.set_peer_limit(4096);
    assert_eq!(hex(&block(&mut encoder, &[], Indexing::Insert)), "2a3fe11f");
    encoder.set_peer_limit(100);
    encoder.set_peer_limit(10);
    assert_eq!(hex(&block(&mut encoder, &[], Indexing::Insert)), "2a", "the last one is the smallest");
}

#[test]
fn a_larger_peer_limit_is_used_only_as_far_as_we_want() {
    let mut encoder = Encoder::new(4096);
    encoder.set_peer_limit(1 << 20);
    assert!(!encoder.size_update_is_due());
    let mut encoder = Encoder::new(8192);
    assert_eq!(encoder.table_capacity(), 4096, "before the peer has spoken");
    encoder.set_peer_limit(1 << 20);
    assert_eq!(hex(&block(&mut encoder, &[], Indexing::Insert)), "3fe13f");
    let mut small = Encoder::new(100);
    assert_eq!(
        hex(&block(&mut small, &[], Indexing::Insert)),
        "3f45",
        "a smaller table of ours is announced"
    );
}

#[test]
fn long_values_are_huffman_coded_if_it_pays() {
    let mut encoder = Encoder::new(4096);
    let path = "/a.very.long.package.Service/AMethodWithALongName";
    let out = block(&mut encoder, &[("x", path)], Indexing::Without);
    assert!(out.len() < path.len() && out[3] & 0x80 != 0);
    // Octets whose codes are long: plain is shorter.
    let value = "\u{1}".repeat(40);
    let out = block(&mut encoder, &[("x", &value)], Indexing::Without);
    assert_eq!((out.len(), out[3]), (3 + 1 + 40, 40));
}

/// Both sides agree on the table after each of many blocks, while the peer's limit keeps changing.
#[test]
fn the_decoder_follows_through_size_changes() {
    let (mut encoder, mut decoder) = (Encoder::new(4096), Decoder::new(4096));
    let mut section = FieldSection::default();
    for round in 0..2000u32 {
        if round % 7 == 0 {
            for size in [round % 500, round % 4097] {
                encoder.set_peer_limit(size);
                decoder.set_max_table_octets(size);
            }
        }
        let (name, value) = (format!("n{}", round % 13), format!("v{}", round % 31));
        let fields = [(name.as_str(), value.as_str()), (":path", "/x"), (name.as_str(), "fixed")];
        let out = block(&mut encoder, &fields, Indexing::Insert);
        decoder.decode(&out, &LIMITS, &mut section).unwrap();
        let decoded: Vec<_> = section.iter().map(|field| (field.name, field.value)).collect();
        let sent: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        assert_eq!(decoded, sent);
        let (ours, theirs) = (encoder.table_octets(), decoder.table_octets());
        assert_eq!((ours, encoder.table_entries()), (theirs, decoder.table_entries()), "round {round}");
    }
}

/// A section that comes again is sent as it was, and only while the table is what it was.
#[test]
fn whole_sections_are_encoded_as_their_fields_are() {
    let (mut whole, mut single) = (Encoder::new(4096), Encoder::new(4096));
    let mut state = 7u32;
    let mut next = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    for _ in 0..5000 {
        let path = format!("/pkg.Svc/Method{}", next(3));
        let token = format!("token{}", next(2));
        let fields = [
            field(":method", "POST", Indexing::Insert),
            field(":path", &path, Indexing::Insert),
            field("x-id", &token, if next(2) == 0 { Indexing::Without } else { Indexing::Insert }),
            field("authorization", &token, Indexing::Insert),
        ];
        let fields = &fields[..2 + next(3) as usize];
        if next(100) == 0 {
            let limit = [0, 100, 4096][next(3) as usize];
            whole.set_peer_limit(limit);
            single.set_peer_limit(limit);
        }
        let (mut left, mut right) = (Vec::new(), Vec::new());
        whole.encode_section(fields.iter().copied(), &mut left);
        single.begin(&mut right);
        for field in fields {
            single.encode(*field, &mut right);
        }
        assert_eq!(hex(&left), hex(&right));
    }
}

#[test]
fn secrets_are_in_no_template() {
    let mut encoder = Encoder::new(4096);
    for indexing in [Indexing::Insert, Indexing::Never] {
        for name in ["authorization", "x-password"] {
            let fields = [field(":method", "GET", Indexing::Insert), field(name, "s3cr3t", indexing)];
            for _ in 0..3 {
                encoder.encode_section(fields.iter().copied(), &mut Vec::new());
            }
            let kept = format!("{:?}", encoder.shortcuts)
                .contains(&format!("{:?}", b"s3cr3t").replace(['[', ']'], ""));
            assert_eq!(kept, name == "x-password" && indexing == Indexing::Insert, "{name}, {indexing:?}");
        }
        encoder = Encoder::new(4096);
    }
}

/// Fixed sections are encoded to what they would be without being kept, whatever happens to the table between them.
#[test]
fn fixed_sections_make_no_difference_but_time() {
    static HEAD: [HeaderField<'static>; 2] = [
        HeaderField { name: b":status", value: b"200", indexing: Indexing::Insert },
        HeaderField { name: b"content-type", value: b"application/grpc", indexing: Indexing::Insert },
    ];
    static TRAILERS: [HeaderField<'static>; 1] =
        [HeaderField { name: b"grpc-status", value: b"0", indexing: Indexing::Insert }];
    static SECRET: [HeaderField<'static>; 1] =
        [HeaderField { name: b"authorization", value: b"x", indexing: Indexing::Insert }];
    static LONG: [HeaderField<'static>; 1] =
        [HeaderField { name: b"a", value: b"0123456789", indexing: Indexing::Without }];
    let (mut with, mut without) = (Encoder::new(256), Encoder::new(256));
    let mut state = 1u32;
    for _ in 0..20_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (mut left, mut right) = (Vec::new(), Vec::new());
        let fields: &'static [HeaderField<'static>] = match state >> 28 {
            0..=5 => &HEAD,
            6..=10 => &TRAILERS,
            11 => &SECRET,
            12 => &LONG,
            13 | 14 => {
                let value = [b'a' + (state >> 20 & 7) as u8];
                let field = HeaderField { name: b"other", value: &value, indexing: Indexing::Insert };
                with.encode_section([field].into_iter(), &mut left);
                without.encode_section([field].into_iter(), &mut right);
                assert_eq!(left, right);
                continue;
            }
            _ => {
                let limit = 64 * (state >> 20 & 7);
                with.set_peer_limit(limit);
                without.set_peer_limit(limit);
                continue;
            }
        };
        with.encode_fixed(fields, &mut left);
        without.begin(&mut right);
        fields.iter().for_each(|field| without.encode(*field, &mut right));
        assert_eq!(left, right);
    }
}

/// Parts, and whole sections of them, are encoded to what their fields would be, whatever happens to the table between them,
/// and count the same.
#[test]
fn parts_make_no_difference_but_time() {
    let (mut with, mut without) = (Encoder::new(300), Encoder::new(300));
    let mut state = 1u32;
    for _ in 0..20_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (number, other) = ((state >> 30) as usize * 5 + 1, state >> 20 & 15);
        let path = format!("/a.B/Method{number}");
        // Sometimes nothing, mostly the same, sometimes something else, too long, or secret.
        let value = "7".repeat(if other == 1 { 30 } else { other.min(3) as usize });
        let field = |name, value| HeaderField { name, value, indexing: Indexing::Insert };
        let between = match other {
            0 => None,
            2 => Some(HeaderField { indexing: Indexing::Never, ..field(b"x-other", value.as_bytes()) }),
            4 => Some(field(b"cookie", value.as_bytes())),
            5 => Some(field(b"x-othe", b"r7")),
            _ => Some(field(b"x-other", value.as_bytes())),
        };
        let fields = [field(b":method", b"POST"), field(b":path", path.as_bytes())];
        let first = Part { number, fields: &fields };
        let second = Part { number: 0, fields: &[field(b"te", b"trailers")] };
        if state >> 12 & 127 == 0 {
            let limit = state >> 2 & 511;
            with.set_peer_limit(limit);
            without.set_peer_limit(limit);
        }
        let (mut left, mut right) = (Vec::new(), Vec::new());
        assert_eq!(with.part_octets(first), 7 + 4 + 5 + path.len() + 64);
        without.begin(&mut right);
        with.encode_parts(first, between, second, &mut left);
        let all = first.fields.iter().copied().chain(between).chain(second.fields.iter().copied());
        all.for_each(|field| without.encode(field, &mut right));
        assert_eq!(hex(&left), hex(&right));
    }
}

/// The steady request of a method takes no more than a look at what it was the last time.
#[test]
fn a_section_of_parts_that_comes_again_is_kept_whole() {
    let mut encoder = Encoder::new(4096);
    let path = [HeaderField { name: b":path", value: b"/a.B/C", indexing: Indexing::Insert }];
    let te = [HeaderField { name: b"te", value: b"trailers", indexing: Indexing::Insert }];
    let (first, second) = (Part { number: 1, fields: &path }, Part { number: 0, fields: &te });
    let between = Some(HeaderField { name: b"grpc-timeout", value: b"10S", indexing: Indexing::Insert });
    for turn in 0..4 {
        encoder.encode_parts(first, between, second, &mut Vec::new());
        let epoch = encoder.epoch();
        let mut find =
            |parts, between| encoder.whole().is_some_and(|whole| whole.find(epoch, parts, between).is_some());
        assert_eq!(find([1, 0], between), turn > 0, "turn {turn}: the first one fills the table");
        assert!(!find([2, 0], between) && !find([1, 0], None));
    }
}

/// Only misses in a row say that nothing repeats: calls that come in runs, now of one kind, now of another, are kept at once.
#[test]
fn a_section_of_parts_that_comes_in_runs_is_kept_every_time() {
    let te = [HeaderField { name: b"te", value: b"trailers", indexing: Indexing::Insert }];
    let part = Part { number: 0, fields: &te };
    let mut encoder = Encoder::new(4096);
    encoder.encode_parts(part, None, part, &mut Vec::new());
    for run in 0..100 {
        let value = format!("{run}S");
        let timeout = HeaderField { name: b"t", value: value.as_bytes(), indexing: Indexing::Without };
        encoder.encode_parts(part, Some(timeout), part, &mut Vec::new());
        let known = encoder.known_parts([0, 0], Some(timeout)).is_some();
        assert!(known, "run {run}: it was encoded, and is not known");
    }
}

/// A field without a name and a value is not no field, senseless as it is. Found by the fuzz target `hpack_identity`.
#[test]
fn an_empty_field_between_parts_is_sent() {
    let te = [HeaderField { name: b"te", value: b"trailers", indexing: Indexing::Without }];
    let part = Part { number: 0, fields: &te };
    let empty = HeaderField { name: b"", value: b"", indexing: Indexing::Without };
    let mut encoder = Encoder::new(4096);
    let mut encoded = |between| {
        let mut block = Vec::new();
        encoder.encode_parts(part, between, part, &mut block);
        block.len()
    };
    let without = [(); 3].map(|()| encoded(None));
    assert_eq!(encoded(Some(empty)), without[2] + 3);
    assert_eq!(encoded(None), without[2]);
}

/// Sections of every kind, in any order, between rests and changes of the peer's limit: a decoder that follows reads the
/// fields that were given, and secrets as secrets.
#[test]
fn a_decoder_follows_whatever_is_remembered_and_forgotten() {
    static FIXED: [HeaderField<'static>; 2] = [
        HeaderField { name: b":status", value: b"200", indexing: Indexing::Insert },
        HeaderField { name: b"x-kind", value: b"fixed", indexing: Indexing::Insert },
    ];
    let first = [field(":method", "POST", Indexing::Insert), field(":path", "/a.B/C", Indexing::Insert)];
    let second = [field("te", "trailers", Indexing::Insert), field("x-agent", "somebody", Indexing::Insert)];
    let between = [
        None,
        Some(field("grpc-timeout", "1S", Indexing::Without)),
        Some(field("grpc-timeout", "1S", Indexing::Insert)),
        Some(field("authorization", "1S", Indexing::Insert)),
        Some(field("x-token", "1S", Indexing::Never)),
    ];
    let (mut encoder, mut decoder) = (Encoder::new(4096), Decoder::new(4096));
    let mut state = 7_u32;
    let mut random = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as usize % below
    };
    let mut section = FieldSection::default();
    for step in 0..50_000 {
        let mut out = Vec::new();
        let given: Vec<HeaderField<'_>> = match random(200) {
            0..=1 => {
                encoder.rest();
                continue;
            }
            2..=3 => {
                let limit = [0, 60, 130, 4096][random(4)];
                encoder.set_peer_limit(limit);
                decoder.set_max_table_octets(limit);
                continue;
            }
            4..=60 => {
                encoder.encode_fixed(&FIXED, &mut out);
                FIXED.to_vec()
            }
            61..=100 => {
                let given: Vec<_> = second.into_iter().chain(between[random(between.len())]).collect();
                encoder.encode_section(given.iter().copied(), &mut out);
                given
            }
            _ => {
                let between = between[if random(10) > 0 { 1 } else { random(between.len()) }];
                let (one, two) = (Part { number: 1, fields: &first }, Part { number: 0, fields: &second });
                encoder.encode_parts(one, between, two, &mut out);
                first.into_iter().chain(between).chain(second).collect()
            }
        };
        decoder.decode(&out, &LIMITS, &mut section).unwrap_or_else(|error| panic!("step {step}: {error:?}"));
        let got: Vec<_> = section.iter().map(|field| (field.name, field.value, field.sensitive)).collect();
        let secret =
            |field: &HeaderField<'_>| field.indexing == Indexing::Never || field.name == b"authorization";
        let want: Vec<_> = given.iter().map(|field| (field.name, field.value, secret(field))).collect();
        assert_eq!(got, want, "step {step}");
        assert!(decoder.table().all(|(name, _)| name != b"authorization" && name != b"x-token"));
        assert_eq!(encoder.table_octets(), decoder.table_octets(), "step {step}");
    }
}
