//! Eight processes share one quota, in virtual time: their cores, a store that may be slow or gone, and a network between
//! them. The same seed gives the same run.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
#![expect(clippy::cast_precision_loss, reason = "ratios of small test numbers")]
use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use proptest::prelude::*;
use seawall_core::Timestamp;
use seawall_rate_limiter::{Answer, DistributedGcra, DistributedQuota, IfGone, Need, Quota};

const MICROS: u64 = 1_000;
const MILLIS: u64 = 1_000 * MICROS;
const SECONDS: u64 = 1_000 * MILLIS;
const PROCESSES: usize = 8;
/// One process has half of the demand, another hardly any.
const SKEWED: [u64; PROCESSES] = [512, 256, 128, 64, 32, 16, 8, 8];
const EVEN: [u64; PROCESSES] = [128; PROCESSES];

/// A thousand per second, two hundred at once.
fn thousand() -> Quota {
    Quota::per_second(1_000).and_then(|quota| quota.with_burst(200)).expect("in range")
}

fn shared(quota: Quota) -> DistributedQuota {
    DistributedQuota::new(quota, 8).expect("eight processes")
}

/// The bucket as the script keeps it.
#[derive(Debug)]
struct Bucket {
    interval: u128,
    burst: u128,
    owed: u128,
    at: u64,
}

impl Bucket {
    fn new(quota: Quota) -> Self {
        Self { interval: quota.interval().as_nanos(), burst: quota.burst().into(), owed: 0, at: 0 }
    }

    fn exchange(&mut self, need: Need, now: u64) -> Answer {
        self.owed = self.owed.saturating_sub(u128::from(now.saturating_sub(self.at)));
        self.at = now;
        let charged = self.owed + u128::from(need.charge) * self.interval;
        self.owed = charged.saturating_sub(u128::from(need.give_back) * self.interval);
        let room = (self.burst * self.interval).saturating_sub(self.owed) / self.interval;
        let granted = room.min(need.take.into());
        self.owed += granted * self.interval;
        let nanos = u64::try_from(self.owed).expect("a debt of small numbers");
        Answer {
            granted: u32::try_from(granted).expect("at most what was asked for"),
            full_in: Duration::from_nanos(nanos),
        }
    }
}

/// What the store does at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Health {
    /// Answers after this many nanoseconds, there and back.
    Answers(u64),
    /// Refuses connections.
    Refuses,
    /// Takes questions and says nothing.
    Hangs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Call(usize),
    Look(usize),
    Arrives(usize, u64),
    Answered(usize, u64, u32, u64),
    Failed(usize, u64),
}

struct World {
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sent: u64,
    random: u64,
    processes: Vec<DistributedGcra>,
    /// The question under way of each process, and its number.
    needs: Vec<Option<(u64, Need)>>,
    /// When each process looks next.
    looks: Vec<Option<u64>>,
    bucket: Bucket,
    health: fn(u64) -> Health,
    timeout: u64,
    /// Calls per second of each process.
    demand: [u64; PROCESSES],
    tally: Tally,
}

/// Calls and questions, each with its time.
#[derive(Debug, Default)]
struct Tally {
    admitted: Vec<(u64, usize)>,
    refused: Vec<(u64, usize)>,
    asked: usize,
}

impl Tally {
    fn admitted_in(&self, from: u64, to: u64) -> usize {
        self.admitted.iter().filter(|(at, _)| (from..to).contains(at)).count()
    }

    fn refused_in(&self, from: u64, to: u64) -> usize {
        self.refused.iter().filter(|(at, _)| (from..to).contains(at)).count()
    }

    fn admitted_of(&self, process: usize) -> usize {
        self.admitted.iter().filter(|(_, of)| *of == process).count()
    }
}

