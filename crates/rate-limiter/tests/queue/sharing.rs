//! Thousands of keys before a quota that they share.
#![expect(clippy::disallowed_types, reason = "wakers and sleepers of a test, off every hot path")]

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    hash::{Hash, Hasher},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use seawall_core::{Admission, CallContext, Clock, Reason, Rejection, Timer, Timestamp, VirtualClock};
use seawall_rate_limiter::{
    AdmitKey, KeyedGcra, KeyedQuota, Plan, Plans, QueueingKeys, QueueingQuota, Quota, Quotas, RateLimiterWait,
};

/// Tasks that have been woken, in the order of that.
type Woken = Arc<Mutex<Vec<usize>>>;

struct Wakes(usize, Woken);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).push(self.0);
    }
}

/// Time that stands still until the next sleeper is due, whom a heap finds among ten thousand.
#[derive(Clone, Default)]
struct Bell(Arc<Mutex<Rings>>);

#[derive(Default)]
struct Rings {
    now: u64,
    count: u64,
    at: BinaryHeap<Reverse<(u64, u64)>>,
    wakers: HashMap<u64, Waker>,
}

impl Bell {
    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To the next ring, in whole steps of a timer; the wakers of all who are due then.
    fn next(&self, step: u64) -> bool {
        let mut rings = self.rings();
        while rings.at.peek().is_some_and(|Reverse((_, id))| !rings.wakers.contains_key(id)) {
            rings.at.pop();
        }
        let Some(Reverse((at, _))) = rings.at.peek().copied() else { return false };
        rings.now = rings.now.max(at.div_ceil(step) * step);
        let mut due = Vec::new();
        while rings.at.peek().is_some_and(|Reverse((at, _))| *at <= rings.now) {
            let Some(Reverse((_, id))) = rings.at.pop() else { break };
            due.extend(rings.wakers.remove(&id));
        }
        drop(rings);
        due.into_iter().for_each(Waker::wake);
        true
    }
}

impl Clock for Bell {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.rings().now)
    }
}

impl Timer for Bell {
    type Sleep = Asleep;

    fn sleep_until(&self, at: Timestamp) -> Asleep {
        let mut rings = self.rings();
        rings.count += 1;
        Asleep { bell: self.clone(), at: at.as_nanos(), id: rings.count }
    }
}

struct Asleep {
    bell: Bell,
    at: u64,
    id: u64,
}

impl Future for Asleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut rings = self.bell.rings();
        if rings.now >= self.at {
            rings.wakers.remove(&self.id);
            return Poll::Ready(());
        }
        if rings.wakers.insert(self.id, cx.waker().clone()).is_none() {
            rings.at.push(Reverse((self.at, self.id)));
        }
        Poll::Pending
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        let waker = self.bell.rings().wakers.remove(&self.id);
        drop(waker);
    }
}

/// Calls that wait, as tasks, and what became of them.
#[derive(Default)]
struct Crowd {
    tasks: Vec<Option<Pin<Box<RateLimiterWait<Bell>>>>>,
    woken: Woken,
    polls: u64,
    ended: Vec<(usize, Result<(), Rejection>, Timestamp)>,
}

impl Crowd {
    fn woken(&self) -> MutexGuard<'_, Vec<usize>> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&mut self, wait: RateLimiterWait<Bell>) {
        let id = self.tasks.len();
        self.tasks.push(Some(Box::pin(wait)));
        self.woken().push(id);
    }

    fn run(&mut self, bell: &Bell) {
        loop {
            let woken = std::mem::take(&mut *self.woken());
            if woken.is_empty() {
                return;
            }
            for id in woken {
                let Some(task) = self.tasks[id].as_mut() else { continue };
                self.polls += 1;
                let waker = Waker::from(Arc::new(Wakes(id, Arc::clone(&self.woken))));
                if let Poll::Ready(turn) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
                    self.tasks[id] = None;
                    self.ended.push((id, turn, bell.now()));
                }
            }
        }
    }

    fn run_to_the_end(&mut self, bell: &Bell, step: u64) {
        self.run(bell);
        while bell.next(step) {
            self.run(bell);
        }
    }

    fn served(&self) -> Vec<usize> {
        self.ended.iter().filter(|(_, turn, _)| turn.is_ok()).map(|(id, ..)| *id).collect()
    }
}

fn per_second(calls: u32, burst: u32) -> Quota {
    Quota::per_second(calls).and_then(|quota| quota.with_burst(burst)).expect("in range")
}

fn queueing<G>(limiter: G, max_wait: Duration) -> QueueingQuota<G> {
    let quota = QueueingQuota::new(limiter).with_max_queued(100_000);
    quota.and_then(|quota| quota.with_max_wait(max_wait)).expect("tests ask for a line")
}

const MILLISECOND: u64 = 1_000_000;

