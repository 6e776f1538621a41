//! Prints what each layer costs, beside its peers in the same run.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command: its output is the result")]

use std::{alloc::System, process::ExitCode};

use lexopt::prelude::*;
use seawall_benches::{
    bars, instructions,
    measure::{self, Effort},
    report,
    rows::{self, Row},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const USAGE: &str = "seawall-benches [--json] [--check] [--only PART] | --lateness

  --json       one JSON object a row instead of a table
  --check      exit with 1 when a row allocates, or takes more instructions than it did
  --only PART  only the rows whose name contains PART
  --lateness   how late sleepers are woken while every core is busy, beside tokio's";

#[derive(Default)]
struct Arguments {
    json: bool,
    check: bool,
    only: String,
    count: Option<String>,
    lateness: bool,
}

fn parse() -> Result<Arguments, lexopt::Error> {
    let mut arguments = Arguments::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("json") => arguments.json = true,
            Long("check") => arguments.check = true,
            Long("only") => arguments.only = parser.value()?.string()?,
            // What valgrind runs: one row, a fixed number of calls.
            Long("count") => arguments.count = Some(parser.value()?.string()?),
            Long("lateness") => arguments.lateness = true,
            Long("help") => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("seawall-benches: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if arguments.lateness {
        return lateness();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("seawall-benches: no runtime: {error}");
            return ExitCode::from(2);
        }
    };
    let rows: Vec<Row> = rows::all();
    if let Some(name) = &arguments.count {
        return count(&rows, name, runtime.handle());
    }
    run(&rows, &arguments, runtime.handle())
}

fn lateness() -> ExitCode {
    match seawall_benches::lateness::measure() {
        Ok(measured) => {
            for timer in measured {
                println!("{timer}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("seawall-benches: no runtime: {error}");
            ExitCode::from(2)
        }
    }
}

/// One row under valgrind: set up and warmed outside of what is counted.
fn count(rows: &[Row], name: &str, runtime: &tokio::runtime::Handle) -> ExitCode {
    let Some(row) = rows.iter().find(|row| row.name == name) else {
        eprintln!("seawall-benches: no row is called {name}");
        return ExitCode::from(2);
    };
    let _context = runtime.enter();
    let mut operation = (row.ours.make)();
    operation.run(instructions::COUNTED_CALLS);
    instructions::counted_calls(&mut *operation);
    ExitCode::SUCCESS
}

fn run(rows: &[Row], arguments: &Arguments, runtime: &tokio::runtime::Handle) -> ExitCode {
    if !rows.iter().any(|row| row.name.contains(&arguments.only)) {
        let names: Vec<_> = rows.iter().map(|row| row.name).collect();
        eprintln!("seawall-benches: --only {:?} is in no row's name; there are {}", arguments.only, names.join(", "));
        return ExitCode::from(2);
    }
    let (mut missed, mut figures) = (Vec::new(), Vec::new());
    for row in rows.iter().filter(|row| row.name.contains(&arguments.only)) {
        let measured = measure::row(row, Effort::FULL, runtime);
        let beneath = if row.over_bare_call { instructions::per_call(row.beneath.name) } else { None };
        let instructions = instructions::per_call(row.name).map(|count| count - beneath.unwrap_or(0.0));
        if arguments.json {
            println!("{}", report::json(row, &measured, instructions));
        } else {
            println!("{}", report::text(row, &measured, instructions));
        }
        missed.extend(bars::missed(row, &measured, instructions));
        figures.push((row.name, measured, instructions));
    }
    missed.extend(bars::apart(&figures));
    for miss in &missed {
        eprintln!("{}: {miss}", if miss.fatal { "regression" } else { "missed" });
    }
    if arguments.check && missed.iter().any(|miss| miss.fatal) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