impl World {
    fn new(seed: u64, quota: DistributedQuota, demand: [u64; PROCESSES], health: fn(u64) -> Health) -> Self {
        let mut world = Self {
            now: 0,
            events: BinaryHeap::new(),
            sent: 0,
            random: seed * 2 + 1,
            processes: (0..PROCESSES).map(|_| DistributedGcra::new(quota)).collect(),
            needs: vec![None; PROCESSES],
            looks: vec![None; PROCESSES],
            bucket: Bucket::new(quota.quota()),
            health,
            timeout: u64::try_from(quota.timeout().as_nanos()).expect("a short time"),
            demand,
            tally: Tally::default(),
        };
        for process in 0..PROCESSES {
            world.next_call(process);
        }
        world
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn send(&mut self, after: u64, event: Event) {
        self.sent += 1;
        self.events.push(Reverse((self.now + after, self.sent, event)));
    }

    /// Between nothing and twice the mean.
    fn next_call(&mut self, process: usize) {
        if let Some(mean) = SECONDS.checked_div(self.demand[process]) {
            let after = self.random() % (2 * mean);
            self.send(after, Event::Call(process));
        }
    }

    /// Each process has a clock of its own: seconds apart.
    fn clock(&self, process: usize) -> Timestamp {
        Timestamp::from_nanos(self.now + 7 * SECONDS * (u64::try_from(process).expect("small") + 1))
    }

    fn run_until(&mut self, end: u64) {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > end {
                self.events.push(Reverse((at, 0, event)));
                self.now = end;
                return;
            }
            self.now = at;
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Call(process) => {
                let taken = self.processes[process].take(1, self.clock(process));
                let tally = if taken.is_ok() { &mut self.tally.admitted } else { &mut self.tally.refused };
                tally.push((self.now, process));
                if self.processes[process].runs_low() {
                    self.ask(process);
                }
                self.next_call(process);
            }
            Event::Look(process) => {
                if self.looks[process] == Some(self.now) {
                    self.ask(process);
                }
            }
            Event::Arrives(process, question) => {
                if let (Some(need), Health::Answers(took)) = (self.need(process, question), (self.health)(self.now)) {
                    let answer = self.bucket.exchange(need, self.now);
                    let full_in = u64::try_from(answer.full_in.as_nanos()).expect("short");
                    self.send(took / 2, Event::Answered(process, question, answer.granted, full_in));
                }
            }
            Event::Answered(process, question, granted, full_in) => {
                if let Some(need) = self.need(process, question) {
                    let answer = Answer { granted, full_in: Duration::from_nanos(full_in) };
                    self.processes[process].answered(need, answer, self.clock(process));
                    self.needs[process] = None;
                    self.look_again(process);
                }
            }
            Event::Failed(process, question) => {
                if let Some(need) = self.need(process, question) {
                    self.processes[process].failed(need, self.clock(process));
                    self.needs[process] = None;
                    self.look_again(process);
                }
            }
        }
    }

    /// What is wanted by a question that is still under way.
    fn need(&self, process: usize, question: u64) -> Option<Need> {
        self.needs[process].filter(|(number, _)| *number == question).map(|(_, need)| need)
    }

    fn ask(&mut self, process: usize) {
        if let Some(need) = self.processes[process].ask(self.clock(process)) {
            self.tally.asked += 1;
            let question = self.sent;
            self.needs[process] = Some((question, need));
            match (self.health)(self.now) {
                Health::Answers(took) => {
                    let jitter = self.random() % (took / 4 + 1);
                    self.send(took / 2 + jitter, Event::Arrives(process, question));
                    self.send(self.timeout, Event::Failed(process, question));
                }
                Health::Refuses => self.send(MILLIS, Event::Failed(process, question)),
                Health::Hangs => self.send(self.timeout, Event::Failed(process, question)),
            }
        }
        self.look_again(process);
    }

    fn look_again(&mut self, process: usize) {
        let ahead = self.processes[process].look_at().map(|at| at.nanos_since(self.clock(process)).max(1));
        self.looks[process] = ahead.map(|ahead| self.now + ahead);
        if let Some(ahead) = ahead {
            self.send(ahead, Event::Look(process));
        }
    }
}

/// What one bucket admits in this time at most, all demand being there.
fn quota_over(nanos: u64, quota: Quota) -> f64 {
    nanos as f64 / quota.interval().as_nanos() as f64 + f64::from(quota.burst())
}

fn loaded(shares: [u64; PROCESSES], times: u64) -> [u64; PROCESSES] {
    shares.map(|share| share * times)
}

/// Runs 60 s; what was admitted over the quota of that time.
fn ratio(seed: u64, quota: DistributedQuota, demand: [u64; PROCESSES], health: fn(u64) -> Health) -> (f64, Tally) {
    let mut world = World::new(seed, quota, demand, health);
    world.run_until(60 * SECONDS);
    (world.tally.admitted.len() as f64 / quota_over(60 * SECONDS, quota.quota()), world.tally)
}

fn quick(_: u64) -> Health {
    Health::Answers(500 * MICROS)
}

