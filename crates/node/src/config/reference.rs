//! The page `docs/reference/configuration.md`, made from the list of keys.

use std::fmt::Write as _;

use super::defaults::{known_chains, leaves};
use super::registry::{CONFIG, Effect, Key, SECRETS, Schema, list_identity};

const HEAD: &str = "\
# Settings

This page is made from the program (`crates/node/src/config/registry`) and held by a test; `dodona config reference` prints it.

Settings are the TOML of the Chainlink node 2.x, with a section of our own. `dodona node -c FILE start` reads a file; `-c` may
be repeated, and a later file overrides an earlier one. Lists of tables meet by their identity: `[[EVM]]` by `ChainID`,
`[[EVM.Nodes]]` by `Name`, `[[EVM.KeySpecific]]` by `Key`. The variable `CL_CONFIG` holds TOML that is applied last. Secrets
stand in files of their own (`-s FILE`), which must not overlap. `CL_CHAIN_DEFAULTS` names a directory with defaults of chains,
one TOML file each, that win over the built-in ones. `CL_LOG_COLOR=true` colours the console.

Where none of these is given, the variables of the Chainlink node 0.10 to 1.13 are read instead; the last column names them.
Beside a file they are not read, and a note at start says so. Endpoints come from `ETH_URL` (WebSocket), `ETH_HTTP_URL` and
`ETH_SECONDARY_URLS` (send-only) with `ETH_CHAIN_ID`, or from `EVM_NODES`. In this mode gas prices keep the old cap of 100,000
gwei (200,000 on Polygon) unless `ETH_MAX_GAS_PRICE_WEI` says otherwise, `DEFAULT_HTTP_LIMIT` also bounds requests to the API,
and a weak database password is a note instead of an error. `DODONA_*` variables stand for keys that the old node had no
variable for.

`dodona node validate` shows what settings come to, and everything that is wrong with them at once.

Values: durations `1h30m`, `15s`, `500ms`, `0`; sizes `32768`, `100kb`, `5.12gb` (decimal); wei `20 gwei`, `1 ether`, or a bare
number; LINK `0.1 link` or juels; addresses with their EIP-55 checksum. Capitals in names of keys do not matter.
";

/// The whole page.
pub fn page() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("\n## Settings that do something\n");
    sections(&mut text, &CONFIG);
    text.push_str("\n## Secrets\n");
    sections(&mut text, &SECRETS);
    text.push_str("\n## Defaults of known chains\n\nOnly what differs from the defaults above.\n\n| chain | defaults |\n| --- | --- |\n");
    for chain in known_chains() {
        let id = chain
            .leaf("ChainID")
            .map(|leaf| leaf.raw.shown())
            .unwrap_or_default();
        let own = leaves(chain)
            .into_iter()
            .filter(|(name, _)| name != "ChainID");
        let own: Vec<String> = own
            .map(|(name, leaf)| format!("`{name}` {}", leaf.raw.shown()))
            .collect();
        let _ = writeln!(text, "| {id} | {} |", own.join(", "));
    }
    without_effect(&mut text);
    text
}

fn sections(text: &mut String, schema: &Schema) {
    let used: Vec<&Key> = schema.keys().iter().filter(|key| key.is_used()).collect();
    let mut names: Vec<&str> = Vec::new();
    for key in &used {
        if !names.contains(&key.section()) {
            names.push(key.section());
        }
    }
    for section in names {
        let title = match (section, list_identity(section)) {
            ("", _) => "At the top".to_owned(),
            (section, Some(_)) => format!("`[[{section}]]`"),
            (section, None) => format!("`[{section}]`"),
        };
        let _ = write!(
            text,
            "\n### {title}\n\n| key | default | meaning | variables |\n| --- | --- | --- | --- |\n"
        );
        for key in used.iter().filter(|key| key.section() == section) {
            row(text, key);
        }
    }
}

fn row(text: &mut String, key: &Key) {
    let default = match (&key.default, key.default_there) {
        (Some(ours), Some(theirs)) => format!("`{ours}` (Chainlink node: `{theirs}`)"),
        (Some(ours), None) => format!("`{ours}`"),
        (None, _) => "–".to_owned(),
    };
    let variables: Vec<String> = key
        .variables
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    let meaning = format!("{} *{}*", key.doc, key.kind.word());
    let _ = writeln!(
        text,
        "| `{}` | {default} | {meaning} | {} |",
        key.name(),
        variables.join(", ")
    );
}

fn without_effect(text: &mut String) {
    text.push_str(
        "\n## Accepted without effect\n\nKeys of the Chainlink node that existing files may hold. They do nothing here, and a note at \
         start says so.\n\n| why | keys |\n| --- | --- |\n",
    );
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for key in CONFIG.keys() {
        let Effect::Without(why) = &key.effect else {
            continue;
        };
        match reasons.iter_mut().find(|(known, _)| known == why) {
            Some((_, keys)) => keys.push(&key.path),
            None => reasons.push((why, vec![&key.path])),
        }
    }
    for (why, keys) in reasons {
        let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
        let _ = writeln!(text, "| {why} | {} |", keys.join(", "));
    }
}
