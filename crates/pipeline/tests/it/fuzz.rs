//! The targets of `fuzz/` in seeded loops: good inputs, damaged in ways that strangers would think of.
//!
//! A loop is the same every time. With `DODONA_TEST_LONG=1` (`script/test --long`) each target gets many
//! more inputs and a new seed, which is printed; `DODONA_TEST_SEED` repeats one.

#[expect(unreachable_pub, reason = "there it is a library")]
#[path = "../../../../fuzz/src/lib.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Damaged inputs for each target, and how long it goes on where there is time.
const SHORT: usize = 500;
const LONG: Duration = Duration::from_secs(60);
/// No input may take longer, by a wide margin: the longest are 64 KiB.
const EACH_WITHIN: Duration = Duration::from_secs(20);
const MAX_BYTES: usize = 64 * 1024;

/// Sebastiano Vigna's SplitMix64: enough to choose with, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        match bound {
            0 => 0,
            bound => (self.next() % bound as u64) as usize,
        }
    }

    fn one_of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// Good inputs of a target, and words of its language.
struct Language {
    good: Vec<Vec<u8>>,
    words: &'static [&'static [u8]],
}

macro_rules! words {
    ($($word:expr),* $(,)?) => { &[$($word.as_bytes()),*] };
}

const DOT_WORDS: &[&[u8]] = words![
    "->",
    "--",
    "[",
    "]",
    "{",
    "}",
    "=",
    ",",
    ";",
    ":",
    "\"",
    "\\\"",
    "<",
    ">",
    "<<",
    ">>",
    "/*",
    "*/",
    "//",
    "#",
    "\n",
    "\r\n",
    "digraph",
    "subgraph",
    "node",
    "edge",
    "strict",
    "input",
    "jobRun",
    "type=",
    "type=fail",
    "index=0x7fffffff",
    "retries=4294967296",
    "timeout=\"1h\"",
    "$(",
    "$(a)",
    "$( a.b.0 )",
    "$(a",
    "\u{feff}",
    "é",
    "😀",
    "\0",
    "-1.5",
    ".5",
    "a",
    "abi=\"f(uint256 a)\"",
];
const TOML_WORDS: &[&[u8]] = words![
    "type = ",
    "\"cron\"",
    "\"fluxmonitor\"",
    "\"webhook\"",
    "schemaVersion = 1",
    "observationSource = ",
    "\"\"\"",
    "'''",
    "[[",
    "]]",
    "[a.b]",
    "=",
    "\n",
    "schedule = \"@every 1s\"",
    "1e999",
    "nan",
    "inf",
    "1979-05-27T07:32:00Z",
    "externalInitiators = [",
    "{ name = \"x\", spec = \"{}\" }",
    "threshold = ",
    "externalJobID = ",
    "contractAddress = ",
    "0x",
    "\\u0000",
    "\\U0010ffff",
    "é",
    "evmChainID = ",
];
const JSON_WORDS: &[&[u8]] = words![
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\u",
    "\\ud800",
    "\\udc00",
    "null",
    "true",
    "false",
    "1e999",
    "-0",
    "1.",
    "9999999999999999999999",
    "1e-400",
    "$(x)",
    "$(x.a)",
    "\"a\":",
    "\0",
    "[[[[[[[[",
    "{\"a\":",
    "initiators",
    "tasks",
    "\"type\":",
    "runlog",
    "httpget",
    "jsonparse",
    "multiply",
    "ethuint256",
    "params",
];
const NUMBER_WORDS: &[&[u8]] = words![
    "0",
    "1",
    "9",
    "-",
    "+",
    ".",
    "e",
    "E",
    "e+",
    "e-",
    "e9999",
    "e10001",
    "99999999999999999999",
    " ",
    "0x",
    "0000000000",
    "NaN",
    "_",
    "e-99999999999999999999",
];
const BINARY_WORDS: &[&[u8]] = &[
    &[0; 32],
    &[0xff; 32],
    &[
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0x20,
    ],
    &[
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 1,
    ],
    &[0x5f],
    &[0x7f],
    &[0x9f],
    &[0xbf],
    &[0xff],
    &[0xc2, 0x49],
    &[0xc3],
    &[0xd9, 0xd9, 0xf7],
    &[0xfb],
    &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x9b, 0, 0, 0, 1, 0, 0, 0, 0],
    &[0x61, 0x61],
    &[0xf9, 0x7e, 0x00],
    &[0xa1, 0x61],
    &[0x82],
    &[0x20],
];
const CRON_WORDS: &[&[u8]] = words![
    "CRON_TZ=",
    "TZ=",
    "UTC",
    "Europe/Berlin",
    "@every ",
    "@hourly",
    "@reboot",
    "1s",
    "-1h",
    "*",
    "/",
    "*/5",
    "-",
    ",",
    "?",
    "L",
    "W",
    "MON",
    "JAN",
    "0",
    "59",
    "60",
    "999999999999",
    " ",
    "\t",
];

