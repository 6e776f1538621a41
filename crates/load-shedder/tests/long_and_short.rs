//! Calls that stay for long, as streams and long polls do, beside many that are quick, before a server that could serve
//! them all at once: nobody may be kept out by them for longer than a moment.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
use std::collections::VecDeque;

use seawall_core::{Admission, CallContext, Class, Gate, Outcome, Timestamp};
use seawall_load_shedder::{LoadShedder, LoadShedderConfig, Passage};

const SUCCESS: Outcome = Outcome::Finished(Class::Success);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos((1_000 + millis) * 1_000_000)
}

fn admit(shedder: &LoadShedder, now: Timestamp) -> Option<Passage> {
    match shedder.admit(CallContext::new, || now) {
        Admission::Admitted(passage) => Some(passage),
        Admission::Refused(_) => None,
        Admission::Queued(wait) => match wait {},
    }
}

const LONG_MILLIS: u64 = 2_000;

/// Beside `held` calls that never end and `long` ones of 2 s come five calls a millisecond, each of which takes one: the
/// longest time, in milliseconds, in which none was let in; all such times together; and the part that was let in.
fn beside(held: usize, long: usize, millis: u64) -> (u64, u64, f64) {
    let shedder = LoadShedder::new(LoadShedderConfig::default());
    let held: Vec<_> = (0..held).filter_map(|_| admit(&shedder, at(0))).collect();
    let mut long_ones: VecDeque<(u64, Passage)> = VecDeque::new();
    let mut short_ones = Vec::new();
    let (mut longest, mut dark, mut in_a_row, mut served) = (0, 0, 0, 0);
    for now in 0..millis {
        while long_ones.front().is_some_and(|(until, _)| *until <= now) {
            let Some((_, passage)) = long_ones.pop_front() else { break };
            shedder.finish(passage, SUCCESS, || at(now));
        }
        for passage in short_ones.drain(..) {
            shedder.finish(passage, SUCCESS, || at(now));
        }
        short_ones.extend((0..5).filter_map(|_| admit(&shedder, at(now))));
        served += short_ones.len();
        in_a_row = if short_ones.is_empty() { in_a_row + 1 } else { 0 };
        dark += u64::from(short_ones.is_empty());
        longest = longest.max(in_a_row);
        if long_ones.len() < long {
            long_ones.extend(admit(&shedder, at(now)).map(|passage| (now + LONG_MILLIS, passage)));
        }
    }
    assert_eq!(usize::try_from(shedder.in_flight()).ok(), Some(held.len() + long_ones.len() + short_ones.len()));
    #[expect(clippy::cast_precision_loss, reason = "a part of at most a million calls")]
    (longest, dark, served as f64 / (5 * millis) as f64)
}

#[test]
fn a_probe_that_nobody_can_join_keeps_the_quick_out_for_a_moment_only() {
    let (longest, dark, served) = beside(0, 12, 120_000);

    println!("kept out for {longest} ms at most, {dark} in all; {served} let in");
    assert!(longest <= 250, "{longest} ms");
    assert!(dark <= 600, "{dark} ms of 120,000");
    assert!(served >= 0.99, "{served}");
}

#[test]
fn calls_that_never_end_leave_a_limit_that_still_grows() {
    let (longest, dark, served) = beside(15, 0, 100_000);

    println!("kept out for {longest} ms at most, {dark} in all; {served} let in");
    assert!(longest <= 60, "{longest} ms");
    assert!(dark <= 600, "{dark} ms of 100,000");
    assert!(served >= 0.99, "{served}");
}
