use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_core::Error;
use tower_layer::Layer;

use super::{Behind, Bench, Leaf, Subject, ledger, settle};
use crate::{Booked, ProbeError, Script, TestEnv, hold};

/// How one call is made to end.
#[derive(Copy, Clone, Debug)]
pub(super) struct Ending {
    script: Script,
    /// Drop the future after this many polls.
    polls: usize,
    expected: fn(&mut Booked),
}

impl Ending {
    fn expected(&self) -> Booked {
        let mut expected = Booked::default();
        (self.expected)(&mut expected);
        expected
    }

    /// Whether a layer may have thoughts of its own on it: try again, answer in its place.
    fn is_failure(&self) -> bool {
        matches!(self.script, Script::Fail | Script::TimeOut)
    }
}

pub(super) const ENDINGS: [Ending; 8] = [
    Ending { script: Script::Answer, polls: 9, expected: |booked| booked.returned = 1 },
    Ending { script: Script::AnswerLater, polls: 9, expected: |booked| booked.returned = 1 },
    Ending { script: Script::Fail, polls: 9, expected: |booked| booked.failed = 1 },
    Ending { script: Script::TimeOut, polls: 9, expected: |booked| booked.timed_out = 1 },
    Ending { script: Script::Hang, polls: 1, expected: |booked| booked.dropped = 1 },
    Ending { script: Script::Answer, polls: 0, expected: |booked| booked.dropped = 1 },
    Ending { script: Script::PanicInCall, polls: 9, expected: |booked| booked.panicked = 1 },
    Ending { script: Script::PanicInPoll, polls: 9, expected: |booked| booked.panicked = 1 },
];

type Answer = Result<&'static str, Error<ProbeError>>;

/// Calls `service`; nothing if that panicked.
fn begin<S: Subject>(service: &mut S, script: Script) -> Option<Pin<Box<S::Future>>> {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready(), "not ready with nothing under way");
    catch_unwind(AssertUnwindSafe(|| service.call(script))).ok().map(Box::pin)
}

/// Polls up to `polls` times, and lets other tasks run before each time after the first; a panic stops there.
///
/// The future is dropped by the caller, who catches no panic any more: a layer that asks `std::thread::panicking()` then
/// is told that nobody does.
async fn poll<F: Future<Output = Answer>>(future: &mut Pin<Box<F>>, polls: usize) -> Poll<Answer> {
    for round in 0..polls {
        if round > 0 {
            tokio::task::yield_now().await;
        }
        let mut cx = Context::from_waker(Waker::noop());
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx))) {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(answer)) => return Poll::Ready(answer),
            Err(_) => return Poll::Pending,
        }
    }
    Poll::Pending
}

pub(super) async fn drive<S: Subject>(service: &mut S, ending: &Ending) {
    if let Some(mut future) = begin(service, ending.script) {
        let _ = poll(&mut future, ending.polls).await;
    }
}

/// Returned, failed, timed out, dropped before and after its first poll, panicked in `call` and in `poll` (caught further
/// out): each is booked exactly once, as what it was, by the layer itself and by whatever stands inside it.
pub async fn every_call_ends_in_exactly_one_outcome<L>(make: impl Fn(TestEnv) -> L)
where
    L: Layer<Leaf, Service: Subject>,
{
    each_ending_is_booked(make, Ending::expected).await;
}

/// The same for [`ByRun`](super::ByRun), whose futures ask the gate when they are first polled: one that was dropped before
/// that is no call, and is not booked.
pub async fn every_run_ends_in_exactly_one_outcome<L>(make: impl Fn(TestEnv) -> L)
where
    L: Layer<Leaf, Service: Subject>,
{
    each_ending_is_booked(make, |ending| if ending.polls == 0 { Booked::default() } else { ending.expected() }).await;
}

async fn each_ending_is_booked<L>(make: impl Fn(TestEnv) -> L, expected: impl Fn(&Ending) -> Booked)
where
    L: Layer<Leaf, Service: Subject>,
{
    for ending in ENDINGS {
        let bench = Bench::new();
        let mut service = make(bench.env()).layer(bench.leaf(Behind::Nothing));

        drive(&mut service, &ending).await;

        assert_eq!(bench.recorder.booked(), expected(&ending), "{ending:?}");
        bench.assert_idle("after one call");
    }
}

