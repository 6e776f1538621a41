use crate::figures::Figures;

/// How it is decided that the other side is well again.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Recovery {
    /// Probes are looked at one after the other, until it is clear. It closes as soon as so few of them failed as would
    /// hardly be (1 in 10) if half of the way from the threshold to total failure were left; it opens again as soon as so
    /// many failed as hardly ever would (1 in 10,000) at the threshold, or when all did. When the probes are used up and
    /// it is not clear, it closes, and the window decides.
    ///
    /// After that, and until no ratio has reached half of its threshold for `stable_for`, one opens it only when it is clearly above
    /// it: as chance would have it once in 100,000 times, or by all of the minimum. So neither the few probes nor the first
    /// few calls bring back an outage that is over, also with background errors just under the threshold. What is above the
    /// threshold for long, though no window shows it for sure, opens it too: 40 failures more than half of the calls since
    /// it closed at a threshold of .5, 72 more than a tenth at .1. The open time goes on growing then.
    ///
    /// # Source
    /// A truncated sequential test: Wald, "Sequential tests of statistical hypotheses", Annals of Mathematical Statistics
    /// 16 (1945); then a cumulative sum: Page, "Continuous inspection schemes", Biometrika 41 (1954).
    #[default]
    Tested,
    /// When all probes have ended, or the minimum of calls, their ratios decide, at the threshold; and so does the window
    /// after that.
    ///
    /// # Source
    /// Resilience4j's circuit breaker.
    ByRatio,
    /// Closes at so many successful probes, and opens as soon as they cannot be reached. 1 to the number of probes. After
    /// that the window decides, at the threshold.
    BySuccesses(u32),
}

/// What a few results say about the side that they come from.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Well,
    Unclear,
    Bad,
}

/// How rarely a side that is at the threshold may look like one that is down.
const FALSE_ALARM: f64 = 1e-4;
/// How rarely one that is halfway down may look well.
const FALSE_HOPE: f64 = 0.1;
/// How rarely a side that is at the threshold may look clearly above it.
const CLEARLY: f64 = 1e-5;
/// The same as standard deviations of the normal distribution, squared.
const CLEARLY_NORMAL: f64 = 18.2;
/// How rarely an endpoint that is as good as its peers may look worse.
const NEVER: f64 = 1e-7;
/// No endpoint is taken to fail less often than this.
const RAREST: f64 = 1e-3;
/// Up to so many calls the tail is summed, above it is that of a normal distribution.
const SUMMED: u64 = 255;

/// Looks at the probes so far, of which `failed` of `calls` were bad; `probes` is when they are used up.
pub(crate) fn test(failed: u64, calls: u64, probes: u64, threshold: f64) -> Finding {
    let (Ok(failed), Ok(calls), Ok(probes)) = (u32::try_from(failed), u32::try_from(calls), u32::try_from(probes))
    else {
        return Finding::Unclear;
    };
    if calls == 0 {
        return Finding::Unclear;
    }
    let share = f64::from(failed) / f64::from(calls);
    let used_up = calls >= probes;
    if share >= threshold {
        // All of them failed, and no more can come: no rule could be surer.
        let tail = 1.0 - at_most(failed.checked_sub(1), calls, threshold);
        if used_up && failed == calls || threshold < 1.0 && tail <= FALSE_ALARM {
            return Finding::Bad;
        }
    } else if at_most(Some(failed), calls, f64::midpoint(1.0, threshold)) <= FALSE_HOPE {
        return Finding::Well;
    }
    if used_up { Finding::Well } else { Finding::Unclear }
}

/// How probable it is that at most `failed` of `calls` fail, when each does with probability `chance`. `None`: fewer than
/// none.
fn at_most(failed: Option<u32>, calls: u32, chance: f64) -> f64 {
    let Some(failed) = failed else { return 0.0 };
    if failed >= calls {
        return 1.0;
    }
    if chance >= 1.0 {
        return 0.0;
    }
    // In logarithms, as the terms of 255 calls are too small for a number.
    let odds = chance.ln() - (-chance).ln_1p();
    let mut term = f64::from(calls) * (-chance).ln_1p();
    let mut sum = term.exp();
    for of in 0..failed {
        term += odds + (f64::from(calls.saturating_sub(of)) / f64::from(of.saturating_add(1))).ln();
        sum += term.exp();
    }
    sum.min(1.0)
}

/// Whether `failed` of all calls is so far above `threshold` that it is no chance. All of `minimum` calls always are.
pub(crate) fn is_clearly_above(failed: u64, figures: &Figures, minimum: u64, threshold: f64) -> bool {
    let whole = u32::try_from(minimum).unwrap_or(u32::MAX);
    if figures.calls <= SUMMED {
        let (Ok(failed), Ok(calls)) = (u32::try_from(failed), u32::try_from(figures.calls)) else { return false };
        let tail = 1.0 - at_most(failed.checked_sub(1), calls, threshold);
        // All of the minimum has to pass although the sum is rounded.
        return tail <= CLEARLY.max((f64::from(whole) * threshold.ln()).exp() * (1.0 + 1e-9));
    }
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2⁵³")]
    let (failed, calls) = (failed as f64, figures.calls as f64);
    let above = failed - calls * threshold;
    let deviations = CLEARLY_NORMAL.min(f64::from(whole) * (1.0 - threshold) / threshold);
    above >= 0.0 && above * above * (1.0 + 1e-9) >= deviations * calls * threshold * (1.0 - threshold)
}

