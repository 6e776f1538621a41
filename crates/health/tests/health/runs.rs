//! When checks run, and what becomes of runs that go wrong.

use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::channel;
use std::time::Duration;

use seawall_health::{Check, CheckConfig, Observation, RecoveryAction, RecoveryEdge, Status};
use tokio::sync::watch;

use crate::told::{SECOND, Told, check, edges, pass_time, registry, settle, start};

#[tokio::test]
async fn a_check_that_takes_too_long_is_cut_and_fails() {
    let (mut checks, clock) = registry();
    checks.register("slow", CheckConfig::application(), pending::<Observation>).unwrap();
    let health = start(checks).await;

    pass_time(&clock, 1).await;
    assert_eq!(check(&health, "slow").runs, 0);
    pass_time(&clock, 1).await;

    let report = check(&health, "slow");
    assert_eq!((report.runs, report.failures, report.failures_in_a_row), (1, 1, 1));
    assert_eq!(report.output.as_deref(), Some("took longer than 2s"));
}

#[tokio::test]
async fn a_check_that_must_answer_at_once_and_waits_fails() {
    let (mut checks, _clock) = registry();
    checks.register("memory", CheckConfig::memory(), pending::<Observation>).unwrap();

    let health = start(checks).await;

    let report = check(&health, "memory");
    assert_eq!((report.status, report.output.as_deref()), (Status::Fail, Some("gave no answer at once")));
}

#[tokio::test]
async fn a_process_that_starts_is_looked_at_more_often_until_it_passes() {
    let (mut checks, clock) = registry();
    let (told, runs) = (Told::passing(), Arc::new(AtomicUsize::new(0)));
    told.fails();
    let (answers, count) = (told.check(), Arc::clone(&runs));
    let config = CheckConfig::application().with_jitter(0.0).with_successes(1).with_starting_interval(SECOND);
    let counted = move || {
        count.fetch_add(1, SeqCst);
        answers()
    };
    checks.register("it", config, counted).expect("a good check");
    let health = start(checks).await;
    pass_time(&clock, 4).await;

    told.passes();
    pass_time(&clock, 1).await;

    assert_eq!((runs.load(SeqCst), check(&health, "it").status), (6, Status::Pass));
    pass_time(&clock, 9).await;
    assert_eq!(runs.load(SeqCst), 6);
    pass_time(&clock, 1).await;
    assert_eq!(runs.load(SeqCst), 7);
}

#[tokio::test]
async fn a_conclusive_failure_waits_for_no_second_one() {
    let (mut checks, clock) = registry();
    let told = Told::passing();
    let answers = told.check();
    let conclusive = move || {
        let answer = answers();
        async move { Observation::from(answer.await).conclusive() }
    };
    checks.register("it", CheckConfig::application().with_jitter(0.0), conclusive).expect("a good check");
    let health = start(checks).await;

    told.fails();
    pass_time(&clock, 10).await;

    assert_eq!(check(&health, "it").status, Status::Fail);
}

#[tokio::test]
async fn a_check_that_panics_fails_and_goes_on_being_run() {
    let (mut checks, clock) = registry();
    let config = CheckConfig::application().with_failures(1).with_successes(1).with_jitter(0.0);
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    checks
        .register("panics", config, move || {
            let run = counted.fetch_add(1, SeqCst);
            assert!(run != 0, "before its first await");
            async move {
                assert!(run != 1, "after it");
                Observation::pass()
            }
        })
        .unwrap();
    checks.register("other", CheckConfig::application(), Told::passing().check()).unwrap();
    let health = start(checks).await;
    assert_eq!(check(&health, "panics").output.as_deref(), Some("panicked: before its first await"));

    pass_time(&clock, 10).await;
    assert_eq!(check(&health, "panics").output.as_deref(), Some("panicked: after it"));
    pass_time(&clock, 10).await;

    assert_eq!((check(&health, "panics").status, runs.load(SeqCst)), (Status::Pass, 3));
    assert_eq!(check(&health, "other").status, Status::Pass);
}