/// For layers that are no gates: a ledger outside books each call once, whatever the layer does with it inside, and as
/// what it was, unless the layer may mend it.
pub async fn every_call_through_it_ends_once<L>(make: impl Fn(TestEnv) -> L)
where
    L: Layer<Leaf, Service: Subject>,
{
    for ending in ENDINGS {
        let bench = Bench::new();
        let outside = ledger(bench.outside.clone());
        let mut service = outside.layer(make(bench.env()).layer(bench.leaf(Behind::Nothing)));

        drive(&mut service, &ending).await;

        settle().await;
        let booked = bench.outside.booked();
        assert_eq!((booked.total(), outside.gate().open()), (1, 0), "{ending:?}");
        assert!(ending.is_failure() || booked == ending.expected(), "{ending:?} was booked as {booked:?}");
        bench.assert_idle("after one call");
    }
}

/// The same for calls that found none of the layer's `places` free and waited: dropped while they wait, or when they
/// have just been handed a place, and every ending after that.
pub async fn every_call_that_waited_ends_in_exactly_one_outcome<L>(make: impl Fn(TestEnv) -> L, places: usize)
where
    L: Layer<Leaf, Service: Subject>,
{
    for ending in ENDINGS {
        let bench = Bench::new();
        let service = make(bench.env()).layer(bench.leaf(Behind::Nothing));
        let held = fill(&bench, &service, places).await;
        let Some(mut future) = begin(&mut service.clone(), ending.script) else {
            unreachable!("{ending:?} was called with no place free")
        };
        assert!(poll(&mut future, 1).await.is_pending(), "{ending:?} did not wait");
        assert_eq!(bench.probe.calls(), places, "{ending:?} was let through with no place free");

        drop(held);
        // Where turns come with time, not with places.
        tokio::time::advance(Duration::from_millis(2)).await;
        let _ = poll(&mut future, ending.polls).await;
        drop(future);

        let mut expected = ending.expected();
        expected.dropped = expected.dropped.saturating_add(places);
        assert_eq!(bench.recorder.booked(), expected, "{ending:?} after a wait");
        bench.assert_idle("after a call that waited");
        tokio::time::advance(Duration::from_secs(3600)).await;
        let held = fill(&bench, &service, places).await;
        assert_eq!(bench.probe.running(), places, "{ending:?} after a wait: not all places are free again");
        drop(held);
    }

    let bench = Bench::new();
    let service = make(bench.env()).layer(bench.leaf(Behind::Nothing));
    let held = fill(&bench, &service, places).await;
    drop(fill(&bench, &service, 1).await);
    assert_eq!((bench.recorder.booked().dropped, bench.recorder.booked().total()), (1, 1), "dropped while it waits");
    drop(held);
}

/// A call that waits for one of the layer's `places` until its time is up is refused once, and nothing else.
pub async fn a_call_that_waits_in_vain_is_booked_as_refused<L>(make: impl Fn(TestEnv) -> L, places: usize)
where
    L: Layer<Leaf, Service: Subject>,
{
    let bench = Bench::new();
    let service = make(bench.env()).layer(bench.leaf(Behind::Nothing));
    let held = fill(&bench, &service, places).await;
    let Some(mut future) = begin(&mut service.clone(), Script::Answer) else { unreachable!("{NEVER_CALLED}") };
    assert!(poll(&mut future, 1).await.is_pending(), "it did not wait");

    tokio::time::advance(Duration::from_secs(3600)).await;
    let answer = poll(&mut future, 1).await;
    drop(future);

    assert!(matches!(answer, Poll::Ready(Err(Error::Rejected(_)))), "it was not refused: {answer:?}");
    assert_eq!((bench.recorder.booked().rejected, bench.recorder.booked().total()), (1, 1));
    drop(held);
    bench.assert_idle("after a call that waited in vain");
}

const NEVER_CALLED: &str = "what waits has not been called";

/// Begins `count` calls that hang, and lets what they set in motion come to rest.
async fn fill<S: Subject>(bench: &Bench, service: &S, count: usize) -> impl Sized + use<S> {
    let mut held = hold(service, Script::Hang, count);
    for _ in 0..4 {
        tokio::task::yield_now().await;
        held.poll();
    }
    assert!(bench.probe.running() >= count.min(1), "nothing is under way");
    held
}
