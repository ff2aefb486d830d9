//! Input from strangers: nothing panics, nothing takes for ever, nothing loses its type.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use alloy::dyn_abi::{DynSolType, DynSolValue};
use alloy::primitives::U256;
use bigdecimal::BigDecimal;
use dodona_pipeline::{JobSpec, Pipeline, Value, decimal, read_first_json, read_json};
use num_bigint::BigInt;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::fake::{World, error, input, output, run_in};

/// No loop over one input takes anywhere near as long, on any machine, unless it is more than linear.
pub(crate) const LONGEST: Duration = Duration::from_secs(300);

/// There is time for long loops.
pub(crate) fn long() -> bool {
    std::env::var_os("DODONA_TEST_LONG").is_some()
}

/// Cases of a loop: the same ones every time, and many more where there is time
/// (`DODONA_TEST_LONG=1`).
pub(crate) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases: if long() { cases * 40 } else { cases },
        rng_seed: RngSeed::Fixed(0x00d0_d0a4),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Runs one task on hostile values; a panic would be its error.
fn run_task(attributes: &str, vars: [(&str, Value); 1]) -> Result<Value, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let source = format!("t [{attributes}]");
    let (outcome, _) = runtime.block_on(run_in(&source, World::default(), input(vars)));
    let result = crate::fake::result(&outcome, "t");
    match (&result.output, &result.error) {
        (Some(value), None) => Ok(value.clone()),
        (None, Some(error)) => {
            assert!(!error.contains("panicked"), "{attributes}: {error}");
            Err(error.clone())
        }
        both => panic!("{both:?}"),
    }
}

