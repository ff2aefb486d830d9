//! A TOML spec, read and linted.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = dodona_pipeline::JobSpec::parse(text);
    let _ = dodona_pipeline::lint::lint(text, &Default::default());
});
