//! What a scrape shows of a retry.
#![cfg(feature = "metrics")]

use std::{future::ready, time::Duration};

use metrics_exporter_prometheus::PrometheusBuilder;
use seawall_backoff_with_jitter::{Backoff, IfUnknown, RetryConfig, RetryLayer, RetryMetrics};
use seawall_core::{Env, VirtualClock};
use tower::{ServiceExt, service_fn};

#[tokio::test]
async fn the_gauge_is_what_is_left_of_the_budget_and_falls_with_each_retry() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let env = Env::new().with_clock(VirtualClock::new());
    let config = RetryConfig::new(IfUnknown::Repeat).with_backoff(Backoff::constant(Duration::ZERO));
    let layer = RetryLayer::with_env(config, env);
    let metrics = metrics::with_local_recorder(&recorder, || RetryMetrics::new("catalog"));
    let balance = || {
        metrics.scrape(&layer);
        recorder.handle().render().lines().find(|line| line.starts_with("seawall_")).map(str::to_owned)
    };

    assert_eq!(balance().as_deref(), Some(r#"seawall_retry_budget_balance{name="catalog"} 10"#));
    let failing = layer.protect(service_fn(|(): ()| ready(Err::<(), _>("down"))));
    failing.oneshot(()).await.expect_err("it is down");

    assert_eq!(balance().as_deref(), Some(r#"seawall_retry_budget_balance{name="catalog"} 8"#));
}
