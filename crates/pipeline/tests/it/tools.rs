//! Tools for writing jobs: the linter, rehearsals, pictures.

use dodona_pipeline::lint::{Facts, Finding, Level, RULES, lint};
use dodona_pipeline::rehearsal::{Rehearsal, Report, Sources};
use dodona_pipeline::{JobSpec, RunState, draw};

const HEAD: &str = r#"type = "directrequest"
schemaVersion = 1
externalJobID = "7d1c4f0a-52b3-4a8e-9c36-1f0e6a2b9d41"
evmChainID = "1"
contractAddress = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
minContractPaymentLinkJuels = "1000"
"#;

fn job(extra: &str, source: &str) -> String {
    format!("{HEAD}{extra}observationSource = '''\n{source}\n'''\n")
}

fn found(toml: &str) -> Vec<Finding> {
    lint(toml, &Facts::default())
}

#[track_caller]
fn has(toml: &str, rule: &str, level: Level, words: &str) -> Finding {
    let all = found(toml);
    all.iter()
        .find(|f| f.rule == rule && f.level == level && f.message.contains(words))
        .unwrap_or_else(|| panic!("no {rule} with {words:?} in {all:#?}"))
        .clone()
}

#[track_caller]
fn has_not(toml: &str, rule: &str) {
    let all = found(toml);
    assert!(!all.iter().any(|f| f.rule == rule), "{all:#?}");
}

const LOG: &str = r#"log [type=ethabidecodelog abi="OracleRequest(bytes32 indexed specId, bytes data)" data="$(jobRun.logData)" topics="$(jobRun.logTopics)"]
req [type=cborparse data="$(log.data)"]"#;

#[test]
fn a_refused_spec_is_an_error_at_its_place() {
    let broken = job("", "a [type=http\n  url=\"x\"]\nb [type=jsonprase]");
    let f = has(
        &broken,
        "invalid-spec",
        Level::Error,
        "did you mean \"jsonparse\"",
    );
    // The caret's place in the file: six lines of head, the key, then the third line of the source.
    assert_eq!((f.place.line, f.place.column), (10, 9));
    let f = has(
        "type = \"cron\"\nschedule = ",
        "invalid-spec",
        Level::Error,
        "TOML",
    );
    assert_eq!(f.place.line, 2);
    let f = has(
        &job("maxTaskDuration = \"x\"\n", "a [type=memo value=1]"),
        "invalid-spec",
        Level::Error,
        "maxTaskDuration",
    );
    assert_eq!(f.place.line, 7);
}

#[test]
fn what_is_ignored_is_pointed_out() {
    let spec = job(
        "minIncomingConfirmation = 3\n",
        "a [type=http url=\"https://a.example/$(b)\" metod=GET]\nb [type=memo value=<{x}>]",
    );
    has(
        &spec,
        "unknown-key",
        Level::Warning,
        "minIncomingConfirmations",
    );
    assert_eq!(
        has(
            &spec,
            "unknown-attribute",
            Level::Warning,
            "did you mean `method`"
        )
        .place
        .line,
        9
    );
    has(&spec, "no-interpolation", Level::Warning, "`url`");
    has(&spec, "unreadable-json", Level::Warning, "`value`");
}

#[test]
fn a_url_of_the_requester_is_followed_through_all_that_computes() {
    let direct = job(
        "",
        &format!("{LOG}\na [type=http url=\"$(req.get)\" allowUnrestrictedNetworkAccess=true]"),
    );
    has(
        &direct,
        "unrestricted-requester-url",
        Level::Warning,
        "inside your network",
    );
    let through = job(
        "",
        &format!(
            "{LOG}\nup [type=lowercase input=\"$(req.get)\"]\nm [type=merge left=<{{\"u\": $(up)}}> right=\"{{}}\"]\na [type=http url=\"$(m.u)\" allowUnrestrictedNetworkAccess=true]"
        ),
    );
    has(
        &through,
        "unrestricted-requester-url",
        Level::Warning,
        "inside your network",
    );
    let restricted = job("", &format!("{LOG}\na [type=http url=\"$(req.get)\"]"));
    has(
        &restricted,
        "requester-url",
        Level::Note,
        "strict egress profile",
    );
    has_not(&restricted, "unrestricted-requester-url");
    let own = job(
        "",
        "a [type=http url=\"https://a.example\" allowUnrestrictedNetworkAccess=true]\nb [type=jsonparse path=next]\na -> b\nc [type=http url=\"$(b)\" allowUnrestrictedNetworkAccess=true]",
    );
    has_not(&own, "unrestricted-requester-url");
}

