//! See `http_head` in `src/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fleetcast::fuzzing::run("http_head", bytes));
