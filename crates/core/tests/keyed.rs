//! One gate per key, bounded, and never forgotten while somebody needs it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    cell::Cell,
    hash::{Hash, Hasher},
    sync::{
        Arc, Barrier, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use seawall_core::{
    Admission, CallContext, Env, Gate, KeyedError, KeyedLayer, NoWait, Outcome, Pattern, Reason, Rejection, Timestamp,
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
    KeyedLayer::new(max_keys, Config, String::as_str as fn(&_) -> &_).unwrap()
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

#[tokio::test]
async fn a_future_without_tower_is_protected_by_the_gate_of_its_key_which_decides_when_it_is_polled() {
    let layer = by_key(100);
    let answer = |key| layer.run(key, async { Ok::<_, std::convert::Infallible>(()) });
    let asked_late = answer("a");
    layer.gate("a").gate().taken.store(1, SeqCst);

    let ended = (asked_late.await.is_ok(), answer("b").await.is_ok());
    layer.gate("a").gate().taken.store(0, SeqCst);

    assert_eq!((ended, answer("a").await.is_ok()), ((false, true), true));
}

#[tokio::test]
async fn a_key_whose_future_has_not_ended_is_never_forgotten() {
    let layer = by_key(1);
    let mut waiting = Box::pin(layer.run("a", std::future::pending::<Result<(), std::convert::Infallible>>()));

    assert!(layer.gate("b").same(&layer.gate("c")), "b found no place beside a that is not polled yet");
    assert!(is_pending(&mut waiting));
    assert!(layer.gate("b").same(&layer.gate("c")), "b found no place beside a that runs");
    drop(waiting);

    drop(layer.gate("b"));
    assert!(!layer.gate("b").same(&layer.gate("c")), "a has made room");
}

fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::pin::Pin::new(future).poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending()
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
fn below_128_keys_the_bound_is_exact() {
    let layer = by_key(127);

    let held: Vec<_> = (0..128).map(|key| layer.gate(&key.to_string())).collect();

    assert!(held.windows(2).all(|pair| !pair[0].same(&pair[1])));
    assert_eq!(layer.len(), 127);
    assert!(held[127].same(&layer.gate("one too many")));
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
    let gates: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| layer.gate("a"))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });

    assert!(gates.iter().all(|gate| gate.same(&gates[0])));
    assert_eq!(Arc::new(layer).len(), 1);
}

/// A request of which a key can be borrowed, or made.
#[derive(Clone)]
struct Call<B> {
    host: String,
    port: u16,
    _body: B,
}

fn call(host: &str, port: u16) -> Call<()> {
    Call { host: host.to_owned(), port, _body: () }
}

#[tokio::test]
async fn a_key_is_borrowed_by_a_closure_or_made_by_one() {
    let service = || service_fn(|call: Call<()>| async move { Ok::<_, std::convert::Infallible>(call.port) });
    let by_host = KeyedLayer::<str, _, OnePlace>::new(9, Config, |call: &Call<_>| call.host.as_str()).unwrap();
    let by_both = |call: &Call<_>| format!("{}:{}", call.host, call.port);
    let by_both = KeyedLayer::<str, _, OnePlace>::with_owned_keys(9, Config, by_both, Env::new()).unwrap();
    by_host.gate("a").gate().taken.store(1, SeqCst);
    by_both.gate("a:1").gate().taken.store(1, SeqCst);

    for (layered, answers) in
        [(call("a", 1), [false, false]), (call("a", 2), [false, true]), (call("b", 1), [true, true])]
    {
        let hosts = by_host.protect(service()).oneshot(layered.clone()).await;
        let both = by_both.protect(service()).oneshot(layered).await;
        assert_eq!([hosts.is_ok(), both.is_ok()], answers);
    }
}

/// Marks the gates of `keys`, which are made by that.
fn mark(layer: &ByKey, keys: &[&str]) {
    for key in keys {
        layer.gate(key).gate().taken.store(1, SeqCst);
    }
}

/// Whether the gate of `key` is the one that was marked.
fn is_kept(layer: &ByKey, key: &str) -> bool {
    layer.gate(key).gate().taken.load(SeqCst) == 1
}

#[test]
fn a_key_that_was_looked_up_again_outlives_those_that_were_not() {
    let layer = by_key(3);
    mark(&layer, &["a", "b", "c"]);
    drop(layer.gate("a"));

    mark(&layer, &["d", "e"]);

    assert_eq!(["a", "d", "e"].map(|key| is_kept(&layer, key)), [true; 3]);
    assert!(!is_kept(&layer, "b"));
}

#[test]
fn a_second_chance_is_had_once() {
    let layer = by_key(3);
    mark(&layer, &["a", "b", "c"]);
    mark(&layer, &["a", "b", "c"]);

    mark(&layer, &["d"]);

    assert!(is_kept(&layer, "d"), "all had theirs, so one made room");
    assert_eq!(layer.len(), 3);
}

/// A key of which two threads that look for it at once both learn that it is not there.
#[derive(Clone, PartialEq, Eq)]
struct Raced(bool);

static BOTH_LOOK: Barrier = Barrier::new(2);

thread_local! {
    static HASHED: Cell<usize> = const { Cell::new(0) };
}

