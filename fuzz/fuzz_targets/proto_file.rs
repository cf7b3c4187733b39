#![no_main]

mod panics;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    panics::count_those_of_others();
    clearway_build::fuzzing::proto_file(octets);
});
