use seawall_core::{
    Criticality,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

/// What is done while there is too much to do, each step beside those before it: first what callers hardly notice, last what
/// leaves most of them without an answer.
///
/// [`Marks`](crate::Marks) say from which level of a signal on each is taken. What a step does is up to who asks for it:
/// [`LoadShedder::shed_below`](crate::LoadShedder::shed_below) takes its [floor](Self::floor), the others are a question to a
/// [`Ladder`].
///
/// ```
/// use seawall_core::Criticality;
/// use seawall_load_shedder::Step;
///
/// assert!(Step::ShortenTimeouts > Step::StopRetries);
/// assert_eq!(Step::ShortenTimeouts.floor(), Criticality::Default);
/// ```
///
/// # Source
/// Envoy's overload manager, whose actions are as many.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Nothing is done.
    #[default]
    Nothing,
    /// Sheddable calls are refused: at the first mark.
    RefuseSheddable,
    /// No retries and no hedges are sent: half-way to the second mark.
    StopRetries,
    /// Calls may take less time, and degraded ones are refused: at the second mark.
    ShortenTimeouts,
    /// Connections are closed with their next answer: half-way to the third mark.
    CloseConnections,
    /// All but critical calls are refused: at the third mark.
    OnlyCritical,
}

const STEPS: [Step; 6] = [
    Step::Nothing,
    Step::RefuseSheddable,
    Step::StopRetries,
    Step::ShortenTimeouts,
    Step::CloseConnections,
    Step::OnlyCritical,
];

impl Step {
    /// The last step, if so many are taken.
    pub(crate) fn of_number(taken: usize) -> Self {
        STEPS.get(taken).copied().unwrap_or(Self::OnlyCritical)
    }

    /// All calls below this criticality are refused.
    pub const fn floor(self) -> Criticality {
        match self {
            Self::Nothing => Criticality::Sheddable,
            Self::RefuseSheddable | Self::StopRetries => Criticality::Degraded,
            Self::ShortenTimeouts | Self::CloseConnections => Criticality::Default,
            Self::OnlyCritical => Criticality::Critical,
        }
    }
}

/// The step that is taken at present, for all who act on it: clones share it, and asking is one read of a word.
///
/// ```
/// use seawall_load_shedder::{Ladder, Step};
///
/// let ladder = Ladder::new();
/// let asks = ladder.clone();
/// ladder.climb_to(Step::ShortenTimeouts);
/// assert!(asks.takes(Step::StopRetries) && !asks.takes(Step::CloseConnections));
/// ```
#[derive(Clone, Debug)]
pub struct Ladder {
    /// Relaxed: the step guards no other memory.
    step: Arc<AtomicU8>,
}

impl Default for Ladder {
    fn default() -> Self {
        Self::new()
    }
}

impl Ladder {
    /// At its foot: [`Step::Nothing`].
    pub fn new() -> Self {
        Self { step: Arc::new(AtomicU8::new(Step::Nothing as u8)) }
    }

    /// Takes all steps up to this one and none above it.
    pub fn climb_to(&self, step: Step) {
        self.step.store(step as u8, Relaxed);
    }

    /// The last step that is taken.
    pub fn step(&self) -> Step {
        Step::of_number(self.step.load(Relaxed).into())
    }

    /// Whether this step is taken.
    #[inline]
    pub fn takes(&self, step: Step) -> bool {
        self.step.load(Relaxed) >= step as u8
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_ladder_takes_each_step_up_to_the_one_climbed_to_and_none_above() {
        let ladder = Ladder::new();
        for (number, step) in STEPS.into_iter().enumerate() {
            ladder.clone().climb_to(step);

            assert_eq!(ladder.step(), step);
            assert_eq!(STEPS.map(|step| ladder.takes(step)), [0, 1, 2, 3, 4, 5].map(|lower| lower <= number));
        }
    }

    #[test]
    fn each_step_refuses_as_much_as_the_one_below_it_at_least() {
        use Criticality::{Critical, Default as Usual, Degraded, Sheddable};

        assert_eq!(STEPS.map(Step::floor), [Sheddable, Degraded, Degraded, Usual, Usual, Critical]);
    }
}
