//! The budget beside a list of all events, and at the ends of what it counts.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use proptest::prelude::*;

use super::*;

fn at_ms(ms: u64) -> Timestamp {
    Timestamp::from_nanos(ms * 1_000_000)
}

fn exact(ratio: f64, min_per_second: u32, seconds: u64) -> WindowBudget {
    WindowBudget::new(ratio, min_per_second, Duration::from_secs(seconds)).unwrap().with_stamping(Stamping::Each)
}

/// Every event ever, looked through for each question.
struct Oracle {
    slot_ms: u64,
    millionths: u64,
    reserve: u64,
    minimum: Minimum,
    pace: Pace,
    requests: Vec<u64>,
    retries: Vec<u64>,
}

impl Oracle {
    fn retry(&mut self, ms: u64) -> bool {
        let slot_ms = self.slot_ms;
        let within = |slots| move |then: &&u64| ms / slot_ms - **then / slot_ms < slots;
        let kept = if self.pace == Pace::Steady { 11 } else { 10 };
        let requests = self.requests.iter().filter(within(10)).count() as u64;
        let retries = self.retries.iter().filter(within(kept)).count() as u64;
        let worth = self.worth(requests, self.reserve);
        let granted = worth > retries && (self.pace == Pace::AtOnce || self.recently(ms));
        if granted {
            self.retries.push(ms);
        }
        granted
    }

    /// Whether the last tenth of the window has room.
    fn recently(&self, ms: u64) -> bool {
        let ninth = (self.slot_ms * 1_000_000).div_ceil(9);
        let since = |then: &&u64| ms * 1_000_000 / ninth - **then * 1_000_000 / ninth < 10;
        let retries = self.retries.iter().filter(since).count() as u64;
        let of_slot = |slot| self.requests.iter().filter(|then| Some(**then / self.slot_ms) == slot).count() as u64;
        let now = ms / self.slot_ms;
        let before = of_slot(now.checked_sub(1)) * (self.slot_ms - ms % self.slot_ms) / self.slot_ms;
        self.worth(of_slot(Some(now)) + before, self.reserve / 10).max(self.reserve).max(2) > retries
    }

    fn worth(&self, requests: u64, reserve: u64) -> u64 {
        let share = requests * self.millionths / MILLION;
        if self.minimum == Minimum::OnTop { share + reserve } else { share.max(reserve) }
    }
}

proptest! {
    #[test]
    fn grants_exactly_what_a_list_of_all_events_grants(
        millionths in prop_oneof![Just(0_u32), Just(100_000), Just(1_000_000), 0..=1_000_000_u32],
        min_per_second in 0..4_u32,
        minimum in prop_oneof![Just(Minimum::OnTop), Just(Minimum::Within)],
        pace in prop_oneof![Just(Pace::AtOnce), Just(Pace::Steady)],
        seconds in 1..=12_u64,
        steps in prop::collection::vec((prop_oneof![0..40_u64, 0..3_000_u64, Just(60_000)], 0..4_u8), 1..400),
    ) {
        let budget = exact(f64::from(millionths) / 1e6, min_per_second, seconds).with_minimum(minimum).with_pace(pace);
        let mut oracle = Oracle {
            slot_ms: seconds * 100,
            millionths: u64::from(millionths),
            reserve: u64::from(min_per_second) * seconds,
            minimum,
            pace,
            requests: Vec::new(),
            retries: Vec::new(),
        };
        let mut ms = 0;
        for (gap, kind) in steps {
            ms += gap;
            if kind == 0 {
                let balance = budget.balance(at_ms(ms));
                let granted = budget.withdraw(at_ms(ms));
                prop_assert_eq!(granted, oracle.retry(ms), "at {} ms", ms);
                prop_assert_eq!(granted, balance > 0);
            } else {
                budget.deposit(|| at_ms(ms));
                oracle.requests.push(ms);
            }
        }
    }

    #[test]
    fn sampled_stamps_never_grant_more_and_withhold_at_most_what_fifteen_requests_are_worth(
        steps in prop::collection::vec((0..500_u64, 0..6_u8), 1..400),
    ) {
        let sampled = WindowBudget::new(0.2, 1, Duration::from_secs(10)).unwrap();
        let each = exact(0.2, 1, 10);
        let mut ms = 0;
        for (gap, kind) in steps {
            ms += gap;
            sampled.deposit(|| at_ms(ms));
            each.deposit(|| at_ms(ms));
            let (fewer, more) = (sampled.balance(at_ms(ms)), each.balance(at_ms(ms)));
            prop_assert!(fewer <= more && more - fewer <= 3, "{} of {}", fewer, more);
            if kind == 0 && sampled.withdraw(at_ms(ms)) {
                prop_assert!(each.withdraw(at_ms(ms)));
            }
        }
    }
}

