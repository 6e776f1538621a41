//! What the rows must reach.

use std::fmt;

use crate::{measure::Measured, rows::Row};

/// What a row may not exceed without somebody looking: a little above what was measured when the line was written.
/// Counts repeat to within a few instructions, so going over is a regression, not noise.
const CEILINGS: &[(&str, f64)] = &[
    ("circuit-breaker/closed", 135.0),
    ("circuit-breaker/closed-count-window", 65.0),
    ("bulkhead/admit", 45.0),
    ("load-shedder/admit", 80.0),
    ("load-shedder/admit-timed", 165.0),
    ("load-shedder/reject", 94.0),
    ("circuit-breaker/open", 110.0),
    ("circuit-breaker/forced-open", 36.0),
    ("backoff/delay", 125.0),
    ("timeout/ready", 64.0),
    ("timeout/ready-in-scope", 63.0),
    ("timeout/pending", 179.0),
    ("timeout/stack-pending", 375.0),
    ("rate-limiter/direct", 49.0),
    ("rate-limiter/keyed-10k", 175.0),
    ("queueing/limiter-depth-10", 1_750.0),
    // In instructions apart by less than three tenths; in time by more.
    ("queueing/keys-depth-10", 7_750.0),
    ("queueing/keys-depth-10000", 9_500.0),
    ("retry/no-retry", 18.0),
    ("retry/budget", 70.0),
    ("stack/client", 660.0),
    ("stack/timeout-retry-breaker", 410.0),
    // Which events there are follows the course of the limit: a quarter above what was measured.
    ("simulation/event", 3_000.0),
];

