//! What one scrape of one process said.

use std::collections::BTreeMap;

use super::exposition::{Malformed, Sample, samples};

/// The figures of one service, or their growth between two scrapes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) ok: f64,
    pub(crate) degraded: f64,
    pub(crate) shed: f64,
    pub(crate) error: f64,
    /// Upper bound in seconds and cumulative count, ascending.
    pub(crate) buckets: Vec<(f64, f64)>,
    pub(crate) cache_hits: f64,
    pub(crate) cache_misses: f64,
    pub(crate) retried: f64,
    /// Calls that its callers refused themselves, since no place was free for them.
    pub(crate) turned_away: f64,
    /// Calls to others by name: all and failed.
    pub(crate) upstream: BTreeMap<String, (f64, f64)>,
}

/// A circuit breaker as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct BreakerReading {
    pub(crate) state: String,
    pub(crate) failure_ratio: Option<f64>,
}

/// One scrape.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Reading {
    pub(crate) services: BTreeMap<String, Figures>,
    /// Without those that wait.
    pub(crate) in_flight: BTreeMap<String, f64>,
    /// Requests that wait for their turn; before a part of the state plane, for a connection.
    pub(crate) waiting: BTreeMap<String, f64>,
    pub(crate) limit: BTreeMap<String, f64>,
    pub(crate) breakers: BTreeMap<String, BreakerReading>,
}

impl Reading {
    /// Reads an answer of `/metrics`. Samples without a `service` label belong to `role`.
    ///
    /// # Errors
    /// [`Malformed`] when it is no text of the format.
    pub(crate) fn parse(text: &str, role: &str) -> Result<Self, Malformed> {
        let mut reading = Self::default();
        for sample in samples(text)? {
            let service = Some(sample.label("service")).filter(|label| !label.is_empty()).unwrap_or(role).to_owned();
            match sample.name {
                "four_plane_in_flight" => *reading.in_flight.entry(service).or_default() += sample.value,
                "four_plane_waiting" => *reading.waiting.entry(service).or_default() += sample.value,
                // Those are at their caller's: the part has not heard of them.
                "seawall_pool_waiters" if is_part(sample.label("name")) => {
                    *reading.waiting.entry(sample.label("name").to_owned()).or_default() += sample.value;
                }
                // 0 until an instance says how many it lets in.
                "four_plane_limit" if sample.value > 0.0 => *reading.limit.entry(service).or_default() += sample.value,
                // What a caller holds before a part of the state plane is told of that part.
                "seawall_bulkhead_limit" if is_part(sample.label("name")) => {
                    *reading.limit.entry(sample.label("name").to_owned()).or_default() += sample.value;
                }
                "seawall_bulkhead_rejections_total" if is_part(sample.label("name")) => {
                    reading.figures(sample.label("name")).turned_away += sample.value;
                }
                "seawall_pool_repeated_total" => reading.figures(sample.label("name")).retried += sample.value,
                "seawall_circuit_breaker_state" if sample.value > 0.5 => {
                    plain(sample.label("state")).clone_into(&mut reading.breaker(&sample).state);
                }
                "seawall_circuit_breaker_failure_ratio" if sample.value.is_finite() => {
                    reading.breaker(&sample).failure_ratio = Some(sample.value);
                }
                _ => reading.services.entry(service).or_default().take(&sample),
            }
        }
        for (service, in_flight) in &mut reading.in_flight {
            *in_flight = (*in_flight - reading.waiting.get(service).copied().unwrap_or_default()).max(0.0);
        }
        reading.services.retain(|_, figures| *figures != Figures::default());
        Ok(reading)
    }

    fn figures(&mut self, service: &str) -> &mut Figures {
        self.services.entry(service.to_owned()).or_default()
    }

    fn breaker(&mut self, sample: &Sample<'_>) -> &mut BreakerReading {
        self.breakers.entry(sample.label("name").to_owned()).or_default()
    }
}

fn is_part(name: &str) -> bool {
    matches!(name, "database" | "cache")
}

/// What a state means to a call, whoever forced the breaker into it.
fn plain(state: &str) -> &str {
    match state {
        "forced_open" => "open",
        "forced_closed" | "disabled" => "closed",
        state => state,
    }
}

