//! The program: reads the command line, runs one command, and says in a sentence what went wrong.

use std::io::Write as _;
use std::process::ExitCode;

use clap::FromArgMatches as _;
use clap::error::ErrorKind;
use dodona_node::cli::{Cli, Command};
use dodona_node::cmd::{self, Out, Said};
use dodona_node::{help, with_two_dashes};

fn main() -> ExitCode {
    let command = help::command();
    let arguments = with_two_dashes(std::env::args_os(), &command);
    let cli = command
        .try_get_matches_from(&arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match cli {
        Ok(cli) => cli,
        Err(error) if error.kind() == ErrorKind::MissingSubcommand => {
            let _ = write!(std::io::stderr(), "{}", help::of_group(&arguments));
            return ExitCode::FAILURE;
        }
        Err(error) => {
            // Help and the version are answers; everything else is a mistake, and mistakes end with 1.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    // One crypto provider for everything in the process; a second call would only say that it is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Said>() => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let runtime = match &cli.command {
        Command::Node(_) | Command::Gateway(_) => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?,
        // A command that asks one question needs no threads.
        _ => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
    };
    let json = cli.remote.json;
    let mut out = Out {
        stdout: &mut std::io::stdout(),
        stderr: &mut std::io::stderr(),
        json,
    };
    runtime.block_on(cmd::run(cli, &mut out))
}