#[test]
fn a_source_without_tls_is_worth_a_thought() {
    has(
        &job("", "a [type=http url=\"http://a.example\"]"),
        "plain-http",
        Level::Note,
        "use https",
    );
    has_not(
        &job(
            "",
            "a [type=http url=\"http://a.internal\" allowUnrestrictedNetworkAccess=true]",
        ),
        "plain-http",
    );
}

#[test]
fn an_address_inside_the_own_network_is_pointed_out_before_it_is_refused() {
    for url in [
        "http://127.0.0.1:8080/x",
        "https://192.168.1.4",
        "http://[::1]/",
        "http://0x7f.1/",
        "http://localhost:3000",
        "http://adapter:8080",
        "http://prices.internal",
    ] {
        let spec = job("", &format!("a [type=http url=\"{url}\"]"));
        has(
            &spec,
            "private-url",
            Level::Warning,
            "allowUnrestrictedNetworkAccess=\"true\"",
        );
        has_not(&spec, "plain-http");
        for said in ["true", "false"] {
            has_not(
                &job(
                    "",
                    &format!("a [type=http url=\"{url}\" allowUnrestrictedNetworkAccess={said}]"),
                ),
                "private-url",
            );
        }
    }
    for url in [
        "https://a.example",
        "https://8.8.8.8/",
        "http://169.254.169.254/",
        "$(x)",
        "no url",
    ] {
        has_not(
            &job("", &format!("a [type=http url=\"{url}\"]")),
            "private-url",
        );
    }
}

#[test]
fn a_schedule_that_is_refused_is_pointed_at() {
    let spec = "type = \"cron\"\nschemaVersion = 1\nschedule = \"CRON_TZ=UTC 61 * * * * *\"\nobservationSource = \"a [type=memo value=1]\"\n";
    let f = has(
        spec,
        "invalid-spec",
        Level::Error,
        "second: 61 is not between 0 and 59",
    );
    assert_eq!((f.place.line, f.place.column), (3, 1));
}

#[test]
fn an_error_of_a_spec_is_told_once() {
    for spec in [
        job("", "a [type=http"),
        "type = \"cron\"\nschemaVersion = 1\nschedule = \"@never\"\nobservationSource = \"a [type=memo value=1]\"\n".to_owned(),
    ] {
        let error = JobSpec::parse(&spec).unwrap_err();
        assert!(std::error::Error::source(&error).is_none(), "{error}");
    }
}

