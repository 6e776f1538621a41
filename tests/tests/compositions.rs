//! Orders of layers, on the side of the caller and of the server, each over something that works, then fails, hangs, panics, is
//! too busy, trickles or refuses connections, and recovers, in virtual time. What happens is written down in docs/compositions.md: the test fails when that page says something else,
//! and `SEAWALL_WRITE_DOCS=1 cargo test -p seawall-tests --test compositions` writes it anew.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use seawall::{
    backoff_with_jitter::{
        Advice, Backoff, ByClass, CloneRequest, IfUnknown, Jitter, RetryConfig, RetryLayer, RetryWhen,
    },
    bulkhead::{BulkheadConfig, BulkheadLayer},
    circuit_breaker::{BreakerConfig, CircuitBreakerLayer, State},
    core::{
        CallContext, Class, Classify, Clock, Env, Error, GateLayer, SeededEntropy, Timestamp, TokioClock, Verdict,
        WrapError,
    },
    fallback::{FallbackLayer, Value},
    load_shedder::{LoadShedderConfig, LoadShedderLayer, Throttle, ThrottleConfig},
    timeout::{CarryDeadline, TimeoutConfig, TimeoutLayer},
};
use seawall_testkit::{Probe, ProbeFuture, Script};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};

const CALL_EVERY: Duration = Duration::from_millis(100);
const WARM: u32 = 50;
const BROKEN: u32 = 100;
const HEALTHY: u32 = 300;
const TOTAL: Duration = Duration::from_secs(5);
const ATTEMPT: Duration = Duration::from_secs(1);

/// A request: all that layers may know of it is its deadline, and that it may be repeated.
#[derive(Copy, Clone, Debug, Default)]
struct Ask {
    deadline: Option<Timestamp>,
}

#[derive(Copy, Clone, Debug)]
struct Carry;

impl CarryDeadline<Ask> for Carry {
    fn carry(&self, request: &mut Ask, deadline: Timestamp) {
        request.deadline = Some(request.deadline.map_or(deadline, |known| known.min(deadline)));
    }
}

fn context(request: &Ask) -> CallContext {
    let mut context = CallContext::new().with_idempotent(true);
    context.deadline = request.deadline;
    context
}

/// Why the dependency gives no answer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Trouble {
    Failed,
    Busy,
    Unreachable,
}

#[derive(Copy, Clone, Debug)]
struct ByTrouble;

impl Classify<&'static str, Trouble> for ByTrouble {
    fn classify(&self, result: Result<&&'static str, &Trouble>) -> Verdict {
        Verdict::new(match result {
            Ok(_) => Class::Success,
            Err(Trouble::Failed | Trouble::Unreachable) => Class::Failure,
            Err(Trouble::Busy) => Class::Overload,
        })
    }
}

type TestEnv = Env<TokioClock, ByTrouble, fn(&Ask) -> CallContext>;

fn env() -> TestEnv {
    Env::new().with_clock(TokioClock).with_classifier(ByTrouble).with_attributes(context as fn(&Ask) -> CallContext)
}

/// What the dependency does with every call.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Fault {
    Fails,
    Hangs,
    Panics,
    Slow,
    Busy,
    Trickles,
    Refuses,
}

const FAULTS: [(Fault, &str); 7] = [
    (Fault::Fails, "fails at once"),
    (Fault::Hangs, "hangs"),
    (Fault::Panics, "panics"),
    (Fault::Slow, "takes 800 ms"),
    (Fault::Busy, "says that it is too busy"),
    (Fault::Trickles, "trickles: an answer takes 3 s"),
    (Fault::Refuses, "refuses connections"),
];

/// A dependency whose state can be set.
#[derive(Clone, Debug)]
struct Dependency {
    probe: Probe,
    fault: Arc<AtomicU8>,
}

impl Dependency {
    fn set(&self, fault: Option<Fault>) {
        self.fault.store(fault.map_or(0, |fault| fault as u8 + 1), SeqCst);
    }
}