impl Hash for Raced {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        // The first time is for the shard, the second is under the shard's read lock.
        if self.0 && HASHED.replace(HASHED.get().saturating_add(1)) == 1 {
            BOTH_LOOK.wait();
        }
    }
}

#[test]
fn of_two_threads_that_both_miss_a_key_the_second_finds_the_gate_of_the_first() {
    let identity: fn(&Raced) -> &Raced = |key| key;
    let layer = KeyedLayer::<Raced, _, OnePlace>::new(9, Config, identity).unwrap();
    // An empty table would be looked through without a hash.
    drop(layer.gate(&Raced(false)));

    let gates: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(|| layer.gate(&Raced(true)))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });

    assert!(gates[0].same(&gates[1]));
    assert_eq!(layer.len(), 2);
}

#[test]
fn a_table_of_no_keys_is_refused_with_the_range() {
    let refused = KeyedLayer::<str, _, OnePlace>::new(0, Config, String::as_str).err();

    assert_eq!(refused, Some(KeyedError::MaxKeys { max_keys: 0 }));
    assert_eq!(refused.unwrap().to_string(), "max_keys is 0; allowed are 1 to 16777216");
}

/// Remembers what it was made with.
struct Made(u32);

impl From<u32> for Made {
    fn from(config: u32) -> Self {
        Self(config)
    }
}

impl Gate for Made {
    type Ticket = ();
    type Wait = NoWait;

    fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> {
        Admission::Admitted(())
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}
}

#[test]
fn keys_that_come_later_are_made_by_the_new_settings_and_all_are_shown_once() {
    let layer = KeyedLayer::<str, _, Made>::new(1_000, 1, String::as_str).unwrap();
    let mut expected = vec![(None, 1)];
    for key in 0..300_u32 {
        if key == 100 {
            layer.clone().set_config(2);
        }
        let (name, made) = (key.to_string(), if key < 100 { 1 } else { 2 });
        assert_eq!(layer.gate(&name).gate().0, made);
        expected.push((Some(name), made));
    }

    let mut shown = Vec::new();
    layer.for_each(|key, gate| shown.push((key.map(str::to_owned), gate.0)));

    assert_eq!(shown.last(), Some(&(None, 1)), "the shared one comes last");
    shown.sort();
    expected.sort();
    assert_eq!(shown, expected);
}

#[test]
fn what_is_shown_may_use_the_table_itself() {
    let layer = KeyedLayer::<str, _, Made>::new(1, 1, String::as_str).unwrap();
    layer.gate("first");

    let mut seen = 0;
    layer.for_each(|_, _| {
        layer.set_config(2);
        seen += usize::from(layer.gate("second").gate().0 <= 2);
    });

    assert_eq!(seen, 2);
}

type MadeByKey = KeyedLayer<str, fn(&String) -> &str, Made>;

/// Settings whose drop looks into the table.
#[derive(Clone)]
struct Looks(Arc<OnceLock<MadeByKey>>);

impl From<Looks> for Made {
    fn from(_: Looks) -> Self {
        Self(3)
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        if let Some(layer) = self.0.get() {
            layer.gate("from a drop");
        }
    }
}

#[test]
fn old_settings_are_dropped_under_no_lock() {
    let table = Arc::new(OnceLock::new());
    let layer = KeyedLayer::new(1, Looks(Arc::clone(&table)), String::as_str as fn(&_) -> &_).unwrap();
    assert!(table.set(layer.clone()).is_ok());

    layer.set_config(4);

    assert_eq!(layer.gate("from a drop").gate().0, 4);
}

type Curiosities = Arc<OnceLock<KeyedLayer<str, fn(&String) -> &str, Curious>>>;

/// Looks at the whole table when it is made and when it is dropped, as a gate may that is made from what others do.
struct Curious(Curiosities);

impl Curious {
    fn looks(&self) {
        if let Some(table) = self.0.get() {
            assert!(table.len() <= 2);
        }
    }
}

impl Drop for Curious {
    fn drop(&mut self) {
        self.looks();
    }
}

#[derive(Clone)]
struct Curiosity(Curiosities);

impl From<Curiosity> for Curious {
    fn from(Curiosity(table): Curiosity) -> Self {
        let made = Self(table);
        made.looks();
        made
    }
}

impl Gate for Curious {
    type Ticket = ();
    type Wait = NoWait;

    fn admit(&self, _: impl FnOnce() -> CallContext, _: impl FnOnce() -> Timestamp) -> Admission<()> {
        Admission::Admitted(())
    }

    fn finish(&self, (): (), _: Outcome, _: impl FnOnce() -> Timestamp) {}
}

#[test]
fn gates_are_made_and_dropped_while_no_lock_is_held() {
    let (done, ended) = mpsc::channel();
    // On a thread of its own: where a lock is held, it waits for itself for ever.
    thread::spawn(move || {
        let table = Arc::new(OnceLock::new());
        let layer = KeyedLayer::new(2, Curiosity(Arc::clone(&table)), String::as_str as fn(&_) -> &_).unwrap();
        assert!(table.set(layer.clone()).is_ok());
        for key in ["a", "b", "c", "d", "e"] {
            layer.gate(key);
        }
        done.send(layer.len()).unwrap();
    });

    assert_eq!(ended.recv_timeout(Duration::from_secs(20)).unwrap(), 2);
}
