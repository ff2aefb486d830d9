//! What the graph language accepts, what it refuses, and how it says so.

use dodona_pipeline::{Nature, ParseError, Pipeline};

fn refused(source: &str) -> ParseError {
    match Pipeline::parse(source) {
        Ok(pipeline) => panic!("accepted: {pipeline:?}"),
        Err(error) => error,
    }
}

fn parsed(source: &str) -> Pipeline {
    Pipeline::parse(source).unwrap_or_else(|e| panic!("{e}"))
}

fn ids(pipeline: &Pipeline) -> Vec<&str> {
    pipeline.tasks().map(|t| t.dot_id.as_str()).collect()
}

#[test]
fn separators_of_attributes_are_commas_semicolons_or_space() {
    let p = parsed("a [type=fail, msg=x; index=1 retries=2]");
    let a = p.task("a").unwrap();
    assert_eq!((a.attribute("msg"), a.index, a.retries), (Some("x"), 1, 2));
}

#[test]
fn statements_about_one_task_merge_and_the_last_value_wins() {
    let p = parsed("a [type=fail msg=one]; a [MSG=two]; a");
    assert_eq!(p.task("a").unwrap().attribute("msg"), Some("two"));
    assert!(
        p.warnings()[0].contains("more than once"),
        "{:?}",
        p.warnings()
    );
}

#[test]
fn a_task_id_that_is_used_twice_is_refused_at_the_second_place() {
    let error = refused("a [type=fail msg=one]\nb [type=fail]\n  a [type=memo value=1]\n");
    assert_eq!(
        error.to_string(),
        "line 3, column 3: the task id `a` is used twice, first at line 1, column 1: rename one of the two tasks\n\
         \x20   3 |   a [type=memo value=1]\n\
         \x20     |   ^"
    );
    // The same type with another value of anything is a copy too.
    refused("a [type=fail msg=one]; a [TYPE=fail MSG=two]");
    // More about the same task, and the same again, are not.
    let p = parsed("a [msg=one]; a [type=fail] [retries=2]; a [index=3]; a [type=fail msg=one]");
    let a = p.task("a").unwrap();
    assert_eq!(
        (a.attribute("msg"), a.retries, a.index),
        (Some("one"), 2, 3)
    );
}

#[test]
fn a_task_that_hides_a_variable_is_pointed_out() {
    for id in ["jobRun", "jobSpec", "jb"] {
        let p = parsed(&format!("{id} [type=memo value=1]"));
        assert_eq!(p.warnings().len(), 1, "{:?}", p.warnings());
        assert!(p.warnings()[0].contains("hides the variable"), "{id}");
    }
    assert!(parsed("jobrun [type=fail]").warnings().is_empty());
}

#[test]
fn edges_are_counted_as_often_as_they_are_said() {
    let names = |letter: char| -> String { (0..200).map(|n| format!("{letter}{n} ")).collect() };
    let (t, u) = (names('t'), names('u'));
    let error = refused(&format!("{{{t}}} -> {{{u}}} -> {{{t}}}")).to_string();
    assert!(error.contains("more than 50000 edges"), "{error}");
    let error = refused(&format!("{{{t}}} -> {{{u}}};\n{{{t}}} -> {{{u}}}")).to_string();
    assert!(
        error.starts_with("line 2") && error.contains("more than 50000 edges"),
        "{error}"
    );
}

#[test]
fn attribute_names_and_types_ignore_letter_case() {
    let p = parsed("a [TYPE=Fail MsG=x TIMEOUT=\"3s\"]");
    let a = p.task("a").unwrap();
    assert_eq!((a.type_name(), a.attribute("msg")), ("fail", Some("x")));
    assert_eq!(a.timeout, Some(std::time::Duration::from_secs(3)));
}

#[test]
fn quoted_text_has_one_escape_and_may_span_lines() {
    let p = parsed("a [type=fail msg=\"say \\\"hi\\\" \\\\ \\n\n next\"]");
    assert_eq!(
        p.task("a").unwrap().attribute("msg"),
        Some("say \"hi\" \\\\ \\n\n next")
    );
}

