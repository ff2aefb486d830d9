//! A 0.x spec.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let options = dodona_pipeline::legacy::Options { evm_chain_id: Some(1), ..Default::default() };
    for job in dodona_pipeline::legacy::import(text, &options).jobs {
        // What is made must be readable.
        dodona_pipeline::JobSpec::parse(&job.toml).expect("a converted job is read");
    }
});
