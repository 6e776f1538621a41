//! Prints what a checkout costs beside tokio's `Semaphore`, which hands out no object and knows no time:
//! `cargo run --release -p seawall-pool --example what_a_checkout_costs`.

use std::{convert::Infallible, hint::black_box, sync::Arc, time::Instant};

use seawall_core::{Clock, MonotonicClock};
use seawall_pool::{Manager, Pool, PoolConfig};
use tokio::{runtime::Builder, sync::Semaphore, task::yield_now};

/// Rounds of each measurement, of which the median is printed.
const ROUNDS: usize = 15;
/// Checkouts per round without contention.
const ALONE: u32 = 100_000;
/// Tasks that share ten connections, and checkouts of each per round.
const TASKS: u32 = 64;
const EACH: u32 = 1_000;

/// Connections that cost nothing.
struct Free;

impl Manager for Free {
    type Connection = u64;
    type Error = Infallible;

    async fn connect(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    async fn check(&self, _: &mut u64) -> Result<(), Infallible> {
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "this measures real time")]
async fn nanos(count: u32, work: impl Future<Output = ()>) -> f64 {
    let start = Instant::now();
    work.await;
    start.elapsed().as_secs_f64() * 1e9 / f64::from(count)
}

async fn alone(pool: &Pool<Free>) -> f64 {
    nanos(ALONE, async {
        for _ in 0..ALONE {
            black_box(pool.get().await.ok());
        }
    })
    .await
}

async fn semaphore_alone(semaphore: &Semaphore) -> f64 {
    nanos(ALONE, async {
        for _ in 0..ALONE {
            black_box(semaphore.acquire().await.ok());
        }
    })
    .await
}

async fn clock() -> f64 {
    nanos(ALONE, async {
        for _ in 0..ALONE {
            black_box(MonotonicClock.now());
        }
    })
    .await
}

/// All tasks hold what they get over one yield.
async fn together<G, F>(get: G) -> f64
where
    G: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    nanos(TASKS.saturating_mul(EACH), async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let get = get.clone();
                tokio::spawn(async move {
                    for _ in 0..EACH {
                        get().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no task panics");
        }
    })
    .await
}

async fn pool_together() -> f64 {
    let pool = Pool::with_config(Free, PoolConfig::new().with_max(10)).expect("a good configuration");
    together(move || {
        let pool = pool.clone();
        async move {
            let connection = pool.get().await.ok();
            yield_now().await;
            drop(connection);
        }
    })
    .await
}

async fn semaphore_together() -> f64 {
    let semaphore = Arc::new(Semaphore::new(10));
    together(move || {
        let semaphore = Arc::clone(&semaphore);
        async move {
            let permit = semaphore.acquire().await.ok();
            yield_now().await;
            drop(permit);
        }
    })
    .await
}

/// One line per measurement, its rounds interleaved with those of the others.
fn report(rounds: &mut [(&str, Vec<f64>)]) {
    for (name, nanos) in rounds {
        nanos.sort_by(f64::total_cmp);
        let median = nanos.get(nanos.len() / 2).copied().unwrap_or(f64::NAN);
        println!("{name:<45}{median:8.1} ns");
    }
}

fn main() -> std::io::Result<()> {
    let one = Builder::new_current_thread().enable_time().build()?;
    let two = Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    let mut rounds: Vec<(&str, Vec<f64>)> = [
        "one clock reading (a checkout has two)",
        "Semaphore, one task",
        "pool, one task",
        "pool, one task, leaked",
        "Semaphore, 64 tasks over 10, one thread",
        "pool, 64 tasks over 10, one thread",
        "Semaphore, 64 tasks over 10, two threads",
        "pool, 64 tasks over 10, two threads",
    ]
    .map(|name| (name, Vec::new()))
    .into();
    let semaphore = Semaphore::new(10);
    let (counted, leaked) = (Pool::new(Free), Pool::new(Free).leak());
    for _ in 0..ROUNDS {
        let measured = [
            one.block_on(clock()),
            one.block_on(semaphore_alone(&semaphore)),
            one.block_on(alone(&counted)),
            one.block_on(alone(&leaked)),
            one.block_on(semaphore_together()),
            one.block_on(pool_together()),
            two.block_on(semaphore_together()),
            two.block_on(pool_together()),
        ];
        for ((_, rounds), nanos) in rounds.iter_mut().zip(measured) {
            rounds.push(nanos);
        }
    }
    report(&mut rounds);
    Ok(())
}
