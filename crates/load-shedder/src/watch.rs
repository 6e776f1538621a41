use std::time::Duration;

use seawall_core::{Criticality, Timer, Timestamp};

use crate::{CgroupReader, Feeling, Pressure, Step};

/// How often the event loop's delay is measured.
const BEAT: Duration = Duration::from_millis(50);
/// The files of the control group are read every so many beats.
const BEATS_PER_READING: u32 = 20;
/// What is left of a delay after a beat.
const FADING: f64 = 0.875;

/// How late an event loop wakes a sleeper, of late: the longest of the last beats, since one call that holds the loop for
/// a second makes all others late, but only one beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoopDelay {
    worst: Duration,
}

impl LoopDelay {
    /// A sleeper that was to wake at `planned` woke at `now`; what the delay is taken for. A worse one counts at once and
    /// fades by an eighth with each beat.
    pub fn woke(&mut self, planned: Timestamp, now: Timestamp) -> Duration {
        let faded = self.worst.mul_f64(FADING);
        self.worst = now.since(planned).max(faded);
        self.worst
    }
}

impl Pressure {
    /// Feels the process for as long as it is polled: the event loop on which it runs and the signals of one's own, every 50 ms,
    /// and the control group that `reader` reads, every second. Tells `apply` what is to be shed whenever that changes. Spawn it beside the
    /// server:
    ///
    /// ```no_run
    /// use seawall_core::MonotonicClock;
    /// use seawall_load_shedder::{CgroupReader, LoadShedderConfig, LoadShedderLayer, Pressure};
    ///
    /// # async fn serve() {
    /// let layer = LoadShedderLayer::new(LoadShedderConfig::default());
    /// let shedder = layer.clone();
    /// let feel = Pressure::default().watch(MonotonicClock, CgroupReader::new(), move |floor| {
    ///     shedder.gate().shed_below(floor);
    /// });
    /// tokio::spawn(feel);
    /// # }
    /// ```
    pub async fn watch<T: Timer>(self, timer: T, reader: CgroupReader, mut apply: impl FnMut(Criticality)) {
        let mut told = self.floor();
        self.watch_steps(timer, reader, |step| {
            if step.floor() != told {
                told = step.floor();
                apply(told);
            }
        })
        .await;
    }

    /// The same, but tells of every [`Step`]: for a [`Ladder`](crate::Ladder) that others ask.
    ///
    /// ```no_run
    /// use seawall_core::{Budget, MonotonicClock};
    /// use seawall_load_shedder::{CgroupReader, Ladder, LoadShedderConfig, LoadShedderLayer, Pressure, Step};
    ///
    /// # async fn serve() {
    /// let layer = LoadShedderLayer::new(LoadShedderConfig::default());
    /// let (shedder, retries, ladder) = (layer.clone(), Budget::default(), Ladder::new());
    /// let (budget, asked) = (retries.clone(), ladder.clone());
    /// let feel = Pressure::default().watch_steps(MonotonicClock, CgroupReader::new(), move |step| {
    ///     shedder.gate().shed_below(step.floor());
    ///     if step >= Step::StopRetries { budget.suspend() } else { budget.resume() }
    ///     ladder.climb_to(step);
    /// });
    /// tokio::spawn(feel);
    /// // Elsewhere:
    /// let closes_connections = move || asked.takes(Step::CloseConnections);
    /// # let _ = closes_connections;
    /// # }
    /// ```
    pub async fn watch_steps<T: Timer>(mut self, timer: T, mut reader: CgroupReader, mut apply: impl FnMut(Step)) {
        let mut delay = LoopDelay::default();
        let mut beat = 0_u32;
        loop {
            let planned = timer.now().saturating_add(BEAT);
            timer.sleep_until(planned).await;
            let now = timer.now();
            let feeling = if beat == 0 { reader.read(now) } else { Feeling::default() };
            beat = beat.saturating_add(1) % BEATS_PER_READING;
            let before = self.step();
            self.judge(&feeling.with_loop_delay(delay.woke(planned, now)));
            if self.step() != before {
                apply(self.step());
            }
        }
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use std::{
        cell::Cell,
        fs,
        pin::pin,
        task::{Context, Waker},
    };

    use seawall_core::{Clock, VirtualClock};

    use super::*;
    use crate::Marks;

    #[test]
    fn a_loop_that_wakes_its_sleepers_late_sheds_until_it_is_in_time_again() {
        let clock = VirtualClock::starting_at(Timestamp::from_nanos(1_000_000_000));
        let mut told = Vec::new();
        {
            let mut feel = pin!(Pressure::default().watch(clock.clone(), CgroupReader::below("/nowhere"), |floor| {
                told.push(floor);
            }));
            let mut poll = || assert!(feel.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            poll();
            // The loop is held for 300 ms; after that it is in time.
            clock.advance(Duration::from_millis(350));
            poll();
            for _ in 0..100 {
                clock.advance(BEAT);
                poll();
            }
        }

        assert_eq!(told, [Criticality::Default, Criticality::Degraded, Criticality::Sheddable]);
        assert!(clock.now() > Timestamp::ZERO);
    }

    #[test]
    fn a_signal_of_ones_own_is_asked_with_each_beat_and_each_of_its_steps_told() {
        let clock = VirtualClock::starting_at(Timestamp::from_nanos(1_000_000_000));
        let mut levels = [0.0, 0.6, 0.6, 0.9, 0.0].into_iter();
        let marks = Marks::new([0.5, 0.7, 0.9]).unwrap();
        let pressure = Pressure::none().with_signal(marks, move || levels.next().unwrap_or(0.0));
        let mut told = Vec::new();
        {
            let reader = CgroupReader::below("/nowhere");
            let mut feel = pin!(pressure.watch_steps(clock.clone(), reader, |step| told.push(step)));
            for _ in 0..10 {
                assert!(feel.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                clock.advance(BEAT);
            }
        }

        assert_eq!(told, [Step::StopRetries, Step::OnlyCritical, Step::Nothing]);
    }

    #[test]
    fn the_control_group_is_read_at_once_and_every_second_after_that() {
        let root = std::env::temp_dir().join(format!("seawall-watch-{}", std::process::id()));
        fs::create_dir_all(&root).expect("a folder for temporary files");
        let uses = |bytes: &str| fs::write(root.join("memory.current"), bytes).expect("the folder was just made");
        fs::write(root.join("memory.max"), "1000").expect("the folder was just made");
        uses("980");
        let clock = VirtualClock::starting_at(Timestamp::from_nanos(1_000_000_000));
        let told = Cell::new(None);
        {
            let pressure =
                Pressure::default().watch(clock.clone(), CgroupReader::below(&root), |floor| told.set(Some(floor)));
            let mut feel = pin!(pressure);
            let mut beat = || {
                clock.advance(BEAT);
                assert!(feel.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            };
            // The first poll only falls asleep.
            beat();
            beat();
            assert_eq!(told.get(), Some(Criticality::Critical));
            uses("100");
            (1..BEATS_PER_READING).for_each(|_| beat());
            assert_eq!(told.get(), Some(Criticality::Critical), "it is not read with each beat");
            beat();
        }
        fs::remove_dir_all(&root).expect("it was made");

        assert_eq!(told.get(), Some(Criticality::Sheddable));
    }
}
