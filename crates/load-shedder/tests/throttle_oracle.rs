//! A throttle against a list of everything that ever happened, and the formula of the book.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use proptest::prelude::*;
use seawall_core::{Admission, CallContext, Class, Entropy, Gate, Outcome, Reason, Timestamp};
use seawall_load_shedder::{Throttle, ThrottleConfig};

/// Says what it was told to say.
#[derive(Clone, Default)]
struct Told(Arc<AtomicU64>);

impl Entropy for Told {
    fn next_u64(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Event {
    Asked,
    Accepted,
}

/// The truth: every event with the tenth of a span in which it was counted.
struct Truth {
    k: f64,
    padding: f64,
    tenth: u64,
    span: u64,
    events: Vec<(u64, Event)>,
    /// The latest tenth of a span that anybody has asked in.
    latest: u64,
    silent_until: u64,
}

impl Truth {
    fn see(&mut self, now: u64) {
        self.latest = self.latest.max(now / self.tenth);
    }

    /// In the tenth that has begun and the nine before it.
    fn count(&self, event: Event) -> f64 {
        let is_remembered = |tenth: u64| tenth + 10 > self.latest;
        let count = self.events.iter().filter(|(tenth, other)| *other == event && is_remembered(*tenth)).count();
        f64::from(u32::try_from(count).expect("small"))
    }

    fn probability(&self) -> f64 {
        let (requests, accepts) = (self.count(Event::Asked), self.count(Event::Accepted));
        ((requests - self.k * accepts - self.padding) / (requests + 1.0)).max(0.0)
    }

    /// Whether a call goes on, or how long it has to wait, where that is known.
    fn ask(&mut self, chance: f64, now: u64) -> Result<(), Option<Duration>> {
        self.see(now);
        if now < self.silent_until {
            self.events.push((self.latest, Event::Asked));
            return Err(Some(Duration::from_nanos(self.silent_until - now)));
        }
        if chance >= self.probability() {
            return Ok(());
        }
        self.events.push((self.latest, Event::Asked));
        Err(None)
    }

    fn end(&mut self, outcome: Outcome) {
        let Outcome::Finished(class) = outcome else { return };
        self.events.push((self.latest, Event::Asked));
        if class != Class::Overload {
            self.events.push((self.latest, Event::Accepted));
            self.silent_until = 0;
        }
    }

    fn push_back(&mut self, wait: u64, now: u64) {
        if self.count(Event::Accepted) == 0.0 {
            self.silent_until = self.silent_until.max(now + wait.min(self.span));
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// The random word's share of all words, and how it ends if it goes on; at once if it waits for no later step.
    Call {
        chance: f64,
        outcome: Outcome,
        at_once: bool,
    },
    /// The calls under way end.
    End,
    PushBack(u64),
    /// To another time, in hundredths of a span from now.
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let class = |class| Just(Outcome::Finished(class));
    let outcome = prop_oneof![
        3 => class(Class::Overload),
        2 => class(Class::Success),
        1 => prop_oneof![class(Class::Failure), class(Class::Ignored), Just(Outcome::TimedOut), Just(Outcome::Cancelled)],
    ];
    prop_oneof![
        12 => (0.0..1.0_f64, outcome, prop::bool::weighted(0.7))
            .prop_map(|(chance, outcome, at_once)| Step::Call { chance, outcome, at_once }),
        2 => Just(Step::End),
        1 => (0..3_000_u64).prop_map(Step::PushBack),
        3 => prop_oneof![8 => 0..30_i64, 1 => -20..0_i64, 1 => 0..2_000_i64].prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn a_throttle_holds_back_as_the_formula_says_of_a_list_of_all_calls(
        (k, padding, span_ms) in (1.0..4.0_f64, 0..4_u32, 100..2_000_u64),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let span = span_ms * 1_000_000;
        let config = ThrottleConfig::default().with_k(k).and_then(|config| config.with_span(Duration::from_nanos(span)));
        let entropy = Told::default();
        let throttle = Throttle::with_entropy(config.unwrap().with_padding(padding), entropy.clone());
        let mut truth = Truth {
            k,
            padding: padding.into(),
            tenth: span / 10,
            span,
            events: Vec::new(),
            latest: 0,
            silent_until: 0,
        };
        let mut now: u64 = 50 * span;
        let mut under_way = Vec::new();

        for step in steps {
            let at = || Timestamp::from_nanos(now);
            match step {
                Step::Call { chance, outcome, at_once } => {
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of all words")]
                    entropy.0.store((chance * 2.0_f64.powi(64)) as u64, Relaxed);
                    match (throttle.admit(CallContext::new, at), truth.ask(chance, now)) {
                        (Admission::Admitted(()), Ok(())) if at_once => {
                            throttle.finish((), outcome, at);
                            truth.end(outcome);
                        }
                        (Admission::Admitted(()), Ok(())) => under_way.push(outcome),
                        (Admission::Refused(refused), Err(wait)) => {
                            prop_assert_eq!((refused.reason(), refused.retry_after()), (Reason::Throttled, wait));
                        }
                        (said, truth) => prop_assert!(false, "{:?} at {now}, not {:?}", said, truth),
                    }
                }
                Step::End => {
                    for outcome in under_way.drain(..) {
                        throttle.finish((), outcome, at);
                        truth.end(outcome);
                    }
                }
                Step::PushBack(thousandths) => {
                    let wait = span / 1_000 * thousandths;
                    throttle.pushback(&(), Duration::from_nanos(wait), at);
                    truth.push_back(wait, now);
                }
                Step::Pass(hundredths) => now = now.saturating_add_signed(hundredths * i64::try_from(span / 100).unwrap()),
            }
            prop_assert!((throttle.reject_probability() - truth.probability()).abs() < 1e-12);
            let at = || Timestamp::from_nanos(now);
            truth.see(now);
            let is_idle = truth.count(Event::Asked) + truth.count(Event::Accepted) == 0.0 && truth.silent_until <= now;
            prop_assert_eq!(throttle.is_idle(at), is_idle);
        }
    }
}
