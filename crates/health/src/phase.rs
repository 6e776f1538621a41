use seawall_core::sync::atomic::{
    AtomicU8,
    Ordering::{AcqRel, Acquire},
};

/// Where a process is in its life. It never goes back.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a life has these four parts")]
pub enum Phase {
    /// Not every startup check has passed yet: alive, not ready.
    Starting,
    /// Open for work.
    Ready,
    /// It finishes what it has: alive, not ready, still serving.
    Draining,
    /// It serves nothing any more.
    Stopped,
}

impl Phase {
    /// The name as it stands in answers: `draining`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }

    const fn from_word(word: u8) -> Self {
        match word {
            0 => Self::Starting,
            1 => Self::Ready,
            2 => Self::Draining,
            _ => Self::Stopped,
        }
    }
}

/// The phase of one process, moved forward by whoever comes first.
#[derive(Debug)]
pub(crate) struct Life(AtomicU8);

impl Life {
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(Phase::Starting as u8))
    }

    pub(crate) fn phase(&self) -> Phase {
        // Acquire pairs with the release in `advance`: who sees a phase sees what was done before it was entered.
        Phase::from_word(self.0.load(Acquire))
    }

    /// Moves on to `phase`, unless it is there or beyond; whether it moved.
    pub(crate) fn advance(&self, phase: Phase) -> bool {
        // Release pairs with the acquire in `phase`; acquire, so that what follows here comes after the earlier phase.
        Phase::from_word(self.0.fetch_max(phase as u8, AcqRel)) < phase
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_life_goes_forward_only_and_each_step_is_taken_once() {
        let life = Life::new();

        assert!(life.advance(Phase::Draining));
        assert!(!life.advance(Phase::Draining));
        assert!(!life.advance(Phase::Ready));
        assert_eq!(life.phase(), Phase::Draining);
        assert!(life.advance(Phase::Stopped));
        assert_eq!(life.phase(), Phase::Stopped);
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    #[test]
    fn of_two_who_drain_one_begins_it_and_a_late_ready_does_not_undo_it() {
        loom::model(|| {
            let life = Arc::new(Life::new());
            let threads: Vec<_> = [Phase::Draining, Phase::Ready]
                .into_iter()
                .map(|phase| {
                    let life = Arc::clone(&life);
                    thread::spawn(move || life.advance(phase))
                })
                .collect();

            let began = life.advance(Phase::Draining);
            let others: Vec<bool> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();

            assert_eq!(life.phase(), Phase::Draining);
            assert!(began ^ others[0]);
        });
    }
}
