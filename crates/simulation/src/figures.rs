//! What a run shows.
use hdrhistogram::Histogram;

use crate::random::mix;

/// Calls are counted by the tenth of a second in which they began.
pub const TENTH: u64 = 100_000_000;
/// Calls of tenants are counted by the twentieth of the run in which they began.
pub(crate) const PARTS: usize = 20;

/// Calls that began, and of them those that were answered in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Began.
    pub begun: u64,
    /// Were answered while their client still waited.
    pub answered: u64,
}

impl Count {
    /// The part that was answered; 1 when nobody called.
    pub fn part(self) -> f64 {
        if self.begun == 0 { 1.0 } else { self.answered as f64 / self.begun as f64 }
    }

    pub(crate) const fn add(&mut self, answered: bool) {
        self.begun += 1;
        self.answered += answered as u64;
    }
}

/// What came to one server, and what became of it. An attempt that is neither refused nor done was given up by its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Attempts that reached it.
    pub reached: u64,
    /// Of them, refused at its door or in its queue.
    pub refused: u64,
    /// Of them, done.
    pub done: u64,
    /// Its limit in the end; 0 without one.
    pub limit: u32,
}

/// What is noted a hundred times in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, in nanoseconds.
    pub at: u64,
    /// The limit of the first server; 0 without one.
    pub limit: u32,
    /// The calls under way there.
    pub in_flight: u32,
}

/// What a run shows. What is counted by call and in time leaves the warm-up out, but for `begun` and `tenths`.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Calls that began, the warm-up included.
    pub begun: u64,
    /// All calls.
    pub calls: Count,
    /// By the tenth of a second of their beginning.
    pub tenths: Vec<Count>,
    /// By criticality, the sheddable first.
    pub criticalities: [Count; 4],
    /// By tenth of a second: critical calls lost, and less critical ones answered.
    critical: Vec<(u32, u32)>,
    /// By tenant and part of the run.
    pub tenants: Vec<[Count; PARTS]>,
    length: u64,
    /// By server.
    pub servers: Vec<Served>,
    /// Attempts that were sent to a server.
    pub attempts: u64,
    /// Attempts that a server refused.
    pub refused: u64,
    /// Attempts that a client held back.
    pub held_back: u64,
    /// The latencies of the calls that were let in and finished, in nanoseconds, from the client's side.
    pub latency: Histogram<u32>,
    /// The limit over time.
    pub samples: Vec<Sample>,
    /// Events in the whole run.
    pub events: u64,
    /// A hash over everything that happened, in order.
    pub trace: u64,
}

impl Figures {
    pub(crate) fn new(length: u64, tenants: usize, servers: u32) -> Self {
        Self {
            begun: 0,
            calls: Count::default(),
            tenths: vec![Count::default(); (length / TENTH) as usize + 1],
            criticalities: [Count::default(); 4],
            critical: vec![(0, 0); (length / TENTH) as usize + 1],
            tenants: vec![[Count::default(); PARTS]; tenants],
            length,
            servers: vec![Served::default(); servers as usize],
            attempts: 0,
            refused: 0,
            held_back: 0,
            latency: Histogram::new_with_bounds(1_000, 100_000_000_000_000, 2).expect("bounds in order"),
            samples: Vec::new(),
            events: 0,
            trace: 0,
        }
    }

    pub(crate) fn add(&mut self, began: u64, class: usize, answered: bool) {
        self.calls.add(answered);
        self.criticalities[class].add(answered);
        let (lost, others) = &mut self.critical[(began / TENTH) as usize];
        *lost += u32::from(class == 3 && !answered);
        *others += u32::from(class < 3 && answered);
    }

    pub(crate) fn add_of_tenant(&mut self, tenant: usize, began: u64, answered: bool) {
        let part = (u128::from(began) * PARTS as u128 / u128::from(self.length.max(1))) as usize;
        if let Some(count) = self.tenants.get_mut(tenant).and_then(|parts| parts.get_mut(part)) {
            count.add(answered);
        }
    }

    /// Critical calls that were lost while less critical ones of the same tenth of a second were answered.
    pub fn passed_over(&self) -> u64 {
        self.critical.iter().filter(|(_, others)| *others > 0).map(|(lost, _)| u64::from(*lost)).sum()
    }

    pub(crate) const fn note(&mut self, at: u64, what: u64) {
        self.trace = mix(self.trace ^ at.wrapping_mul(31) ^ what);
    }

    /// The latency below which this part of the finished calls lies, in nanoseconds.
    pub fn quantile(&self, part: f64) -> f64 {
        self.latency.value_at_quantile(part) as f64
    }

    /// Calls from `from` to `to`, in nanoseconds, to the tenth of a second.
    pub fn between(&self, from: u64, to: u64) -> Count {
        let (from, to) = ((from / TENTH) as usize, (to / TENTH) as usize);
        self.tenths.iter().take(to).skip(from).fold(Count::default(), |sum, tenth| Count {
            begun: sum.begun + tenth.begun,
            answered: sum.answered + tenth.answered,
        })
    }

    /// How long after `end` it takes until 95% of a second's calls are answered, in seconds; infinite when never.
    pub fn recovery(&self, end: u64) -> f64 {
        let last = self.tenths.len() as u64 * TENTH;
        let mut from = end;
        while from + 10 * TENTH < last {
            if self.between(from, from + 10 * TENTH).part() >= 0.95 {
                return (from - end) as f64 / 1e9;
            }
            from += TENTH;
        }
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 10 * TENTH;

    /// Ten seconds of a hundred calls a second, of which so many are answered in each.
    fn answering(by_second: [u64; 10]) -> Figures {
        let mut figures = Figures::new(10 * SECOND, 0, 1);
        for (tenth, count) in figures.tenths.iter_mut().take(100).enumerate() {
            *count = Count { begun: 10, answered: by_second[tenth / 10] / 10 };
        }
        figures
    }

    #[test]
    fn recovery_is_the_first_second_in_which_95_of_100_calls_are_answered() {
        let figures = answering([100, 100, 0, 0, 0, 50, 100, 100, 100, 100]);

        // A second that begins at 5.9 s has five unanswered calls.
        assert!((figures.recovery(2 * SECOND) - 3.9).abs() < 1e-9, "{}", figures.recovery(2 * SECOND));
        assert!((figures.recovery(0) - 0.0).abs() < 1e-9);
        assert!(answering([90; 10]).recovery(0).is_infinite());
    }

    #[test]
    fn a_critical_call_is_passed_over_when_another_of_its_tenth_of_a_second_is_answered() {
        let mut figures = Figures::new(SECOND, 0, 1);
        for (began, class, answered) in [
            // Alone with what was lost, too: nobody was preferred.
            (0, 3, false),
            (0, 2, false),
            (0, 3, true),
            // Another was answered.
            (TENTH, 3, false),
            (TENTH, 0, true),
            (2 * TENTH - 1, 3, false),
            (2 * TENTH, 1, true),
        ] {
            figures.add(began, class, answered);
        }

        assert_eq!(figures.passed_over(), 2);
        assert_eq!(figures.criticalities[3], Count { begun: 4, answered: 1 });
        assert_eq!(figures.calls, Count { begun: 7, answered: 3 });
    }
}
