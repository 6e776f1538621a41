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
seawall-simulation speed                             ten million events, and how long they took
";

const TABLE_SEEDS: [u64; 3] = [301, 302, 303];

#[derive(Default)]
struct Options {
    words: Vec<String>,
    seeds: Option<Vec<u64>>,
    kinds: Vec<Kind>,
    json: bool,
    small: bool,
}

fn options() -> Result<Options> {
    let mut options = Options { kinds: kinds(), ..Options::default() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Value(word) => options.words.push(word.string()?),
            Long("json") => options.json = true,
            Long("small") => options.small = true,
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
        ["speed"] => speed(&mut out)?,
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

/// Runs of one kind until ten million events have happened, on one thread.
#[expect(clippy::arithmetic_side_effects, reason = "a count of some ten million")]
fn speed(out: &mut impl Write) -> Result<()> {
    let kind = kind("fast-workers").context("it is one of the kinds")?;
    #[expect(clippy::disallowed_methods, reason = "how long the simulation itself takes")]
    let begin = std::time::Instant::now();
    let mut events = 0;
    let mut seed = 0;
    while events < 10_000_000 {
        seed += 1;
        events += World::run(&Scenario::steady(&kind, Protection::KneeQueue, 2.0, seed)).events;
    }
    let seconds = begin.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "some ten million")]
    let per_second = events as f64 / seconds / 1e6;
    writeln!(out, "{events} events in {seconds:.2} s: {per_second:.2} million per second")?;
    Ok(())
}
