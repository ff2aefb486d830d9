#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dodona_fuzz::parameters(data));
