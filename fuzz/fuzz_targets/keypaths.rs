//! Paths, in jsonparse and in expressions.

#![no_main]

#[path = "../run.rs"]
mod run;

use run::run;
libfuzzer_sys::fuzz_target!(|text: &str| {
    run("t [type=jsonparse data=\"$(x.document)\" path=\"$(x.text)\" lax=true]", text.as_bytes(), text);
    let path: String = text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')).collect();
    run(&format!("t [type=memo value=<$(x.{path})>]"), text.as_bytes(), text);
});
