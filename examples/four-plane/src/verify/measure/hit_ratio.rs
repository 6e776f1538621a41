//! A cache with this stack's times to live under this stack's load, in simulated time.
//!
//! Entries live for 300 s, in which a slow load does not ask twice for what is rare: the share of hits depends on the rate.

use std::{collections::HashMap, time::Duration};

use crate::{data, load::mix::Mix, services::catalog::POPULAR_TTL, state::cache::TTL};

/// What the share is taken over, as the control plane does.
const LOOKED_AT: f64 = 5.0;

/// Of the look-ups of the last five seconds, the share that finds an entry, after so many requests at `rate` of which the
/// first found nothing.
pub(super) fn simulated(rate: f64, requests: u64) -> f64 {
    let mut mix = Mix::new(data::cities(), 1);
    let mut until: HashMap<String, f64> = HashMap::new();
    let (mut now, mut hits, mut looked_up) = (0.0_f64, 0_u32, 0_u32);
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
    let from = requests as f64 / rate - LOOKED_AT;
    for _ in 0..requests {
        now += mix.gap(rate);
        let path = mix.next().path;
        let Some(time_to_live) = time_to_live(&path) else { continue };
        let hit = until.get(&path).is_some_and(|until| *until > now);
        if !hit {
            until.insert(path, now + time_to_live.as_secs_f64());
        }
        if now >= from {
            looked_up = looked_up.saturating_add(1);
            hits = hits.saturating_add(u32::from(hit));
        }
    }
    f64::from(hits) / f64::from(looked_up.max(1))
}

/// As the catalog puts it into its cache; recommendations are not its.
fn time_to_live(path: &str) -> Option<Duration> {
    match path {
        "/catalog/popular" => Some(POPULAR_TTL),
        path if path.starts_with("/catalog/") => Some(TTL),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_was_just_emptied_misses_and_a_faster_load_hits_more() {
        let (cold, warm) = (simulated(250.0, 1_250), simulated(250.0, 15_000));

        assert!(cold < 0.6 && (0.70..0.80).contains(&warm), "{cold} {warm}");
        assert!(simulated(2_500.0, 150_000) > warm + 0.1);
    }

    #[test]
    fn at_a_steady_rate_the_share_is_what_the_law_says() {
        // Of pages alone, ranks i with share 1/(10.6 i) and 300 s × 175/s: 84%; the list of what is popular is found more
        // often, searches less, as the same city is searched for by more or fewer letters.
        let steady = simulated(250.0, 250 * 700);

        assert!((0.77..0.87).contains(&steady), "{steady}");
    }
}
