//! The tasks that run the checks. Nothing that a check does ends its task: neither a panic nor a hang.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use seawall_core::{Clock, Entropy, Environment, Timer, unit_interval};

use crate::{
    CheckConfig, Observation, Phase,
    check::{AnyCheck, Run},
    health::Inner,
};

/// A task that a registry wants to have run.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One task per check, and one that notices those that are stuck.
pub(crate) fn tasks<E: Environment<Clock: Timer>>(inner: &Arc<Inner<E>>) -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::new();
    for index in 0..inner.entries.len() {
        tasks.push(Box::pin(repeat(Arc::downgrade(inner), inner.env.clone(), index)));
    }
    if let Some(shortest) = inner.entries.iter().map(|entry| entry.config.interval).min() {
        tasks.push(Box::pin(watch(Arc::downgrade(inner), inner.env.clone(), shortest)));
    }
    tasks
}

/// Runs one check again and again, never twice at the same time.
async fn repeat<E: Environment<Clock: Timer>>(inner: Weak<Inner<E>>, env: E, index: usize) {
    let clock = env.clock();
    let Some(delay) = running(&inner).and_then(|inner| Some(inner.entries.get(index)?.config.initial_delay)) else {
        return;
    };
    if !delay.is_zero() {
        clock.sleep_until(clock.now().saturating_add(delay)).await;
    }
    while let Some(inner) = running(&inner) {
        let Some(entry) = inner.entries.get(index) else { return };
        let started = clock.now();
        let observation = run_once(clock, &*entry.check, entry.config.timeout).await;
        entry.record(observation, clock.now(), &inner.listeners);
        inner.advance_when_started();
        let next = started.saturating_add(pause(&entry.config, entry.has_passed(), env.entropy().next_u64()));
        // Nothing is held while it sleeps: the last handle can go.
        drop(inner);
        clock.sleep_until(next).await;
    }
}

/// Looks for checks whose runs do not end.
async fn watch<E: Environment<Clock: Timer>>(inner: Weak<Inner<E>>, env: E, every: Duration) {
    while let Some(inner) = running(&inner) {
        let now = env.clock().now();
        for entry in &inner.entries {
            entry.look(now, &inner.listeners);
        }
        drop(inner);
        env.clock().sleep_until(now.saturating_add(every)).await;
    }
}

fn running<E: Environment>(inner: &Weak<Inner<E>>) -> Option<Arc<Inner<E>>> {
    inner.upgrade().filter(|inner| inner.life.phase() != Phase::Stopped)
}

/// From the start of a run to the start of the next.
fn pause(config: &CheckConfig, has_passed: bool, word: u64) -> Duration {
    let share = config.jitter * unit_interval(word);
    let starting = config.starting_interval.filter(|_| !has_passed);
    let interval = starting.unwrap_or(config.interval);
    let shorter = Duration::try_from_secs_f64(interval.as_secs_f64() * share).unwrap_or(Duration::ZERO);
    let pause = interval.saturating_sub(shorter);
    if starting.is_some() { pause } else { pause.max(config.timeout) }
}

/// Runs a check once, within its time. A panic and a run that takes too long are failures.
async fn run_once<T: Timer>(timer: &T, check: &dyn AnyCheck, timeout: Duration) -> Observation {
    let until = timer.now().saturating_add(timeout);
    let mut run = match catch_unwind(AssertUnwindSafe(|| check.begin())) {
        Ok(run) => run,
        Err(panic) => return panicked(&*panic),
    };
    if let Some(observation) = poll_fn(|cx| Poll::Ready(poll_run(&mut run, cx))).await {
        return observation;
    }
    if timeout.is_zero() {
        return Observation::fail("gave no answer at once");
    }
    let mut sleep = pin!(timer.sleep_until(until));
    let answer = poll_fn(|cx| match poll_run(&mut run, cx) {
        Some(observation) => Poll::Ready(Some(observation)),
        None => sleep.as_mut().poll(cx).map(|()| None),
    });
    let answer = answer.await;
    // What is left of a run that was cut may panic as well when it is dropped.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(run)));
    answer.unwrap_or_else(|| Observation::fail(format!("took longer than {timeout:?}")))
}

fn poll_run(run: &mut Run<'_>, cx: &mut std::task::Context<'_>) -> Option<Observation> {
    match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(cx))) {
        Ok(Poll::Ready(observation)) => Some(observation),
        Ok(Poll::Pending) => None,
        Err(panic) => Some(panicked(&*panic)),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Observation {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Observation::fail(text.map_or_else(|| "panicked".to_owned(), |text| format!("panicked: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_shorter_by_the_jitter_at_most_and_never_shorter_than_a_run_may_take() {
        let config = CheckConfig::application();
        assert_eq!(pause(&config, true, 0), Duration::from_secs(10));
        assert!(pause(&config, true, u64::MAX) >= Duration::from_secs(9));
        assert_eq!(pause(&config.with_jitter(1.0), true, u64::MAX), config.timeout);
        assert_eq!(
            pause(&config.with_interval(Duration::MAX), true, u64::MAX).as_secs() / 1_000_000_000,
            16_602_069_666
        );
    }

    #[test]
    fn until_the_first_pass_a_pause_may_be_shorter_than_a_run() {
        let config = CheckConfig::application().with_starting_interval(Duration::from_millis(50));

        assert_eq!(pause(&config, false, 0), Duration::from_millis(50));
        assert_eq!(pause(&config, true, 0), Duration::from_secs(10));
        assert_eq!(pause(&CheckConfig::application(), false, 0), Duration::from_secs(10));
    }
}
