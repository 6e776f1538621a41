//! The decisions on one call against a record of everything that was decided before, and the rules one by one.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::time::Duration;

use proptest::prelude::*;
use seawall_backoff_with_jitter::{
    Advice, Backoff, Ended, Hint, IfUnknown, Jitter, Next, RetryConfig, RetrySchedule, Stopped,
};
use seawall_core::{CallContext, Timestamp};

const MS: u64 = 1_000_000;
const MAX_HINT: u64 = 300 * MS;

#[derive(Clone, Debug)]
struct Settings {
    attempts: usize,
    /// What the waits grow from and to, doubling.
    waits: (u64, u64),
    jitter: Option<Jitter>,
    repeats_unknown: bool,
    idempotent: Option<bool>,
    deadline: Option<u64>,
    usual: u64,
}

#[derive(Clone, Debug)]
struct Attempt {
    lasts: u64,
    advice: Advice,
    hint: Hint,
    /// A random word, of which the upper half decides on the backoff and the lower one on what is added to a hint.
    word: u64,
    is_paid: bool,
}

/// What has been decided so far.
#[derive(Debug, PartialEq, Clone, Copy)]
enum Decided {
    /// Made good for one that was not seen.
    Free,
    Paid,
}

fn part(word: u64, of: u64) -> u64 {
    u64::try_from((u128::from(word) * u128::from(of)) >> 64).expect("less than the whole")
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Settings {
    fn config(&self) -> RetryConfig {
        let (initial, max) = (Duration::from_nanos(self.waits.0), Duration::from_nanos(self.waits.1));
        let jitter = self.jitter.unwrap_or(Jitter::None);
        let backoff = Backoff::exponential(initial, 2.0, max).and_then(|backoff| backoff.with_jitter(jitter));
        let if_unknown = if self.repeats_unknown { IfUnknown::Repeat } else { IfUnknown::OnlyUnsent };
        RetryConfig::new(if_unknown)
            .with_attempts(u32::try_from(self.attempts).expect("small"))
            .expect("at least one")
            .with_backoff(backoff.expect("in range"))
            .with_max_hint(Duration::from_nanos(MAX_HINT))
    }

    fn context(&self) -> CallContext {
        let context = self
            .deadline
            .map_or(CallContext::new(), |deadline| CallContext::new().with_deadline(Timestamp::from_nanos(deadline)));
        self.idempotent.map_or(context, |idempotent| context.with_idempotent(idempotent))
    }

    /// The longest wait before the next attempt, after so many that were waited for.
    fn ceiling(&self, waited: usize) -> u64 {
        let (initial, max) = self.waits;
        (0..waited).fold(initial.min(max), |wait, _| (wait * 2).min(max))
    }

    fn drawn(&self, ceiling: u64, word: u64) -> u64 {
        match self.jitter {
            None => ceiling,
            Some(Jitter::Equal) => ceiling - ceiling / 2 + part(word, ceiling / 2),
            Some(_) => part(word, ceiling),
        }
    }

    /// A wait that was asked for, and up to a tenth of it or the ceiling more.
    fn asked(&self, wait: u64, ceiling: u64, word: u64) -> u64 {
        let more = nanos(Duration::from_nanos(wait).mul_f64(0.1)).max(ceiling);
        wait + if self.jitter.is_none() { 0 } else { part(word.rotate_right(32), more) }
    }

    /// The wait, or why there is none; and whether the budget was asked.
    fn decide(&self, made: &[Decided], attempt: &Attempt, now: u64) -> (Result<(u64, Decided), Stopped>, bool) {
        let attempts = 1 + made.iter().filter(|decided| **decided == Decided::Paid).count();
        let may_be_free = self.attempts > 1 && !made.contains(&Decided::Free);
        let is_free = attempt.advice == Advice::Unseen && may_be_free;
        let is_idempotent = self.idempotent.unwrap_or(self.repeats_unknown);
        let ceiling = self.ceiling(attempts - 1);
        let asked = match attempt.hint {
            Hint::Remote(wait) | Hint::Refused(Some(wait)) => {
                self.asked(nanos(wait).min(MAX_HINT), ceiling, attempt.word)
            }
            Hint::Refused(None) => nanos(Duration::from_nanos(ceiling).mul_f64(0.5)),
            _ => 0,
        };
        let wait = if is_free { 0 } else { self.drawn(ceiling, attempt.word).max(asked) };
        let is_too_late = self
            .deadline
            .is_some_and(|deadline| now + wait >= deadline || (!is_free && deadline - (now + wait) < self.usual));
        // Each rule with what it says, in the order in which they hold.
        let rules = [
            (attempt.advice == Advice::Stop, Stopped::Final),
            (attempt.hint == Hint::Remote(Duration::MAX), Stopped::Pushback),
            (!is_free && attempts >= self.attempts, Stopped::Attempts),
            (attempt.advice == Advice::IfIdempotent && !is_idempotent, Stopped::NotIdempotent),
            (
                !is_free && matches!(attempt.hint, Hint::Refused(Some(wait)) if nanos(wait) > MAX_HINT),
                Stopped::Pushback,
            ),
            (is_too_late, Stopped::Deadline),
        ];
        if let Some((_, stopped)) = rules.into_iter().find(|(applies, _)| *applies) {
            return (Err(stopped), false);
        }
        match (is_free, attempt.is_paid) {
            (true, _) => (Ok((0, Decided::Free)), false),
            (false, true) => (Ok((wait, Decided::Paid)), true),
            (false, false) => (Err(Stopped::Budget), true),
        }
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    let time = || prop_oneof![Just(0_u64), 1..100_u64, 1..400 * MS];
    (
        (1..6_usize, time(), time(), prop::option::of(prop_oneof![Just(Jitter::Full), Just(Jitter::Equal)])),
        (any::<bool>(), prop::option::of(prop::bool::weighted(0.8))),
        (prop::option::of(1..3_000 * MS), prop_oneof![Just(0_u64), 0..500 * MS]),
    )
        .prop_map(|((attempts, one, other, jitter), (repeats_unknown, idempotent), (deadline, usual))| Settings {
            attempts,
            waits: (one.min(other).max(1), one.max(other).max(1)),
            jitter,
            repeats_unknown,
            idempotent,
            deadline,
            usual,
        })
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let advice = prop_oneof![
        1 => Just(Advice::Stop),
        8 => Just(Advice::IfIdempotent),
        8 => Just(Advice::Again),
        4 => Just(Advice::Unseen),
    ];
    let wait = || prop_oneof![0..400 * MS, Just(MAX_HINT), Just(MAX_HINT + 1)].prop_map(Duration::from_nanos);
    let hint = prop_oneof![
        10 => Just(Hint::Nothing),
        4 => wait().prop_map(Hint::Remote),
        1 => Just(Hint::Remote(Duration::MAX)),
        2 => wait().prop_map(|wait| Hint::Refused(Some(wait))),
        2 => Just(Hint::Refused(None)),
    ];
    (0..200 * MS, advice, hint, any::<u64>(), prop::bool::weighted(0.9))
        .prop_map(|(lasts, advice, hint, word, is_paid)| Attempt { lasts, advice, hint, word, is_paid })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_schedule_decides_as_the_rules_say_of_everything_that_was_decided(
        settings in settings(), attempts in prop::collection::vec(attempt(), 1..12),
    ) {
        let (config, context) = (settings.config(), settings.context());
        let mut schedule = RetrySchedule::default();
        schedule.set_usual(Duration::from_nanos(settings.usual));
        let (mut made, mut now) = (Vec::new(), 0);

        for attempt in attempts {
            now += attempt.lasts;
            let ended = Ended::new(attempt.advice).with_hint(attempt.hint);
            let mut was_asked = false;
            let pay = || {
                was_asked = true;
                attempt.is_paid
            };

            let next = schedule.next(&config, ended, &context, Timestamp::from_nanos(now), attempt.word, pay);

            let (decided, is_asked) = settings.decide(&made, &attempt, now);
            prop_assert_eq!(was_asked, is_asked);
            match decided {
                Err(stopped) => {
                    prop_assert_eq!(next, Next::Stop(stopped));
                    break;
                }
                Ok((wait, kind)) => {
                    let at = Timestamp::from_nanos(now + wait);
                    prop_assert_eq!(next, Next::Retry { at, wait: Duration::from_nanos(wait) });
                    made.push(kind);
                    now += wait;
                }
            }
            let paid = made.iter().filter(|decided| **decided == Decided::Paid).count();
            prop_assert_eq!(schedule.attempts() as usize, 1 + paid);
        }
    }
}