/// A request a millisecond, all of which fail from 15 s on: the most retries in any second, and those of the last 10 s.
fn peak_of_an_outage(budget: &WindowBudget) -> (usize, usize) {
    let mut retries = Vec::new();
    for ms in 0..45_000 {
        budget.deposit(|| at_ms(ms));
        if ms >= 15_000 && budget.withdraw(at_ms(ms)) {
            retries.push(ms);
        }
    }
    let of_second = |from: u64| retries.iter().filter(|ms| (from..from + 1_000).contains(*ms)).count();
    let peak = (15_000..44_000).map(of_second).max();
    (peak.unwrap(), retries.iter().filter(|ms| **ms >= 35_000).count())
}

#[test]
fn a_failure_after_healthy_times_adds_no_more_than_the_share_in_any_second() {
    let at_once = WindowBudget::default().with_pace(Pace::AtOnce);

    let (peak, sustained) = peak_of_an_outage(&WindowBudget::default());
    let (peak_at_once, _) = peak_of_an_outage(&at_once);

    assert!(peak <= 100 && (850..=1_000).contains(&sustained), "{peak} {sustained}");
    assert!(peak_at_once >= 990, "{peak_at_once}");
}

#[test]
fn what_the_window_refuses_is_not_spent_of_its_last_tenth() {
    let budget = exact(0.0, 1, 10).with_minimum(Minimum::Within).with_pace(Pace::Steady);
    let granted_at = |ms| (0..20).filter(|_| budget.withdraw(at_ms(ms))).count();

    assert_eq!([0, 10_900, 11_000].map(granted_at), [10, 0, 10]);
}

#[test]
fn at_the_end_of_time_a_steady_budget_grants_what_it_can() {
    let budget = exact(1.0, 1, 1).with_pace(Pace::Steady);
    (0..5).for_each(|_| budget.deposit(|| Timestamp::MAX));

    let granted = (0..10).filter(|_| budget.withdraw(Timestamp::MAX)).count();

    assert_eq!((granted, budget.balance(Timestamp::MAX)), (5, 0));
}

#[test]
fn most_deposits_read_no_clock() {
    let new = || WindowBudget::new(0.1, 1, Duration::from_secs(10)).unwrap().with_minimum(Minimum::Within);
    for (budget, expected) in [
        (WindowBudget::default(), 10),
        (new(), 10),
        (new().with_stamping(Stamping::Each).with_stamping(Stamping::Sampled), 10),
        (new().with_stamping(Stamping::Each), 160),
    ] {
        let mut readings = 0;

        for _ in 0..160 {
            budget.deposit(|| {
                readings += 1;
                at_ms(5_000)
            });
        }

        assert_eq!((readings, budget.balance(at_ms(5_000))), (expected, 16));
    }
}

#[test]
fn after_a_thousand_deposits_in_a_slot_one_in_128_reads_the_clock_until_the_next_slot() {
    let new = || WindowBudget::new(0.1, 0, Duration::from_secs(10)).unwrap();
    for (budget, expected) in [(new(), [1_024 / 16 + 8, 16]), (new().with_stamping(Stamping::Each), [2_048, 256])] {
        let deposit = |count: u32, ms| {
            let mut readings = 0;
            for _ in 0..count {
                budget.deposit(|| {
                    readings += 1;
                    at_ms(ms)
                });
            }
            readings
        };

        assert_eq!([deposit(2_048, 5_000), deposit(256, 6_000)], expected);
        assert_eq!(budget.balance(at_ms(6_000)), 230);
    }
}

#[test]
fn a_slot_that_is_full_counts_no_further_into_the_number_of_the_slot() {
    let budget = exact(1.0, 0, 10);
    slot_word(&budget.deposits.mine().ring, 5).store(pack(5, FULL - 1), Relaxed);

    for _ in 0..3 {
        budget.deposit(|| at_ms(5_000));
    }

    assert_eq!(budget.balance(at_ms(5_000)), FULL);
}

#[test]
fn a_retry_counts_until_the_end_of_the_last_slot_of_its_window() {
    let budget = exact(0.0, 1, 10);
    assert!((0..3).all(|_| budget.withdraw(at_ms(20_999))));

    assert_eq!((budget.balance(at_ms(29_999)), budget.balance(at_ms(30_000))), (7, 10));
}

#[test]
fn the_first_note_of_where_a_slot_began_stands() {
    let withdrawals = Withdrawals::default();
    withdrawals.begin(0, 1, 5);

    withdrawals.begin(0, 1, 7);

    assert_eq!(slot_word(&withdrawals.began, 1).load(Relaxed), pack(1, 5));
}

/// Between the notes that another thread makes and its grant.
#[test]
fn a_withdrawal_by_a_clock_that_is_behind_joins_a_window_that_is_about_to_move() {
    let withdrawals = Withdrawals::default();
    withdrawals.begin(0, 30, 0);

    assert!(withdrawals.take(14, SLOTS, |_| 1));

    assert_eq!(withdrawals.used(30, SLOTS), 1);
    assert!(!withdrawals.take(30, SLOTS, |_| 1));
}

