//! The promises of every layer, as functions that panic when one is broken.
//!
//! Each takes a function that makes the layer under test in the environment that it is given; run them inside a tokio
//! runtime with paused time.
#![expect(clippy::missing_panics_doc, reason = "panicking is how every one of them reports")]

mod by_run;
mod drops;
mod endings;

use std::{
    task::{Context, Waker},
    time::Duration,
};

pub use by_run::{ByRun, Runs};
pub use drops::dropping_at_any_point_leaves_nothing_held;
pub use endings::{
    a_call_that_waits_in_vain_is_booked_as_refused, every_call_ends_in_exactly_one_outcome,
    every_call_that_waited_ends_in_exactly_one_outcome, every_call_through_it_ends_once,
    every_run_ends_in_exactly_one_outcome,
};
use seawall_core::{BoxError, Clock, Env, Error, GateLayer, TokioClock, WrapError};
use tower::{
    ServiceExt,
    buffer::Buffer,
    limit::ConcurrencyLimit,
    util::{BoxCloneSyncService, MapErr},
};
use tower_layer::Layer;
use tower_service::Service;

use crate::{Cut, Ledger, LedgerLayer, LedgerService, Polls, Probe, ProbeError, Recorder, Script, TestEnv};

/// The innermost service as a layer sees it, with a ledger of the calls that reach it.
pub type Leaf = LedgerService<Cut<BoxCloneSyncService<Script, &'static str, Error<ProbeError>>>>;

/// What stands between the leaf and the probe.
#[derive(Copy, Clone, Debug)]
enum Behind {
    Nothing,
    /// Tower's limit of one: a reservation that is kept keeps all others out.
    LimitOfOne,
    /// Tower's buffer: the probe is called by another task.
    Buffer,
}

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

    fn leaf(&self, behind: Behind) -> Leaf {
        let probe = self.probe.clone();
        let service = match behind {
            Behind::Nothing => BoxCloneSyncService::new(WrapError::new(probe)),
            Behind::LimitOfOne => BoxCloneSyncService::new(WrapError::new(ConcurrencyLimit::new(probe, 1))),
            Behind::Buffer => {
                let lost = |_: BoxError| ProbeError;
                BoxCloneSyncService::new(WrapError::new(MapErr::new(Buffer::new(probe, BOUND), lost)))
            }
        };
        self.inside.layer(Cut::new(service))
    }

    /// Nothing is under way anywhere, and every attempt that reached the probe was booked.
    fn assert_idle(&self, when: &str) {
        assert_eq!(self.probe.running(), 0, "calls still run in the probe {when}");
        assert_eq!(self.inside.gate().open(), 0, "calls were begun and never ended {when}");
    }
}

/// How many calls wait in tower's buffers.
const BOUND: usize = 4;

