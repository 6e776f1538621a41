//! The distributed limiter over a real Redis, which this test starts, and eight real processes.
//!
//! `cargo test -p seawall-rate-limiter --features servers --test redis_server -- --nocapture` prints the figures of
//! `docs/rate-limiter.md`. Without `redis-server` it fails.
#![cfg(feature = "servers")]
#![expect(clippy::arithmetic_side_effects, reason = "small test numbers")]
#![expect(clippy::cast_precision_loss, reason = "ratios of small test numbers")]
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use seawall_core::{Clock, MonotonicClock, Timer};
use seawall_rate_limiter::{
    Answer, DistributedKeyedGcra, DistributedQuota, Exchange, Need, Quota, RedisStore, SCRIPT, Store,
};

const PROCESSES: usize = 8;
/// Tells a copy of this program that it is one of the eight, and how many calls it makes before it sleeps for a moment.
const PART: &str = "SEAWALL_CALLS_AT_ONCE";
const PORT: &str = "SEAWALL_REDIS_PORT";
const RUN: Duration = Duration::from_secs(8);

/// A `redis-server` of this test's own.
struct Redis {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Redis {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        Self::start_on(port)
    }

    fn start_on(port: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()])
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let redis = Self { child, port, folder };
        let deadline = MonotonicClock.now().saturating_add(Duration::from_secs(10));
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(
                MonotonicClock.now() < deadline,
                "redis-server in {} does not answer",
                redis.folder.path().display()
            );
            std::thread::yield_now();
        }
        redis
    }

    fn store(&self) -> RedisStore {
        RedisStore::tcp(format!("127.0.0.1:{}", self.port))
    }

    /// One command of words without spaces; the first line of the answer.
    fn say(&self, words: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("it answers");
        stream.write_all(format!("{words}\r\n").as_bytes()).expect("it listens");
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).expect("a line");
        answer.trim_end().to_owned()
    }

    fn stop(mut self) -> u16 {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        self.port
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}

/// Nothing is regained while a test runs.
fn hourly(burst: u32) -> Quota {
    Quota::per_hour(1).and_then(|quota| quota.with_burst(burst)).expect("in range")
}

async fn settle(
    store: &mut RedisStore,
    key: &str,
    quota: Quota,
    (take, charge, back): (u32, u32, u32),
) -> Option<Answer> {
    let need = Need::new(take, charge, back);
    store.exchange(&[Exchange::new(key, quota, need)]).await.expect("it answers").remove(0)
}

#[tokio::test]
async fn the_script_charges_takes_back_and_grants_as_a_bucket_kept_by_hand() {
    let redis = Redis::start();
    let mut store = redis.store();
    let (burst, mut owed, mut random) = (50_u64, 0_u64, 1_u64);
    for round in 0..500 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let [take, charge, back] =
            [random >> 60, (random >> 50) % 4, (random >> 40) % 24].map(|calls| u32::try_from(calls).expect("small"));

        let answer = settle(&mut store, "k", hourly(50), (take, charge, back)).await.expect("no error");

        owed = (owed + u64::from(charge)).saturating_sub(back.into());
        let granted = burst.saturating_sub(owed).min(take.into());
        owed += granted;
        assert_eq!(u64::from(answer.granted), granted, "round {round}");
        let hours = answer.full_in.as_secs_f64() / 3600.0;
        assert!((owed as f64 - 0.01..=owed as f64).contains(&hours), "round {round}: {hours} hours of {owed}");
    }
}

#[tokio::test]
async fn a_state_lives_as_long_as_it_owes_and_a_new_interval_keeps_what_was_used() {
    let redis = Redis::start();
    let mut store = redis.store().with_prefix("p:");
    let second = Quota::per_second(10).and_then(|quota| quota.with_burst(20)).unwrap();

    settle(&mut store, "k", second, (20, 0, 0)).await;
    let ttl: u64 = redis.say("PTTL p:k").trim_start_matches(':').parse().unwrap();
    assert!((1_900..=2_000).contains(&ttl), "{ttl} ms for twenty at ten a second");

    let answer = settle(&mut store, "k", hourly(40), (40, 0, 0)).await.unwrap();
    assert!((20..=21).contains(&answer.granted), "{}", answer.granted);

    settle(&mut store, "k", hourly(40), (0, 0, 40)).await;
    assert_eq!(redis.say("EXISTS p:k"), ":0");
}

