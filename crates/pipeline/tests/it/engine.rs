//! How a run goes: order, failure, repetition, waiting, and what is kept.

use std::sync::Arc;
use std::time::Duration;

use dodona_pipeline::egress::HttpError;
use dodona_pipeline::{
    Limits, Outcome, Pipeline, Ports, RunInput, RunState, StoredResult, Value, execute,
};
use tokio::time::Instant;
use uuid::uuid;

use crate::fake::{World, error, input, output, reply, result, run, run_in, stands};

fn needs_send<T: Send>(value: T) -> T {
    value
}

#[tokio::test]
async fn an_execution_can_be_spawned() {
    let pipeline = Pipeline::parse("a [type=memo value=1]").unwrap();
    let outcome = needs_send(execute(
        &pipeline,
        RunInput::default(),
        Arc::new(World::default()),
    ))
    .await;
    assert_eq!(outcome.state, RunState::Completed);
}

#[tokio::test]
async fn outputs_are_ordered_by_index_and_then_by_task_number() {
    let outcome = run(
        r#"c [type=memo value="\"c\"" index=1] a [type=memo value="\"a\"" index=1]
           b [type=memo value="\"b\"" index=-1] d [type=fail msg=no index=3]"#,
    )
    .await;
    let text = |s: &str| Some(Value::from(s));
    assert_eq!(outcome.outputs, [text("b"), text("c"), text("a"), None]);
    assert_eq!(outcome.fatal_errors, [None, None, None, Some("no".into())]);
    assert_eq!(outcome.state, RunState::Errored);
}

#[tokio::test]
async fn a_failed_task_in_the_middle_does_not_fail_the_run_by_itself() {
    let outcome =
        run("a [type=fail msg=no] b [type=memo value=7] c [type=any]; a -> c; b -> c").await;
    assert_eq!(outcome.state, RunState::Completed);
    assert_eq!(outcome.all_errors, [Some("no".into()), None, None]);
    assert_eq!(outcome.fatal_errors, [None]);
}

#[tokio::test]
async fn a_task_behind_a_failure_still_runs_and_says_why_it_cannot() {
    let outcome = run(
        r#"a [type=fail msg=no]; b [type=multiply times=2]; c [type=multiply input="$(a)" times=2]; a -> b"#,
    )
    .await;
    assert_eq!(
        error(&outcome, "b"),
        "task inputs: 1 of 1 failed: too many errors"
    );
    assert_eq!(
        error(&outcome, "c"),
        "input: $(a): the task `a` failed: too many errors"
    );
}

