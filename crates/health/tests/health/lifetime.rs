//! How checks are started, and end.

use std::sync::Arc;

use seawall_health::{CheckConfig, Observation};

use crate::told::{Told, pass_time, registry, settle, start};

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
