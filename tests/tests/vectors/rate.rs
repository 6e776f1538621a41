//! Which calls a rate limiter admits, and how long it tells the others to wait.

use std::time::Duration;

use seawall::{
    Reason,
    core::Timestamp,
    rate_limiter::{Gcra, KeyedGcra, Quota},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{accepted, expect, parse};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    config: Config,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    emission_interval_ns: u64,
    burst: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    t_ns: u64,
    n: u32,
    key: Option<String>,
    allowed: bool,
    retry_after_ns: Option<u64>,
    #[serde(default)]
    never: bool,
}

/// What a call is told.
#[derive(Debug, PartialEq)]
enum Said {
    Go,
    RetryAfter(Option<Duration>),
    Never,
}

impl Step {
    fn recorded(&self) -> Said {
        match (self.allowed, self.never) {
            (true, _) => Said::Go,
            (false, true) => Said::Never,
            (false, false) => Said::RetryAfter(self.retry_after_ns.map(Duration::from_nanos)),
        }
    }
}

pub(crate) fn gcra(case: &Value) -> Result<(), String> {
    let Case { config, steps } = parse(case)?;
    let quota = Quota::every(Duration::from_nanos(config.emission_interval_ns));
    let quota = accepted(quota.and_then(|quota| quota.with_burst(config.burst)))?;
    let (direct, keyed) = (Gcra::new(quota), KeyedGcra::new(quota));
    for (number, step) in (0_u32..).zip(&steps) {
        let now = Timestamp::from_nanos(step.t_ns);
        let taken = match &step.key {
            Some(key) => keyed.take(key, step.n, now),
            None => direct.take(step.n, now),
        };
        let ours = match taken {
            Ok(()) => Said::Go,
            Err(refused) if refused.reason() == Reason::TooHeavy => Said::Never,
            Err(refused) => Said::RetryAfter(refused.retry_after()),
        };
        expect(&format!("step {number}"), &ours, &step.recorded())?;
    }
    Ok(())
}
