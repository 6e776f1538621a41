//! Commands and flags.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use lexopt::Arg;

use crate::chaos::drill::DrillOptions;
use crate::config::{ConfigError, ENVIRONMENT, RunOptions, parse, rate, wrong};
use crate::link::Role;
use crate::load::LoadOptions;

/// What `four-plane help` prints.
pub const HELP: &str = include_str!("cli/help.txt");

/// One command with its flags.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// The whole stack.
    Run(Box<RunOptions>),
    /// One child process of it.
    Instance(Box<InstanceArguments>),
    /// Load from outside.
    Load(LoadOptions),
    /// Load from within: rates come in, totals go out.
    LoadDriver(LoadOptions),
    /// Faults and what the stack does about them.
    Chaos {
        /// `None`: all.
        fault: Option<String>,
        /// One JSON object a line.
        json: bool,
    },
    /// Overloads, with protection and without.
    Drill(DrillOptions),
    /// The document's scorecard.
    Score {
        /// One JSON object a line.
        json: bool,
    },
    /// The document's figures.
    Verify {
        /// One JSON object a line.
        json: bool,
        /// Where the JSON lines go; the table is printed then.
        output: Option<PathBuf>,
    },
    /// The list of commands.
    Help,
    /// Name and version.
    Version,
}

/// What the parent tells a child on its command line.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct InstanceArguments {
    /// What it does.
    pub role: Role,
    /// Its number, from 1.
    pub number: u32,
    /// Declared requests per second.
    pub capacity: f64,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The rest, as the parent got it.
    pub run: RunOptions,
}

