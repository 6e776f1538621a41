//! What the rows must reach.

use std::fmt;

use crate::{measure::Measured, rows::Row};

/// What a row may not exceed without somebody looking: a little above what was measured when the line was written.
/// Counts repeat to within a few instructions, so going over is a regression, not noise.
const CEILINGS: &[(&str, f64)] = &[
    ("circuit-breaker/closed", 165.0),
    ("circuit-breaker/closed-count-window", 100.0),
    ("bulkhead/admit", 65.0),
    ("load-shedder/admit", 225.0),
    ("timeout/ready", 85.0),
    ("timeout/pending", 250.0),
    ("timeout/stack-pending", 515.0),
    ("retry/no-retry", 40.0),
    ("retry/budget", 130.0),
    ("stack/client", 720.0),
];

/// The bars of one row.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Bar {
    /// At most so many instructions per call, own clock reads included.
    pub instructions: Option<f64>,
    /// At least so many times faster than the peer of that name, on one thread.
    pub peers: &'static [(&'static str, f64)],
    /// The same on two threads.
    pub peers_two_threads: &'static [(&'static str, f64)],
}

const BARS: &[(&str, Bar)] = &[
    (
        "circuit-breaker/closed",
        Bar {
            instructions: Some(180.0),
            peers: &[("seatbelt breaker", 2.5), ("tower-resilience CircuitBreaker", 4.0)],
            peers_two_threads: &[],
        },
    ),
    (
        "bulkhead/admit",
        Bar { instructions: Some(55.0), peers: &[("tower ConcurrencyLimit", 1.0)], peers_two_threads: &[] },
    ),
    ("timeout/ready", Bar { instructions: None, peers: &[("tower Timeout", 3.0)], peers_two_threads: &[] }),
    ("timeout/stack-pending", Bar { instructions: None, peers: &[("tower Timeout", 2.0)], peers_two_threads: &[] }),
    ("retry/no-retry", Bar { instructions: Some(20.0), peers: &[], peers_two_threads: &[] }),
    (
        "load-shedder/admit",
        Bar {
            instructions: None,
            peers: &[("tower-resilience Adaptive AIMD", 2.0), ("little-loadshedder", 3.0)],
            peers_two_threads: &[],
        },
    ),
    (
        "stack/client",
        Bar {
            instructions: None,
            peers: &[("tower three", 0.75), ("tower-resilience TimeLimiter > Retry > CircuitBreaker > Bulkhead", 6.0)],
            peers_two_threads: &[],
        },
    ),
    (
        "stack/client-leaked",
        Bar { instructions: None, peers: &[("tower three", 0.95)], peers_two_threads: &[("tower three", 1.3)] },
    ),
];

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
    let sides =
        [(&measured.peers, bar.peers, ""), (&measured.peers_two_threads, bar.peers_two_threads, " on two threads")];
    for (ratios, bars, threads) in sides {
        for (peer, least) in bars {
            let ratio = ratios.iter().find(|(name, _)| name == peer).map_or(0.0, |(_, ratio)| *ratio);
            if ratio < *least {
                let text = format!("{}: {ratio:.2} × {peer}{threads}, bar {least}", row.name);
                missed.push(Missed { fatal: false, text });
            }
        }
    }
    missed
}
