//! The tables of metrics beside what a running stack publishes.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use four_plane::client::Client;
use four_plane::trial::{Stack, service};

/// How long something may take that a person would wait for.
const SOON: Duration = Duration::from_secs(30);
/// Whose observers the crates' table has one row for.
const PATTERNS: [&str; 7] =
    ["circuit_breaker", "bulkhead", "load_shedder", "rate_limiter", "throttle", "timeout", "fallback"];

/// The names in the first cells of a document's rows.
fn documented(text: &str) -> BTreeSet<String> {
    let rows = text.lines().filter(|line| line.starts_with("| `four_plane_") || line.starts_with("| `seawall_"));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let names = cells.flat_map(|cell| cell.split(", ")).map(|name| name.trim().replace('`', ""));
    names.flat_map(|name| PATTERNS.map(|pattern| name.replace("{pattern}", pattern))).collect()
}

/// The names that a process publishes.
async fn published(client: &Client, url: &str) -> Vec<String> {
    let answer = client.get(&format!("{url}/metrics"), SOON).await.expect("it answers");
    let text = String::from_utf8(answer.body.to_vec()).expect("text");
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_running_stack_publishes_stands_in_the_tables_and_the_other_way_round() {
    let binary = Path::new(env!("CARGO_BIN_EXE_four-plane"));
    let stack = Stack::start(binary, &["--load", "40"]).await.expect("the stack starts");
    let busy = |status: &serde_json::Value| {
        ["edge", "gateway", "catalog", "recommendation"]
            .iter()
            .all(|name| service(status, name)["rps"].as_f64().is_some_and(|rps| rps > 0.0))
    };
    stack.until("every service has served", SOON, busy).await.unwrap();

    let client = Client::new();
    let mut seen = BTreeSet::new();
    for process in stack.ready().processes.iter().filter(|process| !process.url.is_empty()) {
        seen.extend(published(&client, &process.url).await);
    }
    stack.stop().await.unwrap();

    let (own, of_crates) = (documented(include_str!("../README.md")), include_str!("../../../docs/metrics.md"));
    let all: BTreeSet<_> = documented(of_crates).union(&own).cloned().collect();
    let unknown: Vec<_> = seen.difference(&all).collect();
    let gone: Vec<_> = own.difference(&seen).collect();
    assert!(unknown.is_empty(), "published, but in no table: {unknown:?}");
    assert!(gone.is_empty(), "in the README, but not published: {gone:?}");
    for name in ["seawall_load_shedder_limit", "seawall_bulkhead_queued", "seawall_retry_budget_balance"] {
        assert!(seen.contains(name), "{name} is not in {seen:?}");
    }
}
