//! The document's checks: how soon each calls for its action, and its end.

use seawall_health::{CheckConfig, RecoveryAction, RecoveryEdge};

use crate::told::{Told, edges, pass_time, registry, start};

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
