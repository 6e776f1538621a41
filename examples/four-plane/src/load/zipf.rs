//! Zipf's law: the item of rank r is asked for in proportion to 1 / r^s.

/// Ranks with their popularity.
#[derive(Debug, Clone)]
pub(crate) struct Zipf {
    /// Cumulative shares, ascending to 1.
    shares: Vec<f64>,
}

impl Zipf {
    /// `count` ranks with exponent `s`; 1 is what web requests are close to.
    ///
    /// # Source
    /// Breslau et al., Web Caching and Zipf-like Distributions, INFOCOM 1999.
    pub(crate) fn new(count: usize, s: f64) -> Self {
        let mut sum = 0.0;
        let mut rank = 0.0_f64;
        let mut shares: Vec<f64> = (0..count)
            .map(|_| {
                rank += 1.0;
                sum += rank.powf(-s);
                sum
            })
            .collect();
        for share in &mut shares {
            *share /= sum;
        }
        Self { shares }
    }

    /// The share of what is asked for that falls to a rank, from 0.
    pub(crate) fn share(&self, rank: usize) -> f64 {
        let up_to = |rank: usize| self.shares.get(rank).copied().unwrap_or_default();
        up_to(rank) - rank.checked_sub(1).map_or(0.0, up_to)
    }

    /// The rank, from 0, for a random number in 0 to 1; 0 where there is no rank at all.
    pub(crate) fn rank(&self, random: f64) -> usize {
        self.shares.partition_point(|share| *share <= random).min(self.shares.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rank_gets_its_share_and_no_more() {
        let zipf = Zipf::new(3, 1.0);
        let first = 1.0 / (1.0 + 0.5 + 1.0 / 3.0);

        assert_eq!([0.0, first - 1e-9, first + 1e-9, 0.9999, 1.0].map(|random| zipf.rank(random)), [0, 0, 1, 2, 2]);
    }

    #[test]
    fn shares_fall_with_the_rank_and_sum_to_all() {
        let zipf = Zipf::new(3, 1.0);

        let shares = [0, 1, 2].map(|rank| zipf.share(rank));

        assert!((shares[0] - 2.0 * shares[1]).abs() < 1e-9 && (shares[0] - 3.0 * shares[2]).abs() < 1e-9, "{shares:?}");
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn nothing_to_choose_from_and_nonsense_choose_the_first() {
        assert_eq!(Zipf::new(0, 1.0).rank(0.5), 0);
        assert_eq!(Zipf::new(5, 1.0).rank(-1.0), 0);
        assert_eq!(Zipf::new(5, 1.0).rank(f64::NAN), 0);
    }
}
