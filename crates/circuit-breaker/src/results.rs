use seawall_core::Timestamp;

use crate::{
    builder::BreakerConfigBuilder, config::Window, count_window::CountWindow, figures::Figures, mark::Mark,
    time_window::TimeWindow, word::Tag,
};

/// The window over which ratios are taken, of either kind.
#[derive(Debug)]
pub(crate) enum Results {
    Time(TimeWindow),
    Calls(CountWindow),
}

impl Results {
    pub(crate) fn new(config: &BreakerConfigBuilder) -> Self {
        match config.window {
            Window::Calls(calls) => Self::Calls(CountWindow::new(calls)),
            Window::Time(length) => {
                let seconds = u32::try_from(length.as_secs()).unwrap_or(u32::MAX);
                Self::Time(TimeWindow::new(seconds, config.stripes))
            }
        }
    }

    /// Whether one more success would change nothing.
    #[inline]
    pub(crate) fn is_full_of_good(&self) -> bool {
        match self {
            Self::Time(_) => false,
            Self::Calls(window) => window.is_full_of_good(),
        }
    }

    /// From how many results on a ratio counts: no window waits for more than it holds.
    #[inline]
    pub(crate) fn minimum(&self, min_calls: u64) -> u64 {
        match self {
            Self::Time(_) => min_calls,
            Self::Calls(window) => min_calls.min(window.calls().into()),
        }
    }

    /// Counts a result of the generation of `tag`, unless `is_current` says that it has passed. Returns what the window
    /// holds where that could open the circuit.
    pub(crate) fn record(
        &self,
        tag: Tag,
        mark: Mark,
        at: Timestamp,
        minimum: u64,
        is_current: impl Fn() -> bool,
    ) -> Option<Figures> {
        match self {
            Self::Time(window) if mark == Mark::Good => {
                let due = window.record_good(tag.generation(), at);
                due.then(|| window.check(tag.generation(), at, minimum))
            }
            Self::Time(window) => Some(window.record_bad(tag.generation(), mark, at, minimum)),
            Self::Calls(window) if mark == Mark::Good && window.is_full_of_good() => None,
            Self::Calls(window) => window.record(mark, is_current),
        }
    }

    /// The sums of a time window, after a success that says it is time to look at them.
    pub(crate) fn check(&self, tag: Tag, at: Timestamp, minimum: u64) -> Option<Figures> {
        match self {
            Self::Time(window) => Some(window.check(tag.generation(), at, minimum)),
            Self::Calls(_) => None,
        }
    }

    /// What the window of the generation of `tag` holds.
    pub(crate) fn figures(&self, tag: Tag, at: Timestamp) -> Figures {
        match self {
            Self::Time(window) => window.figures(tag.generation(), at),
            Self::Calls(window) => window.figures(),
        }
    }

    /// Empties the window for the next generation. A time window does that by itself.
    pub(crate) fn restart(&self) {
        match self {
            Self::Time(_) => {}
            Self::Calls(window) => window.restart(),
        }
    }
}
