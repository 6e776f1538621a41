//! The last good responses: bounded in number and in age.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]

use std::{collections::HashMap, future::ready, time::Duration};

use proptest::prelude::*;
use seawall_core::{Class, Env, Error, VirtualClock};
use seawall_fallback::{
    Bounds, Cause, Combine, Degraded, FallbackError, FallbackLayer, LastGood, LastGoodConfig, LastGoodError, Memory,
    Value,
};

const MINUTE: Duration = Duration::from_secs(60);

type Failing = Error<&'static str>;
/// An answer, and the age that it was marked with.
type Answer = (u32, Option<Duration>);

const DOWN: Result<Answer, Failing> = Err(Error::Inner("down"));

#[expect(clippy::unnecessary_wraps, reason = "beside DOWN")]
fn good(answer: u32) -> Result<Answer, Failing> {
    Ok((answer, None))
}

fn config(entries: usize) -> LastGoodConfig {
    LastGoodConfig::new(entries, MINUTE).expect("allowed")
}

/// Even numbers are keys; odd ones have none.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "what a key is made of is lent")]
fn key(request: &u32) -> Option<u32> {
    (*request % 2 == 0).then_some(*request)
}

fn mark(answer: &mut Answer, degraded: &Degraded) {
    answer.1 = degraded.age;
}

macro_rules! ask {
    ($layer:expr, $request:expr, $script:expr) => {{
        let mut call = std::pin::pin!($layer.run_carrying($request, ready($script)));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match call.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(result) => result.map_err(FallbackError::into_parts),
            std::task::Poll::Pending => unreachable!("everything is ready at once"),
        }
    }};
}

#[test]
fn the_last_good_response_to_the_same_request_comes_back_with_its_age() {
    let clock = VirtualClock::new();
    let env = Env::new().with_clock(clock.clone());
    let layer = FallbackLayer::with_env(LastGood::new(config(10), key), env).with_mark(mark);

    assert_eq!(ask!(layer, 2, good(7)), good(7).map_err(|e| (e, None)));
    clock.advance(Duration::from_secs(9));
    assert_eq!(ask!(layer, 2, DOWN), Ok((7, Some(Duration::from_secs(9)))));
    assert_eq!(ask!(layer, 4, DOWN), Err((Error::Inner("down"), None)));

    assert_eq!(ask!(layer, 2, good(8)), Ok((8, None)));
    assert_eq!(ask!(layer, 2, DOWN), Ok((8, Some(Duration::ZERO))));
}

#[test]
fn what_is_kept_is_kept_under_another_name_within_bounds_and_beside_panics_too() {
    macro_rules! keeps {
        ($alternative:expr) => {{
            let layer = FallbackLayer::new($alternative);
            let _ = ask!(layer, 2, good(7));
            ask!(layer, 2, DOWN).ok()
        }};
    }
    let last_good = || LastGood::new(config(10), key);

    assert_eq!(keeps!(last_good().named("yesterday")), Some((7, None)));
    assert_eq!(keeps!(last_good().bounded(Bounds::default())), Some((7, None)));
    assert_eq!(keeps!(last_good().caught()), Some((7, None)));
}

#[test]
fn a_response_that_is_too_old_is_not_given_out_and_no_longer_kept() {
    let clock = VirtualClock::new();
    let env = Env::new().with_clock(clock.clone());
    let layer = FallbackLayer::with_env(LastGood::new(config(10), key), env).with_mark(mark);
    let _ = ask!(layer, 2, good(7));

    clock.advance(MINUTE);
    assert_eq!(ask!(layer, 2, DOWN), Ok((7, Some(MINUTE))));
    clock.advance(Duration::from_nanos(1));

    assert!(ask!(layer, 2, DOWN).is_err());
    assert_eq!(layer.alternative().len(), 0);
}

#[test]
fn requests_without_a_key_and_answers_of_alternatives_are_not_kept() {
    let layer = FallbackLayer::new(LastGood::new(config(10), key).then(Value::new((0, None))));

    let _ = ask!(layer, 3, good(7));
    assert_eq!(ask!(layer, 3, DOWN), Ok((0, None)));
    assert_eq!(ask!(layer, 2, DOWN), Ok((0, None)));

    assert_eq!(ask!(layer, 2, DOWN), Ok((0, None)));
}

#[test]
fn no_more_responses_are_kept_than_allowed() {
    for entries in [1, 2, 100] {
        let layer = FallbackLayer::new(LastGood::new(config(entries), key));

        for request in 0..1_000 {
            let _ = ask!(layer, request * 2, good(request));
        }

        assert!((1..=entries).contains(&layer.alternative().len()), "{}", layer.alternative().len());
    }
}

/// Weighs a response by what it says.
struct Heavy;

impl Memory<Answer> for Heavy {
    type Kept = Answer;

    fn remember(&self, answer: &Answer) -> Option<Answer> {
        Some(*answer)
    }

