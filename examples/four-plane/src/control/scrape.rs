//! Reads every instance's metrics once a second.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::Control;
use super::reading::Reading;
use crate::client::Client;
use crate::clock;

/// Between two scrapes. The document scrapes every 15 s; a page that people watch wants more.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long one scrape may take.
const LIMIT: Duration = Duration::from_millis(900);

/// Never ends.
pub(super) async fn run(control: Control) {
    let client = Client::new();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut scrapes = JoinSet::new();
        for host in control.hosts() {
            let (Some(pid), Some(url)) = (host.pid, host.url) else { continue };
            let client = client.clone();
            scrapes.spawn(async move {
                let answer = client.get(&format!("{url}/metrics"), LIMIT).await.ok()?;
                let text = std::str::from_utf8(&answer.body).ok().filter(|_| answer.status.is_success())?;
                Some((host.instance, pid, Reading::parse(text, host.role)))
            });
        }
        while let Some(scrape) = scrapes.join_next().await {
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
