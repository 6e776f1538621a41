//! A shedder against a list of all calls that ever ended, looked through from end to end after each of them.
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
use std::time::Duration;

use proptest::prelude::*;
use seawall_core::{Admission, CallContext, Class, Criticality, Gate, Outcome, Timestamp};
use seawall_load_shedder::{Enforcement, LimitAlgorithm, LoadShedder, Passage, Probe, Window, WindowSize};

const MS: u64 = 1_000_000;
const CRITICALITIES: [Criticality; 4] =
    [Criticality::Sheddable, Criticality::Degraded, Criticality::Default, Criticality::Critical];

/// What an algorithm is told.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Window(Window),
    Probe(Option<Window>),
}

/// What an algorithm wants after so many windows, over and over again.
#[derive(Clone, Debug)]
struct Script {
    limits: Vec<u32>,
    sizes: Vec<WindowSize>,
    probes: Vec<Option<Probe>>,
}

fn turn<T: Copy>(of: &[T], windows: usize) -> T {
    of[windows % of.len()]
}

struct Scripted {
    script: Script,
    windows: usize,
    told: Vec<Told>,
}

impl LimitAlgorithm for Scripted {
    fn limit(&self) -> f64 {
        turn(&self.script.limits, self.windows).into()
    }

    fn window_size(&self) -> WindowSize {
        turn(&self.script.sizes, self.windows)
    }

    fn update(&mut self, window: &Window) {
        self.windows += 1;
        self.told.push(Told::Window(*window));
    }

    fn probe(&self) -> Option<Probe> {
        turn(&self.script.probes, self.windows)
    }

    fn probed(&mut self, probe: Option<&Window>) {
        self.told.push(Told::Probe(probe.copied()));
    }
}

/// How long a call is taken to have lasted, and whether it was cut.
type Sample = (u64, bool);

struct Trial {
    limit: u32,
    wanted: usize,
    joined: usize,
    back: Vec<Option<Sample>>,
    /// When it is given up, should nothing happen until then.
    patience_ends: u64,
}

impl Trial {
    fn is_gathering(&self) -> bool {
        self.joined < self.wanted
    }

    fn samples(&self) -> Vec<Sample> {
        self.back.iter().flatten().copied().collect()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Usual,
    /// Of the trial with this number.
    OfTrial(usize),
    Exempt,
}

struct Inside {
    passage: Passage,
    role: Role,
    cost: u32,
    since: u64,
}

/// The truth: it keeps everything.
struct Truth {
    script: Script,
    windows: usize,
    in_flight: u32,
    floor: usize,
    is_shadow: bool,
    /// Of each call that ended: its sample, and how much was under way.
    ended: Vec<Option<(Sample, u32)>>,
    /// The first call that counts in this window, and when that began; a window that waits for a trial has none.
    window: Option<(usize, u64)>,
    /// How many calls had ended when the last window closed, and when that was; a trial in between leaves it unknown.
    closed: Option<(usize, u64)>,
    /// The most that was asked for in this window by calls for which there was no room.
    pressed: u32,
    mean: u64,
    /// That of the window before the last one.
    mean_before: u64,
    trial: Option<Trial>,
    trials: usize,
    given_up: u32,
    /// How many trials in a row nobody could join to the end, and until when none begins for that.
    in_vain: u32,
    not_before: u64,
    told: Vec<Told>,
}

#[expect(clippy::cast_precision_loss, reason = "small test numbers")]
fn window_of(samples: &[Sample], in_flight: u32) -> Window {
    let count = samples.len() as f64;
    let mean = samples.iter().map(|(nanos, _)| *nanos as f64).sum::<f64>() / count;
    let variance = samples.iter().map(|(nanos, _)| (*nanos as f64 - mean).powi(2)).sum::<f64>() / count;
    let cut = samples.iter().filter(|(_, cut)| *cut).count();
    let [count, cut] = [samples.len(), cut].map(|count| u32::try_from(count).expect("small"));
    let relative = if variance > 0.0 { variance / (mean * mean) } else { 0.0 };
    Window::new(count, mean, relative, in_flight).with_dropped(cut)
}

impl Truth {
    fn new(script: Script) -> Self {
        Self {
            script,
            windows: 0,
            in_flight: 0,
            floor: 0,
            is_shadow: false,
            ended: Vec::new(),
            window: Some((0, 0)),
            closed: None,
            pressed: 0,
            mean: 0,
            mean_before: u64::MAX,
            trial: None,
            trials: 0,
            given_up: 0,
            in_vain: 0,
            not_before: 0,
            told: Vec::new(),
        }
    }