impl Figures {
    fn take(&mut self, sample: &Sample<'_>) {
        match sample.name {
            "four_plane_requests_total" => match sample.label("outcome") {
                "ok" => self.ok += sample.value,
                "degraded" => self.degraded += sample.value,
                "shed" => self.shed += sample.value,
                _ => self.error += sample.value,
            },
            "four_plane_request_duration_seconds_bucket" => {
                let bound = sample.label("le").replace("+Inf", "inf").parse().unwrap_or(f64::INFINITY);
                self.add_bucket(bound, sample.value);
            }
            "four_plane_cache_requests_total" => match sample.label("result") {
                "hit" => self.cache_hits += sample.value,
                "miss" => self.cache_misses += sample.value,
                _ => {}
            },
            "seawall_retry_attempts_total" => self.retried += sample.value,
            "four_plane_upstream_requests_total" => {
                let (all, failed) = self.upstream.entry(sample.label("upstream").to_owned()).or_default();
                *all += sample.value;
                if sample.label("outcome") == "error" {
                    *failed += sample.value;
                }
            }
            _ => {}
        }
    }

    fn add_bucket(&mut self, bound: f64, count: f64) {
        let at = self.buckets.partition_point(|(known, _)| *known < bound);
        match self.buckets.get_mut(at).filter(|(known, _)| known.total_cmp(&bound).is_eq()) {
            Some((_, sum)) => *sum += count,
            None => self.buckets.insert(at, (bound, count)),
        }
    }

    /// All requests, however they ended.
    pub(crate) fn requests(&self) -> f64 {
        self.ok + self.degraded + self.shed + self.error
    }

    /// Adds another process's figures, or the growth of the same one.
    pub(crate) fn add(&mut self, other: &Self) {
        self.combine(other, |mine, theirs| mine + theirs);
    }

