//! Job specs of the 0.x line: `testdata/legacy/*.json`, each beside the TOML it becomes.
//!
//! To bring these up to date: `DODONA_UPDATE_PAGES=1 cargo test -p dodona-pipeline`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use alloy::dyn_abi::DynSolValue;
use alloy::primitives::{Bytes, U256};
use dodona_pipeline::legacy::{BridgeFacts, Import, MAX_DOCUMENT_BYTES, Options, import};
use dodona_pipeline::{JobKind, JobSpec, Outcome, Pipeline, RunState, Value};
use proptest::prelude::*;
use toml::Table;

use crate::fake::{World, input, run_in};
use crate::jobs::{request_log, single_word};

fn dir() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/legacy"
    ))
}

fn options() -> Options {
    Options {
        evm_chain_id: Some(31337),
        ..Options::default()
    }
}

fn old(name: &str) -> String {
    std::fs::read_to_string(dir().join(name)).unwrap()
}

fn converted(name: &str) -> Import {
    let import = import(&old(name), &options());
    assert_eq!(import.refusals, [], "{name}");
    import
}

/// What is held: the jobs with their warnings as comments.
fn page(import: &Import) -> String {
    let comment = |text: &str| format!("# {}\n", text.replace('\n', "\n# "));
    let mut text: String = import.warnings.iter().map(|w| comment(w)).collect();
    for job in &import.jobs {
        text.push_str(&format!("# ---- {} ----\n", job.kind));
        text.extend(job.warnings.iter().map(|w| comment(w)));
        text.push_str(&job.toml);
    }
    text
}

#[test]
fn every_old_spec_becomes_the_job_that_stands_beside_it() {
    let mut count = 0;
    for entry in std::fs::read_dir(dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        count += 1;
        let name = path.file_name().unwrap().to_str().unwrap();
        let new = page(&converted(name));
        let beside = path.with_extension("toml");
        if std::env::var_os("DODONA_UPDATE_PAGES").is_some() {
            std::fs::write(&beside, &new).unwrap();
        }
        let held = std::fs::read_to_string(&beside).unwrap_or_default();
        assert_eq!(
            new, held,
            "{name} is converted differently: run DODONA_UPDATE_PAGES=1 cargo test -p dodona-pipeline"
        );
    }
    assert!(count >= 15, "{count} old specs");
}

#[test]
fn what_cannot_be_converted_is_refused_with_the_reason_and_the_way_out() {
    let table: Table = old("refusals.toml").parse().unwrap();
    let rows = table["row"].as_array().unwrap();
    assert!(rows.len() >= 35, "{} rows", rows.len());
    for row in rows {
        let text = |key: &str| row[key].as_str().unwrap();
        let import = import(text("spec"), &options());
        let found = import
            .refusals
            .iter()
            .any(|r| r.reason.contains(text("reason")) && r.instead.contains(text("instead")));
        assert!(found, "{}: {:#?}", text("says"), import);
    }
}

#[test]
fn all_refusals_come_at_once() {
    let spec = r#"{"initiators": [{"type": "runlog"}], "endAt": "2099-01-01T00:00:00Z", "tasks": [
        {"type": "sleep"}, {"type": "wasm"}, {"type": "compare", "params": {"operator": "eq", "value": 1}}]}"#;
    let import = import(spec, &Options::default());
    assert_eq!(import.jobs, []);
    assert_eq!(import.refusals.len(), 6, "{:#?}", import.refusals);
}

#[test]
fn a_converted_job_keeps_its_id_in_both_encodings() {
    let import = converted("price-uint256.json");
    let job = &import.jobs[0];
    let spec = JobSpec::parse(&job.toml).unwrap();
    let id = uuid::uuid!("4c7b7ffb-66b3-44fb-aa64-995af81e3fd4");
    assert_eq!(
        (spec.external_job_id, job.external_job_id),
        (Some(id), Some(id))
    );
    let JobKind::DirectRequest(direct) = &spec.kind else {
        panic!("{:?}", spec.kind)
    };
    assert_eq!(direct.min_incoming_confirmations, Some(3));
    assert_eq!(
        direct.min_contract_payment_juels,
        Some(U256::from(10).pow(U256::from(17)))
    );
}

