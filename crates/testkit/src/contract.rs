//! The promises of every layer, as functions that panic when one is broken.
//!
//! Each takes a function that makes the layer under test in the environment that it is given; run them inside a tokio
//! runtime with paused time.
#![expect(clippy::missing_panics_doc, reason = "panicking is how every one of them reports")]

mod endings;

use std::{
    task::{Context, Waker},
    time::Duration,
};

pub use endings::{
    a_call_that_waits_in_vain_is_booked_as_refused, every_call_ends_in_exactly_one_outcome,
    every_call_that_waited_ends_in_exactly_one_outcome, every_call_through_it_ends_once,
};
use seawall_core::{Clock, Entropy, Env, Error, GateLayer, SeededEntropy, TokioClock, WrapError};
use tower::{ServiceExt, buffer::Buffer, limit::ConcurrencyLimit};
use tower_layer::Layer;
use tower_service::Service;

use crate::{Cut, Ledger, LedgerLayer, LedgerService, Polls, Probe, ProbeError, Recorder, Script, TestEnv};

/// The innermost service as a layer sees it, with a ledger of the calls that reach it.
pub type Leaf = LedgerService<Cut<WrapError<Probe>>>;

/// The same behind tower's limit of one.
pub type NarrowLeaf = LedgerService<Cut<WrapError<ConcurrencyLimit<Probe>>>>;

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
    /// What the layer itself reports.
    recorder: Recorder,
    /// What a ledger outside of it reports.
    outside: Recorder,
}

impl Bench {
    fn new() -> Self {
        let (recorder, outside) = (Recorder::default(), Recorder::default());
        Self { probe: Probe::new(), inside: ledger(Recorder::default()), recorder, outside }
    }

    fn env(&self) -> TestEnv {
        Env::new().with_clock(TokioClock).with_observer(self.recorder.clone())
    }

    fn leaf(&self) -> Leaf {
        self.inside.layer(Cut::new(WrapError::new(self.probe.clone())))
    }

    fn narrow_leaf(&self) -> NarrowLeaf {
        self.inside.layer(Cut::new(WrapError::new(ConcurrencyLimit::new(self.probe.clone(), 1))))
    }

    /// Nothing is under way anywhere, and every attempt that reached the probe was booked.
    fn assert_idle(&self, when: &str) {
        assert_eq!(self.probe.running(), 0, "calls still run in the probe {when}");
        assert_eq!(self.inside.gate().open(), 0, "calls were begun and never ended {when}");
    }
}

/// What `future` gives. Paused time runs on only when nothing else can: what hangs ends here at once.
async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let done = tokio::time::timeout(Duration::from_secs(3600), future).await;
    done.unwrap_or_else(|_| unreachable!("{what}: nothing can go on"))
}

fn ledger(recorder: Recorder) -> LedgerLayer {
    GateLayer::with_env(Ledger::default(), Env::new().with_clock(TokioClock).with_observer(recorder))
}

/// Dropping any future at any point, 100,000 times at random: nothing stays held, and nothing is refused for it.
pub async fn dropping_at_any_point_leaves_nothing_held<L>(make: impl Fn(TestEnv) -> L, held: impl Fn(&L) -> usize)
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
        if (word >> 12) % 4 == 0 {
            tokio::task::yield_now().await;
        }
    }
    under_way.clear();
    tokio::task::yield_now().await;

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

    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut handle = service.clone();
        let ready = soon("a handle gets ready over a limit of one", handle.ready()).await;
        let future = ready.map(|ready| ready.call(Script::AnswerLater));
        assert!(future.is_ok(), "not ready over a limit of one with nothing under way");
        if let Ok(future) = future {
            assert_eq!(soon("a call over a limit of one", future).await, Ok("answered"));
        }
        kept.push(handle);
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
        let answer = soon("a call under a buffer", service.clone().oneshot(Script::AnswerLater)).await;
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
        let answer = soon(who, handle.oneshot(Script::Answer)).await;
        assert!(matches!(answer, Err(Error::Rejected(_))), "{who} was not refused: {answer:?}");
    }
    drop(kept);
}

/// What the layer under test does with fifty calls at once.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Crowd {
    /// It lets all of them through.
    Passes,
    /// It refuses some of them.
    IsRefused,
    /// It lets some of them wait, and refuses none.
    Waits,
}

/// Fifty calls that hold, released one at a time: each is woken, and polled at most three times per event. None is
/// refused by a layer that lets them wait, and all of it takes no time: paused time runs on, to the end of somebody's
/// wait, only when a wake-up was lost.
pub async fn every_waiter_is_woken_and_none_spins<L>(make: impl Fn(TestEnv) -> L, crowd: Crowd)
where
    L: Layer<Leaf, Service: Subject>,
{
    const WAITERS: usize = 50;
    const POLLS_PER_EVENT: usize = 3;
    let bench = Bench::new();
    let service = make(bench.env()).layer(bench.leaf());
    let begin = TokioClock.now();
    let polls: Vec<_> = (0..WAITERS).map(|_| Polls::default()).collect();
    let tasks: Vec<_> =
        polls.iter().map(|polls| tokio::spawn(polls.count(service.clone().oneshot(Script::Hold)))).collect();

    for _ in 0..WAITERS {
        tokio::task::yield_now().await;
        bench.probe.release(1);
    }
    let mut refused = 0_usize;
    for task in tasks {
        match soon("a call that holds", task).await {
            Ok(Ok(answer)) => assert_eq!(answer, "answered"),
            Ok(Err(Error::Rejected(_))) => refused = refused.saturating_add(1),
            lost => unreachable!("a waiter was lost: {lost:?}"),
        }
    }

    assert_eq!(TokioClock.now(), begin, "somebody slept until its time was up: a wake-up was lost");
    assert_eq!(refused > 0, crowd == Crowd::IsRefused, "{refused} were refused");
    assert_eq!(bench.probe.most_running() < WAITERS, crowd != Crowd::Passes, "{crowd:?}");
    // Two events concern a waiter that queues: its turn, and its answer. A waiter that does not, one.
    let allowed = if crowd == Crowd::Waits { 2 * POLLS_PER_EVENT } else { POLLS_PER_EVENT };
    let most = polls.iter().map(Polls::get).max().unwrap_or(0);
    assert!(most <= allowed, "a waiter was polled {most} times");
    bench.assert_idle("after all waiters were answered");
}
