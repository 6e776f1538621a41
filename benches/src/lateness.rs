//! How late sleepers are woken while every core is busy: ours beside tokio's.

use std::{
    fmt,
    hint::black_box,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use seawall::core::{Clock, Entropy, MonotonicClock, SeededEntropy, Timer, Timestamp};

/// Tasks that sleep at once.
const TASKS: u64 = 1_000;
/// How often each of them sleeps.
const SLEEPS: usize = 100;
/// The longest sleep.
const LONGEST: Duration = Duration::from_millis(100);
/// What a busy task does before it lets others run.
const BUSY: Duration = Duration::from_micros(50);

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How late the sleepers of one timer were.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Lateness {
    /// Whose timer.
    pub name: &'static str,
    /// Until they were woken, in order: the timer's own lateness.
    pub woken: Vec<Duration>,
    /// Until they ran, in order: the runtime's queue on top.
    pub ran: Vec<Duration>,
    /// How many were woken early.
    pub early: usize,
}

/// The lateness that the share `quantile` did not exceed.
fn quantile(sorted: &[Duration], quantile: f64) -> Duration {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let rank = (sorted.len() as f64 * quantile) as usize;
    sorted.get(rank.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

impl fmt::Display for Lateness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:23} {} sleeps, {} early", self.name, self.ran.len(), self.early)?;
        for (what, sorted) in [("woken", &self.woken), ("ran", &self.ran)] {
            let [median, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(|share| quantile(sorted, share));
            write!(f, "; {what} {median:.2?} late p50, {p99:.2?} p99, {p999:.2?} p99.9, {most:.2?} at most")?;
        }
        Ok(())
    }
}

/// Measures both timers, one after the other, on as many workers as there are cores, each with a task that is always busy.
///
/// # Errors
/// The system refuses a runtime its threads.
pub fn measure() -> std::io::Result<[Lateness; 2]> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
    let ours = runtime.block_on(lateness("seawall MonotonicClock", |at| Box::pin(MonotonicClock.sleep_until(at))));
    let tokios =
        runtime.block_on(lateness("tokio sleep", |at| Box::pin(tokio::time::sleep(at.since(MonotonicClock.now())))));
    Ok([ours, tokios])
}

async fn lateness(name: &'static str, sleep: fn(Timestamp) -> Sleep) -> Lateness {
    let over = Arc::new(AtomicBool::new(false));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let busy: Vec<_> = (0..cores).map(|_| tokio::spawn(keep_busy(Arc::clone(&over)))).collect();
    let sleepers: Vec<_> = (0..TASKS).map(|seed| tokio::spawn(keep_sleeping(seed, sleep))).collect();
    let mut ends = Vec::new();
    for sleeper in sleepers {
        ends.extend(sleeper.await.unwrap_or_default());
    }
    over.store(true, Relaxed);
    for task in busy {
        // It ends by itself.
        let _ = task.await;
    }
    let early = ends.iter().filter(|end| end.woken < end.at).count();
    let sorted = |late: fn(&End) -> Duration| {
        let mut sorted: Vec<_> = ends.iter().map(late).collect();
        sorted.sort_unstable();
        sorted
    };
    let (woken, ran) = (sorted(|end| end.woken.since(end.at)), sorted(|end| end.ran.since(end.at)));
    Lateness { name, woken, ran, early }
}

/// The end of one sleep.
struct End {
    at: Timestamp,
    woken: Timestamp,
    ran: Timestamp,
}

/// Notes when a task is woken.
struct Noting {
    woken: AtomicU64,
    task: Waker,
}

impl Wake for Noting {
    fn wake(self: Arc<Self>) {
        self.woken.store(MonotonicClock.now().as_nanos(), Relaxed);
        self.task.wake_by_ref();
    }
}

/// Sleeps, and says when it was woken; one that never was found its time over at once.
async fn woken(mut sleep: Sleep) -> Option<Timestamp> {
    let mut noting: Option<Arc<Noting>> = None;
    std::future::poll_fn(|cx| {
        let noting =
            noting.get_or_insert_with(|| Arc::new(Noting { woken: AtomicU64::new(0), task: cx.waker().clone() }));
        let waker = Waker::from(Arc::clone(noting));
        let woken = Timestamp::from_nanos(noting.woken.load(Relaxed));
        sleep.as_mut().poll(&mut Context::from_waker(&waker)).map(|()| Some(woken).filter(|at| *at > Timestamp::ZERO))
    })
    .await
}

async fn keep_busy(over: Arc<AtomicBool>) {
    while !over.load(Relaxed) {
        let until = MonotonicClock.now().saturating_add(BUSY);
        while MonotonicClock.now() < until {
            black_box(());
        }
        tokio::task::yield_now().await;
    }
}

async fn keep_sleeping(seed: u64, sleep: fn(Timestamp) -> Sleep) -> Vec<End> {
    let entropy = SeededEntropy::new(seed);
    let longest = u64::try_from(LONGEST.as_nanos()).unwrap_or(u64::MAX);
    let mut ends = Vec::with_capacity(SLEEPS);
    for _ in 0..SLEEPS {
        let by = Duration::from_nanos(entropy.next_u64().checked_rem(longest).unwrap_or(0));
        let at = MonotonicClock.now().saturating_add(by);
        let woken = woken(sleep(at)).await;
        let ran = MonotonicClock.now();
        ends.push(End { at, woken: woken.unwrap_or(ran), ran });
    }
    ends
}
