//! What people read first: the overview, the list of commands, the reference page.
//!
//! All three are made from the commands themselves, so they cannot say anything
//! that is not there; the tests hold them.

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use crate::cli::Cli;

/// The groups of the overview: what somebody wants to do, and the commands for it.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Run a node",
        &["node start", "node validate", "config reference"],
    ),
    ("See how it is", &["status", "health", "admin status"]),
    ("Sessions", &["admin login", "admin logout"]),
    (
        "Jobs and their runs",
        &[
            "jobs create",
            "jobs list",
            "jobs show",
            "jobs run",
            "jobs delete",
            "runs list",
            "runs show",
        ],
    ),
    (
        "Writing jobs",
        &[
            "jobs lint",
            "jobs test",
            "jobs diff",
            "jobs import",
            "tasks reference",
        ],
    ),
    (
        "Keys",
        &[
            "keys eth create",
            "keys eth list",
            "keys eth import",
            "keys eth export",
            "keys eth chain",
            "keys eth delete",
        ],
    ),
    (
        "External adapters and initiators",
        &[
            "bridges create",
            "bridges list",
            "bridges show",
            "bridges destroy",
            "initiators create",
            "initiators list",
            "initiators destroy",
        ],
    ),
    ("Transactions", &["txs list", "txs show", "attempts list"]),
    (
        "In front of Ethereum clients",
        &["gateway", "gateway check", "gateway key"],
    ),
    ("More", &["help-all"]),
];

const EXAMPLES: &str = "\
Examples:
  dodona node start                              an embedded database in ~/.dodona, settings from the environment
  dodona node -c node.toml -s secrets.toml start
  dodona admin login --file apicredentials
  dodona jobs create job.toml
  dodona --json runs list --job 1 | jq '.[0]'
  ssh -L 6688:localhost:6688 oracle-host         then every command works from your own machine

`dodona COMMAND --help` explains a command.
";

/// The command line with our overview in place of the generated one.
pub fn command() -> Command {
    let command = Cli::command();
    let overview = overview(&command);
    of_this_machine(command).override_help(overview)
}

/// The gateway talks to no node: options for that are understood, because they are everywhere, and
/// not shown. Results as JSON have those of its verbs that print one.
fn of_this_machine(command: Command) -> Command {
    let everywhere: Vec<Arg> = command
        .get_arguments()
        .filter(|argument| argument.is_global_set())
        .cloned()
        .collect();
    command.mut_subcommand("gateway", |gateway| {
        let gateway = gateway.args(
            everywhere
                .iter()
                .map(|argument| argument.clone().hide(true)),
        );
        ["check", "key"].into_iter().fold(gateway, |gateway, verb| {
            gateway.mut_subcommand(verb, |verb| {
                verb.args(
                    everywhere
                        .iter()
                        .filter(|argument| argument.get_id() == "json"),
                )
            })
        })
    })
}

/// What to show when somebody names a group and no verb: the group's verbs.
pub fn of_group(arguments: &[OsString]) -> String {
    let mut group = command();
    group.build();
    let mut found = group.clone();
    for argument in arguments.iter().filter_map(|argument| argument.to_str()) {
        if let Some(below) = found.find_subcommand(argument).cloned() {
            found = below;
        }
    }
    found.render_help().to_string()
}

fn overview(root: &Command) -> String {
    let mut text = format!(
        "{}\n\nUsage: dodona [OPTIONS] COMMAND\n",
        root.get_about()
            .map(ToString::to_string)
            .unwrap_or_default()
    );
    for (title, paths) in GROUPS {
        let _ = writeln!(text, "\n{title}:");
        for path in *paths {
            let about = find(root, path)
                .and_then(|command| command.get_about().map(ToString::to_string))
                .unwrap_or_default();
            let _ = writeln!(text, "  {path:<18} {about}");
        }
    }
    text.push_str("\nOptions:\n");
    for argument in root
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
    {
        let _ = writeln!(text, "  {:<34} {}", flag(argument), meaning(argument));
    }
    text.push_str("  -h, --help                         Print help\n\n");
    text.push_str(EXAMPLES);
    text
}

fn find<'a>(root: &'a Command, path: &str) -> Option<&'a Command> {
    path.split(' ')
        .try_fold(root, |command, name| command.find_subcommand(name))
}

/// `-j, --json` or `    --remote-node-url URL`
fn flag(argument: &Arg) -> String {
    let short = argument
        .get_short()
        .map_or("    ".to_owned(), |short| format!("-{short}, "));
    let value = match (
        argument.get_action().takes_values(),
        argument.get_value_names(),
    ) {
        (true, Some([name, ..])) => format!(" {name}"),
        _ => String::new(),
    };
    format!(
        "{short}--{}{value}",
        argument.get_long().unwrap_or_default()
    )
}

/// The help text with its default.
fn meaning(argument: &Arg) -> String {
    let mut text = argument
        .get_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let defaults: Vec<_> = argument
        .get_default_values()
        .iter()
        .filter_map(|value| value.to_str())
        .collect();
    if argument.get_action().takes_values() && !defaults.is_empty() {
        let _ = write!(text, " [default: {}]", defaults.join(" "));
    }
    text
}