impl Service<Ask> for Dependency {
    type Response = &'static str;
    type Error = Trouble;
    type Future = futures::Later;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        self.probe.poll_ready(cx).map_err(|_| Trouble::Failed)
    }

    fn call(&mut self, _: Ask) -> futures::Later {
        const FAILS: u8 = Fault::Fails as u8 + 1;
        const HANGS: u8 = Fault::Hangs as u8 + 1;
        const PANICS: u8 = Fault::Panics as u8 + 1;
        const SLOW: u8 = Fault::Slow as u8 + 1;
        const BUSY: u8 = Fault::Busy as u8 + 1;
        const TRICKLES: u8 = Fault::Trickles as u8 + 1;
        const REFUSES: u8 = Fault::Refuses as u8 + 1;
        let fault = self.fault.load(SeqCst);
        let trouble = match fault {
            BUSY => Trouble::Busy,
            REFUSES => Trouble::Unreachable,
            _ => Trouble::Failed,
        };
        let (script, wait) = match fault {
            FAILS | BUSY => (Script::Fail, Duration::ZERO),
            REFUSES => (Script::Fail, Duration::from_millis(1)),
            HANGS => (Script::Hang, Duration::ZERO),
            PANICS => (Script::PanicInPoll, Duration::ZERO),
            SLOW => (Script::Answer, Duration::from_millis(800)),
            TRICKLES => (Script::Answer, Duration::from_secs(3)),
            _ => (Script::Answer, Duration::from_millis(10)),
        };
        futures::Later::new(self.probe.call(script), wait, trouble)
    }
}

/// The dependency's answers, some time later.
mod futures {
    use super::{Context, Duration, Poll, ProbeFuture, Trouble};
    use std::pin::Pin;

    pub(super) struct Later {
        wait: Pin<Box<tokio::time::Sleep>>,
        call: ProbeFuture,
        trouble: Trouble,
    }

    impl Later {
        pub(super) fn new(call: ProbeFuture, wait: Duration, trouble: Trouble) -> Self {
            Self { wait: Box::pin(tokio::time::sleep(wait)), call, trouble }
        }
    }

    impl Future for Later {
        type Output = Result<&'static str, Trouble>;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            std::task::ready!(self.wait.as_mut().poll(cx));
            let trouble = self.trouble;
            Pin::new(&mut self.call).poll(cx).map_err(|_| trouble)
        }
    }
}

type Stack = BoxCloneSyncService<Ask, &'static str, Error<Trouble>>;

/// One order of layers, and its breaker where it has one.
struct Composition {
    name: &'static str,
    make: fn(Dependency) -> (Stack, Option<CircuitBreakerLayer<TestEnv>>),
}

fn total() -> TimeoutLayer<TestEnv, Carry> {
    TimeoutLayer::with_env(TimeoutConfig::total(TOTAL).unwrap(), env()).with_carry(Carry)
}

fn attempt() -> TimeoutLayer<TestEnv, Carry> {
    TimeoutLayer::with_env(TimeoutConfig::attempt(ATTEMPT).unwrap(), env()).with_carry(Carry)
}