    fn own_limit(&self) -> u32 {
        turn(&self.script.limits, self.windows)
    }

    fn gathering(&self) -> Option<&Trial> {
        self.trial.as_ref().filter(|trial| trial.is_gathering())
    }

    fn limit(&self) -> u32 {
        self.gathering().map_or(self.own_limit(), |trial| trial.limit)
    }

    fn share(&self, class: usize) -> u32 {
        let limit = self.limit();
        match class {
            _ if class < self.floor => 0,
            0 => limit - limit / 5,
            1 => limit - limit / 10,
            2 => limit,
            _ => limit + (limit / 10).max(1),
        }
    }

    /// How long a trial waits for the next to join.
    fn gathers_for(&self) -> u64 {
        (8 * self.mean.min(self.mean_before)).clamp(20 * MS, 60_000 * MS)
    }

    /// How long it waits for the last to come back.
    fn waits_for(&self) -> u64 {
        (8 * self.mean).clamp(1_000 * MS, 60_000 * MS)
    }

    /// What becomes of a call that arrives; nothing when it is refused.
    fn arrive(&mut self, class: usize, cost: u32, is_exempt: bool, is_late: bool, now: u64) -> Option<Role> {
        let (limit, share) = (self.limit(), self.share(class));
        let fits = self.in_flight + cost <= share || (self.in_flight == 0 && share > 0);
        if is_exempt {
            self.in_flight += cost;
            return Some(Role::Exempt);
        }
        if !fits {
            if self.in_flight < limit {
                self.pressed = self.pressed.max(limit);
            }
            if !self.is_shadow {
                self.give_up_gathering(now);
                return None;
            }
        }
        self.in_flight += cost;
        let role = self.join(now);
        if fits && is_late && !self.is_shadow {
            self.in_flight -= cost;
            self.ended.push(None);
            self.back(role, None);
            return None;
        }
        Some(role)
    }

    fn join(&mut self, now: u64) -> Role {
        let (gathers_until, waits_until) = (now + self.gathers_for(), now + self.waits_for());
        let (next, limit) = (self.ended.len(), self.own_limit() as usize);
        let Some(trial) = self.trial.as_mut().filter(|trial| trial.is_gathering()) else { return Role::Usual };
        trial.joined += 1;
        trial.patience_ends = gathers_until;
        if trial.joined == trial.wanted {
            trial.patience_ends = waits_until;
            self.in_vain = 0;
            // As many as the limit are left out: they may have begun before the trial, or are of it.
            self.window = Some((next + limit, now));
            self.pressed = 0;
        }
        Role::OfTrial(self.trials)
    }

    fn give_up_gathering(&mut self, now: u64) {
        if self.gathering().is_some_and(|trial| now >= trial.patience_ends) {
            self.not_before = now + self.gathers_for() * (32 << self.in_vain.min(5));
            self.in_vain += 1;
            self.give_up();
            self.window = Some((self.ended.len(), now));
        }
    }

    fn give_up(&mut self) {
        self.trial = None;
        self.told.push(Told::Probe(None));
    }

    fn judge(&mut self) {
        self.given_up = 0;
        if let Some(trial) = self.trial.take() {
            let samples = trial.samples();
            let joined = u32::try_from(trial.joined).expect("small");
            self.told.push(Told::Probe((!samples.is_empty()).then(|| window_of(&samples, joined))));
        }
    }

    fn sample(&self, age: u64, outcome: Outcome) -> Option<Sample> {
        let is_long = age >= self.mean;
        match outcome {
            Outcome::Finished(Class::Success) => Some((age, false)),
            Outcome::Finished(Class::Failure) | Outcome::Panicked => is_long.then_some((age, false)),
            Outcome::Cancelled => Some((age.max(self.mean), is_long)),
            Outcome::TimedOut => Some((age.max(self.mean), true)),
            _ => None,
        }
    }

