//! The five kinds of health checks, run for ten minutes of virtual time each.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Waker},
    time::Duration,
};

use seawall::{
    circuit_breaker::{BreakerConfig, CircuitBreakerLayer},
    core::{Clock as _, Env, MonotonicClock, Timestamp, VirtualClock},
    health::{CheckConfig, Observation, RecoveryAction, RecoveryEdge, Registry, Watermark},
};

use super::Claims;
use crate::verify::report::Finding;

/// The clock's step: the resolution of what is seen.
const STEP: Duration = Duration::from_millis(50);

/// How long the frequency of a check is watched.
const WATCH: Duration = Duration::from_mins(10);

/// Each interval is shorter by up to this share, so that instances do not check together.
const JITTER: f64 = 0.1;

#[expect(clippy::disallowed_types, reason = "checks are shared; only this measurement runs them, one at a time")]
type Lock<T> = std::sync::Mutex<T>;

/// What the document says of a kind.
struct Kind {
    name: &'static str,
    config: CheckConfig,
    action: RecoveryAction,
    interval: Duration,
    timeout: Duration,
    /// Failures in a row.
    failures: u32,
    level: Option<Level>,
}

/// A level that fails a check as soon as it is beyond a mark.
struct Level {
    watermark: Watermark,
    good: f64,
    bad: f64,
}

const APPLICATION: usize = 0;
const DATABASE: usize = 1;
const CACHE: usize = 2;
const DISK: usize = 3;
const MEMORY: usize = 4;

const KINDS: [Kind; 5] = [
    Kind {
        name: "application",
        config: CheckConfig::application(),
        action: RecoveryAction::RemoveFromPool,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(2),
        failures: 3,
        level: None,
    },
    Kind {
        name: "database",
        config: CheckConfig::database(),
        action: RecoveryAction::OpenCircuit,
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(5),
        failures: 2,
        level: None,
    },
    Kind {
        name: "cache",
        config: CheckConfig::cache(),
        action: RecoveryAction::BypassCache,
        interval: Duration::from_secs(15),
        timeout: Duration::from_secs(1),
        failures: 5,
        level: None,
    },
    Kind {
        name: "disk",
        config: CheckConfig::disk_space(),
        action: RecoveryAction::AlertAndCleanUp,
        interval: Duration::from_mins(1),
        timeout: Duration::from_secs(1),
        failures: 1,
        level: Some(Level { watermark: Watermark::free_disk(), good: 0.101, bad: 0.099 }),
    },
    Kind {
        name: "memory",
        config: CheckConfig::memory(),
        action: RecoveryAction::RestartGracefully,
        interval: Duration::from_secs(10),
        timeout: Duration::ZERO,
        failures: 1,
        level: Some(Level { watermark: Watermark::used_memory(), good: 0.899, bad: 0.901 }),
    },
];

pub(super) const CLAIMS: Claims<HealthChecks> = &[
    ("health-checks.application-health", runs::<APPLICATION>),
    ("health-checks.application-health.check-frequency", frequency::<APPLICATION>),
    ("health-checks.application-health.timeout", timeout::<APPLICATION>),
    ("health-checks.application-health.failure-threshold", threshold::<APPLICATION>),
    ("health-checks.database-connectivity", runs::<DATABASE>),
    ("health-checks.database-connectivity.check-frequency", frequency::<DATABASE>),
    ("health-checks.database-connectivity.timeout", timeout::<DATABASE>),
    ("health-checks.database-connectivity.failure-threshold", threshold::<DATABASE>),
    ("health-checks.database-connectivity.recovery-actions", opens_the_circuit),
    ("health-checks.cache-availability", runs::<CACHE>),
    ("health-checks.cache-availability.check-frequency", frequency::<CACHE>),
    ("health-checks.cache-availability.timeout", timeout::<CACHE>),
    ("health-checks.cache-availability.failure-threshold", threshold::<CACHE>),
    ("health-checks.disk-space", runs::<DISK>),
    ("health-checks.disk-space.check-frequency", frequency::<DISK>),
    ("health-checks.disk-space.timeout", timeout::<DISK>),
    ("health-checks.disk-space.failure-threshold", threshold::<DISK>),
    ("health-checks.memory-usage", runs::<MEMORY>),
    ("health-checks.memory-usage.check-frequency", frequency::<MEMORY>),
    ("health-checks.memory-usage.timeout", timeout::<MEMORY>),
    ("health-checks.memory-usage.failure-threshold", threshold::<MEMORY>),
];

