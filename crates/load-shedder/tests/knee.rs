//! What the default limit makes of windows and probes.
use seawall_load_shedder::{Knee, LimitAlgorithm, LimitRange, Window};

const MILLISECOND: f64 = 1e6;

/// So many calls in the window, their mean latency in milliseconds, and how many were under way at most: all the time.
fn window(samples: u32, latency: f64, max_in_flight: u32) -> Window {
    let per_second = f64::from(max_in_flight) / latency * 1e3;
    Window::new(samples, latency * MILLISECOND, 0.5, max_in_flight).with_throughput(per_second)
}

/// Has measured that calls take 10 ms when nobody queues; from there on its windows have the limit under way.
fn measured(initial: u32) -> Knee {
    let mut knee = Knee::new(LimitRange::new(1, initial, 10_000).expect("in order"));
    pressed(&mut knee, 12.0);
    assert!(knee.probe().is_some(), "nothing is known");
    knee.probed(Some(&window(10_000, 10.0, 0)));
    knee
}

/// The lowest, mean and highest limit in force when a server has had 200 windows of the latency that goes with the limit, in
/// milliseconds.
fn settled(knee: &mut Knee, latency: impl Fn(f64) -> f64) -> (f64, f64, f64) {
    let mut limits = Vec::new();
    for _ in 0..400 {
        limits.push(knee.limit());
        let now = latency(knee.limit());
        pressed(knee, now);
        if knee.probe().is_some() {
            knee.probed(Some(&window(10_000, 10.0, 0)));
        }
    }
    let late = limits.iter().skip(200);
    let [lowest, highest] = [late.clone().copied().fold(f64::MAX, f64::min), late.clone().copied().fold(0.0, f64::max)];
    (lowest, late.sum::<f64>() / 200.0, highest)
}

fn pressed(knee: &mut Knee, latency: f64) {
    let in_flight = whole(knee.limit());
    knee.update(&window(1_000, latency, in_flight));
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "limits are small and above zero")]
fn whole(limit: f64) -> u32 {
    limit.ceil() as u32
}

/// To the hundredth.
fn hundredths(limit: f64) -> u32 {
    whole((100.0 * limit).round())
}

#[test]
fn it_doubles_until_a_leap_went_too_far_and_takes_that_one_back_at_once() {
    let mut knee = measured(16);

    pressed(&mut knee, 10.0);
    let first = knee.limit();
    pressed(&mut knee, 12.5);
    let second = knee.limit();
    pressed(&mut knee, 20.0);

    assert_eq!((hundredths(first), hundredths(second)), (3_200, 6_400));
    // Half of it was queueing; 1.35 times the root of the limit may.
    assert_eq!(hundredths(knee.limit()), 4_280);
    assert_eq!(knee.probe().map(|probe| probe.limit), Some(29), "what leaps have shown is too coarse to go on with");
}

#[test]
fn a_leap_far_too_far_is_taken_back_as_far() {
    let mut knee = measured(16);
    pressed(&mut knee, 10.0);

    pressed(&mut knee, 100.0);

    assert_eq!(hundredths(knee.limit()), 1_084, "a tenth of 32 and 7.64");
}

/// After a leap to 32 that took 160 ms instead of 10, and a probe that took so long.
fn doubted(probe: f64) -> (f64, Knee) {
    doubted_from(16, probe)
}

/// The same after a leap to twice as many.
fn doubted_from(initial: u32, probe: f64) -> (f64, Knee) {
    let mut knee = measured(initial);
    pressed(&mut knee, 10.0);
    pressed(&mut knee, 160.0);
    let before = knee.limit();
    knee.probed(Some(&window(10_000, probe, 0)));
    (before, knee)
}

#[test]
fn a_probe_of_a_server_that_is_still_full_lowers_the_limit_and_is_no_base() {
    let (before, knee) = doubted(26.0);

    assert_eq!(knee.base_latency().map(|base| base.as_millis()), Some(10));
    assert!(knee.limit() < 0.7 * before, "{before} to {}", knee.limit());
}

