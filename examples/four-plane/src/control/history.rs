//! The scrapes of the last seconds, and the figures that follow from them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::reading::{Figures, Reading};

/// Quantiles are over this long: of the requests of less, the slowest percent is one or two.
pub(crate) const WINDOW: Duration = Duration::from_secs(5);
/// Rates are over this long, or from one scrape to the next where that takes longer: what is over is not shown for another
/// five seconds.
pub(crate) const RATES: Duration = Duration::from_secs(2);
/// Scrapes are a second apart, give or take: one that is slightly too old still counts as the window's beginning.
const SLACK: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
struct Scrape {
    at: Duration,
    pid: u32,
    reading: Reading,
}

/// The scrapes of every instance, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    scrapes: BTreeMap<String, VecDeque<Scrape>>,
    /// What processes that have ended had counted, by instance and service.
    retired: BTreeMap<String, BTreeMap<String, Figures>>,
}

/// Growth over the window, and the time that it took.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Recent {
    pub(crate) growth: Figures,
    pub(crate) seconds: f64,
}

impl Recent {
    /// Requests per second.
    pub(crate) fn rate(&self) -> f64 {
        self.per_second(self.growth.requests())
    }

    pub(crate) fn per_second(&self, count: f64) -> f64 {
        if self.seconds > 0.0 { count / self.seconds } else { 0.0 }
    }
}

impl History {
    /// Adds a scrape and forgets those that no window reaches any more.
    pub(crate) fn add(&mut self, instance: &str, pid: u32, at: Duration, reading: Reading) {
        let scrapes = self.scrapes.entry(instance.to_owned()).or_default();
        if let Some(last) = scrapes.back().filter(|last| last.pid != pid) {
            let retired = self.retired.entry(instance.to_owned()).or_default();
            for (service, figures) in &last.reading.services {
                retired.entry(service.clone()).or_default().add(figures);
            }
        }
        scrapes.push_back(Scrape { at, pid, reading });
        let oldest = at.saturating_sub(WINDOW.saturating_add(SLACK));
        while scrapes.front().is_some_and(|scrape| scrape.at < oldest) {
            scrapes.pop_front();
        }
    }

    /// The latest scrape of an instance, unless it is older than the window.
    pub(crate) fn latest(&self, instance: &str, now: Duration) -> Option<&Reading> {
        let last = self.scrapes.get(instance)?.back()?;
        (now.saturating_sub(last.at) <= WINDOW).then_some(&last.reading)
    }

    /// Since the latest scrape of an instance.
    pub(crate) fn age(&self, instance: &str, now: Duration) -> Option<Duration> {
        Some(now.saturating_sub(self.scrapes.get(instance)?.back()?.at))
    }

    /// What an instance counted for a service from the scrape that is `over` older than the latest, within the window.
    pub(crate) fn recent(&self, instance: &str, service: &str, over: Duration, now: Duration) -> Recent {
        let scrapes = || self.scrapes.get(instance).into_iter().flatten();
        let oldest = now.saturating_sub(WINDOW.saturating_add(SLACK));
        let latest = scrapes().next_back().map_or(Duration::ZERO, |scrape| scrape.at);
        let wanted = latest.saturating_sub(over.saturating_sub(SLACK));
        // Of several that are old enough the newest.
        let enough = scrapes().rev().map(|scrape| scrape.at).find(|at| *at <= wanted);
        let begin = enough.unwrap_or_default().max(oldest);
        let mut scrapes = scrapes().filter(|scrape| scrape.at >= begin);
        let Some(first) = scrapes.next() else { return Recent::default() };
        let (mut growth, mut earlier) = (Figures::default(), first);
        for later in scrapes {
            let nothing = Figures::default();
            let figures = later.reading.services.get(service).unwrap_or(&nothing);
            // The counters of another process began at 0.
            let before = earlier.reading.services.get(service).filter(|_| earlier.pid == later.pid);
            growth.add(&figures.since(before.unwrap_or(&nothing)));
            earlier = later;
        }
        Recent { growth, seconds: earlier.at.saturating_sub(first.at).as_secs_f64() }
    }

    /// What all processes of an instance counted for a service since the stack began.
    pub(crate) fn total(&self, instance: &str, service: &str) -> Figures {
        let mut total = self.retired.get(instance).and_then(|all| all.get(service)).cloned().unwrap_or_default();
        let last = self.scrapes.get(instance).and_then(VecDeque::back);
        if let Some(figures) = last.and_then(|scrape| scrape.reading.services.get(service)) {
            total.add(figures);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(ok: u32) -> Reading {
        Reading::parse(&format!("four_plane_requests_total{{outcome=\"ok\"}} {ok}\n"), "catalog").unwrap()
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_asked_for_five_seconds_is_over_the_last_five() {
        let mut history = History::default();
        for second in 0..=20 {
            history.add("catalog/1", 7, at(second), reading(u32::try_from(second * second).unwrap()));
        }

        let recent = history.recent("catalog/1", "catalog", WINDOW, at(20));

        assert_eq!((recent.growth.ok, recent.seconds, recent.rate()), (400.0 - 225.0, 5.0, 35.0));
        assert_eq!(history.scrapes["catalog/1"].len(), 6);
    }

    #[test]
    fn a_rate_has_forgotten_an_overload_two_seconds_after_its_end() {
        let mut history = History::default();
        for (second, ok) in [(0, 0), (1, 1_000), (2, 2_000), (3, 3_000), (4, 3_010), (5, 3_020)] {
            history.add("catalog/1", 7, at(second), reading(ok));
        }

        let recent = |over| history.recent("catalog/1", "catalog", over, at(5)).rate();

        assert_eq!((recent(RATES), recent(WINDOW)), (10.0, 604.0));
    }

    #[test]
    fn a_rate_is_from_one_scrape_to_the_next_where_these_are_far_apart() {
        let mut history = History::default();
        for (second, ok) in [(0, 0), (1, 1_000), (4, 1_030)] {
            history.add("catalog/1", 7, at(second), reading(ok));
        }

        let recent = history.recent("catalog/1", "catalog", RATES, at(5));

        assert_eq!((recent.growth.ok, recent.seconds), (30.0, 3.0));
    }

    #[test]
    fn a_new_process_begins_at_zero_and_the_total_keeps_the_old_one() {
        let mut history = History::default();
        history.add("catalog/1", 7, at(1), reading(100));
        history.add("catalog/1", 7, at(2), reading(110));
        history.add("catalog/1", 8, at(3), reading(4));

        let recent = history.recent("catalog/1", "catalog", WINDOW, at(3));
        assert_eq!((recent.growth.ok, history.total("catalog/1", "catalog").ok), (14.0, 114.0));
    }

    #[test]
    fn an_instance_that_stopped_answering_has_no_figures_after_the_window() {
        let mut history = History::default();
        history.add("catalog/1", 7, at(1), reading(100));
        history.add("catalog/1", 7, at(2), reading(200));

        assert_eq!(history.recent("catalog/1", "catalog", WINDOW, at(9)), Recent::default());
        assert_eq!(history.latest("catalog/1", at(9)), None);
        assert_eq!(history.recent("none", "catalog", WINDOW, at(9)), Recent::default());
        assert!(Recent::default().rate().abs() < f64::EPSILON);
    }
}
