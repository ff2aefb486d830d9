//! Arguments as operators type them: one dash before a long flag is as good as two.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::Command;

/// Gives long flags written with one dash their second one: `-config x` becomes `--config x`.
///
/// Only names that exist are touched, so that `-pn` stays two short flags; what follows `--` is left alone.
pub fn with_two_dashes(
    arguments: impl IntoIterator<Item = OsString>,
    command: &Command,
) -> Vec<OsString> {
    let names = long_names(command);
    let mut verbatim = false;
    arguments
        .into_iter()
        .map(|argument| {
            verbatim |= argument == "--";
            match argument.to_str() {
                Some(text) if !verbatim && is_long_with_one_dash(text, &names) => {
                    OsString::from(format!("-{text}"))
                }
                _ => argument,
            }
        })
        .collect()
}

fn is_long_with_one_dash(text: &str, names: &BTreeSet<String>) -> bool {
    let Some(rest) = text.strip_prefix('-').filter(|rest| !rest.starts_with('-')) else {
        return false;
    };
    let name = rest.split('=').next().unwrap_or(rest);
    name.len() > 1 && names.contains(name)
}

/// The long flags of a command and all below it, with their aliases.
fn long_names(command: &Command) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ["help", "version"].map(str::to_owned).into();
    for argument in command.get_arguments() {
        names.extend(argument.get_long().map(str::to_owned));
        names.extend(
            argument
                .get_all_aliases()
                .unwrap_or_default()
                .into_iter()
                .map(str::to_owned),
        );
    }
    for below in command.get_subcommands() {
        names.extend(long_names(below));
    }
    names
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn typed(line: &str) -> String {
        let arguments = line.split(' ').map(OsString::from);
        let normal = with_two_dashes(arguments, &Cli::command());
        normal
            .iter()
            .map(|argument| argument.to_str().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn a_long_flag_with_one_dash_gets_its_second() {
        assert_eq!(
            typed("dodona node -config a.toml -secrets=b.toml start -p x"),
            "dodona node --config a.toml --secrets=b.toml start -p x"
        );
        assert_eq!(
            typed("dodona keys eth import f -oldpassword p"),
            "dodona keys eth import f --oldpassword p"
        );
        assert_eq!(typed("dodona -help"), "dodona --help");
    }

    #[test]
    fn everything_else_is_left_alone() {
        for line in [
            "dodona -j status",
            "dodona jobs create -",
            "dodona jobs run 1 -- -config",
            "dodona -jf health",
            "dodona --json status",
        ] {
            assert_eq!(typed(line), line);
        }
    }
}
