//! The control plane: status, faults, events and the page, over HTTP.

pub mod events;
mod exposition;
pub mod faults;
mod history;
mod http;
mod reading;
mod scrape;
mod status;
mod view;

use std::time::Duration;

use tokio::sync::watch;

use self::events::{Events, Severity};
use self::faults::Faults;
use self::history::History;
use self::status::{FaultStatus, LoadStatus, Parts, Status};
use self::view::{Host, View};
use crate::clock;
use crate::link::{Fault, FaultKind, Role};
use crate::load::driver::LoadDriver;
use crate::supervisor::{Plan, Supervisor};

pub(crate) use self::exposition::{Malformed, samples};
pub use self::http::routes;
pub(crate) use self::reading::Reading;

/// How often faults are checked for their end.
const EXPIRY: Duration = Duration::from_millis(100);

/// Everything that the control plane knows and can do. Clones share it.
#[derive(Debug, Clone)]
pub struct Control {
    pub(crate) supervisor: Supervisor,
    pub(crate) events: Events,
    pub(crate) faults: Faults,
    pub(crate) load: LoadDriver,
    pub(crate) edge: String,
    pub(crate) own_url: String,
    /// Requests per second that all edge processes declare together.
    edge_capacity: f64,
    base_load: f64,
    history: watch::Sender<History>,
    /// Turns true when the parent drains: streams end.
    pub(crate) draining: watch::Receiver<bool>,
}

/// What a control plane is made for.
#[derive(Debug)]
#[non_exhaustive]
pub struct Setting {
    /// The edge's URL.
    pub edge: String,
    /// The control plane's own URL.
    pub own_url: String,
    /// Requests per second that one edge process declares.
    pub edge_capacity: f64,
    /// Requests per second of the built-in load.
    pub base_load: f64,
    /// Turns true when the parent drains.
    pub draining: watch::Receiver<bool>,
}

impl Setting {
    /// All of it.
    pub const fn new(
        edge: String,
        own_url: String,
        edge_capacity: f64,
        base_load: f64,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Self { edge, own_url, edge_capacity, base_load, draining }
    }
}

impl Control {
    /// A control plane over a running supervisor and load.
    pub fn new(setting: Setting, supervisor: Supervisor, events: Events, load: LoadDriver) -> Self {
        let edges = f64::from(Plan::count(Role::Edge));
        Self {
            supervisor,
            events,
            faults: Faults::new(),
            load,
            edge: setting.edge,
            own_url: setting.own_url,
            edge_capacity: setting.edge_capacity * edges,
            base_load: setting.base_load,
            history: watch::Sender::new(History::default()),
            draining: setting.draining,
        }
    }

    /// How many requests are under way, as far as the edges say so within 0.3 s.
    pub(crate) async fn under_way(&self) -> f64 {
        scrape::under_way(self).await
    }

    /// Scrapes, and carries the faults out, until the process ends.
    pub async fn work(self) {
        let scraping = scrape::run(self.clone());
        let enforcing = self.enforce();
        tokio::join!(scraping, enforcing);
    }

    /// Tells everyone concerned which faults are active, whenever that changes.
    async fn enforce(&self) {
        loop {
            let changed = self.faults.changes();
            let active = self.faults.active();
            let overload = active.iter().filter(|active| active.fault.kind == FaultKind::Overload);
            let multiple = overload.map(|active| active.fault.value).fold(0.0, f64::max);
            self.load.set_rate((multiple * self.edge_capacity).max(self.base_load));
            let injected = active.into_iter().map(|active| active.fault);
            let injected = injected.filter(|fault| fault.kind != FaultKind::Overload).collect();
            self.supervisor.set_faults(injected).await;
            tokio::select! {
                () = changed => {}
                () = self.expiry() => {}
            }
        }
    }

    /// Returns when a fault has come to its end.
    async fn expiry(&self) {
        loop {
            tokio::time::sleep(EXPIRY).await;
            let over = self.faults.expire(clock::since_start());
            for fault in &over {
                self.events.add(Severity::Info, "control", format!("{} is over", describe(fault)));
            }
            if !over.is_empty() {
                return;
            }
        }
    }

    /// The processes that the status shows.
    fn hosts(&self) -> Vec<Host> {
        let mut hosts = Host::all(&self.supervisor.roster());
        hosts.push(Host {
            instance: "control".to_owned(),
            role: "control",
            pid: Some(std::process::id()),
            url: Some(self.own_url.clone()),
            health: "pass",
            restarts: 0,
        });
        let load = self.load.process();
        hosts.push(Host {
            instance: "load".to_owned(),
            role: "load",
            pid: load.pid,
            url: None,
            health: if load.pid.is_some() { "pass" } else { "down" },
            restarts: load.restarts,
        });
        hosts
    }

    /// The status document.
    pub(crate) fn status(&self) -> Status {
        let (now, hosts, history) = (clock::since_start(), self.hosts(), self.history.borrow());
        let view = View { history: &history, hosts: &hosts, now };
        let parts = self.supervisor.roster().state().cloned();
        let (database, cache) =
            parts.map_or_else(|| ("starting".to_owned(), "starting".to_owned()), |parts| (parts.database, parts.cache));
        Status {
            now_ms: clock::unix_ms(),
            uptime_s: now.as_secs_f64(),
            edge: self.edge.clone(),
            edge_capacity_rps: self.edge_capacity,
            state: Parts { database, cache },
            load: LoadStatus { target_rps: self.load.rate(), totals: self.load.totals() },
            planes: view.planes(),
            links: view.links(),
            faults: self.faults.active().iter().map(|active| FaultStatus::new(active, now)).collect(),
            events: self.events.recent(),
        }
    }
}

/// A fault in words.
pub(crate) fn describe(fault: &Fault) -> String {
    let Fault { kind, target, value, .. } = fault;
    match kind {
        FaultKind::Kill => format!("kill of {target}"),
        FaultKind::Latency => format!("latency of {value} ms on {target}"),
        FaultKind::Error => format!("errors in {value} of the calls to {target}"),
        FaultKind::Hang => format!("hang of {target}"),
        FaultKind::Refuse => format!("refused connections to {target}"),
        FaultKind::Trickle => format!("answers of {target} at {value} bytes per second"),
        FaultKind::Flush => format!("emptying of {target}"),
        FaultKind::Overload => format!("overload of {target} by {value} times its capacity"),
    }
}
