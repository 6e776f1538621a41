use std::collections::{BTreeMap, VecDeque};

/// Places for those who wait, all lines together.
const PLACES: usize = 100;

/// A fixed limit, and a queue before it with a line for each tenant, served in rounds: deficit round robin, with weights
/// and costs that are all one. When all places are taken the longest line loses its newest call.
///
/// # Source
/// Shreedhar and Varghese, "Efficient Fair Queueing using Deficit Round Robin", SIGCOMM 1995.
#[derive(Debug)]
pub(crate) struct Rounds {
    limit: u32,
    in_flight: u32,
    waiting: usize,
    /// Whose turn is next comes first; whoever waits is here once.
    turns: VecDeque<u64>,
    lines: BTreeMap<u64, VecDeque<u32>>,
}

/// What becomes of a call that arrives.
pub(crate) enum Turn {
    Now,
    /// It waits, perhaps in the place of the other.
    Waits(Option<u32>),
    Never,
}

impl Rounds {
    pub(crate) const fn new(limit: u32) -> Self {
        Self { limit, in_flight: 0, waiting: 0, turns: VecDeque::new(), lines: BTreeMap::new() }
    }

    pub(crate) const fn state(&self) -> (u32, u32) {
        (self.limit, self.in_flight)
    }

    pub(crate) fn arrive(&mut self, tenant: u64, call: u32) -> Turn {
        if self.in_flight < self.limit {
            self.in_flight += 1;
            return Turn::Now;
        }
        let displaced = if self.waiting < PLACES { None } else { self.displace(tenant) };
        if self.waiting == PLACES {
            return Turn::Never;
        }
        let line = self.lines.entry(tenant).or_default();
        if line.is_empty() {
            self.turns.push_back(tenant);
        }
        line.push_back(call);
        self.waiting += 1;
        Turn::Waits(displaced)
    }

    /// The newest of the longest line, unless that would be the one who asks.
    fn displace(&mut self, tenant: u64) -> Option<u32> {
        let own = self.lines.get(&tenant).map_or(0, VecDeque::len);
        let longest = self.lines.values_mut().max_by_key(|line| line.len()).filter(|line| line.len() > own + 1)?;
        self.waiting -= 1;
        longest.pop_back()
    }

    /// A call has been done; who goes in for it.
    pub(crate) fn leave(&mut self) -> Option<u32> {
        let Some(tenant) = self.turns.pop_front() else {
            self.in_flight -= 1;
            return None;
        };
        let line = self.lines.get_mut(&tenant)?;
        let call = line.pop_front();
        if !line.is_empty() {
            self.turns.push_back(tenant);
        }
        self.waiting -= 1;
        call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_each_line_goes_in_a_round() {
        let mut rounds = Rounds::new(1);
        rounds.arrive(1, 0);
        for (tenant, call) in [(1, 1), (1, 2), (1, 3), (2, 4), (3, 5), (2, 6)] {
            rounds.arrive(tenant, call);
        }

        let order: Vec<u32> = (0..6).filter_map(|_| rounds.leave()).collect();

        assert_eq!(order, [1, 4, 5, 2, 6, 3]);
        assert_eq!((rounds.leave(), rounds.state()), (None, (1, 0)));
    }

    #[test]
    fn when_all_places_are_taken_the_longest_line_loses_its_newest() {
        let mut rounds = Rounds::new(1);
        rounds.arrive(1, 0);
        for call in 1..=100 {
            rounds.arrive(1, call);
        }

        assert!(matches!(rounds.arrive(1, 101), Turn::Never));
        assert!(matches!(rounds.arrive(2, 102), Turn::Waits(Some(100))));
    }
}
