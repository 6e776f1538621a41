use std::{
    fmt::Debug,
    task::{Context, Waker},
};

use seawall_core::{Entropy, SeededEntropy};
use tower::{ServiceExt, buffer::Buffer};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    BOUND, Behind, Bench, Leaf, Subject,
    endings::{ENDINGS, drive},
    settle, soon,
};
use crate::{Script, TestEnv};

/// How far a call is let go before everything of it is dropped.
#[derive(Copy, Clone, Debug)]
enum DroppedAfter {
    Clone,
    Readiness,
    /// Of a handle and of a clone of it, which has no readiness of its own.
    ReadinessTwice,
    Call,
    Polls(usize),
    /// The handle is kept until the answer has come.
    Answer,
}

const STEPS: [DroppedAfter; 7] = [
    DroppedAfter::Clone,
    DroppedAfter::Readiness,
    DroppedAfter::ReadinessTwice,
    DroppedAfter::Call,
    DroppedAfter::Polls(1),
    DroppedAfter::Polls(3),
    DroppedAfter::Answer,
];

/// However a call ends, by an answer, a failure, a timeout or a panic, it leaves nothing held. And dropping any handle and
/// any future at any point leaves nothing held and keeps nobody out: at each step ten times in a row, and then 100,000
/// times at random; over the probe itself, over tower's limit of one, over tower's buffer and under it.
pub async fn dropping_at_any_point_leaves_nothing_held<L>(make: impl Fn(TestEnv) -> L, held: impl Fn(&L) -> usize)
where
    L: Layer<Leaf, Service: Subject>,
{
    for ending in ENDINGS {
        let (bench, layer) = new(&make);
        drive(&mut layer.layer(bench.leaf(Behind::Nothing)), &ending).await;
        settle().await;
        assert_nothing_is_held(&bench, &layer, &held, &ending);
    }
    for behind in [Behind::Nothing, Behind::LimitOfOne, Behind::Buffer] {
        for step in STEPS {
            drop_after(step, behind, &make, &held).await;
        }
        let (bench, layer) = new(&make);
        drop_at_random(
            layer.layer(bench.leaf(behind)),
            if matches!(behind, Behind::Nothing) { 100_000 } else { 10_000 },
        )
        .await;
        assert_nothing_is_held(&bench, &layer, &held, &behind);

        let (bench, layer) = new(&make);
        drop_at_random(Buffer::new(layer.layer(bench.leaf(behind)), BOUND), 10_000).await;
        assert_nothing_is_held(&bench, &layer, &held, &behind);
    }
}

fn new<L>(make: impl Fn(TestEnv) -> L) -> (Bench, L) {
    let bench = Bench::new();
    let layer = make(bench.env());
    (bench, layer)
}

fn assert_nothing_is_held<L>(bench: &Bench, layer: &L, held: impl Fn(&L) -> usize, after: &dyn Debug) {
    assert_eq!(held(layer), 0, "the layer still holds places: {after:?}");
    bench.assert_idle("after drops");
}

/// Ten times in a row, on one layer; the next call is answered. Fewer than a quota has, more than a breaker has probes.
async fn drop_after<L>(step: DroppedAfter, behind: Behind, make: impl Fn(TestEnv) -> L, held: impl Fn(&L) -> usize)
where
    L: Layer<Leaf, Service: Subject>,
{
    const TIMES: usize = 10;
    let (bench, layer) = new(make);
    let service = layer.layer(bench.leaf(behind));
    let what = format!("a handle over {behind:?}, after others were dropped after {step:?}");

    for _ in 0..TIMES {
        let mut handle = service.clone();
        if matches!(step, DroppedAfter::Clone) {
            continue;
        }
        assert!(soon(&what, handle.ready()).await.is_ok(), "{what} is not ready");
        match step {
            DroppedAfter::Clone | DroppedAfter::Readiness => {}
            DroppedAfter::ReadinessTwice => {
                let mut clone = handle.clone();
                let _ = clone.poll_ready(&mut Context::from_waker(Waker::noop()));
            }
            DroppedAfter::Call => drop(handle.call(Script::Hang)),
            DroppedAfter::Polls(polls) => {
                let mut future = Box::pin(handle.call(Script::Hang));
                for _ in 0..polls {
                    let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    settle().await;
                }
            }
            DroppedAfter::Answer => assert_eq!(soon(&what, handle.call(Script::AnswerLater)).await, Ok("answered")),
        }
    }
    settle().await;

    // Before anybody looks: `held` may try the layer out, and so mend it.
    bench.assert_idle("after drops");
    assert_eq!(soon(&what, service.oneshot(Script::Answer)).await, Ok("answered"), "{what}");
    assert_nothing_is_held(&bench, &layer, &held, &behind);
}

async fn drop_at_random<S>(service: S, calls: usize)
where
    S: Service<Script> + Clone,
{
    const AT_ONCE: usize = 8;
    let scripts: [Script; 4] = [Script::Answer, Script::AnswerLater, Script::Hang, Script::Hold];
    let entropy = SeededEntropy::new(7);
    let mut cx = Context::from_waker(Waker::noop());
    let (mut under_way, mut idle) = (Vec::new(), Vec::new());

    for _ in 0..calls {
        let word = usize::try_from(entropy.next_u64() >> 40).unwrap_or(0);
        let mut handle = service.clone();
        if handle.poll_ready(&mut cx).is_pending() {
            under_way.clear();
            idle.clear();
            tokio::task::yield_now().await;
            continue;
        }
        match (word >> 14) % 8 {
            0 => drop(handle),
            1 => idle.push(handle),
            2 => {
                let mut clone = handle.clone();
                let _ = clone.poll_ready(&mut cx);
                idle.push(clone);
            }
            _ => {
                let mut future = Box::pin(handle.call(scripts[word & 3]));
                for _ in 0..(word >> 4) % 3 {
                    if future.as_mut().poll(&mut cx).is_ready() {
                        break;
                    }
                }
                under_way.push(future);
            }
        }
        if under_way.len() >= AT_ONCE {
            drop(under_way.swap_remove((word >> 8) % AT_ONCE));
        }
        if idle.len() >= AT_ONCE {
            drop(idle.swap_remove((word >> 8) % AT_ONCE));
        }
        if (word >> 12) % 4 == 0 {
            tokio::task::yield_now().await;
        }
    }
    drop((under_way, idle, service));
    settle().await;
}
