//! See `cursor` in `src/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fleetcast::fuzzing::run("cursor", bytes));
