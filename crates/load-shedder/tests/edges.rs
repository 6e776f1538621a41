//! What no window, clock or order of calls may do: take a limit out of its range, or count a call wrong.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;
use seawall_core::{Admission, CallContext, Class, Clock, Criticality, Gate, Outcome, Timestamp, VirtualClock};
use seawall_load_shedder::{
    Aimd, AimdConfig, Enforcement, Fixed, Gradient2, Gradient2Config, Knee, LimitAlgorithm, LimitRange, LoadShedder,
    LoadShedderConfig, Passage, QueueingLoadShedder, QueueingShedderConfig, ShedderWait, Vegas, VegasConfig, Window,
    WindowSize,
};

fn window() -> impl Strategy<Value = Window> {
    let latency = prop_oneof![prop::num::f64::ANY, 0.0..1e12];
    (any::<u32>(), latency, prop::num::f64::ANY, any::<u32>(), any::<u32>()).prop_map(
        |(samples, mean, variance, in_flight, dropped)| {
            Window::new(samples, mean, variance, in_flight).with_dropped(dropped)
        },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop::sample::select(vec![
        Outcome::Finished(Class::Success),
        Outcome::Finished(Class::Failure),
        Outcome::Finished(Class::Overload),
        Outcome::Finished(Class::Ignored),
        Outcome::TimedOut,
        Outcome::Cancelled,
        Outcome::Panicked,
    ])
}

fn stays_in_range(mut algorithm: impl LimitAlgorithm, windows: &[(Window, bool)]) -> Result<(), TestCaseError> {
    for (window, probed) in windows {
        if *probed {
            algorithm.probed(Some(window));
        } else {
            algorithm.update(window);
        }
        let size = algorithm.window_size();
        prop_assert!((2.0..=50.0).contains(&algorithm.limit()), "{}", algorithm.limit());
        prop_assert!(size.enough >= 1 && size.full >= size.enough && size.full <= 50_000);
        if let Some(probe) = algorithm.probe() {
            prop_assert!((1..=50).contains(&probe.limit) && (1..=50_000).contains(&probe.calls));
        }
    }
    Ok(())
}

const CRITICALITIES: [Criticality; 4] =
    [Criticality::Sheddable, Criticality::Degraded, Criticality::Default, Criticality::Critical];

/// How many calls of a criticality may be inside at a limit.
fn share(criticality: Criticality, limit: u32) -> u32 {
    match criticality {
        Criticality::Sheddable => limit - limit / 5,
        Criticality::Degraded => limit - limit / 10,
        Criticality::Default => limit,
        Criticality::Critical => limit + (limit / 10).max(1),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Arrive { class: usize },
    Finish { which: prop::sample::Index, outcome: Outcome },
    Leave { which: prop::sample::Index },
    Resize { limit: u32 },
    Pass { time: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_usize).prop_map(|class| Step::Arrive { class }),
        4 => (any::<prop::sample::Index>(), outcome()).prop_map(|(which, outcome)| Step::Finish { which, outcome }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Leave { which }),
        1 => (1..6_u32).prop_map(|limit| Step::Resize { limit }),
        2 => (0..9_u64).prop_map(|time| Step::Pass { time }),
    ]
}

const MAX_QUEUED: usize = 5;
/// Milliseconds: the wait, which without an empty queue makes an overload, and the wait under overload.
const WAIT: u64 = 20;
const SHORT_WAIT: u64 = 5;

/// The truth about a queue: a list of waiters, searched from end to end.
struct Truth {
    limit: usize,
    inside: usize,
    /// Id, criticality, arrival and the end of the wait; in order of arrival.
    queue: Vec<(usize, usize, u64, u64)>,
    /// By criticality.
    last_empty: [u64; 4],
    /// Served or refused, not told yet.
    decided: Vec<(usize, bool)>,
}

impl Truth {
    fn is_overloaded(&self, class: usize, now: u64) -> bool {
        now - self.last_empty[class] > Self::interval(class)
    }

    fn limit_at(&self, class: usize, now: u64) -> u64 {
        if self.is_overloaded(class, now) { SHORT_WAIT } else { Self::interval(class) }
    }

    /// The critical wait longer.
    const fn interval(class: usize) -> u64 {
        if class == 3 { 25 * WAIT } else { WAIT }
    }

    fn has_waiting(&self, class: usize) -> bool {
        self.queue.iter().any(|(_, other, ..)| *other == class)
    }

    /// In, waiting or refused.
    fn arrive(&mut self, id: usize, class: usize, now: u64) -> &'static str {
        if self.queue.is_empty() && self.inside < self.limit {
            self.inside += 1;
            return "in";
        }
        if !self.has_waiting(class) {
            self.last_empty[class] = now;
            let reserved = self.limit + (self.limit / 10).max(1);
            if class == 3 && self.inside < reserved {
                self.inside += 1;
                return "in";
            }
        }
        if self.queue.len() == MAX_QUEUED {
            let least = self.queue.iter().map(|(_, class, ..)| *class).min().expect("the queue is full");
            if least > class {
                return "refused";
            }
            let index = self.queue.iter().position(|(_, class, ..)| *class == least).expect("just found");
            let (displaced, ..) = self.queue.remove(index);
            self.decided.push((displaced, false));
        }
        self.queue.push((id, class, now, now + self.limit_at(class, now)));
        "waits"
    }

    /// Of the most critical, refuses those who are late, then serves as many as there is room for.
    fn serve(&mut self, now: u64) {
        while let Some(most) = self.queue.iter().map(|(_, class, ..)| *class).max() {
            let mut of_class = self.queue.iter().enumerate().filter(|(_, (_, class, ..))| *class == most);
            let (oldest, (_, _, since, _)) = of_class.clone().next().expect("just found");
            if now - since > self.limit_at(most, now) {
                let (late, ..) = self.queue.remove(oldest);
                self.decided.push((late, false));
                continue;
            }
            if self.inside >= self.limit {
                return;
            }
            let newest_first = self.is_overloaded(most, now);
            let (index, _) = if newest_first { of_class.next_back() } else { of_class.next() }.expect("just found");
            let (served, ..) = self.queue.remove(index);
            self.inside += 1;
            self.decided.push((served, true));
        }
    }

    fn look(&mut self, id: usize, now: u64) -> &'static str {
        if let Some(index) = self.decided.iter().position(|(decided, _)| *decided == id) {
            return if self.decided.remove(index).1 { "in" } else { "refused" };
        }
        let index = self.queue.iter().position(|(queued, ..)| *queued == id).expect("it waits");
        if self.queue[index].3 > now {
            return "waits";
        }
        self.queue.remove(index);
        self.serve(now);
        "refused"
    }

    fn end(&mut self, now: u64) {
        self.inside -= 1;
        if self.inside < self.limit {
            self.serve(now);
        }
    }

    fn leave(&mut self, id: usize, now: u64) {
        if let Some(index) = self.decided.iter().position(|(decided, _)| *decided == id) {
            if self.decided.remove(index).1 {
                self.end(now);
            }
        } else {
            self.queue.retain(|(queued, ..)| *queued != id);
            self.serve(now);
        }
    }
}