type Advise = fn(Verdict, Result<&&'static str, &Trouble>) -> Advice;

/// What was never sent may be sent again, as over HTTP.
fn advise(verdict: Verdict, result: Result<&&'static str, &Trouble>) -> Advice {
    if result == Err(&Trouble::Unreachable) { Advice::Again } else { ByClass.advise(verdict, result) }
}

/// The defaults, but without chance.
fn retry() -> RetryLayer<TestEnv, CloneRequest, Advise> {
    let backoff = Backoff::default().with_jitter(Jitter::None).unwrap();
    RetryLayer::with_env(RetryConfig::new(IfUnknown::OnlyUnsent).with_backoff(backoff), env())
        .with_when(advise as Advise)
}

fn breaker() -> CircuitBreakerLayer<TestEnv> {
    CircuitBreakerLayer::with_env(BreakerConfig::builder().jitter(0.0).seed(1).build().unwrap(), env())
}

fn bulkhead() -> BulkheadLayer<TestEnv> {
    BulkheadLayer::with_env(BulkheadConfig::new(20).unwrap(), env())
}

fn throttle() -> GateLayer<Throttle<SeededEntropy>, TestEnv> {
    GateLayer::with_env(Throttle::with_entropy(ThrottleConfig::default(), SeededEntropy::new(1)), env())
}

fn shedder() -> LoadShedderLayer<TestEnv> {
    LoadShedderLayer::with_env(LoadShedderConfig::default(), env())
}

const COMPOSITIONS: [Composition; 10] = [
    Composition {
        name: "timeout > retry > breaker",
        make: |dependency| {
            let breaker = breaker();
            let stack = ServiceBuilder::new().layer(total()).layer(retry()).layer(breaker.clone());
            (Stack::new(stack.service(WrapError::new(dependency))), Some(breaker))
        },
    },
    Composition {
        name: "retry > timeout > breaker",
        make: |dependency| {
            let breaker = breaker();
            let stack = ServiceBuilder::new().layer(retry()).layer(attempt()).layer(breaker.clone());
            (Stack::new(stack.service(WrapError::new(dependency))), Some(breaker))
        },
    },
    Composition {
        name: "retry > breaker > timeout",
        make: |dependency| {
            let breaker = breaker();
            let stack = ServiceBuilder::new().layer(retry()).layer(breaker.clone()).layer(attempt());
            (Stack::new(stack.service(WrapError::new(dependency))), Some(breaker))
        },
    },
    Composition {
        name: "breaker > retry > timeout",
        make: |dependency| {
            let breaker = breaker();
            let stack = ServiceBuilder::new().layer(breaker.clone()).layer(retry()).layer(attempt());
            (Stack::new(stack.service(WrapError::new(dependency))), Some(breaker))
        },
    },
    Composition {
        name: "timeout > retry > breaker > bulkhead > timeout",
        make: |dependency| {
            let breaker = breaker();
            let stack = ServiceBuilder::new().layer(total()).layer(retry()).layer(breaker.clone());
            let stack = stack.layer(bulkhead()).layer(attempt());
            (Stack::new(stack.service(WrapError::new(dependency))), Some(breaker))
        },
    },
    Composition {
        name: "fallback > timeout > retry > breaker > bulkhead > timeout",
        make: |dependency| {
            let breaker = breaker();
            let stack = ServiceBuilder::new().layer(total()).layer(retry()).layer(breaker.clone());
            let stack = stack.layer(bulkhead()).layer(attempt()).service(WrapError::new(dependency));
            let fallback = FallbackLayer::with_env(Value::new("degraded"), env()).layer(stack);
            (Stack::new(fallback.map_err(|error| error.into_parts().0)), Some(breaker))
        },
    },
    Composition {
        name: "timeout > retry > breaker > throttle > bulkhead > timeout",
        make: |dependency| {
            let breaker = breaker();
            let stack = ServiceBuilder::new().layer(total()).layer(retry()).layer(breaker.clone()).layer(throttle());
            let stack = stack.layer(bulkhead()).layer(attempt());
            (Stack::new(stack.service(WrapError::new(dependency))), Some(breaker))
        },
    },
    Composition {
        name: "server: timeout > bulkhead",
        make: |handler| {
            let stack = ServiceBuilder::new().layer(total()).layer(bulkhead());
            (Stack::new(stack.service(WrapError::new(handler))), None)
        },
    },
    Composition {
        name: "server: timeout > load shedder > bulkhead",
        make: |handler| {
            let stack = ServiceBuilder::new().layer(total()).layer(shedder()).layer(bulkhead());
            (Stack::new(stack.service(WrapError::new(handler))), None)
        },
    },
    Composition {
        name: "server: load shedder > timeout > fallback",
        make: |handler| {
            let handler = FallbackLayer::with_env(Value::new("degraded"), env()).layer(WrapError::new(handler));
            let stack = ServiceBuilder::new().layer(shedder()).layer(total());
            (Stack::new(stack.service(handler.map_err(|error| error.into_parts().0))), None)
        },
    },
];

/// How one call ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum End {
    Answered,
    Degraded,
    Failed,
    Refused,
    Cut,
    Panicked,
}