/// A panic while reading is caught and reported as a mistake of the program: also a failure here.
fn is_read_or_refused<T, E: std::fmt::Display>(result: Result<T, E>) {
    if let Err(error) = result {
        let text = error.to_string();
        assert!(
            !text.is_empty() && !text.contains("mistake in this program"),
            "{text}"
        );
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        ".*".prop_map(Value::String),
        "~.*".prop_map(Value::String),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::Uint),
        any::<i128>().prop_map(|n| Value::BigInt(BigInt::from(n) * BigInt::from(u64::MAX))),
        any::<f64>()
            .prop_filter("NaN equals nothing", |f| !f.is_nan())
            .prop_map(Value::Float),
        (any::<i128>(), -5_000i64..5_000)
            .prop_map(|(n, scale)| Value::Decimal(BigDecimal::new(n.into(), scale))),
        any::<Vec<u8>>().prop_map(Value::from),
        proptest::collection::vec(any::<u8>(), 1..=32).prop_map(|b| Value::FixedBytes(b.into())),
        any::<[u8; 20]>().prop_map(|b| Value::Address(b.into())),
        any::<[u8; 32]>().prop_map(|b| Value::Hash(b.into())),
        any::<u128>().prop_map(|n| Value::Uuid(uuid::Uuid::from_u128(n))),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            proptest::collection::btree_map("~?.{0,8}", inner, 0..6).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn a_stored_value_comes_back_with_its_type(value in any_value()) {
        let text = value.to_stored().to_string();
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        let back = Value::from_stored(&back).unwrap();
        prop_assert_eq!(std::mem::discriminant(&back), std::mem::discriminant(&value));
        prop_assert_eq!(back, value);
        prop_assert!(!text.contains("\\u0000"));
    }

    #[test]
    fn what_we_write_is_json(value in any_value()) {
        for text in [value.to_http_json(), value.to_output_json()] {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
            prop_assert!(parsed.is_ok(), "{}", text);
            prop_assert!(read_json(&text).is_ok(), "{}", text);
        }
    }

    #[test]
    fn stored_texts_never_panic(text in "~[a-z]:.{0,40}") {
        let _ = Value::from_stored(&serde_json::Value::String(text));
    }

    #[test]
    fn no_source_panics(source in "[a-z\\[\\]{}<>\"=;,$(). \\->/*#:\n]{0,80}") {
        is_read_or_refused(Pipeline::parse(&source));
    }

    #[test]
    fn no_text_at_all_panics_as_a_source(source in ".{0,80}") {
        is_read_or_refused(Pipeline::parse(&source));
    }

    #[test]
    fn no_mutation_of_a_good_source_panics(at in 0usize..2_000, with in any::<char>(), cut in 0usize..50) {
        let good = include_str!("../../../../testdata/specs/get-uint256.toml");
        let mut chars: Vec<char> = good.chars().collect();
        let at = at % chars.len();
        chars[at] = with;
        chars.drain(at..(at + cut).min(chars.len()));
        is_read_or_refused(JobSpec::parse(&chars.into_iter().collect::<String>()));
    }

    #[test]
    fn no_toml_panics(text in "[a-zA-Z=\"\\[\\]{}\n0-9.# ']{0,100}") {
        is_read_or_refused(JobSpec::parse(&text));
    }

    #[test]
    fn our_json_reader_agrees_with_serde_about_what_is_json(text in "[\\[\\]{}\",:0-9a-fnrtuls\\\\.eE+ -]{0,40}") {
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        let ours = read_json(&text);
        // Lone surrogates and floats out of range are the differences: both are deliberate.
        if theirs.is_ok() {
            prop_assert!(ours.is_ok(), "{}: {:?}", text, ours);
        } else if ours.is_ok() {
            prop_assert!(text.contains("\\u"), "{}: {:?}", text, theirs);
        }
    }

    #[test]
    fn our_json_reader_reads_what_serde_writes(value in any_value()) {
        let json: serde_json::Value = serde_json::from_str(&value.to_output_json()).unwrap();
        prop_assert!(read_json(&json.to_string()).is_ok());
    }

    #[test]
    fn no_bytes_panic_as_json(bytes in any::<Vec<u8>>()) {
        let _ = read_first_json(&bytes);
    }

    #[test]
    fn no_path_panics_in_jsonparse(path in ".{0,40}", document in "[\\[\\]{}\",:0-9a-c]{0,30}") {
        let _ = run_task("type=jsonparse data=\"$(x.d)\" path=\"$(x.p)\" lax=true", [("x", Value::map([("d", Value::from(document)), ("p", Value::from(path))]))]);
    }

    #[test]
    fn no_bytes_panic_as_cbor(bytes in any::<Vec<u8>>()) {
        let _ = run_task("type=cborparse data=\"$(x)\"", [("x", Value::from(bytes.clone()))]);
        let _ = run_task("type=cborparse data=\"$(x)\" mode=standard", [("x", Value::from(bytes))]);
    }

    #[test]
    fn cbor_is_read_as_its_library_writes_it(map in proptest::collection::btree_map("[a-z]{1,5}", any_cbor(), 0..6)) {
        let entries = map.iter().map(|(k, v)| (ciborium::Value::from(k.as_str()), v.clone())).collect();
        let mut bytes = Vec::new();
        ciborium::into_writer(&ciborium::Value::Map(entries), &mut bytes).unwrap();
        let expected = Value::map(map.iter().map(|(k, v)| (k.clone(), expected_of(v))));
        prop_assert_eq!(run_task("type=cborparse data=\"$(x)\"", [("x", Value::from(bytes))]), Ok(expected));
    }

    #[test]
    fn no_bytes_panic_as_contract_data(bytes in any::<Vec<u8>>(), n in 0usize..6) {
        let abi = ["uint256 a, bytes b", "string[] a", "uint8[3] a, int128 b", "bytes[][2] a", "bool a, address[] b", "bytes32[2][] a, string b"][n];
        let _ = run_task(&format!("type=ethabidecode abi=\"{abi}\" data=\"$(x)\""), [("x", Value::from(bytes))]);
    }

    #[test]
    fn contract_data_is_read_as_its_library_writes_it(a in any::<[u8; 32]>(), b in any::<Vec<u8>>(), c in ".{0,40}", d in proptest::collection::vec(any::<i64>(), 0..5)) {
        let values = DynSolValue::Tuple(vec![
            DynSolValue::Uint(U256::from_be_bytes(a), 256),
            DynSolValue::Bytes(b.clone()),
            DynSolValue::String(c.clone()),
            DynSolValue::Array(d.iter().map(|n| DynSolValue::Int((*n).try_into().unwrap(), 64)).collect()),
        ]);
        let decoded = run_task("type=ethabidecode abi=\"uint256 a, bytes b, string c, int64[] d\" data=\"$(x)\"", [("x", Value::from(values.abi_encode_params()))]).unwrap();
        prop_assert_eq!(&decoded, &Value::map([
            ("a", Value::BigInt(BigInt::from_bytes_be(num_bigint::Sign::Plus, &a))),
            ("b", Value::from(b)),
            ("c", Value::from(c)),
            ("d", Value::List(d.iter().map(|n| Value::Int(*n)).collect())),
        ]));
        // And back.
        let encoded = run_task("type=ethabiencode abi=\"(uint256 a, bytes b, string c, int64[] d)\" data=\"$(x)\"", [("x", decoded)]).unwrap();
        prop_assert_eq!(encoded, Value::String(format!("0x{}", hex::encode(values.abi_encode_params()))));
    }

    #[test]
    fn no_value_panics_when_it_is_encoded(value in any_value(), n in 0usize..9) {
        let ty = ["uint256", "int8", "bool", "address", "bytes", "bytes5", "string", "uint256[]", "bytes[2]"][n];
        let _ = run_task(&format!("type=ethabiencode abi=\"({ty} a)\" data=<{{\"a\": $(x)}}>"), [("x", value)]);
    }

    #[test]
    fn every_number_in_range_is_encoded_as_its_library_does(n in any::<i128>()) {
        let expected = DynSolType::Int(256).coerce_str(&n.to_string());
        let encoded = run_task("type=ethabiencode abi=\"(int256 a)\" data=<{\"a\": $(x)}>", [("x", Value::from(n.to_string()))]);
        prop_assert_eq!(encoded, Ok(Value::String(format!("0x{}", hex::encode(expected.unwrap().abi_encode())))));
    }

    #[test]
    fn no_text_panics_as_a_decimal(text in "[-+0-9.eE]{0,30}") {
        if let Ok(number) = decimal::parse(&text) {
            prop_assert_eq!(decimal::parse(&decimal::to_text(&number)), Ok(number));
        }
    }

    #[test]
    fn no_value_panics_in_any_task_that_takes_one(value in any_value(), n in 0usize..16) {
        let task = [
            "type=multiply input=\"$(x)\" times=\"$(x)\"", "type=divide input=\"$(x)\" divisor=\"$(x)\" precision=\"$(x)\"",
            "type=lessthan left=\"$(x)\" right=\"$(x)\"", "type=length input=\"$(x)\"", "type=mean values=\"$(x)\"",
            "type=median values=\"$(x)\"", "type=mode values=\"$(x)\"", "type=sum values=\"$(x)\"", "type=merge left=\"$(x)\" right=\"$(x)\"",
            "type=memo value=\"$(x)\"", "type=hexencode input=\"$(x)\"", "type=hexdecode input=\"$(x)\"", "type=base64decode input=\"$(x)\"",
            "type=uppercase input=\"$(x)\"", "type=conditional data=\"$(x)\"", "type=jsonparse data=\"$(x)\" path=\"$(x)\"",
        ][n];
        let _ = run_task(task, [("x", value)]);
    }
}