fn slow(_: u64) -> Health {
    Health::Answers(300 * MILLIS)
}

/// Gone from the 20th second to the 40th.
fn refuses_for_a_while(now: u64) -> Health {
    if (20 * SECONDS..40 * SECONDS).contains(&now) { Health::Refuses } else { quick(now) }
}

fn hangs_for_a_while(now: u64) -> Health {
    if (20 * SECONDS..40 * SECONDS).contains(&now) { Health::Hangs } else { quick(now) }
}

#[test]
fn eight_processes_with_four_times_the_quota_of_demand_admit_the_quota() {
    for (shares, name) in [(SKEWED, "skewed"), (EVEN, "even")] {
        for health in [quick, slow] {
            for seed in 1..=3 {
                let (ratio, tally) = ratio(seed, shared(thousand()), loaded(shares, 4), health);

                println!("{name}, {:?}: {ratio:.4} of the quota, {} questions", health(0), tally.asked);
                assert!((0.98..=1.02).contains(&ratio), "{name}, {:?}, seed {seed}: {ratio}", health(0));
            }
        }
    }
}

#[test]
fn demand_below_the_quota_is_served_however_it_is_spread_and_whoever_is_asked() {
    // A burst covers what is regained in a round trip.
    let wide = thousand().with_burst(400).expect("in range");
    for (health, quota) in [(quick as fn(u64) -> Health, thousand()), (slow, wide)] {
        for seed in 1..=3 {
            // Nine tenths of the quota.
            let shares = SKEWED.map(|share| share * 9 / 10);
            let (_, tally) = ratio(seed, shared(quota), shares, health);

            let (first, later) = (tally.refused_in(0, 5 * SECONDS), tally.refused_in(5 * SECONDS, 60 * SECONDS));
            println!("{:?}: {first}, then {later} refused, {} questions", health(0), tally.asked);
            // A slow store takes a while to fill leases for so long a way, and some wait for it now and then.
            let most = if health(0) == quick(0) { (0, 0) } else { (900, 495) };
            assert!(first <= most.0 && later <= most.1, "{:?}, seed {seed}: {first}, {later}", health(0));
        }
    }
}

#[test]
fn with_even_demand_all_processes_get_the_same_and_with_skewed_demand_the_small_ones_get_theirs() {
    let (_, even) = ratio(1, shared(thousand()), loaded(EVEN, 4), quick);
    let of_each: Vec<_> = (0..PROCESSES).map(|process| even.admitted_of(process)).collect();
    let (_, skewed) = ratio(1, shared(thousand()), loaded(SKEWED, 4), quick);
    let of_skewed: Vec<_> = (0..PROCESSES).map(|process| skewed.admitted_of(process)).collect();

    println!("even: {of_each:?}, skewed: {of_skewed:?}");
    let (least, most) = (of_each.iter().min().unwrap(), of_each.iter().max().unwrap());
    assert!(*most as f64 / (*least as f64) < 1.2, "{of_each:?}");
    // 32 calls a second each for a minute.
    assert!(of_skewed[6] + of_skewed[7] > 2 * 32 * 60 / 2, "{of_skewed:?}");
}

#[test]
fn while_the_store_is_gone_each_process_admits_its_local_share_and_afterwards_all_share_again() {
    for (health, found_out) in
        [(refuses_for_a_while as fn(u64) -> Health, SECONDS / 5), (hangs_for_a_while, 2 * SECONDS)]
    {
        for seed in 1..=3 {
            let (ratio, tally) = ratio(seed, shared(thousand()), loaded(EVEN, 4), health);
            let gone = tally.admitted_in(20 * SECONDS + found_out, 40 * SECONDS);
            let back = tally.admitted_in(42 * SECONDS, 60 * SECONDS);

            let of_shares = gone as f64 / ((20 * SECONDS - found_out) as f64 / SECONDS as f64 * 1_000.0);
            println!("gone: {of_shares:.4} of the shares; back: {:.4}; in all {ratio:.4}", back as f64 / 18_000.0);
            assert!((0.98..=1.02).contains(&of_shares), "seed {seed}: {of_shares} of the local shares");
            assert!((0.98..=1.02).contains(&(back as f64 / 18_000.0)), "seed {seed}: {back} in 18 s");
            assert!((0.97..=1.02).contains(&ratio), "seed {seed}: {ratio} in all");
        }
    }
}

