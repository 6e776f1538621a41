//! The driver of a [`DistributedKeyedGcra`](crate::DistributedKeyedGcra): asks the store for what the keys need.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, RwLock, Weak, atomic::Ordering::Relaxed},
    task::Poll,
    time::Duration,
};

use seawall_core::{Timer, Timestamp};

use super::{
    bell::Bell,
    keyed::{Counts, Entry, Keys, live},
};
use crate::{DistributedQuota, Exchange, Need, Store};

/// Questions that go out together. More would keep the store from answering others.
const BATCH: usize = 128;

pub(crate) struct Driver<S, T> {
    pub(crate) store: S,
    pub(crate) timer: T,
    pub(crate) quota: Arc<RwLock<DistributedQuota>>,
    pub(crate) counts: Arc<Counts>,
}

impl<S: Store, T: Timer> Driver<S, T> {
    /// Supplies the keys as long as they are there.
    pub(crate) async fn run(mut self, keys: Weak<Keys>, bell: Arc<Bell>) {
        let mut driven: Vec<Arc<Entry>> = Vec::new();
        loop {
            let next = driven.iter().filter_map(|entry| entry.gcra.look_at()).min();
            rung_or(&bell, &self.timer, next).await;
            let Some(keys) = keys.upgrade() else { break };
            driven.append(&mut keys.run_low());
            let now = self.timer.now();
            self.exchange(&driven, |entry| entry.gcra.ask(now)).await;
            driven.retain(|entry| !keys.forget(entry));
        }
        self.exchange(&driven, |entry| entry.gcra.surrender()).await;
    }

    /// Asks the store for what these keys need, if they need anything.
    async fn exchange(&mut self, keys: &[Arc<Entry>], need: impl Fn(&Entry) -> Option<Need>) {
        let needs: Vec<_> = keys.iter().filter_map(|entry| Some((&**entry, need(entry)?))).collect();
        for needs in needs.chunks(BATCH) {
            let live = live(&self.quota);
            let quota = live.quota();
            let exchanges = needs.iter().map(|(entry, need)| Exchange::new(&entry.key, quota, *need));
            let exchanges: Vec<_> = exchanges.collect();
            let answers = within(live.timeout(), &self.timer, self.store.exchange(&exchanges)).await;
            let answers = answers.and_then(Result::ok).unwrap_or_default();
            self.counts.count(answers.iter().any(Option::is_some));
            let now = self.timer.now();
            let mut answers = answers.into_iter();
            for (entry, need) in needs {
                match answers.next().flatten() {
                    Some(answer) => entry.gcra.answered(*need, answer, now),
                    None => entry.gcra.failed(*need, now),
                }
            }
        }
    }
}

/// Waits until the bell rings, or for `at`.
async fn rung_or<T: Timer>(bell: &Bell, timer: &T, at: Option<Timestamp>) {
    let mut sleep = pin!(at.map(|at| timer.sleep_until(at)));
    poll_fn(|cx| match sleep.as_mut().as_pin_mut().map(|sleep| sleep.poll(cx)) {
        Some(Poll::Ready(())) => Poll::Ready(()),
        Some(Poll::Pending) | None => bell.poll_rung(cx),
    })
    .await;
}

/// What comes in time.
async fn within<F: Future, T: Timer>(timeout: Duration, timer: &T, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut sleep = pin!(timer.sleep_until(timer.now().saturating_add(timeout)));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
    })
    .await
}

impl Counts {
    fn count(&self, answered: bool) {
        let count = if answered { &self.exchanges } else { &self.failures };
        count.fetch_add(1, Relaxed);
        self.gone.store(!answered, Relaxed);
    }
}
