#![expect(clippy::disallowed_types, reason = "the lock is taken only when all places are taken")]

use std::{
    sync::PoisonError,
    task::{Context, Poll, Waker},
    time::Duration,
};

use seawall_core::{
    CallContext, Clock, Pattern, Reason, Rejection, Timestamp, replace_waker,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{
    Order, Place, QueueingBulkheadConfig, Reserve, Shares,
    accounts::{Accounts, Holder},
    drain::Drainers,
    places::{Places, Seen},
    queue::{Call, Queue, Spot},
};

/// The golden ratio of 2⁶⁴.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// A share is counted in so many parts.
const PARTS: u64 = 1_000_000;

/// The places and those who wait for them.
///
/// The flag in the places' word is raised only under the lock, together with the look that found no room: who gives a
/// place back either sees the flag and serves the line, or gave it back before that look.
#[derive(Debug)]
pub(crate) struct Line {
    places: Places,
    reserve: Reserve,
    /// What tenants hold, where they have shares.
    accounts: Option<Accounts>,
    /// Of the places, in millionths: closed to tenants that have their share.
    kept: u32,
    waiting: Mutex<Waiting>,
    max_wait: Duration,
    drainers: Drainers,
}

#[derive(Debug)]
struct Waiting {
    queue: Queue,
    /// How long the call that was served last had waited.
    last_wait: Duration,
    /// How many were told so.
    told: u64,
}

impl Waiting {
    /// A refusal that says how many wait, and when to come back, once a turn has come: after as long as the last one took, from
    /// half of that to half as much again, or all who were refused in one moment would come back in one.
    fn rejection(&mut self, reason: Reason) -> Rejection {
        let rejection = Rejection::new(Pattern::Bulkhead, reason).with_queued(self.queue.len());
        if self.last_wait.is_zero() {
            return rejection;
        }
        self.told = self.told.wrapping_add(1);
        let nanos = Timestamp::ZERO.saturating_add(self.last_wait).as_nanos();
        // Any run of steps of the golden ratio is spread evenly.
        let part = self.told.wrapping_mul(GOLDEN) >> u32::BITS;
        let wait = (u128::from(nanos).saturating_mul(part.into()) >> u32::BITS).saturating_add(u128::from(nanos / 2));
        rejection.with_retry_after(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }
}

/// What a call that found no room at first is told.
pub(crate) enum Joined {
    Served(Place),
    Waiting(Spot),
    Refused(Rejection),
}

impl Line {
    /// `seed` keeps apart tenants whose numbers somebody chose.
    pub(crate) fn new(config: QueueingBulkheadConfig, seed: u64) -> Self {
        let (limit, max_queued, max_wait) = (config.max_concurrent(), config.max_queued(), config.max_wait());
        let order = config.into_order();
        let (accounts, kept) = match &order {
            Order::ByShare(shares) => (Some(Accounts::new(shares, limit, seed)), shares.kept_parts()),
            _ => (None, 0),
        };
        Self {
            places: Places::new(limit),
            reserve: order.reserve(),
            accounts,
            kept,
            waiting: Mutex::new(Waiting { queue: Queue::new(&order, max_queued), last_wait: Duration::ZERO, told: 0 }),
            max_wait,
            drainers: Drainers::default(),
        }
    }

    pub(crate) const fn places(&self) -> &Places {
        &self.places
    }

    pub(crate) const fn drainers(&self) -> &Drainers {
        &self.drainers
    }

    pub(crate) fn queued(&self) -> usize {
        self.lock().queue.len()
    }

    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.lock().queue.oldest()
    }

    /// How many places a tenant holds, where there are shares.
    pub(crate) fn held_by(&self, tenant: u64) -> Option<u32> {
        self.accounts.as_ref().map(|accounts| accounts.used(accounts.holder(tenant)))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Wakers run outside the lock, so a panic of one leaves the line whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the line has to know of a call.
    #[inline]
    pub(crate) fn call(&self, context: &CallContext) -> Call {
        Call {
            // A call that says it costs nothing still takes a place: otherwise it would pass any limit.
            weight: context.cost.max(1),
            criticality: context.criticality,
            deadline: context.deadline.unwrap_or(Timestamp::MAX),
            holder: self.accounts.as_ref().map_or_else(Holder::default, |accounts| accounts.holder(context.tenant)),
        }
    }

    /// How many places a call may take, when its tenant holds `used` without it.
    fn ceiling(&self, call: &Call, used: u32, limit: u32) -> u32 {
        let ceiling = self.reserve.ceiling(call.criticality, limit);
        let borrows = self.kept > 0
            && self.accounts.as_ref().is_some_and(|accounts| {
                let own = u64::from(limit).saturating_mul(accounts.parts(call.holder).into()) / PARTS;
                u64::from(used).saturating_add(call.weight.into()) > own
            });
        if borrows { ceiling.min(Shares::lent(self.kept, call.weight, limit)) } else { ceiling }
    }

    fn used_by(&self, call: &Call) -> u32 {
        self.accounts.as_ref().map_or(0, |accounts| accounts.used(call.holder))
    }

    /// Takes the places of a call if they are free and nobody waits.
    #[inline]
    pub(crate) fn enter(&self, call: &Call) -> Option<Place> {
        let Some(accounts) = &self.accounts else {
            let ceiling = |limit| self.reserve.ceiling(call.criticality, limit);
            return self.places.try_take_below(call.weight, ceiling).ok().map(|()| Place::new(call.weight));
        };
        let seen = self.places.seen();
        // What never fits is not counted either: no count has room for it.
        if seen.is_waiting() || call.weight > seen.limit() {
            return None;
        }
        let account = accounts.open(call.holder, call.weight);
        let used = if self.kept > 0 { accounts.used(call.holder).saturating_sub(call.weight) } else { 0 };
        let ceiling = |limit| self.ceiling(call, used, limit);
        if self.places.try_take_below(call.weight, ceiling).is_err() {
            accounts.close(account, call.weight);
            return None;
        }
        Some(Place::of(call.weight, account))
    }

    /// Why a call that may not wait is refused.
    pub(crate) fn refusal(&self, call: &Call) -> Rejection {
        let seen = self.places.seen();
        seen.refusal(call.weight, self.reserve.ceiling(call.criticality, seen.limit()))
    }

    /// Takes the places of a call, or gets in line.
    pub(crate) fn join(&self, call: Call, now: Timestamp) -> Joined {
        let mut waiting = self.lock();
        let used = self.used_by(&call);
        let ceiling = |limit| self.ceiling(&call, used, limit);
        let seen = if waiting.queue.is_empty() {
            match self.places.take_or_wait(call.weight, ceiling) {
                Ok(()) => return Joined::Served(self.place_of(&call)),
                Err(seen) => seen,
            }
        } else {
            self.places.seen()
        };
        if ceiling(seen.limit()) < call.weight {
            return Joined::Refused(seen.refusal(call.weight, ceiling(seen.limit())));
        }
        let standing =
            self.accounts.as_ref().map_or((0, 0), |accounts| (accounts.parts(call.holder), accounts.used(call.holder)));
        let mut displaced = None;
        if waiting.queue.is_full() {
            let full = waiting.rejection(Reason::QueueFull);
            let Some(last) = waiting.queue.makes_room_for(&call, standing.0) else { return Joined::Refused(full) };
            displaced = waiting.queue.tell(last, Err(full));
        }
        let spot = waiting.queue.push(call, now, standing);
        let is_first = waiting.queue.first() == Some(spot);
        drop(waiting);
        if let Some(displaced) = displaced {
            displaced.wake();
        }
        if is_first {
            // It may find room that the first before it did not: it is lighter, or more critical.
            self.hand_off(None, now);
        }
        Joined::Waiting(spot)
    }

    fn place_of(&self, call: &Call) -> Place {
        let open = |accounts: &Accounts| accounts.open(call.holder, call.weight);
        Place::of(call.weight, self.accounts.as_ref().map_or(0, open))
    }

    #[inline]
    pub(crate) fn give_back(&self, place: &Place, now: impl FnOnce() -> Timestamp) {
        let holder = self.accounts.as_ref().map(|accounts| accounts.close(place.account(), place.weight()));
        let seen = self.places.give_back(place.weight());
        if seen.is_waiting() || seen.is_closed() {
            self.after_give_back(seen, holder, now);
        }
    }

    #[cold]
    fn after_give_back(&self, seen: Seen, holder: Option<Holder>, now: impl FnOnce() -> Timestamp) {
        if seen.is_waiting() {
            self.hand_off(holder, now());
        }
        if seen.is_drained() {
            self.drainers.wake_all();
        }
    }

    /// Serves the line, first those whose turn it is, as far as the places go. `changed` holds less than before.
    pub(crate) fn hand_off(&self, changed: Option<Holder>, now: Timestamp) {
        let mut waiting = self.lock();
        if let Some((holder, accounts)) = changed.zip(self.accounts.as_ref()) {
            waiting.queue.note(holder, accounts.used(holder));
        }
        while let Some(waker) = self.serve_first(&mut waiting, now) {
            drop(waiting);
            waker.wake();
            waiting = self.lock();
        }
    }

    /// Decides on the first in line; `None` when it must go on waiting or nobody is there.
    fn serve_first(&self, waiting: &mut Waiting, now: Timestamp) -> Option<Waker> {
        let Some(spot) = waiting.queue.first() else {
            self.places.nobody_waits();
            return None;
        };
        let (call, since) = waiting.queue.get_mut(spot).map(|waiter| (waiter.call, waiter.since))?;
        let used = self.used_by(&call);
        let ceiling = |limit| self.ceiling(&call, used, limit);
        // A place that comes free in the moment in which its time is up it still gets, if it looks.
        let turn = if call.deadline <= now || since.saturating_add(self.max_wait) < now {
            Err(waiting.rejection(Reason::QueueTimeout))
        } else {
            match self.places.try_take_in_turn(call.weight, ceiling) {
                Ok(()) => {
                    waiting.last_wait = now.since(since);
                    Ok(self.place_of(&call))
                }
                Err(seen) if ceiling(seen.limit()) < call.weight => {
                    Err(seen.refusal(call.weight, ceiling(seen.limit())))
                }
                Err(_) => return None,
            }
        };
        let waker = waiting.queue.tell(spot, turn);
        if let Some(accounts) = &self.accounts {
            waiting.queue.note(call.holder, accounts.used(call.holder));
        }
        if waiting.queue.is_empty() {
            self.places.nobody_waits();
        }
        waker
    }
}

/// One waiter's place in line. Dropping it leaves the line, or gives back what it was just handed.
#[derive(Debug)]
pub(crate) struct InLine<T: Clock> {
    line: Arc<Line>,
    spot: Option<Spot>,
    clock: T,
}

impl<T: Clock> InLine<T> {
    pub(crate) const fn new(line: Arc<Line>, spot: Spot, clock: T) -> Self {
        Self { line, spot: Some(spot), clock }
    }

    pub(crate) const fn clock(&self) -> &T {
        &self.clock
    }

    pub(crate) fn poll_turn(&mut self, cx: &Context<'_>) -> Poll<Result<Place, Rejection>> {
        // Polled again after it was ready: pending for ever, as nothing will wake it.
        let Some(spot) = self.spot else { return Poll::Pending };
        let mut waiting = self.line.lock();
        let Some(waiter) = waiting.queue.get_mut(spot) else { return Poll::Pending };
        let Some(turn) = waiter.turn.take() else {
            let replaced = replace_waker(&mut waiter.waker, cx.waker());
            drop(waiting);
            drop(replaced);
            return Poll::Pending;
        };
        // What is removed holds no waker any more: it was taken out to be woken.
        waiting.queue.remove(spot);
        drop(waiting);
        self.spot = None;
        Poll::Ready(turn)
    }

    /// Leaves, as time is up: with a place after all, if one was handed over in this moment.
    pub(crate) fn give_up(&mut self) -> Result<Place, Rejection> {
        self.leave().unwrap_or_else(|| Err(self.line.lock().rejection(Reason::QueueTimeout)))
    }

    /// Leaves: with what it was told in this moment, if it was.
    fn leave(&mut self) -> Option<Result<Place, Rejection>> {
        let waiter = self.spot.take().and_then(|spot| self.line.lock().queue.remove(spot))?;
        if waiter.turn.is_none() {
            // The next in line may be lighter, or there may be no next.
            self.line.hand_off(None, self.clock.now());
        }
        waiter.turn
    }
}

impl<T: Clock> Drop for InLine<T> {
    fn drop(&mut self) {
        if let Some(Ok(place)) = self.leave() {
            self.line.give_back(&place, || self.clock.now());
        }
    }
}

#[cfg(all(test, seawall_loom))]
mod loom_tests {
    use std::{future::Pending, pin::Pin, sync::atomic::Ordering::SeqCst};

    use loom::thread;
    use seawall_core::{Admission, Class, Gate, Outcome, Timer};

    use super::*;
    use crate::{BulkheadConfig, BulkheadWait, QueueingBulkhead, Reserve, Shares};

    /// Never wakes anybody.
    #[derive(Clone)]
    struct Never;

    impl Clock for Never {
        fn now(&self) -> Timestamp {
            Timestamp::ZERO
        }
    }

    impl Timer for Never {
        type Sleep = Pending<()>;

        fn sleep_until(&self, _: Timestamp) -> Pending<()> {
            std::future::pending()
        }
    }

    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicU32);

    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn ordered(limit: usize, order: Order) -> Arc<QueueingBulkhead<Never>> {
        let config = QueueingBulkheadConfig::new(BulkheadConfig::new(limit).unwrap()).with_order(order);
        Arc::new(QueueingBulkhead::new(config.with_max_wait(Duration::MAX).unwrap(), Never))
    }

    fn bulkhead() -> Arc<QueueingBulkhead<Never>> {
        ordered(1, Order::OldestFirst)
    }

    fn admit_for(bulkhead: &QueueingBulkhead<Never>, context: CallContext) -> Admission<Place, BulkheadWait<Never>> {
        bulkhead.admit(|| context, || Timestamp::ZERO)
    }

    fn admit(bulkhead: &QueueingBulkhead<Never>) -> Admission<Place, BulkheadWait<Never>> {
        admit_for(bulkhead, CallContext::default())
    }

    fn finish(bulkhead: &QueueingBulkhead<Never>, place: Place) {
        bulkhead.finish(place, Outcome::Finished(Class::Success), || Timestamp::ZERO);
    }

    fn inside(bulkhead: &QueueingBulkhead<Never>) -> Place {
        let Admission::Admitted(place) = admit(bulkhead) else { panic!("the first call finds a place") };
        place
    }

    fn poll(wait: &mut Pin<Box<BulkheadWait<Never>>>, woken: &std::sync::Arc<Woken>) -> Poll<Result<Place, Rejection>> {
        let waker = Waker::from(std::sync::Arc::clone(woken));
        wait.as_mut().poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn no_wake_up_is_lost_between_a_call_that_ends_and_one_that_begins_to_wait() {
        loom::model(|| {
            let bulkhead = bulkhead();
            let place = inside(&bulkhead);
            let other = Arc::clone(&bulkhead);
            let ends = thread::spawn(move || finish(&other, place));
            let woken = std::sync::Arc::new(Woken::default());
            match admit(&bulkhead) {
                Admission::Admitted(place) => {
                    ends.join().unwrap();
                    finish(&bulkhead, place);
                }
                Admission::Queued(wait) => {
                    let mut wait = Box::pin(wait);
                    let first_look = poll(&mut wait, &woken);
                    ends.join().unwrap();
                    let place = match first_look {
                        Poll::Ready(turn) => turn,
                        Poll::Pending => {
                            assert_eq!(woken.0.load(SeqCst), 1);
                            let Poll::Ready(turn) = poll(&mut wait, &woken) else { panic!("woken without a place") };
                            turn
                        }
                    };
                    finish(&bulkhead, place.unwrap());
                }
                Admission::Refused(rejection) => panic!("{rejection}"),
            }
            assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0));
            finish(&bulkhead, inside(&bulkhead));
        });
    }

    #[test]
    fn nobody_barges_past_the_line_and_nobody_is_let_in_twice() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let bulkhead = bulkhead();
            let place = inside(&bulkhead);
            let Admission::Queued(wait) = admit(&bulkhead) else { panic!("the place is taken") };
            let mut first = Box::pin(wait);
            let woken = std::sync::Arc::new(Woken::default());
            let (ending, barging) = (Arc::clone(&bulkhead), Arc::clone(&bulkhead));
            let ends = thread::spawn(move || finish(&ending, place));
            let barges = thread::spawn(move || match admit(&barging) {
                Admission::Queued(wait) => drop(wait),
                other => panic!("{other:?} though somebody was in line"),
            });
            ends.join().unwrap();
            barges.join().unwrap();
            let Poll::Ready(Ok(place)) = poll(&mut first, &woken) else { panic!("the place was not handed over") };
            assert_eq!(bulkhead.in_flight(), 1);
            finish(&bulkhead, place);
            assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0));
        });
    }

    #[test]
    fn a_waiter_that_leaves_while_it_is_served_passes_the_place_on() {
        loom::model(|| {
            let bulkhead = bulkhead();
            let place = inside(&bulkhead);
            let (Admission::Queued(leaving), Admission::Queued(staying)) = (admit(&bulkhead), admit(&bulkhead)) else {
                panic!("the place is taken")
            };
            let other = Arc::clone(&bulkhead);
            let ends = thread::spawn(move || finish(&other, place));
            drop(leaving);
            ends.join().unwrap();
            let woken = std::sync::Arc::new(Woken::default());
            let Poll::Ready(Ok(place)) = poll(&mut Box::pin(staying), &woken) else { panic!("the place is lost") };
            finish(&bulkhead, place);
            assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0));
        });
    }

    fn of(tenant: u64) -> CallContext {
        CallContext::new().with_tenant(tenant)
    }

    #[test]
    fn a_place_that_comes_free_as_a_tenant_asks_for_its_share_goes_to_one_of_those_who_wait_and_no_count_is_lost() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let bulkhead = ordered(1, Order::ByShare(Shares::fixed([(1, 0.5), (2, 0.5)]).unwrap()));
            let Admission::Admitted(place) = admit_for(&bulkhead, of(1)) else { panic!("nobody is inside") };
            let Admission::Queued(wait) = admit_for(&bulkhead, of(1)) else { panic!("the place is taken") };
            let mut first = Box::pin(wait);
            let other = Arc::clone(&bulkhead);
            let ends = thread::spawn(move || finish(&other, place));
            let Admission::Queued(wait) = admit_for(&bulkhead, of(2)) else { panic!("somebody is in line") };
            let mut second = Box::pin(wait);
            ends.join().unwrap();
            assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (1, 1));
            let woken = std::sync::Arc::new(Woken::default());
            let (served, waits) = match poll(&mut first, &woken) {
                Poll::Ready(turn) => (turn, second),
                Poll::Pending => (
                    match poll(&mut second, &woken) {
                        Poll::Ready(turn) => turn,
                        Poll::Pending => panic!("the place is lost"),
                    },
                    first,
                ),
            };
            let held = [1, 2].map(|tenant| bulkhead.in_flight_of(tenant).unwrap());
            assert_eq!(held.iter().sum::<u32>(), 1);
            finish(&bulkhead, served.unwrap());
            drop(waits);
            assert_eq!([1, 2].map(|tenant| bulkhead.in_flight_of(tenant).unwrap()), [0, 0]);
            assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0));
        });
    }

    #[test]
    fn who_gets_in_line_sees_what_those_hold_who_came_in_before() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let shares = Shares::fixed([(1, 0.3), (2, 0.3), (3, 0.3)]).unwrap();
            let bulkhead = ordered(5, Order::ByShare(shares));
            let [third, held @ ..] = [3, 1, 2, 2].map(|tenant| match admit_for(&bulkhead, of(tenant)) {
                Admission::Admitted(place) => place,
                _ => panic!("there are places"),
            });
            let other = Arc::clone(&bulkhead);
            let enters = thread::spawn(move || admit_for(&other, of(1)));
            let mut places = vec![third];
            match admit_for(&bulkhead, of(2)) {
                Admission::Admitted(place) => places.push(place),
                Admission::Refused(rejection) => panic!("{rejection}"),
                Admission::Queued(wait) => {
                    let mut first = Box::pin(wait);
                    let Admission::Queued(second) = admit_for(&bulkhead, of(1)) else { panic!("somebody waits") };
                    places.drain(..).for_each(|place| finish(&bulkhead, place));
                    let Poll::Ready(Ok(place)) = poll(&mut first, &std::sync::Arc::new(Woken::default())) else {
                        panic!("both hold two places, and this one came first")
                    };
                    drop(second);
                    places.push(place);
                }
            }
            if let Admission::Admitted(place) = enters.join().unwrap() {
                places.push(place);
            }
            places.into_iter().chain(held).for_each(|place| finish(&bulkhead, place));
            assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0));
            assert_eq!([1, 2, 3].map(|tenant| bulkhead.in_flight_of(tenant).unwrap()), [0; 3]);
        });
    }

    #[test]
    fn a_critical_call_finds_the_place_that_is_kept_while_a_sheddable_one_waits() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let bulkhead = ordered(2, Order::MostCriticalFirst(Reserve::default()));
            let of = |criticality| CallContext::new().with_criticality(criticality);
            let sheddable = of(seawall_core::Criticality::Sheddable);
            let Admission::Admitted(place) = admit_for(&bulkhead, sheddable) else { panic!("nobody is inside") };
            let other = Arc::clone(&bulkhead);
            let waits = thread::spawn(move || match admit_for(&other, sheddable) {
                Admission::Queued(wait) => wait,
                _ => panic!("the second place is kept"),
            });
            let critical = match admit_for(&bulkhead, of(seawall_core::Criticality::Critical)) {
                Admission::Admitted(place) => place,
                Admission::Queued(wait) => match poll(&mut Box::pin(wait), &std::sync::Arc::new(Woken::default())) {
                    Poll::Ready(turn) => turn.unwrap(),
                    Poll::Pending => panic!("it waits for a place that is kept for it"),
                },
                Admission::Refused(rejection) => panic!("{rejection}"),
            };
            let waits = waits.join().unwrap();
            finish(&bulkhead, critical);
            finish(&bulkhead, place);
            assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (1, 0), "the place went to the one that waited");
            drop(waits);
            assert_eq!(bulkhead.in_flight(), 0);
        });
    }
}
