use std::{fmt, time::Duration};

use seawall_core::Criticality;

use crate::{LoadShedderError, Step};

/// Three rising marks of a level, with hysteresis: above the first the sheddable are refused, above the second the
/// degraded too, above the third all but the critical. Half-way between two of them is another [`Step`]. A mark that was passed
/// counts until the level has sunk below it by a tenth of it, so that a level that trembles at a mark does not switch to and fro.
///
/// ```
/// use seawall_core::Criticality;
/// use seawall_load_shedder::{Marks, Step};
///
/// let mut marks = Marks::new([0.85, 0.92, 0.97])?;
/// assert_eq!(marks.judge(0.90), Criticality::Degraded);
/// assert_eq!(marks.step(), Step::StopRetries, "above 0.885");
/// assert_eq!(marks.judge(0.80), Criticality::Degraded, "not yet a tenth below");
/// assert_eq!(marks.judge(0.75), Criticality::Sheddable);
/// # Ok::<(), seawall_load_shedder::LoadShedderError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "[f64; 3]", into = "[f64; 3]"))]
pub struct Marks {
    marks: [f64; 3],
    step: Step,
}

/// A mark is left behind when the level is below this part of it.
const LEFT: f64 = 0.9;

impl Marks {
    /// Three marks above zero, none below the one before.
    ///
    /// # Errors
    /// [`LoadShedderError::Marks`] otherwise.
    pub fn new(marks: [f64; 3]) -> Result<Self, LoadShedderError> {
        let [first, second, third] = marks;
        if first > 0.0 && second >= first && third >= second && third.is_finite() {
            Ok(Self::of_constants(marks))
        } else {
            Err(LoadShedderError::Marks { first, second, third })
        }
    }

    const fn of_constants(marks: [f64; 3]) -> Self {
        Self { marks, step: Step::Nothing }
    }

    /// Takes in a level; all below the criticality returned is to be shed. What is no number changes nothing.
    pub fn judge(&mut self, level: f64) -> Criticality {
        if !level.is_nan() {
            self.step = self.step.min(self.step_above(LEFT, level)).max(self.step_above(1.0, level));
        }
        self.step.floor()
    }

    /// What the last level said is to be done.
    pub const fn step(&self) -> Step {
        self.step
    }

    /// The last step whose mark, times `factor`, `level` has reached.
    fn step_above(&self, factor: f64, level: f64) -> Step {
        let [first, second, third] = self.marks;
        let marks = [first, first.midpoint(second), second, second.midpoint(third), third];
        Step::of_number(marks.iter().take_while(|mark| level >= factor * **mark).count())
    }
}

#[cfg(feature = "serde")]
impl From<Marks> for [f64; 3] {
    fn from(marks: Marks) -> Self {
        marks.marks
    }
}

#[cfg(feature = "serde")]
impl TryFrom<[f64; 3]> for Marks {
    type Error = LoadShedderError;

    fn try_from(marks: [f64; 3]) -> Result<Self, LoadShedderError> {
        Self::new(marks)
    }
}

/// What a process feels at one moment; what is not known is left out.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Feeling {
    /// How late the event loop wakes its sleepers.
    pub loop_delay: Option<Duration>,
    /// The used part of the processor time that the control group may use.
    pub cpu: Option<f64>,
    /// The used part of the memory that the control group may use.
    pub memory: Option<f64>,
    /// The part of the time in which somebody stalled for want of memory or processors: PSI, `some avg10`.
    pub stalled: Option<f64>,
}

impl Feeling {
    /// With how late the event loop wakes its sleepers.
    #[must_use]
    pub const fn with_loop_delay(mut self, delay: Duration) -> Self {
        self.loop_delay = Some(delay);
        self
    }

    /// With the used part of the processor time.
    #[must_use]
    pub const fn with_cpu(mut self, part: f64) -> Self {
        self.cpu = Some(part);
        self
    }

    /// With the used part of the memory.
    #[must_use]
    pub const fn with_memory(mut self, part: f64) -> Self {
        self.memory = Some(part);
        self
    }

    /// With the part of the time in which somebody stalled.
    #[must_use]
    pub const fn with_stalled(mut self, part: f64) -> Self {
        self.stalled = Some(part);
        self
    }
}