    /// What was counted since an earlier scrape of the same process.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut growth = self.clone();
        growth.combine(earlier, |mine, theirs| (mine - theirs).max(0.0));
        growth
    }

    fn combine(&mut self, other: &Self, with: impl Fn(f64, f64) -> f64) {
        for (mine, theirs) in [
            (&mut self.ok, other.ok),
            (&mut self.degraded, other.degraded),
            (&mut self.shed, other.shed),
            (&mut self.error, other.error),
            (&mut self.cache_hits, other.cache_hits),
            (&mut self.cache_misses, other.cache_misses),
            (&mut self.retried, other.retried),
            (&mut self.turned_away, other.turned_away),
        ] {
            *mine = with(*mine, theirs);
        }
        if self.buckets.is_empty() {
            self.buckets = other.buckets.iter().map(|(bound, count)| (*bound, with(0.0, *count))).collect();
        } else {
            // Every process of the stack is the same program, so the bounds are the same.
            for ((_, mine), (_, theirs)) in self.buckets.iter_mut().zip(&other.buckets) {
                *mine = with(*mine, *theirs);
            }
        }
        for (name, (all, failed)) in &other.upstream {
            let mine = self.upstream.entry(name.clone()).or_default();
            *mine = (with(mine.0, *all), with(mine.1, *failed));
        }
    }

    /// The latency below which a share of the requests stayed, in milliseconds; `None` without requests.
    ///
    /// Interpolated within its bucket, as Prometheus' `histogram_quantile` does.
    pub(crate) fn quantile_ms(&self, share: f64) -> Option<f64> {
        let (_, total) = *self.buckets.last()?;
        if total <= 0.0 {
            return None;
        }
        let rank = share.clamp(0.0, 1.0) * total;
        let at = self.buckets.partition_point(|(_, count)| *count < rank).min(self.buckets.len().saturating_sub(1));
        let (bound, count) = *self.buckets.get(at)?;
        let (low, below) = at.checked_sub(1).and_then(|before| self.buckets.get(before).copied()).unwrap_or_default();
        if bound.is_infinite() || count <= below {
            return Some(low * 1000.0);
        }
        Some((low + (bound - low) * (rank - below) / (count - below)) * 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
four_plane_requests_total{service="catalog",instance="catalog/1",outcome="ok"} 90
four_plane_requests_total{service="catalog",instance="catalog/1",outcome="error"} 10
four_plane_request_duration_seconds_bucket{service="catalog",le="0.001"} 50
four_plane_request_duration_seconds_bucket{service="catalog",le="0.01"} 100
four_plane_request_duration_seconds_bucket{service="catalog",le="+Inf"} 100
four_plane_in_flight{service="catalog"} 5
four_plane_waiting{service="catalog"} 2
four_plane_limit 20
four_plane_cache_requests_total{result="hit"} 8
seawall_circuit_breaker_state{name="database",state="open"} 1
seawall_circuit_breaker_state{name="database",state="closed"} 0
seawall_retry_attempts_total{name="database"} 4
"#;

    #[test]
    fn a_scrape_is_read_by_service() {
        let reading = Reading::parse(TEXT, "catalog").unwrap();

        let catalog = &reading.services["catalog"];
        assert_eq!((catalog.ok, catalog.error, catalog.requests()), (90.0, 10.0, 100.0));
        assert_eq!((catalog.cache_hits, catalog.retried), (8.0, 4.0));
        let held = (reading.in_flight["catalog"], reading.waiting["catalog"], reading.limit["catalog"]);
        assert_eq!(held, (3.0, 2.0, 20.0));
        assert_eq!(reading.breakers["database"].state, "open");
        assert_eq!(reading.services.len(), 1);
    }

    #[test]
    fn a_breaker_is_what_its_calls_meet_and_has_no_ratio_that_is_no_number() {
        for (state, shown) in [("forced_open", "open"), ("forced_closed", "closed"), ("half_open", "half_open")] {
            let text = format!(
                "seawall_circuit_breaker_state{{name=\"cache\",state=\"{state}\"}} 1\n\
                 seawall_circuit_breaker_failure_ratio{{name=\"cache\"}} NaN\n"
            );

            let breaker = &Reading::parse(&text, "catalog").unwrap().breakers["cache"];

            assert_eq!((breaker.state.as_str(), breaker.failure_ratio), (shown, None));
        }
    }

    #[test]
    fn what_callers_hold_before_a_part_of_the_state_plane_is_told_of_that_part() {
        let text = "seawall_bulkhead_limit{name=\"database\"} 30\n\
                    seawall_bulkhead_limit{name=\"catalog\"} 64\n\
                    seawall_bulkhead_rejections_total{name=\"database\",reason=\"full\"} 5\n\
                    seawall_bulkhead_rejections_total{name=\"catalog\",reason=\"full\"} 7\n\
                    seawall_pool_waiters{name=\"database\"} 6\n\
                    seawall_pool_repeated_total{name=\"cache\"} 2\n";

        let reading = Reading::parse(text, "recommendation").unwrap();

        assert_eq!(reading.limit, BTreeMap::from([("database".to_owned(), 30.0)]));
        assert_eq!(reading.waiting, BTreeMap::from([("database".to_owned(), 6.0)]));
        let (database, cache) = (&reading.services["database"], &reading.services["cache"]);
        assert_eq!((database.turned_away, database.requests(), cache.retried), (5.0, 0.0, 2.0));
        assert_eq!(reading.services.len(), 2);
    }

    #[test]
    fn a_quantile_is_interpolated_within_its_bucket() {
        let reading = Reading::parse(TEXT, "catalog").unwrap();
        let catalog = &reading.services["catalog"];

        let near = |share, expected: f64| catalog.quantile_ms(share).is_some_and(|ms| (ms - expected).abs() < 1e-9);
        assert!(near(0.25, 0.5) && near(0.75, 5.5), "{:?}", catalog.quantile_ms(0.75));
        assert_eq!(Figures::default().quantile_ms(0.5), None);
    }

    #[test]
    fn a_quantile_beyond_the_last_bound_is_that_bound() {
        let mut figures = Figures::default();
        figures.add_bucket(f64::INFINITY, 10.0);
        figures.add_bucket(1.0, 5.0);

        assert_eq!(figures.quantile_ms(0.99), Some(1000.0));
    }

    #[test]
    fn growth_never_is_negative() {
        let later = Figures { ok: 5.0, ..Figures::default() };
        let earlier = Figures { ok: 7.0, shed: 1.0, ..Figures::default() };

        assert_eq!(later.since(&earlier), Figures::default());
    }
}