#[tokio::test]
async fn a_check_that_panics_before_it_gives_a_future_fails_and_goes_on_being_run() {
    struct NoFuture(AtomicUsize);
    impl Check for NoFuture {
        fn run(&self) -> impl Future<Output = Observation> + Send {
            assert!(self.0.fetch_add(1, SeqCst) != 0, "no future");
            ready(Observation::pass())
        }
    }
    let (mut checks, clock) = registry();
    let config = CheckConfig::application().with_failures(1).with_successes(1).with_jitter(0.0);
    checks.register("panics", config, NoFuture(AtomicUsize::new(0))).expect("a good check");
    let health = start(checks).await;
    assert_eq!(check(&health, "panics").output.as_deref(), Some("panicked: no future"));

    pass_time(&clock, 10).await;

    assert_eq!(check(&health, "panics").status, Status::Pass);
}

#[tokio::test]
async fn the_report_counts_the_runs_that_failed_among_all() {
    let (mut checks, clock) = registry();
    let told = Told::passing();
    checks.register("it", CheckConfig::application().with_jitter(0.0), told.check()).expect("a good check");
    let health = start(checks).await;
    told.fails();
    pass_time(&clock, 20).await;
    told.passes();

    pass_time(&clock, 10).await;

    let report = check(&health, "it");
    assert_eq!((report.runs, report.failures, report.failures_in_a_row), (4, 2, 0));
}

#[tokio::test]
async fn a_listener_that_panics_keeps_no_other_from_hearing() {
    let (mut checks, _clock) = registry();
    checks.register("app", CheckConfig::application(), Told::passing().check()).unwrap();
    checks.on_change(|_| unreachable!("as the test says"));
    let (sender, heard) = channel();
    checks.on_change(move |change| sender.send((change.from, change.to)).expect("the test listens"));

    let _health = start(checks).await;

    assert_eq!(heard.try_recv(), Ok((Status::Unknown, Status::Pass)));
}

#[tokio::test]
async fn runs_of_a_check_never_overlap_and_late_ones_are_not_made_up_for() {
    let (mut checks, clock) = registry();
    let (started, at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::default());
    let counters = (Arc::clone(&started), Arc::clone(&at_once), Arc::<AtomicUsize>::clone(&most));
    let sleeper = clock.clone();
    let config = CheckConfig::application().with_jitter(0.0).with_timeout(Duration::from_secs(9));
    checks
        .register("slow", config, move || {
            let (started, at_once, most) = counters.clone();
            let clock = sleeper.clone();
            async move {
                started.fetch_add(1, SeqCst);
                let now = at_once.fetch_add(1, SeqCst) + 1;
                most.fetch_max(now, SeqCst);
                let until = seawall_core::Clock::now(&clock).saturating_add(SECOND * 8);
                seawall_core::Timer::sleep_until(&clock, until).await;
                at_once.fetch_sub(1, SeqCst);
                Observation::pass()
            }
        })
        .unwrap();
    let _health = start(checks).await;

    clock.advance(SECOND * 8);
    settle().await;
    clock.advance(SECOND * 60);
    settle().await;

    assert_eq!((started.load(SeqCst), most.load(SeqCst)), (2, 1));
}

