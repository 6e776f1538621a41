//! Grants and deposits that race.

use loom::{sync::Arc, thread};

use super::*;

#[test]
fn the_last_retry_is_granted_once_even_across_the_edge_of_a_slot() {
    loom::model(|| {
        let withdrawals = Arc::new(Withdrawals::default());
        let other = Arc::clone(&withdrawals);
        let there = thread::spawn(move || other.take(1, SLOTS, |_| 1));

        let here = withdrawals.take(0, SLOTS, |_| 1);

        let there = there.join().expect("no panic");
        assert!(here != there, "{here} {there}");
    });
}

#[test]
fn grants_at_both_sides_of_an_edge_all_count_in_the_newer_window() {
    loom::model(|| {
        let withdrawals = Arc::new(Withdrawals::default());
        let other = Arc::clone(&withdrawals);
        let there = thread::spawn(move || other.take(1, SLOTS, |_| 9));

        assert!(withdrawals.take(0, SLOTS, |_| 9));

        assert!(there.join().expect("no panic"));
        assert_eq!(withdrawals.used(1, SLOTS), 2);
    });
}

#[test]
fn no_deposit_of_one_stripe_is_lost() {
    loom::model(|| {
        let one_stripe = || Stripes::with_count(1, Deposits::default);
        let budget = WindowBudget::striped(1.0, 0, Duration::from_secs(10), one_stripe).expect("allowed");
        let budget = Arc::new(budget);
        let other = Arc::clone(&budget);
        let there = thread::spawn(move || other.deposit(|| Timestamp::from_nanos(SECOND)));

        budget.deposit(|| Timestamp::from_nanos(SECOND));

        there.join().expect("no panic");
        assert_eq!(budget.balance(Timestamp::from_nanos(SECOND)), 2);
    });
}
