//! Checks that run in the background, as their process and its probes see them, in virtual time.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use seawall_core::{Env, VirtualClock};
use seawall_health::{
    CheckConfig, CheckKind, CheckReport, Health, HealthError, Observation, Phase, RecoveryAction, RecoveryEdge,
    Registry, Status,
};
use serde_json::Value;
use tokio::sync::watch;

const SECOND: Duration = Duration::from_secs(1);

type TestEnv = Env<VirtualClock>;

/// A check that answers as it is told.
#[derive(Clone)]
struct Told(watch::Sender<Result<(), &'static str>>);

impl Told {
    fn passing() -> Self {
        Self(watch::Sender::new(Ok(())))
    }

    fn fails(&self) {
        self.0.send_modify(|answer| *answer = Err("refused"));
    }

    fn passes(&self) {
        self.0.send_modify(|answer| *answer = Ok(()));
    }

    fn check(&self) -> impl Fn() -> std::future::Ready<Result<(), &'static str>> + Send + Sync + 'static {
        let told = self.0.clone();
        move || std::future::ready(*told.borrow())
    }
}

fn registry() -> (Registry<TestEnv>, VirtualClock) {
    let clock = VirtualClock::new();
    (Registry::with_env(Env::new().with_clock(clock.clone())), clock)
}

async fn start(checks: Registry<TestEnv>) -> Health<TestEnv> {
    let health = checks.spawn(|task| {
        tokio::spawn(task);
    });
    settle().await;
    health
}

/// Lets every task run until it sleeps.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn pass_time(clock: &VirtualClock, seconds: u64) {
    for _ in 0..seconds {
        clock.advance(SECOND);
        settle().await;
    }
}

fn check(health: &Health<TestEnv>, name: &str) -> CheckReport {
    health.report().checks.into_iter().find(|check| check.name == name).expect("it is registered")
}

fn edges(checks: &mut Registry<TestEnv>, action: RecoveryAction) -> Receiver<RecoveryEdge> {
    let (sender, receiver) = channel();
    checks.on_recovery(action, move |edge| sender.send(edge).expect("the test listens"));
    receiver
}

/// Runs one row of the table through an outage: when its action begins, and when it ends.
async fn outage(config: CheckConfig, action: RecoveryAction) -> (u64, u64) {
    let (mut checks, clock) = registry();
    let told = Told::passing();
    checks.register("it", config.with_jitter(0.0), told.check()).expect("a good check");
    let edges = edges(&mut checks, action);
    let _health = start(checks).await;
    told.fails();
    let mut seconds = Vec::new();
    for _ in 0..2 {
        let mut waited = 0_u64;
        let edge = loop {
            pass_time(&clock, 1).await;
            waited = waited.saturating_add(1);
            if let Ok(edge) = edges.try_recv() {
                break edge;
            }
            assert!(waited < 1_000, "no edge");
        };
        seconds.push((edge, waited));
        told.passes();
    }
    pass_time(&clock, 300).await;
    assert!(edges.try_recv().is_err(), "an action is called for once, and once undone");
    assert_eq!(seconds.iter().map(|(edge, _)| *edge).collect::<Vec<_>>(), [RecoveryEdge::Begin, RecoveryEdge::End]);
    (seconds[0].1, seconds[1].1)
}

#[tokio::test]
async fn an_application_that_fails_three_times_in_10_seconds_each_leaves_the_pool() {
    assert_eq!(outage(CheckConfig::application(), RecoveryAction::RemoveFromPool).await, (30, 20));
}

#[tokio::test]
async fn a_database_that_fails_twice_in_30_seconds_each_opens_the_circuit() {
    assert_eq!(outage(CheckConfig::database(), RecoveryAction::OpenCircuit).await, (60, 60));
}

#[tokio::test]
async fn a_cache_that_fails_five_times_in_15_seconds_each_is_bypassed() {
    assert_eq!(outage(CheckConfig::cache(), RecoveryAction::BypassCache).await, (75, 30));
}

#[tokio::test]
async fn a_disk_that_fails_once_alerts_and_cleans_up() {
    assert_eq!(outage(CheckConfig::disk_space(), RecoveryAction::AlertAndCleanUp).await, (60, 60));
}

#[tokio::test]
async fn memory_that_fails_once_asks_for_a_graceful_restart() {
    assert_eq!(outage(CheckConfig::memory(), RecoveryAction::RestartGracefully).await, (10, 10));
}

