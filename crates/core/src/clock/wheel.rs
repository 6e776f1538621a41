use std::task::Waker;

/// One turn of the wheel takes this many ticks, 4 s; what sleeps longer is passed over once per turn.
const SLOTS: usize = 1 << 12;
const WORD: usize = u64::BITS as usize;
const WORDS: usize = SLOTS / WORD;
/// No neighbour.
const NONE: u32 = u32::MAX;

/// A hashed timing wheel: wakers by the tick at which they are due. Joining, leaving and finding the next tick at which
/// somebody may be due take constant time; entries are used again, so that none of them allocates once the wheel has
/// grown to the number of sleepers.
///
/// An entry belongs to its sleeper: firing takes its waker, and only [`Wheel::leave`] frees it.
///
/// # Source
/// Varghese and Lauck: "Hashed and hierarchical timing wheels", SOSP 1987, scheme 6.
pub(super) struct Wheel {
    /// All ticks up to this one have passed: who was due has fired.
    turned: u64,
    /// The first entry of each slot.
    slots: Box<[u32]>,
    /// A bit per slot that is not empty.
    occupied: [u64; WORDS],
    /// A bit per word of `occupied` that is not zero.
    words: u64,
    entries: Vec<Entry>,
    /// The first unused entry; their list goes on in `after`.
    unused: u32,
}

struct Entry {
    tick: u64,
    /// None: fired, or unused.
    waker: Option<Waker>,
    before: u32,
    after: u32,
}

impl Default for Wheel {
    fn default() -> Self {
        Self {
            turned: 0,
            slots: vec![NONE; SLOTS].into_boxed_slice(),
            occupied: [0; WORDS],
            words: 0,
            entries: Vec::new(),
            unused: NONE,
        }
    }
}

#[expect(clippy::arithmetic_side_effects, reason = "slots are below 4,096, and ticks are checked against `turned`")]
impl Wheel {
    /// Lets `waker` be woken at `tick`. Gives it back when that has passed, or there is no room for more.
    pub(super) fn join(&mut self, tick: u64, waker: Waker) -> Result<u32, Waker> {
        if tick <= self.turned {
            return Err(waker);
        }
        let slot = slot_of(tick);
        let after = self.slots[slot];
        let entry = Entry { tick, waker: Some(waker), before: NONE, after };
        let key = match self.entries.get_mut(self.unused as usize) {
            Some(unused) => {
                let key = std::mem::replace(&mut self.unused, unused.after);
                *unused = entry;
                key
            }
            None => match u32::try_from(self.entries.len()) {
                Ok(key) if key < NONE => {
                    self.entries.push(entry);
                    key
                }
                _ => return entry.waker.map_or_else(|| Err(Waker::noop().clone()), Err),
            },
        };
        match self.entries.get_mut(after as usize) {
            Some(after) => after.before = key,
            None => self.mark(slot),
        }
        self.slots[slot] = key;
        Ok(key)
    }

    /// Frees the entry of a sleeper, due or not. The waker is given back, to be dropped outside of any lock: it may be
    /// the last owner of a task whose future holds another sleeper of this wheel.
    pub(super) fn leave(&mut self, key: u32) -> Option<Waker> {
        let waker = self.entries.get_mut(key as usize)?.waker.take();
        if waker.is_some() {
            self.unlink(key);
        }
        self.entries[key as usize].after = std::mem::replace(&mut self.unused, key);
        waker
    }

    /// Lets all ticks up to `tick` pass, and puts the wakers of those that were due into `due`.
    pub(super) fn turn(&mut self, tick: u64, due: &mut Vec<Waker>) {
        // More than one turn passes no slot more often than one does.
        self.turned = self.turned.max(tick.saturating_sub(SLOTS as u64));
        while let Some(next) = self.next().filter(|next| *next <= tick) {
            self.turned = next;
            self.fire(slot_of(next), tick, due);
        }
        self.turned = self.turned.max(tick);
    }

    /// A tick before which nobody is due; nothing when nobody sleeps.
    pub(super) fn next(&self) -> Option<u64> {
        let from = self.turned.checked_add(1)?;
        let first = slot_of(from);
        let slot = self.occupied_from(first)?;
        let ahead = slot.wrapping_sub(first) % SLOTS;
        from.checked_add(ahead as u64)
    }

    fn fire(&mut self, slot: usize, tick: u64, due: &mut Vec<Waker>) {
        let mut key = self.slots[slot];
        while let Some(entry) = self.entries.get_mut(key as usize) {
            let after = entry.after;
            if entry.tick <= tick {
                due.extend(entry.waker.take());
                self.unlink(key);
            }
            key = after;
        }
    }

    fn unlink(&mut self, key: u32) {
        let Entry { tick, before, after, .. } = self.entries[key as usize];
        if let Some(after) = self.entries.get_mut(after as usize) {
            after.before = before;
        }
        if let Some(before) = self.entries.get_mut(before as usize) {
            before.after = after;
            return;
        }
        let slot = slot_of(tick);
        self.slots[slot] = after;
        if after == NONE {
            self.unmark(slot);
        }
    }

    fn mark(&mut self, slot: usize) {
        self.occupied[slot / WORD] |= 1 << (slot % WORD);
        self.words |= 1 << (slot / WORD);
    }

