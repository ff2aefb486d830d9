//! Decimals.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(number) = dodona_pipeline::decimal::parse(text) {
        let written = dodona_pipeline::decimal::to_text(&number);
        assert_eq!(dodona_pipeline::decimal::parse(&written).expect("what we write we read"), number);
    }
});
