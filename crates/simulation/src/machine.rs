//! A server's insides: stages in a row, and what goes wrong with them.
use crate::{kind::Kind, random::Random, stage::Stage};

/// What goes wrong with a server in the course of a run. Times are parts of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Trouble {
    /// Nothing.
    None,
    /// Everything stands still now and then (exponential gaps around `every`) for `lasts`, in nanoseconds: a garbage
    /// collector.
    Pauses {
        /// The mean time from one to the next.
        every: f64,
        /// The mean length.
        lasts: f64,
    },
    /// Everything stands still 20 times in the run, on the dot, for so many nanoseconds: a job of the clock.
    Stalls {
        /// The length.
        lasts: f64,
    },
    /// From the middle of the run on there is so many times the capacity.
    Scaled(f64),
    /// The pace starts at a fifth and is full after a third of the run.
    Warming,
    /// Another tenant of the machine takes half of it, on and off.
    Neighbour,
    /// In the middle of the run calls begin to cost four times as much, until so many have warmed the cache again.
    Cold {
        /// The calls after which the excess has fallen by two thirds.
        calls: f64,
    },
}

/// The insides of one server.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) stages: Vec<Stage>,
    trouble: Trouble,
    random: Random,
    length: u64,
    /// Calls since the cache went cold.
    warmed: Option<f64>,
    /// The step of the trouble's own course.
    step: u32,
    until: u64,
}

impl Machine {
    /// The machine of a kind, for a run of `length` nanoseconds.
    pub(crate) fn new(kind: &Kind, length: u64, seed: u64) -> Self {
        Self {
            stages: kind.stages.iter().map(|spec| Stage::new(*spec)).collect(),
            trouble: kind.trouble,
            random: Random::new(seed, 0x7401),
            length,
            warmed: None,
            step: 0,
            until: 0,
        }
    }

    /// The work that a call brings to a stage.
    pub(crate) fn work(&mut self, stage: usize, random: &mut Random, now: u64) -> f64 {
        let spec = self.stages[stage].spec;
        let work = spec.work * spec.law.sample(random, now as f64 / self.length as f64);
        match (&mut self.warmed, self.trouble) {
            (Some(warmed), Trouble::Cold { calls }) => {
                let excess = 3.0 * (-*warmed / calls).exp();
                *warmed += 1.0;
                work * (1.0 + excess)
            }
            _ => work,
        }
    }

    fn set_pace(&mut self, now: u64, pace: f64) {
        for stage in &mut self.stages {
            stage.pass_to(now);
            stage.pace = pace;
        }
    }

    /// The next step of the server's trouble is due; when the one after it is. Called first at the start.
    pub(crate) fn trouble(&mut self, now: u64) -> Option<u64> {
        let length = self.length as f64;
        let step = self.step;
        self.step += 1;
        let wait = match self.trouble {
            Trouble::None => return None,
            Trouble::Pauses { every, lasts } => {
                let pausing = step % 2 == 1;
                self.set_pace(now, if pausing { 0.0 } else { 1.0 });
                self.random.exponential() * if pausing { lasts } else { every }
            }
            Trouble::Stalls { lasts } => {
                let stalling = step % 2 == 1;
                self.set_pace(now, if stalling { 0.0 } else { 1.0 });
                if stalling { lasts } else { (length / 20.0 - lasts).max(1.0) }
            }
            Trouble::Neighbour => {
                let present = step % 2 == 1;
                self.set_pace(now, if present { 0.5 } else { 1.0 });
                self.random.exponential() * length / 20.0
            }
            Trouble::Scaled(factor) => {
                if step == 1 {
                    for stage in &mut self.stages {
                        stage.pass_to(now);
                        stage.scale(factor);
                    }
                    return None;
                }
                length / 2.0
            }
            Trouble::Warming => {
                let progress = f64::from(step) / 20.0;
                self.set_pace(now, (0.2 + 0.8 * progress).min(1.0));
                if step >= 20 {
                    return None;
                }
                length / 60.0
            }
            Trouble::Cold { .. } => {
                if step == 1 {
                    self.warmed = Some(0.0);
                    return None;
                }
                length / 2.0
            }
        };
        self.until = now + (wait as u64).max(1);
        Some(self.until)
    }
}
