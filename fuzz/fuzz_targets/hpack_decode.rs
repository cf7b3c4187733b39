#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| clearway_testkit::fuzz::hpack_decode(octets));