/// A fixed limit that never looks at latencies: nothing is "usual", so that waits depend on nothing else than the queue.
struct Steady(Fixed);

impl LimitAlgorithm for Steady {
    fn limit(&self) -> f64 {
        self.0.limit()
    }

    fn window_size(&self) -> WindowSize {
        WindowSize { full: 1_000_000, enough: 1_000_000, at_most: Duration::MAX }
    }

    fn update(&mut self, _: &Window) {}
}

type Waiting = (usize, Pin<Box<ShedderWait<Steady, VirtualClock>>>);

proptest! {
    #[test]
    fn whatever_a_window_says_the_limit_stays_in_its_range(windows in prop::collection::vec((window(), any::<bool>()), 1..60)) {
        let range = LimitRange::new(2, 10, 50).unwrap();

        stays_in_range(Knee::new(range), &windows)?;
        stays_in_range(Aimd::new(AimdConfig::default().with_range(range)), &windows)?;
        stays_in_range(Vegas::new(VegasConfig::default().with_range(range)), &windows)?;
        stays_in_range(Gradient2::new(Gradient2Config::default().with_range(range)), &windows)?;
    }

    #[test]
    fn a_shedder_counts_as_a_counter_does_and_its_limit_is_never_zero(
        steps in prop::collection::vec((step(), 0..3_000_000_000_u64), 1..400)
    ) {
        let shedder = LoadShedder::new(LoadShedderConfig::default());
        let mut inside: Vec<Passage> = Vec::new();

        // Stamps come in any order, as from cores whose clocks differ.
        for (step, now) in steps {
            let now = Timestamp::from_nanos(now);
            match step {
                Step::Arrive { class } => {
                    let criticality = CRITICALITIES[class];
                    let room = inside.len() < usize::try_from(share(criticality, shedder.limit())).unwrap();
                    match shedder.admit(|| CallContext::new().with_criticality(criticality), || now) {
                        Admission::Admitted(passage) => {
                            prop_assert!(room);
                            inside.push(passage);
                        }
                        Admission::Refused(_) => prop_assert!(!room),
                        Admission::Queued(wait) => match wait {},
                    }
                }
                Step::Finish { which, outcome } if !inside.is_empty() => {
                    shedder.finish(inside.swap_remove(which.index(inside.len())), outcome, || now);
                }
                _ => {}
            }
            prop_assert_eq!(usize::try_from(shedder.in_flight()).unwrap(), inside.len());
            prop_assert!(shedder.limit() >= 1);
        }
    }

    #[test]
    fn a_queueing_shedder_serves_as_a_searched_list_does(steps in prop::collection::vec(step(), 1..300)) {
        let ms = Duration::from_millis;
        let clock = VirtualClock::starting_at(Timestamp::ZERO.saturating_add(ms(1_000)));
        let now = || u64::try_from(clock.now().since(Timestamp::ZERO).as_millis()).unwrap();
        let config = QueueingShedderConfig::default().with_max_queued(MAX_QUEUED).unwrap();
        let gate = QueueingLoadShedder::with_algorithm(Steady(Fixed::new(2).unwrap()), config, clock.clone());
        let mut truth = Truth { limit: 2, inside: 0, queue: Vec::new(), last_empty: [0; 4], decided: Vec::new() };
        let mut inside: Vec<Passage> = Vec::new();
        let mut waiting: Vec<Waiting> = Vec::new();

        for (id, step) in steps.into_iter().enumerate() {
            match step {
                Step::Arrive { class } => {
                    let context = || CallContext::new().with_criticality(CRITICALITIES[class]);
                    let said = match gate.admit(context, || clock.now()) {
                        Admission::Admitted(passage) => { inside.push(passage); "in" }
                        Admission::Queued(wait) => { waiting.push((id, Box::pin(wait))); "waits" }
                        Admission::Refused(_) => "refused",
                    };
                    prop_assert_eq!(said, truth.arrive(id, class, now()));
                }
                Step::Finish { which, outcome } if !inside.is_empty() => {
                    gate.finish(inside.swap_remove(which.index(inside.len())), outcome, || clock.now());
                    truth.end(now());
                }
                Step::Leave { which } if !waiting.is_empty() => {
                    let (id, wait) = waiting.swap_remove(which.index(waiting.len()));
                    drop(wait);
                    truth.leave(id, now());
                }
                Step::Resize { limit } => {
                    gate.adjust(|steady| steady.0.set(limit)).unwrap();
                    truth.limit = usize::try_from(limit).unwrap();
                    truth.serve(now());
                }
                Step::Pass { time } => {
                    clock.advance(ms(time));
                    for (id, mut wait) in std::mem::take(&mut waiting) {
                        let said = match wait.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                            Poll::Pending => { waiting.push((id, wait)); "waits" }
                            Poll::Ready(Ok(passage)) => { inside.push(passage); "in" }
                            Poll::Ready(Err(_)) => "refused",
                        };
                        prop_assert_eq!(said, truth.look(id, now()));
                    }
                }
                Step::Finish { .. } | Step::Leave { .. } => {}
            }
            let counts = (usize::try_from(gate.in_flight()).unwrap(), gate.queued());
            prop_assert_eq!(counts, (truth.inside, truth.queue.len()));
        }
    }
}

