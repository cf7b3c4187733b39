//! All algorithms of the library: against themselves, against octets that others made, and against everything that can be wrong.

use proptest::prelude::*;

use super::*;
#[cfg(feature = "zstd")]
use crate::framing::Incoming;
#[cfg(feature = "zstd")]
use crate::{Code, codec::DecodeBuf};

/// All that this build has.
const ALL: &[CompressionEncoding] = &[
    #[cfg(feature = "gzip")]
    CompressionEncoding::Gzip,
    #[cfg(feature = "deflate")]
    CompressionEncoding::Deflate,
    #[cfg(feature = "zstd")]
    CompressionEncoding::Zstd,
];

fn packed(encoding: CompressionEncoding, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encoding.algorithm().compress(message, &mut out).unwrap();
    // It appends, whatever is there.
    let mut behind = b"before".to_vec();
    encoding.algorithm().compress(message, &mut behind).unwrap();
    assert_eq!(behind.split_off(6), out);
    out
}

fn unpacked(encoding: CompressionEncoding, wire: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut out = b"before".to_vec();
    encoding.algorithm().decompress(wire, limit, &mut out)?;
    Ok(out.split_off(6))
}

proptest! {
    #[test]
    fn what_was_compressed_comes_back(
        message in prop::collection::vec(any::<u8>(), 0..5000),
        repeat in 1usize..40,
        level in -10i32..30,
    ) {
        let message = message.repeat(repeat);
        for encoding in ALL.iter().flat_map(|encoding| [*encoding, encoding.with_level(level.min(12))]) {
            let wire = packed(encoding, &message);
            prop_assert_eq!(unpacked(encoding, &wire, message.len()), Ok(message.clone()));
            if let Some(less) = message.len().checked_sub(1) {
                prop_assert_eq!(unpacked(encoding, &wire, less), Err(DecompressError::TooLarge));
            }
        }
    }

    #[test]
    fn any_octets_are_refused_or_read_within_the_limit(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        for encoding in ALL {
            let begun = packed(*encoding, b"some words, some words, some words");
            for start in [0, 2, 4, 8] {
                let wire = [&begun[..start], &octets].concat();
                if let Ok(out) = unpacked(*encoding, &wire, 1000) {
                    prop_assert!(out.len() <= 1000);
                }
            }
        }
    }
}

#[test]
fn every_cut_and_what_follows_the_end_are_errors() {
    for encoding in ALL {
        let message = b"some words, some words, some more words".repeat(20);
        let wire = packed(*encoding, &message);
        for end in 0..wire.len() {
            let cut = unpacked(*encoding, &wire[..end], 1 << 20);
            assert!(matches!(cut, Err(DecompressError::Corrupt(_))), "{encoding} {end}: {cut:?}");
        }
        let more = [&wire[..], b"zz"].concat();
        assert!(
            matches!(unpacked(*encoding, &more, 1 << 20), Err(DecompressError::Corrupt(_))),
            "{encoding}"
        );
        assert_eq!(unpacked(*encoding, &wire, 1 << 20), Ok(message), "what came before leaves no trace");
    }
}

#[test]
fn variants_are_made_once_and_differ_only_in_what_was_asked() {
    for encoding in ALL {
        let quick = encoding.with_level(1).with_threshold(10);
        assert_eq!((quick.threshold(), encoding.threshold()), (10, DEFAULT_COMPRESSION_THRESHOLD));
        let again = encoding.with_level(1).with_threshold(10);
        assert!(core::ptr::addr_eq(quick.algorithm(), again.algorithm()), "{encoding}");
        assert_eq!(quick, *encoding);
        let text: Vec<u8> = (0..20_000u32).flat_map(|n| (n * n % 7919).to_string().into_bytes()).collect();
        let (hard, easy) = (encoding.with_level(i32::MAX), encoding.with_level(i32::MIN));
        let sizes = [hard, *encoding, easy].map(|encoding| packed(encoding, &text).len());
        assert!(sizes[0] < sizes[2] && sizes[1] <= sizes[2], "{encoding}: {sizes:?}");
    }
}

#[test]
fn the_variant_named_last_counts_where_its_algorithm_stands() {
    let Some(first) = ALL.first() else { return };
    let mut encodings = Encodings::default();
    for encoding in ALL {
        encodings.send(*encoding);
    }
    encodings.send(first.with_threshold(7));
    let agreed = encodings.agree(None, Some([first.name().as_bytes()].into_iter())).unwrap();
    assert_eq!(encodings.of_response(agreed).map(CompressionEncoding::threshold), Some(7));
}

#[cfg(feature = "deflate")]
mod deflate {
    use flate2::{Compress, FlushCompress};

    use super::*;

    const DEFLATE: CompressionEncoding = CompressionEncoding::Deflate;

