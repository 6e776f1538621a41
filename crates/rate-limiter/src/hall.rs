//! Where the calls of many keys wait for a limiter.
#![expect(clippy::disallowed_types, reason = "the lock is taken only while calls wait")]

mod roll;

use std::{
    borrow::Borrow,
    sync::PoisonError,
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_core::{
    Pattern, Reason, Rejection, Timestamp, replace_waker,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use self::roll::{Roll, Spot, Stage};
use crate::{Ahead, Key, LimitKeys, line::Place};

type RollOf<G, Q> = Roll<<G as LimitKeys<Q>>::Taken, <Q as ToOwned>::Owned>;

/// Those who wait for a limiter of many keys.
///
/// Each key has a line. Whoever its own quota lets go stands, besides, in the line of all keys that share a quota with it: in
/// order of arrival, so nobody passes another but one that its own quota holds back. Only the first of that line looks for its
/// turn; of the others only the first of each key that is held back, and only for the end of that. So how many keys wait costs
/// nobody anything.
pub(crate) struct Hall<G: LimitKeys<Q>, Q: Key + ?Sized> {
    limiter: Arc<G>,
    /// How many wait here. Written under the lock; who reads 0 came before whoever joins now.
    queued: AtomicUsize,
    together: Arc<Together>,
    roll: Mutex<RollOf<G, Q>>,
    max_queued: usize,
}

/// How many wait in a hall and its neighbours, and how many may. A count: it guards no other memory.
pub(crate) struct Together {
    waiting: AtomicUsize,
    most: usize,
}

impl Together {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { waiting: AtomicUsize::new(0), most })
    }

    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    fn is_full(&self) -> bool {
        self.waiting() >= self.most
    }

    fn joined(&self) {
        self.waiting.fetch_add(1, Relaxed);
    }

    fn left(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }
}

/// A call that cannot go on at once.
#[derive(Copy, Clone)]
pub(crate) struct Call {
    pub(crate) cost: u32,
    /// Beyond this it may not wait.
    pub(crate) until: Timestamp,
    pub(crate) deadline: Timestamp,
    pub(crate) now: Timestamp,
}

/// What it is told.
pub(crate) enum Told<P> {
    Served,
    /// Its place, and when its turn comes if all before it stay and nobody comes between.
    Waiting(P, Timestamp),
    Refused(Rejection),
}

/// When the turn of a call is that is about to join.
struct Turn {
    at: Timestamp,
    /// Until when the quota of its key holds it back, if it does.
    held: Option<Timestamp>,
}

