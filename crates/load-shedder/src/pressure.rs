use std::time::Duration;

use seawall_core::Criticality;

use crate::LoadShedderError;

/// Three rising marks of a level, with hysteresis: above the first the sheddable are refused, above the second the
/// degraded too, above the third all but the critical. A mark that was passed counts until the level has sunk below it by
/// a tenth of it, so that a level that trembles at a mark does not switch to and fro.
///
/// ```
/// use seawall_core::Criticality;
/// use seawall_load_shedder::Marks;
///
/// let mut marks = Marks::new([0.85, 0.92, 0.97])?;
/// assert_eq!(marks.judge(0.90), Criticality::Degraded);
/// assert_eq!(marks.judge(0.80), Criticality::Degraded, "not yet a tenth below");
/// assert_eq!(marks.judge(0.75), Criticality::Sheddable);
/// # Ok::<(), seawall_load_shedder::LoadShedderError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "[f64; 3]", into = "[f64; 3]"))]
pub struct Marks {
    marks: [f64; 3],
    passed: usize,
}

/// A mark is left behind when the level is below this part of it.
const LEFT: f64 = 0.9;
/// What is shed when so many marks are passed: everything below it.
const FLOORS: [Criticality; 4] =
    [Criticality::Sheddable, Criticality::Degraded, Criticality::Default, Criticality::Critical];

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
        Self { marks, passed: 0 }
    }

    /// Takes in a level; all below the criticality returned is to be shed. What is no number changes nothing.
    pub fn judge(&mut self, level: f64) -> Criticality {
        let above = |factor: f64| self.marks.iter().take_while(|mark| level >= factor * **mark).count();
        let (passed, not_left) = (above(1.0), above(LEFT));
        if !level.is_nan() {
            self.passed = passed.max(self.passed.min(not_left));
        }
        FLOORS.get(self.passed).copied().unwrap_or(Criticality::Critical)
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

/// What is to be shed for what the process feels, whatever its latencies say: each signal has marks of its own or none,
/// and the strictest decides.
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
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pressure {
    loop_delay: Option<Marks>,
    cpu: Option<Marks>,
    memory: Option<Marks>,
    stalled: Option<Marks>,
    floor: Criticality,
}

impl Default for Pressure {
    /// Event loop: 50 ms, 200 ms, 1 s late. Memory: 85, 92, 97% used. Processors and stalls: not looked at.
    fn default() -> Self {
        Self {
            loop_delay: Some(Marks::of_constants([0.05, 0.2, 1.0])),
            cpu: None,
            memory: Some(Marks::of_constants([0.85, 0.92, 0.97])),
            stalled: None,
            floor: Criticality::Sheddable,
        }
    }
}

impl Pressure {
    /// Looks at nothing.
    pub const fn none() -> Self {
        Self { loop_delay: None, cpu: None, memory: None, stalled: None, floor: Criticality::Sheddable }
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

    /// Takes in what is felt; all below the criticality returned is to be shed. A signal that is not known keeps its last
    /// say.
    pub fn judge(&mut self, feeling: &Feeling) -> Criticality {
        let levels = [
            (&mut self.loop_delay, feeling.loop_delay.map(|delay| delay.as_secs_f64())),
            (&mut self.cpu, feeling.cpu),
            (&mut self.memory, feeling.memory),
            (&mut self.stalled, feeling.stalled),
        ];
        let floors =
            levels.into_iter().filter_map(|(marks, level)| Some(marks.as_mut()?.judge(level.unwrap_or(f64::NAN))));
        self.floor = floors.max().unwrap_or(Criticality::Sheddable);
        self.floor
    }

    /// What was decided last.
    pub const fn floor(&self) -> Criticality {
        self.floor
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
    fn marks_out_of_order_or_without_a_number_are_not_built() {
        for marks in [[0.0, 1.0, 1.0], [0.5, 0.4, 0.9], [0.1, 0.2, f64::INFINITY], [f64::NAN, 1.0, 1.0]] {
            assert!(Marks::new(marks).is_err(), "{marks:?}");
        }
    }
}