fn testdata(path: &str) -> Vec<Vec<u8>> {
    let dir = format!("{}/../../testdata/{path}", env!("CARGO_MANIFEST_DIR"));
    let (dir, end) = dir.rsplit_once('*').unwrap();
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(end))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// What the rows of the conformance table say under `key`, where `wanted` is in the task.
fn of_rows(wanted: &str, pick: impl Fn(&toml::Table) -> Option<Vec<u8>>) -> Vec<Vec<u8>> {
    crate::conformance::rows()
        .iter()
        .filter(|(_, row)| row["task"].as_str().unwrap().contains(wanted))
        .filter_map(|(_, row)| pick(row))
        .collect()
}

fn task_of(row: &toml::Table) -> Option<Vec<u8>> {
    Some(format!("t [{}]", row["task"].as_str()?).into_bytes())
}

/// The bytes in the variables of a row.
fn bytes_of(row: &toml::Table) -> Option<Vec<u8>> {
    let vars = row.get("vars")?.as_str()?;
    let (_, rest) = vars.split_once("~b:")?;
    hex::decode(rest.split('"').next()?).ok()
}

fn text_of(row: &toml::Table) -> Option<Vec<u8>> {
    let vars: serde_json::Value = serde_json::from_str(row.get("vars")?.as_str()?).ok()?;
    Some(vars.get("x")?.as_str()?.as_bytes().to_vec())
}

fn attribute_of(row: &toml::Table, start: &str, end: &str) -> Option<Vec<u8>> {
    let task = row["task"].as_str()?;
    let (_, rest) = task.split_once(start)?;
    Some(rest.split(end).next()?.as_bytes().to_vec())
}