#[test]
fn only_one_of_several_jobs_keeps_the_id() {
    let import = converted("web-and-runlog.json");
    let kinds: Vec<_> = import
        .jobs
        .iter()
        .map(|j| (j.kind, j.external_job_id.is_some()))
        .collect();
    assert_eq!(kinds, [("webhook", false), ("directrequest", true)]);
    assert!(
        import.warnings[0].contains("2 initiators"),
        "{:?}",
        import.warnings
    );
}

#[test]
fn what_a_bridge_asked_for_is_added_where_it_is_known() {
    let facts = BridgeFacts {
        confirmations: 7,
        minimum_payment_juels: U256::from(5),
    };
    let given = Options {
        bridges: Some(BTreeMap::from([("weather-station".to_owned(), facts)])),
        ..options()
    };
    let import = import(&old("bridge-weather.json"), &given);
    let toml = &import.jobs[0].toml;
    assert!(
        toml.contains("minIncomingConfirmations = 7\n")
            && toml.contains("minContractPaymentLinkJuels = \"5\"\n"),
        "{toml}"
    );
    let unknown = Options {
        bridges: Some(BTreeMap::new()),
        ..options()
    };
    let import = dodona_pipeline::legacy::import(&old("bridge-weather.json"), &unknown);
    assert!(
        import.refusals[0].instead.contains("dodona bridges create"),
        "{import:?}"
    );
}

#[test]
fn the_signature_of_a_function_may_be_said_beside_its_selector() {
    // setPrice(uint256)
    let spec = old("cron-store.json").replace("setPrice(uint256)", "0x91b7f5ed");
    let with = |signature: &str| Options {
        function_signature: Some(signature.into()),
        ..options()
    };
    let text = import(&spec, &with("setPrice(uint256 price)"));
    assert_eq!(text.jobs[0].toml, converted("cron-store.json").jobs[0].toml);
    let wrong = import(&spec, &with("setCost(uint256)"));
    assert!(
        wrong.refusals[0].reason.contains("has the selector"),
        "{wrong:?}"
    );
}

/// Runs the only job of an old spec as the answer to a request.
async fn answered(name: &str, world: World, parameters: &[(&str, ciborium::Value)]) -> Outcome {
    let import = converted(name);
    let spec = JobSpec::parse(&import.jobs[0].toml).unwrap();
    run_in(
        &spec.observation_source,
        world,
        request_log(&spec, parameters),
    )
    .await
    .0
}

fn data(outcome: &Outcome) -> Bytes {
    assert_eq!(outcome.state, RunState::Suspended, "{outcome:#?}");
    outcome.transactions[0].data.clone()
}

