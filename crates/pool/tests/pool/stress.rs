use std::time::Duration;

use seawall_core::{Entropy, SeededEntropy};
use seawall_pool::{Pool, PoolConfig};

use crate::support::Scripted;

/// Callers on two threads that give up at random points: whatever they leave behind is found and used by others.
#[test]
fn a_hundred_thousand_callers_that_give_up_at_random_points_lose_nothing() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime");
    let script = Scripted::new();
    let config = PoolConfig::new().with_max(10).with_check_after(Duration::ZERO).with_max_waiters(10_000);
    let pool = Pool::with_config(script.clone(), config).expect("a good configuration");
    let tasks: Vec<_> = (0..100_u64)
        .map(|seed| {
            let pool = pool.clone();
            runtime.spawn(async move {
                let entropy = SeededEntropy::new(seed);
                let mut served = 0_u32;
                for _ in 0..1_000 {
                    let mut polls_left = entropy.next_u64() % 6;
                    let mut call = Box::pin(async {
                        let connection = pool.get().await.expect("it is never closed");
                        tokio::task::yield_now().await;
                        drop(connection);
                    });
                    let ended = std::future::poll_fn(|cx| match call.as_mut().poll(cx) {
                        std::task::Poll::Ready(()) => std::task::Poll::Ready(true),
                        std::task::Poll::Pending if polls_left == 0 => std::task::Poll::Ready(false),
                        std::task::Poll::Pending => {
                            polls_left = polls_left.saturating_sub(1);
                            // A caller that is polled for another reason finds its wait as it was.
                            cx.waker().wake_by_ref();
                            std::task::Poll::Pending
                        }
                    });
                    served = served.saturating_add(u32::from(ended.await));
                }
                served
            })
        })
        .collect();

    let served: u32 =
        tasks.into_iter().map(|task| runtime.block_on(task).expect("no panic")).fold(0, u32::saturating_add);

    assert!(served > 1_000, "{served}");
    let all = runtime.block_on(async {
        let mut all = Vec::new();
        for _ in 0..10 {
            all.push(pool.get().await.expect("all ten can be had"));
        }
        all
    });
    let status = pool.status();
    assert_eq!((status.in_use, status.waiters, script.open()), (10, 0, 10));
    assert_eq!(status.totals.created.saturating_sub(status.totals.closed.sum()), 10);
    drop(all);
    runtime.block_on(pool.drain());
    assert_eq!(script.open(), 0);
}
