//! Values to encode, and signatures.

#![no_main]

#[path = "../run.rs"]
mod run;

use run::run;
libfuzzer_sys::fuzz_target!(|text: &str| {
    run("t [type=ethabiencode abi=\"f(uint64 a, bytes b, string c, bytes32 d, int256[] e)\" data=\"$(x.text)\"]", b"", text);
    let abi: String = text.chars().filter(|c| !matches!(c, '"' | '\\')).collect();
    let _ = dodona_pipeline::Pipeline::parse(&format!("t [type=ethabiencode abi=\"{abi}\"]"));
});