/// What is to be shed, and done otherwise, for what the process feels, whatever its latencies say: each signal has marks of its
/// own or none, and the strictest decides.
///
/// A limit that follows latencies keeps a server fast; it does not keep it from running out of memory, and it does not
/// see work that is done beside the calls. By default only memory and the event loop's delay are looked at: a server
/// that is busy with useful work uses all of its processors, and a limit keeps that from harming anybody.
///
/// ```
/// use seawall_core::Criticality;
/// use seawall_load_shedder::{Feeling, LoadShedder, LoadShedderConfig, Pressure};
///
/// let shedder = LoadShedder::new(LoadShedderConfig::default());
/// let mut pressure = Pressure::default();
/// shedder.shed_below(pressure.judge(&Feeling::default().with_memory(0.93)));
/// assert_eq!(pressure.floor(), Criticality::Default);
/// ```
#[derive(Debug)]
pub struct Pressure {
    loop_delay: Option<Marks>,
    cpu: Option<Marks>,
    memory: Option<Marks>,
    stalled: Option<Marks>,
    own: Vec<Own>,
    step: Step,
}

/// A signal of a user's own.
struct Own {
    marks: Marks,
    level: Box<dyn FnMut() -> f64 + Send>,
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").field("marks", &self.marks).finish_non_exhaustive()
    }
}

impl Default for Pressure {
    /// Event loop: 50 ms, 200 ms, 1 s late. Memory: 85, 92, 97% used. Processors and stalls: not looked at.
    fn default() -> Self {
        Self {
            loop_delay: Some(Marks::of_constants([0.05, 0.2, 1.0])),
            memory: Some(Marks::of_constants([0.85, 0.92, 0.97])),
            ..Self::none()
        }
    }
}

impl Pressure {
    /// Looks at nothing.
    pub const fn none() -> Self {
        Self { loop_delay: None, cpu: None, memory: None, stalled: None, own: Vec::new(), step: Step::Nothing }
    }

    /// Marks for the delay of the event loop, in seconds; `None` to ignore it.
    #[must_use]
    pub const fn with_loop_delay(mut self, marks: Option<Marks>) -> Self {
        self.loop_delay = marks;
        self
    }

    /// Marks for the processor time used, as a part of what may be used; `None` to ignore it.
    #[must_use]
    pub const fn with_cpu(mut self, marks: Option<Marks>) -> Self {
        self.cpu = marks;
        self
    }

    /// Marks for the memory used, as a part of what may be used; `None` to ignore it.
    #[must_use]
    pub const fn with_memory(mut self, marks: Option<Marks>) -> Self {
        self.memory = marks;
        self
    }

    /// Marks for the time stalled, as a part of all time; `None` to ignore it.
    #[must_use]
    pub const fn with_stalled(mut self, marks: Option<Marks>) -> Self {
        self.stalled = marks;
        self
    }

    /// Adds a signal of one's own: how full a connection pool is, a queue, the heap of an embedded engine. `level` is asked
    /// whenever the pressure is judged, every 50 ms while it [watches](Self::watch), and must not block. Any scale does, as the
    /// marks are on it; what is no number is not known, and what is below zero is nothing.
    ///
    /// ```
    /// use seawall_load_shedder::{Feeling, Marks, Pressure, Step};
    /// use std::sync::{Arc, atomic::{AtomicU32, Ordering::Relaxed}};
    ///
    /// let queued = Arc::new(AtomicU32::new(0));
    /// let asked = Arc::clone(&queued);
    /// let marks = Marks::new([100.0, 200.0, 400.0])?;
    /// let mut pressure = Pressure::default().with_signal(marks, move || asked.load(Relaxed).into());
    ///
    /// queued.store(150, Relaxed);
    /// pressure.judge(&Feeling::default());
    /// assert_eq!(pressure.step(), Step::StopRetries);
    /// # Ok::<(), seawall_load_shedder::LoadShedderError>(())
    /// ```
    #[must_use]
    pub fn with_signal(mut self, marks: Marks, level: impl FnMut() -> f64 + Send + 'static) -> Self {
        self.own.push(Own { marks, level: Box::new(level) });
        self
    }

    /// Takes in what is felt, and asks the signals of one's own; all below the criticality returned is to be shed. A signal that
    /// is not known keeps its last say.
    pub fn judge(&mut self, feeling: &Feeling) -> Criticality {
        let levels = [
            (&mut self.loop_delay, feeling.loop_delay.map(|delay| delay.as_secs_f64())),
            (&mut self.cpu, feeling.cpu),
            (&mut self.memory, feeling.memory),
            (&mut self.stalled, feeling.stalled),
        ];
        let felt = levels.into_iter().filter_map(|(marks, level)| Some((marks.as_mut()?, level.unwrap_or(f64::NAN))));
        let own = self.own.iter_mut().map(|Own { marks, level }| (marks, level()));
        let steps = felt.chain(own).map(|(marks, level)| {
            marks.judge(level);
            marks.step()
        });
        self.step = steps.max().unwrap_or_default();
        self.floor()
    }