#[tokio::test]
async fn a_request_with_all_parameters_is_answered_as_before() {
    let world =
        || World::default().answers("https://a.example/x", 200, r#"{"data":{"usd":"12.345"}}"#);
    let text = |t: &str| ciborium::Value::from(t);
    let get = ("get", text("https://a.example/x"));
    // A path in one text is cut at dots, as before; a list is taken as it is.
    let paths = [
        text("data.usd"),
        ciborium::Value::Array(vec![text("data"), text("usd")]),
    ];
    for path in paths {
        let outcome = answered(
            "price-uint256.json",
            world(),
            &[get.clone(), ("path", path), ("times", 100.into())],
        )
        .await;
        assert_eq!(data(&outcome), single_word(U256::from(1234)));
    }
    let outcome = answered(
        "price-uint256.json",
        world(),
        &[get, ("path", text("data.usd"))],
    )
    .await;
    assert_eq!(
        data(&outcome),
        single_word(U256::from(12)),
        "times is 1 unless the request says more"
    );
}

#[tokio::test]
async fn text_is_answered_padded_on_the_right() {
    let world = World::default().answers(
        "https://names.example/first",
        200,
        r#"{"winner":{"name":"Ada"}}"#,
    );
    let outcome = answered("bytes32-text.json", world, &[]).await;
    let mut word = [0; 32];
    word[..3].copy_from_slice(b"Ada");
    assert_eq!(data(&outcome), single_word(U256::from_be_bytes(word)));
}

#[tokio::test]
async fn a_comparison_is_answered_as_one_or_zero() {
    for (millimetres, word) in [("12.6", 1u64), ("12.5", 0), ("3", 0)] {
        let world = World::default().answers(
            "https://rain.example/today",
            200,
            &format!("{{\"millimetres\":{millimetres}}}"),
        );
        let outcome = answered("threshold-bool.json", world, &[]).await;
        assert_eq!(
            data(&outcome),
            single_word(U256::from(word)),
            "{millimetres}"
        );
    }
}

#[tokio::test]
async fn a_bridge_gets_the_request_with_the_parameters_of_the_spec_over_it() {
    let world = World::default()
        .bridge("weather-station", "http://bridge/")
        .answers(
            "http://bridge/",
            200,
            r#"{"data":{"report":{"temperature":-4.25}}}"#,
        );
    let import = converted("bridge-weather.json");
    let spec = JobSpec::parse(&import.jobs[0].toml).unwrap();
    let asked = [("city", "Oslo".into()), ("unit", "kelvin".into())];
    let (outcome, world) =
        run_in(&spec.observation_source, world, request_log(&spec, &asked)).await;
    let expected = U256::MAX - U256::from(41); // -42
    assert_eq!(data(&outcome), single_word(expected));
    let body: serde_json::Value =
        serde_json::from_slice(world.the_call().body.as_deref().unwrap()).unwrap();
    assert_eq!(
        body["data"],
        serde_json::json!({"city": "Oslo", "unit": "celsius"})
    );
    assert_eq!(body["id"], "c1a55e51-0000-4000-8000-000000000002");
}

#[tokio::test]
async fn a_second_bridge_gets_what_the_first_one_said() {
    let world = World::default()
        .bridge("lookup-team", "http://one/")
        .bridge("score-keeper", "http://two/")
        .answers("http://one/", 200, r#"{"data":{"team":9,"result":9}}"#)
        .answers("http://two/", 200, r#"{"data":{"result":3}}"#);
    let import = converted("two-bridges.json");
    let spec = JobSpec::parse(&import.jobs[0].toml).unwrap();
    let (outcome, world) = run_in(
        &spec.observation_source,
        world,
        request_log(&spec, &[("name", "Reds".into())]),
    )
    .await;
    assert_eq!(data(&outcome), single_word(U256::from(3)));
    let calls = world.calls.lock().unwrap();
    let body: serde_json::Value =
        serde_json::from_slice(calls[1].body.as_deref().unwrap()).unwrap();
    assert_eq!(
        body["data"],
        serde_json::json!({"name": "Reds", "team": 9, "result": 9, "season": 2020})
    );
}

#[tokio::test]
async fn several_words_follow_the_request_id() {
    let world = World::default().answers(
        "https://prices.example/pair",
        200,
        r#"{"bid":1.5,"ask":1.75}"#,
    );
    let outcome = answered("multiword.json", world, &[]).await;
    let expected = crate::jobs::multi_word(DynSolValue::Tuple(vec![
        DynSolValue::FixedBytes(crate::jobs::REQUEST_ID, 32),
        DynSolValue::Uint(U256::from(150), 256),
        DynSolValue::Uint(U256::from(175), 256),
    ]));
    assert_eq!(data(&outcome), expected);
}

#[tokio::test]
async fn a_literal_url_is_built_when_converting_and_stays_restricted() {
    let url = "https://prices.example/v1/spot/eth-usd?source=all&fresh=1";
    let world = World::default().answers(url, 200, r#"{"data":[{"price,usd":2000.5}]}"#);
    let import = converted("fixed-url.json");
    let spec = JobSpec::parse(&import.jobs[0].toml).unwrap();
    let (outcome, world) = run_in(&spec.observation_source, world, request_log(&spec, &[])).await;
    assert_eq!(data(&outcome), single_word(U256::from(200_050_000_000u64)));
    let call = world.the_call();
    assert_eq!(call.reach, dodona_pipeline::Reach::Restricted);
    assert!(call.headers.contains(&("X-Api-Key".into(), "abc".into())));
    let tx = &outcome.transactions[0];
    assert_eq!(
        (tx.gas_limit, tx.min_confirmations, tx.from.len()),
        (Some(450_000), Some(2), 1)
    );
}

#[tokio::test]
async fn what_a_request_brought_itself_is_answered() {
    let answer = ciborium::Value::Map(vec![("value".into(), 21.into())]);
    let outcome = answered("exported.json", World::default(), &[("answer", answer)]).await;
    assert_eq!(data(&outcome), single_word(U256::from(42)));
}

#[tokio::test]
async fn a_job_without_a_request_calls_its_own_function() {
    let import = converted("object-call.json");
    let source: Table = import.jobs[0].toml.parse().unwrap();
    let world = World::default().answers(
        "https://match.example/last",
        200,
        r#"{"result":{"home":2,"away":1,"who":"Reds"}}"#,
    );
    let (outcome, _) = run_in(
        source["observationSource"].as_str().unwrap(),
        world,
        input([]),
    )
    .await;
    let tx = &outcome.transactions[0];
    assert_eq!(tx.data[4..36], U256::from(2).to_be_bytes::<32>());
    assert_eq!(tx.gas_limit, Some(300_000));
}

#[tokio::test]
async fn everything_a_call_brought_is_posted_on() {
    let import = converted("web-post.json");
    let source: Table = import.jobs[0].toml.parse().unwrap();
    let world = World::default().answers("https://hooks.example/in", 200, r#"{"accepted":true}"#);
    let body = Value::map([("requestBody", Value::from(r#"{"a":1}"#))]);
    let (outcome, world) = run_in(
        source["observationSource"].as_str().unwrap(),
        world,
        input([("jobRun", body)]),
    )
    .await;
    assert_eq!(outcome.outputs, [Some(Value::Bool(true))]);
    assert_eq!(world.the_call().body.as_deref(), Some(&br#"{"a":1}"#[..]));
}

#[test]
fn documents_that_are_too_large_or_too_deep_are_refused_at_once() {
    let began = Instant::now();
    let huge = format!("{{\"name\": \"{}\"}}", "x".repeat(MAX_DOCUMENT_BYTES * 10));
    assert!(
        import(&huge, &options()).refusals[0]
            .reason
            .contains("longer than")
    );
    for open in ["[", "{\"a\":"] {
        assert!(
            !import(&open.repeat(100_000), &options())
                .refusals
                .is_empty()
        );
    }
    let many = format!(
        r#"{{"initiators":[{{"type":"web"}}],"tasks":[{}{{"type":"noop"}}]}}"#,
        r#"{"type":"noop"},"#.repeat(10_000)
    );
    assert!(
        import(&many, &options()).refusals[0]
            .reason
            .contains("10001 tasks")
    );
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

/// Anything an old spec might hold, including what tries to break out of its quotes.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z$()<>\"'\\\\\n{}\\[\\]=;,. ]{0,20}",
        Just("'''".to_owned()),
        Just("\"]; evil [type=ethtx]; x [a=\"".to_owned()),
        Just("\\".to_owned()),
        Just("<{}>".to_owned()),
        ".{0,12}",
    ]
}

proptest! {
    #![proptest_config(crate::hostile::config(300))]

    #[test]
    fn no_text_panics_as_an_old_spec(text in ".{0,200}") {
        let _ = import(&text, &options());
    }

    #[test]
    fn texts_of_an_old_spec_never_become_anything_but_texts(a in any_text(), b in any_text(), c in any_text(), name in any_text()) {
        let spec = serde_json::json!({"name": name, "initiators": [{"type": "web"}], "tasks": [
            {"type": "httppost", "params": {"post": format!("https://a.example/{a}"), "body": {b.clone(): c}, "headers": {"X": [b]}}},
            {"type": "jsonparse", "params": {"path": [a, "x"]}},
        ]});
        let import = import(&spec.to_string(), &options());
        for job in &import.jobs {
            let toml: Table = job.toml.parse().unwrap();
            let name_now = toml.get("name").and_then(|n| n.as_str()).unwrap_or_default();
            prop_assert_eq!(name_now, name.as_str());
            let pipeline = Pipeline::parse(toml["observationSource"].as_str().unwrap()).unwrap();
            let kinds: Vec<_> = pipeline.tasks().map(|t| t.type_name()).collect();
            prop_assert_eq!(kinds, ["http", "jsonparse"]);
        }
        prop_assert!(import.jobs.len() + import.refusals.len() > 0);
    }
}