    fn unmark(&mut self, slot: usize) {
        let word = &mut self.occupied[slot / WORD];
        *word &= !(1 << (slot % WORD));
        if *word == 0 {
            self.words &= !(1 << (slot / WORD));
        }
    }

    /// The first slot that is not empty, from `first` on and round.
    fn occupied_from(&self, first: usize) -> Option<usize> {
        let (word, bit) = (first / WORD, first % WORD);
        let here = self.occupied[word] & (u64::MAX << bit);
        if here != 0 {
            return Some(word * WORD + here.trailing_zeros() as usize);
        }
        let later = self.words & (u64::MAX << word) & !(1 << word);
        let words = if later == 0 { self.words } else { later };
        let word = words.trailing_zeros() as usize;
        self.occupied.get(word).map(|bits| word * WORD + bits.trailing_zeros() as usize)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "below 4,096")]
const fn slot_of(tick: u64) -> usize {
    tick as usize % SLOTS
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
        task::Wake,
    };

    use proptest::prelude::*;

    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn turned(wheel: &mut Wheel, tick: u64) -> usize {
        let mut due = Vec::new();
        wheel.turn(tick, &mut due);
        due.len()
    }

    fn join(wheel: &mut Wheel, tick: u64) -> Option<u32> {
        wheel.join(tick, Waker::noop().clone()).ok()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Join(u64),
        Leave(prop::sample::Index),
        Turn(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => prop_oneof![0..20_u64, 0..10_000_u64, Just(u64::MAX)].prop_map(Step::Join),
            1 => any::<prop::sample::Index>().prop_map(Step::Leave),
            2 => prop_oneof![0..3_u64, 0..5_000_u64, 0..100_000_u64].prop_map(Step::Turn),
        ]
    }

    proptest! {
        #[test]
        fn it_fires_exactly_who_is_due_as_a_sorted_list_would(steps in prop::collection::vec(step(), 1..120)) {
            let (mut wheel, mut now) = (Wheel::default(), 0_u64);
            let mut asleep: BTreeMap<u32, (u64, Arc<Woken>)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Join(ahead) => {
                        let (tick, woken) = (now.saturating_add(ahead), Arc::new(Woken::default()));
                        match wheel.join(tick, Waker::from(Arc::clone(&woken))) {
                            Ok(key) => prop_assert!(tick > now && asleep.insert(key, (tick, woken)).is_none()),
                            Err(_) => prop_assert!(tick <= now),
                        }
                    }
                    Step::Leave(index) => {
                        if let Some(key) = (!asleep.is_empty()).then(|| *index.get(&asleep.keys().copied().collect::<Vec<_>>())) {
                            let (tick, _) = asleep.remove(&key).unwrap();
                            prop_assert_eq!(wheel.leave(key).is_some(), tick > now);
                        }
                    }
                    Step::Turn(ahead) => {
                        now += ahead;
                        let mut due = Vec::new();
                        wheel.turn(now, &mut due);
                        due.into_iter().for_each(Waker::wake);
                    }
                }
                for (key, (tick, woken)) in &asleep {
                    let (due, taken) = (*tick <= now, wheel.entries[*key as usize].waker.is_none());
                    prop_assert_eq!((taken, woken.0.load(SeqCst)), (due, usize::from(due)));
                }
                let first = asleep.values().map(|(tick, _)| *tick).filter(|tick| *tick > now).min();
                match (wheel.next(), first) {
                    (None, first) => prop_assert_eq!(first, None),
                    (Some(next), first) => prop_assert!(next > now && first.is_some_and(|first| next <= first)),
                }
            }
        }
    }

    #[test]
    fn a_sleeper_of_a_later_turn_is_passed_over() {
        let mut wheel = Wheel::default();
        let key = join(&mut wheel, SLOTS as u64 + 5).unwrap();

        assert_eq!((wheel.next(), turned(&mut wheel, 5)), (Some(5), 0));
        assert_eq!((wheel.next(), turned(&mut wheel, SLOTS as u64 + 4)), (Some(SLOTS as u64 + 5), 0));
        assert_eq!(turned(&mut wheel, SLOTS as u64 + 5), 1);

        assert!(wheel.leave(key).is_none());
    }

    #[test]
    fn entries_are_used_again() {
        let mut wheel = Wheel::default();
        for tick in 1..1_000 {
            let keys: Vec<_> = (0..3).filter_map(|ahead| join(&mut wheel, tick + ahead)).collect();
            turned(&mut wheel, tick);
            for key in keys {
                wheel.leave(key);
            }
        }

        assert_eq!((wheel.entries.len(), wheel.next()), (3, None));
    }

    #[test]
    fn a_clock_that_jumps_to_the_end_of_time_takes_no_longer_than_one_turn() {
        let mut wheel = Wheel::default();
        join(&mut wheel, 7).unwrap();
        join(&mut wheel, u64::MAX).unwrap();

        assert_eq!(turned(&mut wheel, u64::MAX - 1), 1);
        assert_eq!(turned(&mut wheel, u64::MAX), 1);

        assert_eq!((wheel.next(), join(&mut wheel, u64::MAX)), (None, None));
    }
}