#[test]
fn clones_and_threads_never_grant_more_than_there_is() {
    let budget = std::sync::Arc::new(exact(0.1, 2, 10));
    for _ in 0..1_000 {
        budget.deposit(|| at_ms(0));
    }

    let threads: Vec<_> = (0..4_u64)
        .map(|thread| {
            let budget = std::sync::Arc::clone(&budget);
            std::thread::spawn(move || (0..200).filter(|i| budget.withdraw(at_ms(i * 9 + thread * 400))).count())
        })
        .collect();

    let granted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(granted, 120);
}

#[test]
fn the_ends_of_time_and_a_clock_that_jumps_do_no_harm() {
    let budget = exact(1.0, 1, 60);

    assert!(budget.withdraw(Timestamp::MAX));
    budget.deposit(|| Timestamp::MAX);
    budget.deposit(|| Timestamp::ZERO);

    assert_eq!(budget.balance(Timestamp::MAX), 60);
    assert!((0..60).all(|_| budget.withdraw(Timestamp::ZERO)));
    assert!(!budget.withdraw(Timestamp::MAX));
}

#[test]
fn withdrawals_by_a_clock_that_is_behind_count_with_the_others() {
    let budget = exact(0.0, 1, 10);
    let granted = |ms| (0..7).filter(|_| budget.withdraw(at_ms(ms))).count();

    assert_eq!([granted(20_000), granted(5_000), granted(20_000)], [7, 3, 0]);
}

#[test]
fn a_clock_that_is_behind_brings_no_old_deposits_back() {
    let budget = exact(1.0, 0, 10);
    for _ in 0..9 {
        budget.deposit(|| at_ms(8_000));
    }
    budget.deposit(|| at_ms(20_000));

    assert!(budget.withdraw(at_ms(20_000)));
    assert!(!budget.withdraw(at_ms(10_000)));
}

#[test]
fn a_deposit_that_comes_a_whole_ring_late_is_dropped() {
    let budget = exact(1.0, 0, 10);
    for _ in 0..10 {
        budget.deposit(|| at_ms(20_000));
    }

    budget.deposit(|| at_ms(4_000));

    assert_eq!(budget.balance(at_ms(20_000)), 10);
}

#[test]
fn a_budget_that_cannot_be_is_refused() {
    let ten = Duration::from_secs(10);

    for ratio in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert!(matches!(WindowBudget::new(ratio, 0, ten), Err(BudgetError::Ratio { .. })), "{ratio}");
    }
    for window in [Duration::ZERO, Duration::from_millis(999), Duration::from_secs(61), Duration::MAX] {
        assert_eq!(WindowBudget::new(0.1, 0, window).unwrap_err(), BudgetError::Window { window });
    }
    assert!(matches!(WindowBudget::new(0.1, 100_001, ten), Err(BudgetError::MinPerSecond { .. })));
    assert!(WindowBudget::new(1.0, 100_000, ten).is_ok());
}

#[test]
fn no_more_is_granted_than_can_be_counted() {
    let withdrawals = Withdrawals::default();
    withdrawals.newest.store(pack(1, FULL - 1), Relaxed);

    assert!(withdrawals.take(1, SLOTS, |_| u64::MAX));
    assert!(!withdrawals.take(1, SLOTS, |_| u64::MAX));
}

/// Retries per request in an outage of 10 s that begins `phase` ms into a slot, after 15 healthy seconds, when each request
/// would make two more attempts.
fn extra_load(budget: &WindowBudget, per_second: u64, phase: u64) -> f64 {
    let gap = SECOND / per_second;
    let begin = 100 * SECOND + phase * 1_000_000;
    let failing_from = begin + 15 * SECOND;
    let (mut requests, mut retries) = (0_u32, 0_u32);
    let mut now = begin;
    while now < failing_from + 10 * SECOND {
        let at = Timestamp::from_nanos(now);
        budget.deposit(|| at);
        if now >= failing_from {
            requests += 1;
            retries += u32::from(budget.withdraw(at)) + u32::from(budget.withdraw(at));
        }
        now += gap;
    }
    f64::from(retries) / f64::from(requests)
}

#[test]
fn an_outage_of_ten_seconds_costs_at_most_a_tenth_more_load_from_ten_requests_a_second_on() {
    let worst = |per_second| {
        let begun = (0..20).map(|phase| extra_load(&WindowBudget::default(), per_second, phase * 50));
        begun.fold(0.0, f64::max)
    };

    for per_second in [10, 11, 12, 15, 20, 25, 30, 50, 100, 200, 500] {
        let extra = worst(per_second);
        println!("{per_second} requests a second: {extra:.3} of them retried, at worst");
        assert!((0.07..=0.1).contains(&extra), "{extra} at {per_second} a second");
    }
    // Below, it is the minimum that counts.
    assert!((worst(5) - 0.2).abs() < 1e-9 && (worst(1) - 1.0).abs() < 1e-9);
}
