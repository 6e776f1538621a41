use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use seawall_core::Timestamp;

use crate::Feeling;

/// Reads what the control group of this process uses of what it may use: memory and processor time (versions 1 and 2),
/// and stalls where the kernel counts them (PSI). What the group does not limit, or the kernel does not say, is not known.
///
/// Of memory the page cache is left out, as far as the kernel can drop it: what has not been used lately, as kubelet does
/// for its working set; and where PSI tells whether dropping the rest hurts, that as well, together with reclaimable slab.
/// So a process that reads files is not taken for one that runs out of memory. Without PSI nothing would tell that the
/// kernel drops what is read again at once, so there the cache in use counts as used.
///
/// The reading is a few small files of `/sys`, which never wait; once a second is often enough.
///
/// ```
/// use seawall_load_shedder::CgroupReader;
/// use seawall_core::{Clock, MonotonicClock};
///
/// let mut reader = CgroupReader::new();
/// let feeling = reader.read(MonotonicClock.now());
/// assert!(feeling.cpu.is_none(), "processor time is a difference of two readings");
/// ```
///
/// # Source
/// Linux, Documentation/admin-guide/cgroup-v2.rst: `memory.current`, `memory.max`, `memory.stat`, `cpu.stat`, `cpu.max`,
/// `*.pressure`; cgroup-v1: `memory.usage_in_bytes`, `memory.limit_in_bytes`, `cpuacct.usage`, `cpu.cfs_quota_us`.
#[derive(Debug)]
pub struct CgroupReader {
    root: PathBuf,
    /// When processor time was read last, and how much had been used by then.
    last_cpu: Option<(Timestamp, Duration)>,
}

impl Default for CgroupReader {
    fn default() -> Self {
        Self::new()
    }
}

impl CgroupReader {
    /// Reads below `/sys/fs/cgroup`, as a container sees its own group.
    pub fn new() -> Self {
        Self::below("/sys/fs/cgroup")
    }

    /// Reads below another folder: that of a group, where the process sees all of them.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), last_cpu: None }
    }

    /// What is known at `now`. Processor time is that since the last reading.
    pub fn read(&mut self, now: Timestamp) -> Feeling {
        Feeling { memory: self.memory(), cpu: self.cpu(now), stalled: self.stalled(), loop_delay: None }
    }

    fn text(&self, file: impl AsRef<Path>) -> io::Result<String> {
        fs::read_to_string(self.root.join(file))
    }

    fn number(&self, file: &str) -> Option<f64> {
        parse_number(&self.text(file).ok()?)
    }

    fn memory(&self) -> Option<f64> {
        if let Some(used) = self.number("memory.current") {
            let droppable: &[&str] = match self.pressure("memory.pressure") {
                Some(_) => &["inactive_file", "active_file", "slab_reclaimable"],
                None => &["inactive_file"],
            };
            return part(used - self.sum("memory.stat", droppable), self.number("memory.max")?);
        }
        let used = self.number("memory/memory.usage_in_bytes")?;
        let droppable = self.sum("memory/memory.stat", &["total_inactive_file"]);
        part(used - droppable, self.number("memory/memory.limit_in_bytes")?)
    }

    /// These fields of a file together; one that is not there is 0.
    fn sum(&self, file: &str, fields: &[&str]) -> f64 {
        let text = self.text(file).unwrap_or_default();
        fields.iter().filter_map(|field| parse_field(&text, field)).sum()
    }

    fn pressure(&self, file: &str) -> Option<f64> {
        parse_pressure(&self.text(file).ok()?)
    }

    fn cpu(&mut self, now: Timestamp) -> Option<f64> {
        let (used, processors) = self.cpu_version_2().or_else(|| self.cpu_version_1())?;
        let (then, before) = self.last_cpu.replace((now, used))?;
        part(used.saturating_sub(before).as_secs_f64(), now.since(then).as_secs_f64() * processors)
    }

    /// The processor time used so far, and how many processors may be used at once.
    fn cpu_version_2(&self) -> Option<(Duration, f64)> {
        let used = parse_field(&self.text("cpu.stat").ok()?, "usage_usec")?;
        let (quota, period) = parse_quota(&self.text("cpu.max").ok()?)?;
        Some((micros(used), quota / period))
    }

    fn cpu_version_1(&self) -> Option<(Duration, f64)> {
        let used = self.number("cpuacct/cpuacct.usage")? / 1_000.0;
        let quota = self.number("cpu/cpu.cfs_quota_us")?;
        let quota = if quota < 0.0 { f64::INFINITY } else { quota };
        Some((micros(used), quota / self.number("cpu/cpu.cfs_period_us")?))
    }

    fn stalled(&self) -> Option<f64> {
        match (self.pressure("memory.pressure"), self.pressure("cpu.pressure")) {
            (Some(memory), Some(cpu)) => Some(memory.max(cpu)),
            (memory, cpu) => memory.or(cpu),
        }
    }
}

fn micros(micros: f64) -> Duration {
    Duration::try_from_secs_f64(micros / 1e6).unwrap_or_default()
}

/// `used / limit`: of what has no limit nothing is used up, so that a limit that was lifted presses no more. Version 1 says "none"
/// with a number near 2⁶³.
fn part(used: f64, limit: f64) -> Option<f64> {
    (limit > 0.0).then(|| if limit < 9e18 { (used / limit).max(0.0) } else { 0.0 })
}