/// What was seen of one kind.
#[derive(Debug, Default)]
struct Seen {
    /// When each run began within the ten minutes.
    begun: Vec<Timestamp>,
    /// From the begin of a run that does not end until it counted as failed.
    cut: Option<Duration>,
    /// Failures in a row until the action was called for.
    failures: Option<u32>,
    /// Whether a level on the good side of its mark left the check passing.
    good_passed: bool,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct HealthChecks {
    kinds: [Seen; 5],
    /// Whether a call was refused while the database's check failed, and let through before and after.
    circuit: [bool; 3],
}

/// Runs checks of each kind: well, hanging and failing.
pub(super) async fn observe() -> anyhow::Result<HealthChecks> {
    let mut seen = HealthChecks::default();
    for (kind, seen) in KINDS.iter().zip(&mut seen.kinds) {
        seen.begun = begins(kind)?;
        seen.cut = cut(kind)?;
        (seen.failures, seen.good_passed) = fails(kind)?;
    }
    seen.circuit = circuit().await?;
    Ok(seen)
}

/// Runs registered checks against a virtual clock: `each` looks after every step, until it returns something.
fn run<T>(
    register: impl FnOnce(&mut Registry<Env<VirtualClock>>, &VirtualClock) -> anyhow::Result<()>,
    mut each: impl FnMut(&seawall::health::HealthReport, Timestamp) -> Option<T>,
) -> anyhow::Result<Option<T>> {
    let clock = VirtualClock::new();
    let mut checks = Registry::with_env(Env::new().with_clock(clock.clone()));
    register(&mut checks, &clock)?;
    let (health, running) = checks.into_future();
    let mut running = Box::pin(running);
    while clock.now().since(Timestamp::ZERO) <= WATCH {
        let _goes_on = running.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Some(found) = each(&health.report(), clock.now()) {
            return Ok(Some(found));
        }
        clock.advance(STEP);
    }
    Ok(None)
}

fn begins(kind: &Kind) -> anyhow::Result<Vec<Timestamp>> {
    let begun = Arc::new(Lock::new(Vec::new()));
    let stamps = Arc::clone(&begun);
    run(
        |checks, clock| {
            let clock = clock.clone();
            let check = move || {
                stamps.lock().unwrap_or_else(PoisonError::into_inner).push(clock.now());
                std::future::ready(Observation::pass())
            };
            Ok(checks.register(kind.name, kind.config, check)?)
        },
        |_, _| None::<()>,
    )?;
    Ok(std::mem::take(&mut *begun.lock().unwrap_or_else(PoisonError::into_inner)))
}

fn cut(kind: &Kind) -> anyhow::Result<Option<Duration>> {
    let hangs = |checks: &mut Registry<_>, _: &_| {
        Ok(checks.register(kind.name, kind.config, std::future::pending::<Observation>)?)
    };
    run(hangs, |report, now| (report.checks.first()?.failures > 0).then(|| now.since(Timestamp::ZERO)))
}

/// Failures until the action begins, and whether a level on the good side was well.
fn fails(kind: &Kind) -> anyhow::Result<(Option<u32>, bool)> {
    let (failing, called, failed) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut good_passed = false;
    let register = |checks: &mut Registry<_>, _: &VirtualClock| {
        let (fails, count, begins) = (Arc::clone(&failing), Arc::clone(&failed), Arc::clone(&called));
        let level = kind.level.as_ref().map(|level| (Lock::new(level.watermark), level.good, level.bad));
        let check = move || {
            let fails = fails.load(Relaxed);
            count.fetch_add(u32::from(fails), Relaxed);
            std::future::ready(match &level {
                Some((watermark, good, bad)) => watermark
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .observe("the level", if fails { *bad } else { *good }),
                None if fails => Observation::fail("down"),
                None => Observation::pass(),
            })
        };
        checks.on_recovery(kind.action, move |edge| begins.store(edge == RecoveryEdge::Begin, Relaxed));
        Ok(checks.register(kind.name, kind.config, check)?)
    };
    let failures = run(register, |report, _| {
        if !failing.swap(true, Relaxed) {
            good_passed = report.checks.first().is_some_and(|check| check.status.is_up());
        }
        called.load(Relaxed).then(|| failed.load(Relaxed))
    })?;
    Ok((failures, good_passed))
}

/// A breaker that follows the database's check: whether calls pass before, during and after the failure.
async fn circuit() -> anyhow::Result<[bool; 3]> {
    let breaker = CircuitBreakerLayer::new(BreakerConfig::default());
    let passes = || async { breaker.run(async { anyhow::Ok(()) }).await.is_ok() };
    let before = passes().await;
    let (refused, mended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let down = Arc::new(AtomicBool::new(true));
    let register = |checks: &mut Registry<_>, _: &VirtualClock| {
        let (breaker, refused, mended, answer) =
            (breaker.clone(), Arc::clone(&refused), Arc::clone(&mended), Arc::clone(&down));
        checks.on_recovery(RecoveryAction::OpenCircuit, move |edge| match edge {
            RecoveryEdge::Begin => {
                breaker.gate().force_open(MonotonicClock.now());
                refused.store(true, Relaxed);
            }
            RecoveryEdge::End => {
                breaker.gate().reset(MonotonicClock.now());
                mended.store(true, Relaxed);
            }
        });
        let check = move || std::future::ready(if answer.load(Relaxed) { Err("down") } else { Ok(()) });
        Ok(checks.register("database", CheckConfig::database(), check)?)
    };
    let mut during = false;
    run(register, |_, _| {
        if refused.load(Relaxed) && down.swap(false, Relaxed) {
            let mut call = Box::pin(passes());
            let answered = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            during = answered == std::task::Poll::Ready(true);
        }
        mended.load(Relaxed).then_some(())
    })?;
    Ok([before, during, passes().await])
}

fn runs<const KIND: usize>(seen: &HealthChecks) -> Finding {
    let count = seen.kinds.get(KIND).map_or(0, |seen| seen.begun.len());
    Finding::judged(count > 0, format!("{count} runs in 10 minutes"), "the preset's check, in virtual time")
}

fn frequency<const KIND: usize>(seen: &HealthChecks) -> Finding {
    let (Some(kind), Some(seen)) = (KINDS.get(KIND), seen.kinds.get(KIND)) else { return no_kind() };
    let gaps: Vec<_> = seen.begun.array_windows::<2>().map(|[one, next]| next.since(*one)).collect();
    let (Some(shortest), Some(longest)) = (gaps.iter().min(), gaps.iter().max()) else {
        return Finding::unobserved("the check ran less than twice in 10 minutes");
    };
    let least = kind.interval.mul_f64(1.0 - JITTER);
    Finding::judged(
        *longest <= kind.interval.saturating_add(STEP) && *shortest >= least,
        format!("every {:.1} to {:.1} s", shortest.as_secs_f64(), longest.as_secs_f64()),
        "the preset's check over 10 minutes of virtual time; up to a tenth is left to chance, so that instances do not \
         check together",
    )
}

fn timeout<const KIND: usize>(seen: &HealthChecks) -> Finding {
    let (Some(kind), Some(seen)) = (KINDS.get(KIND), seen.kinds.get(KIND)) else { return no_kind() };
    let Some(cut) = seen.cut else { return Finding::unobserved("a run that hangs was not cut within 10 minutes") };
    Finding::judged(
        cut == kind.timeout,
        format!("cut after {:.2} s", cut.as_secs_f64()),
        "a run of the preset's check that hangs, in virtual time",
    )
}

fn threshold<const KIND: usize>(seen: &HealthChecks) -> Finding {
    let (Some(kind), Some(seen)) = (KINDS.get(KIND), seen.kinds.get(KIND)) else { return no_kind() };
    let Some(failures) = seen.failures else {
        return Finding::unobserved("no action was called for within 10 minutes of failures");
    };
    let action = kind.action.as_str();
    let measured = match &kind.level {
        Some(level) => format!(
            "{:.1}% passes, {:.1}% fails; {action} after {failures} reading",
            level.good * 100.0,
            level.bad * 100.0
        ),
        None => format!("{action} after {failures} failures in a row"),
    };
    Finding::judged(
        failures == kind.failures && seen.good_passed,
        measured,
        "the preset's check in virtual time, well at first and failing from then on",
    )
}

fn opens_the_circuit(seen: &HealthChecks) -> Finding {
    let word = |passes: bool| if passes { "passes" } else { "refused" };
    let [before, during, after] = seen.circuit;
    Finding::judged(
        before && !during && after,
        format!("a call {} before, {} during, {} after the failure", word(before), word(during), word(after)),
        "a circuit breaker that follows the database's check, as catalog and recommendation have one",
    )
}

fn no_kind() -> Finding {
    Finding::unobserved("there is no such kind of check")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::report::Verdict;

    #[tokio::test]
    async fn every_kind_is_as_the_document_says() {
        let seen = observe().await.unwrap();

        for (id, judgement) in CLAIMS {
            let finding = judgement(&seen);
            assert_eq!(finding.verdict, Verdict::Met, "{id}: {}", finding.measured);
        }
    }

    #[test]
    fn what_did_not_run_meets_no_row() {
        for (id, judgement) in CLAIMS {
            assert_eq!(judgement(&HealthChecks::default()).verdict, Verdict::NotMet, "{id}");
        }
    }
}
