//! What other implementations of Vegas, Gradient2 and AIMD are fooled by. Each algorithm goes through all of it.
use std::time::Duration;

use seawall_core::{Admission, CallContext, Class, Gate, Outcome, Timestamp};
use seawall_load_shedder::{
    Aimd, AimdConfig, Gradient2, Gradient2Config, LimitAlgorithm, LimitRange, LoadShedder, Vegas, VegasConfig, Window,
};

const MS: f64 = 1e6;
const LOWEST: f64 = 2.0;
const FIRST: f64 = 20.0;
const HIGHEST: f64 = 1_000.0;

type Named = (&'static str, Box<dyn LimitAlgorithm>);

fn algorithms() -> [Named; 3] {
    let range = LimitRange::new(2, 20, 1_000).expect("in order");
    [
        ("AIMD", Box::new(Aimd::new(AimdConfig::default().with_range(range)))),
        ("Vegas", Box::new(Vegas::new(VegasConfig::default().with_range(range)))),
        ("Gradient2", Box::new(Gradient2::new(Gradient2Config::default().with_range(range)))),
    ]
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "limits")]
fn whole(limit: f64) -> u32 {
    limit.ceil() as u32
}

/// So many windows of a server with 16 workers of 10 ms each, of which callers want as many as they are given, each of them
/// having `patience`.
fn overload(algorithm: &mut dyn LimitAlgorithm, windows: u32, patience: f64) {
    for _ in 0..windows {
        let limit = whole(algorithm.limit());
        let latency = 10.0 * MS * (f64::from(limit) / 16.0).max(1.0);
        let dropped = if latency > patience { 100 } else { 0 };
        algorithm.update(&Window::new(100, latency.min(patience), 0.1, limit).with_dropped(dropped));
    }
}

#[test]
fn a_server_that_answers_nobody_in_time_is_not_taken_for_a_steady_one() {
    for (name, mut algorithm) in algorithms() {
        // At first there is nothing to compare with: each call took as long as its caller waited.
        for _ in 0..200 {
            let limit = whole(algorithm.limit());
            algorithm.update(&Window::new(100, 1_000.0 * MS, 0.0, limit).with_dropped(100));
        }

        assert!(algorithm.limit() <= LOWEST, "{name}: {}", algorithm.limit());
    }
}

#[test]
fn timeouts_that_begin_all_at_once_are_not_learnt_as_the_usual_latency() {
    for (name, mut algorithm) in algorithms() {
        overload(&mut *algorithm, 20, f64::INFINITY);
        for _ in 0..200 {
            algorithm.update(&Window::new(100, 1_000.0 * MS, 0.0, 1_000).with_dropped(100));
        }
        let cut = algorithm.limit();

        // It is still slow, and nobody waits for less than that: not taken for good after what came before.
        for _ in 0..5 {
            algorithm.update(&Window::new(100, 900.0 * MS, 0.1, whole(algorithm.limit())));
        }

        assert!(cut <= LOWEST, "{name}: {cut}");
        // AIMD knows of no latency but its timeout.
        assert!(name == "AIMD" || algorithm.limit() < 8.0, "{name}: {}", algorithm.limit());
    }
}

#[test]
fn nothing_is_learnt_of_how_much_a_server_bears_while_less_than_half_of_the_limit_is_used() {
    for (name, mut algorithm) in algorithms() {
        for _ in 0..1_000 {
            algorithm.update(&Window::new(100, 10.0 * MS, 0.1, 3));
        }

        assert!((algorithm.limit() - FIRST).abs() < 1e-9, "{name}: {}", algorithm.limit());
    }
}

#[test]
fn a_mild_overload_that_lasts_never_takes_the_limit_out_of_its_range_and_callers_who_give_up_end_it() {
    for (name, mut algorithm) in algorithms() {
        overload(&mut *algorithm, 5_000, f64::INFINITY);
        let unbounded = algorithm.limit();
        overload(&mut *algorithm, 500, 200.0 * MS);

        assert!(unbounded <= HIGHEST, "{name}: {unbounded}");
        // 320 calls in 16 workers of 10 ms take 200 ms.
        assert!(algorithm.limit() <= 1.1 * 320.0, "{name}: {unbounded}, then {}", algorithm.limit());
    }
}

/// What becomes of a limit of 24, half of which is in use, by three windows of calls of 10 ms, then `quick` ones that end at once
/// in such a way, then six windows of calls of 10 ms.
fn after_quick_ends(algorithm: impl LimitAlgorithm, outcome: Outcome, quick: u32) -> f64 {
    let shedder = LoadShedder::with_algorithm(algorithm);
    let mut now = Timestamp::from_nanos(1);
    let held: Vec<_> = (0..12).map(|_| shedder.admit(CallContext::new, || now)).collect();
    let usual = (10_000_000, Outcome::Finished(Class::Success));
    for (calls, (nanos, outcome)) in [(300, usual), (quick, (1, outcome)), (600, usual)] {
        for _ in 0..calls {
            let Admission::Admitted(passage) = shedder.admit(CallContext::new, || now) else { continue };
            now = now.saturating_add(Duration::from_nanos(nanos));
            shedder.finish(passage, outcome, || now);
        }
    }
    assert_eq!(held.len(), 12);
    shedder.inspect(LimitAlgorithm::limit)
}

#[test]
fn calls_that_are_dropped_or_fail_at_once_do_not_make_a_server_look_quick() {
    let range = LimitRange::new(2, 24, 24).unwrap();
    let vegas = || Vegas::new(VegasConfig::default().with_range(range));
    let gradient2 = || {
        let config = Gradient2Config::default().with_range(range).with_tolerance(1.0);
        Gradient2::new(config.and_then(|config| config.with_queue_size(1)).expect("allowed"))
    };
    for outcome in [Outcome::Cancelled, Outcome::Finished(Class::Failure), Outcome::Panicked] {
        // A base of next to nothing would make what is usual look like a queue, and pull the average down.
        let limits = [after_quick_ends(vegas(), outcome, 1_500), after_quick_ends(gradient2(), outcome, 1_500)];
        assert!(limits.iter().all(|limit| (limit - 24.0).abs() < 1e-9), "{outcome:?}: {limits:?}");
    }
}
