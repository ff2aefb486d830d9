//! A pipeline source.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = dodona_pipeline::Pipeline::parse(text);
});
