//! The distributed limiter as a user stacks it: its layer, and the driver that supplies it from a store.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
#![expect(clippy::disallowed_types, reason = "a store for tests")]
use std::{
    collections::HashMap,
    convert::Infallible,
    future::pending,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use seawall_core::{Clock, Env, Reason, Timer, Timestamp, TokioClock};
use seawall_rate_limiter::{
    Answer, DistributedKeyedGcra, DistributedQuota, DistributedRateLimiterLayer, Error, Exchange, Gcra, IfGone, Quota,
    Store,
};
use tower::{ServiceExt, service_fn};

/// One Redis, as far as anybody can tell: a [`Gcra`] for each key.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    quotas: HashMap<String, Gcra>,
    exchanges: Vec<usize>,
    health: Health,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Health {
    #[default]
    Answers,
    Fails,
    Hangs,
}

impl Shelf {
    fn with<T>(&self, look: impl FnOnce(&mut Content) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn left(&self, key: &str) -> u32 {
        self.with(|content| content.quotas[key].standing(TokioClock.now()).remaining())
    }
}

impl Store for Shelf {
    type Error = io::Error;

    async fn exchange(&mut self, exchanges: &[Exchange<'_>]) -> io::Result<Vec<Option<Answer>>> {
        TokioClock.sleep_until(TokioClock.now().saturating_add(Duration::from_millis(1))).await;
        match self.with(|content| content.health) {
            Health::Answers => {}
            Health::Fails => return Err(io::ErrorKind::ConnectionRefused.into()),
            Health::Hangs => pending().await,
        }
        Ok(self.with(|content| {
            content.exchanges.push(exchanges.len());
            exchanges.iter().map(|exchange| Some(content.settle(exchange))).collect()
        }))
    }
}

impl Content {
    fn settle(&mut self, exchange: &Exchange<'_>) -> Answer {
        let (now, need) = (TokioClock.now(), exchange.need);
        let quota = self.quotas.entry(exchange.key.to_owned()).or_insert_with(|| Gcra::new(exchange.quota));
        quota.set_quota(exchange.quota, now);
        quota.charge(need.charge, now);
        quota.refund(need.give_back);
        let granted = need.take.min(quota.standing(now).remaining());
        quota.charge(granted, now);
        Answer { granted, full_in: quota.standing(now).full_in() }
    }
}

/// Ten per second and ten at once, for two processes.
fn ten() -> DistributedQuota {
    let quota = Quota::per_second(10).and_then(|quota| quota.with_burst(10)).expect("in range");
    DistributedQuota::new(quota, 2).expect("two processes")
}

/// A process that shares the store.
fn process(quota: DistributedQuota, shelf: &Shelf) -> DistributedKeyedGcra {
    let limiter = DistributedKeyedGcra::new(quota);
    tokio::spawn(limiter.supply(shelf.clone(), TokioClock));
    limiter
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Calls every millisecond for `time`; how many went on.
async fn call_for(time: Duration, limiter: &DistributedKeyedGcra, key: &str) -> usize {
    let (end, mut admitted) = (TokioClock.now().saturating_add(time), 0);
    while TokioClock.now() < end {
        admitted += usize::from(limiter.take(key, 1, TokioClock.now()).is_ok());
        pass(Duration::from_millis(1)).await;
    }
    admitted
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn two_processes_share_the_quota_of_a_key_and_other_keys_have_their_own() {
    let shelf = Shelf::default();
    let (one, other) = (process(ten(), &shelf), process(ten(), &shelf));

    let (at_one, at_other, of_bob) = tokio::join!(
        call_for(10 * SECOND, &one, "ann"),
        call_for(10 * SECOND, &other, "ann"),
        call_for(10 * SECOND, &one, "bob")
    );

    // Ten at once and a hundred in ten seconds.
    assert!((108..=112).contains(&(at_one + at_other)), "{at_one} and {at_other}");
    assert!(at_one.abs_diff(at_other) <= 20, "{at_one} and {at_other}");
    assert!((106..=112).contains(&of_bob), "{of_bob}");
}

#[tokio::test(start_paused = true)]
async fn its_layer_takes_key_and_cost_from_the_request_and_refuses_with_a_wait() {
    let limiter = process(ten(), &Shelf::default());
    let env = Env::new().with_clock(TokioClock);
    let layer = DistributedRateLimiterLayer::with_env(limiter.clone(), String::as_str, env);
    let service = layer.protect(service_fn(|request: String| async move { Ok::<_, Infallible>(request) }));

    // The local share has five; what they cost is told to the store, which has five more.
    for _ in 0..5 {
        assert_eq!(service.clone().oneshot("ann".to_owned()).await, Ok("ann".to_owned()));
    }
    pass(Duration::from_millis(5)).await;
    for _ in 0..5 {
        assert_eq!(service.clone().oneshot("ann".to_owned()).await, Ok("ann".to_owned()));
    }
    pass(Duration::from_millis(25)).await;

    let refused = service.clone().oneshot("ann".to_owned()).await;

    let Err(Error::Rejected(rejection)) = refused else { panic!("the quota is used up") };
    assert_eq!(rejection.reason(), Reason::RateLimited);
    let wait = rejection.retry_after().expect("it is known when there will be more");
    assert!((Duration::from_millis(50)..=Duration::from_millis(250)).contains(&wait), "{wait:?}");
    assert_eq!(limiter.standing("ann", TokioClock.now()).remaining(), 0);
    assert_eq!(limiter.standing("bob", TokioClock.now()).remaining(), 10);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_fails_or_hangs_a_process_admits_its_local_share() {
    for health in [Health::Fails, Health::Hangs] {
        let shelf = Shelf::default();
        shelf.with(|content| content.health = health);
        let limiter = process(ten(), &shelf);

        let admitted = call_for(10 * SECOND, &limiter, "ann").await;

        // Half of the burst and half of the rate.
        assert_eq!(admitted, 5 + 49);
        assert!(limiter.figures().is_gone);

        shelf.with(|content| content.health = Health::Answers);
        pass(2 * SECOND).await;
        let admitted = call_for(10 * SECOND, &limiter, "ann").await;
        assert!((104..=112).contains(&admitted), "{admitted}");
        assert!(!limiter.figures().is_gone);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_driver_a_process_admits_its_local_share() {
    let limiter = DistributedKeyedGcra::new(ten());

    assert_eq!(call_for(10 * SECOND, &limiter, "ann").await, 5 + 49);
}

#[tokio::test(start_paused = true)]
async fn a_limiter_that_is_to_refuse_admits_nothing_that_was_not_granted() {
    let shelf = Shelf::default();
    shelf.with(|content| content.health = Health::Fails);
    let limiter = process(ten().with_if_gone(IfGone::Refuse), &shelf);

    assert_eq!(call_for(5 * SECOND, &limiter, "ann").await, 0);

    shelf.with(|content| content.health = Health::Answers);
    pass(2 * SECOND).await;
    let admitted = call_for(10 * SECOND, &limiter, "ann").await;
    assert!((107..=110).contains(&admitted), "{admitted}");
}

#[tokio::test(start_paused = true)]
async fn what_a_key_or_a_process_no_longer_uses_goes_back_and_keys_are_forgotten() {
    let shelf = Shelf::default();
    let limiter = process(ten(), &shelf);
    assert_eq!(limiter.take("ann", 1, TokioClock.now()), Ok(()));
    pass(Duration::from_millis(10)).await;
    assert!(shelf.left("ann") < 9, "some are leased ahead");
    assert_eq!(limiter.figures().keys, 1);

    pass(5 * SECOND).await;
    assert_eq!((shelf.left("ann"), limiter.figures().keys), (10, 0));

    let exchanges = limiter.figures().exchanges;
    pass(60 * SECOND).await;
    assert_eq!(limiter.figures().exchanges, exchanges, "nobody calls, so nobody asks");

    assert_eq!(limiter.take("bob", 1, TokioClock.now()), Ok(()));
    pass(Duration::from_millis(10)).await;
    drop(limiter);
    pass(Duration::from_millis(10)).await;
    assert_eq!(shelf.left("bob"), 9);
}

#[tokio::test(start_paused = true)]
async fn keys_beyond_the_bound_share_one_quota_and_questions_of_many_keys_go_out_together() {
    let shelf = Shelf::default();
    let limiter = process(ten().with_max_keys(40).unwrap(), &shelf);

    let admitted = (0..100).filter(|key| limiter.take(&format!("key {key}"), 1, TokioClock.now()).is_ok()).count();

    assert_eq!(admitted, 40 + 5, "those that share one quota have one local share of it");
    assert_eq!(limiter.figures().keys, 40);
    pass(Duration::from_millis(5)).await;
    assert_eq!(shelf.with(|content| content.exchanges.clone()), [41]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_costs_more_than_the_local_share_is_leased_what_it_needs() {
    let shelf = Shelf::default();
    let limiter = process(ten(), &shelf);

    let first = limiter.take("ann", 8, TokioClock.now()).unwrap_err();
    assert_eq!(first.reason(), Reason::RateLimited);
    assert_eq!(limiter.take("ann", 11, TokioClock.now()).unwrap_err().reason(), Reason::TooHeavy);
    pass(Duration::from_millis(5)).await;

    assert_eq!(limiter.take("ann", 8, TokioClock.now()), Ok(()));
}

#[test]
fn the_end_of_time_overflows_nothing() {
    let limiter = DistributedKeyedGcra::new(ten());

    let admitted = (0..20).filter(|_| limiter.take("ann", 1, Timestamp::MAX).is_ok()).count();

    assert!(admitted <= 5, "{admitted}");
}

#[tokio::test(start_paused = true)]
async fn a_new_quota_keeps_what_was_used_and_reaches_the_store() {
    let quota = |burst| Quota::per_hour(1).and_then(|quota| quota.with_burst(burst)).unwrap();
    let shelf = Shelf::default();
    let limiter = DistributedKeyedGcra::new(DistributedQuota::new(quota(10), 1).unwrap().with_if_gone(IfGone::Refuse));
    tokio::spawn(limiter.supply(shelf.clone(), TokioClock));
    let take_all = async || {
        let mut taken = 0;
        for _ in 0..200 {
            taken += u32::from(limiter.take("ann", 1, TokioClock.now()).is_ok());
            tokio::time::advance(Duration::from_millis(10)).await;
            tokio::task::yield_now().await;
        }
        taken
    };
    assert_eq!((take_all().await, shelf.left("ann")), (10, 0));

    limiter.set_quota(quota(25), TokioClock.now()).unwrap();

    assert_eq!((take_all().await, shelf.left("ann")), (15, 0));
    limiter.set_quota(quota(7), TokioClock.now()).unwrap();
    assert_eq!(limiter.take("ann", 8, TokioClock.now()).unwrap_err().reason(), Reason::TooHeavy);
    assert_eq!(limiter.standing("bob", TokioClock.now()).remaining(), 7);
}