#[tokio::test]
async fn a_server_that_forgets_the_script_or_is_started_anew_is_sent_it_again() {
    let redis = Redis::start();
    let mut store = redis.store();
    assert_eq!(settle(&mut store, "k", hourly(9), (4, 0, 0)).await.unwrap().granted, 4);
    assert_eq!(redis.say("SCRIPT FLUSH"), "+OK");

    assert_eq!(settle(&mut store, "k", hourly(9), (9, 0, 0)).await.unwrap().granted, 5);

    let port = redis.stop();
    let need = Exchange::new("k", hourly(9), Need::new(9, 0, 0));
    assert!(store.exchange(&[need]).await.is_err());
    let _anew = Redis::start_on(port);
    assert_eq!(settle(&mut store, "k", hourly(9), (9, 0, 0)).await.unwrap().granted, 9);
}

#[tokio::test]
async fn what_holds_no_quota_is_left_alone_and_other_keys_are_answered() {
    let redis = Redis::start();
    assert_eq!(redis.say("SET seawall:rate:text hello"), "+OK");
    assert_eq!(redis.say("LPUSH seawall:rate:list x"), ":1");
    let need = Need::new(1, 0, 0);

    let exchanges = ["text", "list", "free"].map(|key| Exchange::new(key, hourly(9), need));
    let answers = redis.store().exchange(&exchanges).await.unwrap();

    let granted: Vec<_> = answers.iter().map(|answer| answer.map(|answer| answer.granted)).collect();
    assert_eq!(granted, [None, None, Some(1)]);
    assert_eq!(redis.say("STRLEN seawall:rate:text"), ":5");
}

#[tokio::test]
async fn a_login_that_is_refused_is_an_error_and_a_database_is_used() {
    let redis = Redis::start();
    let mut store = redis.store().with_database(3);
    settle(&mut store, "k", hourly(9), (1, 0, 0)).await;
    assert_eq!(redis.say("EXISTS seawall:rate:k"), ":0");

    let need = [Exchange::new("k", hourly(9), Need::new(1, 0, 0))];
    let refused = redis.store().with_login("nobody", "secret").exchange(&need).await.unwrap_err();

    assert!(refused.to_string().starts_with("redis refused the login: "), "{refused}");
    assert!(!refused.to_string().contains("secret"), "{refused}");
}

/// Two thousand per second, four hundred at once.
fn two_thousand() -> DistributedQuota {
    let quota = Quota::per_second(2_000).and_then(|quota| quota.with_burst(400)).expect("in range");
    DistributedQuota::new(quota, 8).expect("eight processes")
}

/// Not a test of its own: what a copy of this program does that is one of the eight.
#[tokio::test]
async fn one_of_eight() {
    let (Ok(calls), Ok(port)) = (std::env::var(PART), std::env::var(PORT)) else { return };
    let calls: u32 = calls.parse().expect("a number");
    let limiter = DistributedKeyedGcra::new(two_thousand());
    tokio::spawn(limiter.supply(RedisStore::tcp(format!("127.0.0.1:{port}")), MonotonicClock));
    println!("ready");
    let mut go = String::new();
    std::io::stdin().read_line(&mut go).expect("told to go");
    let mut took = Vec::new();
    let (start, mut admitted) = (MonotonicClock.now(), 0_u32);
    while MonotonicClock.now().since(start) < RUN {
        for _ in 0..calls {
            let begin = MonotonicClock.now();
            admitted += u32::from(limiter.take("k", 1, begin).is_ok());
            took.push(MonotonicClock.now().since(begin));
        }
        MonotonicClock.sleep_until(MonotonicClock.now().saturating_add(Duration::from_millis(1))).await;
    }
    let ran = MonotonicClock.now().since(start);
    took.sort_unstable();
    let slow = took.get(took.len() - took.len() / 1_000 - 1).copied().unwrap_or_default();
    println!("admitted {admitted} {} {} {}", slow.as_nanos(), limiter.figures().exchanges, ran.as_nanos());
}