#[tokio::test]
async fn readiness_is_refused_until_its_checks_have_passed() {
    let (mut checks, clock) = registry();
    let told = Told::passing();
    told.fails();
    checks.register("app", CheckConfig::application(), told.check()).unwrap();
    let health = checks.spawn(|task| {
        tokio::spawn(task);
    });
    assert_eq!(check(&health, "app").output.as_deref(), Some("has not run yet"));
    assert!(!health.report().is_ready());

    settle().await;
    assert!(!health.report().is_ready());
    told.passes();
    pass_time(&clock, 10).await;

    assert!(health.report().is_ready());
    assert_eq!(health.report().status, Status::Pass);
}

#[tokio::test]
async fn a_failing_dependency_that_all_share_takes_no_instance_out() {
    let (mut checks, clock) = registry();
    let (app, database) = (Told::passing(), Told::passing());
    checks.register("app", CheckConfig::application(), app.check()).unwrap();
    checks.register("database", CheckConfig::database(), database.check()).unwrap();
    let health = start(checks).await;
    database.fails();

    pass_time(&clock, 60).await;

    let report = health.report();
    assert_eq!(check(&health, "database").status, Status::Fail);
    assert_eq!(report.status, Status::Warn);
    assert!(report.is_ready() && report.is_live());
    assert_eq!((report.answer().status, report.ready_answer().status), (200, 200));
}

#[tokio::test]
async fn a_failing_liveness_check_fails_the_live_probe_and_the_whole() {
    let (mut checks, clock) = registry();
    let told = Told::passing();
    checks.register("loop", CheckConfig::new(CheckKind::Liveness), told.check()).unwrap();
    let health = start(checks).await;
    told.fails();

    pass_time(&clock, 30).await;

    let report = health.report();
    assert!(!report.is_live() && report.is_ready());
    assert_eq!((report.live_answer().status, report.answer().status), (503, 503));
}

#[tokio::test]
async fn a_process_is_starting_until_each_startup_check_has_passed_once() {
    let (mut checks, clock) = registry();
    let (warm, live) = (Told::passing(), Told::passing());
    warm.fails();
    live.fails();
    checks.register("warm", CheckConfig::new(CheckKind::Startup), warm.check()).unwrap();
    checks.register("live", CheckConfig::new(CheckKind::Liveness), live.check()).unwrap();
    let health = start(checks).await;
    pass_time(&clock, 60).await;
    assert_eq!(health.phase(), Phase::Starting);
    assert!(health.report().is_live(), "what is starting is not started anew");
    assert_eq!(health.report().startup_answer().status, 503);

    warm.passes();
    pass_time(&clock, 10).await;

    assert_eq!(health.phase(), Phase::Ready);
    assert!(!health.report().is_live());
    assert_eq!(health.report().startup_answer().status, 200);
}

#[tokio::test]
async fn a_drain_fails_readiness_and_not_liveness_and_begins_once() {
    let (mut checks, _clock) = registry();
    checks.register("app", CheckConfig::application(), Told::passing().check()).unwrap();
    let health = start(checks).await;

    assert!(health.drain());
    assert!(!health.drain());

    let report = health.report();
    assert_eq!(report.phase, Phase::Draining);
    assert!(report.is_live() && !report.is_ready());
    assert_eq!((report.live_answer().status, report.ready_answer().status, report.answer().status), (200, 503, 503));
    assert!(health.stop());
    assert!(!health.report().is_live());
}

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
async fn asking_runs_no_check() {
    let (mut checks, _clock) = registry();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let count = move || {
        counted.fetch_add(1, SeqCst);
        std::future::ready(Observation::pass())
    };
    checks.register("app", CheckConfig::application(), count).unwrap();
    let health = start(checks).await;

    for _ in 0..1_000 {
        assert_eq!(health.report().answer().status, 200);
    }

    assert_eq!(runs.load(SeqCst), 1);
}

#[tokio::test]
async fn the_tasks_end_with_the_last_handle_and_when_stopped() {
    for stop in [false, true] {
        let (mut checks, clock) = registry();
        checks.register("app", CheckConfig::application(), Told::passing().check()).unwrap();
        let health = start(checks).await;
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert_eq!(tasks(), 2);
        let other = health.clone();
        drop(health);
        pass_time(&clock, 10).await;
        assert_eq!(tasks(), 2);

        if stop {
            other.stop();
        } else {
            drop(other);
        }
        pass_time(&clock, 10).await;

        assert_eq!(tasks(), 0);
    }
}

#[tokio::test]
async fn all_checks_can_be_run_as_one_future() {
    let (mut checks, clock) = registry();
    checks.register("app", CheckConfig::application(), Told::passing().check()).unwrap();
    let (health, run) = checks.into_future();
    let run = tokio::spawn(run);
    settle().await;
    assert!(health.report().is_ready());

    health.stop();
    pass_time(&clock, 10).await;

    assert!(run.is_finished());
}