#[derive(Debug, Default)]
struct Row {
    has_breaker: bool,
    ends: Vec<(End, Duration)>,
    attempts: usize,
    opened: Option<Duration>,
    closed: Option<Duration>,
    recovered: Option<Duration>,
    left_running: usize,
}

impl Row {
    fn count(&self, end: End) -> usize {
        self.ends.iter().filter(|(other, _)| *other == end).count()
    }

    fn longest(&self) -> Duration {
        self.ends.iter().map(|(_, took)| *took).max().unwrap_or_default()
    }
}

/// Calls once, and says how that ended and how long it took.
async fn call(stack: Stack) -> (End, Duration) {
    let begin = TokioClock.now();
    let result = tokio::spawn(stack.oneshot(Ask::default())).await;
    let end = match result {
        Ok(Ok("degraded")) => End::Degraded,
        Ok(Ok(_)) => End::Answered,
        Ok(Err(Error::Inner(_))) => End::Failed,
        Ok(Err(Error::Rejected(rejection))) if rejection.reason().is_timeout() => End::Cut,
        Ok(Err(Error::Rejected(_))) => End::Refused,
        Err(_) => End::Panicked,
    };
    (end, TokioClock.now().since(begin))
}

async fn drive(composition: &Composition, fault: Fault) -> Row {
    let dependency = Dependency { probe: Probe::new(), fault: Arc::new(AtomicU8::new(0)) };
    let (stack, breaker) = (composition.make)(dependency.clone());
    let is = |state| breaker.as_ref().is_some_and(|breaker| breaker.gate().state() == state);
    let mut row = Row { has_breaker: breaker.is_some(), ..Row::default() };
    for _ in 0..WARM {
        assert_eq!(call(stack.clone()).await.0, End::Answered, "{}: a healthy call", composition.name);
        tokio::time::sleep(CALL_EVERY).await;
    }

    dependency.set(Some(fault));
    let (begin, before) = (TokioClock.now(), dependency.probe.calls());
    let mut calls = Vec::new();
    for _ in 0..BROKEN {
        calls.push(tokio::spawn(call(stack.clone())));
        tokio::time::sleep(CALL_EVERY).await;
        if is(State::Open) && row.opened.is_none() {
            row.opened = Some(TokioClock.now().since(begin));
        }
    }
    row.attempts = dependency.probe.calls() - before;

    dependency.set(None);
    let healthy = TokioClock.now();
    let mut last_bad = Some(healthy);
    for _ in 0..HEALTHY {
        let at = TokioClock.now();
        let (end, _) = call(stack.clone()).await;
        if end != End::Answered {
            last_bad = Some(at);
        }
        if is(State::Closed) && row.closed.is_none() {
            row.closed = Some(TokioClock.now().since(healthy));
        }
        tokio::time::sleep(CALL_EVERY).await;
    }
    row.recovered = last_bad.map(|at| at.since(healthy));
    // What hangs without a timeout hangs for ever: it is dropped here.
    for task in calls {
        if let Ok(Ok(ended)) = tokio::time::timeout(Duration::from_secs(60), task).await {
            row.ends.push(ended);
        }
    }
    row.left_running = dependency.probe.running();
    row
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "never".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()))
}