impl<G: LimitKeys<Q>, Q: Key + ?Sized> Hall<G, Q> {
    pub(crate) fn new(limiter: Arc<G>, max_queued: usize, max_wait: Duration, together: Arc<Together>) -> Self {
        let roll = Mutex::new(Roll::new(max_wait));
        Self { limiter, queued: AtomicUsize::new(0), together, roll, max_queued }
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Relaxed)
    }

    pub(crate) fn lines(&self) -> usize {
        self.lock().keys()
    }

    fn lock(&self) -> MutexGuard<'_, RollOf<G, Q>> {
        // Wakers run outside of the lock, so a panic of one leaves the books whole.
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a call of `key`, whose hash that is, in line.
    pub(crate) fn join(hall: &Arc<Self>, key: &Q, hash: u64, call: Call) -> Told<Waits<G, Q>> {
        let shares = hall.limiter.shares(key);
        let (group, now) = (shares.unwrap_or(hash), call.now);
        hall.serve(hash, group, now);
        let (mut copied, mut tried) = (None, false);
        loop {
            let mut roll = hall.lock();
            let turn = match hall.turn(&roll, key, (hash, group), call) {
                Ok(turn) => turn,
                Err(refused) => return Told::Refused(refused),
            };
            if turn.at <= now && !tried {
                // There is enough for those before it, too.
                drop(roll);
                if hall.limiter.take(key, call.cost, now).is_ok() {
                    return Told::Served;
                }
                // Another thread was quicker.
                tried = true;
                continue;
            }
            let Some(owned) = roll.of_key(hash).map(|of_key| Arc::clone(&of_key.key)).or_else(|| copied.take()) else {
                // A user's key is copied outside of the lock.
                drop(roll);
                copied = Some(Arc::new(key.to_owned()));
                continue;
            };
            let spot = roll.enter((hash, group), Arc::clone(&owned), (call.cost, turn.held), shares.is_some(), now);
            hall.counted(&roll);
            hall.together.joined();
            drop(roll);
            let waits = Waits { hall: Arc::clone(hall), key: owned, spot: Some(spot), cost: call.cost };
            return Told::Waiting(waits, turn.at);
        }
    }

    /// Whether a call of `key`, whose hash that is, goes on at once: its turn is now.
    pub(crate) fn enter(&self, key: &Q, hash: u64, cost: u32, now: Timestamp) -> bool {
        let group = self.limiter.shares(key).unwrap_or(hash);
        self.serve(hash, group, now);
        // It may not wait for a turn that is to come.
        let turn = self.turn(&self.lock(), key, (hash, group), Call { cost, until: now, deadline: now, now });
        turn.is_ok() && self.limiter.take(key, cost, now).is_ok()
    }

    /// When the turn of a call is that comes now, or why it may not wait for it.
    fn turn(&self, roll: &RollOf<G, Q>, key: &Q, (hash, group): (u64, u64), call: Call) -> Result<Turn, Rejection> {
        let Call { cost, until, deadline, now } = call;
        let line = roll.of_key(hash);
        let queued = line.map_or(0, |line| line.queued);
        let refused = |reason| Rejection::new(Pattern::RateLimiter, reason).with_queued(queued);
        let own = self.limiter.own_turn_in(key, line.map_or(0, |line| line.cost), cost, now);
        let by_right = own.and_then(|own| Some(own.max(self.shared_turn_in(roll, key, group, cost, now)?)));
        let borrowed = self.limiter.borrowed_turn_in(key, roll.ahead(group), cost, now);
        let Some(wait) = by_right.into_iter().chain(borrowed).min() else { return Err(refused(Reason::TooHeavy)) };
        let at = now.saturating_add(wait);
        if at > deadline {
            return Err(refused(Reason::DeadlineTooClose).with_retry_after(wait));
        }
        if at > until {
            return Err(refused(Reason::RateLimited).with_retry_after(at.since(until)));
        }
        // Whose turn is now takes up no room.
        if at > now && (queued >= self.max_queued || self.together.is_full()) {
            return Err(refused(Reason::QueueFull).with_retry_after(wait));
        }
        let behind_held = line.is_some_and(|line| line.cost > line.ready_cost);
        let own = own.map_or(Timestamp::MAX, |own| now.saturating_add(own));
        // Who is held for longer than it may wait only borrows: it will not come before anybody.
        let due = if own > until { Timestamp::MAX } else { own };
        Ok(Turn { at, held: (own > now || behind_held).then_some(due) })
    }

    /// When what keys share has it: behind all who are ready, and those who will be by then and came before.
    fn shared_turn_in(&self, roll: &RollOf<G, Q>, key: &Q, group: u64, cost: u32, now: Timestamp) -> Option<Duration> {
        let ready = roll.group(group).map_or(0, |group| group.ready_cost);
        let mut ahead = Ahead { sharing: ready, ..roll.ahead(group) };
        let mut turn = self.limiter.shared_turn_in(key, ahead, cost, now)?;
        for (due, held) in roll.held_from(group, now) {
            if due > turn {
                break;
            }
            ahead.sharing = ahead.sharing.saturating_add(held);
            turn = self.limiter.shared_turn_in(key, ahead, cost, now)?;
        }
        Some(turn)
    }

    /// Those of `hash` may have become ready: serves its group from the front, as far as the quotas go.
    fn serve(&self, hash: u64, group: u64, now: Timestamp) {
        if self.queued() == 0 {
            return;
        }
        let mut roll = self.lock();
        let mut wakers = Vec::new();
        self.promote(&mut roll, hash, group, now);
        while let Some(spot) = Self::front(&roll, group) {
            if !self.serve_front(&mut roll, spot, now, &mut wakers) {
                break;
            }
            self.promote(&mut roll, spot.key, group, now);
            // It learns until when its key holds it back.
            let held = roll.first_held_of(spot.key, group).and_then(|held| roll.waiter(held));
            wakers.extend(held.map(|held| held.waker.clone()));
        }
        if !wakers.is_empty() {
            // Whoever is first from here on learns when its turn is.
            let first = Self::front(&roll, group).and_then(|first| roll.waiter(first));
            wakers.extend(first.map(|first| first.waker.clone()));
            self.counted(&roll);
        }
        drop(roll);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Of those who are ready, and where others lend, of those who are not.
    fn front(roll: &RollOf<G, Q>, group: u64) -> Option<Spot> {
        roll.first_ready(group).or_else(|| if G::LENDS { roll.first_held(group) } else { None })
    }

    fn promote(&self, roll: &mut RollOf<G, Q>, hash: u64, group: u64, now: Timestamp) {
        while let Some(spot) = roll.first_held_of(hash, group) {
            let (Some(line), Some(waiter)) = (roll.of_key(hash), roll.waiter(spot)) else { return };
            match self.limiter.own_turn_in(borrowed::<Q>(&line.key), line.ready_cost, waiter.cost, now) {
                Some(Duration::ZERO) => roll.promote(spot),
                // No wait helps, and the limiter says so when it is asked.
                None if !G::LENDS => roll.promote(spot),
                _ => return,
            }
        }
    }

    /// Whether the first of a line has left it.
    fn serve_front(&self, roll: &mut RollOf<G, Q>, spot: Spot, now: Timestamp, wakers: &mut Vec<Waker>) -> bool {
        let (Some(line), Some(group), Some(waiter)) =
            (roll.of_key(spot.key), roll.group(spot.group), roll.waiter(spot))
        else {
            return false;
        };
        let (key, cost, ready) = (borrowed::<Q>(&line.key), waiter.cost, matches!(waiter.stage, Stage::Ready));
        // As in a line of one limit: it takes as if it had been looked at just when it was due.
        let oldest = now.saturating_sub(self.limiter.lateness(cost));
        let since = line.waits_since.max(group.waits_since).max(oldest).min(now);
        let due = self.first_turn_in(key, cost, since).map_or(now, |wait| since.saturating_add(wait).min(now));
        let taken = match self.limiter.take(key, cost, due) {
            Err(_) if due < now => self.limiter.take(key, cost, now),
            taken => taken,
        };
        match taken {
            Err(refused) if refused.reason() != Reason::TooHeavy => {
                let own = self.limiter.own_turn_in(key, 0, cost, now);
                if ready && own.is_some_and(|own| !own.is_zero()) {
                    roll.waited(Some(spot.key), None, now);
                    roll.hold_again(spot, now);
                    return true;
                }
                roll.waited(Some(spot.key), Some(spot.group), now);
                false
            }
            turn => {
                roll.waited(Some(spot.key), Some(spot.group), due);
                wakers.extend(roll.settle(spot, turn));
                self.together.left();
                true
            }
        }
    }

    /// How long the first of its line has to wait.
    fn first_turn_in(&self, key: &Q, cost: u32, now: Timestamp) -> Option<Duration> {
        let own = self.limiter.own_turn_in(key, 0, cost, now);
        let shared = self.limiter.shared_turn_in(key, Ahead::default(), cost, now);
        let by_right = own.and_then(|own| Some(own.max(shared?)));
        by_right.into_iter().chain(self.limiter.borrowed_turn_in(key, Ahead::default(), cost, now)).min()
    }

    /// How long until one that waits may get its turn, if it is for it to look: the first of its line, and the first of its
    /// key that is held.
    fn looks_in(&self, roll: &RollOf<G, Q>, key: &Q, spot: Spot, now: Timestamp) -> Option<Duration> {
        let (line, waiter) = (roll.of_key(spot.key)?, roll.waiter(spot)?);
        let held = || self.limiter.own_turn_in(key, line.ready_cost, waiter.cost, now);
        let is_held = roll.first_held_of(spot.key, spot.group) == Some(spot);
        let is_front = Self::front(roll, spot.group) == Some(spot);
        let front = if is_front { self.first_turn_in(key, waiter.cost, now) } else { None };
        front.into_iter().chain(if is_held { held() } else { None }).min()
    }

    /// There may be more for a key than there was: those who wait for it move up.
    pub(crate) fn changed(&self, key: &Q, hash: u64, now: Timestamp) {
        let group = self.limiter.shares(key).unwrap_or(hash);
        self.lock().waited(Some(hash), Some(group), now);
        self.serve(hash, group, now);
        self.wake_firsts(hash, group);
    }

    fn wake_firsts(&self, hash: u64, group: u64) {
        let roll = self.lock();
        let firsts = [Self::front(&roll, group), roll.first_held_of(hash, group)];
        let wakers = firsts.map(|first| Some(roll.waiter(first?)?.waker.clone()));
        drop(roll);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn counted(&self, roll: &RollOf<G, Q>) {
        self.queued.store(roll.queued, Relaxed);
    }
}

fn borrowed<Q: Key + ?Sized>(key: &Q::Owned) -> &Q {
    key.borrow()
}

/// One call's place in a hall. Dropping it leaves, or gives back what it was just handed.
pub(crate) struct Waits<G: LimitKeys<Q>, Q: Key + ?Sized> {
    hall: Arc<Hall<G, Q>>,
    key: Arc<Q::Owned>,
    spot: Option<Spot>,
    cost: u32,
}

impl<G: LimitKeys<Q>, Q: Key + ?Sized> Waits<G, Q> {
    fn leave_with(&mut self) -> Option<Result<G::Taken, Rejection>> {
        let spot = self.spot.take()?;
        let mut roll = self.hall.lock();
        let was_front = Hall::<G, Q>::front(&roll, spot.group) == Some(spot);
        let was_first_held = roll.first_held_of(spot.key, spot.group) == Some(spot);
        // Those behind it could not go before: not even if what they wait for was there.
        roll.waited(was_first_held.then_some(spot.key), was_front.then_some(spot.group), Timestamp::MAX);
        let waiter = roll.remove(spot)?;
        self.hall.counted(&roll);
        drop(roll);
        if let Stage::Done(turn) = waiter.stage {
            return Some(turn);
        }
        self.hall.together.left();
        // Where one that was ready has left, the next of its key is held for less.
        if was_front || was_first_held || matches!(waiter.stage, Stage::Ready) {
            self.hall.wake_firsts(spot.key, spot.group);
        }
        None
    }
}

impl<G: LimitKeys<Q>, Q: Key + ?Sized> Place for Waits<G, Q> {
    fn poll_turn(&mut self, cx: &Context<'_>, now: Timestamp) -> Poll<Result<Result<(), Rejection>, Option<Duration>>> {
        // Polled again after it was ready: pending for ever, as nothing will wake it.
        let Some(spot) = self.spot else { return Poll::Pending };
        self.hall.serve(spot.key, spot.group, now);
        let mut roll = self.hall.lock();
        let Some(waiter) = roll.waiter_mut(spot) else { return Poll::Pending };
        if let Stage::Done(turn) = waiter.stage {
            let _served = roll.remove(spot);
            drop(roll);
            self.spot = None;
            return Poll::Ready(Ok(turn.map(|_| ())));
        }
        let replaced = replace_waker(&mut waiter.waker, cx.waker());
        let looks_in = self.hall.looks_in(&roll, borrowed::<Q>(&self.key), spot, now);
        drop(roll);
        drop(replaced);
        Poll::Ready(Err(looks_in))
    }

    fn leave(&mut self) -> Option<Result<(), Rejection>> {
        self.leave_with().map(|turn| turn.map(|_| ()))
    }
}

impl<G: LimitKeys<Q>, Q: Key + ?Sized> Drop for Waits<G, Q> {
    fn drop(&mut self) {
        let Some(spot) = self.spot else { return };
        if let Some(Ok(taken)) = self.leave_with() {
            // It was its turn, and nobody was there to take it.
            self.hall.limiter.give_back(borrowed::<Q>(&self.key), taken, self.cost);
            self.hall.wake_firsts(spot.key, spot.group);
        }
    }
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;
    use crate::{KeyedGcra, Quota};

    #[test]
    fn in_all_halls_together_no_more_wait_than_may() {
        let limiter = Arc::new(KeyedGcra::new(Quota::per_second(1).expect("in range")));
        let together = Together::new(2);
        let hall = || Arc::new(Hall::new(Arc::clone(&limiter), 9, Duration::from_secs(9), Arc::clone(&together)));
        let (one, other) = (hall(), hall());
        let call = Call { cost: 1, until: Timestamp::MAX, deadline: Timestamp::MAX, now: Timestamp::ZERO };
        limiter.take(&1_u8, 1, call.now).expect("nobody was before it");
        let join = |hall: &Arc<Hall<KeyedGcra, u8>>| match Hall::join(hall, &1, 1, call) {
            Told::Waiting(waits, _) => Ok(waits),
            Told::Refused(refused) => Err(refused.reason()),
            Told::Served => panic!("the quota is used up"),
        };

        let first = join(&one);
        let _second = join(&other);
        assert_eq!((join(&one).err(), join(&other).err()), (Some(Reason::QueueFull), Some(Reason::QueueFull)));
        drop(first);

        assert!(join(&other).is_ok(), "one has left");
    }

    #[test]
    fn a_key_whose_quota_is_unused_goes_on_while_there_is_no_room_for_one_that_waits() {
        let limiter = Arc::new(KeyedGcra::new(Quota::per_second(1).expect("in range")));
        let hall = Arc::new(Hall::new(Arc::clone(&limiter), 1, Duration::from_secs(9), Together::new(1)));
        let call = Call { cost: 1, until: Timestamp::MAX, deadline: Timestamp::MAX, now: Timestamp::ZERO };
        limiter.take(&1_u8, 1, call.now).expect("nobody was before it");
        let Told::Waiting(_waits, _) = Hall::join(&hall, &1, 1, call) else { panic!("the quota is used up") };

        assert!(matches!(Hall::join(&hall, &2, 2, call), Told::Served));
        assert!(hall.enter(&3, 3, 1, call.now));
        assert!(
            matches!(Hall::join(&hall, &2, 2, call), Told::Refused(refused) if refused.reason() == Reason::QueueFull)
        );
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use loom::thread;
    use seawall_core::{Admission, CallContext, Clock, Timer};

    use super::*;
    use crate::{AdmitKey, KeyedGcra, KeyedQuota, QueueingKeys, QueueingQuota, Quota, Quotas, line::LATENESS};

    const SECOND: Duration = Duration::from_secs(1);
    const LATER: Timestamp = Timestamp::from_nanos(1_000_000_000);

    fn check(model: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(model);
    }

    fn quota() -> Quota {
        Quota::per_second(1).unwrap()
    }

    fn hall<G: LimitKeys<u8>>(limiter: G) -> Arc<Hall<G, u8>> {
        Arc::new(Hall::new(Arc::new(limiter), 9, SECOND * 9, Together::new(9)))
    }

    fn per_key() -> KeyedGcra {
        KeyedGcra::new(KeyedQuota::new(quota()).with_max_keys(1).unwrap())
    }

    fn shared() -> Quotas {
        Quotas::new().with_shared(quota())
    }

    fn join<G: LimitKeys<u8>>(hall: &Arc<Hall<G, u8>>, key: u8, now: Timestamp) -> Told<Waits<G, u8>> {
        Hall::join(hall, &key, key.into(), Call { cost: 1, until: Timestamp::MAX, deadline: Timestamp::MAX, now })
    }

    fn waits<G: LimitKeys<u8>>(hall: &Arc<Hall<G, u8>>, key: u8) -> Waits<G, u8> {
        let Told::Waiting(waits, _) = join(hall, key, Timestamp::ZERO) else { panic!("the quota is used up") };
        waits
    }

    fn is_served<G: LimitKeys<u8>>(waits: &mut Waits<G, u8>) -> bool {
        matches!(waits.poll_turn(&Context::from_waker(Waker::noop()), LATER), Poll::Ready(Ok(Ok(()))))
    }

    #[test]
    fn a_call_that_joins_as_the_last_of_its_key_leaves_has_a_line_that_is_served() {
        check(|| {
            let hall = hall(per_key());
            hall.limiter.take(&1, 1, Timestamp::ZERO).unwrap();
            let leaving = waits(&hall, 1);
            let other = Arc::clone(&hall);
            let joins = thread::spawn(move || waits(&other, 1));
            drop(leaving);
            let mut joined = joins.join().unwrap();
            assert_eq!((hall.queued(), hall.lines(), hall.together.waiting()), (1, 1, 1));
            assert!(is_served(&mut joined), "it is in a line that nobody looks at");
            assert_eq!((hall.queued(), hall.lines(), hall.together.waiting()), (0, 0, 0));
        });
    }

    #[test]
    fn a_waiter_that_leaves_while_it_is_served_gives_its_turn_to_another_key() {
        check(|| {
            let hall = hall(shared());
            hall.limiter.take(&1, 1, Timestamp::ZERO).unwrap();
            let (leaving, mut staying) = (waits(&hall, 1), waits(&hall, 2));
            let other = Arc::clone(&hall);
            let serves = thread::spawn(move || other.changed(&2, 2, LATER));
            drop(leaving);
            serves.join().unwrap();
            assert!(is_served(&mut staying), "the turn is lost");
            assert_eq!((hall.queued(), hall.limiter.remaining(&1, LATER)), (0, 0));
        });
    }

    #[test]
    fn of_what_keys_share_one_turn_goes_to_one_and_the_first_and_no_newcomer_has_it() {
        check(|| {
            let hall = hall(shared());
            hall.limiter.take(&1, 1, Timestamp::ZERO).unwrap();
            let mut first = waits(&hall, 1);
            let other = Arc::clone(&hall);
            let comes = thread::spawn(move || matches!(join(&other, 2, LATER), Told::Waiting(..)));
            hall.serve(1, 0, LATER);
            assert!(comes.join().unwrap(), "the one turn is that of the first");
            assert!(is_served(&mut first));
        });
    }

    /// Stands still, and wakes nobody.
    #[derive(Clone)]
    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            LATER
        }
    }

    impl Timer for Still {
        type Sleep = std::future::Pending<()>;

        fn sleep_until(&self, _: Timestamp) -> Self::Sleep {
            std::future::pending()
        }
    }

    /// The short way in, past all locks, for as long as nobody waits.
    #[test]
    fn two_calls_that_meet_at_the_last_of_a_quota_are_one_served_and_one_in_line() {
        check(|| {
            let quota = QueueingQuota::new(shared()).with_max_wait(SECOND * 9).unwrap();
            let limiter = Arc::new(QueueingKeys::<Quotas, u8, Still>::new(quota, Still));
            let other = Arc::clone(&limiter);
            let ask = |limiter: &QueueingKeys<Quotas, u8, Still>, key: u8| match limiter.admit_key(
                &key,
                CallContext::new,
                || Timestamp::ZERO,
            ) {
                Admission::Admitted(()) => None,
                Admission::Queued(wait) => Some(wait),
                Admission::Refused(_) => panic!("there is room in line"),
            };
            let second = thread::spawn(move || ask(&other, 2));
            let first = ask(&limiter, 1);
            let second = second.join().unwrap();
            assert!(first.is_none() ^ second.is_none());
            let mut waits = Box::pin(first.or(second).expect("one waits"));
            assert_eq!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())));
            assert_eq!(limiter.queued(), 0);
        });
    }

    #[test]
    fn turns_that_two_threads_give_late_are_as_many_as_one_would_give() {
        check(|| {
            let quota = Quota::every(LATENESS).unwrap();
            let hall = hall(Quotas::new().with_shared(quota));
            hall.limiter.take(&1, 1, Timestamp::ZERO).unwrap();
            let _waiting = [1, 2, 3].map(|key| waits(&hall, key));
            let other = Arc::clone(&hall);
            let serves = thread::spawn(move || other.serve(1, 0, LATER));
            hall.serve(2, 0, LATER);
            serves.join().unwrap();
            assert_eq!(hall.queued(), 1, "one that is late by the most that counts, and one that is due now");
        });
    }
}