#[test]
fn a_probe_of_a_small_limit_is_doubted_and_believed_by_the_whole_calls_that_it_let_in() {
    // Two of the 4.6 that are left of 8: in 40 ms they have the throughput of 8 in 160, and in 100 ms far less.
    let [(before, full), (_, slow)] = [40.0, 100.0].map(|probe| doubted_from(4, probe));

    let bases = [&full, &slow].map(|knee| knee.base_latency().map(|base| base.as_millis()));
    assert_eq!(bases, [Some(10), Some(100)]);
    assert_eq!((hundredths(before), hundredths(full.limit())), (462, 340), "two quarters of a call and 2.9");
}

#[test]
fn a_slow_probe_with_less_throughput_than_the_limit_is_believed() {
    let (before, knee) = doubted(100.0);

    assert_eq!(knee.base_latency().map(|base| base.as_millis()), Some(100), "the server has become slower");
    assert_eq!((hundredths(before), hundredths(knee.limit())), (1_084, 900), "it begins to sway, downwards");
}

#[test]
fn while_the_base_is_measured_anew_the_limit_does_not_sink() {
    let mut knee = measured(16);
    pressed(&mut knee, 10.0);
    pressed(&mut knee, 20.0);
    let taken_back = knee.limit();

    pressed(&mut knee, 30.0);

    assert!(knee.limit() >= taken_back, "{taken_back} to {}", knee.limit());
}

#[test]
fn a_limit_that_is_not_used_does_not_grow() {
    let mut knee = measured(16);

    for _ in 0..20 {
        knee.update(&window(1_000, 10.0, 13));
    }
    assert_eq!(hundredths(knee.limit()), 1_600);
    (0..2).for_each(|_| knee.update(&window(1_000, 10.0, 14)));

    assert_eq!(hundredths(knee.limit()), 3_200, "nine tenths are as good as all");
}

#[test]
fn the_window_in_which_a_limit_comes_into_use_does_not_raise_it() {
    let mut first = Knee::default();
    first.update(&window(24, 10.0, 8));
    first.probed(Some(&window(24, 10.0, 0)));
    let mut later = measured(16);
    later.update(&window(1_000, 10.0, 3));

    for knee in [&mut first, &mut later] {
        pressed(knee, 10.0);
        assert_eq!(hundredths(knee.limit()), 1_600, "calls from before are in it");
        pressed(knee, 10.0);
        assert_eq!(hundredths(knee.limit()), 3_200);
    }
}

#[test]
fn under_load_it_settles_where_a_short_queue_is_left() {
    let mut knee = measured(100);

    // Forty at once, 10 ms each; the rest queue.
    let (lowest, mean, highest) = settled(&mut knee, |limit| limit.max(40.0) / 4.0);

    // 1.25 times 1.35 times the root.
    assert!((51.5..53.5).contains(&mean), "{mean}");
    assert!(lowest > 46.0 && highest < 61.0, "{lowest} to {highest}");
}

/// The limits in force after a pause of two windows, before a server of sixteen workers that has so many times the throughput then; the
/// pause begins after so many windows.
fn after_a_pause(windows: usize, pause: &Window, faster: f64) -> Vec<f64> {
    let mut knee = measured(16);
    let under_way = |knee: &mut Knee, faster: f64| {
        let in_flight = whole(knee.limit());
        let latency = 10.0 * (f64::from(in_flight) / 16.0).max(1.0);
        let window = window(1_000, latency, in_flight);
        knee.update(&window.with_throughput(faster * f64::from(in_flight.min(16)) * 100.0));
        if knee.probe().is_some() {
            knee.probed(Some(&Window::new(10_000, 10.0 * MILLISECOND, 0.5, 0)));
        }
        knee.limit()
    };
    for _ in 0..windows {
        under_way(&mut knee, 1.0);
    }
    for _ in 0..2 {
        knee.update(pause);
    }
    (0..8).map(|_| under_way(&mut knee, faster)).collect()
}