#[test]
fn no_confirmations_matter_only_beside_an_effect() {
    let zero = "minIncomingConfirmations = 0\n";
    let f = has(
        &job(zero, "a [type=bridge name=pay]"),
        "zero-confirmations",
        Level::Warning,
        "`a`",
    );
    assert_eq!(f.place.line, 7);
    has_not(
        &job(zero, "a [type=http url=\"https://a.example\"]"),
        "zero-confirmations",
    );
    // The oracle refuses an answer to a request that is gone; another contract does not.
    let send = |to: &str| job(zero, &format!("t [type=ethtx to=\"{to}\" data=\"0x00\"]"));
    has_not(
        &send("0x5FbDB2315678afecb367f032d93F642f64180aa3"),
        "zero-confirmations",
    );
    has(
        &send("0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
        "zero-confirmations",
        Level::Warning,
        "`t`",
    );
    has_not(
        &job("minIncomingConfirmations = 1\n", "a [type=bridge name=pay]"),
        "zero-confirmations",
    );
}

#[test]
fn transactions_nobody_watches_are_pointed_out() {
    let tx = "a [type=ethtx to=\"0x5FbDB2315678afecb367f032d93F642f64180aa3\" data=\"0x00\" minConfirmations=0";
    has(
        &job("", &format!("{tx} failOnRevert=true]")),
        "unwatched-revert",
        Level::Warning,
        "no effect",
    );
    has(
        &job("", &format!("{tx}]")),
        "unwatched-revert",
        Level::Note,
        "list of transactions",
    );
}

#[test]
fn addresses_without_checksum_are_shown_with_it() {
    let low = "0x5fbdb2315678afecb367f032d93f642f64180aa3";
    let spec = job(
        "",
        &format!("a [type=ethtx to=\"{low}\" data=\"0x00\" from=<[\"{low}\"]>]"),
    );
    has(
        &spec,
        "missing-checksum",
        Level::Warning,
        "to: 0x5fbdb2315678afecb367f032d93f642f64180aa3 has no checksum: if the address is right, write 0x5FbDB2315678afecb367f032d93F642f64180aa3",
    );
    has(&spec, "missing-checksum", Level::Warning, "from:");
    let wrong = job(
        "",
        "a [type=ethcall contract=\"0x5FbDB2315678afecb367f032d93F642f64180aA3\" data=\"0x00\"]",
    );
    has(&wrong, "missing-checksum", Level::Warning, "wrong checksum");
}

#[test]
fn a_factor_that_no_value_survives_is_found() {
    let spec = |times: &str, ty: &str| {
        job(
            "",
            &format!(
                "a [type=http url=\"https://a.example\"]\nm [type=multiply times=\"{times}\"]\na -> m\ne [type=ethabiencode abi=\"({ty} v)\" data=<{{\"v\": $(m)}}>]"
            ),
        )
    };
    has(
        &spec("256", "uint8"),
        "abi-overflow",
        Level::Warning,
        "does not fit uint8",
    );
    has(
        &spec("1e18", "int32"),
        "abi-overflow",
        Level::Warning,
        "does not fit int32",
    );
    has_not(&spec("255", "uint8"), "abi-overflow");
    has_not(&spec("1e18", "uint256"), "abi-overflow");
    let chained = job(
        "",
        "a [type=http url=\"https://a.example\"]\nm [type=multiply times=\"1000\"]\nn [type=multiply input=\"$(m)\" times=1000]\na -> m\ne [type=ethabiencode2 abi=<{\"inputs\":[{\"name\":\"v\",\"type\":\"uint16\"}]}> data=<{\"v\": $(n)}>]",
    );
    has(&chained, "abi-overflow", Level::Warning, "1000000");
}

#[test]
fn a_condition_that_stops_nothing_is_found() {
    let send = "send [type=ethtx to=\"0x5FbDB2315678afecb367f032d93F642f64180aa3\" data=\"$(v)\"]";
    let aside = job(
        "",
        &format!(
            "a [type=http url=\"https://a.example\"]\nv [type=memo value=1]\nok [type=conditional data=\"$(a)\"]\n{send}"
        ),
    );
    has(&aside, "no-fail-early", Level::Warning, "stops nothing");
    let stops = job(
        "",
        &format!(
            "a [type=http url=\"https://a.example\"]\nv [type=memo value=1]\nok [type=conditional data=\"$(a)\" failEarly=true]\n{send}"
        ),
    );
    has_not(&stops, "no-fail-early");
    let source = job(
        "",
        &format!("v [type=http url=\"https://a.example\"]\n{send}"),
    );
    has(&source, "no-fail-early", Level::Note, "needs this source");
    let one_of_many = job(
        "",
        &format!(
            "a [type=http url=\"https://a.example\"]\nb [type=http url=\"https://b.example\"]\nv [type=median allowedFaults=1]\na -> v\nb -> v\n{send}"
        ),
    );
    has_not(&one_of_many, "no-fail-early");
    has_not(&one_of_many, "one-source-is-enough");
    let silent = job(
        "",
        "a [type=memo value=1]\nb [type=memo value=2]\nc [type=memo value=3]\nv [type=median]\na -> v\nb -> v\nc -> v",
    );
    has(
        &silent,
        "one-source-is-enough",
        Level::Note,
        "2 of 3 values may fail",
    );
}

#[test]
fn answers_that_cost_more_than_they_earn_are_found() {
    let send = "send [type=ethtx to=\"0x5FbDB2315678afecb367f032d93F642f64180aa3\" data=\"0x00\" gasLimit=500000]";
    let free = job("", send).replace("\"1000\"", "\"0\"");
    has(&free, "payment-below-cost", Level::Warning, "earns nothing");
    let facts = Facts {
        gas_price_wei: Some(20_000_000_000),
        ether_per_link: Some("0.005".parse().unwrap()),
    };
    // 500,000 gas at 20 gwei are 0.01 ether; 0.1 LINK are 0.0005 of it, 3 LINK 0.015.
    let paid = |juels: &str| job("", send).replace("\"1000\"", &format!("\"{juels}\""));
    let cheap = lint(&paid("100000000000000000"), &facts);
    assert!(
        cheap.iter().any(|f| f.rule == "payment-below-cost"
            && f.message.contains("0.01 ether")
            && f.message.contains("0.0005")),
        "{cheap:#?}"
    );
    // Without a limit anywhere the node's own counts, and the job's before that.
    let open = |extra: &str| {
        job(extra, &send.replace(" gasLimit=500000", ""))
            .replace("\"1000\"", "\"100000000000000000\"")
    };
    let costs = |toml: &str, words: &str| {
        let found = lint(toml, &facts);
        assert!(
            found
                .iter()
                .any(|f| f.rule == "payment-below-cost" && f.message.contains(words)),
            "{found:#?}"
        );
    };
    costs(&open(""), "500000 gas");
    costs(&open("gasLimit = 700000\n"), "700000 gas");
    let fair = lint(&paid("3000000000000000000"), &facts);
    assert!(
        !fair.iter().any(|f| f.rule == "payment-below-cost"),
        "{fair:#?}"
    );
}

#[test]
fn outputs_without_an_order_are_found() {
    has(
        &job("", "a [type=memo value=1]\nb [type=memo value=2]"),
        "unordered-outputs",
        Level::Note,
        "index",
    );
    has_not(
        &job("", "a [type=memo value=1]\nb [type=memo value=2 index=1]"),
        "unordered-outputs",
    );
}

#[test]
fn findings_are_written_for_people_scripts_and_scanners() {
    let findings = found(&job("", "a [type=http url=\"http://a.example\" retris=2]"));
    let files = [("job.toml", findings.as_slice())];
    let text = dodona_pipeline::lint::text(&files);
    assert!(
        text.starts_with("job.toml:8:1: warning: task `a`: a http task has no attribute `retris`"),
        "{text}"
    );
    assert!(
        text.ends_with("1 file: 0 errors, 1 warning, 1 note\n"),
        "{text}"
    );
    let sarif = dodona_pipeline::lint::sarif(&files, "1.0");
    assert_eq!(sarif["version"], "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), findings.len());
    for result in results {
        let index = result["ruleIndex"].as_u64().unwrap() as usize;
        assert_eq!(
            sarif["runs"][0]["tool"]["driver"]["rules"][index]["id"],
            result["ruleId"]
        );
        assert_eq!(
            result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
            "job.toml"
        );
    }
    let json = dodona_pipeline::lint::json(&files);
    assert_eq!(
        (json[0]["line"].as_u64(), json[0]["level"].as_str()),
        (Some(8), Some("warning"))
    );
}

/// What the published schema of SARIF 2.1.0 requires of the objects we write, and which values it allows.
#[test]
fn what_scanners_read_has_the_shape_their_schema_requires() {
    let broken = found("type = ");
    let findings = found(&job("", "a [type=http url=\"http://a.example\" retris=2]"));
    let files = [
        ("jobs/a b:c\u{e9}.toml", findings.as_slice()),
        ("broken.toml", broken.as_slice()),
        ("clean.toml", &[]),
    ];
    let sarif = dodona_pipeline::lint::sarif(&files, "1.0");
    let keys = |value: &serde_json::Value| -> Vec<String> {
        let object = value.as_object().expect("an object");
        let mut keys: Vec<_> = object.keys().cloned().collect();
        keys.sort();
        keys
    };
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    assert_eq!(keys(&sarif), ["$schema", "runs", "version"]);
    assert_eq!(sarif["version"], "2.1.0");
    let runs = sarif["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(keys(&runs[0]), ["columnKind", "results", "tool"]);
    assert_eq!(runs[0]["columnKind"], "unicodeCodePoints");
    let driver = &runs[0]["tool"]["driver"];
    assert_eq!(keys(&runs[0]["tool"]), ["driver"]);
    assert_eq!(keys(driver), ["name", "rules", "version"]);
    assert!(!text(&driver["name"]).is_empty());
    for rule in driver["rules"].as_array().unwrap() {
        assert_eq!(keys(rule), ["id", "shortDescription"]);
        assert!(!text(&rule["id"]).is_empty());
        assert!(!text(&rule["shortDescription"]["text"]).is_empty());
    }
    let results = runs[0]["results"].as_array().unwrap();
    assert_eq!(results.len(), findings.len() + broken.len());
    for result in results {
        let expected = ["level", "locations", "message", "ruleId", "ruleIndex"];
        assert_eq!(keys(result), expected);
        assert!(!text(&result["message"]["text"]).is_empty());
        let level = text(&result["level"]);
        assert!(["none", "note", "warning", "error"].contains(&&*level));
        let location = &result["locations"][0]["physicalLocation"];
        let region = &location["region"];
        for place in ["startLine", "startColumn"] {
            assert!(region[place].as_u64().unwrap() >= 1);
        }
        // A URI reference: relative, without a scheme, and in the letters of one.
        let uri = text(&location["artifactLocation"]["uri"]);
        let base = url::Url::parse("file:///repository/").unwrap();
        assert!(
            base.join(&uri)
                .unwrap()
                .as_str()
                .starts_with("file:///repository/")
        );
        assert!(
            uri.bytes().all(|b| b.is_ascii_graphic()) && !uri.contains(':'),
            "{uri}"
        );
    }
    let first = &results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(first, "jobs/a%20b%3Ac%C3%A9.toml");
}

#[test]
fn every_rule_is_named_once() {
    let mut names: Vec<_> = RULES.iter().map(|(id, _)| id).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), RULES.len());
}

fn shipped(name: &str) -> JobSpec {
    let path = format!(
        "{}/../../testdata/specs/{name}.toml",
        env!("CARGO_MANIFEST_DIR")
    );
    JobSpec::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
}

async fn rehearse(spec: &JobSpec, input: &str, sources: &str) -> Report {
    let sources = Sources::read(sources).unwrap();
    Rehearsal {
        spec,
        input,
        sources,
        live: None,
    }
    .run()
    .await
    .unwrap()
}

#[tokio::test]
async fn a_job_is_rehearsed_with_recorded_answers() {
    let spec = shipped("get-uint256");
    let report = rehearse(
        &spec,
        r#"{"get": "https://prices.example/eth", "path": "data,usd", "times": 100}"#,
        "[[http]]\nurl = \"https://prices.example/*\"\nbody = { data = { usd = 2000.5 } }",
    )
    .await;
    assert_eq!(report.outcome.state, RunState::Suspended, "{report:#?}");
    let line = |id: &str| {
        report
            .lines
            .iter()
            .find(|l| l.dot_id == id)
            .unwrap()
            .text
            .clone()
    };
    assert_eq!(line("scaled"), "\"200050\"");
    assert!(
        line("send").starts_with("would send") && line("send").contains("0x4ab0d190"),
        "{}",
        line("send")
    );
    assert_eq!(
        report.verdict(),
        "The run would send one transaction and wait for it."
    );
    let drawn = draw::text(&spec.pipeline, |id| report.label(id));
    let row = |id: &str| {
        let has = |l: &&str| l.split_whitespace().any(|w| w == id);
        drawn.lines().find(has).unwrap().to_owned()
    };
    assert!(row("scaled").starts_with('✔'), "{drawn}");
    assert!(row("send").starts_with('…'), "{drawn}");
    assert!(
        draw::svg(&spec.pipeline, |id| report.label(id))
            .unwrap()
            .contains("#12b76a")
    );
}

#[tokio::test]
async fn what_is_not_recorded_is_named_and_nobody_is_asked() {
    let spec = shipped("get-uint256");
    let report = rehearse(
        &spec,
        r#"{"get": "https://prices.example/eth", "path": "a"}"#,
        "",
    )
    .await;
    assert_eq!(report.outcome.state, RunState::Errored);
    assert!(
        report.verdict().contains("task `fetch` (http): ")
            && report.verdict().contains("no answer is recorded"),
        "{}",
        report.verdict()
    );
    let fetch = report.lines.iter().find(|l| l.dot_id == "fetch").unwrap();
    assert!(
        fetch
            .text
            .contains("no answer is recorded for GET https://prices.example/eth"),
        "{fetch:?}"
    );
}

#[tokio::test]
async fn a_rehearsal_names_the_tasks_with_which_it_went_wrong() {
    let spec = JobSpec::parse(&job(
        "",
        "a [type=fail msg=first] b [type=fail msg=tolerated] c [type=memo value=2]\n\
         m [type=median] b -> m; c -> m\n\
         x [type=multiply times=\"$(m)\"] y [type=lowercase] a -> x -> y\n\
         z [type=uppercase index=1] x -> z",
    ))
    .unwrap();
    let report = rehearse(&spec, "{}", "").await;
    assert_eq!(report.verdict(), "The run fails: task `a` (fail): first");
    let many: String = (0..5)
        .map(|n| format!("t{n} [type=fail msg=no]\n"))
        .collect();
    let report = rehearse(&JobSpec::parse(&job("", &many)).unwrap(), "{}", "").await;
    assert!(
        report
            .verdict()
            .ends_with("task `t2` (fail): no; and 2 more tasks"),
        "{}",
        report.verdict()
    );
    let early = job(
        "",
        "a [type=fail msg=early failEarly=true] b [type=memo value=1] a -> b",
    );
    let report = rehearse(&JobSpec::parse(&early).unwrap(), "{}", "").await;
    assert_eq!(
        report.verdict(),
        "The run is dropped, a task with failEarly failed: task `a` (fail): early"
    );
}

#[tokio::test]
async fn bridges_and_contracts_are_rehearsed_too() {
    let toml = "type = \"webhook\"\nschemaVersion = 1\nobservationSource = '''\n\
        b [type=bridge name=Weather requestData=<{\"x\": 1}>]\n\
        t [type=jsonparse path=\"data,result\"]\n b -> t\n\
        c [type=ethcall contract=\"0x5FbDB2315678afecb367f032d93F642f64180aa3\" data=\"0x50d25bcd\" evmChainID=1 index=1]\n\
        body [type=jsonparse data=\"$(jobRun.requestBody)\" path=\"who\" index=2]\n'''";
    let spec = JobSpec::parse(toml).unwrap();
    let sources = r#"{"bridge": [{"name": "weather", "body": {"data": {"result": 21}}}],
        "ethcall": [{"contract": "0x5fbdb2315678afecb367f032d93f642f64180aa3", "result": "0x2a"}]}"#;
    let report = rehearse(&spec, r#"{"who": "me"}"#, sources).await;
    let outputs: Vec<_> = report
        .outcome
        .outputs
        .iter()
        .flatten()
        .map(|v| v.to_output_json())
        .collect();
    assert_eq!(outputs, ["21", "\"0x2a\"", "\"me\""]);
    assert!(report.is_good());
}

#[tokio::test]
async fn edges_are_counted_as_the_tasks_count_their_inputs() {
    for kind in dodona_pipeline::TaskType::all() {
        for edges in 0..3 {
            let sources = ["a [type=memo value=1]", "b [type=memo value=2]"];
            // Some are refused without what they decode or encode; the others pass it over.
            let abi = match kind.name() {
                "ethabidecode" => "uint256 value",
                "ethabiencode2" => {
                    r#"{"name":"said","inputs":[{"type":"uint256","name":"value"}]}"#
                }
                _ => "said(uint256 value)",
            };
            let mut source = format!("x [type={} abi=<{abi}>]\n", kind.name());
            for (name, memo) in ["a", "b"].iter().zip(sources).take(edges) {
                source.push_str(&format!("{memo}\n{name} -> x\n"));
            }
            let toml = format!(
                "type = \"webhook\"\nschemaVersion = 1\nobservationSource = '''\n{source}'''\n"
            );
            let spec = JobSpec::parse(&toml).unwrap();
            let report = rehearse(&spec, "{}", "").await;
            let line = report.lines.iter().find(|line| line.dot_id == "x").unwrap();
            let fails = line.text.contains("wrong number of task inputs");
            // Aggregates have an own opinion about none, which they say as they run.
            if edges == 0 && kind != dodona_pipeline::TaskType::Lookup {
                continue;
            }
            let said = found(&toml).iter().any(|f| f.rule == "wrong-inputs");
            assert_eq!(said, fails, "{} with {edges}: {}", kind.name(), line.text);
        }
    }
}

#[tokio::test]
async fn a_flux_monitor_is_rehearsed_up_to_the_number_it_would_submit() {
    let toml = "type = \"fluxmonitor\"\nschemaVersion = 1\nevmChainID = 1\n\
        contractAddress = \"0x5FbDB2315678afecb367f032d93F642f64180aa3\"\npollTimerPeriod = \"1m\"\n\
        idleTimerDisabled = true\nobservationSource = '''\n\
        a [type=http url=\"https://a.example/\"]\n t [type=jsonparse path=\"v\"]\n a -> t\n'''";
    let spec = JobSpec::parse(toml).unwrap();
    let answer = |body: &str| format!("[[http]]\nurl = \"https://a.example/\"\nbody = '{body}'");
    let good = rehearse(
        &spec,
        r#"{"latestAnswer": 12, "updatedAt": 1}"#,
        &answer(r#"{"v": 12.75}"#),
    )
    .await;
    assert!(good.is_good());
    assert_eq!(
        good.verdict(),
        "The run finds 12.75 and would submit 12, if that is wanted then."
    );
    let text = rehearse(&spec, "", &answer(r#"{"v": "soon"}"#)).await;
    assert!(!text.is_good());
    assert!(
        text.verdict().contains("cannot be submitted"),
        "{}",
        text.verdict()
    );
}

#[test]
fn sources_that_make_no_sense_are_refused_in_words() {
    for (text, words) in [
        ("x = 1", "none of gas, http, bridge, ethcall"),
        ("http = 1", "no list"),
        ("[[http]]\nbody = 'x'", "no url"),
        ("[[http]]\nurl = 'x'", "neither body nor status"),
        (
            "[[ethcall]]\ncontract = '0x'",
            "neither a result nor an error",
        ),
        ("[[bridge]]\nbody = 'x'", "no name"),
        ("{", "EOF"),
    ] {
        let error = Sources::read(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}
