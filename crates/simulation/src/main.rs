//! The simulation's commands: `bars`, `table`, `draw` and `speed`.
use std::{io::Write, path::PathBuf};

use anyhow::{Context, Result, bail};
use lexopt::prelude::{Long, Short, Value, ValueExt};
use seawall_simulation::{
    Kind, Protection, Scenario, Size, World, bars, charts, kind, kinds,
    table::{NAMES, table},
};

const HELP: &str = "\
seawall-simulation bars [--json] [--small] [--seeds 431,432]
                                                     every bar beside what is claimed and what was measured, on 401
                                                     to 420 by default; fails when a claim is not kept
seawall-simulation table NAME [--seeds 301,302] [--kinds a,b]
seawall-simulation draw DIR [--seeds 301]            charts as SVG files
seawall-simulation speed [--check]                   ten million events in five rounds, and how long they took; --check fails
                                                     below a million a second in the median round
";

const TABLE_SEEDS: [u64; 3] = [301, 302, 303];
const ROUNDS: u64 = 5;
const EVENTS_PER_ROUND: u64 = 2_000_000;
/// In millions a second: ten million in under ten seconds. Less than a third of what was measured on a shared machine, so
/// that what else it is at does not fail the check.
const LEAST_SPEED: f64 = 1.0;

#[derive(Default)]
struct Options {
    words: Vec<String>,
    seeds: Option<Vec<u64>>,
    kinds: Vec<Kind>,
    json: bool,
    small: bool,
    check: bool,
}

fn options() -> Result<Options> {
    let mut options = Options { kinds: kinds(), ..Options::default() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Value(word) => options.words.push(word.string()?),
            Long("json") => options.json = true,
            Long("small") => options.small = true,
            Long("check") => options.check = true,
            Long("seeds") => options.seeds = Some(list(&parser.value()?.string()?, |word| Ok(word.parse()?))?),
            Long("kinds") => {
                let named = |word: &str| kind(word).with_context(|| format!("no kind of server is named {word}"));
                options.kinds = list(&parser.value()?.string()?, named)?;
            }
            Long("help") | Short('h') => options.words.push("help".to_owned()),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

fn list<T>(text: &str, each: impl Fn(&str) -> Result<T>) -> Result<Vec<T>> {
    text.split(',').map(|word| each(word.trim())).collect()
}

fn main() -> Result<()> {
    let options = options()?;
    let words: Vec<&str> = options.words.iter().map(String::as_str).collect();
    let mut out = std::io::stdout().lock();
    match words.as_slice() {
        ["bars"] => print_bars(&options, &mut out)?,
        ["table", name] => {
            let text = table(name, &options.kinds, options.seeds.as_deref().unwrap_or(&TABLE_SEEDS))
                .with_context(|| format!("no table is named {name}; there are {}", NAMES.join(", ")))?;
            out.write_all(text.as_bytes())?;
        }
        ["draw", folder] => {
            let folder = PathBuf::from(folder);
            std::fs::create_dir_all(&folder)?;
            for (file, chart) in charts(options.seeds.unwrap_or_default().first().copied().unwrap_or(TABLE_SEEDS[0])) {
                std::fs::write(folder.join(file), chart.to_svg())?;
            }
        }
        ["speed"] => print_speed(options.check, &mut out)?,
        ["help"] => out.write_all(HELP.as_bytes())?,
        _ => bail!("what is asked for?\n{HELP}"),
    }
    Ok(())
}

fn print_bars(options: &Options, out: &mut impl Write) -> Result<()> {
    let bars = bars(if options.small { Size::Small } else { Size::Full }, options.seeds.as_deref());
    if options.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&bars)?)?;
    } else {
        for bar in &bars {
            let measured = bar.measured.map_or_else(|| "never".to_owned(), |measured| measured.to_string());
            let met = if bar.met { "met" } else { "NOT MET" };
            writeln!(out, "{met:8} {:32} {measured:>8} {:8} claimed {:6} {}", bar.id, bar.bar, bar.claimed, bar.what)?;
        }
    }
    out.flush()?;
    let broken: Vec<&str> = bars.iter().filter(|bar| !bar.kept).map(|bar| bar.id).collect();
    if broken.is_empty() { Ok(()) } else { bail!("worse than claimed: {}", broken.join(", ")) }
}

/// Events and seconds, round by round.
fn print_speed(check: bool, out: &mut impl Write) -> Result<()> {
    let kind = kind("fast-workers").context("it is one of the kinds")?;
    let rounds: Vec<(u64, f64)> = (0..ROUNDS).map(|round| round_of_speed(&kind, round)).collect();
    let events: u64 = rounds.iter().map(|(events, _)| events).sum();
    let seconds: f64 = rounds.iter().map(|(_, seconds)| seconds).sum();
    let mut speeds: Vec<f64> = rounds.iter().map(|(events, seconds)| millions(*events) / seconds).collect();
    speeds.sort_by(f64::total_cmp);
    let median = speeds.get(speeds.len() / 2).copied().unwrap_or(0.0);
    let mean = millions(events) / seconds;
    writeln!(out, "{events} events in {seconds:.2} s: {mean:.2} million per second, {median:.2} in the median round")?;
    if check && median < LEAST_SPEED {
        bail!("{median:.2} million events per second in the median round; claimed are {LEAST_SPEED} or more");
    }
    Ok(())
}

/// Runs of one kind until enough events have happened, on one thread: how many, and the seconds that they took.
#[expect(clippy::arithmetic_side_effects, reason = "a count of some two million, and seeds")]
fn round_of_speed(kind: &Kind, round: u64) -> (u64, f64) {
    #[expect(clippy::disallowed_methods, reason = "how long the simulation itself takes")]
    let begin = std::time::Instant::now();
    let (mut events, mut seed) = (0, round << 16);
    while events < EVENTS_PER_ROUND {
        seed += 1;
        events += World::run(&Scenario::steady(kind, Protection::KneeQueue, 2.0, seed)).events;
    }
    (events, begin.elapsed().as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "some ten million")]
fn millions(events: u64) -> f64 {
    events as f64 / 1e6
}
