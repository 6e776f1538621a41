//! Prints what a server on one core still does when it is asked for more than it can, with each protection.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command: its output is the result")]

use std::{process::ExitCode, time::Duration};

use lexopt::prelude::*;
use seawall_benches::overload::{
    driver,
    protection::{self, ALL},
    server::{self, CORES, Server},
    work::Work,
};

const USAGE: &str = "overload [--json] [--seconds N] [--only PART]

  --json       one JSON object a row instead of a table
  --seconds N  how long each load is counted, default 10
  --only PART  only the protections whose name contains PART";

/// What is sent, as multiples of what the server can do.
const MULTIPLES: [f64; 4] = [1.0, 2.0, 5.0, 10.0];
/// A load that loads nothing.
const UNLOADED: f64 = 0.2;
/// Of one core, a request.
const WORK: Duration = Duration::from_millis(2);

#[derive(Debug)]
struct Arguments {
    json: bool,
    seconds: u32,
    only: String,
    serve: Option<String>,
    work: Work,
}

fn parse() -> Result<Arguments, lexopt::Error> {
    let work = Work { steps: 1, slices: 1 };
    let mut arguments = Arguments { json: false, seconds: 10, only: String::new(), serve: None, work };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("json") => arguments.json = true,
            Long("seconds") => arguments.seconds = parser.value()?.parse()?,
            Long("only") => arguments.only = parser.value()?.string()?,
            // What the driver starts.
            Long("serve") => arguments.serve = Some(parser.value()?.string()?),
            Long("steps") => arguments.work.steps = parser.value()?.parse()?,
            Long("slices") => arguments.work.slices = parser.value()?.parse()?,
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
    let done = parse().map_err(|error| format!("{error}\n{USAGE}")).and_then(|arguments| match &arguments.serve {
        Some(name) => match protection::named(name) {
            Some(make) => server::serve(&make(arguments.work)).map_err(|error| error.to_string()),
            None => Err(format!("no protection is called {name}")),
        },
        None => drive(&arguments).map_err(|error| error.to_string()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("overload: {error}");
            ExitCode::from(2)
        }
    }
}

fn drive(arguments: &Arguments) -> std::io::Result<()> {
    // On the server's core, where the work will be done.
    let apart = server::keep_to(CORES[0]);
    let work = Work::taking(WORK);
    let apart = apart && server::keep_to(CORES[1]);
    if !apart {
        eprintln!("overload: server and driver share their cores: the system keeps no thread to one");
    }
    let time = Duration::from_secs(arguments.seconds.max(1).into());
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let bare = Server::start(ALL[0].0, work)?;
        let capacity = driver::capacity(bare.address, time).await;
        let unloaded = driver::open_loop(bare.address, capacity * UNLOADED, time, 1).await.p99;
        drop(bare);
        eprintln!("overload: the server answers {capacity:.0} requests a second");
        if !arguments.json {
            println!("protection                          multiple  offered/s  goodput/s  of capacity    p50 ms    p99 ms  refused in ms");
        }
        for (name, _) in ALL.iter().filter(|(name, _)| name.contains(&arguments.only)) {
            let server = Server::start(name, work)?;
            for (multiple, seed) in MULTIPLES.into_iter().zip(2..) {
                let outcome = driver::open_loop(server.address, capacity * multiple, time, seed).await;
                let row = outcome.json(name, multiple, capacity, unloaded);
                if arguments.json {
                    println!("{row}");
                } else {
                    println!(
                        "{name:<34}  {multiple:>8}  {:>9}  {:>9}  {:>11}  {:>8}  {:>8}  {:>13}",
                        row["offered_rps"], row["goodput_rps"], row["goodput_of_capacity"], row["p50_ms"],
                        row["p99_ms"], row["refused_p50_ms"],
                    );
                }
            }
        }
        Ok(())
    })
}