#[tokio::test]
async fn the_document_names_the_service_and_says_of_each_check_what_it_found() {
    let (checks, clock) = registry();
    let mut checks = checks.with_service("catalog/1", "1.2.3");
    let observation = || std::future::ready(Observation::warn("slow").with_value(250.0, "ms"));
    checks.register("database:responseTime", CheckConfig::database(), observation).unwrap();
    let nan = || std::future::ready(Observation::pass().with_value(f64::NAN, "ms"));
    checks.register("cache", CheckConfig::cache(), nan).unwrap();
    let health = start(checks).await;
    clock.advance(SECOND);

    let answer = health.report().answer();

    assert_eq!(answer.status, 200);
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "status": "warn",
            "serviceId": "catalog/1",
            "version": "1.2.3",
            "notes": ["ready"],
            "checks": {
                "database:responseTime": [{
                    "status": "warn", "componentType": "component", "kind": "info", "ageSeconds": 1.0,
                    "observedValue": 250.0, "observedUnit": "ms", "output": "slow",
                }],
                "cache": [{"status": "pass", "componentType": "component", "kind": "info", "ageSeconds": 1.0}],
            },
        })
    );
    assert_eq!(Status::from_body(&answer.body).unwrap(), Status::Warn);
    let summary: Value = serde_json::from_str(&health.report().summary_answer().body).unwrap();
    assert_eq!(summary.get("checks"), None);
}

#[tokio::test]
async fn a_check_that_passes_shows_no_failure_in_the_document() {
    let (mut checks, clock) = registry();
    let told = Told::passing();
    checks.register("app", CheckConfig::application().with_jitter(0.0), told.check()).unwrap();
    let health = start(checks).await;
    told.fails();
    pass_time(&clock, 10).await;

    let (report, body) = (check(&health, "app"), health.report().answer().body);

    // One failure of three: who asks for it can read it, who probes sees a check that passes.
    assert_eq!((report.status, report.output.as_deref()), (Status::Pass, Some("refused")));
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (body["checks"]["app"][0]["status"].as_str(), body["checks"]["app"][0].get("output")),
        (Some("pass"), None)
    );

    pass_time(&clock, 20).await;
    let body: Value = serde_json::from_str(&health.report().answer().body).unwrap();
    assert_eq!(body["checks"]["app"][0]["output"], "refused");
}

#[tokio::test]
async fn a_refused_probe_names_what_fails() {
    let (mut checks, _clock) = registry();
    let told = Told::passing();
    told.fails();
    checks.register("app", CheckConfig::application().with_failures(1), told.check()).unwrap();
    let health = start(checks).await;

    let body: Value = serde_json::from_str(&health.report().ready_answer().body).unwrap();
    assert_eq!(body["output"], "failing: app");
    health.drain();

    let body: Value = serde_json::from_str(&health.report().ready_answer().body).unwrap();
    assert_eq!((body["status"].as_str(), body["output"].as_str()), (Some("fail"), Some("draining")));
}

#[test]
fn a_name_can_be_given_once_and_nonsense_not_at_all() {
    let (mut checks, _clock) = registry();
    checks.register("app", CheckConfig::application(), Told::passing().check()).unwrap();

    let twice = checks.register("app", CheckConfig::cache(), Told::passing().check());
    let never = checks.register("other", CheckConfig::cache().with_failures(0), Told::passing().check());

    assert_eq!(twice.unwrap_err().to_string(), "a check named \"app\" is there already; allowed is each name once");
    assert_eq!(never, Err(HealthError::Threshold { field: "failures" }));
}

#[tokio::test]
async fn without_checks_a_process_is_healthy() {
    let (checks, _clock) = registry();

    let health = start(checks).await;

    let report = health.report();
    assert!(report.is_live() && report.is_ready());
    assert_eq!(report.answer().body, r#"{"status":"pass","notes":["ready"]}"#);
}

#[tokio::test]
async fn a_failure_ends_with_a_warning_too() {
    let (mut checks, clock) = registry();
    let answer = watch::Sender::new(Status::Fail);
    let told = answer.clone();
    let config = CheckConfig::application().with_failures(1).with_successes(1).with_jitter(0.0);
    checks
        .register("disk", config, move || {
            std::future::ready(match *told.borrow() {
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
async fn what_the_checks_hold_goes_with_the_last_handle_not_with_the_next_run() {
    let (mut checks, _clock) = registry();
    let held = Arc::new(());
    let holds = Arc::clone(&held);
    checks
        .register("app", CheckConfig::application(), move || {
            let _ = &holds;
            std::future::ready(Observation::pass())
        })
        .unwrap();
    let health = start(checks).await;
    assert_eq!(Arc::strong_count(&held), 2);

    drop(health);

    assert_eq!(Arc::strong_count(&held), 1);
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