#[tokio::test]
async fn an_expression_orders_tasks_and_delivers_no_input() {
    let outcome = run(r#"a [type=memo value=1] b [type=coalesce msg="$(a)"]"#).await;
    assert_eq!(output(&outcome, "b"), &Value::Null);
}

#[tokio::test]
async fn inputs_come_in_the_order_of_their_producers_index() {
    let outcome = run(
        r#"a [type=memo value="\"a\"" index=2] b [type=memo value="\"b\"" index=1]
           c [type=coalesce]; a -> c; b -> c"#,
    )
    .await;
    assert_eq!(output(&outcome, "c"), &Value::from("b"));
}

#[tokio::test]
async fn all_errors_of_the_parameters_are_reported_together() {
    let outcome = run("a [type=divide input=x divisor=\"$(nothing)\"]").await;
    let text = error(&outcome, "a");
    assert!(
        text.contains("input: ") && text.contains("divisor: $(nothing): keypath not found"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn independent_tasks_run_at_the_same_time() {
    let slow = |n| format!("http://h/{n}");
    let mut world = World::default();
    for n in 0..10 {
        world = world.answers_with(&slow(n), Duration::from_secs(5), Ok(reply(200, "x")));
    }
    let source: String = (0..10)
        .map(|n| format!("t{n} [type=http url=\"http://h/{n}\"]\n"))
        .collect();
    let began = Instant::now();
    let (outcome, _) = run_in(&source, world, input([])).await;
    assert_eq!(outcome.state, RunState::Completed);
    assert_eq!(began.elapsed(), Duration::from_secs(5));
}

#[tokio::test]
async fn a_panic_is_the_error_of_its_task_and_of_nothing_else() {
    let outcome =
        run("a [type=panic msg=boom] b [type=memo value=1] c [type=any]; a -> c; b -> c").await;
    assert_eq!(
        error(&outcome, "a"),
        "goroutine panicked when executing run: boom"
    );
    assert_eq!(outcome.state, RunState::Completed);
}

#[tokio::test]
async fn a_panic_inside_a_port_is_the_error_of_the_task_that_asked() {
    let (outcome, _) = run_in(
        "a [type=http url=\"http://nobody/\"]",
        World::default(),
        input([]),
    )
    .await;
    assert!(
        error(&outcome, "a").starts_with("goroutine panicked when executing run: nobody answers")
    );
}

#[tokio::test(start_paused = true)]
async fn retries_count_attempts_in_all_and_wait_longer_each_time() {
    for (retries, attempts, seconds) in [(0, 1, 0), (1, 1, 0), (2, 2, 5), (4, 4, 35)] {
        let began = Instant::now();
        let outcome = run(&format!("a [type=fail msg=no retries={retries}]")).await;
        assert_eq!(result(&outcome, "a").attempts, attempts);
        assert_eq!(
            began.elapsed(),
            Duration::from_secs(seconds),
            "retries={retries}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_attempt_may_succeed_and_those_behind_wait_for_it() {
    let world =
        World::default()
            .answers("http://h/", 500, "")
            .answers("http://h/", 200, "{\"a\":1}");
    let (outcome, world) = run_in(
        "a [type=http url=\"http://h/\" retries=3 minBackoff=\"1s\"] b [type=jsonparse path=a]; a -> b",
        world,
        input([]),
    )
    .await;
    assert_eq!(output(&outcome, "b"), &Value::Int(1));
    assert_eq!(result(&outcome, "a").attempts, 2);
    assert_eq!(world.calls.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn every_time_limit_ends_an_attempt_and_is_named() {
    let hang = || {
        World::default().answers_with("http://h/", Duration::from_secs(3_600), Ok(reply(200, "")))
    };
    let limits = |f: fn(&mut Limits)| {
        let mut limits = Limits::default();
        f(&mut limits);
        limits
    };
    for (attributes, limits, seconds, words) in [
        ("", Limits::default(), 15, "the node's default HTTP timeout"),
        (
            "timeout=\"20s\"",
            Limits::default(),
            20,
            "the task's timeout",
        ),
        (
            "timeout=\"20s\"",
            limits(|l| l.max_task_duration = Some(Duration::from_secs(3))),
            3,
            "maxTaskDuration",
        ),
        (
            "timeout=\"0s\"",
            Limits::default(),
            600,
            "the time left for the run",
        ),
        (
            "",
            limits(|l| l.max_run_duration = Some(Duration::from_secs(2))),
            2,
            "the time left for the run",
        ),
    ] {
        let began = Instant::now();
        let source = format!("a [type=http url=\"http://h/\" {attributes}]");
        let (outcome, _) = run_in(
            &source,
            hang(),
            RunInput {
                limits,
                ..input([])
            },
        )
        .await;
        let text = error(&outcome, "a");
        assert!(
            text.starts_with("http request timed out or interrupted after") && text.contains(words),
            "{text}"
        );
        assert_eq!(
            began.elapsed(),
            Duration::from_secs(seconds),
            "{attributes}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_attempt_starts_after_the_time_of_the_run() {
    let limits = Limits {
        max_run_duration: Some(Duration::from_secs(12)),
        ..Limits::default()
    };
    let pipeline = "a [type=fail msg=no retries=100]";
    let (outcome, _) = run_in(
        pipeline,
        World::default(),
        RunInput {
            limits,
            ..input([])
        },
    )
    .await;
    assert_eq!(result(&outcome, "a").attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn fail_early_drops_the_run_without_a_second_attempt() {
    let world =
        World::default().answers_with("http://h/", Duration::from_secs(9), Ok(reply(200, "late")));
    let (outcome, _) = run_in(
        "gate [type=conditional failEarly=true retries=5]; no [type=memo value=false]; no -> gate -> after\n\
         after [type=memo value=1]\n\
         running [type=http url=\"http://h/\"]; running -> behind; behind [type=memo value=1]\n\
         waiting [type=fail msg=no retries=9]\n\
         tx [type=ethtx to=\"0x5FbDB2315678afecb367f032d93F642f64180aa3\" data=\"0x01\" minConfirmations=0]",
        world,
        input([]),
    )
    .await;
    assert_eq!(outcome.state, RunState::Dropped);
    assert_eq!(error(&outcome, "gate"), "conditional was not satisfied");
    assert_eq!(result(&outcome, "gate").attempts, 1);
    // What was running is waited for; what was not, is cancelled.
    assert_eq!(output(&outcome, "running"), &Value::from("late"));
    for cancelled in ["after", "behind", "waiting"] {
        assert_eq!(
            error(&outcome, cancelled),
            "task run cancelled (fail early)"
        );
    }
    assert!(outcome.transactions.is_empty() && outcome.pending.is_empty());
}

#[tokio::test]
async fn fail_early_that_does_not_fail_changes_nothing() {
    let outcome =
        run("a [type=memo value=true]; gate [type=conditional failEarly=true]; a -> gate").await;
    assert_eq!(
        (outcome.state, output(&outcome, "gate")),
        (RunState::Completed, &Value::Bool(true))
    );
}

const SEND: &str = r#"
    get [type=http url="http://h/"]
    word [type=ethabiencode abi="f(uint256 v)" data=<{"v": $(get)}>]
    send [type=ethtx to="0x5FbDB2315678afecb367f032d93F642f64180aa3" data="$(word)" failOnRevert=true]
    note [type=lookup key=status]
    get -> word -> send -> note
"#;

#[tokio::test]
async fn a_run_that_sends_is_suspended_and_goes_on_with_the_receipt() {
    let id = uuid!("0f3a61c4-92d0-4f0e-8f0b-3c2f7c0d5e11");
    let first = RunInput {
        task_run_ids: [("send".to_owned(), id)].into(),
        ..input([])
    };
    let (outcome, _) = run_in(
        SEND,
        World::default().answers("http://h/", 200, "5"),
        first.clone(),
    )
    .await;
    assert_eq!(outcome.state, RunState::Suspended);
    assert_eq!(outcome.pending, [("send".to_owned(), id)]);
    assert_eq!(outcome.transactions.len(), 1);
    let intent = &outcome.transactions[0];
    assert_eq!(
        (
            intent.task_run_id,
            intent.min_confirmations,
            intent.fail_on_revert
        ),
        (id, None, true)
    );
    assert_eq!(outcome.outputs, [None]);

    // Elsewhere, later: what has a result is not executed again (nobody answers at http://h/ now).
    let receipt = Value::map([
        ("status", Value::from("0x1")),
        ("blockNumber", Value::from("0x5")),
    ]);
    let mut again = first.clone();
    for done in &outcome.results {
        again
            .finished
            .insert(done.dot_id.clone(), stands(done.output.clone().unwrap()));
    }
    again
        .finished
        .insert("send".to_owned(), stands(receipt.clone()));
    let (outcome, world) = run_in(SEND, World::default(), again.clone()).await;
    assert_eq!(outcome.state, RunState::Completed);
    assert_eq!(outcome.outputs, [Some(Value::from("0x1"))]);
    assert_eq!(output(&outcome, "send"), &receipt);
    assert!(outcome.transactions.is_empty() && world.calls.lock().unwrap().is_empty());

    // A reverted transaction is the task's error because the job says so.
    again.finished.insert(
        "send".to_owned(),
        stands(Value::map([("status", Value::from("0x0"))])),
    );
    let (outcome, _) = run_in(SEND, World::default(), again).await;
    assert_eq!(outcome.state, RunState::Errored);
    assert!(error(&outcome, "send").ends_with("reverted on-chain"));
}

#[tokio::test]
async fn without_confirmations_to_wait_for_the_run_completes_and_still_sends() {
    let outcome = run(
        "send [type=ethtx to=\"0x5FbDB2315678afecb367f032d93F642f64180aa3\" data=\"0x01\" minConfirmations=0] \
         after [type=memo]; send -> after",
    )
    .await;
    assert_eq!(
        (outcome.state, outcome.transactions.len()),
        (RunState::Completed, 1)
    );
    assert_eq!(output(&outcome, "after"), &Value::Null);
}

#[tokio::test]
async fn stored_errors_stand_as_values_do() {
    let mut given = input([]);
    given.finished.insert(
        "a".into(),
        StoredResult {
            output: Err("it was down".into()),
        },
    );
    let (outcome, _) = run_in(
        "a [type=http url=\"http://h/\"] b [type=jsonparse]; a -> b",
        World::default(),
        given,
    )
    .await;
    assert_eq!(outcome.all_errors[0], Some("it was down".into()));
    assert_eq!(outcome.results.len(), 1);
}

#[tokio::test]
async fn everything_already_done_needs_nothing_more() {
    let mut given = input([]);
    given.finished.insert("a".into(), stands(Value::Int(4)));
    let (outcome, _) = run_in("a [type=http url=\"http://h/\"]", World::default(), given).await;
    assert_eq!(
        (outcome.state, outcome.outputs),
        (RunState::Completed, vec![Some(Value::Int(4))])
    );
}

#[tokio::test]
async fn results_with_effects_are_stored_before_anything_behind_them_starts() {
    let world = World::default()
        .answers("http://h/post", 200, "1")
        .answers("http://h/get", 200, "2")
        .answers("http://b/", 200, "3")
        .answers_with("http://h/bad", Duration::ZERO, Err(HttpError::TimedOut))
        .bridge("b", "http://b/");
    let (_, world) = run_in(
        "post [type=http method=POST url=\"http://h/post\"] get [type=http url=\"http://h/get\"]
         bridge [type=bridge name=b] bad [type=http method=PUT url=\"http://h/bad\"]
         post -> get -> bridge -> bad",
        world,
        input([]),
    )
    .await;
    let story = world.story.lock().unwrap().join(", ");
    assert_eq!(
        story,
        "post asks, post stored, get asks, bridge asks, bridge stored, bad asks, bad stored"
    );
    let finished = world.finished.lock().unwrap();
    assert_eq!(finished[0].output, Some(Value::from("1")));
    assert_eq!(
        finished[2].error.as_deref(),
        Some("http request timed out or interrupted")
    );
}

#[tokio::test]
async fn a_value_that_nests_too_deep_is_an_error() {
    let mut deep = Value::Int(1);
    for _ in 0..100 {
        deep = Value::List(vec![deep]);
    }
    let (outcome, _) = run_in(
        "a [type=memo value=<[$(x)]>]",
        World::default(),
        input([("x", deep)]),
    )
    .await;
    assert!(error(&outcome, "a").contains("nests deeper"), "{outcome:?}");
}

#[tokio::test]
async fn the_same_pipeline_runs_many_times_at_once() {
    let pipeline = Pipeline::parse(r#"a [type=multiply input="$(x)" times=2]"#).unwrap();
    let world: Arc<dyn Ports> = Arc::new(World::default());
    let runs =
        (0..100).map(|n| execute(&pipeline, input([("x", Value::Int(n))]), Arc::clone(&world)));
    let outcomes: Vec<Outcome> = futures_util::future::join_all(runs).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        assert_eq!(
            output(outcome, "a").to_output_json(),
            format!("\"{}\"", n * 2)
        );
    }
}

#[tokio::test]
async fn a_late_answer_is_raw_json_that_jsonparse_reads_and_arithmetic_does_not() {
    let source = "a [type=bridge name=b async=true] b [type=jsonparse path=v] c [type=multiply times=2]; a -> b; a -> c";
    let mut given = input([]);
    given
        .finished
        .insert("a".into(), stands(br#"{"v":5}"#.to_vec()));
    let (outcome, _) = run_in(source, World::default(), given).await;
    assert_eq!(output(&outcome, "b"), &Value::Int(5));
    assert!(error(&outcome, "c").contains("expected a number, got bytes"));
}

#[tokio::test]
async fn merging_leaves_its_left_side_as_it_was() {
    let outcome = run(r#"a [type=memo value=<{"k": 1}>]
           m [type=merge left="$(a)" right=<{"k": 2}>]
           again [type=merge left="$(a)" right=<{"m": $(m.k)}>]"#)
    .await;
    let expected = Value::map([("k", Value::Int(1)), ("m", Value::Int(2))]);
    assert_eq!(output(&outcome, "again"), &expected);
}

#[tokio::test]
async fn the_second_encoder_is_recorded_under_the_name_of_the_first() {
    let outcome = run(r#"a [type=ethabiencode2 abi=<{"name":"f","inputs":[]}>]"#).await;
    assert_eq!(result(&outcome, "a").task_type, "ethabiencode");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_of_anybody_once_the_time_of_the_run_is_over() {
    let world = World::default()
        .answers_with("http://h/slow", Duration::from_secs(60), Ok(reply(200, "")))
        .answers("http://h/pay", 200, "");
    let limits = Limits {
        max_run_duration: Some(Duration::from_secs(1)),
        ..Limits::default()
    };
    let (outcome, world) = run_in(
        "slow [type=http url=\"http://h/slow\"]; any [type=coalesce]; pay [type=http method=POST url=\"http://h/pay\"]; slow -> any -> pay",
        world,
        RunInput { limits, ..input([]) },
    )
    .await;
    assert!(error(&outcome, "pay").contains("the time left for the run"));
    assert_eq!(world.the_call().url.path(), "/slow");
}

#[tokio::test]
async fn every_list_and_map_can_be_stepped_into() {
    let word = |n: u8| [&[0; 31][..], &[n]].concat();
    let data = [word(32), word(2), word(7), word(8)].concat();
    let (outcome, _) = run_in(
        r#"list [type=ethabidecode abi="uint256[] v" data="$(data)"]
           a [type=memo value="$(list.v.1)"]
           map [type=cborparse mode=standard data="$(cbor)"]
           b [type=memo value="$(map.1.0)"]
           kept [type=memo value=<{"x": [1, {"y": "z"}]}>]
           c [type=lowercase input="$(kept.x.1.y)"]"#,
        World::default(),
        // {1: [true]}
        input([
            ("data", Value::from(data)),
            ("cbor", Value::from(vec![0xa1u8, 0x01, 0x81, 0xf5])),
        ]),
    )
    .await;
    assert_eq!(output(&outcome, "a"), &Value::Decimal(8.into()));
    assert_eq!(output(&outcome, "b"), &Value::Bool(true));
    assert_eq!(output(&outcome, "c"), &Value::from("z"));
}