/// Reads the command line, without the program's name.
///
/// `environment` looks a variable up; file, environment and flags are applied in this order.
///
/// # Errors
/// A [`ConfigError`] that names what is wrong.
pub fn command(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Command, ConfigError> {
    let mut words: Vec<OsString> = arguments.into_iter().collect();
    let named = words.first().is_some_and(|word| !word.to_string_lossy().starts_with('-'));
    let name = if named { words.remove(0).to_string_lossy().into_owned() } else { "run".to_owned() };
    let mut flags = lexopt::Parser::from_args(words);
    match name.as_str() {
        "run" => run(&mut flags, environment),
        "instance" => instance(&mut flags, environment),
        "load" => load(&mut flags).map(|options| options.map_or(Command::Help, Command::Load)),
        "load-driver" => load(&mut flags).map(|options| options.map_or(Command::Help, Command::LoadDriver)),
        "chaos" => chaos(&mut flags),
        "drill" => drill(&mut flags),
        "score" => {
            json_only("score", &mut flags).map(|json| json.map_or(Command::Help, |json| Command::Score { json }))
        }
        "verify" => verify(&mut flags),
        "help" => alone("help", &mut flags, Command::Help),
        "version" => alone("version", &mut flags, Command::Version),
        _ => Err(ConfigError::Command { command: name }),
    }
}

fn run(flags: &mut lexopt::Parser, environment: impl Fn(&str) -> Option<String>) -> Result<Command, ConfigError> {
    let mut file: Option<PathBuf> = None;
    let mut given = Vec::new();
    while let Some(flag) = next("run", flags)? {
        match flag.as_str() {
            "help" => return Ok(Command::Help),
            "version" => return Ok(Command::Version),
            "config" => file = Some(PathBuf::from(text("run", flags)?)),
            "listen" | "control" | "load" | "state" | "protection" | "pressure" | "database-url" | "redis-url"
            | "data" | "ready-file" | "api-rate" | "api-keys" | "trust-criticality" | "drain-grace" => {
                given.push((flag.replace('-', "_"), text("run", flags)?));
            }
            _ => return Err(unknown("run", &flag)),
        }
    }
    let mut options = RunOptions::default();
    if let Some(path) = file {
        options.read_file(&path)?;
    }
    apply_environment(&mut options, environment)?;
    for (field, text) in given {
        options.set(&field, &text)?;
    }
    Ok(Command::Run(Box::new(options)))
}

fn apply_environment(
    options: &mut RunOptions,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<(), ConfigError> {
    for (variable, field) in ENVIRONMENT {
        if let Some(text) = environment(variable).filter(|text| !text.is_empty()) {
            options.set(field, &text)?;
        }
    }
    Ok(())
}

fn instance(flags: &mut lexopt::Parser, environment: impl Fn(&str) -> Option<String>) -> Result<Command, ConfigError> {
    const NAME: &str = "instance";
    let mut run = RunOptions { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..RunOptions::default() };
    let (mut role, mut number, mut capacity) = (None, None, None);
    while let Some(flag) = next(NAME, flags)? {
        let text = text(NAME, flags)?;
        match flag.as_str() {
            "role" => {
                let allowed = "edge, gateway, catalog, recommendation or state";
                role = Some(parse::<Role>("--role", &text, allowed)?);
            }
            "instance" => number = Some(parse("--instance", &text, "a number from 1")?),
            "capacity" => capacity = Some(rate("--capacity", &text, 1.0, "1 to 100000 requests per second")?),
            "listen" | "state" | "data" | "protection" | "pressure" | "trust-criticality" | "api-rate" | "api-keys"
            | "drain-grace" => {
                run.set(&flag.replace('-', "_"), &text)?;
            }
            _ => return Err(unknown(NAME, &flag)),
        }
    }
    apply_environment(&mut run, environment)?;
    let missing = |flag, allowed| ConfigError::Missing { command: NAME, flag, allowed };
    let role = role.ok_or_else(|| missing("--role", "edge, gateway, catalog, recommendation or state"))?;
    Ok(Command::Instance(Box::new(InstanceArguments {
        role,
        number: number.ok_or_else(|| missing("--instance", "a number from 1"))?,
        capacity: capacity.unwrap_or_else(|| run.capacity.of(role)),
        listen: run.listen,
        run,
    })))
}

/// `None` when help was asked for.
fn load(flags: &mut lexopt::Parser) -> Result<Option<LoadOptions>, ConfigError> {
    const NAME: &str = "load";
    let mut options = LoadOptions::default();
    while let Some(flag) = next(NAME, flags)? {
        match flag.as_str() {
            "json" => options.json = true,
            "help" => return Ok(None),
            "url" => options.url = url(&text(NAME, flags)?)?,
            "rps" => options.rps = rate("--rps", &text(NAME, flags)?, 0.0, "0 to 100000 requests per second")?,
            "seconds" => {
                let given = text(NAME, flags)?;
                options.seconds = parse("--seconds", &given, "1 to 86400")?;
                if !(1..=86_400).contains(&options.seconds) {
                    return Err(wrong("--seconds", &given, "1 to 86400"));
                }
            }
            "seed" => options.seed = parse("--seed", &text(NAME, flags)?, "0 to 18446744073709551615")?,
            _ => return Err(unknown(NAME, &flag)),
        }
    }
    if options.url.is_empty() {
        return Err(ConfigError::Missing { command: NAME, flag: "--url", allowed: "the edge, http://HOST:PORT" });
    }
    Ok(Some(options))
}

fn url(text: &str) -> Result<String, ConfigError> {
    let parsed: http::Uri = parse("--url", text, "http://HOST:PORT")?;
    if parsed.scheme_str() == Some("http") && parsed.host().is_some_and(|host| !host.is_empty()) {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err(wrong("--url", text, "http://HOST:PORT"))
    }
}

fn chaos(flags: &mut lexopt::Parser) -> Result<Command, ConfigError> {
    const NAME: &str = "chaos";
    let (mut all, mut fault, mut json) = (false, None, false);
    while let Some(flag) = next(NAME, flags)? {
        match flag.as_str() {
            "all" => all = true,
            "json" => json = true,
            "fault" => fault = Some(text(NAME, flags)?),
            "help" => return Ok(Command::Help),
            _ => return Err(unknown(NAME, &flag)),
        }
    }
    if all == fault.is_some() {
        let allowed = "either --all or --fault NAME";
        return Err(ConfigError::Missing { command: NAME, flag: "--all", allowed });
    }
    Ok(Command::Chaos { fault, json })
}

fn drill(flags: &mut lexopt::Parser) -> Result<Command, ConfigError> {
    const NAME: &str = "drill";
    const SECONDS: &str = "1 to 600";
    let mut options = DrillOptions::default();
    while let Some(flag) = next(NAME, flags)? {
        match flag.as_str() {
            "json" => options.json = true,
            "seconds" => {
                let given = text(NAME, flags)?;
                options.seconds = parse("--seconds", &given, SECONDS)?;
                if !(1..=600).contains(&options.seconds) {
                    return Err(wrong("--seconds", &given, SECONDS));
                }
            }
            "capacity" => {
                options.capacity = rate("--capacity", &text(NAME, flags)?, 1.0, "1 to 100000 requests per second")?;
            }
            "help" => return Ok(Command::Help),
            _ => return Err(unknown(NAME, &flag)),
        }
    }
    Ok(Command::Drill(options))
}

fn verify(flags: &mut lexopt::Parser) -> Result<Command, ConfigError> {
    const NAME: &str = "verify";
    let (mut json, mut output) = (false, None);
    while let Some(flag) = next(NAME, flags)? {
        match flag.as_str() {
            "json" => json = true,
            "output" => output = Some(PathBuf::from(text(NAME, flags)?)),
            "help" => return Ok(Command::Help),
            _ => return Err(unknown(NAME, &flag)),
        }
    }
    Ok(Command::Verify { json, output })
}

/// `None` when help was asked for.
fn json_only(name: &'static str, flags: &mut lexopt::Parser) -> Result<Option<bool>, ConfigError> {
    let mut json = false;
    while let Some(flag) = next(name, flags)? {
        match flag.as_str() {
            "json" => json = true,
            "help" => return Ok(None),
            _ => return Err(unknown(name, &flag)),
        }
    }
    Ok(Some(json))
}

/// For a command that takes nothing.
fn alone(name: &'static str, flags: &mut lexopt::Parser, command: Command) -> Result<Command, ConfigError> {
    next(name, flags)?.map_or(Ok(command), |flag| Err(unknown(name, &flag)))
}

fn next(command: &'static str, flags: &mut lexopt::Parser) -> Result<Option<String>, ConfigError> {
    match flags.next() {
        Ok(None) => Ok(None),
        Ok(Some(Arg::Long(name))) => Ok(Some(name.to_owned())),
        Ok(Some(Arg::Short('h'))) => Ok(Some("help".to_owned())),
        Ok(Some(Arg::Short(letter))) => Err(unknown(command, &letter.to_string())),
        Ok(Some(Arg::Value(word))) => {
            Err(ConfigError::Flag { command, cause: format!("unexpected argument {:?}", word.to_string_lossy()) })
        }
        Err(error) => Err(ConfigError::Flag { command, cause: error.to_string() }),
    }
}

fn text(command: &'static str, flags: &mut lexopt::Parser) -> Result<String, ConfigError> {
    let word = flags.value().map_err(|error| ConfigError::Flag { command, cause: error.to_string() })?;
    Ok(word.to_string_lossy().into_owned())
}

fn unknown(command: &'static str, flag: &str) -> ConfigError {
    let dashes = if flag.chars().count() == 1 { "-" } else { "--" };
    ConfigError::Flag { command, cause: format!("unknown flag {dashes}{flag}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, ConfigError> {
        command(line.split_whitespace().map(OsString::from), |_| None)
    }

    fn message(line: &str) -> String {
        read(line).unwrap_err().to_string()
    }

    #[test]
    fn no_arguments_run_the_stack_with_the_defaults() {
        assert_eq!(read("").unwrap(), Command::Run(Box::default()));
        assert_eq!(read("run").unwrap(), Command::Run(Box::default()));
    }

    #[test]
    fn flags_win_over_the_environment() {
        let environment = |name: &str| (name == "FOUR_PLANE_REDIS_URL").then(|| "redis://one:1".to_owned());

        let Command::Run(from_environment) = command([], environment).unwrap() else { panic!("not a run") };
        let flags = ["--redis-url", "redis://two:2"].map(OsString::from);
        let Command::Run(from_flag) = command(flags, environment).unwrap() else { panic!("not a run") };

        assert_eq!(from_environment.instance.redis_url.as_deref(), Some("redis://one:1"));
        assert_eq!(from_flag.instance.redis_url.as_deref(), Some("redis://two:2"));
    }

    #[test]
    fn callers_are_trusted_when_a_flag_says_so() {
        let trusting = |line| match read(line).unwrap() {
            Command::Run(options) => options.instance.trust_criticality,
            other => panic!("{other:?}"),
        };

        assert_eq!((trusting("run"), trusting("run --trust-criticality true")), (false, true));
    }

    #[test]
    fn every_command_helps() {
        for name in ["", "run", "load", "chaos", "drill", "score", "verify"] {
            assert_eq!(read(&format!("{name} --help")).unwrap(), Command::Help, "{name}");
        }
    }

    #[test]
    fn each_mistake_is_named() {
        for (line, expected) in [
            ("fly", "command is \"fly\"; allowed are run, load, chaos, drill, score, verify, help, version"),
            ("--lisen 1", "run: unknown flag --lisen; `four-plane help` lists what is allowed"),
            ("help --lisen", "help: unknown flag --lisen; `four-plane help` lists what is allowed"),
            ("version now", "version: unexpected argument \"now\"; `four-plane help` lists what is allowed"),
            ("run -x", "run: unknown flag -x; `four-plane help` lists what is allowed"),
            ("run now", "run: unexpected argument \"now\"; `four-plane help` lists what is allowed"),
            ("--load", "run: missing argument for option '--load'; `four-plane help` lists what is allowed"),
            ("--trust-criticality yes", "trust_criticality is \"yes\"; allowed is true or false"),
            ("--load many", "load is \"many\"; allowed is 0 to 100000 requests per second"),
            ("load", "load: --url is missing; allowed is the edge, http://HOST:PORT"),
            ("load --url ftp://x", "--url is \"ftp://x\"; allowed is http://HOST:PORT"),
            ("load --url http://x --seconds 0", "--seconds is \"0\"; allowed is 1 to 86400"),
            ("drill --seconds 601", "--seconds is \"601\"; allowed is 1 to 600"),
            ("drill --capacity 0", "--capacity is \"0\"; allowed is 1 to 100000 requests per second"),
            ("chaos", "chaos: --all is missing; allowed is either --all or --fault NAME"),
            ("instance --role cdn", "--role is \"cdn\"; allowed is edge, gateway, catalog, recommendation or state"),
        ] {
            assert_eq!(message(line), expected);
        }
    }

    #[test]
    fn an_instance_gets_its_role_number_and_capacity() {
        let Command::Instance(it) = read("instance --role catalog --instance 2 --capacity 500").unwrap() else {
            panic!("not an instance")
        };

        assert_eq!((it.role, it.number, it.listen.port()), (Role::Catalog, 2, 0));
        assert!((it.capacity - 500.0).abs() < f64::EPSILON);
    }
}
