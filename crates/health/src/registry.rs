use std::{fmt, sync::Arc};

use seawall_core::{Env, Environment, Timer};

use crate::{
    Check, CheckConfig, CheckKind, Health, HealthError, Phase, RecoveryAction, RecoveryEdge, StatusChange,
    entry::Entry,
    health::Inner,
    phase::Life,
    report::Service,
    runner::{Task, tasks},
};

/// Hears what changes.
pub(crate) type Listener = Box<dyn Fn(&StatusChange<'_>) + Send + Sync>;

/// The checks of one process, before they are started.
///
/// # Examples
/// ```
/// use seawall_health::{CheckConfig, RecoveryAction, RecoveryEdge, Registry};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), seawall_health::HealthError> {
/// let mut checks = Registry::new();
/// checks.register("catalog", CheckConfig::application(), || async { Ok::<_, std::io::Error>(()) })?;
/// checks.on_recovery(RecoveryAction::RemoveFromPool, |edge| match edge {
///     RecoveryEdge::Begin => println!("out of the pool"),
///     RecoveryEdge::End => println!("back in the pool"),
/// });
///
/// let health = checks.spawn(|task| {
///     tokio::spawn(task);
/// });
///
/// assert_eq!(health.report().ready_answer().status, 503); // it has not run yet
/// # tokio::task::yield_now().await;
/// assert_eq!(health.report().ready_answer().status, 200);
/// # Ok(())
/// # }
/// ```
pub struct Registry<E = Env> {
    env: E,
    entries: Vec<Entry>,
    listeners: Vec<Listener>,
    service: Service,
}

impl Registry {
    /// A registry in the default environment.
    pub const fn new() -> Self {
        Self::with_env(Env::new())
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> Registry<E> {
    /// A registry with a clock and entropy of its own.
    pub const fn with_env(env: E) -> Self {
        Self { env, entries: Vec::new(), listeners: Vec::new(), service: Service { id: None, version: None } }
    }

    /// Names the service and its version in answers.
    #[must_use]
    pub fn with_service(mut self, id: impl Into<String>, version: impl Into<String>) -> Self {
        self.service = Service { id: Some(id.into()), version: Some(version.into()) };
        self
    }

    /// Adds a check. Its name is its key in answers: `component` or `component:measurement`.
    ///
    /// # Errors
    /// A setting that is out of its range, [`HealthError::NoName`] or [`HealthError::Duplicate`].
    pub fn register(
        &mut self,
        name: impl Into<String>,
        config: CheckConfig,
        check: impl Check,
    ) -> Result<(), HealthError> {
        config.validate()?;
        let name = name.into();
        if name.is_empty() {
            return Err(HealthError::NoName);
        }
        if self.entries.iter().any(|entry| entry.name == name) {
            return Err(HealthError::Duplicate { name });
        }
        self.entries.push(Entry::new(name, config, Box::new(check)));
        Ok(())
    }

    /// Calls `listener` whenever the status of a check changes. The changes of one check come one after the other and
    /// in order. A listener that panics is ignored; one that waits holds up the check.
    pub fn on_change(&mut self, listener: impl Fn(&StatusChange<'_>) + Send + Sync + 'static) {
        self.listeners.push(Box::new(listener));
    }

    /// Calls `act` when a check with this action begins to fail, and when it ends: once each, however often the check
    /// runs in between. With several such checks, each calls for itself.
    pub fn on_recovery(&mut self, action: RecoveryAction, act: impl Fn(RecoveryEdge) + Send + Sync + 'static) {
        self.on_change(move |change| {
            if let Some(edge) = change.edge().filter(|_| change.action == Some(action)) {
                act(edge);
            }
        });
    }
}

impl<E: Environment<Clock: Timer>> Registry<E> {
    /// Starts the checks: `spawn` gets one task for each, and one that watches over all. They end once the last
    /// [`Health`] is dropped or stopped, at the latest one interval later.
    pub fn spawn(self, spawn: impl FnMut(Task)) -> Health<E> {
        let (health, tasks) = self.into_tasks();
        tasks.into_iter().for_each(spawn);
        health
    }

    /// The handle, and all checks as one future that the caller runs. In one task, a check that blocks its thread blocks
    /// the others: prefer [`Registry::spawn`].
    pub fn into_future(self) -> (Health<E>, impl Future<Output = ()> + Send) {
        let (health, mut tasks) = self.into_tasks();
        let run = std::future::poll_fn(move |cx| {
            tasks.retain_mut(|task| task.as_mut().poll(cx).is_pending());
            if tasks.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        });
        (health, run)
    }

    fn into_tasks(self) -> (Health<E>, Vec<Task>) {
        let Self { env, entries, listeners, service } = self;
        let life = Life::new();
        if entries.iter().all(|entry| entry.config.kind != CheckKind::Startup) {
            life.advance(Phase::Ready);
        }
        let inner = Arc::new(Inner { env, entries, listeners, service, life });
        let tasks = tasks(&inner);
        (Health::new(inner), tasks)
    }
}

impl<E> fmt::Debug for Registry<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
        f.debug_struct("Registry").field("checks", &names).finish_non_exhaustive()
    }
}
