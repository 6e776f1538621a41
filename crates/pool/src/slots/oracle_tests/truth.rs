use super::*;

/// What became of a caller, as the truth has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Has(u32),
    TimedOut,
    Failed,
    Closed,
}

/// The pool kept by hand: times in nanoseconds, connections and callers by number.
#[derive(Debug)]
pub(super) struct Truth {
    pub(super) config: PoolConfig,
    pub(super) idle: Vec<(u32, Timestamp)>,
    pub(super) waiting: Vec<(usize, Timestamp)>,
    pub(super) ended: Vec<(usize, End)>,
    pub(super) held: Vec<u32>,
    pub(super) checking: Vec<u32>,
    pub(super) connecting: usize,
    pub(super) failures: u32,
    pub(super) failed_checks: u32,
    pub(super) connect_at: Timestamp,
    pub(super) suspect_before: Timestamp,
    pub(super) gone: Vec<u32>,
    pub(super) closed: bool,
}

impl Truth {
    pub(super) const fn new(config: PoolConfig) -> Self {
        Self {
            config,
            idle: Vec::new(),
            waiting: Vec::new(),
            ended: Vec::new(),
            held: Vec::new(),
            checking: Vec::new(),
            connecting: 0,
            failures: 0,
            failed_checks: 0,
            connect_at: Timestamp::ZERO,
            suspect_before: Timestamp::ZERO,
            gone: Vec::new(),
            closed: false,
        }
    }

    pub(super) fn total(&self) -> usize {
        let unfetched = self.ended.iter().filter(|(_, end)| matches!(end, End::Has(_))).count();
        self.idle.len() + self.held.len() + unfetched + self.checking.len() + self.connecting
    }

    pub(super) fn is_trusted(&self, since: Timestamp, now: Timestamp) -> bool {
        now.since(since) <= self.config.check_after && since >= self.suspect_before
    }

    /// A connection that nobody has goes to the first who waits, or is kept, or is too much.
    pub(super) fn put(&mut self, id: u32, now: Timestamp) {
        if self.closed || self.total() >= self.config.max {
            self.gone.push(id);
        } else if self.waiting.is_empty() {
            self.idle.push((id, now));
        } else {
            let (caller, _) = self.waiting.remove(0);
            self.ended.push((caller, End::Has(id)));
        }
    }

    /// What is idle goes to those who wait; what is missing is checked or opened.
    pub(super) fn settle(&mut self, now: Timestamp) {
        if self.closed {
            return;
        }
        while let (Some(&(id, since)), false) = (self.idle.last(), self.waiting.is_empty()) {
            if self.is_trusted(since, now) {
                self.idle.pop();
                self.put(id, now);
            } else if self.checking.len() + self.connecting < self.waiting.len() {
                self.idle.pop();
                self.checking.push(id);
            } else {
                break;
            }
        }
        let missing = |it: &Self| {
            let wanted = it.waiting.len() + it.config.min_idle.saturating_sub(it.idle.len());
            it.checking.len() + it.connecting < wanted
        };
        while missing(self)
            && self.total() < self.config.max
            && self.connecting < self.config.connect_concurrency
            && now >= self.connect_at
        {
            self.connecting += 1;
        }
    }

    pub(super) fn connect_failed(&mut self, now: Timestamp) {
        let wait = (0..self.failures).fold(self.config.connect_backoff, |wait, _| wait.saturating_mul(2));
        self.connect_at = now.saturating_add(wait.min(self.config.max_connect_backoff));
        self.failures += 1;
        if self.total() == 0 {
            self.ended.extend(self.waiting.drain(..).map(|(caller, _)| (caller, End::Failed)));
        }
    }

    pub(super) fn tick(&mut self, now: Timestamp) {
        if self.closed {
            return;
        }
        let (late, waiting) = self.waiting.iter().partition(|(_, deadline)| *deadline <= now);
        self.waiting = waiting;
        let late: Vec<(usize, Timestamp)> = late;
        self.ended.extend(late.into_iter().map(|(caller, _)| (caller, End::TimedOut)));
        while self.idle.len() > self.config.min_idle && now.since(self.idle[0].1) >= self.config.idle_timeout {
            self.gone.push(self.idle.remove(0).0);
        }
    }
}
