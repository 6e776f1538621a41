use std::time::Duration;

use seawall_core::{Criticality, Timer, Timestamp};

use crate::{CgroupReader, Feeling, Pressure};

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
    /// Feels the process for as long as it is polled: the event loop on which it runs, every 50 ms, and the control group
    /// that `reader` reads, every second. Tells `apply` what is to be shed whenever that changes. Spawn it beside the
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
    pub async fn watch<T: Timer>(mut self, timer: T, mut reader: CgroupReader, mut apply: impl FnMut(Criticality)) {
        let mut delay = LoopDelay::default();
        let mut beat = 0_u32;
        loop {
            let planned = timer.now().saturating_add(BEAT);
            timer.sleep_until(planned).await;
            let now = timer.now();
            let feeling = if beat == 0 { reader.read(now) } else { Feeling::default() };
            beat = beat.saturating_add(1) % BEATS_PER_READING;
            let before = self.floor();
            let floor = self.judge(&feeling.with_loop_delay(delay.woke(planned, now)));
            if floor != before {
                apply(floor);
            }
        }
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use seawall_core::{Clock, VirtualClock};

    use super::*;

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
}