#[test]
fn ten_thousand_keys_wait_for_a_shared_quota_in_order_of_arrival_and_only_as_many_as_get_a_turn() {
    let bell = Bell::default();
    let quotas = Quotas::new().with_keyed(per_second(10, 10)).with_shared(per_second(1_000, 1));
    let limiter = QueueingKeys::<Quotas, u64, Bell>::new(queueing(quotas, Duration::from_millis(500)), bell.clone());
    let (mut crowd, mut at_once, mut refused) = (Crowd::default(), 0, 0);

    for key in 0..10_000 {
        match limiter.admit_key(&key, CallContext::new, || bell.now()) {
            Admission::Admitted(()) => at_once += 1,
            Admission::Queued(wait) => crowd.add(wait),
            Admission::Refused(rejection) => {
                assert_eq!(rejection.reason(), Reason::RateLimited);
                refused += 1;
            }
        }
    }
    crowd.run_to_the_end(&bell, MILLISECOND);

    assert_eq!((at_once, crowd.ended.len(), refused), (1, 500, 9_499), "the rest is refused when it comes");
    assert_eq!(crowd.served(), (0..500).collect::<Vec<_>>(), "first come, first served, whatever the key");
    let last = crowd.ended.last().map(|(.., at)| at.as_nanos());
    assert_eq!(last, Some(500 * MILLISECOND), "at the rate of the quota");
    assert!(crowd.polls <= 4 * 500, "{} polls for 500 calls", crowd.polls);
    assert_eq!((limiter.queued(), limiter.lines()), (0, 0));
}

#[test]
fn a_newcomer_of_another_key_does_not_pass_those_who_wait_for_what_it_shares_with_them() {
    let bell = Bell::default();
    let quotas = Quotas::new().with_shared(per_second(1_000, 1));
    let limiter = QueueingKeys::<Quotas, u64, Bell>::new(queueing(quotas, Duration::from_millis(500)), bell.clone());
    let mut crowd = Crowd::default();
    let mut admitted = Vec::new();
    // Twice the quota comes, each call of a key of its own, just before those who wait are woken.
    for key in 0..4_000_u64 {
        match limiter.admit_key(&key, CallContext::new, || bell.now()) {
            Admission::Admitted(()) => admitted.push((key, bell.now())),
            Admission::Queued(wait) => crowd.add(wait),
            Admission::Refused(_) => {}
        }
        if key % 2 == 0 {
            crowd.run(&bell);
        } else {
            let until = bell.now().saturating_add(Duration::from_millis(1)).as_nanos();
            bell.rings().now = until;
        }
    }
    crowd.run_to_the_end(&bell, MILLISECOND);

    assert_eq!(admitted.len(), 1, "all others find somebody in line");
    assert!(crowd.ended.iter().all(|(_, turn, _)| turn.is_ok()), "whoever is let in line is served");
    assert!(crowd.served().is_sorted(), "in order of arrival");
    assert_eq!(crowd.ended.len(), 1_999 + 500, "a call each millisecond, and those of the line at the end");
    assert!(crowd.polls <= 4 * 2_499, "{} polls for 2,499 calls", crowd.polls);
}

/// A key that its own quota holds back twice stands among others that it does not, in a line of 300 ms.
fn holds_up_nobody(calls_per_key: u32, held_for: [u64; 2]) {
    let bell = Bell::default();
    let quotas = Quotas::new().with_keyed(per_second(calls_per_key, 1)).with_shared(per_second(1_000, 1));
    let limiter = QueueingKeys::<Quotas, u64, Bell>::new(queueing(quotas, Duration::from_millis(300)), bell.clone());
    let mut crowd = Crowd::default();
    let ask = |crowd: &mut Crowd, key: u64| match limiter.admit_key(&key, CallContext::new, || bell.now()) {
        Admission::Admitted(()) => true,
        Admission::Queued(wait) => {
            crowd.add(wait);
            true
        }
        Admission::Refused(_) => false,
    };
    assert!(ask(&mut crowd, 7) && ask(&mut crowd, 7) && ask(&mut crowd, 7), "held back for {held_for:?} ms");
    crowd.run(&bell);

    let others = (1_000..2_000).filter(|key| ask(&mut crowd, *key)).count();
    crowd.run_to_the_end(&bell, MILLISECOND);

    assert_eq!(others, 298, "what is left of 300 ms when the two have come in between");
    assert!(crowd.ended.iter().all(|(_, turn, _)| turn.is_ok()), "whoever is let in line is served");
    let at = |id| crowd.ended.iter().find(|(ended, ..)| *ended == id).map(|(.., at)| at.as_nanos() / MILLISECOND);
    assert_eq!([at(0), at(1)], held_for.map(Some), "it came before them");
    assert_eq!((at(2), at(299)), (Some(1), Some(300)));
}

#[test]
fn a_key_that_its_own_quota_holds_back_keeps_its_place_and_holds_up_nobody_else() {
    holds_up_nobody(10, [100, 200]);
    holds_up_nobody(500, [2, 4]);
}