/// The bars of one row.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Bar {
    /// At most so many instructions per call, own clock reads included: one takes 27.
    pub instructions: Option<f64>,
    /// At least so many times faster than the peer of that name, on one thread.
    pub peers: &'static [(&'static str, f64)],
    /// The same on two threads.
    pub peers_two_threads: &'static [(&'static str, f64)],
    /// At least so much throughput on two threads over that of one, or such a part of what a peer gains in the same
    /// rounds: the second core may be busy with something else.
    pub two_threads_over_one: Option<(f64, (&'static str, f64))>,
}

const NONE: Bar = Bar { instructions: None, peers: &[], peers_two_threads: &[], two_threads_over_one: None };

const BARS: &[(&str, Bar)] = &[
    (
        "circuit-breaker/closed",
        Bar {
            instructions: Some(137.0),
            peers: &[
                ("seatbelt breaker", 4.0),
                ("seatbelt breaker, own trait", 3.0),
                ("tower-resilience CircuitBreaker", 4.0),
            ],
            ..NONE
        },
    ),
    ("circuit-breaker/closed-leaked", Bar { two_threads_over_one: Some((1.6, ("striped counter", 0.8))), ..NONE }),
    ("bulkhead/admit", Bar { instructions: Some(45.0), peers: &[("tower ConcurrencyLimit", 1.3)], ..NONE }),
    ("bulkhead/admit-leaked", Bar { peers: &[("tower ConcurrencyLimit", 1.6)], ..NONE }),
    // Its reading of the clock alone is more than a quarter of what tower's takes.
    ("timeout/ready", Bar { peers: &[("tower Timeout", 3.0)], ..NONE }),
    ("timeout/ready-in-scope", Bar { peers: &[("tower Timeout", 4.0)], ..NONE }),
    ("timeout/stack-pending", Bar { peers: &[("tower Timeout", 2.0)], ..NONE }),
    ("backoff/delay", Bar { peers: &[("backon", 3.0)], ..NONE }),
    ("retry/no-retry", Bar { instructions: Some(20.0), ..NONE }),
    ("retry/budget", Bar { peers: &[("tower Retry + TpsBudget", 4.0)], ..NONE }),
    (
        "load-shedder/admit",
        Bar { peers: &[("tower-resilience Adaptive AIMD", 3.0), ("little-loadshedder", 4.0)], ..NONE },
    ),
    (
        "load-shedder/admit-timed",
        Bar { peers: &[("tower-resilience Adaptive AIMD", 3.0), ("little-loadshedder", 4.0)], ..NONE },
    ),
    // Both keep the time of one clock.
    ("rate-limiter/direct", Bar { peers: &[("governor", 1.0)], ..NONE }),
    ("rate-limiter/keyed-10k", Bar { peers: &[("governor", 1.3)], peers_two_threads: &[("governor", 2.0)], ..NONE }),
    (
        "stack/client",
        Bar {
            peers: &[("tower three", 0.75), ("tower-resilience TimeLimiter > Retry > CircuitBreaker > Bulkhead", 6.0)],
            ..NONE
        },
    ),
    (
        "stack/client-leaked",
        Bar { peers: &[("tower three", 0.95)], peers_two_threads: &[("tower three", 1.3)], ..NONE },
    ),
    (
        "stack/timeout-retry-breaker",
        Bar {
            peers: &[
                ("seatbelt Timeout > Retry > Breaker", 5.0),
                ("seatbelt Timeout > Retry > Breaker, own trait", 3.0),
            ],
            ..NONE
        },
    ),
];

/// Rows that may cost at most so many times what another costs: a queue's step, however many wait; a closed circuit, however
/// many calls are in its window and some of them bad.
const FLAT: &[(&str, &str, f64)] = &[
    ("circuit-breaker/closed-with-failures", "circuit-breaker/closed", 1.5),
    ("circuit-breaker/closed-1m-in-window", "circuit-breaker/closed", 1.5),
    // The refusal with the call that it refuses, the admission without.
    ("load-shedder/reject", "load-shedder/admit-timed", 0.6),
    ("queueing/depth-10000", "queueing/depth-10", 1.3),
    ("queueing/shedder-depth-10000", "queueing/shedder-depth-10", 1.3),
    ("queueing/limiter-depth-10000", "queueing/limiter-depth-10", 1.3),
];

/// Rows that may take as long as others together: an open circuit's refusal as long as the call and one look at the clock, a
/// shedder's as long as an admission by one that is at rest.
const WITHIN: &[(&str, &[&str])] =
    &[("circuit-breaker/open", &["floor/bare-call", "floor/clock"]), ("load-shedder/reject", &["load-shedder/admit"])];

/// The figures of one row.
pub type Figures = (&'static str, Measured, Option<f64>);

/// What rows missed that are held against each other, where both were measured.
pub fn apart(figures: &[Figures]) -> Vec<Missed> {
    let find = |name| figures.iter().find(|(row, ..)| *row == name);
    let mut missed = Vec::new();
    for (dear, cheap, most) in FLAT {
        let (Some((_, deep, counted_deep)), Some((_, flat, counted_flat))) = (find(*dear), find(*cheap)) else {
            continue;
        };
        let times = deep.ns_median / flat.ns_median.max(f64::MIN_POSITIVE);
        if times > *most {
            missed
                .push(Missed { fatal: false, text: format!("{dear}: {times:.2} × the time of {cheap}, bar {most}") });
        }
        if let (Some(deep), Some(flat)) = (counted_deep, counted_flat)
            && *deep > flat * most
        {
            let text = format!("{dear}: {deep:.0} instructions, {cheap} {flat:.0}, bar {most} times as many");
            missed.push(Missed { fatal: true, text });
        }
    }
    for (row, names) in WITHIN {
        let parts: Option<Vec<f64>> = names.iter().map(|part| find(*part).map(|(_, part, _)| part.ns_median)).collect();
        let Some(((_, ours, _), parts)) = find(*row).zip(parts) else { continue };
        let most: f64 = parts.iter().sum();
        if ours.ns_median > most {
            let text = format!("{row}: {:.1} ns, bar {most:.1}, which {} takes", ours.ns_median, names.join(" + "));
            missed.push(Missed { fatal: false, text });
        }
    }
    missed
}

/// A row that did not reach its bar.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Missed {
    /// Whether it fails a check: it is a regression in a figure that repeats.
    pub fatal: bool,
    text: String,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What `row` missed.
pub fn missed(row: &Row, measured: &Measured, instructions: Option<f64>) -> Vec<Missed> {
    let mut missed = Vec::new();
    if !row.may_allocate && measured.allocs > 0.0 {
        missed.push(Missed {
            fatal: true,
            text: format!("{}: {} allocations per call, bar 0", row.name, measured.allocs),
        });
    }
    let ceiling = CEILINGS.iter().find(|(name, _)| *name == row.name).map(|(_, most)| *most);
    if let (Some(count), Some(most)) = (instructions, ceiling)
        && count > most
    {
        let text = format!("{}: {count:.0} instructions, which is more than it was: {most}", row.name);
        missed.push(Missed { fatal: true, text });
    }
    let Some((_, bar)) = BARS.iter().find(|(name, _)| *name == row.name) else { return missed };
    if let (Some(count), Some(most)) = (instructions, bar.instructions)
        && count > most
    {
        missed.push(Missed { fatal: false, text: format!("{}: {count:.0} instructions, bar {most}", row.name) });
    }
    if let Some((least, (peer, part))) = bar.two_threads_over_one {
        let (reached, beside) = (measured.two_threads_over_one, of(&measured.peers_scaling, peer));
        if reached < least && beside < part {
            let text = format!(
                "{}: {reached:.2} of one thread on two, bar {least}; {beside:.2} of what a {peer} gains, bar {part}",
                row.name
            );
            missed.push(Missed { fatal: false, text });
        }
    }
    let sides =
        [(&measured.peers, bar.peers, ""), (&measured.peers_two_threads, bar.peers_two_threads, " on two threads")];
    for (ratios, bars, threads) in sides {
        for (peer, least) in bars {
            let ratio = of(ratios, peer);
            if ratio < *least {
                let text = format!("{}: {ratio:.2} × {peer}{threads}, bar {least}", row.name);
                missed.push(Missed { fatal: false, text });
            }
        }
    }
    missed
}

/// The ratio to `peer`; 0 where it was not measured.
fn of(ratios: &[(&str, f64)], peer: &str) -> f64 {
    ratios.iter().find(|(name, _)| *name == peer).map_or(0.0, |(_, ratio)| *ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(name: &'static str, ns_median: f64, instructions: f64) -> Figures {
        let measured = Measured {
            ns_min: 0.0,
            ns_median,
            two_threads_over_one: 1.0,
            peers: Vec::new(),
            peers_two_threads: Vec::new(),
            peers_scaling: Vec::new(),
            allocs: 0.0,
        };
        (name, measured, Some(instructions))
    }

    #[test]
    fn a_refusal_may_take_as_long_as_a_call_and_a_clock_reading_together() {
        let missed = |ns| {
            let bare = figures("floor/bare-call", 2.0, 4.0);
            apart(&[bare, figures("floor/clock", 12.0, 27.0), figures("circuit-breaker/open", ns, 120.0)]).len()
        };

        assert_eq!((missed(14.0), missed(14.1)), (0, 1));
        assert_eq!(apart(&[figures("circuit-breaker/open", 100.0, 120.0)]).len(), 0, "nothing to compare it with");
    }

    #[test]
    fn a_shedders_refusal_may_take_as_long_as_an_admission_and_three_fifths_of_the_instructions_of_a_timed_one() {
        let missed = |ns, instructions| {
            let admit = figures("load-shedder/admit", 9.0, 70.0);
            let timed = figures("load-shedder/admit-timed", 20.0, 160.0);
            apart(&[admit, timed, figures("load-shedder/reject", ns, instructions)]).len()
        };

        assert_eq!((missed(9.0, 96.0), missed(9.1, 96.0), missed(9.0, 97.0)), (0, 1, 1));
    }

    #[test]
    fn a_long_queue_may_cost_three_tenths_more_than_a_short_one() {
        let missed = |ns, instructions| -> Vec<bool> {
            let rows = [figures("queueing/depth-10", 100.0, 100.0), figures("queueing/depth-10000", ns, instructions)];
            apart(&rows).iter().map(|missed| missed.fatal).collect()
        };

        assert_eq!(missed(130.0, 130.0), [false; 0]);
        assert_eq!(missed(131.0, 100.0), [false], "time is noise until somebody looks");
        assert_eq!(missed(100.0, 131.0), [true], "counts repeat");
    }
}
