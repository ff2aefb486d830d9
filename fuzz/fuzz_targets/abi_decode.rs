//! Contract data.

#![no_main]

#[path = "../run.rs"]
mod run;

use run::run;
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    run("t [type=ethabidecode abi=\"uint8 a, bytes b, string[] c, int64[2][] d\" data=\"$(x.data)\"]", data, "");
    run("t [type=ethabidecode abi=\"uint256[][][][] a\" data=\"$(x.data)\"]", data, "");
});
