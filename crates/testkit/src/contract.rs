//! The promises of every layer, as functions that panic when one is broken.
//!
//! Each takes a function that makes the layer under test in the environment that it is given; run them inside a tokio
//! runtime with paused time.
#![expect(clippy::missing_panics_doc, reason = "panicking is how every one of them reports")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context, Waker},
};

use seawall_core::{Entropy, Env, Error, GateLayer, SeededEntropy, TokioClock, WrapError};
use tower::{ServiceExt, buffer::Buffer, limit::ConcurrencyLimit};
use tower_layer::Layer;
use tower_service::Service;

use crate::{Booked, Ledger, LedgerLayer, LedgerService, Polls, Probe, ProbeError, Recorder, Script, TestEnv};

/// The innermost service as a layer sees it, with a ledger of the calls that reach it.
pub type Leaf = LedgerService<WrapError<Probe>>;

/// The same behind tower's limit of one.
pub type NarrowLeaf = LedgerService<WrapError<ConcurrencyLimit<Probe>>>;

/// A service made by a layer under test.
pub trait Subject:
    Service<Script, Response = &'static str, Error = Error<ProbeError>, Future: Send + 'static> + Clone + Send + 'static
{
}

impl<S> Subject for S where
    S: Service<Script, Response = &'static str, Error = Error<ProbeError>, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// Everything around one layer under test.
#[derive(Debug)]
struct Bench {
    probe: Probe,
    inside: LedgerLayer,
    recorder: Recorder,
}

impl Bench {
    fn new() -> Self {
        Self { probe: Probe::new(), inside: ledger(), recorder: Recorder::default() }
    }

    fn env(&self) -> TestEnv {
        Env::new().with_clock(TokioClock).with_observer(self.recorder.clone())
    }

    fn leaf(&self) -> Leaf {
        self.inside.layer(WrapError::new(self.probe.clone()))
    }

    fn narrow_leaf(&self) -> NarrowLeaf {
        self.inside.layer(WrapError::new(ConcurrencyLimit::new(self.probe.clone(), 1)))
    }

    /// Nothing is under way anywhere, and every attempt that reached the probe was booked.
    fn assert_idle(&self, when: &str) {
        assert_eq!(self.probe.running(), 0, "calls still run in the probe {when}");
        assert_eq!(self.inside.gate().open(), 0, "calls were begun and never ended {when}");
    }
}

fn ledger() -> LedgerLayer {
    GateLayer::with_env(Ledger::default(), Env::new().with_clock(TokioClock).with_observer(Recorder::default()))
}

/// How one call is made to end.
#[derive(Copy, Clone, Debug)]
struct Ending {
    script: Script,
    /// Drop the future after this many polls.
    polls: usize,
    expected: fn(&mut Booked),
}

const ENDINGS: [Ending; 7] = [
    Ending { script: Script::Answer, polls: 9, expected: |booked| booked.returned = 1 },
    Ending { script: Script::AnswerLater, polls: 9, expected: |booked| booked.returned = 1 },
    Ending { script: Script::Fail, polls: 9, expected: |booked| booked.failed = 1 },
    Ending { script: Script::Hang, polls: 1, expected: |booked| booked.dropped = 1 },
    Ending { script: Script::Answer, polls: 0, expected: |booked| booked.dropped = 1 },
    Ending { script: Script::PanicInCall, polls: 9, expected: |booked| booked.panicked = 1 },
    Ending { script: Script::PanicInPoll, polls: 9, expected: |booked| booked.panicked = 1 },
];

/// Calls `service` and polls up to `polls` times; a panic stops there.
fn drive<S: Subject>(service: &mut S, script: Script, polls: usize) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut cx).is_ready(), "not ready with nothing under way");
        let mut future = pin!(service.call(script));
        for _ in 0..polls {
            if future.as_mut().poll(&mut cx).is_ready() {
                break;
            }
        }
    }));
}

/// Returned, failed, dropped before and after its first poll, panicked in `call` and in `poll` (caught further out):
/// each is booked exactly once, as what it was, by the layer itself and by whatever stands inside it.
pub fn every_call_ends_in_exactly_one_outcome<L>(make: impl Fn(TestEnv) -> L)
where
    L: Layer<Leaf, Service: Subject>,
{
    for ending in ENDINGS {
        let bench = Bench::new();
        let mut service = make(bench.env()).layer(bench.leaf());

        drive(&mut service, ending.script, ending.polls);

        let mut expected = Booked::default();
        (ending.expected)(&mut expected);
        assert_eq!(bench.recorder.booked(), expected, "{ending:?}");
        bench.assert_idle("after one call");
    }
}

/// For layers that are no gates: a ledger outside books each call once, whatever the layer does with it inside.
pub fn every_call_through_it_ends_once<L>(make: impl Fn(TestEnv) -> L)
where
    L: Layer<Leaf, Service: Subject>,
{
    for ending in ENDINGS {
        let bench = Bench::new();
        let outside = ledger();
        let mut service = outside.layer(make(bench.env()).layer(bench.leaf()));

        drive(&mut service, ending.script, ending.polls);

        assert_eq!(outside.gate().open(), 0, "{ending:?} never ended");
        bench.assert_idle("after one call");
    }
}

