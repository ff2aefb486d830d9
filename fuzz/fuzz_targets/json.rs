//! JSON from strangers.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = dodona_pipeline::read_first_json(data);
});
