//! What a scrape shows of a timeout.
#![cfg(feature = "metrics")]

use std::{future::ready, time::Duration};

use metrics_exporter_prometheus::PrometheusBuilder;
use seawall_core::{CallContext, Env, Timestamp, VirtualClock};
use seawall_timeout::{AdaptiveConfig, TimeoutConfig, TimeoutLayer, TimeoutMetrics};

#[tokio::test]
async fn the_gauge_follows_the_adaptive_limit_and_spared_calls_are_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let clock = VirtualClock::new();
    let adaptive = AdaptiveConfig::new(Duration::from_millis(250), Duration::from_secs(4)).expect("valid");
    let config = TimeoutConfig::adaptive(adaptive).with_deadline_observed_only();
    let layer = TimeoutLayer::with_env(config, Env::new().with_clock(clock.clone()));
    let metrics = metrics::with_local_recorder(&recorder, || TimeoutMetrics::new("catalog"));
    let scrape = || {
        metrics.scrape(&layer);
        let text = recorder.handle().render();
        let mut lines: Vec<_> = text.lines().filter(|line| line.starts_with("seawall_")).map(str::to_owned).collect();
        lines.sort();
        lines
    };

    let limit = r#"seawall_timeout_limit_seconds{name="catalog"}"#;
    let spared = r#"seawall_timeout_spared_total{name="catalog"}"#;
    assert_eq!(scrape(), [format!("{limit} 4"), format!("{spared} 0")]);
    for _ in 0..100 {
        layer.run(ready(Ok::<_, ()>(()))).await.expect("answered");
    }
    let expired = CallContext::new().with_deadline(Timestamp::ZERO);
    layer.run_with(expired, ready(Ok::<_, ()>(()))).await.expect("only observed");
    clock.advance(Duration::from_secs(10));

    assert_eq!(scrape(), [format!("{limit} 0.25"), format!("{spared} 1")]);
}