/// The help text with default and variable.
fn meaning_with_variable(argument: &Arg) -> String {
    let mut text = meaning(argument);
    if let Some(variable) = argument.get_env().and_then(|name| name.to_str()) {
        let _ = write!(text, " [variable: {variable}]");
    }
    text
}

/// Every command that does something, with its path, sorted.
fn leaves(command: &Command, path: &str, out: &mut Vec<(String, Command)>) {
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        let path = if path.is_empty() {
            below.get_name().to_owned()
        } else {
            format!("{path} {}", below.get_name())
        };
        if below.has_subcommands() {
            if !below.is_subcommand_required_set() {
                out.push((path.clone(), below.clone()));
            }
            leaves(below, &path, out);
        } else {
            out.push((path, below.clone()));
        }
    }
}

fn all_leaves() -> Vec<(String, Command)> {
    let mut out = Vec::new();
    leaves(&Cli::command(), "", &mut out);
    out.sort_by(|(left, _), (right, _)| left.cmp(right));
    out
}

/// `path # what it does`, one a line, sorted.
pub fn all_commands() -> String {
    let about = |command: &Command| {
        command
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    all_leaves()
        .iter()
        .map(|(path, command)| format!("{path} # {}\n", about(command)))
        .collect()
}

/// The page `docs/reference/cli.md`.
pub fn reference() -> String {
    let mut text = String::from(
        "# Commands\n\nThis page is made from the program (`crates/node/src/help.rs`) and held by a test.\n\n\
         Results go to stdout, everything else to stderr. The exit code is 0, or 1 with a sentence on stderr. \
         Flags work with one dash or two, before and after the command.\n\n## Options of every command\n\n\
         | option | meaning |\n| --- | --- |\n",
    );
    let root = Cli::command();
    rows(
        &mut text,
        root.get_arguments()
            .filter(|argument| !argument.is_hide_set()),
    );
    let mut group = String::new();
    for (path, command) in all_leaves() {
        let first = path.split(' ').next().unwrap_or_default().to_owned();
        if first != group {
            let about = find(&root, &first)
                .and_then(|command| command.get_about().map(ToString::to_string))
                .unwrap_or_default();
            let _ = write!(text, "\n## `{first}`\n\n{about}.\n");
            group = first;
        }
        let mut command = command.bin_name(format!("dodona {path}"));
        let usage = command
            .render_usage()
            .to_string()
            .replace("Usage: ", "")
            .replace(" [OPTIONS]", "");
        let about = command
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default();
        let _ = write!(text, "\n### `{usage}`\n\n{about}.\n");
        let inherited = match path.starts_with("node ") {
            true => find(&root, "node")
                .map(|node| node.get_arguments().cloned().collect())
                .unwrap_or_default(),
            false => Vec::new(),
        };
        let own = command
            .get_arguments()
            .filter(|argument| !argument.is_hide_set() && argument.get_id() != "help");
        let arguments: Vec<&Arg> = own
            .chain(inherited.iter().filter(|argument| !argument.is_hide_set()))
            .collect();
        if !arguments.is_empty() {
            text.push_str("\n| argument | meaning |\n| --- | --- |\n");
            rows(&mut text, arguments.into_iter());
        }
    }
    text
}

fn rows<'a>(text: &mut String, arguments: impl Iterator<Item = &'a Arg>) {
    for argument in arguments {
        let name = if argument.is_positional() {
            argument
                .get_value_names()
                .and_then(|names| names.first())
                .map(ToString::to_string)
                .unwrap_or_default()
        } else {
            flag(argument).trim_start().to_owned()
        };
        let _ = writeln!(text, "| `{name}` | {} |", meaning_with_variable(argument));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_stands_in_the_overview_once() {
        let listed: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, paths)| *paths)
            .copied()
            .collect();
        let mut expected: Vec<String> = all_leaves().into_iter().map(|(path, _)| path).collect();
        let mut sorted: Vec<String> = listed.iter().map(|path| (*path).to_owned()).collect();
        sorted.sort();
        expected.sort();
        assert_eq!(sorted, expected);
    }

    #[test]
    fn the_gateways_help_shows_what_means_something_to_it() {
        let help = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            of_group(&words)
        };
        for words in [&["gateway"][..], &["gateway", "check"], &["gateway", "key"]] {
            let said = help(words);
            for option in ["--remote-node-url", "--admin-credentials", "--insecure"] {
                assert!(!said.contains(option), "{words:?}: {said}");
            }
            assert_eq!(
                said.contains("--json"),
                words.len() > 1,
                "{words:?}: {said}"
            );
        }
        assert!(help(&["jobs", "list"]).contains("--remote-node-url"));
        let parsed = command().try_get_matches_from([
            "dodona",
            "--remote-node-url",
            "http://x",
            "gateway",
            "check",
            "-j",
            "http://127.0.0.1:8545",
        ]);
        use clap::FromArgMatches as _;
        let cli = Cli::from_arg_matches(&parsed.unwrap()).unwrap();
        assert!(cli.remote.json && cli.remote.remote_node_url.as_str() == "http://x/");
    }

    #[test]
    fn the_overview_reads_like_this() {
        insta::assert_snapshot!(overview(&Cli::command()));
    }

    #[test]
    fn every_line_of_the_overview_fits_a_wide_terminal() {
        for line in overview(&Cli::command()).lines() {
            assert!(line.chars().count() <= 120, "{line}");
        }
    }
}
