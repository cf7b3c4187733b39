#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| clearway::fuzzing::zstd(octets));
