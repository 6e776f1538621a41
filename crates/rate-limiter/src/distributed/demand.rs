use seawall_core::Timestamp;

/// One call of an estimate. Whole calls would round a slow key's demand to nothing.
const CALL: u64 = 1_024;
/// Demand below this part of a call within the time asked for is none: what is left for an idle key goes back.
const NEGLIGIBLE: u64 = CALL / 4;

/// How many calls come within a time: a mean that forgets half in half a span.
///
/// Refused calls count: who is short needs more, not less.
#[derive(Debug)]
pub(crate) struct Demand {
    /// Nanoseconds, at least 1.
    span: u64,
    /// [`CALL`]s within a span.
    per_span: u64,
    seen: u64,
    at: Timestamp,
}

impl Demand {
    pub(crate) const fn new(span: u64) -> Self {
        Self { span, per_span: 0, seen: 0, at: Timestamp::ZERO }
    }

    /// Takes in that `calls` have come in all by now.
    pub(crate) fn observe(&mut self, calls: u64, now: Timestamp) {
        let (passed, new) = (now.nanos_since(self.at), u128::from(calls.saturating_sub(self.seen)));
        // Weighing by the memory and the time that has passed leaves no division by a time of zero.
        let memory = u128::from(self.span.div_ceil(2));
        let over = |time: u64| memory.saturating_add(time.into());
        let old = u128::from(self.per_span).saturating_mul(memory).checked_div(over(passed)).unwrap_or(0);
        // Where nothing was expected any more, the calls have come at the end of that time and not all along.
        let came_over = if old < NEGLIGIBLE.into() { 0 } else { passed };
        let new = new.saturating_mul(self.span.into()).saturating_mul(CALL.into());
        let mean = old.saturating_add(new.checked_div(over(came_over)).unwrap_or(0));
        self.per_span = u64::try_from(mean).unwrap_or(u64::MAX);
        (self.seen, self.at) = (calls, now.max(self.at));
    }

    /// Whether calls have come that were not taken in yet.
    pub(crate) const fn is_behind(&self, calls: u64) -> bool {
        calls != self.seen
    }

    /// When it was last brought up to date.
    pub(crate) const fn at(&self) -> Timestamp {
        self.at
    }

    /// The calls to expect within `nanos`, rounded up but for a negligible part of one.
    pub(crate) fn within(&self, nanos: u64) -> u32 {
        let scaled = u128::from(self.per_span).saturating_mul(nanos.into());
        let scaled = scaled.checked_div(self.span.into()).unwrap_or(0);
        let calls = scaled.saturating_add(u128::from(CALL.saturating_sub(NEGLIGIBLE)));
        u32::try_from(calls.checked_div(CALL.into()).unwrap_or(0)).unwrap_or(u32::MAX)
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    const SPAN: u64 = 100;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn steady_calls_are_expected_at_their_rate_however_often_it_looks() {
        for step in [1, 7, 50] {
            let mut demand = Demand::new(SPAN);
            for looks in 1..=1_000 {
                demand.observe(looks * step * 3, at(looks * step));
            }

            assert_eq!((demand.within(SPAN), demand.within(2 * SPAN)), (300, 600), "looking every {step} ns");
        }
    }

    #[test]
    fn the_first_call_of_all_is_expected_to_be_followed_by_others() {
        let mut demand = Demand::new(SPAN);

        demand.observe(1, Timestamp::ZERO);

        assert_eq!(demand.within(SPAN), 2);
    }

    #[test]
    fn calls_after_a_long_pause_are_expected_to_go_on() {
        let mut demand = Demand::new(SPAN);

        demand.observe(9, at(1_000_000 * SPAN));

        assert_eq!(demand.within(SPAN), 18);
    }

    #[test]
    fn a_caller_that_has_gone_is_forgotten_within_a_few_spans() {
        let mut demand = Demand::new(SPAN);
        demand.observe(8, at(0));

        let expected: Vec<_> = (1..=4)
            .map(|spans| {
                demand.observe(8, at(spans * SPAN));
                demand.within(SPAN)
            })
            .collect();

        assert_eq!(expected, [6, 2, 1, 0]);
    }

    #[test]
    fn no_number_and_no_time_overflows() {
        let mut demand = Demand::new(u64::MAX);
        demand.observe(u64::MAX, Timestamp::MAX);
        demand.observe(0, Timestamp::ZERO);

        assert_eq!(demand.within(u64::MAX), u32::MAX);
    }
}
