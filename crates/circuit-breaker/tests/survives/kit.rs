//! A breaker whose open times are exact, and the calls through it.

use std::time::Duration;

use seawall_circuit_breaker::{
    Breaker, BreakerConfig, BreakerConfigBuilder, BreakerTicket, Class, Outcome, State, Timestamp,
};

pub(crate) const SUCCEEDED: Outcome = Outcome::Finished(Class::Success);
pub(crate) const FAILED: Outcome = Outcome::Finished(Class::Failure);

pub(crate) fn breaker(change: impl FnOnce(BreakerConfigBuilder) -> BreakerConfigBuilder) -> Breaker {
    change(BreakerConfig::builder().jitter(0.0)).build().expect("valid settings").into()
}

pub(crate) fn ms(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

pub(crate) fn admit(breaker: &Breaker, now: Timestamp) -> BreakerTicket {
    breaker.try_admit(now).expect("admitted")
}

pub(crate) fn end(breaker: &Breaker, ticket: BreakerTicket, outcome: Outcome, now: Timestamp) {
    breaker.record(ticket, outcome, Duration::from_millis(1), now);
}

pub(crate) fn calls(breaker: &Breaker, count: usize, outcome: Outcome, now: Timestamp) {
    for _ in 0..count {
        end(breaker, admit(breaker, now), outcome, now);
    }
}

/// Opened at `now` by failures.
pub(crate) fn trip(breaker: &Breaker, now: Timestamp) {
    while breaker.state() == State::Closed {
        end(breaker, admit(breaker, now), FAILED, now);
    }
}
