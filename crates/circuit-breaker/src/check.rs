use std::time::Duration;

use crate::{builder::BreakerConfigBuilder, config::Window, error::BreakerConfigError, recovery::Recovery};

const MAX_WINDOW_CALLS: u32 = 65_535;
const MAX_WINDOW_SECONDS: u64 = 3_600;
const MAX_PROBES: u32 = 255;

/// What a breaker cannot have.
impl BreakerConfigBuilder {
    pub(crate) fn check_window(&self) -> Result<(), BreakerConfigError> {
        match self.window {
            Window::Calls(calls) if !(1..=MAX_WINDOW_CALLS).contains(&calls) => {
                Err(BreakerConfigError::WindowCalls { calls })
            }
            Window::Time(length)
                if length.subsec_nanos() != 0 || !(1..=MAX_WINDOW_SECONDS).contains(&length.as_secs()) =>
            {
                Err(BreakerConfigError::WindowLength { length })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn check_rules(&self) -> Result<(), BreakerConfigError> {
        let ratios = [("failure_ratio", self.failure_ratio.unwrap_or(1.0)), ("slow_ratio", self.slow_ratio)];
        for (field, value) in ratios {
            // Also false for NaN.
            if !(value > 0.0 && value <= 1.0) {
                return Err(BreakerConfigError::Ratio { field, value });
            }
        }
        if self.min_calls == 0 {
            return Err(BreakerConfigError::Zero { field: "min_calls" });
        }
        if self.consecutive_failures == Some(0) {
            return Err(BreakerConfigError::Zero { field: "consecutive_failures" });
        }
        for (field, value) in [("slow_after", self.slow_after), ("pushback", self.pushback)] {
            if value == Some(Duration::ZERO) {
                return Err(BreakerConfigError::NoTime { field });
            }
        }
        let no_ratio = self.failure_ratio.is_none() && self.slow_after.is_none();
        if no_ratio && self.consecutive_failures.is_none() && self.peers.is_none() {
            return Err(BreakerConfigError::NoRule);
        }
        Ok(())
    }

    pub(crate) fn check_half_open(&self) -> Result<(), BreakerConfigError> {
        let probes = self.probes;
        if !(1..=MAX_PROBES).contains(&probes) {
            return Err(BreakerConfigError::Probes { probes });
        }
        if let Recovery::BySuccesses(required) = self.recovery {
            if !(1..=probes).contains(&required) {
                return Err(BreakerConfigError::RequiredSuccesses { required, probes });
            }
        }
        if let Some(at_once) = self.probes_at_once {
            if !(1..=probes).contains(&at_once) {
                return Err(BreakerConfigError::ProbesAtOnce { at_once, probes });
            }
        }
        if self.max_probe_age == Some(Duration::ZERO) {
            return Err(BreakerConfigError::NoTime { field: "max_probe_age" });
        }
        Ok(())
    }
}
