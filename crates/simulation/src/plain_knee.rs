//! The limiter that [`Knee`](seawall_load_shedder::Knee) grew out of: one probe at half the limit, one comparison.
use std::time::Duration;

use seawall_load_shedder::{LimitAlgorithm, LimitRange, Probe, Window, WindowSize};

const HEADROOM: f64 = 1.35;
const FEWEST: f64 = 24.0;

/// The knee found with nothing but windows, probes at half the limit and their throughputs.
#[derive(Clone, Debug)]
pub(crate) struct PlainKnee {
    range: LimitRange,
    limit: f64,
    base: Option<f64>,
    base_samples: f64,
    variance: f64,
    factor: f64,
    gap: f64,
    half_over_full: f64,
    clean: u32,
    limit_probed: f64,
    since_probe: f64,
    last: Option<f64>,
    due: bool,
}

impl PlainKnee {
    pub(crate) fn new(range: LimitRange) -> Self {
        let limit = f64::from(range.initial());
        Self {
            range,
            limit,
            base: None,
            base_samples: 0.0,
            variance: 0.5,
            factor: 1.0,
            gap: 0.1,
            half_over_full: 0.0,
            clean: 1_000,
            limit_probed: limit,
            since_probe: 0.0,
            last: None,
            due: false,
        }
    }

    fn calls(&self, per_variance: f64) -> f64 {
        (per_variance * self.variance * self.limit).max(self.limit).max(FEWEST)
    }

    fn probe_calls(&self) -> f64 {
        self.calls(3.43)
    }
}

impl LimitAlgorithm for PlainKnee {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn window_size(&self) -> WindowSize {
        WindowSize {
            full: self.calls(4.48) as u32,
            enough: self.limit.max(FEWEST) as u32,
            at_most: Duration::from_secs(1),
        }
    }

    fn update(&mut self, window: &Window) {
        let mean = window.mean;
        self.variance += 0.1 * (window.relative_variance - self.variance);
        self.since_probe += f64::from(window.samples);
        self.due = false;
        if f64::from(window.max_in_flight) < self.limit / 2.0 {
            self.base = Some(self.base.map_or(mean, |base| base + 0.3 * (mean - base)));
            return;
        }
        self.last = Some(mean);
        let Some(base) = self.base else {
            self.due = true;
            return;
        };
        let allowed = HEADROOM * self.factor;
        let ratio = base / mean;
        let pressed = f64::from(window.max_in_flight) >= (0.9 * self.limit).floor();
        if ratio > 1.0 - 0.5 * allowed / self.limit.sqrt() {
            self.clean += u32::from(pressed);
        } else {
            self.clean = 0;
        }
        let mut target = self.limit * ratio.clamp(0.5, 1.0) + allowed * self.limit.sqrt();
        if !pressed {
            target = target.min(self.limit);
        }
        let mut next = self.limit + 0.3 * (target - self.limit);
        if self.clean > 5 {
            next = next.max(1.4 * self.limit);
        }
        self.limit = next.clamp(self.range.min().into(), self.range.max().into());
        self.due = self.since_probe > 80.0 * self.gap * self.probe_calls() || self.limit < 0.7 * self.limit_probed;
        if self.limit > self.limit_probed / 0.7 {
            self.limit_probed = 0.9 * self.limit;
        }
    }

    fn probe(&self) -> Option<Probe> {
        self.due.then(|| Probe { limit: (self.limit / 2.0).ceil().max(1.0) as u32, calls: self.probe_calls() as u32 })
    }

    fn probed(&mut self, probe: Option<&Window>) {
        self.due = false;
        self.since_probe = 0.0;
        self.limit_probed = self.limit;
        let Some(probe) = probe else { return };
        let (mean, samples) = (probe.mean, f64::from(probe.samples.max(1)));
        match self.base {
            Some(base) if (mean / base).ln().abs() <= 3.0 * (self.variance / samples).sqrt() + 0.1 => {
                self.base = Some(base + samples / (samples + self.base_samples) * (mean - base));
                self.base_samples = (self.base_samples + samples).min(1.5 * samples);
                self.gap = (2.0 * self.gap).min(1.0);
            }
            _ => {
                self.base = Some(mean);
                self.base_samples = samples;
                self.gap = 0.1;
            }
        }
        if let Some(last) = self.last {
            self.half_over_full += 0.4 * ((0.5 * last / mean).ln() - self.half_over_full);
            self.factor = if self.half_over_full > 1.05_f64.ln() && self.limit > 6.0 {
                (0.8 * self.factor).max(0.25)
            } else {
                (1.15 * self.factor).min(1.0)
            };
        }
    }
}