/// A number, or `max` for no limit.
fn parse_number(text: &str) -> Option<f64> {
    match text.trim() {
        "max" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}

/// The number after `name` on a line of its own.
fn parse_field(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// `quota period`, in microseconds.
fn parse_quota(text: &str) -> Option<(f64, f64)> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period) = (parse_number(quota)?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then_some((quota, period))
}

/// `some avg10=1.23 …`, as a part of one.
fn parse_pressure(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    let percent: f64 = line.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()?;
    Some(percent / 100.0)
}

#[cfg(all(test, not(seawall_loom)))]
mod tests {
    use super::*;

    fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("seawall-cgroup-{name}-{}", std::process::id()));
        for (file, text) in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().expect("it is below the root")).expect("a folder for temporary files");
            fs::write(path, text).expect("the folder was just made");
        }
        root
    }

    fn close(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found - expected).abs() < 1e-9)
    }

    #[test]
    fn a_group_of_version_2_is_read() {
        let root = folder(
            "v2",
            &[
                ("memory.current", "900\n"),
                ("memory.max", "1000\n"),
                ("memory.stat", "anon 1\ninactive_file 100\nactive_file 70\nslab_reclaimable 30\n"),
                ("cpu.stat", "usage_usec 1000000\nuser_usec 1\n"),
                ("cpu.max", "200000 100000\n"),
                ("memory.pressure", "some avg10=12.50 avg60=1.00 avg300=0.10 total=1\nfull avg10=0.00\n"),
                ("cpu.pressure", "some avg10=3.00 avg60=1.00 avg300=0.10 total=1\n"),
            ],
        );
        let mut reader = CgroupReader::below(&root);
        let start = Timestamp::from_nanos(1_000_000_000);

        let first = reader.read(start);
        fs::write(root.join("cpu.stat"), "usage_usec 4000000\n").unwrap();
        let second = reader.read(start.saturating_add(Duration::from_secs(2)));
        fs::remove_dir_all(&root).unwrap();

        assert!(close(first.memory, 0.7) && close(first.stalled, 0.125), "{first:?}");
        assert_eq!(first.cpu, None);
        assert!(close(second.cpu, 0.75), "three seconds of four: {second:?}");
    }

    #[test]
    fn page_cache_in_use_counts_as_used_where_nothing_tells_whether_dropping_it_hurts() {
        let root = folder(
            "cache",
            &[
                ("memory.current", "900\n"),
                ("memory.max", "1000\n"),
                ("memory.stat", "inactive_file 100\nactive_file 500\nslab_reclaimable 30\n"),
            ],
        );

        let without_psi = CgroupReader::below(&root).read(Timestamp::ZERO);
        fs::write(root.join("memory.pressure"), "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n").unwrap();
        let with_psi = CgroupReader::below(&root).read(Timestamp::ZERO);
        fs::remove_dir_all(&root).unwrap();

        assert!(close(without_psi.memory, 0.8), "{without_psi:?}");
        assert!(close(with_psi.memory, 0.27), "{with_psi:?}");
    }

    #[test]
    fn a_group_of_version_1_is_read() {
        let root = folder(
            "v1",
            &[
                ("memory/memory.usage_in_bytes", "600"),
                ("memory/memory.limit_in_bytes", "1000"),
                ("memory/memory.stat", "total_inactive_file 100"),
                ("cpuacct/cpuacct.usage", "1000000000"),
                ("cpu/cpu.cfs_quota_us", "-1"),
            ],
        );

        let known = CgroupReader::below(&root).read(Timestamp::ZERO);
        fs::remove_dir_all(&root).unwrap();

        assert!(close(known.memory, 0.5), "{known:?}");
        assert_eq!((known.cpu, known.stalled), (None, None));
    }

    #[test]
    fn of_what_has_no_limit_nothing_is_used_up() {
        let limited = |files: &[(&str, &str)], name| {
            let root = folder(name, files);
            let mut reader = CgroupReader::below(&root);
            let start = Timestamp::from_nanos(1_000_000_000);
            reader.read(start);
            let feeling = reader.read(start.saturating_add(Duration::from_secs(1)));
            fs::remove_dir_all(&root).expect("it was made");
            (feeling.memory, feeling.cpu)
        };
        let version_2 = [
            ("memory.current", "900\n"),
            ("memory.max", "max\n"),
            ("cpu.stat", "usage_usec 1000000\n"),
            ("cpu.max", "max 100000\n"),
        ];
        let version_1 = [
            ("memory/memory.usage_in_bytes", "900\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("cpuacct/cpuacct.usage", "1000000\n"),
            ("cpu/cpu.cfs_quota_us", "-1\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
        ];

        assert_eq!(limited(&version_2, "unlimited-2"), (Some(0.0), Some(0.0)));
        assert_eq!(limited(&version_1, "unlimited-1"), (Some(0.0), Some(0.0)));
    }

    #[test]
    fn what_is_missing_or_nonsense_is_not_known() {
        assert_eq!(CgroupReader::below("/nowhere").read(Timestamp::MAX), Feeling::default());
        for text in ["", "max", "some", "some avg10=", "-1 0", "a b", "1"] {
            assert_eq!((parse_quota(text), parse_pressure(text)), (None, None), "{text}");
        }
        assert_eq!((part(1.0, 0.0), part(1.0, f64::NAN)), (None, None));
    }
}