    #[test]
    fn zlib_is_written_and_a_bare_stream_is_read_too() {
        for message in [&b""[..], b"a", &b"some words ".repeat(500), &[0; 70_000]] {
            let wire = packed(DEFLATE, message);
            assert_eq!(wire[0], 0x78, "method 8, a window of 32 KiB");
            for level in 0..10 {
                let mut bare = Vec::with_capacity(message.len() + 100);
                let mut context = Compress::new(flate2::Compression::new(level), false);
                context.compress_vec(message, &mut bare, FlushCompress::Finish).unwrap();
                assert_eq!(unpacked(DEFLATE, &bare, message.len()).as_deref(), Ok(message), "level {level}");
            }
        }
    }

    #[test]
    fn a_wrong_checksum_and_a_dictionary_are_errors() {
        let mut wire = packed(DEFLATE, b"some words");
        *wire.last_mut().unwrap() ^= 1;
        assert!(matches!(unpacked(DEFLATE, &wire, 100), Err(DecompressError::Corrupt(_))));
        let error = unpacked(DEFLATE, &[0x78, 0x20, 0, 0, 0, 0], 100).unwrap_err();
        assert!(error.to_string().contains("dictionary"), "{error}");
    }
}

#[cfg(feature = "zstd")]
mod zstd {
    use super::*;

    const ZSTD: CompressionEncoding = CompressionEncoding::Zstd;
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

    /// Without a size in its header, as streaming writers make it.
    fn sizeless(message: &[u8], window_log: u32) -> Vec<u8> {
        use ::zstd::zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};
        let mut context = CCtx::create();
        context.set_parameter(CParameter::WindowLog(window_log)).unwrap();
        let mut out = Vec::with_capacity(message.len() + 1000);
        let mut input = InBuffer::around(message);
        context.compress_stream(&mut OutBuffer::around(&mut out), &mut input).unwrap();
        assert_eq!(input.pos(), message.len());
        let at = out.len();
        assert_eq!(context.end_stream(&mut OutBuffer::around_pos(&mut out, at)), Ok(0));
        out
    }

    #[test]
    fn frames_are_joined_and_skippable_ones_skipped() {
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        let wire = [packed(ZSTD, b"one and "), skippable, packed(ZSTD, b"two")].concat();
        assert_eq!(unpacked(ZSTD, &wire, 11).unwrap(), b"one and two");
        assert_eq!(unpacked(ZSTD, &wire, 10), Err(DecompressError::TooLarge));
    }

    #[test]
    fn a_frame_that_says_no_size_is_read_and_stops_at_the_limit() {
        let message = b"some words and more of them ".repeat(9_000);
        let wire = sizeless(&message, 20);
        assert_eq!(unpacked(ZSTD, &wire, message.len()).as_deref(), Ok(&message[..]));
        assert_eq!(unpacked(ZSTD, &wire, message.len() - 1), Err(DecompressError::TooLarge));
    }

    #[test]
    fn windows_end_at_8_mib() {
        let message = vec![7; 9 << 20];
        assert_eq!(unpacked(ZSTD, &sizeless(&message, 23), 16 << 20).map(|out| out.len()), Ok(message.len()));
        let wire = sizeless(&message, 24);
        let error = unpacked(ZSTD, &wire, 16 << 20).unwrap_err();
        assert!(matches!(&error, DecompressError::Memory(what) if what.contains("8388608")), "{error:?}");
        let unpacking = Unpacking { from: Incoming::Request, limit: 16 << 20, encoding: Some(ZSTD) };
        let status = unpacking.open(DecodeBuf::borrowed(&wire).flagged(true)).unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    }

    /// A frame header may say anything: no memory is asked for before it is judged.
    #[test]
    fn sizes_that_cannot_be_are_refused() {
        // A single segment, its size in eight octets.
        for said in [1001, 1 << 40, u64::MAX - 2] {
            let wire = [&MAGIC[..], &[0xe0], &said.to_le_bytes(), &[1, 0, 0]].concat();
            assert_eq!(unpacked(ZSTD, &wire, 1000), Err(DecompressError::TooLarge), "{said}");
        }
        let wire = [&MAGIC[..], &[0xe0], &(1u64 << 50).to_le_bytes(), &[1, 0, 0]].concat();
        assert!(unpacked(ZSTD, &wire, usize::MAX).is_err());
    }
}

/// What is around another algorithm hands its levels on.
#[test]
fn an_algorithm_around_another_may_choose_that_ones_level() {
    struct Around(CompressionEncoding);
    impl Compression for Around {
        fn name(&self) -> &'static str {
            "x-around"
        }
        fn compress(&self, message: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
            self.0.algorithm().compress(message, out)
        }
        fn decompress(&self, message: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
            self.0.algorithm().decompress(message, limit, out)
        }
        fn at_level(&self, level: i32) -> Option<Box<dyn Compression>> {
            Some(Box::new(Self(self.0.with_level(level))))
        }
    }
    for encoding in ALL {
        let (told, hears) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let around = CompressionEncoding::custom(Around(*encoding));
            let (one, again) = (around.with_level(9), around.with_level(9));
            told.send(core::ptr::eq(one.algorithm(), again.algorithm())).unwrap();
        });
        let same = hears.recv_timeout(core::time::Duration::from_secs(10)).expect("nobody waits for itself");
        assert!(same, "{encoding}");
    }
}
