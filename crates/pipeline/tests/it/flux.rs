//! Flux monitor specs: what is read, and what contradicts itself.

use std::time::Duration;

use alloy::primitives::{U256, address};
use dodona_pipeline::{FluxMonitor, JobKind, JobSpec, decimal};

const TICKS: &str = r#"pollTimerPeriod = "1m"
idleTimerPeriod = "1h""#;

fn toml(settings: &str, dot: &str) -> String {
    format!(
        r#"
type = "fluxmonitor"
schemaVersion = 1
evmChainID = "31337"
contractAddress = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
{settings}
observationSource = """
{dot}
"""
"#
    )
}

fn read(settings: &str) -> FluxMonitor {
    spec(settings).1
}

fn spec(settings: &str) -> (JobSpec, FluxMonitor) {
    let spec = JobSpec::parse(&toml(settings, "a [type=memo value=1]")).unwrap();
    let JobKind::FluxMonitor(flux) = spec.kind.clone() else {
        panic!("another kind: {spec:?}");
    };
    (spec, flux)
}

fn refused(settings: &str, dot: &str) -> String {
    match JobSpec::parse(&toml(settings, dot)) {
        Ok(spec) => panic!("accepted: {spec:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_field_is_read() {
    let flux = read(
        r#"
        threshold = 0.5
        absoluteThreshold = 0.01
        pollTimerPeriod = "1m"
        pollTimerDisabled = false
        idleTimerPeriod = "1h"
        idleTimerDisabled = true
        drumbeatEnabled = true
        drumbeatSchedule = "@every 10m"
        drumbeatRandomDelay = "10s"
        minPayment = "100000000000000000000"
        "#,
    );
    let expected = FluxMonitor {
        contract_address: address!("5FbDB2315678afecb367f032d93F642f64180aa3"),
        evm_chain_id: 31_337,
        threshold: decimal::parse("0.5").unwrap(),
        absolute_threshold: decimal::parse("0.01").unwrap(),
        poll_timer_period: Duration::from_secs(60),
        poll_timer_disabled: false,
        idle_timer_period: Duration::from_secs(3_600),
        idle_timer_disabled: true,
        drumbeat_enabled: true,
        drumbeat_schedule: Some("@every 10m".parse().unwrap()),
        drumbeat_random_delay: Duration::from_secs(10),
        min_payment_juels: Some(U256::from(100) * U256::from(10).pow(U256::from(18))),
    };
    assert_eq!(flux, expected);
}

#[test]
fn what_is_left_out_is_zero_and_off() {
    let (spec, flux) = spec(TICKS);
    assert_eq!(spec.kind.name(), "fluxmonitor");
    assert_eq!(flux.threshold, decimal::parse("0").unwrap());
    assert_eq!(flux.min_payment_juels, None);
    assert_eq!(flux.poll_every(), Some(Duration::from_secs(60)));
    assert_eq!(flux.idle_after(), Some(Duration::from_secs(3_600)));
    assert!(!flux.drumbeat_enabled);
    assert_eq!(spec.warnings, [""; 0]);
}

#[test]
fn timers_are_read_in_the_letter_cases_that_operators_use() {
    for settings in [
        "PollTimerPeriod = \"2m\"\nIdleTimerDisabled = true\nThreshold = 1",
        "polltimerperiod = \"2m\"\nidletimerdisabled = true",
    ] {
        let flux = read(settings);
        assert_eq!(flux.poll_every(), Some(Duration::from_secs(120)));
        assert_eq!(flux.idle_after(), None);
    }
}

#[test]
fn a_threshold_keeps_the_digits_it_was_written_with() {
    let flux = read(&format!("threshold = 0.1\nabsoluteThreshold = 3\n{TICKS}"));
    assert_eq!(decimal::to_text(&flux.threshold), "0.1");
    assert_eq!(decimal::to_text(&flux.absolute_threshold), "3");
    for wrong in ["threshold = -1", "threshold = nan", "threshold = \"1\""] {
        let text = refused(&format!("{wrong}\n{TICKS}"), "a [type=memo value=1]");
        assert!(text.starts_with("threshold: "), "{text}");
    }
}

#[test]
fn polling_faster_than_a_look_may_take_is_refused_once_max_task_duration_is_set() {
    let dot = "a [type=memo value=1 timeout=\"20s\"]";
    let settings = "pollTimerPeriod = \"14s\"\nidleTimerDisabled = true";
    // An unset maxTaskDuration makes the test trivially true.
    assert!(JobSpec::parse(&toml(settings, dot)).is_ok());
    let text = refused(&format!("maxTaskDuration = \"1m\"\n{settings}"), dot);
    assert!(
        text.contains("must be equal or greater than 15s") && text.contains("got 14s"),
        "{text}"
    );
    let disabled = format!("maxTaskDuration = \"1m\"\npollTimerDisabled = true\n{settings}");
    assert!(JobSpec::parse(&toml(&disabled, dot)).is_ok());
    let quicker = dot.replace("20s", "3s");
    let settings = format!("maxTaskDuration = \"1m\"\n{settings}");
    assert!(JobSpec::parse(&toml(&settings, &quicker)).is_ok());
}

#[test]
fn no_poll_timer_and_no_word_about_it_is_refused() {
    let text = refused("idleTimerDisabled = true", "a [type=memo value=1]");
    assert!(
        text.starts_with("pollTimerPeriod: ") && text.contains("pollTimerDisabled = true"),
        "{text}"
    );
}

#[test]
fn a_drumbeat_needs_a_schedule_and_no_idle_timer() {
    let text = refused(
        &format!("drumbeatEnabled = true\ndrumbeatSchedule = \"@every 1h\"\n{TICKS}"),
        "a [type=memo value=1]",
    );
    assert!(text.contains("idleTimerDisabled = true"), "{text}");
    let text = refused(
        "drumbeatEnabled = true\nidleTimerDisabled = true\npollTimerDisabled = true",
        "a [type=memo value=1]",
    );
    assert!(text.starts_with("drumbeatSchedule"), "{text}");
    let text = refused(
        "drumbeatSchedule = \"0 * * * * *\"\npollTimerDisabled = true",
        "a [type=memo value=1]",
    );
    assert!(
        text.starts_with("drumbeatSchedule: ") && text.contains("CRON_TZ=UTC"),
        "{text}"
    );
}

#[test]
fn one_number_comes_out_and_no_transaction_goes_in() {
    let text = refused(TICKS, "a [type=memo value=1]\nb [type=memo value=2]");
    assert!(
        text.contains("exactly one task") && text.contains("a, b"),
        "{text}"
    );
    for waiting in [
        "a [type=ethtx to=\"0x5FbDB2315678afecb367f032d93F642f64180aa3\" data=\"0x\"]",
        "a [type=bridge name=b async=true]",
    ] {
        let text = refused(TICKS, waiting);
        assert!(
            text.contains("async=true tasks are not supported for fluxmonitor"),
            "{text}"
        );
    }
}

#[test]
fn what_an_idle_timer_cannot_mean_is_pointed_out() {
    let (spec, flux) = spec("pollTimerPeriod = \"1m\"");
    assert_eq!(flux.idle_after(), None);
    assert!(spec.warnings[0].contains("idleTimerPeriod is missing"));
    let (spec, _) = self::spec("pollTimerPeriod = \"1m\"\nidleTimerPeriod = \"30s\"");
    assert!(spec.warnings[0].contains("shorter than pollTimerPeriod"));
}
