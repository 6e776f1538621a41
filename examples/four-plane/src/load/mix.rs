//! Which requests are sent.

use std::fmt::Write as _;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use seawall_core::Criticality;

use super::zipf::Zipf;
use crate::data::City;
use crate::services::criticality;

/// Popularity of cities and activity of travellers.
const EXPONENT: f64 = 1.0;
/// How many travellers there are.
const TRAVELLERS: usize = 1_000;
/// Shares of the requests, cumulative: pages, searches, popular; the rest are recommendations.
const PAGES: f64 = 0.70;
const SEARCHES: f64 = 0.80;
const POPULAR: f64 = 0.90;
/// Letters of a name that a searcher types.
const LETTERS: std::ops::RangeInclusive<usize> = 3..=5;

/// What requests are worth that say it, in cumulative shares.
const CRITICALITIES: [(f64, Criticality); 4] = [
    (0.1, Criticality::Critical),
    (0.5, Criticality::Default),
    (0.7, Criticality::Degraded),
    (1.0, Criticality::Sheddable),
];

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) path: String,
    /// Who looks.
    pub(crate) traveller: String,
    /// What it says that it is worth, if anything.
    pub(crate) criticality: Option<&'static str>,
}

/// An endless sequence of requests, the same for the same seed.
#[derive(Debug)]
pub(crate) struct Mix {
    cities: &'static [City],
    popularity: Zipf,
    activity: Zipf,
    random: SmallRng,
    /// Apart, so that what is asked for is the same with and without it.
    criticalities: Option<SmallRng>,
}

impl Mix {
    pub(crate) fn new(cities: &'static [City], seed: u64) -> Self {
        Self {
            cities,
            popularity: Zipf::new(cities.len(), EXPONENT),
            activity: Zipf::new(TRAVELLERS, EXPONENT),
            random: SmallRng::seed_from_u64(seed),
            criticalities: None,
        }
    }

    /// Says of each request what it is worth.
    pub(crate) fn with_criticalities(mut self, given: bool) -> Self {
        self.criticalities = given.then(|| SmallRng::seed_from_u64(self.random.clone().random()));
        self
    }

    /// Seconds until the next request at a rate: a Poisson process, as independent users make one.
    pub(crate) fn gap(&mut self, rate: f64) -> f64 {
        let uniform: f64 = self.random.random();
        -(1.0 - uniform).ln() / rate
    }

    pub(crate) fn next(&mut self) -> Call {
        let traveller = format!("u{}", self.activity.rank(self.random.random()).saturating_add(1));
        let kind: f64 = self.random.random();
        let city = self.cities.get(self.popularity.rank(self.random.random()));
        let path = match city {
            Some(city) if kind < PAGES => format!("/catalog/items/{}", city.id),
            Some(city) if kind < SEARCHES => {
                let letters = self.random.random_range(LETTERS);
                format!("/catalog/search?q={}&limit=10", escaped(city.name.chars().take(letters)))
            }
            _ if kind < POPULAR => "/catalog/popular".to_owned(),
            _ => format!("/recommendations/{traveller}"),
        };
        let criticality = self.criticalities.as_mut().map(|random| {
            let share: f64 = random.random();
            let worth = CRITICALITIES.iter().find(|(up_to, _)| share < *up_to).map(|(_, worth)| *worth);
            criticality::name(worth.unwrap_or_default())
        });
        Call { path, traveller, criticality }
    }
}

/// Percent-encodes everything but letters and digits of ASCII.
fn escaped(letters: impl Iterator<Item = char>) -> String {
    let mut text = String::new();
    for letter in letters {
        if letter.is_ascii_alphanumeric() {
            text.push(letter);
        } else {
            for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
                // Writing into a string cannot fail.
                let _infallible = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::cities;

    #[test]
    fn the_same_seed_sends_the_same_requests() {
        let calls = |seed| {
            let mut mix = Mix::new(cities(), seed);
            (0..100).map(|_| mix.next()).collect::<Vec<_>>()
        };

        assert_eq!(calls(7), calls(7));
        assert_ne!(calls(7), calls(8));
    }

    #[test]
    fn every_kind_of_request_is_sent_in_its_share() {
        let mut mix = Mix::new(cities(), 1);
        let calls: Vec<_> = (0..10_000).map(|_| mix.next().path).collect();

        let share = |start: &str| calls.iter().filter(|path| path.starts_with(start)).count();

        assert!((6_800..7_200).contains(&share("/catalog/items/")), "{}", share("/catalog/items/"));
        for start in ["/catalog/search?q=", "/catalog/popular", "/recommendations/u"] {
            assert!((900..1_100).contains(&share(start)), "{start}: {}", share(start));
        }
        let most_popular = format!("/catalog/items/{}", cities()[0].id);
        assert!((500..800).contains(&share(&most_popular)), "{}", share(&most_popular));
    }

    #[test]
    fn what_requests_say_that_they_are_worth_changes_nothing_else() {
        let calls = |given| {
            let mut mix = Mix::new(cities(), 7).with_criticalities(given);
            (0..10_000).map(|_| mix.next()).collect::<Vec<_>>()
        };
        let (silent, spoken) = (calls(false), calls(true));

        assert!(silent.iter().zip(&spoken).all(|(a, b)| a.path == b.path && a.criticality.is_none()));
        let share = |worth| spoken.iter().filter(|call| call.criticality == Some(worth)).count();
        let shares = ["critical", "default", "degraded", "sheddable"].map(share);
        for (share, expected) in shares.into_iter().zip([1_000, 4_000, 2_000, 3_000_usize]) {
            assert!(share.abs_diff(expected) < 250, "{shares:?}");
        }
    }

    #[test]
    fn gaps_average_to_the_rate() {
        let mut mix = Mix::new(cities(), 1);

        let sum: f64 = (0..10_000).map(|_| mix.gap(200.0)).sum();

        assert!((48.0..52.0).contains(&sum), "{sum}");
    }

    #[test]
    fn what_is_not_plain_is_percent_encoded() {
        assert_eq!(escaped("São a&b".chars()), "S%C3%A3o%20a%26b");
    }
}