#[test]
fn a_backslash_holds_on_to_what_follows_so_a_text_may_end_in_two() {
    let p = parsed(r#"a [type=fail msg="c:\\"] b [type=fail msg="x\\\"y"] c [type=fail msg="\\"]"#);
    let msg = |id: &str| p.task(id).unwrap().attribute("msg").unwrap().to_owned();
    assert_eq!(msg("a"), r"c:\\");
    assert_eq!(msg("b"), r#"x\\"y"#);
    assert_eq!(msg("c"), r"\\");
    refused(r#"a [type=fail msg="x\"]"#);
}

#[test]
fn angle_brackets_quote_unless_there_are_more_inside() {
    let p = parsed(
        r#"a [type=fail msg=<{"a": "b"}>] b [type=fail msg=<<b>x</b>>] c [type=fail msg="<x>"]"#,
    );
    assert_eq!(p.task("a").unwrap().attribute("msg"), Some(r#"{"a": "b"}"#));
    assert_eq!(p.task("b").unwrap().attribute("msg"), Some("<<b>x</b>>"));
    assert_eq!(p.task("c").unwrap().attribute("msg"), Some("\"<x>\""));
    assert_eq!(p.warnings().len(), 2, "{:?}", p.warnings());
}

#[test]
fn comments_are_skipped_and_stay_inside_strings() {
    let p = parsed(
        "// one\n# two\n  # three [\na [type=fail /* four\n*/ msg=\"// # /* kept */\"] // five\nb [type=fail # six ]\n] # seven\na -> b#eight\n#",
    );
    assert_eq!(ids(&p), ["a", "b"]);
    assert_eq!(
        p.task("a").unwrap().attribute("msg"),
        Some("// # /* kept */")
    );
}

#[test]
fn numbers_and_names_need_no_quotes_and_everything_else_does() {
    let p = parsed("a [type=memo value=-1.5 index=-3] b [type=memo value=.5]");
    assert_eq!(p.task("a").unwrap().attribute("value"), Some("-1.5"));
    let error = refused("a [type=http timeout=10s]").to_string();
    assert!(error.contains("write it in quotes"), "{error}");
    let error = refused("a [type=http url=http://x]").to_string();
    assert!(error.contains("line 1, column 22"), "{error}");
    let error = refused("a [type=jsonparse data=$(b)]").to_string();
    assert!(error.contains("quotes"), "{error}");
}

#[test]
fn chains_and_groups_make_edges_and_doubled_edges_count_once() {
    let p = parsed(
        "{a b} -> c -> {d; e} subgraph x { f } -> a; a -> c\n\
         a [type=fail] b [type=fail] c [type=any] d [type=any] e [type=any] f [type=fail]",
    );
    assert_eq!(ids(&p), ["b", "f", "a", "c", "d", "e"]);
    let terminal: Vec<_> = p
        .tasks()
        .filter(|t| t.is_terminal())
        .map(|t| t.dot_id.as_str())
        .collect();
    assert_eq!(terminal, ["d", "e"]);
}

#[test]
fn an_expression_makes_its_task_wait() {
    let p = parsed(
        "b [type=multiply input=\"$( a )\" times=\"$(c.x.0)\"] c [type=memo value=2] a [type=memo value=1]",
    );
    assert_eq!(ids(&p), ["c", "a", "b"]);
    assert!(!p.task("a").unwrap().is_terminal());
    // Its own name or a variable makes no edge.
    parsed("a [type=memo value=\"$(a)\"] b [type=memo value=\"$(jobRun.meta)\"]");
}

#[test]
fn cycles_are_found_and_named_with_the_implicit_ones() {
    let error =
        refused("x [type=fail] a [type=any] b [type=any] c [type=any]\nx -> a -> b -> c -> a")
            .to_string();
    assert!(
        error.contains("a cycle was detected: a -> b -> c -> a"),
        "{error}"
    );
    let error = refused("a [type=memo value=\"$(b)\"] b [type=memo value=\"$(a)\"]").to_string();
    assert!(
        error.contains("a cycle was detected: a -> b -> a"),
        "{error}"
    );
    let error = refused("a [type=any]; a -> a").to_string();
    assert!(error.contains("a cycle was detected"), "{error}");
    // Tasks behind a cycle are not part of it.
    let error = refused("z [type=any] a [type=any] b [type=any]; a -> b -> a; b -> z").to_string();
    assert!(error.contains("a -> b -> a"), "{error}");
}

#[test]
fn an_unknown_type_is_refused_with_its_place_and_the_nearest_name() {
    let error = refused("a [type=\"fail\"]\nb [type=\"jsonprase\" path=x]");
    assert_eq!(
        error.to_string(),
        "line 2, column 9: task `b`: unknown task type: \"jsonprase\"; did you mean \"jsonparse\"?\n\
         \x20   2 | b [type=\"jsonprase\" path=x]\n\
         \x20     |         ^"
    );
}

#[test]
fn a_task_that_is_only_mentioned_in_an_edge_has_no_type() {
    let error = refused("a [type=fail]\na -> bb").to_string();
    assert!(
        error.contains("unknown task type: \"\"") && error.contains("line 2, column 6"),
        "{error}"
    );
}

#[test]
fn a_type_of_another_version_is_refused_in_words() {
    let error = refused("a [type=vrfv2]").to_string();
    assert!(
        error.contains("is not supported by this version"),
        "{error}"
    );
}

#[test]
fn broken_sources_are_refused_with_what_was_expected_and_where() {
    for (source, place, words) in [
        ("a [type=fail", "line 1, column 3", "never closed with ]"),
        ("a [type fail]", "line 1, column 9", "expected `=`"),
        ("a [type=]", "line 1, column 9", "expected a value"),
        ("a [=x]", "line 1, column 4", "attribute name"),
        (
            "a [type=\"fail]\n\n",
            "line 1, column 9",
            "never closed with \"",
        ),
        ("a [type=<fail]", "line 1, column 9", "never closed with >"),
        ("/* x", "line 1, column 1", "never closed with */"),
        ("a -> ", "line 1, column 6", "found the end of the source"),
        ("a -- b", "line 1, column 3", "write `->`"),
        ("a:n -> b", "line 1, column 2", "ports"),
        ("-> a", "line 1, column 1", "expected a task id"),
        ("{a b", "line 1, column 1", "never closed with }"),
        ("a }", "line 1, column 3", "inside digraph"),
        ("digraph { a }", "line 1, column 1", "inside digraph"),
        ("node [type=fail]", "line 1, column 1", "default attributes"),
        (
            "a -> b [type=fail]",
            "line 1, column 8",
            "attributes on an edge",
        ),
        (
            "{a b} [type=fail]",
            "line 1, column 1",
            "attributes on a group",
        ),
        ("input [type=fail]", "line 1, column 1", "reserved"),
        ("a [type=fail index=x]", "line 1, column 20", "32-bit"),
        (
            "a [type=fail retries=-1]",
            "line 1, column 22",
            "number of attempts",
        ),
        (
            "a [type=fail failEarly=yes]",
            "line 1, column 24",
            "neither true nor false",
        ),
        (
            "a [type=fail timeout=\"10\"]",
            "line 1, column 22",
            "unit is missing",
        ),
        (
            "a [type=ethabiencode abi=\"f(uint x)\"]",
            "line 1, column 26",
            "write uint256",
        ),
        (
            "a [type=ethabidecodelog abi=\"f(\"]",
            "line 1, column 29",
            "must end with",
        ),
        (
            "a [type=ethabidecode abi=\"(uint256 x)\"]",
            "line 1, column 26",
            "without parentheses",
        ),
        (
            "a [type=ethabiencode2 abi=\"f()\"]",
            "line 1, column 27",
            "JSON",
        ),
        (
            "é [type=fail]\n\u{fc}\u{fc} ?",
            "line 2, column 4",
            "unexpected '?'",
        ),
    ] {
        let error = refused(source);
        let text = error.to_string();
        assert!(
            text.starts_with(place) && text.contains(words),
            "{source:?}: {text}"
        );
        assert!(text.lines().last().unwrap().ends_with('^'), "{text}");
    }
}

#[test]
fn blank_sources_are_empty_pipelines() {
    for source in ["", " \n\t", "// nothing\n", ";;", "{}"] {
        let error = refused(source).to_string();
        assert!(error.contains("empty pipeline"), "{source:?}: {error}");
    }
}

#[test]
fn the_caret_stays_near_its_line_when_the_line_is_long() {
    let source = format!("a [type=fail msg=\"{}\" index=x]", "é".repeat(10_000));
    let text = refused(&source).to_string();
    assert!(text.len() < 1_000, "{}", text.len());
    let lines: Vec<&str> = text.lines().collect();
    let caret = lines[2].chars().count() - 1;
    assert_eq!(lines[1].chars().nth(caret), Some('x'), "{text}");
}

#[test]
fn unknown_attributes_are_ignored_with_a_hint() {
    let p = parsed("a [type=multiply vlaue=\"$(x)\" tmies=100 times=1]");
    assert_eq!(p.warnings().len(), 2, "{:?}", p.warnings());
    assert!(
        p.warnings()[1].contains("did you mean `times`?"),
        "{:?}",
        p.warnings()
    );
}

#[test]
fn interpolation_that_will_not_happen_is_pointed_out() {
    let p = parsed("a [type=memo value=1] b [type=http url=\"http://h/$(a)\"]");
    assert!(
        p.warnings()[0].contains("mixes text with $(...)"),
        "{:?}",
        p.warnings()
    );
}

#[test]
fn the_index_is_read_in_any_base() {
    for (text, index) in [
        ("10", 10),
        ("0x1F", 31),
        ("-7", -7),
        ("010", 8),
        ("0b11", 3),
    ] {
        let p = parsed(&format!("a [type=fail index=\"{text}\"]"));
        assert_eq!(p.task("a").unwrap().index, index, "{text}");
    }
    refused("a [type=fail index=2147483648]");
}

#[test]
fn what_may_wait_and_what_reaches_out_can_be_asked() {
    let p = parsed(
        "a [type=bridge name=x] b [type=bridge name=y async=true] c [type=bridge name=x] d [type=ethtx] e [type=sum]",
    );
    assert_eq!(p.bridges(), ["x", "y"]);
    assert!(p.suspends());
    assert!(!parsed("a [type=bridge name=x async=yes]").suspends());
    let natures: Vec<_> = p.tasks().map(|t| t.nature()).collect();
    use Nature::{Pure, Source, Transaction};
    assert_eq!(natures, [Source, Source, Source, Transaction, Pure]);
}

#[test]
fn size_is_limited() {
    let many = "a [type=fail]; ".repeat(20_000);
    assert!(refused(&many).to_string().contains("longer than"));
    let many: String = (0..1001).map(|n| format!("a{n} [type=fail]\n")).collect();
    assert!(refused(&many).to_string().contains("more than 1000 tasks"));
    let nested = "{".repeat(100_000);
    assert!(refused(&nested).to_string().contains("nest deeper"));
}

#[test]
fn json_that_cannot_be_read_is_pointed_out_before_the_job_runs() {
    for (task, words) in [
        (
            r#"type=bridge name=b requestData=<{"a": "$(x)"}>"#,
            "without quotes around it",
        ),
        (
            r#"type=ethabiencode abi="f()" data=<{"a": $(x)>"#,
            "malformed JSON",
        ),
        ("type=median values=<[ $(x) $(y) ]>", "malformed JSON"),
    ] {
        let p = parsed(&format!("a [{task}]"));
        assert_eq!(p.warnings().len(), 1, "{:?}", p.warnings());
        assert!(p.warnings()[0].contains(words), "{:?}", p.warnings());
    }
    let p = parsed(r#"a [type=bridge name=b requestData=<{"a": [$(x), {"b": $( y.0 )}]}>]"#);
    assert!(p.warnings().is_empty(), "{:?}", p.warnings());
}

#[test]
fn reserved_words_are_names_only_in_quotes() {
    for word in [
        "graph", "digraph", "node", "edge", "subgraph", "strict", "Node", "EDGE",
    ] {
        let error = refused(&format!("a [type=fail]\na -> {word}")).to_string();
        assert!(error.starts_with("line 2, column "), "{word}: {error}");
        let error = refused(&format!("a [type=fail {word}=x]")).to_string();
        assert!(error.contains("must stand in quotes"), "{word}: {error}");
        let error = refused(&format!("a [type=fail msg={word}]")).to_string();
        assert!(error.contains("must stand in quotes"), "{word}: {error}");
        let p = parsed(&format!("\"{word}\" [type=fail msg=\"{word}\"]"));
        assert_eq!(p.task(word).unwrap().attribute("msg"), Some(word));
        parsed(&format!("{word}_1 [type=fail]"));
    }
}

#[test]
fn a_graph_of_ten_thousand_tasks_is_refused_and_one_of_a_thousand_is_numbered() {
    let chain = |count: usize| -> String {
        (0..count)
            .map(|n| format!("t{n}[type=sum]t{n}->t{}\n", n + 1))
            .chain([format!("t{count}[type=sum]")])
            .collect()
    };
    let error = refused(&chain(9_999)).to_string();
    assert!(
        error.contains("more than 1000 tasks") || error.contains("longer than"),
        "{error}"
    );
    let p = parsed(&chain(999));
    assert_eq!(p.tasks().count(), 1_000);
    assert_eq!(p.tasks().filter(|t| t.is_terminal()).count(), 1);
    // Everybody waits for everybody before them: as many edges as there may be.
    let all: String = (0..200)
        .map(|n| {
            let before: String = (0..n).map(|m| format!("$(t{m})")).collect();
            format!("t{n} [type=fail msg=\"{before}\"]\n")
        })
        .collect();
    assert_eq!(parsed(&all).tasks().last().unwrap().dot_id, "t199");
}
