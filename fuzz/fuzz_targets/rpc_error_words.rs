#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    dodona_rpc::fuzz_targets::error_words(data);
});
