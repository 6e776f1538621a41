//! What probes are told.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use seawall_health::{CheckConfig, CheckKind, HealthError, Observation, Phase, Status};
use serde_json::Value;

use crate::told::{SECOND, Told, check, pass_time, registry, settle, start};

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
async fn what_was_not_looked_at_yet_is_a_reason_to_wait_only_where_it_is_about_work() {
    for kind in [CheckKind::Info, CheckKind::Liveness] {
        let (mut checks, _clock) = registry();
        checks.register("slow", CheckConfig::new(kind), pending::<Observation>).expect("a good check");

        let report = start(checks).await.report();

        let read = (report.checks[0].status, report.status, report.is_ready(), report.is_live());
        assert_eq!(read, (Status::Unknown, Status::Pass, true, true), "{kind:?}");
    }
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

#[test]
fn a_check_without_a_name_is_refused_and_debug_tells_why() {
    let (mut checks, _clock) = registry();

    let nameless = checks.register("", CheckConfig::cache(), Told::passing().check()).unwrap_err();

    assert_eq!(nameless, HealthError::NoName);
    let told = r#"HealthError(the name of a check is ""; allowed is any text that is not empty)"#;
    assert_eq!(format!("{nameless:?}"), told, "as main prints it");
}

#[tokio::test]
async fn without_checks_a_process_is_healthy() {
    let (checks, _clock) = registry();

    let health = start(checks).await;

    let report = health.report();
    assert!(report.is_live() && report.is_ready());
    assert_eq!(report.answer().body, r#"{"status":"pass","notes":["ready"]}"#);
}
