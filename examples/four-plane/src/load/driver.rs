//! The built-in load: a child process of its own, so that sending does not disturb the control plane.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use super::LoadTotals;
use crate::control::events::{Events, Severity};
use crate::supervisor::process::{Pipes, Process};

/// Before a load that ended is started again.
const RESTART: Duration = Duration::from_secs(1);

/// The load's process as it is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LoadProcess {
    pub(crate) pid: Option<u32>,
    pub(crate) restarts: u32,
    /// What the present process counted.
    totals: LoadTotals,
    /// What the processes before it counted.
    earlier: LoadTotals,
}

impl LoadProcess {
    /// The present process's counts as a scrape.
    pub(crate) fn reading(&self) -> crate::control::Reading {
        let LoadTotals { ok, degraded, shed, failed, .. } = self.totals;
        let line = |outcome, count| format!("four_plane_requests_total{{outcome=\"{outcome}\"}} {count}\n");
        let text = [("ok", ok), ("degraded", degraded), ("shed", shed), ("error", failed)];
        let text = text.map(|(outcome, count)| line(outcome, count)).concat();
        crate::control::Reading::parse(&text, "load").expect("written right here")
    }
}

/// The handle to the load. Clones steer the same one.
#[derive(Debug, Clone)]
pub struct LoadDriver {
    rate: Arc<watch::Sender<f64>>,
    process: watch::Receiver<LoadProcess>,
    stop: Arc<watch::Sender<bool>>,
}

impl LoadDriver {
    /// Starts a load on an edge, at rate 0.
    pub fn start(binary: PathBuf, url: String, events: Events) -> Self {
        let rate = Arc::new(watch::Sender::new(0.0));
        let stop = Arc::new(watch::Sender::new(false));
        let (process_in, process) = watch::channel(LoadProcess::default());
        tokio::spawn(keep(binary, url, events, rate.subscribe(), process_in, stop.subscribe()));
        Self { rate, process, stop }
    }

    /// Requests per second from here on.
    pub fn set_rate(&self, per_second: f64) {
        self.rate.send_if_modified(|rate| {
            let differs = rate.total_cmp(&per_second).is_ne();
            *rate = per_second;
            differs
        });
    }

    /// Requests per second that are asked for.
    pub fn rate(&self) -> f64 {
        *self.rate.borrow()
    }

    /// Counts since the stack began.
    pub fn totals(&self) -> LoadTotals {
        let process = self.process.borrow();
        sum(&process.earlier, &process.totals)
    }

    pub(crate) fn process(&self) -> LoadProcess {
        *self.process.borrow()
    }

    /// Stops it and returns when its process has ended.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let mut process = self.process.clone();
        // An error means that the keeping task is gone, and the process with it.
        let _gone = process.wait_for(|process| process.pid.is_none()).await;
    }
}

fn sum(a: &LoadTotals, b: &LoadTotals) -> LoadTotals {
    LoadTotals {
        sent: a.sent.saturating_add(b.sent),
        ok: a.ok.saturating_add(b.ok),
        degraded: a.degraded.saturating_add(b.degraded),
        shed: a.shed.saturating_add(b.shed),
        failed: a.failed.saturating_add(b.failed),
        ..*b
    }
}

async fn keep(
    binary: PathBuf,
    url: String,
    events: Events,
    rate: watch::Receiver<f64>,
    process: watch::Sender<LoadProcess>,
    mut stop: watch::Receiver<bool>,
) {
    let arguments = ["load-driver", "--rps", "0", "--url", &url].map(OsString::from);
    loop {
        match Process::start(&binary, &arguments, &[]) {
            Ok((running, pipes)) => {
                process.send_modify(|process| process.pid = Some(running.pid()));
                attend(pipes, rate.clone(), &process, &mut stop).await;
            }
            Err(error) => events.add(Severity::Error, "control", format!("the load cannot be started: {error}")),
        }
        process.send_modify(|process| {
            process.earlier = sum(&process.earlier, &process.totals);
            process.totals = LoadTotals::default();
            process.pid = None;
        });
        if *stop.borrow() {
            return;
        }
        events.add(Severity::Warn, "control", "the load's process ended; starting it again");
        tokio::select! {
            () = tokio::time::sleep(RESTART) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        process.send_modify(|process| process.restarts = process.restarts.saturating_add(1));
    }
}

/// Returns when the process has ended.
async fn attend(
    pipes: Pipes,
    mut rate: watch::Receiver<f64>,
    process: &watch::Sender<LoadProcess>,
    stop: &mut watch::Receiver<bool>,
) {
    let Pipes { mut input, mut lines, ended, .. } = pipes;
    let steering = tokio::spawn(async move {
        loop {
            let line = format!("{}\n", *rate.borrow_and_update());
            if input.write_all(line.as_bytes()).await.is_err() || rate.changed().await.is_err() {
                return;
            }
        }
    });
    let reading = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Ok(totals) = serde_json::from_str(&line) {
                process.send_modify(|process| process.totals = totals);
            }
        }
    };
    tokio::select! {
        () = reading => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    // Closes the pipe, which ends the process.
    steering.abort();
    let _status = ended.await;
}