    /// What was decided last.
    pub const fn floor(&self) -> Criticality {
        self.step.floor()
    }

    /// What is to be done, as decided last.
    pub const fn step(&self) -> Step {
        self.step
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_signal_decides_and_one_that_is_not_known_keeps_its_say() {
        let mut pressure = Pressure::default();

        let floors = [
            pressure.judge(&Feeling::default().with_memory(0.98).with_loop_delay(Duration::from_millis(60))),
            pressure.judge(&Feeling::default().with_loop_delay(Duration::ZERO)),
            pressure.judge(&Feeling::default().with_memory(0.86)),
            pressure.judge(&Feeling::default().with_memory(0.1).with_cpu(1.0).with_stalled(1.0)),
        ];

        assert_eq!(
            floors,
            [Criticality::Critical, Criticality::Critical, Criticality::Default, Criticality::Sheddable],
            "97% is left below 87.3%, 92% below 82.8%; processors and stalls are not looked at"
        );
    }

    #[test]
    fn a_signal_of_ones_own_is_judged_beside_the_others_and_what_is_no_level_changes_nothing() {
        use Step::{Nothing, OnlyCritical, RefuseSheddable};
        let levels = [0.4, 0.5, f64::NAN, 0.46, 0.44, -1.0, f64::INFINITY, f64::NEG_INFINITY];
        let mut asked = levels.into_iter();
        let marks = Marks::new([0.5, 0.7, 0.9]).unwrap();
        let mut pressure = Pressure::none().with_signal(marks, move || asked.next().unwrap_or(f64::NAN));

        let steps = levels.map(|_| {
            pressure.judge(&Feeling::default());
            pressure.step()
        });

        let expected =
            [Nothing, RefuseSheddable, RefuseSheddable, RefuseSheddable, Nothing, Nothing, OnlyCritical, Nothing];
        assert_eq!(steps, expected);
    }

    #[test]
    fn of_signals_of_ones_own_and_what_is_felt_the_strictest_decides() {
        let marks = Marks::new([0.5, 0.7, 0.9]).unwrap();
        let judged = |own: [f64; 2], memory: f64| {
            let [one, two] = own;
            let mut pressure = Pressure::default().with_signal(marks, move || one).with_signal(marks, move || two);
            pressure.judge(&Feeling::default().with_memory(memory));
            pressure.step()
        };

        assert_eq!(judged([0.6, 0.0], 0.0), Step::StopRetries);
        assert_eq!(judged([0.0, 0.7], 0.86), Step::ShortenTimeouts);
        assert_eq!(judged([0.5, 0.5], 0.95), Step::CloseConnections);
    }

    proptest::proptest! {
        /// Held against each mark looked at alone.
        #[test]
        fn each_step_is_taken_from_its_mark_on_and_left_a_tenth_below_it(
            levels in proptest::collection::vec(-0.1..1.2_f64, 1..100),
        ) {
            let mut marks = Marks::new([0.5, 0.75, 1.0]).unwrap();
            let mut taken = [false; 5];
            for level in levels {
                for (taken, mark) in taken.iter_mut().zip([0.5, 0.625, 0.75, 0.875, 1.0]) {
                    *taken = level >= mark || (*taken && level >= LEFT * mark);
                }

                let floor = marks.judge(level);

                let step = Step::of_number(taken.iter().filter(|taken| **taken).count());
                proptest::prop_assert_eq!((marks.step(), floor), (step, step.floor()));
            }
        }
    }

    #[test]
    fn marks_that_are_one_take_all_steps_at_once() {
        let mut marks = Marks::new([f64::MAX; 3]).unwrap();

        assert_eq!((marks.judge(1.0), marks.judge(f64::MAX)), (Criticality::Sheddable, Criticality::Critical));
    }

    #[test]
    fn marks_out_of_order_or_without_a_number_are_not_built() {
        for marks in [[0.0, 1.0, 1.0], [0.5, 0.4, 0.9], [0.1, 0.2, f64::INFINITY], [f64::NAN, 1.0, 1.0]] {
            assert!(Marks::new(marks).is_err(), "{marks:?}");
        }
    }
}
