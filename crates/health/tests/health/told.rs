//! A check that answers as it is told, and time that passes.

use std::sync::mpsc::Receiver;
use std::sync::mpsc::channel;
use std::time::Duration;

use seawall_core::{Env, VirtualClock};
use seawall_health::{CheckReport, Health, RecoveryAction, RecoveryEdge, Registry};
use tokio::sync::watch;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) type TestEnv = Env<VirtualClock>;

/// A check that answers as it is told.
#[derive(Clone)]
pub(crate) struct Told(watch::Sender<Result<(), &'static str>>);

impl Told {
    pub(crate) fn passing() -> Self {
        Self(watch::Sender::new(Ok(())))
    }

    pub(crate) fn fails(&self) {
        self.0.send_modify(|answer| *answer = Err("refused"));
    }

    pub(crate) fn passes(&self) {
        self.0.send_modify(|answer| *answer = Ok(()));
    }

    pub(crate) fn check(&self) -> impl Fn() -> std::future::Ready<Result<(), &'static str>> + Send + Sync + 'static {
        let told = self.0.clone();
        move || std::future::ready(*told.borrow())
    }
}

pub(crate) fn registry() -> (Registry<TestEnv>, VirtualClock) {
    let clock = VirtualClock::new();
    (Registry::with_env(Env::new().with_clock(clock.clone())), clock)
}

pub(crate) async fn start(checks: Registry<TestEnv>) -> Health<TestEnv> {
    let health = checks.spawn(|task| {
        tokio::spawn(task);
    });
    settle().await;
    health
}

/// Lets every task run until it sleeps.
pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn pass_time(clock: &VirtualClock, seconds: u64) {
    for _ in 0..seconds {
        clock.advance(SECOND);
        settle().await;
    }
}

pub(crate) fn check(health: &Health<TestEnv>, name: &str) -> CheckReport {
    health.report().checks.into_iter().find(|check| check.name == name).expect("it is registered")
}

pub(crate) fn edges(checks: &mut Registry<TestEnv>, action: RecoveryAction) -> Receiver<RecoveryEdge> {
    let (sender, receiver) = channel();
    checks.on_recovery(action, move |edge| sender.send(edge).expect("the test listens"));
    receiver
}
