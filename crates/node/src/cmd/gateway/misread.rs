//! Where and why a file is not TOML of ours. Nothing of the file is repeated but the names of
//! settings: the line at fault may well be the one with the key of a provider in it.

/// What settings of other programs, of the Chainlink node above all, are called here: in lower
/// case and without underscores.
const CALLED_HERE: &[(&str, &str)] = &[
    ("httpurl", "http of [[upstream]]"),
    ("url", "http or ws of [[upstream]]"),
    ("https", "http of [[upstream]], also for https://"),
    ("wsurl", "ws of [[upstream]]"),
    ("wss", "ws of [[upstream]], also for wss://"),
    (
        "httpurlextrawrite",
        "http of another [[upstream]] with send_only = true",
    ),
    ("sendonly", "send_only of [[upstream]]"),
    (
        "order",
        "priority of [[upstream]], 1 to 100, the lowest first",
    ),
    ("name", "name of [[upstream]]"),
    ("chainid", "chain_id, at the top of the file"),
    ("rate", "requests_per_second of [[upstream]]"),
    ("isloadbalancedrpc", "nothing here: leave it out"),
    (
        "evm",
        "[[upstream]], one for each [[EVM.Nodes]], and chain_id at the top of the file",
    ),
    ("nodes", "[[upstream]]"),
    ("upstreams", "[[upstream]]"),
    (
        "chain",
        "[[upstream]], and chain_id at the top of the file: a gateway is for one chain",
    ),
    ("server", "listen, at the top of the file"),
    ("keys", "[[key]]"),
];

pub(super) fn misread(text: &str, error: &toml::de::Error) -> anyhow::Error {
    let why = without_values(error.message());
    match error.span() {
        Some(span) => {
            let place = dodona_pipeline::Place::of(text, span.start);
            let setting = [table_at(text, span.start), key_at(text, span.start)];
            let setting = setting.into_iter().flatten().collect::<Vec<_>>().join(" ");
            match setting.is_empty() {
                true => anyhow::anyhow!("{place}: {why}"),
                false => anyhow::anyhow!("{place}, {setting}: {why}"),
            }
        }
        None => anyhow::anyhow!(why),
    }
}

/// The table a place is in, as its line says it; a misspelt one is not repeated.
fn table_at(text: &str, at: usize) -> Option<&'static str> {
    const TABLES: &[&str] = &[
        "[[upstream]]",
        "[tls]",
        "[access]",
        "[[key]]",
        "[jwt]",
        "[methods]",
        "[limits]",
    ];
    let named = |heading: &str| {
        let mut tables = TABLES.iter();
        tables.find(|table| heading.starts_with(**table)).copied()
    };
    // What a table lacks is told at its heading.
    if let Some(table) = text.get(at..).and_then(named) {
        return Some(table);
    }
    let before = text.get(..at)?;
    let mut lines = before.lines().rev().map(str::trim);
    named(lines.find(|line| line.starts_with('['))?)
}

/// The key whose value begins at a place.
fn key_at(text: &str, at: usize) -> Option<&str> {
    // What stands before it on its own line.
    let line = text.get(..at)?.rsplit('\n').next()?;
    let (key, _) = line.split_once('=')?;
    Some(key.trim()).filter(|key| is_like_a_setting(key))
}

/// The parser's sentence without what it quotes of the file: texts (`string "…"`), and names that
/// do not look like one of a setting, because a misplaced key may stand where a name belongs.
fn without_values(message: &str) -> String {
    let mut said = message.trim().replace('\n', ", ");
    for (theirs, ours) in [
        (
            "invalid socket address syntax",
            "it has to be an IP address and a port, as in 127.0.0.1:8545",
        ),
        ("expected usize", "expected a whole number from 0 on"),
        ("expected u64", "expected a whole number from 0 on"),
        ("expected u32", "expected a whole number from 0 on"),
    ] {
        said = said.replace(theirs, ours);
    }
    if let (Some(first), Some(last)) = (said.find('"'), said.rfind('"'))
        && first < last
    {
        said.replace_range(first + 1..last, "…");
    }
    let unknown = said
        .strip_prefix("unknown field `")
        .and_then(|rest| Some((rest, rest.find("`, expected").or_else(|| rest.find('`'))?)));
    if let Some((rest, end)) = unknown {
        let name = &rest[..end];
        if let Some(here) = called_here(name) {
            return format!("unknown field `{name}`: here it is {here}");
        }
        if !is_like_a_setting(name) {
            said = format!("unknown field{}", &rest[end + 1..]);
        }
    }
    said
}

fn called_here(name: &str) -> Option<&'static str> {
    let plain: String = name.chars().filter(|c| *c != '_').collect();
    let plain = plain.to_lowercase();
    CALLED_HERE
        .iter()
        .find(|(there, _)| *there == plain)
        .map(|(_, here)| *here)
}

fn is_like_a_setting(name: &str) -> bool {
    (1..=24).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_the_wrong_kind_is_told_with_its_table_and_key() {
        #[derive(Debug, serde::Deserialize)]
        struct File {
            #[expect(dead_code, reason = "only read")]
            limits: Limits,
        }
        #[derive(Debug, serde::Deserialize)]
        struct Limits {
            #[expect(dead_code, reason = "only read")]
            batch: u64,
        }
        let told = |value: &str| {
            let text = format!("[limits]\nbatch = {value}\n");
            let error = toml::from_str::<File>(&text).unwrap_err();
            misread(&text, &error).to_string()
        };
        assert_eq!(
            told("-1"),
            "line 2, column 9, [limits] batch: invalid value: integer `-1`, expected a whole number from 0 on"
        );
        let said = told("'s3cret'");
        assert!(
            said.starts_with("line 2, column 9, [limits] batch: invalid type: string"),
            "{said}"
        );
        assert!(!said.contains("s3cret"), "{said}");
        let said = without_values("invalid socket address syntax");
        assert!(said.contains("as in 127.0.0.1:8545"), "{said}");
    }

    #[test]
    fn what_a_table_lacks_is_told_with_the_name_of_that_table() {
        let text = "[[upstream]]\nhttp = 'http://a'\n[jwt]\nkeys = []\n";
        let at = |what: &str| table_at(text, text.find(what).unwrap());
        assert_eq!(at("[jwt]"), Some("[jwt]"));
        assert_eq!(at("keys"), Some("[jwt]"));
        assert_eq!(at("[[upstream]]"), Some("[[upstream]]"));
        assert_eq!(at("http ="), Some("[[upstream]]"));
        assert_eq!(table_at("listen = 1", 0), None);
    }

    #[test]
    fn words_of_the_chainlink_nodes_file_are_answered_with_ours() {
        for (name, here) in [
            ("HTTPURL", "http of [[upstream]]"),
            ("httpUrl", "http of [[upstream]]"),
            ("http_url", "http of [[upstream]]"),
            ("WSURL", "ws of [[upstream]]"),
            ("SendOnly", "send_only of [[upstream]]"),
            ("sendonly", "send_only of [[upstream]]"),
            ("Order", "priority of [[upstream]]"),
            ("ORDER", "priority of [[upstream]]"),
            ("ChainID", "chain_id"),
            ("EVM", "[[upstream]]"),
        ] {
            let said = without_values(&format!("unknown field `{name}`, expected one of `a`, `b`"));
            assert!(
                said.starts_with(&format!("unknown field `{name}`: here it is {here}")),
                "{said}"
            );
        }
        assert_eq!(
            without_values("unknown field `htp`, expected `http`"),
            "unknown field `htp`, expected `http`"
        );
    }
}
