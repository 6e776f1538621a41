//! Whether an instance is ready, for as long as its process lives.

use std::time::Duration;

use seawall::health::{CheckConfig, CheckKind, Health, Observation, Registry};
use tokio::sync::watch;

use crate::client::{Client, ClientError};

/// From check to check. A dead process is known at once without any check; this finds those that hang.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same until the first one passes: a stack that starts should not wait for its checks.
const STARTING_INTERVAL: Duration = Duration::from_millis(50);
/// How long a check may take.
const LIMIT: Duration = Duration::from_millis(900);
/// Checks without an answer, in a row, that make an instance fail; an answer that says so counts at once.
const SILENT_CHECKS: u32 = 3;

/// Checks the instance whose health answers at `url` until the handle is dropped. The receiver changes with its
/// readiness, first to `Some(true)`: an instance that never passed is still starting.
pub(super) fn watch(client: Client, url: &str) -> (Health, watch::Receiver<Option<bool>>) {
    let ready = format!("{url}/health/ready");
    let config = CheckConfig::new(CheckKind::Info)
        .with_interval(INTERVAL)
        .with_starting_interval(STARTING_INTERVAL)
        .with_timeout(LIMIT)
        .with_failures(SILENT_CHECKS)
        .with_successes(1);
    let mut checks = Registry::new();
    let check = move || {
        let (client, ready) = (client.clone(), ready.clone());
        async move { seen(client.get(&ready, LIMIT).await.map(|answer| answer.status)) }
    };
    checks.register("readiness", config, check).expect("constants in their ranges");
    let (known, changes) = watch::channel(None);
    checks.on_change(move |change| {
        let healthy = change.to.is_up();
        known.send_if_modified(|known| {
            let news = *known != Some(healthy) && (healthy || known.is_some());
            if news {
                *known = Some(healthy);
            }
            news
        });
    });
    let health = checks.spawn(|task| {
        tokio::spawn(task);
    });
    (health, changes)
}

/// Silence may be chance; an answer is not.
fn seen(answer: Result<http::StatusCode, ClientError>) -> Observation {
    match answer {
        Ok(status) if status.is_success() => Observation::pass(),
        Ok(status) => Observation::fail(status.to_string()).conclusive(),
        Err(error) => Observation::fail(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

    use axum::Router;
    use axum::routing::get;
    use http::StatusCode;
    use tokio::net::TcpListener;

    use super::*;

    /// An instance that answers its probe with the status that is set.
    async fn instance(answer: Arc<AtomicU16>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let ready = get(move || async move { StatusCode::from_u16(answer.load(Relaxed)).unwrap() });
        let serving = axum::serve(listener, Router::new().route("/health/ready", ready));
        tokio::spawn(serving.into_future());
        url
    }

    #[test]
    fn an_answer_that_it_is_not_ready_needs_no_second_one_and_silence_does() {
        assert_eq!(seen(Ok(StatusCode::OK)), Observation::pass());
        assert!(seen(Ok(StatusCode::SERVICE_UNAVAILABLE)).is_conclusive());
        assert!(!seen(Err(ClientError::TimedOut { limit: LIMIT })).is_conclusive());
    }

    #[tokio::test]
    async fn an_instance_is_starting_until_it_passes_and_fails_when_it_says_so() {
        let answer = Arc::new(AtomicU16::new(503));
        let (_checks, mut changes) = watch(Client::new(), &instance(Arc::clone(&answer)).await);

        answer.store(200, Relaxed);
        changes.changed().await.unwrap();
        assert_eq!(*changes.borrow_and_update(), Some(true));

        answer.store(503, Relaxed);
        changes.changed().await.unwrap();
        assert_eq!(*changes.borrow_and_update(), Some(false));
    }

    #[tokio::test]
    async fn checks_end_with_their_handle() {
        let (checks, mut changes) = watch(Client::new(), &instance(Arc::new(AtomicU16::new(200))).await);
        changes.changed().await.unwrap();

        drop(checks);

        assert!(changes.changed().await.is_err());
    }
}