#[test]
fn a_limiter_that_is_to_refuse_admits_nothing_while_the_store_is_gone() {
    let quota = shared(thousand()).with_if_gone(IfGone::Refuse);
    for health in [refuses_for_a_while as fn(u64) -> Health, hangs_for_a_while] {
        let (ratio, tally) = ratio(1, quota, loaded(EVEN, 4), health);

        assert_eq!(tally.admitted_in(21 * SECONDS, 40 * SECONDS), 0);
        assert!(tally.refused_in(21 * SECONDS, 40 * SECONDS) > 70_000);
        let back = tally.admitted_in(42 * SECONDS, 60 * SECONDS);
        assert!((0.98..=1.02).contains(&(back as f64 / 18_000.0)), "{back} in 18 s");
        assert!(ratio < 0.7, "{ratio}");
    }
}

#[test]
fn nobody_asks_while_nobody_calls_and_what_was_leased_has_gone_back() {
    let mut world = World::new(1, shared(thousand()), EVEN, quick);
    world.run_until(5 * SECONDS);
    world.demand = [0; PROCESSES];
    world.run_until(10 * SECONDS);
    let asked = world.tally.asked;

    world.run_until(60 * SECONDS);

    assert_eq!(world.tally.asked, asked);
    assert!(world.processes.iter().all(|process| process.leased() == 0 && process.look_at().is_none()));
    let answer = world.bucket.exchange(Need::new(0, 0, 0), world.now);
    assert_eq!(answer.full_in, Duration::ZERO);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| ratio(seed, shared(thousand()), SKEWED, quick).1.admitted;

    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

/// One of the things that can happen to a process, the network or the time.
#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Call {
        process: usize,
        cost: u32,
    },
    Ask(usize),
    /// The question arrives, and so does the answer.
    Answer(usize),
    /// The question arrives, the answer does not.
    LoseAnswer(usize),
    /// The question does not arrive.
    LoseQuestion(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let process = 0..PROCESSES;
    prop_oneof![
        3 => (0..20 * MILLIS).prop_map(Step::Pass),
        12 => (process.clone(), 1..4_u32).prop_map(|(process, cost)| Step::Call { process, cost }),
        4 => process.clone().prop_map(Step::Ask),
        4 => process.clone().prop_map(Step::Answer),
        1 => process.clone().prop_map(Step::LoseAnswer),
        1 => process.prop_map(Step::LoseQuestion),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_is_lost_no_more_is_admitted_than_the_quota_and_while_the_store_is_away_the_local_shares(
        refuse in any::<bool>(),
        steps in prop::collection::vec(step(), 1..600),
    ) {
        let if_gone = if refuse { IfGone::Refuse } else { IfGone::LocalShare };
        let quota = Quota::per_second(200).and_then(|quota| quota.with_burst(40)).unwrap();
        let quota = shared(quota).with_if_gone(if_gone);
        let processes: Vec<_> = (0..PROCESSES).map(|_| DistributedGcra::new(quota)).collect();
        let (mut needs, mut bucket) = ([None; PROCESSES], Bucket::new(quota.quota()));
        let (mut now, mut admitted) = (0, 0_u64);
        for step in steps {
            let at = Timestamp::from_nanos(now);
            match step {
                Step::Pass(nanos) => now += nanos,
                Step::Call { process, cost } => {
                    if processes[process].take(cost, at).is_ok() {
                        admitted += u64::from(cost);
                    }
                }
                Step::Ask(process) => {
                    if needs[process].is_none() {
                        needs[process] = processes[process].ask(at);
                    }
                }
                Step::Answer(process) => {
                    if let Some(need) = needs[process].take() {
                        processes[process].answered(need, bucket.exchange(need, now), at);
                    }
                }
                Step::LoseAnswer(process) => {
                    if let Some(need) = needs[process].take() {
                        let _lost = bucket.exchange(need, now);
                        processes[process].failed(need, at);
                    }
                }
                Step::LoseQuestion(process) => {
                    if let Some(need) = needs[process].take() {
                        processes[process].failed(need, at);
                    }
                }
            }
            let one_bucket = now / (5 * MILLIS) + 40;
            // As much again by the local shares, if none of it can be settled.
            let most = if refuse { one_bucket } else { 2 * one_bucket };
            prop_assert!(admitted <= most, "{} admitted, {} allowed", admitted, most);
        }
    }
}