fn admit<G: Gate>(gate: &G, context: CallContext, now: Timestamp) -> Option<G::Ticket> {
    match gate.admit(|| context, || now) {
        Admission::Admitted(ticket) => Some(ticket),
        Admission::Queued(_) | Admission::Refused(_) => None,
    }
}

#[test]
fn no_cost_reaches_what_else_the_shedder_counts() {
    let start = Timestamp::from_nanos(1_000_000_000);
    let clock = VirtualClock::starting_at(start);
    let fixed = || Fixed::new(10).unwrap();
    for cost in [65_536, 1 << 20, (1 << 20) + 5, u32::MAX] {
        let shedder = LoadShedder::with_algorithm(fixed());
        let queueing = QueueingLoadShedder::with_algorithm(fixed(), QueueingShedderConfig::default(), clock.clone());
        let dear = CallContext::new().with_cost(cost);

        let (one, other) = (admit(&shedder, dear, start).unwrap(), admit(&queueing, dear, start).unwrap());
        assert_eq!((shedder.in_flight(), queueing.in_flight()), (65_535, 65_535));
        assert!(admit(&shedder, CallContext::new(), start).is_none());
        assert!(admit(&queueing, CallContext::new(), start).is_none());
        shedder.finish(one, Outcome::Cancelled, || start);
        queueing.finish(other, Outcome::Cancelled, || start);

        assert_eq!((shedder.in_flight(), shedder.limit()), (0, 10));
        assert_eq!((queueing.in_flight(), queueing.limit()), (0, 10));
    }
}

#[test]
fn however_many_are_let_in_anyway_the_count_stops_at_its_end_and_comes_back_to_zero() {
    let start = Timestamp::from_nanos(1_000_000_000);
    for exempt in [false, true] {
        let shedder = LoadShedder::with_algorithm(Fixed::new(10).unwrap());
        if !exempt {
            shedder.enforce(Enforcement::Shadow);
        }
        let dear = CallContext::new().with_cost(1_000).with_exempt(exempt);

        let inside: Vec<_> = (0..1_100).map(|_| admit(&shedder, dear, start).unwrap()).collect();
        assert_eq!((shedder.in_flight(), shedder.limit()), ((1 << 20) - 1, 10));
        for passage in inside {
            shedder.finish(passage, Outcome::Cancelled, || start);
        }

        assert_eq!((shedder.in_flight(), shedder.limit()), (0, 10));
    }
}