    fn weight(&self, (weight, _): &Answer) -> u64 {
        u64::from(*weight)
    }

    fn recall(&self, kept: Answer) -> Option<Answer> {
        Some(kept)
    }
}

#[test]
fn no_more_weight_is_kept_than_allowed_and_still_no_more_responses() {
    for (entries, weight, most) in [(1_000, 20_000, 200), (50, 1_000_000, 50), (10, 250, 2)] {
        let config = config(entries).with_max_weight(weight).unwrap();
        let layer = FallbackLayer::new(LastGood::<_, u32, Answer>::new(config, key).with_memory(Heavy));

        for request in 0..1_000 {
            let _ = ask!(layer, request * 2, good(100));
        }

        assert!((1..=most).contains(&layer.alternative().len()), "{}", layer.alternative().len());
    }
}

#[test]
fn settings_that_keep_nothing_are_refused() {
    assert_eq!(config(1).with_max_weight(0).unwrap_err().to_string(), "max_weight is 0; allowed are 1 and more");
    assert_eq!(LastGoodConfig::new(0, MINUTE).unwrap_err().to_string(), "max_entries is 0; allowed are 1 and more");
    let no_time = LastGoodConfig::new(1, Duration::ZERO).unwrap_err();
    assert_eq!(no_time, LastGoodError::MaxAge { max_age: Duration::ZERO });
    assert_eq!(no_time.to_string(), "max_age is 0s; allowed is any time above 0s");
}

#[test]
fn the_defaults_are_these() {
    let text = "LastGoodConfig { max_entries: 10000, max_age: 300s, weight_limit: 18446744073709551615 }";
    assert_eq!(format!("{:?}", LastGoodConfig::default()), text);
}

proptest! {
    #[test]
    fn it_answers_as_a_map_of_the_last_successes_would(
        steps in prop::collection::vec((0..8_u32, any::<bool>(), 0..40_u64), 1..200),
    ) {
        let clock = VirtualClock::new();
        let env = Env::new().with_clock(clock.clone());
        let layer = FallbackLayer::with_env(LastGood::new(config(1_000), key), env).with_mark(mark);
        let (mut truth, mut seconds) = (HashMap::new(), 0);

        for (number, (request, works, gap)) in (0..).zip(steps) {
            clock.advance(Duration::from_secs(gap));
            seconds += gap;
            let answer = ask!(layer, request, if works { good(number) } else { DOWN });
            let expected = if works {
                if request % 2 == 0 {
                    truth.insert(request, (number, seconds));
                }
                Some((number, None))
            } else {
                let known = truth.get(&request).filter(|(_, at)| seconds - at <= 60);
                known.map(|(answer, at)| (*answer, Some(Duration::from_secs(seconds - at))))
            };
            prop_assert_eq!(answer.ok(), expected);
        }
    }
}

#[test]
fn it_remembers_wherever_it_stands_in_a_chain_and_whatever_it_is_for() {
    let good_at_first = LastGood::new(config(10), key).then(Value::new((0, None)));
    let good_at_last = Value::new((0, None)).only(|_: Cause, _: Result<&Answer, &Failing>| false);
    let good_at_last = good_at_last.then(LastGood::new(config(10), key));
    let good_sometimes = LastGood::new(config(10), key).only(|_: Cause, _: Result<&Answer, &Failing>| true);
    macro_rules! remembers {
        ($alternative:expr) => {{
            let layer = FallbackLayer::with_env($alternative, Env::new().with_clock(VirtualClock::new()));
            assert!(ask!(layer, 2, good(7)).is_ok());
            ask!(layer, 2, DOWN).map(|answer| answer.0).ok()
        }};
    }

    assert_eq!(remembers!(good_at_first), Some(7));
    assert_eq!(remembers!(good_at_last), Some(7));
    assert_eq!(remembers!(good_sometimes), Some(7));
}

#[test]
fn what_is_cleared_is_forgotten() {
    let layer = FallbackLayer::with_env(LastGood::new(config(10), key), Env::new().with_clock(VirtualClock::new()));
    assert!(ask!(layer, 2, good(7)).is_ok());

    layer.alternative().clear();

    assert!(layer.alternative().is_empty());
    assert!(ask!(layer, 2, DOWN).is_err());
}

#[tokio::test]
async fn only_a_success_is_remembered_and_not_what_is_the_callers_own_doing() {
    let by_status = |result: Result<&u32, &&str>| match result {
        Ok(404) => Class::Ignored,
        Ok(_) => Class::Success,
        Err(_) => Class::Failure,
    };
    let last = LastGood::new(config(10), key);
    let layer = FallbackLayer::with_env(last, Env::new().with_classifier(by_status));

    let ignored = layer.run_carrying(2, ready(Ok::<u32, Failing>(404))).await;
    let down = layer.run_carrying(2, ready(Err::<u32, Failing>(Error::Inner("down")))).await;

    assert_eq!((ignored, layer.alternative().len()), (Ok(404), 0));
    assert!(down.is_err());
}
