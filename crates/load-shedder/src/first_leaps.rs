/// A window of which this part of the base is left comes from a server that is full.
pub(crate) const LEAPT_TOO_FAR: f64 = 0.75;
/// So many windows in a row are put off because they are too few to tell.
const MOST_PUT_OFF: u32 = 3;
/// Means further apart than so many times their error differ by more than chance.
const BY_CHANCE: f64 = 2.0;
/// Errors beyond this part of a mean would put off every window.
const LARGEST_ERROR: f64 = 0.5;

/// Whether a leap of the start went too far, judged by as many windows as it takes: one of some thirty calls is a fifth
/// off, and a limit that stops doubling by chance takes hundreds of windows to come where it should be.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct FirstLeaps {
    put_off: Option<PutOff>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct PutOff {
    windows: u32,
    mean: f64,
    samples: f64,
}

/// What the windows at one limit show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seen {
    pub(crate) mean: f64,
    pub(crate) samples: f64,
    /// The base, with these windows taken into it.
    pub(crate) base: Option<f64>,
}

impl FirstLeaps {
    /// A window of `samples` calls with this mean, when `base` is the mean of `weight` calls; nothing while it is too early
    /// to say.
    pub(crate) fn judge(&mut self, base: f64, weight: f64, variance: f64, (mean, samples): (f64, f64)) -> Option<Seen> {
        let before = self.put_off.take().unwrap_or(PutOff { windows: 0, mean, samples: 0.0 });
        let all = samples + before.samples;
        let mean = (mean * samples + before.mean * before.samples) / all;
        let error = (variance * (1.0 / all + 1.0 / weight.max(1.0))).sqrt().min(LARGEST_ERROR);
        let (slower, too_slow) = (mean / base, 1.0 / LEAPT_TOO_FAR);
        if slower > too_slow && slower * (1.0 - error) < too_slow && before.windows < MOST_PUT_OFF {
            self.put_off = Some(PutOff { windows: before.windows.saturating_add(1), mean, samples: all });
            return None;
        }
        // Quick calls end first, so a window after a leap is rather too quick than too slow: it may raise the base only.
        let by_chance = slower > 1.0 && slower <= too_slow && slower - 1.0 < BY_CHANCE * error;
        let better = base + all / (all + weight) * (mean - base);
        Some(Seen { mean, samples: all, base: (by_chance && weight > 0.0).then_some(better) })
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    fn judged(windows: &[(f64, f64)]) -> Vec<Option<Seen>> {
        let mut leaps = FirstLeaps::default();
        windows.iter().map(|window| leaps.judge(10.0, 32.0, 1.0, *window)).collect()
    }

    #[test]
    fn a_slow_window_that_may_be_chance_is_put_off_and_judged_with_the_next() {
        let seen = judged(&[(15.0, 32.0), (9.0, 32.0)]);

        assert_eq!(seen[0], None);
        assert_eq!(seen[1].map(|seen| (seen.mean, seen.samples)), Some((12.0, 64.0)));
    }

    #[test]
    fn a_window_that_is_slower_than_chance_allows_is_not_put_off() {
        let seen = judged(&[(20.0, 32.0)]);

        assert_eq!(seen[0], Some(Seen { mean: 20.0, samples: 32.0, base: None }));
    }

    #[test]
    fn no_more_than_three_windows_in_a_row_are_put_off() {
        let seen = judged(&[(14.0, 32.0); 5]);

        assert_eq!(seen.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, false, true, false]);
    }

    #[test]
    fn windows_raise_the_base_within_chance_and_never_lower_it() {
        let base = |mean| judged(&[(mean, 32.0)])[0].and_then(|seen| seen.base);

        assert_eq!(base(12.0), Some(11.0));
        assert_eq!(base(8.0), None);
    }

    #[test]
    fn a_base_without_weight_is_not_mixed_with_windows() {
        let seen = FirstLeaps::default().judge(10.0, 0.0, 0.1, (11.0, 32.0));

        assert_eq!(seen, Some(Seen { mean: 11.0, samples: 32.0, base: None }));
    }
}