fn page(rows: &[(&str, &str, Row)]) -> String {
    let mut page = String::from(
        "# Compositions\n\n\
         What happens when layers are put together in one order or another, outermost first. This page is written by\n\
         `SEAWALL_WRITE_DOCS=1 cargo test -p seawall-tests --test compositions`; the same test fails when the layers do\n\
         something else than it says.\n\n\
         Ten calls a second, in virtual time: 5 s with a dependency that answers in 10 ms, 10 s with the fault, then 30 s\n\
         healthy again. Total timeout 5 s, attempt timeout 1 s, 20 places in the bulkhead; retry and breaker as they are by\n\
         default, without jitter. *Attempts* are the calls that reached the dependency while it was broken, out of 100 made.\n\
         Where an order is one of a server, what breaks is its handler. *Good again* is when the last call that was not\n\
         answered well had begun, counted from the end of the fault.\n",
    );
    for (_, fault) in FAULTS {
        let _ = write!(
            page,
            "\n## The dependency {fault}\n\n\
             | order | answered | degraded | failed | refused | cut | panicked | attempts | longest call | breaker open after | closed after | good again after |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|\n"
        );
        for (name, _, row) in rows.iter().filter(|(_, of, _)| *of == fault) {
            let [answered, degraded, failed, refused, cut, panicked] =
                [End::Answered, End::Degraded, End::Failed, End::Refused, End::Cut, End::Panicked]
                    .map(|end| row.count(end));
            let of_breaker = |time| if row.has_breaker { seconds(time) } else { "–".to_owned() };
            let (longest, opened) = (seconds(Some(row.longest())), of_breaker(row.opened));
            let (closed, recovered) = (of_breaker(row.closed), seconds(row.recovered));
            let _ = writeln!(
                page,
                "| {name} | {answered} | {degraded} | {failed} | {refused} | {cut} | {panicked} | {} | {longest} | {opened} | {closed} | {recovered} |",
                row.attempts
            );
        }
    }
    page
}

#[tokio::test(start_paused = true)]
async fn each_order_of_layers_does_what_the_page_says() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // Scripted panics are part of the show.
        if !payload(info).is_some_and(|text| text.starts_with("the probe was told")) {
            report(info);
        }
    }));
    let mut rows = Vec::new();
    for (fault, text) in FAULTS {
        for composition in &COMPOSITIONS {
            let row = drive(composition, fault).await;
            assert_keeps_its_promises(&format!("{}, {text}", composition.name), fault, &row);
            rows.push((composition.name, text, row));
        }
    }

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compositions.md");
    let page = page(&rows);
    if std::env::var_os("SEAWALL_WRITE_DOCS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "docs/compositions.md says something else; this is what happens:\n{page}");
}

/// What holds in every order: no call is lost, nothing is left behind, a broken dependency is spared, a healthy one used.
fn assert_keeps_its_promises(which: &str, fault: Fault, row: &Row) {
    assert_eq!(row.ends.len(), usize::try_from(BROKEN).unwrap(), "{which}: a call never ended");
    assert_eq!(row.left_running, 0, "{which}: calls still run");
    if row.has_breaker && matches!(fault, Fault::Fails | Fault::Hangs | Fault::Panics | Fault::Refuses) {
        assert!(row.opened.is_some(), "{which}: the breaker never opened");
        assert!(row.attempts <= 100, "{which}: {} attempts reached the dependency", row.attempts);
    }
    if fault == Fault::Busy {
        assert_eq!(row.opened, None, "{which}: a dependency that sheds load was cut off");
    }
    assert!(!row.has_breaker || row.closed.is_some(), "{which}: the breaker never closed");
    // A throttle remembers refusals for 10 s, and asks less often until it has forgotten them.
    let most = Duration::from_secs(if fault == Fault::Busy { 15 } else { 12 });
    assert!(row.recovered.unwrap() <= most, "{which}: good again after {:?}", row.recovered);
}

fn payload<'a>(info: &'a std::panic::PanicHookInfo<'_>) -> Option<&'a str> {
    let payload = info.payload();
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}
