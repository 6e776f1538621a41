use crate::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Set while a thread makes a new window: nobody records in the meantime.
const TURNING: u64 = 1;

/// Which of three windows is the current one: the word by which threads agree on who clears what.
///
/// One thread turns at a time, and what it clears nobody else writes to before it has said that it is done.
#[derive(Debug, Default)]
pub(crate) struct Rotation {
    /// The number of the current window, twice, and whether a thread is turning to it.
    word: AtomicU64,
}

/// A window that may be written to.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window(u64);

impl Window {
    /// Its place among three.
    #[inline]
    pub(crate) const fn place(self) -> usize {
        (self.0 % 3) as usize
    }

    /// The place of the window `back` before it.
    pub(crate) const fn place_before(self, back: u64) -> usize {
        Self(self.0.wrapping_add(3).wrapping_sub(back)).place()
    }
}

impl Rotation {
    /// The window `number`, or the current one when that is later. When it is time for a new one, `turn` is told which
    /// ended and how many windows ago that one began, and makes room. Nothing while another thread does so.
    #[inline]
    pub(crate) fn turn_to(&self, number: u64, turn: impl FnOnce(Window, u64)) -> Option<Window> {
        // Acquire: with the release in `begin`, after which the window's place is empty.
        let word = self.word.load(Acquire);
        if word & TURNING != 0 {
            return None;
        }
        let current = word >> 1;
        if number > current { self.begin(word, number, turn) } else { Some(Window(current)) }
    }

    #[cold]
    fn begin(&self, word: u64, number: u64, turn: impl FnOnce(Window, u64)) -> Option<Window> {
        let (current, number) = (word >> 1, number.min(u64::MAX >> 1));
        if number <= current {
            return Some(Window(current));
        }
        // Acquire: with the release below, of whoever turned before. Relaxed where it fails: nothing is read then.
        self.word.compare_exchange(word, (number << 1) | TURNING, Acquire, Relaxed).ok()?;
        turn(Window(current), number.saturating_sub(current));
        // Release: the cleared window belongs to whoever reads this word.
        self.word.store(number << 1, Release);
        Some(Window(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_turns_once_per_window_and_never_back() {
        let rotation = Rotation::default();
        let mut turns = Vec::new();

        for number in [0, 1, 1, 5, 4, u64::MAX, u64::MAX, 3] {
            let window = rotation.turn_to(number, |ended, by| turns.push((ended.0, by)));
            assert!(window.is_some());
        }

        assert_eq!(turns, [(0, 1), (1, 4), (5, (u64::MAX >> 1) - 5)]);
    }

    #[test]
    fn the_places_of_three_windows_in_a_row_differ() {
        for number in [2, 3, 4, u64::MAX >> 1] {
            let window = Window(number);
            let mut places = [window.place(), window.place_before(1), window.place_before(2)];
            places.sort_unstable();
            assert_eq!(places, [0, 1, 2]);
        }
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::{sync::Arc, thread};

    use super::*;

    /// Three windows that count, and how often one was made.
    #[derive(Default)]
    struct Counts {
        rotation: Rotation,
        windows: [AtomicU64; 3],
        turns: AtomicU64,
    }

    impl Counts {
        fn record(&self, number: u64) -> Option<Window> {
            let window = self.rotation.turn_to(number, |ended, _| {
                self.turns.fetch_add(1, Relaxed);
                // What is two windows old makes room.
                self.windows[ended.place_before(2)].store(0, Relaxed);
            })?;
            self.windows[window.place()].fetch_add(1, Relaxed);
            Some(window)
        }
    }

    #[test]
    fn a_window_is_made_once_and_loses_nothing_that_was_recorded_in_it() {
        loom::model(|| {
            let counts = Arc::new(Counts::default());
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let counts = Arc::clone(&counts);
                    thread::spawn(move || counts.record(1))
                })
                .collect();

            let recorded = threads.into_iter().map(|thread| thread.join().expect("no panic"));
            let recorded = u64::try_from(recorded.flatten().count()).expect("two");

            assert!(recorded >= 1);
            assert_eq!(counts.turns.load(Relaxed), 1);
            assert_eq!(counts.windows[1].load(Relaxed), recorded);
        });
    }

    #[test]
    fn a_late_record_is_never_in_a_window_that_is_being_cleared() {
        loom::model(|| {
            let counts = Arc::new(Counts::default());
            assert_eq!(counts.record(1), Some(Window(1)));
            let other = Arc::clone(&counts);
            let late = thread::spawn(move || other.record(1));

            let newer = counts.record(2);

            let late = late.join().expect("no panic");
            assert_eq!(newer, Some(Window(2)));
            let (first, second) = (counts.windows[1].load(Relaxed), counts.windows[2].load(Relaxed));
            assert_eq!(first + second, 2 + u64::from(late.is_some()));
        });
    }
}
