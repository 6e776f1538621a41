//! The two commands: a load that ends with a report, and one that is driven by the parent.

use std::io::{BufRead, Write};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::LoadOptions;
use super::engine::{self, Happened};
use super::tally::{LoadReport, Tally};
use crate::client::{Client, ClientError};
use crate::clock;
use crate::config::ConfigError;
use crate::say;

/// How long the first request may take: it only shows that somebody listens.
const FIRST: Duration = Duration::from_secs(5);
/// Between two lines of the driven load.
const LINES: Duration = Duration::from_millis(500);
/// Lines in a second.
const LINES_PER_SECOND: u32 = 2;

/// Sends for as long as asked, or until `stop`, and returns what it came to.
///
/// # Errors
/// [`ConfigError::Unreachable`] when nobody listens at the URL.
pub async fn run(options: &LoadOptions, stop: impl Future<Output = ()>) -> Result<LoadReport, ConfigError> {
    reach(&options.url).await?;
    let (rate, rates) = watch::channel(options.rps);
    let mut happened = engine::start(options, rates);
    let begin = clock::since_start();
    let mut tally = Tally::new();
    let over = async {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(options.seconds.into())) => {}
            () = stop => {}
        }
        drop(rate);
    };
    let counting = async {
        while let Some(event) = happened.recv().await {
            count(&mut tally, event);
        }
    };
    tokio::join!(over, counting);
    Ok(tally.report(clock::since_start().saturating_sub(begin).as_secs_f64()))
}

/// `four-plane load`: sends, and prints what it came to; Ctrl-C ends it early with the report so far.
///
/// # Errors
/// As [`run`].
pub async fn command(options: &LoadOptions) -> anyhow::Result<()> {
    let stop = async {
        // Without the signal's handler the load just runs for its time.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let report = run(options, stop).await?;
    if options.json {
        say::out(serde_json::to_string(&report)?);
    } else {
        say::out(report.table());
    }
    Ok(())
}

async fn reach(url: &str) -> Result<(), ConfigError> {
    // Any answer will do, also an error status or a slow one: somebody listens.
    let Err(error @ ClientError::Connect(_)) = Client::new().get(&format!("{url}/"), FIRST).await else {
        return Ok(());
    };
    let uri: http::Uri = url.parse().unwrap_or_default();
    let (host, port) = (uri.host().unwrap_or_default().to_owned(), uri.port_u16().unwrap_or(80));
    Err(ConfigError::Unreachable { field: "--url", host, port, cause: std::io::Error::other(error) })
}

fn count(tally: &mut Tally, event: Happened) {
    match event {
        Happened::Due => tally.due(),
        Happened::Ended(ended) => tally.ended(ended),
    }
}

/// Prints totals twice a second, one JSON object a line; rates come in, one number a line; ends when the input does.
///
/// # Errors
/// When the thread that reads the rates cannot be started.
pub async fn drive(options: &LoadOptions) -> anyhow::Result<()> {
    let (rate, rates) = watch::channel(options.rps);
    std::thread::Builder::new().name("rates".to_owned()).spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Ok(per_second) = line.trim().parse::<f64>() {
                rate.send_replace(per_second);
            }
        }
        // The parent is gone: so is the reason to run.
        std::process::exit(0);
    })?;
    let happened = engine::start(options, rates);
    print_totals(happened).await
}

async fn print_totals(mut happened: mpsc::Receiver<Happened>) -> anyhow::Result<()> {
    let mut tally = Tally::new();
    let mut ticks = tokio::time::interval(LINES);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lines: u32 = 0;
    loop {
        tokio::select! {
            event = happened.recv() => match event {
                Some(event) => count(&mut tally, event),
                None => return Ok(()),
            },
            _ = ticks.tick() => {
                lines = lines.wrapping_add(1);
                if lines.is_multiple_of(LINES_PER_SECOND) {
                    tally.tick();
                }
                let line = serde_json::to_string(&tally.totals())? + "\n";
                let mut output = std::io::stdout().lock();
                output.write_all(line.as_bytes())?;
                output.flush()?;
            }
        }
    }
}

impl LoadReport {
    /// Requests without an answer; they are among the failed ones.
    pub fn unanswered(&self) -> u64 {
        let unanswered = self.statuses.iter().filter(|(status, _)| status.parse::<u16>().is_err());
        unanswered.map(|(_, count)| *count).fold(0, u64::saturating_add)
    }

    /// The report for people.
    pub fn table(&self) -> String {
        let shown = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.1} ms"));
        let totals = &self.totals;
        let statuses: Vec<_> = self.statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        format!(
            "sent      {}\nok        {}\ndegraded  {}\nshed      {}\nfailed    {}\np50       {}\np99       {}\nmax       {}\nseconds   {:.1}\nstatuses  {}",
            totals.sent,
            totals.ok,
            totals.degraded,
            totals.shed,
            totals.failed,
            shown(totals.p50_ms),
            shown(totals.p99_ms),
            shown(self.max_ms),
            self.seconds,
            statuses.join(", "),
        )
    }
}