#[test]
fn what_changes_while_the_limit_is_not_in_use_is_not_the_limits_doing() {
    let idle = window(1_000, 10.0, 1);
    let cut = window(1_000, 10.0, 40).with_dropped(900);
    for pause in [idle, cut] {
        for windows in 100..112 {
            let as_before = after_a_pause(windows, &pause, 1.0);
            for faster in [0.5, 2.0] {
                assert_eq!(after_a_pause(windows, &pause, faster), as_before, "{windows}");
            }
        }
    }
}

#[test]
fn where_more_at_once_get_less_done_a_shorter_queue_is_left() {
    let mut knee = measured(20);

    // Eight at once, 10 ms each; each one more slows all by a fortieth of what they do.
    let (_, mean, _) = settled(&mut knee, |limit| limit.max(8.0) / 0.8 * (1.0 + (limit - 8.0).max(0.0) / 40.0));

    assert!((8.0..10.5).contains(&mean), "{mean}");
}

#[test]
fn after_the_start_six_clean_windows_make_it_leap_again() {
    let mut knee = measured(16);
    pressed(&mut knee, 14.0);
    let after_stop = knee.limit();
    knee.probed(Some(&window(10_000, 10.0, 0)));

    let mut steps = Vec::new();
    for _ in 0..7 {
        let before = knee.limit();
        // Its throughput is not known: the limit stays in the lower half of its sway until it leaps.
        knee.update(&Window::new(1_000, 10.0 * MILLISECOND, 0.5, whole(before)));
        steps.push(knee.limit() / before);
    }

    assert_eq!(hundredths(after_stop), 1_683);
    assert!(steps.iter().take(5).all(|step| *step < 1.2), "{steps:?}");
    assert!(steps.iter().skip(5).all(|step| (1.4 - 1e-9..1.6).contains(step)), "{steps:?}");
}

#[test]
fn a_base_is_given_up_for_three_quicker_windows_in_a_row_and_not_for_two() {
    let base = |latencies: &[f64]| {
        let mut knee = measured(16);
        for latency in latencies {
            pressed(&mut knee, *latency);
        }
        knee.base_latency().map(|latency| latency.as_millis())
    };

    assert_eq!(base(&[5.0, 5.0]), Some(10));
    assert_eq!(base(&[5.0, 5.0, 10.0, 5.0]), Some(10));
    assert_eq!(base(&[5.0, 5.0, 5.0]), Some(5));
    assert_eq!(base(&[8.5, 8.5, 8.5]), Some(10), "by chance");
}

#[test]
fn a_probe_that_sees_more_spread_than_windows_makes_them_longer() {
    let mut knee = measured(16);
    let before = knee.window_size().full;
    assert_eq!(before, 32, "64 for each unit of variance, half a unit");

    knee.probed(Some(&Window::new(100, 10.0 * MILLISECOND, 4.0, 8)));

    assert_eq!(knee.window_size().full, 256);
    knee.probed(Some(&Window::new(100, 10.0 * MILLISECOND, 0.1, 8)));
    assert_eq!(knee.window_size().full, 256, "windows may bring it down");
    pressed(&mut knee, 100.0);
    assert!(knee.window_size().full < 300, "{:?}", knee.window_size());
}

#[test]
fn a_window_of_timeouts_cuts_the_limit_and_teaches_nothing() {
    let mut knee = measured(100);
    let base = knee.base_latency();

    knee.update(&window(1_000, 500.0, 100).with_dropped(501));
    let cut = knee.limit();
    knee.update(&window(1_000, 10.0, 70).with_dropped(500));

    assert_eq!(hundredths(cut), 7_000);
    assert!(knee.limit() > cut, "half of them is not most of them");
    assert_eq!(knee.base_latency(), base);
}

#[test]
fn a_server_that_is_half_idle_gives_the_base_for_nothing() {
    let mut knee = Knee::default();

    knee.update(&window(100, 10.0, 7));
    let first = knee.base_latency();
    knee.update(&window(100, 20.0, 7));

    assert_eq!(first.map(|base| base.as_millis()), Some(10));
    assert_eq!(knee.base_latency().map(|base| base.as_millis()), Some(13));
    assert_eq!((hundredths(knee.limit()), knee.probe()), (1_600, None));
}
