//! Which stripe a thread gets. One test: its threads are the only ones of the process that ask.

use std::{collections::BTreeSet, sync::Barrier};

use seawall_core::thread_stripe;

/// The stripes of so many threads that live at the same time.
fn together(threads: usize) -> Vec<usize> {
    let barrier = Barrier::new(threads);
    let live = || {
        let mine = thread_stripe();
        barrier.wait();
        assert_eq!(thread_stripe(), mine);
        mine
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(live)).collect();
        threads.into_iter().map(|thread| thread.join().expect("nothing panics in there")).collect()
    })
}

#[test]
fn living_threads_share_no_stripe_while_there_are_enough_and_leave_theirs_to_the_next() {
    assert_eq!(thread_stripe(), 0);
    for round in 0..100 {
        assert_eq!(together(1), [1], "round {round}");
    }

    let all: BTreeSet<_> = together(63).into_iter().collect();
    let shared: BTreeSet<_> = together(200).into_iter().collect();
    let mut few = together(2);
    few.sort_unstable();

    assert_eq!(all, (1..64).collect());
    assert_eq!(shared, (0..64).collect());
    assert_eq!((few, thread_stripe()), (vec![1, 2], 0));
}