/// One of the eight, and what it says.
struct Process {
    child: Child,
    says: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(port: u16, calls: u32) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "one_of_eight", "--nocapture"])
            .env(PART, calls.to_string())
            .env(PORT, port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a copy of this program");
        let says = BufReader::new(child.stdout.take().expect("piped"));
        let mut process = Self { child, says };
        process.line("ready");
        process
    }

    /// What it says after `word`.
    fn line(&mut self, word: &str) -> String {
        let mut line = String::new();
        loop {
            assert!(self.says.read_line(&mut line).expect("it speaks") > 0, "it ended before it said {word}");
            if let Some(at) = line.find(word) {
                return line[at + word.len()..].trim().to_owned();
            }
            line.clear();
        }
    }

    fn go(&mut self) {
        self.child.stdin.as_mut().expect("piped").write_all(b"go\n").expect("it listens");
    }

    /// Calls admitted, the slowest of a thousand decisions, round trips, and how long it took.
    fn end(mut self) -> [u64; 4] {
        let said = self.line("admitted ");
        let numbers: Vec<u64> = said.split(' ').map(|number| number.parse().expect("a number")).collect();
        self.child.wait().expect("it ends");
        numbers.try_into().expect("four numbers")
    }
}

/// Runs eight processes; what they admitted in all, and how long it took.
fn run(port: u16, demand: [u32; PROCESSES]) -> (u64, Duration) {
    let mut processes = demand.map(|calls| Process::start(port, calls));
    processes.iter_mut().for_each(Process::go);
    let ended = processes.map(Process::end);
    let sum = |of: fn(&[u64; 4]) -> u64| ended.iter().map(of).sum::<u64>();
    let most = |of: fn(&[u64; 4]) -> u64| ended.iter().map(of).max().unwrap_or(0);
    let (admitted, took) = (sum(|it| it[0]), Duration::from_nanos(most(|it| it[3])));
    let (slow, trips) = (most(|it| it[1]), sum(|it| it[2]));
    println!("{admitted} admitted in {took:?}, {trips} round trips; 999 of 1,000 decisions within {slow} ns");
    (admitted, took)
}

/// What one bucket admits in this time.
fn whole(took: Duration) -> f64 {
    2_000.0 * took.as_secs_f64() + 400.0
}

#[test]
fn eight_processes_stay_within_two_percent_of_the_quota_that_they_share() {
    let redis = Redis::start();
    for demand in [[16; PROCESSES], [128, 64, 32, 16, 8, 8, 8, 8]] {
        assert_eq!(redis.say("FLUSHALL"), "+OK");

        let (admitted, took) = run(redis.port, demand);

        let ratio = admitted as f64 / whole(took);
        println!("{demand:?} calls at once: {ratio:.4} of the quota");
        assert!((0.98..=1.02).contains(&ratio), "{ratio}");
    }
}

#[test]
fn without_redis_eight_processes_admit_the_quota_by_their_local_shares() {
    let redis = Redis::start();
    let port = redis.stop();

    let (admitted, took) = run(port, [16; PROCESSES]);

    let ratio = admitted as f64 / whole(took);
    println!("without redis: {ratio:.4} of the quota");
    assert!((0.95..=1.01).contains(&ratio), "{ratio}");
}

#[test]
fn the_hash_is_that_of_the_script() {
    let redis = Redis::start();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port)).unwrap();
    let load = format!("*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n${}\r\n{SCRIPT}\r\n", SCRIPT.len());
    stream.write_all(load.as_bytes()).unwrap();
    let mut answer = [0; 46];
    stream.read_exact(&mut answer).unwrap();

    assert_eq!(std::str::from_utf8(&answer[5..45]), Ok(seawall_rate_limiter::SCRIPT_SHA1));
}
