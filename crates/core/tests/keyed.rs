//! One gate per key, bounded, and never forgotten while somebody needs it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use seawall_core::{
    Admission, CallContext, Gate, KeyedError, KeyedLayer, NoWait, Outcome, Pattern, Reason, Rejection, Timestamp,
};
use tower::{ServiceExt, service_fn};

/// One place; idle unless told to be remembered.
#[derive(Debug)]
struct OnePlace {
    taken: AtomicUsize,
    open: AtomicBool,
}

#[derive(Clone, Debug)]
struct Config;

impl From<Config> for OnePlace {
    fn from(_: Config) -> Self {
        Self { taken: AtomicUsize::new(0), open: AtomicBool::new(false) }
    }
}

impl Gate for OnePlace {
    type Ticket = ();
    type Wait = NoWait;

    fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> {
        match self.taken.compare_exchange(0, 1, SeqCst, SeqCst) {
            Ok(_) => Admission::Admitted(()),
            Err(_) => Admission::Refused(Rejection::new(Pattern::Bulkhead, Reason::BulkheadFull)),
        }
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {
        self.taken.store(0, SeqCst);
    }

    fn is_idle(&self, _: impl FnOnce() -> Timestamp) -> bool {
        !self.open.load(SeqCst)
    }
}

type ByKey = KeyedLayer<str, fn(&String) -> &str, OnePlace>;

fn by_key(max_keys: usize) -> ByKey {
    KeyedLayer::new(max_keys, Config, String::as_str as fn(&String) -> &str).unwrap()
}

#[tokio::test]
async fn keys_do_not_stand_in_each_others_way() {
    let layer = by_key(100);
    let service = layer.protect(service_fn(|key: String| async { Ok::<_, std::convert::Infallible>(key) }));
    let busy = layer.gate("a");
    busy.gate().taken.store(1, SeqCst);

    assert!(service.clone().oneshot("a".to_owned()).await.is_err());
    assert_eq!(service.oneshot("b".to_owned()).await.unwrap(), "b");
}

#[test]
fn the_same_key_has_one_gate_for_all_clones() {
    let layer = by_key(100);

    assert!(layer.gate("a").same(&layer.clone().gate("a")));
    assert!(!layer.gate("a").same(&layer.gate("b")));
}

#[test]
fn a_flood_of_keys_stays_within_the_bound() {
    for max_keys in [1, 2, 63, 64, 100, 1_000, 10_000] {
        let layer = by_key(max_keys);

        for key in 0..3 * max_keys {
            let _ = layer.gate(&key.to_string());
        }

        assert!(layer.len() <= max_keys, "{} of {max_keys}", layer.len());
        assert!(layer.len() * 2 >= max_keys, "{} of {max_keys}", layer.len());
    }
}

#[test]
fn a_gate_that_is_held_or_not_idle_survives_a_flood() {
    let layer = by_key(64);
    let held = layer.gate("held");
    layer.gate("open").gate().open.store(true, SeqCst);

    for key in 0..10_000 {
        let _ = layer.gate(&key.to_string());
    }

    assert!(held.same(&layer.gate("held")));
    assert!(layer.gate("open").gate().open.load(SeqCst));
}

#[test]
fn with_every_place_in_use_new_keys_share_the_overflow_gate() {
    let layer = by_key(2);
    let _held = (layer.gate("a"), layer.gate("b"));

    assert!(layer.gate("c").same(&layer.gate("d")));
    assert_eq!(layer.len(), 2);
}

#[test]
fn threads_that_race_for_a_new_key_get_one_gate() {
    let layer = by_key(100);
    let gates: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| layer.gate("a"))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });

    assert!(gates.iter().all(|gate| gate.same(&gates[0])));
    assert_eq!(Arc::new(layer).len(), 1);
}

#[test]
fn a_table_of_no_keys_is_refused_with_the_range() {
    let refused = KeyedLayer::<str, _, OnePlace>::new(0, Config, String::as_str).err();

    assert_eq!(refused, Some(KeyedError::MaxKeys { max_keys: 0 }));
    assert_eq!(refused.unwrap().to_string(), "max_keys is 0; allowed are 1 to 16777216");
}