/// Lets whatever other tasks have to do come to rest.
async fn settle() {
    for _ in 0..4 * BOUND {
        tokio::task::yield_now().await;
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

/// A handle that was polled ready and dropped, or kept idle after its call, stands in nobody's way, even over a limit of
/// one.
pub async fn readiness_reserves_nothing_that_a_drop_does_not_return<L>(make: impl Fn(TestEnv) -> L)
where
    L: Layer<Leaf, Service: Subject>,
{
    let bench = Bench::new();
    let service = make(bench.env()).layer(bench.leaf(Behind::LimitOfOne));
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

/// Handles that are ready and never called, more of them than the layer has places or probes, keep nobody out: nothing is
/// reserved before a call. A layer whose purpose is to reserve says so in its documentation, and does not promise this.
pub async fn handles_that_are_ready_and_idle_keep_nobody_out<L>(make: impl Fn(TestEnv) -> L)
where
    L: Layer<Leaf, Service: Subject>,
{
    const IDLE: usize = 200;
    let bench = Bench::new();
    let service = make(bench.env()).layer(bench.leaf(Behind::Nothing));
    let mut idle = vec![service.clone(); IDLE];
    for handle in &mut idle {
        assert!(soon("a handle gets ready", handle.ready()).await.is_ok());
    }

    let answer = soon("a call beside idle handles", service.oneshot(Script::Answer)).await;

    assert_eq!(answer, Ok("answered"), "beside {IDLE} handles that are ready and idle");
    drop(idle);
    bench.assert_idle("after idle handles");
}

/// The layer works inside tower's `Buffer`, which calls from another task, for many callers at once: each of them is
/// answered, or refused by a layer that refuses some of a crowd.
pub async fn works_under_a_buffer<L>(make: impl Fn(TestEnv) -> L, crowd: Crowd)
where
    L: Layer<Leaf, Service: Subject>,
{
    let bench = Bench::new();
    let service = Buffer::new(make(bench.env()).layer(bench.leaf(Behind::Nothing)), BOUND);
    let callers: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(service.clone().oneshot(Script::Hold))).collect();

    for _ in 0..CALLERS {
        settle().await;
    }
    let at_once = bench.probe.running();
    for _ in 0..CALLERS {
        bench.probe.release(1);
        settle().await;
    }
    let mut refused = 0_usize;
    for caller in callers {
        match soon("a caller under a buffer", caller).await {
            Ok(Ok(answer)) => assert_eq!(answer, "answered"),
            Ok(Err(error)) if matches!(error.downcast_ref(), Some(Error::<ProbeError>::Rejected(_))) => {
                refused = refused.saturating_add(1);
            }
            lost => unreachable!("a caller under a buffer was lost: {lost:?}"),
        }
    }

    assert!(at_once > 1, "{at_once} calls were under way at once");
    assert_eq!(at_once == CALLERS, crowd == Crowd::Passes, "{at_once} calls were under way at once");
    assert_eq!(refused > 0, crowd == Crowd::IsRefused, "{refused} were refused");
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
    let is_refused = async |service: L::Service, _: &Probe| {
        let answer = soon("a call of a layer that refuses", service.oneshot(Script::Answer)).await;
        matches!(answer, Err(Error::Rejected(_)))
    };
    what_one_service_learns_all_know(make, saturate, is_refused).await;
}

/// The same for what shows in another way than by a refusal: `teach` makes the layer learn something through one of its
/// services, `knows` tells whether another one shows it. One of a layer that was made anew must not.
pub async fn what_one_service_learns_all_know<L, F>(
    make: impl Fn(TestEnv) -> L,
    teach: impl AsyncFnOnce(L::Service) -> F,
    knows: impl AsyncFn(L::Service, &Probe) -> bool,
) where
    L: Layer<Leaf, Service: Subject> + Clone,
{
    let bench = Bench::new();
    let (layer, other) = (make(bench.env()), make(bench.env()));
    let leaf = || bench.leaf(Behind::Nothing);
    let service = layer.layer(leaf());

    let kept = teach(service.clone()).await;

    for (who, handle, expected) in [
        ("a clone", service, true),
        ("a second service", layer.layer(leaf()), true),
        ("a clone of the layer", layer.clone().layer(leaf()), true),
        ("another layer", other.layer(leaf()), false),
    ] {
        let knows = knows(handle, &bench.probe).await;
        assert_eq!(knows, expected, "{who}: whether it knows what the first service has learnt");
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
    /// It lets some of them wait until others have ended, and refuses none.
    Waits,
    /// It lets some of them wait until their time has come, the last of them for so long, and refuses none.
    WaitsFor(Duration),
}

const CALLERS: usize = 50;

/// Fifty calls that hold, released one at a time: each is woken, and polled at most three times per event. None is
/// refused by a layer that lets them wait, and all of it takes no time but what the layer makes them wait: paused time
/// runs on, to the end of somebody's wait, only when a wake-up was lost.
pub async fn every_waiter_is_woken_and_none_spins<L>(make: impl Fn(TestEnv) -> L, crowd: Crowd)
where
    L: Layer<Leaf, Service: Subject>,
{
    const POLLS_PER_EVENT: usize = 3;
    let bench = Bench::new();
    let service = make(bench.env()).layer(bench.leaf(Behind::Nothing));
    let begin = TokioClock.now();
    let polls: Vec<_> = (0..CALLERS).map(|_| Polls::default()).collect();
    let tasks: Vec<_> =
        polls.iter().map(|polls| tokio::spawn(polls.count(service.clone().oneshot(Script::Hold)))).collect();

    settle().await;
    let mut most_at_once = 0_usize;
    for _ in 0..CALLERS {
        let before: Vec<_> = polls.iter().map(Polls::get).collect();
        bench.probe.release(1);
        settle().await;
        let since = polls.iter().zip(before).map(|(polls, before)| polls.get().saturating_sub(before));
        most_at_once = most_at_once.max(since.max().unwrap_or(0));
    }
    let mut refused = 0_usize;
    for task in tasks {
        match soon("a call that holds", task).await {
            Ok(Ok(answer)) => assert_eq!(answer, "answered"),
            Ok(Err(Error::Rejected(_))) => refused = refused.saturating_add(1),
            lost => unreachable!("a waiter was lost: {lost:?}"),
        }
    }

    let waits = if let Crowd::WaitsFor(time) = crowd { time } else { Duration::ZERO };
    assert_eq!(TokioClock.now().since(begin), waits, "somebody slept until its time was up: a wake-up was lost");
    assert_eq!(refused > 0, crowd == Crowd::IsRefused, "{refused} were refused");
    assert_eq!(bench.probe.most_running() < CALLERS, crowd != Crowd::Passes, "{crowd:?}");
    assert!(most_at_once <= POLLS_PER_EVENT, "a waiter was polled {most_at_once} times when one call ended");
    // Two events concern a waiter that queues: its turn, and its answer. A waiter that does not, one.
    let queues = matches!(crowd, Crowd::Waits | Crowd::WaitsFor(_));
    let allowed = if queues { 2 * POLLS_PER_EVENT } else { POLLS_PER_EVENT };
    let most = polls.iter().map(Polls::get).max().unwrap_or(0);
    assert!(most <= allowed, "a waiter was polled {most} times");
    bench.assert_idle("after all waiters were answered");
}