fn plain(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn language(target: &str) -> Language {
    let (good, words) = match target {
        "dot" => {
            let mut good = of_rows("", task_of);
            good.extend(plain(&[
                "a [type=memo value=1]; b [type=multiply input=\"$(a)\" times=2]\n{a b} -> c -> d\nc [type=any] d [type=sum index=1]",
                "// c\n# d\nds [type=http method=GET url=\"http://h/\"] /* x */ parse [type=jsonparse path=\"a,b\"]; ds -> parse",
            ]));
            (good, DOT_WORDS)
        }
        "spec" => (
            testdata("specs/*.toml")
                .into_iter()
                .chain(testdata("legacy/*.toml"))
                .collect(),
            TOML_WORDS,
        ),
        "legacy" => (testdata("legacy/*.json"), JSON_WORDS),
        "json" | "jsonparse" => (of_rows("jsonparse", text_of), JSON_WORDS),
        "decimals" => {
            let mut good = of_rows("multiply", text_of);
            good.extend(plain(&[
                "1 3",
                "1.5 -2.25",
                "1e18 1e-18",
                "115792089237316195423570985008687907853 7",
            ]));
            (good, NUMBER_WORDS)
        }
        "keypaths" => (
            plain(&["a,0,b", "a,1,0", ",c", "a/-1/0", "a.0.b", ".c", "a.1"]),
            JSON_WORDS,
        ),
        "cbor" => (of_rows("cborparse", bytes_of), BINARY_WORDS),
        "abi_decode" => (of_rows("ethabidecode", bytes_of), BINARY_WORDS),
        "abi_encode" => (
            of_rows("ethabiencode", |row| attribute_of(row, "data=<", ">")),
            JSON_WORDS,
        ),
        "abi_signature" => {
            let mut good = of_rows("ethabi", |row| attribute_of(row, "abi=\"", "\""));
            good.extend(of_rows("ethabiencode2", |row| {
                attribute_of(row, "abi=<", "> data")
            }));
            (good, DOT_WORDS)
        }
        "parameters" => {
            let mut good = plain(&[
                "[$(x.a), $(x.b)]",
                "$(x.b)",
                "['a', 'b']",
                "{'k': $(x.a)}",
                "$( x.b.0 )",
                "16",
            ]);
            good.extend(of_rows("requestData=<", |row| {
                attribute_of(row, "requestData=<", ">")
            }));
            (good, JSON_WORDS)
        }
        "stored" => {
            let outputs =
                |row: &toml::Table| Some(row.get("output")?.as_str()?.as_bytes().to_vec());
            (of_rows("", outputs), JSON_WORDS)
        }
        "schedule" => (
            plain(&[
                "0 */5 * * * *",
                "CRON_TZ=UTC 0 0 0 1 1 *",
                "@every 1h30m",
                "*/5 * * * *",
                "@daily",
            ]),
            CRON_WORDS,
        ),
        other => panic!("{other} has no good inputs"),
    };
    assert!(!good.is_empty(), "{target}");
    Language { good, words }
}

impl Language {
    fn damaged(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.good[random.below(self.good.len())].clone();
        for _ in 0..=random.below(6) {
            let at = random.below(bytes.len() + 1);
            let end = (at + 1 + random.below(16)).min(bytes.len());
            match random.below(11) {
                0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
                1 if at < bytes.len() => bytes[at] = random.next() as u8,
                2 => bytes.insert(at, random.next() as u8),
                3 => drop(bytes.drain(at.min(end)..end)),
                4 => bytes.truncate(at),
                5 => {
                    let piece = bytes[at.min(end)..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                6 => {
                    let other = &self.good[random.below(self.good.len())];
                    let from = random.below(other.len() + 1);
                    bytes.splice(at.., other[from..].iter().copied());
                }
                7 => {
                    // Many, and now and then very many.
                    let word = random.one_of(self.words);
                    let doublings = if random.below(12) == 0 { 12 } else { 6 };
                    let many = 1 << random.below(doublings);
                    bytes.splice(at..at, word.repeat(many));
                }
                8 => {
                    // A word on a boundary of 32 bytes, as contract data has them.
                    let word = random.one_of(self.words);
                    let at = at / 32 * 32;
                    let end = (at + word.len()).min(bytes.len());
                    bytes.splice(at..end, word.iter().copied());
                }
                _ => {
                    let word = random.one_of(self.words);
                    bytes.splice(at..at, word.iter().copied());
                }
            }
            bytes.truncate(MAX_BYTES);
        }
        bytes
    }
}

fn seed() -> u64 {
    let given = std::env::var_os("DODONA_TEST_SEED").and_then(|seed| seed.into_string().ok());
    match given.map(|seed| seed.parse().expect("DODONA_TEST_SEED is a number")) {
        Some(seed) => seed,
        None if crate::hostile::long() => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64,
        None => 0x00d0_d0a4,
    }
}

fn withstands(name: &str) {
    let (_, target) = targets::TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("there is no target {name}"));
    let (seed, long) = (seed(), crate::hostile::long());
    let language = language(name);
    let mut random = Random(seed);
    let began = Instant::now();
    let mut count = 0;
    let damaged = std::iter::repeat_with(|| language.damaged(&mut random));
    for (n, input) in language.good.iter().cloned().chain(damaged).enumerate() {
        let started = Instant::now();
        if n >= language.good.len() + SHORT && (!long || started - began > LONG) {
            break;
        }
        count = n + 1;
        let outcome = catch_unwind(AssertUnwindSafe(|| target(&input)));
        let took = started.elapsed();
        assert!(
            outcome.is_ok() && took < EACH_WITHIN,
            "{name}: input {n} of DODONA_TEST_SEED={seed} (took {took:?}), as hex: {}",
            hex::encode(&input)
        );
    }
    eprintln!(
        "{name}: {count} inputs with DODONA_TEST_SEED={seed} in {:.0?}",
        began.elapsed()
    );
}

macro_rules! loops {
    ($($test:ident: $target:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            withstands($target);
        })*

        #[test]
        fn every_target_has_its_loop() {
            let looped = [$($target),*];
            let all: Vec<_> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(all, looped);
            for name in all {
                let path = format!("{}/../../fuzz/fuzz_targets/{name}.rs", env!("CARGO_MANIFEST_DIR"));
                let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
                assert!(text.contains(&format!("dodona_fuzz::{name}(data)")), "{path}");
            }
        }
    };
}

loops! {
    damaged_sources_are_read_or_refused_at_their_place: "dot",
    damaged_specs_are_read_or_refused_in_words: "spec",
    damaged_old_specs_are_converted_or_refused: "legacy",
    damaged_json_is_read_or_refused: "json",
    damaged_decimals_are_exact_or_refused: "decimals",
    damaged_paths_lead_somewhere_or_nowhere: "keypaths",
    damaged_documents_are_picked_from_or_refused: "jsonparse",
    damaged_cbor_is_read_or_refused: "cbor",
    damaged_contract_data_is_read_and_written_the_same_or_refused: "abi_decode",
    damaged_values_are_encoded_or_refused: "abi_encode",
    damaged_signatures_are_read_or_refused_at_their_place: "abi_signature",
    damaged_parameters_are_used_or_refused: "parameters",
    damaged_rows_are_read_or_refused: "stored",
    damaged_schedules_are_kept_or_refused: "schedule",
}