    fn end(&mut self, role: Role, cost: u32, since: u64, outcome: Outcome, now: u64) {
        let sample = self.sample(now - since, outcome);
        let in_flight = self.in_flight;
        self.in_flight -= cost;
        if role != Role::Usual {
            self.ended.push(None);
            return self.back(role, sample);
        }
        // Windows count in steps of 16 ns, and 64 s at the most.
        self.ended.push(sample.map(|(nanos, cut)| (((nanos / 16 * 16).min(64_000 * MS), cut), in_flight)));
        let Some((from, began)) = self.window.filter(|(from, _)| *from < self.ended.len()) else { return };
        let counted: Vec<_> = self.ended[from..].iter().flatten().collect();
        let size = turn(&self.script.sizes, self.windows);
        let is_over = Duration::from_nanos(now - began) >= size.at_most;
        if counted.len() >= if is_over { size.enough.min(size.full) } else { size.full } as usize {
            let samples: Vec<_> = counted.iter().map(|(sample, _)| *sample).collect();
            let most = counted.iter().map(|(_, in_flight)| *in_flight).max().unwrap_or(0);
            let useful = (samples.iter().filter(|(_, cut)| !cut).count(), self.ended.len() - from);
            self.close(self.timed(window_of(&samples, most.max(self.pressed)), useful, now), now);
        }
    }