fn any_cbor() -> impl Strategy<Value = ciborium::Value> {
    prop_oneof![
        any::<i64>().prop_map(ciborium::Value::from),
        any::<u64>().prop_map(ciborium::Value::from),
        any::<f64>()
            .prop_filter("NaN equals nothing", |f| !f.is_nan())
            .prop_map(ciborium::Value::from),
        any::<f32>()
            .prop_filter("NaN equals nothing", |f| !f.is_nan())
            .prop_map(|f| ciborium::Value::from(f64::from(f))),
        any::<bool>().prop_map(ciborium::Value::from),
        ".{0,10}".prop_map(ciborium::Value::from),
        any::<Vec<u8>>().prop_map(ciborium::Value::Bytes),
        proptest::collection::vec(any::<u64>().prop_map(ciborium::Value::from), 0..4)
            .prop_map(ciborium::Value::Array),
    ]
}

fn expected_of(value: &ciborium::Value) -> Value {
    use ciborium::Value as C;
    match value {
        C::Integer(n) => {
            let n = i128::from(*n);
            if n < 0 {
                Value::Int(n as i64)
            } else {
                Value::Uint(n as u64)
            }
        }
        C::Float(f) => Value::Float(*f),
        C::Bool(b) => Value::Bool(*b),
        C::Text(t) => Value::from(t.as_str()),
        C::Bytes(b) => Value::from(b.clone()),
        C::Array(items) => Value::List(items.iter().map(expected_of).collect()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_hundred_thousand_levels_of_json_are_an_error_of_the_task() {
    for open in ["[", "{\"a\":"] {
        let deep = open.repeat(100_000);
        let began = Instant::now();
        let (outcome, _) = run_in(
            "t [type=jsonparse data=\"$(x)\"]",
            World::default(),
            input([("x", Value::from(deep))]),
        )
        .await;
        assert!(error(&outcome, "t").contains("nests deeper than 100 levels"));
        assert!(began.elapsed() < LONGEST);
    }
}

#[tokio::test]
async fn ten_megabytes_go_through_the_tasks_in_bounded_time() {
    let text = format!("{{\"a\":[{}7]}}", "12345.5,".repeat(10 * 1024 * 1024 / 8));
    let began = Instant::now();
    let (outcome, _) = run_in(
        "t [type=jsonparse data=\"$(x)\" path=\"a,-1\"]",
        World::default(),
        input([("x", Value::from(text.clone()))]),
    )
    .await;
    assert_eq!(output(&outcome, "t"), &Value::Int(7));
    for task in ["hexencode", "base64encode", "lowercase", "length"] {
        let source = format!("t [type={task} input=\"$(x)\"]");
        let (outcome, _) = run_in(
            &source,
            World::default(),
            input([("x", Value::from(text.clone()))]),
        )
        .await;
        output(&outcome, "t");
    }
    let (outcome, _) = run_in(
        "t [type=multiply input=\"$(x)\" times=1]",
        World::default(),
        input([("x", Value::from("9".repeat(10 * 1024 * 1024)))]),
    )
    .await;
    assert!(error(&outcome, "t").contains("too many digits"));
    assert!(began.elapsed() < LONGEST, "{:?}", began.elapsed());
}

#[tokio::test]
async fn contract_data_that_points_at_itself_again_and_again_is_refused() {
    // Four levels of lists whose elements all point at the same next list of a thousand.
    let word = |n: usize| U256::from(n).to_be_bytes::<32>().to_vec();
    let width = 1_000;
    let mut data = word(32);
    for _ in 0..3 {
        data.extend(word(width));
        // Each offset counts from behind the length, to the next level, which follows this one.
        (0..width).for_each(|_| data.extend(word(width * 32)));
    }
    data.extend(word(width));
    (0..width).for_each(|_| data.extend(word(1)));
    let began = Instant::now();
    let (outcome, _) = run_in(
        "t [type=ethabidecode abi=\"uint256[][][][] a\" data=\"$(x)\"]",
        World::default(),
        input([("x", Value::from(data))]),
    )
    .await;
    assert!(
        error(&outcome, "t").contains("too many values"),
        "{}",
        error(&outcome, "t")
    );
    assert!(began.elapsed() < LONGEST);
}

#[test]
fn the_time_to_read_a_source_grows_with_its_length_only() {
    let body = "a [type=fail msg=\"x\"]; /* c */ // d\n".repeat(7_000);
    let began = Instant::now();
    Pipeline::parse(&body).unwrap();
    let quotes = format!("a [type=fail msg=\"{}\"]", "\\\"".repeat(100_000));
    Pipeline::parse(&quotes).unwrap();
    let brackets = format!(
        "a [type=fail msg={}x{}]",
        "<".repeat(100_000),
        ">".repeat(100_000)
    );
    Pipeline::parse(&brackets).unwrap();
    let dollars = format!("a [type=fail msg=\"{}\"]", "$(".repeat(100_000));
    Pipeline::parse(&dollars).unwrap();
    assert!(began.elapsed() < LONGEST, "{:?}", began.elapsed());
}

#[test]
fn maps_keep_their_names_in_order() {
    let map: BTreeMap<String, Value> =
        [("b".to_owned(), Value::Null), ("a".to_owned(), Value::Null)].into();
    assert_eq!(Value::Map(map).to_http_json(), r#"{"a":null,"b":null}"#);
}

#[test]
fn job_specs_that_nest_a_hundred_thousand_levels_are_refused() {
    for open in ["[", "{a=", "[[a.", "{\"a\"="] {
        let text = format!("x = {}", open.repeat(100_000));
        assert!(JobSpec::parse(&text).is_err());
    }
    let dotted = format!("{}x = 1", "a.".repeat(100_000));
    assert!(JobSpec::parse(&dotted).is_err());
}