#[test]
fn who_leaves_a_shared_line_moves_up_all_behind_whatever_their_key() {
    let bell = Bell::default();
    let quotas = Quotas::new().with_keyed(per_second(1_000, 9)).with_shared(per_second(1_000, 1));
    let limiter = QueueingKeys::<Quotas, u64, Bell>::new(queueing(quotas, Duration::from_secs(9)), bell.clone());
    let mut crowd = Crowd::default();
    for key in 0..3_001 {
        if let Admission::Queued(wait) = limiter.admit_key(&(key % 1_000), CallContext::new, || bell.now()) {
            crowd.add(wait);
        }
    }
    crowd.run(&bell);

    for id in (0..3_000).filter(|id| id % 3 != 0) {
        crowd.tasks[id] = None;
    }
    crowd.run_to_the_end(&bell, MILLISECOND);

    assert_eq!(crowd.served(), (0..3_000).step_by(3).collect::<Vec<_>>());
    assert_eq!(crowd.ended.last().map(|(.., at)| at.as_nanos()), Some(1_000 * MILLISECOND));
    assert_eq!((limiter.queued(), limiter.lines()), (0, 0));
}

#[test]
fn tenants_of_a_plan_wait_in_one_line_and_those_beyond_their_quota_behind_those_within() {
    let bell = Bell::default();
    let plans = Plans::new(per_second(1_000, 1), Plan::new(per_second(500, 2), per_second(1, 1)));
    let quota = queueing(plans.expect("not oversold"), Duration::from_secs(1));
    let limiter = QueueingKeys::<Plans, (&'static str, u64), Bell>::new(quota, bell.clone());
    let mut crowd = Crowd::default();
    let mut ask = |tenant: u64| match limiter.admit_key(&("", tenant), CallContext::new, || bell.now()) {
        Admission::Admitted(()) => 'a',
        Admission::Queued(wait) => {
            crowd.add(wait);
            'q'
        }
        Admission::Refused(_) => 'r',
    };
    while ask(0) == 'a' {}
    let greedy = 1 + (0..49).filter(|_| ask(0) == 'q').count();
    let within = (1..2_000).filter(|tenant| ask(*tenant) == 'q').count();
    crowd.run_to_the_end(&bell, MILLISECOND);

    let (served, polls) = (crowd.served(), crowd.polls);
    assert_eq!(greedy, 50);
    let first_greedy = served.iter().position(|id| *id < greedy);
    assert!(first_greedy.is_none_or(|first| first + 2 >= within), "{first_greedy:?} of {}", served.len());
    assert!(served.iter().filter(|id| **id >= greedy).is_sorted());
    assert_eq!(within, 499, "the plan's 500 a second");
    assert!(polls <= 6 * served.len() as u64, "{polls} polls for {} calls", served.len());
}

/// A key that counts its copies: all that were made, and how many there are.
struct Counted(u64, Arc<AtomicUsize>);

impl Hash for Counted {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.1.fetch_add(1, Relaxed);
        Self(self.0, Arc::clone(&self.1))
    }
}

#[test]
fn hostile_keys_that_are_refused_leave_nothing_behind_and_a_peak_leaves_no_line() {
    let (clock, copies) = (VirtualClock::new(), Arc::new(AtomicUsize::new(0)));
    let quota = KeyedQuota::new(per_second(1, 1)).with_max_keys(100_000).expect("in range");
    let quota = queueing(KeyedGcra::new(quota), Duration::from_secs(1));
    let limiter = QueueingKeys::<KeyedGcra, Counted, VirtualClock>::new(quota, clock.clone());
    let ask = |key, cost| {
        let key = Counted(key, Arc::clone(&copies));
        limiter.admit_key(&key, || CallContext::new().with_cost(cost), || clock.now())
    };
    let mut waiting = Vec::new();

    for key in 0..20_000 {
        assert!(matches!(ask(key, 1), Admission::Admitted(())));
        let Admission::Queued(wait) = ask(key, 1) else { panic!("its turn is in a second") };
        waiting.push(wait);
        assert!(matches!(ask(key, 1), Admission::Refused(_)), "two seconds are too long");
    }
    assert_eq!((limiter.queued(), limiter.lines(), copies.load(Relaxed)), (20_000, 20_000, 20_000));
    for key in 30_000..40_000 {
        let Admission::Refused(refused) = ask(key, 2) else { panic!("above the burst") };
        assert_eq!(refused.reason(), Reason::TooHeavy);
    }
    assert_eq!((limiter.lines(), copies.load(Relaxed)), (20_000, 20_000), "a call that is refused has no line");

    drop(waiting);

    assert_eq!((limiter.queued(), limiter.lines()), (0, 0));
    assert_eq!(Arc::strong_count(&copies), 1, "no key outlives those who wait");
}
