//! Job specs: what is read, what is refused, what is pointed out.

use std::time::Duration;

use alloy::primitives::{U256, address};
use dodona_pipeline::{JobKind, JobSpec, SpecError};
use uuid::uuid;

const MINIMAL: &str = r#"
type = "directrequest"
schemaVersion = 1
evmChainID = "31337"
contractAddress = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
observationSource = "a [type=memo value=1]"
"#;

fn with(line: &str) -> String {
    format!("{line}\n{MINIMAL}")
}

fn without(key: &str) -> String {
    MINIMAL
        .lines()
        .filter(|l| !l.starts_with(key))
        .collect::<Vec<_>>()
        .join("\n")
}

fn refused(toml: &str) -> String {
    match JobSpec::parse(toml) {
        Ok(spec) => panic!("accepted: {spec:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_field_is_read() {
    let spec = JobSpec::parse(
        r#"
        type = "directrequest"
        schemaVersion = 1
        name = "a name"
        externalJobID = "0EEC7E1DD0D2476CA1A872DFB6633F46"
        maxTaskDuration = "1m30s"
        gasLimit = 700000
        forwardingAllowed = true
        evmChainID = 31337
        contractAddress = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
        minIncomingConfirmations = 7
        minContractPaymentLinkJuels = "115792089237316195423570985008687907853269984665640564039457584007913129639935"
        requesters = ["0x70997970c51812dc3a010c7d01b50e0d17dc79c8"]
        observationSource = "a [type=memo value=1]"
        "#,
    )
    .unwrap();
    assert_eq!(spec.name, "a name");
    assert_eq!(
        spec.external_job_id,
        Some(uuid!("0eec7e1d-d0d2-476c-a1a8-72dfb6633f46"))
    );
    assert_eq!(spec.max_task_duration, Some(Duration::from_secs(90)));
    assert_eq!(
        (spec.gas_limit, spec.forwarding_allowed),
        (Some(700_000), true)
    );
    let JobKind::DirectRequest(request) = &spec.kind else {
        panic!("{:?}", spec.kind)
    };
    assert_eq!(request.evm_chain_id, 31337);
    assert_eq!(
        request.contract_address,
        address!("0x5FbDB2315678afecb367f032d93F642f64180aa3")
    );
    assert_eq!(request.min_incoming_confirmations, Some(7));
    assert_eq!(request.min_contract_payment_juels, Some(U256::MAX));
    assert_eq!(
        request.requesters,
        [address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8")]
    );
    assert_eq!(spec.warnings.len(), 1, "{:?}", spec.warnings);
    assert!(spec.warnings[0].starts_with("forwardingAllowed has no effect"));
    assert_eq!(spec.pipeline.tasks().count(), 1);
}

#[test]
fn what_is_not_given_is_unset() {
    let spec = JobSpec::parse(MINIMAL).unwrap();
    assert_eq!(spec.name, "");
    assert_eq!(spec.external_job_id, None);
    assert_eq!(
        (
            spec.max_task_duration,
            spec.gas_limit,
            spec.forwarding_allowed
        ),
        (None, None, false)
    );
    let JobKind::DirectRequest(request) = &spec.kind else {
        panic!("{:?}", spec.kind)
    };
    assert_eq!(request.min_incoming_confirmations, None);
    assert_eq!(request.min_contract_payment_juels, None);
    assert!(request.requesters.is_empty());
}

#[test]
fn the_specs_we_ship_are_read_without_a_warning() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/specs");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let spec = JobSpec::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(spec.warnings, Vec::<String>::new(), "{}", path.display());
        count += 1;
    }
    assert!(count >= 3);
}

#[test]
fn each_mistake_is_one_sentence_that_names_the_key() {
    for (toml, words) in [
        ("type = ", "not valid TOML"),
        ("", "invalid job type: \"\""),
        (
            "type = \"directrequets\"",
            "did you mean \"directrequest\"?",
        ),
        (
            "type = \"keeper\"",
            "\"keeper\" is not supported by this version",
        ),
        (
            "type = \"offchainreporting2\"",
            "is not supported by this version",
        ),
        (&without("schemaVersion"), "invalid schema version"),
        (&without("observationSource"), "pipeline spec not specified"),
        (&without("evmChainID"), "evm chain id must be defined"),
        (&without("contractAddress"), "contractAddress is missing"),
        (&with("name = 1"), "name: expected a string, found 1"),
        (
            &with("gasLimit = 4294967296"),
            "gasLimit: 4294967296 is not between",
        ),
        (&with("gasLimit = -1"), "gasLimit: -1 is not between"),
        (
            &with("maxTaskDuration = \"10\""),
            "maxTaskDuration: \"10\" is not a duration",
        ),
        (
            &with("externalJobID = \"x\""),
            "externalJobID: \"x\" is not a UUID",
        ),
        (
            &with("externalJobID = \"00000000-0000-0000-0000-000000000000\""),
            "all zeros",
        ),
        (
            &with("forwardingAllowed = \"yes\""),
            "forwardingAllowed: expected true or false",
        ),
        (
            &with("minIncomingConfirmations = \"1\""),
            "minIncomingConfirmations: expected a whole number",
        ),
        (
            &with("minContractPaymentLinkJuels = \"0.1\""),
            "minContractPaymentLinkJuels: it is not an amount",
        ),
        (
            &with("minContractPaymentLinkJuels = \"-1\""),
            "minContractPaymentLinkJuels: it is not an amount",
        ),
        (&with("requesters = \"0x\""), "requesters: expected a list"),
        (
            &with("requesters = [\"0x12\"]"),
            "requesters: \"0x12\" is not an address",
        ),
        (&with("name = \"a\"\nname = \"b\""), "duplicate key"),
    ] {
        let error = refused(toml);
        assert!(error.contains(words), "{toml}\n→ {error}");
    }
}

#[test]
fn a_wrong_checksum_is_refused_with_the_right_one() {
    let lower = MINIMAL.replace(
        "0x5FbDB2315678afecb367f032d93F642f64180aa3",
        "0x5fbdb2315678afecb367f032d93f642f64180aa3",
    );
    let error = refused(&lower);
    assert!(
        error.contains("write 0x5FbDB2315678afecb367f032d93F642f64180aa3"),
        "{error}"
    );
    let error = refused(&MINIMAL.replace("0x5FbDB", "5FbDB"));
    assert!(error.contains("is not an address"), "{error}");
}

#[test]
fn a_mistake_in_the_pipeline_shows_its_place() {
    let toml = MINIMAL.replace("a [type=memo value=1]", "a [type=mmeo value=1]");
    let error = refused(&toml);
    assert!(
        error.starts_with("observationSource: line 1, column 9: task `a`: unknown task type"),
        "{error}"
    );
}

#[test]
fn the_old_empty_object_is_refused_with_the_new_one() {
    let error = refused(&MINIMAL.replace("value=1", "value=<{}>"));
    assert_eq!(
        error,
        "observationSource contains <{}>: write \"{}\" instead"
    );
}

#[test]
fn unknown_keys_are_ignored_with_a_warning_that_names_the_nearest() {
    let spec = JobSpec::parse(&with(
        "minIncomingConfirmatons = 3\nfoo = 1\nminConfirmations = 5",
    ))
    .unwrap();
    assert_eq!(spec.warnings.len(), 3, "{:?}", spec.warnings);
    let all = spec.warnings.join("\n");
    assert!(
        all.contains("did you mean minIncomingConfirmations?"),
        "{all}"
    );
    assert!(all.contains("unknown key foo is ignored"), "{all}");
    assert!(
        all.contains("minConfirmations has no effect at the top level"),
        "{all}"
    );
}

#[test]
fn max_task_duration_is_read_in_any_usual_letter_case() {
    for key in ["maxTaskDuration", "MaxTaskDuration", "maxtaskduration"] {
        let spec = JobSpec::parse(&with(&format!("{key} = \"2s\""))).unwrap();
        assert_eq!(spec.max_task_duration, Some(Duration::from_secs(2)));
        assert!(spec.warnings.is_empty());
    }
}

#[test]
fn a_chain_id_is_a_positive_number_or_its_text() {
    for (text, id) in [
        ("1", 1),
        ("\"1\"", 1),
        ("\"18446744073709551615\"", u64::MAX),
    ] {
        let spec = JobSpec::parse(&MINIMAL.replace("\"31337\"", text)).unwrap();
        assert_eq!(spec.kind.evm_chain_id(), Some(id));
    }
    for text in [
        "0",
        "-1",
        "\"x\"",
        "\"18446744073709551616\"",
        "1.5",
        "true",
    ] {
        assert!(refused(&MINIMAL.replace("\"31337\"", text)).contains("evmChainID"));
    }
    assert!(matches!(
        JobSpec::parse(&MINIMAL.replace("\"31337\"", "\"\"")),
        Err(SpecError::NoChainId)
    ));
}

fn cron(schedule: &str) -> String {
    format!(
        "type = \"cron\"\nschemaVersion = 1\n{schedule}\nobservationSource = \"a [type=memo value=1]\""
    )
}

#[test]
fn a_cron_job_needs_a_schedule_and_may_name_a_chain() {
    let spec = JobSpec::parse(&cron("schedule = \"CRON_TZ=UTC 0 0 * * * *\"")).unwrap();
    let JobKind::Cron(job) = &spec.kind else {
        panic!("{:?}", spec.kind)
    };
    assert_eq!(job.schedule.as_str(), "CRON_TZ=UTC 0 0 * * * *");
    assert_eq!((job.evm_chain_id, spec.warnings.len()), (None, 0));

    let five = JobSpec::parse(&cron(
        "schedule = \"CRON_TZ=UTC 0 * * * *\"\nevmChainID = 1337",
    ))
    .unwrap();
    assert_eq!(five.kind.evm_chain_id(), Some(1337));
    assert!(five.warnings[0].contains("five fields"), "{five:?}");

    assert!(refused(&cron("")).contains("schedule is missing"));
    assert!(refused(&cron("schedule = \"0 * * * * *\"")).contains("CRON_TZ=UTC"));
}

fn webhook(initiators: &str) -> String {
    format!(
        "type = \"webhook\"\nschemaVersion = 1\n{initiators}\nobservationSource = \"a [type=memo value=1]\""
    )
}

#[test]
fn a_webhook_job_may_list_external_initiators() {
    let spec = JobSpec::parse(&webhook(
        r#"externalInitiators = [{ name = "substrate", spec = '{"account": 0}' }, { name = "quiet" }]"#,
    ))
    .unwrap();
    let JobKind::Webhook(job) = &spec.kind else {
        panic!("{:?}", spec.kind)
    };
    let listed: Vec<_> = job
        .external_initiators
        .iter()
        .map(|it| (it.name.as_str(), it.spec.as_str()))
        .collect();
    assert_eq!(
        listed,
        [("substrate", r#"{"account": 0}"#), ("quiet", "null")]
    );
    assert_eq!(spec.warnings, Vec::<String>::new());
    let JobKind::Webhook(job) = JobSpec::parse(&webhook("")).unwrap().kind else {
        panic!("a webhook job")
    };
    assert!(job.external_initiators.is_empty());

    for (list, words) in [
        (r#"externalInitiators = "a""#, "a list of initiators"),
        ("externalInitiators = [{ spec = '1' }]", "name ="),
        (
            "externalInitiators = [{ name = 'a', spec = '{' }]",
            "is not JSON",
        ),
        (
            "externalInitiators = [{ name = 'a' }, { name = 'A' }]",
            "listed twice",
        ),
    ] {
        let said = refused(&webhook(list));
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_spec_of_ten_megabytes_is_refused_unread() {
    for filler in ["# comment\n", "a = 1\n", "[", "b = \"\"\"\n"] {
        let text = filler.repeat(10 * 1024 * 1024 / filler.len());
        let error = JobSpec::parse(&text).unwrap_err().to_string();
        assert!(error.starts_with("the job spec has 1048"), "{error}");
    }
}

#[test]
fn a_spec_as_long_as_any_may_be_is_read_or_refused_in_bounded_time() {
    let began = std::time::Instant::now();
    let keys: String = (0..30_000).map(|n| format!("key{n} = 1\n")).collect();
    let list: String = (0..30_000).map(|n| format!("{{name=\"i{n}\"}},")).collect();
    let webhook = |more: &str| {
        format!(
            "type = \"webhook\"\nschemaVersion = 1\n{more}\nobservationSource = \"a [type=memo value=1]\""
        )
    };
    let many_keys = JobSpec::parse(&webhook(&keys)).unwrap();
    assert_eq!(many_keys.warnings.len(), 30_000);
    JobSpec::parse(&webhook(&format!("externalInitiators = [{list}]"))).unwrap();
    let dotted = "a.".repeat(200_000);
    JobSpec::parse(&webhook(&format!("{dotted}a = 1"))).unwrap_err();
    assert!(
        began.elapsed() < crate::hostile::LONGEST,
        "{:?}",
        began.elapsed()
    );
}
