//! What rounds of the same work take of this process: processor time and memory, compared at equal goodput.

use std::{fmt, fs, time::Duration};

use anyhow::Context as _;

use super::quantile::quantile;

/// What one round took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    processor: Duration,
    resident_pages: u64,
    answered: usize,
}

/// What all rounds took, without something and with it.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    pub(super) without: Vec<Round>,
    pub(super) with: Vec<Round>,
}

/// What the rounds with it took more, as parts of those without; medians.
#[derive(Debug, Clone, Copy)]
pub(super) struct Growth {
    pub(super) processor: f64,
    pub(super) memory: f64,
    pub(super) answered: usize,
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "processor time {:+.1}%, memory {:+.1}%", self.processor * 100.0, self.memory * 100.0)
    }
}

/// A round that has begun.
#[derive(Debug)]
pub(super) struct Begun(Duration);

/// Begins a round.
pub(super) fn begin() -> anyhow::Result<Begun> {
    Ok(Begun(processor_time()?))
}

impl Begun {
    /// The round is over; so much was answered in it.
    pub(super) fn end(self, answered: usize) -> anyhow::Result<Round> {
        let processor = processor_time()?.saturating_sub(self.0);
        Ok(Round { processor, resident_pages: resident_pages()?, answered })
    }
}

impl Rounds {
    /// Why there is no figure: not the same was answered, or nothing.
    pub(super) fn growth(&self, what: &str) -> Result<Growth, String> {
        let answered = |rounds: &[Round]| rounds.iter().map(|round| round.answered).sum::<usize>();
        let (without, with) = (answered(&self.without), answered(&self.with));
        if without == 0 || without != with {
            return Err(format!("{with} requests answered with {what}, {without} without"));
        }
        let median = |rounds: &[Round], of: fn(&Round) -> Duration| quantile(rounds.iter().map(of), 0.5);
        let more = |of: fn(&Round) -> Duration| {
            let (without, with) = (median(&self.without, of)?, median(&self.with, of)?);
            Some(with.as_secs_f64() / without.as_secs_f64().max(f64::MIN_POSITIVE) - 1.0)
        };
        let processor = more(|round| round.processor).ok_or("no round was made")?;
        let memory = more(|round| Duration::from_nanos(round.resident_pages)).ok_or("no round was made")?;
        Ok(Growth { processor, memory, answered: without })
    }
}

/// Time that the threads of this process have been on a processor: those that ended in between are left out, and in a
/// runtime none does.
fn processor_time() -> anyhow::Result<Duration> {
    let mut nanos = 0_u64;
    for thread in fs::read_dir("/proc/self/task")? {
        // A thread may end while it is looked at.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        nanos = nanos.saturating_add(first_number(&text, 0).context("schedstat has no time")?);
    }
    anyhow::ensure!(nanos > 0, "the kernel keeps no time of threads");
    Ok(Duration::from_nanos(nanos))
}

fn resident_pages() -> anyhow::Result<u64> {
    first_number(&fs::read_to_string("/proc/self/statm")?, 1).context("statm has no resident pages")
}

fn first_number(text: &str, index: usize) -> Option<u64> {
    text.split_whitespace().nth(index)?.parse().ok()
}

#[cfg(test)]
impl Rounds {
    /// Three rounds each: milliseconds, pages and answers, without and with.
    pub(super) fn scripted(without: (u64, u64, usize), with: (u64, u64, usize)) -> Self {
        let rounds = |(processor, resident_pages, answered)| {
            vec![Round { processor: Duration::from_millis(processor), resident_pages, answered }; 3]
        };
        Self { without: rounds(without), with: rounds(with) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_compared_at_equal_goodput_only() {
        let growth = |without, with| Rounds::scripted((100, 1_000, without), (119, 1_190, with)).growth("it");

        assert_eq!(growth(9, 8).unwrap_err(), "24 requests answered with it, 27 without");
        assert_eq!(growth(9, 9).unwrap().to_string(), "processor time +19.0%, memory +19.0%");
        assert_eq!(growth(9, 9).unwrap().answered, 27);
        assert!(growth(0, 0).is_err());
    }

    #[test]
    fn this_process_has_used_processor_time_and_memory() {
        assert!(processor_time().unwrap() > Duration::ZERO);
        assert!(resident_pages().unwrap() > 0);
    }
}
