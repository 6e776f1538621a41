//! The reference stack's one binary: reads the command line and hands over.

use std::process::ExitCode;

use four_plane::cli::{self, Command};
use four_plane::config::ConfigError;
use four_plane::{chaos, load, run, say, score, supervisor, verify};

/// What the user asked for cannot be done as asked.
const MISTAKE: u8 = 2;

fn main() -> ExitCode {
    let environment = |name: &str| std::env::var(name).ok();
    let outcome = cli::command(std::env::args_os().skip(1), environment).map_err(Into::into).and_then(execute);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::err(format_args!("four-plane: {error:#}"));
            if std::env::args_os().nth(1).is_some_and(|command| command == "instance") {
                supervisor::child::failed(&error);
            }
            if error.is::<ConfigError>() { ExitCode::from(MISTAKE) } else { ExitCode::FAILURE }
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(dispatch(command));
    // Whatever still runs belongs to a command that is over.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(options) => run::run(*options).await,
        Command::Instance(arguments) => supervisor::child::serve(*arguments).await,
        Command::Load(options) => load::command(&options).await,
        Command::LoadDriver(options) => load::drive(&options).await,
        Command::Chaos { fault, json } => chaos::run(fault.as_deref(), json).await,
        Command::Drill(options) => chaos::drill::run(&options).await,
        Command::Score { json } => score::run(json).await,
        Command::Verify { json, output } => verify::run(json, output.as_deref()).await,
        Command::Version => {
            say::out(format_args!("four-plane {}", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        _ => {
            say::out(cli::HELP.trim_end());
            Ok(())
        }
    }
}