    /// A window that closes now, with how many calls have ended per second since the one before: so many of so many
    /// of them `useful`.
    #[expect(clippy::cast_precision_loss, reason = "small test numbers")]
    fn timed(&self, window: Window, useful: (usize, usize), now: u64) -> Window {
        match self.closed.filter(|(_, when)| now > *when) {
            Some((ended, when)) => {
                let useful = useful.0 as f64 / useful.1 as f64;
                window.with_throughput(useful * (self.ended.len() - ended) as f64 * 1e9 / (now - when) as f64)
            }
            None => window,
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole nanoseconds of a mean")]
    fn close(&mut self, window: Window, now: u64) {
        let before = self.own_limit();
        if self.windows > 0 {
            self.mean_before = self.mean;
        }
        (self.mean, self.pressed) = (window.mean as u64, 0);
        self.windows += 1;
        self.told.push(Told::Window(window));
        if let Some(trial) = self.trial.as_ref().filter(|trial| now >= trial.patience_ends) {
            let nearly_all = trial.back.len() * 100 >= trial.wanted * 99;
            if nearly_all || (self.given_up >= 2 && !trial.samples().is_empty()) {
                self.judge();
            } else {
                self.given_up += 1;
                self.give_up();
            }
        }
        if self.trial.is_none() && now >= self.not_before {
            self.trial = turn(&self.script.probes, self.windows).map(|Probe { limit, calls }| {
                self.trials += 1;
                let patience_ends = now + self.gathers_for();
                Trial { limit, wanted: calls as usize, joined: 0, back: Vec::new(), patience_ends }
            });
        }
        let (limit, next) = (self.own_limit(), self.ended.len());
        let is_leap = limit > before + before / 5;
        self.closed = self.gathering().is_none().then_some((next, now));
        self.window = self.gathering().is_none().then_some((next + if is_leap { limit as usize } else { 0 }, now));
    }

    fn back(&mut self, role: Role, sample: Option<Sample>) {
        let trials = self.trials;
        if let Some(trial) = self.trial.as_mut().filter(|_| role == Role::OfTrial(trials)) {
            trial.back.push(sample);
            if trial.back.len() == trial.wanted {
                self.judge();
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Arrive { class: usize, cost: u32, is_exempt: bool, is_late: bool },
    Finish { which: prop::sample::Index, outcome: Outcome },
    Pass(u64),
    ShedBelow(usize),
    Shadow(bool),
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Finished(Class::Success)),
        1 => Just(Outcome::Finished(Class::Failure)),
        2 => Just(Outcome::Finished(Class::Overload)),
        1 => Just(Outcome::Cancelled),
        1 => Just(Outcome::TimedOut),
        1 => Just(Outcome::Panicked),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let rarely = || prop::bool::weighted(0.1);
    let arrive = (prop_oneof![3 => Just(2_usize), 2 => 0..4_usize], prop_oneof![4 => Just(1_u32), 1 => 0..4_u32]);
    prop_oneof![
        10 => (arrive, rarely(), rarely()).prop_map(|((class, cost), is_exempt, is_late)| {
            Step::Arrive { class, cost, is_exempt, is_late }
        }),
        9 => (any::<prop::sample::Index>(), outcome()).prop_map(|(which, outcome)| Step::Finish { which, outcome }),
        4 => prop_oneof![8 => 0..9_u64, 1 => Just(1_000_u64), 1 => Just(9_000_u64)].prop_map(Step::Pass),
        1 => (0..4_usize).prop_map(Step::ShedBelow),
        1 => rarely().prop_map(Step::Shadow),
    ]
}

fn script() -> impl Strategy<Value = Script> {
    let size = (1..6_u32, 1..12_u32, 0..20_u64).prop_map(|(enough, full, ms)| {
        let at_most = if ms > 15 { Duration::MAX } else { Duration::from_millis(ms) };
        WindowSize { full, enough, at_most }
    });
    let probe = prop::option::weighted(0.3, (1..5_u32, 1..6_u32).prop_map(|(limit, calls)| Probe { limit, calls }));
    (prop::collection::vec(1..24_u32, 1..5), prop::collection::vec(size, 1..4), prop::collection::vec(probe, 1..6))
        .prop_map(|(limits, sizes, probes)| Script { limits, sizes, probes })
}

fn is_same(one: &Window, other: &Window) -> bool {
    let counts = |window: &Window| (window.samples, window.max_in_flight, window.dropped);
    counts(one) == counts(other)
        && (one.mean - other.mean).abs() <= 1e-9 * other.mean + f64::from(u8::from(other.mean < 2.0))
        && (one.relative_variance - other.relative_variance).abs() < 1e-6
        && one.throughput.is_some() == other.throughput.is_some()
        && one.throughput.zip(other.throughput).is_none_or(|(one, other)| (one - other).abs() <= 1e-9 * other)
}

fn are_same(one: &[Told], other: &[Told]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|told| match told {
            (Told::Window(one), Told::Window(other)) | (Told::Probe(Some(one)), Told::Probe(Some(other))) => {
                is_same(one, other)
            }
            (one, other) => one == other,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_shedder_decides_and_learns_as_one_that_keeps_every_call(
        script in script(), steps in prop::collection::vec(step(), 1..300),
    ) {
        let shedder = LoadShedder::with_algorithm(Scripted { script: script.clone(), windows: 0, told: Vec::new() });
        let mut truth = Truth::new(script);
        let mut inside: Vec<Inside> = Vec::new();
        let mut now = 0;

        for step in steps {
            let at = Timestamp::from_nanos(now);
            match step {
                Step::Arrive { class, cost, is_exempt, is_late } => {
                    let context = CallContext::new().with_criticality(CRITICALITIES[class]).with_cost(cost);
                    let context = if is_exempt { context.with_exempt(true) } else { context };
                    let context = if is_late { context.with_deadline(at) } else { context };
                    let role = truth.arrive(class, cost, is_exempt, is_late, now);
                    match shedder.admit(|| context, || at) {
                        Admission::Admitted(passage) => {
                            prop_assert!(role.is_some(), "{context:?} is let in at {now}");
                            inside.extend(role.map(|role| Inside { passage, role, cost, since: now }));
                        }
                        Admission::Refused(_) => prop_assert!(role.is_none(), "{context:?} is refused at {now}"),
                        Admission::Queued(never) => match never {},
                    }
                }
                Step::Finish { which, outcome } if !inside.is_empty() => {
                    let Inside { passage, role, cost, since } = inside.swap_remove(which.index(inside.len()));
                    shedder.finish(passage, outcome, || at);
                    truth.end(role, cost, since, outcome, now);
                }
                Step::Finish { .. } => {}
                Step::Pass(ms) => now += ms * MS,
                Step::ShedBelow(class) => {
                    shedder.shed_below(CRITICALITIES[class]);
                    truth.floor = class;
                }
                Step::Shadow(is_shadow) => {
                    shedder.enforce(if is_shadow { Enforcement::Shadow } else { Enforcement::Enforce });
                    truth.is_shadow = is_shadow;
                }
            }
            prop_assert_eq!((shedder.in_flight(), shedder.limit()), (truth.in_flight, truth.limit()));
            let told = shedder.inspect(|scripted| scripted.told.clone());
            prop_assert!(are_same(&told, &truth.told), "{told:?}\nis not\n{:?}", truth.told);
        }
    }
}