#[tokio::test]
async fn a_check_that_is_stuck_fails_and_calls_for_its_action() {
    let (mut checks, clock) = registry();
    let told = Told::passing();
    let config = CheckConfig::application().with_jitter(0.0);
    checks.register("app", config, told.check()).unwrap();
    checks.register("other", config.with_action(RecoveryAction::BypassCache), Told::passing().check()).unwrap();
    let edges = edges(&mut checks, RecoveryAction::RemoveFromPool);
    // The second task is the first check's twin, the third watches: the first is run once and then forgotten.
    let mut tasks = Vec::new();
    let health = checks.spawn(|task| tasks.push(task));
    let mut stuck = tasks.remove(0);
    assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(stuck.as_mut().poll(cx))).await.is_pending());
    for task in tasks {
        tokio::spawn(task);
    }
    settle().await;

    pass_time(&clock, 30).await;
    assert!(health.report().is_ready());
    pass_time(&clock, 10).await;

    let report = check(&health, "app");
    assert!(report.stuck && !health.report().is_ready());
    assert_eq!(report.output.as_deref(), Some("stuck: no run was completed for 40s"));
    assert_eq!(edges.try_recv(), Ok(RecoveryEdge::Begin));
    assert_eq!(check(&health, "other").status, Status::Pass);
}

#[tokio::test]
async fn checks_start_apart_when_they_are_told_to() {
    let (mut checks, clock) = registry();
    let config = CheckConfig::application().with_initial_delay(SECOND * 5);
    checks.register("late", config, Told::passing().check()).unwrap();
    let health = start(checks).await;

    pass_time(&clock, 4).await;
    assert_eq!(check(&health, "late").runs, 0);
    pass_time(&clock, 1).await;

    assert_eq!(check(&health, "late").runs, 1);
}

#[tokio::test]
async fn a_failure_ends_with_a_warning_too() {
    let (mut checks, clock) = registry();
    let answer = watch::Sender::new(Status::Fail);
    let told = answer.clone();
    let config = CheckConfig::application().with_failures(1).with_successes(1).with_jitter(0.0);
    checks
        .register("disk", config, move || {
            ready(match *told.borrow() {
                Status::Fail => Observation::fail("full"),
                _ => Observation::warn("almost full"),
            })
        })
        .unwrap();
    let edges = edges(&mut checks, config.action.expect("the application's has one"));
    let _health = start(checks).await;
    assert_eq!(edges.try_recv(), Ok(RecoveryEdge::Begin));

    answer.send_modify(|answer| *answer = Status::Warn);
    pass_time(&clock, 10).await;

    assert_eq!(edges.try_recv(), Ok(RecoveryEdge::End));
}

#[tokio::test]
async fn the_action_of_one_check_is_not_called_for_another() {
    let (mut checks, clock) = registry();
    let config = CheckConfig::application().with_failures(1).with_successes(1).with_jitter(0.0);
    let cache = Told::passing();
    checks.register("app", config, Told::passing().check()).unwrap();
    checks.register("cache", config.with_action(RecoveryAction::BypassCache), cache.check()).unwrap();
    let removed = edges(&mut checks, RecoveryAction::RemoveFromPool);
    let bypassed = edges(&mut checks, RecoveryAction::BypassCache);
    let _health = start(checks).await;

    cache.fails();
    pass_time(&clock, 10).await;

    assert_eq!(bypassed.try_recv(), Ok(RecoveryEdge::Begin));
    assert!(removed.try_recv().is_err());
}

#[tokio::test]
async fn a_run_that_panics_when_it_is_cut_does_not_end_its_check() {
    struct FallsApart;
    impl Drop for FallsApart {
        fn drop(&mut self) {
            panic!("as the test says");
        }
    }
    let (mut checks, clock) = registry();
    let config = CheckConfig::application().with_failures(1).with_successes(1).with_jitter(0.0);
    let first = AtomicUsize::new(0);
    checks
        .register("hangs", config, move || {
            let falls_apart = (first.fetch_add(1, SeqCst) == 0).then(|| FallsApart);
            async move {
                if falls_apart.is_some() {
                    pending::<()>().await;
                }
                Observation::pass()
            }
        })
        .unwrap();
    let health = start(checks).await;
    pass_time(&clock, 2).await;
    assert_eq!(check(&health, "hangs").output.as_deref(), Some("took longer than 2s"));

    pass_time(&clock, 8).await;

    assert_eq!(check(&health, "hangs").status, Status::Pass);
}
