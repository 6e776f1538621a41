//! Reads every instance's metrics once a second.

use std::collections::BTreeMap;
use std::time::Duration;

use seawall::backoff_with_jitter::{Advice, Backoff, IfUnknown, RetryConfig, RetryLayer};
use seawall::circuit_breaker::{BreakerConfig, CircuitBreakerLayer};
use seawall_core::{Clock as _, MonotonicClock, Verdict};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::Control;
use super::reading::Reading;
use super::view::Host;
use crate::client::{Client, ClientError};
use crate::clock;
use crate::link::Role;
use crate::services::figures;

/// Between two scrapes. The document scrapes every 15 s; a page that people watch wants more.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long one attempt may take.
const LIMIT: Duration = Duration::from_millis(900);
/// How long the edges may take to tell what is under way when everything is to end at once.
const LAST_LIMIT: Duration = Duration::from_millis(300);
const EDGE: &str = Role::Edge.name();
/// Before a scrape that broke at once is tried again.
const AGAIN: Duration = Duration::from_millis(20);
/// So many failures in a row, and an instance is left alone for a while: one that answers nothing would delay the figures
/// of all others by [`LIMIT`] each time.
const FAILURES: u32 = 3;
const LEFT_ALONE: Duration = Duration::from_secs(2);

/// Never ends.
pub(super) async fn run(control: Control) {
    let mut scraper = Scraper::new();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut begun = JoinSet::new();
        for host in control.hosts() {
            scraper.begin(&mut begun, host);
        }
        while let Some(scrape) = begun.join_next().await {
            if let Ok(Some((instance, pid, reading))) = scrape {
                let now = clock::since_start();
                control.history.send_modify(|history| history.add(&instance, pid, now, reading));
            }
        }
        let load = control.load.process();
        if let Some(pid) = load.pid {
            let now = clock::since_start();
            let reading = load.reading();
            control.history.send_modify(|history| history.add("load", pid, now, reading));
        }
    }
}

/// How many requests are under way at the edges, where every request is. One that does not say so has none.
pub(super) async fn under_way(control: &Control) -> f64 {
    let client = Client::new();
    let mut asked = JoinSet::new();
    for host in control.hosts().into_iter().filter(|host| host.role == EDGE) {
        let (client, Some(url)) = (client.clone(), host.url) else { continue };
        asked.spawn(async move { read(&client, &format!("{url}/metrics"), EDGE, LAST_LIMIT).await });
    }
    let counts = asked.join_all().await.into_iter().flatten().map(|reading| {
        let of_edge = |counts: &BTreeMap<String, f64>| counts.get(EDGE).copied().unwrap_or_default();
        of_edge(&reading.in_flight) + of_edge(&reading.waiting)
    });
    counts.sum()
}

/// Why there is no reading.
#[derive(Debug, Clone, Copy)]
enum Unread {
    /// It was waited for as long as it may be.
    Late,
    /// The connection broke, or the answer is none.
    Broken,
}

type Scrape = Option<(String, u32, Reading)>;
type When = fn(Verdict, Result<&Reading, &Unread>) -> Advice;

/// A retry for what breaks at once, and for each instance a breaker.
struct Scraper {
    client: Client,
    retry: RetryLayer<seawall_core::Env, seawall::backoff_with_jitter::CloneRequest, When>,
    breakers: BTreeMap<String, Guarded>,
}

struct Guarded {
    pid: u32,
    breaker: CircuitBreakerLayer,
}

impl Scraper {
    fn new() -> Self {
        let config = RetryConfig::new(IfUnknown::Repeat).with_attempts(2).expect("a constant in its range");
        let when: When = |_, read| if matches!(read, Err(Unread::Broken)) { Advice::Again } else { Advice::Stop };
        let retry = RetryLayer::new(config.with_backoff(Backoff::constant(AGAIN))).with_when(when);
        figures::of_retry("scrape", &retry);
        Self { client: Client::new(), retry, breakers: BTreeMap::new() }
    }

    fn begin(&mut self, begun: &mut JoinSet<Scrape>, host: Host) {
        let (Some(pid), Some(url)) = (host.pid, host.url) else { return };
        let breaker = self.breaker(&host.instance, pid);
        let (client, retry, role) = (self.client.clone(), self.retry.clone(), host.role);
        begun.spawn(async move {
            let url = format!("{url}/metrics");
            let read = breaker.run(retry.run(|| read(&client, &url, role, LIMIT))).await;
            Some((host.instance, pid, read.ok()?))
        });
    }

    /// That of this instance; a new process begins with a closed one.
    fn breaker(&mut self, instance: &str, pid: u32) -> CircuitBreakerLayer {
        let guarded = self.breakers.entry(instance.to_owned()).or_insert_with(|| {
            let config = BreakerConfig::builder().consecutive_failures(FAILURES).open_for(LEFT_ALONE);
            let config = config.max_open_for(LEFT_ALONE).build().expect("constants in their ranges");
            let breaker = CircuitBreakerLayer::new(config);
            figures::of(instance, &breaker);
            Guarded { pid, breaker }
        });
        if guarded.pid != pid {
            guarded.pid = pid;
            guarded.breaker.gate().reset(MonotonicClock.now());
        }
        guarded.breaker.clone()
    }
}

async fn read(client: &Client, url: &str, role: &str, limit: Duration) -> Result<Reading, Unread> {
    let answer = client.get(url, limit).await.map_err(|error| match error {
        ClientError::TimedOut { .. } => Unread::Late,
        _ => Unread::Broken,
    })?;
    let text = std::str::from_utf8(&answer.body).ok().filter(|_| answer.status.is_success());
    text.and_then(|text| Reading::parse(text, role).ok()).ok_or(Unread::Broken)
}