/// Whether so many failures, where a share of `usual` fails, are none: once in ten million times at the most.
pub(crate) fn is_no_chance(figures: &Figures, usual: f64) -> bool {
    let usual = usual.clamp(RAREST, 1.0);
    if let (Ok(failed), Ok(calls)) = (u32::try_from(figures.failures), u32::try_from(figures.calls)) {
        if figures.calls <= SUMMED {
            return 1.0 - at_most(failed.checked_sub(1), calls, usual) <= NEVER;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2⁵³")]
    let (failed, calls) = (figures.failures as f64, figures.calls as f64);
    // Chernoff: the chance is at most e to the −calls × the divergence of what was seen from what is usual.
    let share = failed / calls;
    if share <= usual {
        return false;
    }
    let rest = if share < 1.0 { (1.0 - share) * ((1.0 - share) / (1.0 - usual)).ln() } else { 0.0 };
    calls * (share * (share / usual).ln() + rest) >= -NEVER.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(calls: u64) -> Figures {
        Figures { calls, ..Figures::default() }
    }

    #[test]
    fn two_good_probes_are_enough_at_a_half_and_three_at_a_tenth() {
        assert_eq!(test(0, 1, 10, 0.5), Finding::Unclear);
        assert_eq!(test(0, 2, 10, 0.5), Finding::Well);
        assert_eq!((test(0, 2, 10, 0.1), test(0, 3, 10, 0.1)), (Finding::Unclear, Finding::Well));
    }

    #[test]
    fn a_few_failures_prove_nothing_at_a_half_and_all_do() {
        for failed in 0..10 {
            assert_ne!(test(failed, 10, 10, 0.5), Finding::Bad, "{failed}");
            assert_eq!(test(failed.max(1), failed.max(1), 10, 0.5), Finding::Unclear, "{failed}");
        }
        assert_eq!(test(10, 10, 10, 0.5), Finding::Bad);
    }

    #[test]
    fn fourteen_failures_in_a_row_are_the_fewest_that_are_no_chance_at_a_half() {
        assert_eq!((test(13, 13, 255, 0.5), test(14, 14, 255, 0.5)), (Finding::Unclear, Finding::Bad));
    }

    #[test]
    fn five_failures_in_a_row_prove_it_at_a_tenth() {
        assert_eq!((test(3, 3, 10, 0.1), test(4, 4, 10, 0.1)), (Finding::Unclear, Finding::Bad));
    }

    #[test]
    fn one_probe_decides_where_there_is_one() {
        for threshold in [0.001, 0.5, 1.0] {
            assert_eq!((test(0, 1, 1, threshold), test(1, 1, 1, threshold)), (Finding::Well, Finding::Bad));
        }
    }

    #[test]
    fn at_a_threshold_of_one_a_single_success_is_enough_and_all_have_to_fail() {
        assert_eq!((test(2, 3, 10, 1.0), test(3, 3, 10, 1.0)), (Finding::Well, Finding::Unclear));
        assert_eq!(test(10, 10, 10, 1.0), Finding::Bad);
    }

    #[test]
    fn no_round_of_any_size_and_threshold_stays_unclear() {
        for threshold in [1e-9, 0.01, 0.3, 0.5, 0.99, 1.0] {
            for probes in [1, 2, 3, 10, 255] {
                for failed in 0..=probes {
                    assert_ne!(test(failed, probes, probes, threshold), Finding::Unclear);
                }
            }
        }
    }

    /// As the textbook has it.
    #[test]
    fn the_tail_is_that_of_the_binomial_distribution() {
        for (failed, calls, chance, expected) in
            [(2, 3, 0.5, 0.875), (0, 2, 0.75, 0.0625), (7, 10, 0.45, 0.972_608_161), (225, 255, 0.95, 0.000_014_519)]
        {
            let sum = at_most(Some(failed), calls, chance);

            assert!((sum - expected).abs() < expected * 0.000_1, "{failed} of {calls}: {sum}");
        }
    }

    #[test]
    fn what_peers_fail_alike_is_chance() {
        let is_no_chance = |failures, calls, usual| is_no_chance(&Figures { calls, failures, slow: 0 }, usual);

        assert_eq!([13, 14].map(|failures| is_no_chance(failures, 200, 0.01)), [false, true]);
        assert_eq!([29, 33].map(|failures| is_no_chance(failures, 1_000, 0.01)), [false, true]);
        assert!(!is_no_chance(2, 1_000, 0.0) && is_no_chance(20, 1_000, 0.0));
        assert!(is_no_chance(1_000, 1_000, 0.5) && !is_no_chance(1_000, 1_000, 1.0));
    }

    #[test]
    fn clearly_is_once_in_a_hundred_thousand_or_all_of_the_minimum() {
        assert!(is_clearly_above(20, &figures(20), 20, 0.5) && !is_clearly_above(19, &figures(20), 20, 0.5));
        assert!(is_clearly_above(10, &figures(20), 20, 0.1) && !is_clearly_above(9, &figures(20), 20, 0.1));
        assert!(is_clearly_above(568, &figures(1_000), 20, 0.5) && !is_clearly_above(567, &figures(1_000), 20, 0.5));
        for minimum in [1, 2, 3, 20, 199, 254, 255, 256, 1_000] {
            for threshold in [0.001, 0.07, 0.5, 0.9, 1.0] {
                assert!(is_clearly_above(minimum, &figures(minimum), minimum, threshold), "{minimum} {threshold}");
            }
        }
    }
}
