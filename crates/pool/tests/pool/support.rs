//! A manager whose connects and checks do what a test says, on a clock that the test moves.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use seawall_core::{Env, SeededEntropy, VirtualClock};
use seawall_pool::{Get, Manager, Pool, PoolConfig};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};

/// An environment in virtual time.
pub(crate) type TestEnv = Env<
    VirtualClock,
    seawall_core::ByResult,
    seawall_core::NoAttributes,
    seawall_core::NoObserver,
    seawall_core::AtHead,
    SeededEntropy,
>;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("connection refused")]
    Refused,
    #[error("connection reset")]
    Reset,
}

/// What a connect or a check does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Open,
    Fail(Fault),
    /// Waits until it is released.
    Held,
    Panic,
}

/// A connection that knows its number, and counts itself.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: u32,
    pub(crate) broken: bool,
    pub(crate) panics: bool,
    /// Panics when it is dropped.
    pub(crate) falls_apart: bool,
    open: Arc<AtomicUsize>,
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.open.fetch_sub(1, SeqCst);
        assert!(!self.falls_apart, "as the test says");
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Scripted(Arc<State>);

#[derive(Debug)]
struct State {
    connects: watch::Sender<Answer>,
    checks: watch::Sender<Answer>,
    dead: watch::Sender<Vec<u32>>,
    released: Notify,
    ids: AtomicU32,
    open: Arc<AtomicUsize>,
    started: AtomicUsize,
    under_way: AtomicUsize,
    most_at_once: AtomicUsize,
    cut: AtomicUsize,
    checked: AtomicUsize,
}

pub(crate) struct Started {
    pub(crate) pool: Pool<Scripted, TestEnv>,
    pub(crate) clock: VirtualClock,
    pub(crate) script: Scripted,
}

impl Scripted {
    pub(crate) fn new() -> Self {
        Self(Arc::new(State {
            connects: watch::Sender::new(Answer::Open),
            checks: watch::Sender::new(Answer::Open),
            dead: watch::Sender::new(Vec::new()),
            released: Notify::new(),
            ids: AtomicU32::new(0),
            open: Arc::default(),
            started: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            cut: AtomicUsize::new(0),
            checked: AtomicUsize::new(0),
        }))
    }

    pub(crate) fn start(config: PoolConfig) -> Started {
        let (script, clock) = (Self::new(), VirtualClock::new());
        let env = Env::new().with_clock(clock.clone()).with_entropy(SeededEntropy::new(7));
        let pool = Pool::with_env(script.clone(), config, env).expect("a good configuration");
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(time_is_up(clock.clone()));
        }
        Started { pool, clock, script }
    }

    pub(crate) fn connects(&self, answer: Answer) {
        self.0.connects.send_replace(answer);
    }

    pub(crate) fn checks(&self, answer: Answer) {
        self.0.checks.send_replace(answer);
    }

    /// Lets everything go on that is held, and everything that comes.
    pub(crate) fn release(&self) {
        self.connects(Answer::Open);
        self.checks(Answer::Open);
        self.0.released.notify_waiters();
    }

    /// Makes the checks of a connection fail.
    pub(crate) fn kill(&self, id: u32) {
        self.0.dead.send_modify(|dead| dead.push(id));
    }

    pub(crate) fn open(&self) -> usize {
        self.0.open.load(SeqCst)
    }

    pub(crate) fn started(&self) -> usize {
        self.0.started.load(SeqCst)
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.0.most_at_once.load(SeqCst)
    }

    /// Connects whose future was dropped before its end.
    pub(crate) fn cut(&self) -> usize {
        self.0.cut.load(SeqCst)
    }

    pub(crate) fn checked(&self) -> usize {
        self.0.checked.load(SeqCst)
    }

    async fn answer(&self, answer: &watch::Sender<Answer>) -> Result<(), Fault> {
        let now = answer.borrow().clone();
        match now {
            Answer::Open => Ok(()),
            Answer::Fail(fault) => Err(fault),
            Answer::Held => {
                self.0.released.notified().await;
                Ok(())
            }
            Answer::Panic => unreachable!("as the test says"),
        }
    }
}

struct UnderWay<'a> {
    state: &'a State,
    ended: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.state.under_way.fetch_sub(1, SeqCst);
        self.state.cut.fetch_add(usize::from(!self.ended), SeqCst);
    }
}

impl Manager for Scripted {
    type Connection = Conn;
    type Error = Fault;

    async fn connect(&self) -> Result<Conn, Fault> {
        let state = &*self.0;
        state.started.fetch_add(1, SeqCst);
        let now = state.under_way.fetch_add(1, SeqCst).saturating_add(1);
        state.most_at_once.fetch_max(now, SeqCst);
        let mut under_way = UnderWay { state, ended: false };
        let answer = self.answer(&state.connects).await;
        under_way.ended = true;
        answer?;
        state.open.fetch_add(1, SeqCst);
        let id = state.ids.fetch_add(1, SeqCst).saturating_add(1);
        Ok(Conn { id, broken: false, panics: false, falls_apart: false, open: Arc::clone(&state.open) })
    }

    async fn check(&self, connection: &mut Conn) -> Result<(), Fault> {
        self.0.checked.fetch_add(1, SeqCst);
        if self.0.dead.borrow().contains(&connection.id) {
            return Err(Fault::Reset);
        }
        self.answer(&self.0.checks).await
    }

    fn target(&self) -> Option<String> {
        Some("127.0.0.1:5432".to_owned())
    }

    fn is_broken(&self, connection: &mut Conn) -> bool {
        assert!(!connection.panics, "as the test says");
        connection.broken
    }

    fn is_stale(&self, error: &Fault) -> bool {
        *error == Fault::Reset
    }
}

/// Tokio's paused time runs only when nothing else can: the time of those who wait is up then, so that a test fails where
/// it would wait for ever.
async fn time_is_up(clock: VirtualClock) {
    const HOUR: Duration = Duration::from_secs(3_600);
    tokio::time::sleep(HOUR).await;
    clock.advance(HOUR);
}

/// A caller that asks when it is first polled.
#[track_caller]
pub(crate) fn ask(pool: &Pool<Scripted, TestEnv>) -> Pin<Box<Get<Scripted, TestEnv>>> {
    Box::pin(pool.get())
}

/// Polls once; the answer must not be there.
pub(crate) async fn still_pending<F: Future + Unpin>(future: &mut F) {
    let polled = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_pending()));
    assert!(polled.await, "it is ready too early");
}

/// Lets the tasks run until the answer is there.
pub(crate) async fn ready<F: Future + Unpin>(future: &mut F) -> F::Output {
    for _ in 0..1_000 {
        let polled = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx)));
        if let Poll::Ready(output) = polled.await {
            return output;
        }
        tokio::task::yield_now().await;
    }
    unreachable!("it is never ready");
}

/// Lets the tasks run until something has happened.
pub(crate) async fn has_happened(condition: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    unreachable!("it never happened");
}
