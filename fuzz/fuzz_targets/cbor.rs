//! CBOR, both modes.

#![no_main]

#[path = "../run.rs"]
mod run;

use run::run;
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    run("t [type=cborparse data=\"$(x.data)\"]", data, "");
    run("t [type=cborparse data=\"$(x.data)\" mode=standard]", data, "");
});
