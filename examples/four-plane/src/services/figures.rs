//! Figures of seawall's layers that are read when somebody scrapes, not counted on the way.

use std::sync::{PoisonError, RwLock};

use metrics::{Gauge, counter, gauge};
use seawall::backoff_with_jitter::RetryLayer;
use seawall::circuit_breaker::{CircuitBreakerLayer, State};
use seawall::http::ReceiveDeadlineLayer;
use seawall_core::{Clock as _, Environment, MonotonicClock};

use super::metrics::install;

type Reading = Box<dyn Fn() + Send + Sync>;

static READINGS: RwLock<Vec<Reading>> = RwLock::new(Vec::new());

/// States as they are labelled; exactly one is 1 at a time.
const STATES: [(&str, &[State]); 3] = [
    ("closed", &[State::Closed, State::ForcedClosed, State::Disabled]),
    ("open", &[State::Open, State::ForcedOpen]),
    ("half_open", &[State::HalfOpen]),
];

/// Sets all figures to what they are at this time.
pub fn read() {
    for reading in READINGS.read().unwrap_or_else(PoisonError::into_inner).iter() {
        reading();
    }
}

/// Calls `reading` before each scrape from here on.
pub fn before_scrape(reading: impl Fn() + Send + Sync + 'static) {
    install();
    READINGS.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(reading));
}

/// State and failure ratio of a breaker: `seawall_circuit_breaker_state{name,state}`,
/// `seawall_circuit_breaker_failure_ratio{name}`.
pub fn of_breaker<E: Environment>(name: &'static str, breaker: &CircuitBreakerLayer<E>) {
    install();
    let states: Vec<(Gauge, &[State])> = STATES
        .iter()
        .map(|(label, states)| (gauge!("seawall_circuit_breaker_state", "name" => name, "state" => *label), *states))
        .collect();
    let ratio = gauge!("seawall_circuit_breaker_failure_ratio", "name" => name);
    let breaker = breaker.clone();
    before_scrape(move || {
        let snapshot = breaker.gate().snapshot(MonotonicClock.now());
        for (gauge, states) in &states {
            gauge.set(if states.contains(&snapshot.state) { 1.0 } else { 0.0 });
        }
        ratio.set(snapshot.figures.failure_ratio().unwrap_or(0.0));
    });
}

/// Attempts after the first: `seawall_retry_attempts_total{name}`.
pub fn of_retry<E: Environment, P, W>(name: &'static str, retry: &RetryLayer<E, P, W>)
where
    P: Clone + Send + Sync + 'static,
    W: Clone + Send + Sync + 'static,
{
    let attempts = counter!("seawall_retry_attempts_total", "name" => name);
    let retry = retry.clone();
    before_scrape(move || attempts.absolute(retry.figures().retries));
}

/// Requests that arrived when their caller had stopped waiting: `seawall_deadline_expired_total`.
pub fn of_deadlines(received: &ReceiveDeadlineLayer) {
    install();
    let expired = counter!("seawall_deadline_expired_total");
    let received = received.clone();
    before_scrape(move || expired.absolute(received.expired()));
}
