//! A document through the task.

#![no_main]

#[path = "../run.rs"]
mod run;

use run::run;
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    run("t [type=jsonparse data=\"$(x.data)\" path=\"a,0,b\"]", data, "");
});
