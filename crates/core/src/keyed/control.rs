use std::{
    borrow::Borrow,
    hash::Hash,
    sync::{Arc, PoisonError},
};

use super::maker;
use crate::{Environment, Gate, KeyedLayer};

/// What reaches all keys at once.
impl<Q, F, G, E> KeyedLayer<Q, F, G, E>
where
    Q: ?Sized + ToOwned<Owned: Hash + Eq + Send + Sync> + Hash + Eq + 'static,
    G: Gate,
    E: Environment,
{
    /// Makes the gates of keys that come from here on as `config` says. Those that are there stay as they are:
    /// [`KeyedLayer::for_each`] reaches them, and the one that keys share when the table is full.
    ///
    /// ```
    /// use seawall_core::{Admission, CallContext, Gate, KeyedLayer, NoWait, Outcome, Timestamp};
    /// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    /// # impl From<Limit> for Limited {
    /// #     fn from(limit: Limit) -> Self { Limited(AtomicU32::new(limit.0)) }
    /// # }
    /// # impl Gate for Limited {
    /// #     type Ticket = ();
    /// #     type Wait = NoWait;
    /// #     fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> { Admission::Admitted(()) }
    /// #     fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}
    /// # }
    ///
    /// #[derive(Clone, Copy)]
    /// struct Limit(u32);
    /// struct Limited(AtomicU32);
    ///
    /// let layer = KeyedLayer::<str, _, Limited>::new(1_000, Limit(5), String::as_str)?;
    /// layer.gate("early");
    ///
    /// layer.set_config(Limit(7));
    /// layer.for_each(|_, limited| limited.0.store(7, Relaxed));
    ///
    /// let limits = ["early", "late"].map(|key| layer.gate(key).gate().0.load(Relaxed));
    /// assert_eq!(limits, [7, 7]);
    /// # Ok::<(), seawall_core::KeyedError>(())
    /// ```
    pub fn set_config<C>(&self, config: C)
    where
        C: Into<G> + Clone + Send + Sync + 'static,
    {
        let make = maker(config);
        // The old one is dropped after the lock: it may be a user's.
        let _old = std::mem::replace(&mut *self.table.make.write().unwrap_or_else(PoisonError::into_inner), make);
    }

    /// Shows every gate: with its key, and at last, without one, the gate that keys share when the table is full. Keys that
    /// come or go meanwhile may be shown or not. No lock is held while `show` runs, so it may use the table.
    pub fn for_each(&self, mut show: impl FnMut(Option<&Q>, &G))
    where
        Q::Owned: Borrow<Q>,
    {
        for shard in &self.table.shards {
            let shown: Vec<(Q::Owned, _)> = {
                let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
                shard.entries.iter().map(|entry| (entry.key.borrow().to_owned(), Arc::clone(&entry.gated))).collect()
            };
            for (key, gated) in &shown {
                show(Some(key.borrow()), &gated.gate);
            }
        }
        show(None, &self.table.overflow.gate);
    }
}
