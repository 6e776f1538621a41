use std::{cell::Cell, task::Waker};

use super::{
    MonotonicClock,
    timer_thread::{Place, TICK, TimerThread, has_passed},
};

/// How many tasks a thread keeps alarms for when their sleepers are gone: a power of two.
const TASKS: usize = 64;
/// How many of them per task: the timeouts of one stack.
const PER_TASK: usize = 2;

/// The wake-up of one task at one tick.
///
/// A sleeper that is gone leaves its alarm with the thread. The next one of the same task takes it over when it rings no
/// later than it needs, without a lock and without waking anybody: so tasks that make call after call, each of which ends
/// long before its time is up, join the wheel once per timeout instead of once per call. The price is a wake-up for
/// nothing when the alarm rings, and that a thread holds on to the wakers of up to 128 tasks.
pub(super) struct Alarm {
    tick: u64,
    waker: Waker,
    _place: Place,
}

thread_local! {
    static SPARE: [[Cell<Option<Box<Alarm>>>; PER_TASK]; TASKS] =
        const { [const { [const { Cell::new(None) }; PER_TASK] }; TASKS] };
}

impl Alarm {
    /// An alarm of `waker`'s task that was left behind and rings at `tick` or before. Calls nothing, so that it saves no
    /// registers: this is what the timer of a pending call takes.
    #[inline(never)]
    pub(super) fn take_over(tick: u64, waker: &Waker) -> Option<Box<Self>> {
        let taken = SPARE.try_with(|spare| {
            let [first, second] = &spare[task_of(waker)];
            Self::take_from(first, tick, waker).or_else(|| Self::take_from(second, tick, waker))
        });
        taken.unwrap_or_default()
    }

    #[inline]
    fn take_from(cell: &Cell<Option<Box<Self>>>, tick: u64, waker: &Waker) -> Option<Box<Self>> {
        let alarm = cell.take()?;
        if alarm.tick <= tick && alarm.is_set_for(waker) {
            return Some(alarm);
        }
        cell.set(Some(alarm));
        None
    }

    /// An alarm that wakes `waker` at `tick`. Nothing when `tick` has passed, or nobody can be woken.
    #[cold]
    pub(super) fn make(tick: u64, waker: &Waker) -> Option<Box<Self>> {
        // Read here alone, where nobody has slept for long enough: a time that has passed needs no thread.
        let now = MonotonicClock::read().as_nanos() / TICK;
        if now >= tick {
            return None;
        }
        let thread = TimerThread::get()?;
        thread.help_out(now);
        let place = thread.wake_at(tick, waker.clone())?;
        Some(Box::new(Self { tick, waker: waker.clone(), _place: place }))
    }

    /// Whether it has yet to ring, and wakes `waker` when it does.
    #[inline]
    pub(super) fn is_set_for(&self, waker: &Waker) -> bool {
        !has_passed(self.tick) && self.waker.will_wake(waker)
    }

    /// Leaves an alarm that is needed no longer to the next sleeper of its task. Calls nothing where there is room for it.
    #[inline(never)]
    pub(super) fn put_by(alarm: Box<Self>) {
        let mut left = Some(alarm);
        // Not while the thread ends: then it goes below.
        let _ = SPARE.try_with(|spare| {
            if let Some(alarm) = left.take() {
                left = Self::put_into(&spare[task_of(&alarm.waker)], alarm);
            }
        });
        if let Some(alarm) = left {
            Self::push_aside(alarm);
        }
    }

    /// Gives back what has rung, or finds no room.
    #[inline]
    fn put_into(cells: &[Cell<Option<Box<Self>>>; PER_TASK], alarm: Box<Self>) -> Option<Box<Self>> {
        if has_passed(alarm.tick) {
            return Some(alarm);
        }
        for cell in cells {
            let other = cell.take();
            if other.is_none() {
                cell.set(Some(alarm));
                return None;
            }
            cell.set(other);
        }
        Some(alarm)
    }

    /// Drops an alarm that has rung; puts another in the place of the oldest of its task.
    #[cold]
    #[inline(never)]
    fn push_aside(alarm: Box<Self>) {
        if has_passed(alarm.tick) {
            return;
        }
        let oldest = SPARE.try_with(|spare| {
            // The older one goes: the sleepers of a stack end in the order in which they begin.
            let [first, second] = &spare[task_of(&alarm.waker)];
            let oldest = first.replace(second.take());
            second.set(Some(alarm));
            oldest
        });
        // Outside of the cells: what a waker's drop runs may sleep as well.
        drop(oldest);
    }
}

#[inline]
fn task_of(waker: &Waker) -> usize {
    let address = waker.data().addr();
    // Tasks lie on cache lines of their own: what is below says nothing.
    (address >> 7) % TASKS
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
mod tests {
    use std::{
        sync::Arc,
        task::{Wake, Waker},
    };

    use super::*;

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    /// As a sleeper gets its alarm.
    fn set(tick: u64, waker: &Waker) -> Option<Box<Alarm>> {
        Alarm::take_over(tick, waker).or_else(|| Alarm::make(tick, waker))
    }

    /// A tick so many seconds ahead.
    fn ahead(seconds: u64) -> u64 {
        MonotonicClock::read().as_nanos() / TICK + (seconds * 1_000_000_000).div_ceil(TICK)
    }

    #[test]
    fn the_next_sleeper_of_a_task_takes_over_an_alarm_that_rings_no_later() {
        let task = Arc::new(Task);
        let waker = Waker::from(Arc::clone(&task));
        let [earlier, later] = [1_000, 2_000].map(ahead);
        Alarm::put_by(set(earlier, &waker).unwrap());
        let wakers = Arc::strong_count(&task);

        let taken_over = set(later, &waker).unwrap();

        assert_eq!((taken_over.tick, Arc::strong_count(&task)), (earlier, wakers));
    }

    #[test]
    fn an_alarm_that_rings_later_or_wakes_another_task_is_not_taken_over() {
        let waker = Waker::from(Arc::new(Task));
        Alarm::put_by(set(ahead(2_000), &waker).unwrap());

        let sooner = ahead(1_000);
        assert_eq!(set(sooner, &waker).unwrap().tick, sooner);

        let later = ahead(3_000);
        assert_eq!(set(later, &Waker::from(Arc::new(Task))).unwrap().tick, later);
    }

    #[test]
    fn a_thread_keeps_no_more_alarms_than_two_for_each_place() {
        let tasks: Vec<_> = (0..1_000).map(|_| Arc::new(Task)).collect();
        for task in &tasks {
            Alarm::put_by(set(ahead(1_000), &Waker::from(Arc::clone(task))).unwrap());
        }

        let kept = tasks.iter().filter(|task| Arc::strong_count(task) > 1).count();

        assert!((1..=TASKS * PER_TASK).contains(&kept), "{kept}");
    }

    #[test]
    fn a_tick_that_has_passed_needs_no_alarm() {
        assert!(set(ahead(0), Waker::noop()).is_none());
    }
}