/// Dropping any future at any point, 100,000 times at random: nothing stays held, and nothing is refused for it.
pub fn dropping_at_any_point_leaves_nothing_held<L>(make: impl Fn(TestEnv) -> L, held: impl Fn(&L) -> usize)
where
    L: Layer<Leaf, Service: Subject>,
{
    const CALLS: usize = 100_000;
    const AT_ONCE: usize = 8;
    let scripts: [Script; 4] = [Script::Answer, Script::AnswerLater, Script::Hang, Script::Hold];
    let bench = Bench::new();
    let layer = make(bench.env());
    let service = layer.layer(bench.leaf());
    let entropy = SeededEntropy::new(7);
    let mut cx = Context::from_waker(Waker::noop());
    let mut under_way = Vec::new();

    for _ in 0..CALLS {
        let word = usize::try_from(entropy.next_u64() >> 40).unwrap_or(0);
        let mut handle = service.clone();
        if handle.poll_ready(&mut cx).is_pending() {
            under_way.clear();
            continue;
        }
        let script = scripts[word & 3];
        let mut future = Box::pin(handle.call(script));
        for _ in 0..(word >> 4) % 3 {
            if future.as_mut().poll(&mut cx).is_ready() {
                break;
            }
        }
        under_way.push(future);
        if under_way.len() >= AT_ONCE {
            drop(under_way.swap_remove((word >> 8) % AT_ONCE));
        }
    }
    under_way.clear();

    assert_eq!(held(&layer), 0, "the layer still holds places");
    bench.assert_idle("after random drops");
}

/// A handle that was polled ready and dropped, or kept idle after its call, stands in nobody's way, even over a limit of
/// one.
pub async fn readiness_reserves_nothing_that_a_drop_does_not_return<L>(make: impl Fn(TestEnv) -> L)
where
    L: Layer<NarrowLeaf, Service: Subject>,
{
    let bench = Bench::new();
    let service = make(bench.env()).layer(bench.narrow_leaf());
    let mut cx = Context::from_waker(Waker::noop());
    let mut readied = service.clone();
    let _ = readied.poll_ready(&mut cx);
    drop(readied);

    for _ in 0..3 {
        let mut handle = service.clone();
        let answer = handle.ready().await.map(|ready| ready.call(Script::AnswerLater));
        assert!(answer.is_ok(), "not ready over a limit of one with nothing under way");
        if let Ok(future) = answer {
            assert_eq!(future.await, Ok("answered"));
        }
    }
    bench.assert_idle("after calls over a limit of one");
}

/// The layer works inside tower's `Buffer`, which calls from another task.
pub async fn works_under_a_buffer<L>(make: impl Fn(TestEnv) -> L)
where
    L: Layer<Leaf, Service: Subject>,
{
    let bench = Bench::new();
    let service = Buffer::new(make(bench.env()).layer(bench.leaf()), 4);

    for _ in 0..8 {
        let answer = service.clone().oneshot(Script::AnswerLater).await;
        assert_eq!(answer.ok(), Some("answered"));
    }
    bench.assert_idle("after calls under a buffer");
}

/// `saturate` makes the layer refuse through one of its services. A clone of that service, a service of a second
/// `layer()` call and one of the layer's clone must refuse as well.
pub async fn state_is_shared_by_clones_and_by_layer_calls<L, F>(
    make: impl Fn(TestEnv) -> L,
    saturate: impl AsyncFnOnce(L::Service) -> F,
) where
    L: Layer<Leaf, Service: Subject> + Clone,
{
    let bench = Bench::new();
    let layer = make(bench.env());
    let service = layer.layer(bench.leaf());

    let kept = saturate(service.clone()).await;

    for (who, handle) in [
        ("a clone", service),
        ("a second service", layer.layer(bench.leaf())),
        ("a clone of the layer", layer.clone().layer(bench.leaf())),
    ] {
        let answer = handle.oneshot(Script::Answer).await;
        assert!(matches!(answer, Err(Error::Rejected(_))), "{who} was not refused: {answer:?}");
    }
    drop(kept);
}

/// Fifty calls that hold, released one at a time: each is woken, and polled at most three times per event.
pub async fn every_waiter_is_woken_and_none_spins<L>(make: impl Fn(TestEnv) -> L)
where
    L: Layer<Leaf, Service: Subject>,
{
    const WAITERS: usize = 50;
    const POLLS_PER_EVENT: usize = 3;
    let bench = Bench::new();
    let service = make(bench.env()).layer(bench.leaf());
    let polls: Vec<_> = (0..WAITERS).map(|_| Polls::default()).collect();
    let tasks: Vec<_> =
        polls.iter().map(|polls| tokio::spawn(polls.count(service.clone().oneshot(Script::Hold)))).collect();

    for _ in 0..WAITERS {
        tokio::task::yield_now().await;
        bench.probe.release(1);
    }
    for task in tasks {
        let answer = task.await;
        assert!(matches!(&answer, Ok(Ok("answered") | Err(Error::Rejected(_)))), "a waiter was lost: {answer:?}");
    }

    // Two events concern a waiter that queues: its turn, and its answer. A waiter that does not, one.
    let most = polls.iter().map(Polls::get).max().unwrap_or(0);
    assert!(most <= 2 * POLLS_PER_EVENT, "a waiter was polled {most} times");
    bench.assert_idle("after all waiters were answered");
}
