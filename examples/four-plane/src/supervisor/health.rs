//! Asks an instance whether it is ready, for as long as its process lives.

use std::time::Duration;

use crate::client::Client;

/// Between two checks until the first one passes: a stack that starts should not wait for its checks.
const EAGER: Duration = Duration::from_millis(50);
/// Between two checks afterwards. A dead process is known at once without any check; this finds those that hang.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long a check may take.
const LIMIT: Duration = Duration::from_secs(1);
/// Checks without an answer, in a row, that make an instance fail; an answer that says so counts at once.
const SILENT_CHECKS: u32 = 3;

/// Calls `changed` with every change, and never ends: whoever started it aborts it.
pub(super) async fn watch<F: Future<Output = ()>>(client: Client, url: String, changed: impl Fn(bool) -> F) {
    let ready = format!("{url}/health/ready");
    let mut known = None;
    let mut silent: u32 = 0;
    loop {
        let verdict = if let Ok(answer) = client.get(&ready, LIMIT).await {
            silent = 0;
            Some(answer.status.is_success())
        } else {
            silent = silent.saturating_add(1);
            (silent >= SILENT_CHECKS).then_some(false)
        };
        // An instance that never passed is still starting.
        if let Some(healthy) = verdict.filter(|healthy| Some(*healthy) != known && (*healthy || known.is_some())) {
            known = Some(healthy);
            changed(healthy).await;
        }
        tokio::time::sleep(if known.is_some() { INTERVAL } else { EAGER }).await;
    }
}
