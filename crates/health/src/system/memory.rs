use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Lock, observe};
use crate::{Check, Observation, Watermark};

/// Checks the used memory of the machine and of the control groups that this process is in (version 1 and 2), whichever
/// is nearest to its limit. File pages that the kernel can drop at once count as free, as the orchestrators count.
///
/// The reading is a few small files of `/proc` and `/sys`, which never wait.
///
/// # Examples
/// ```
/// use seawall_health::{CheckConfig, MemoryUse, Registry};
///
/// # fn main() -> Result<(), seawall_health::HealthError> {
/// let mut checks = Registry::new();
/// checks.register("memory:used", CheckConfig::memory(), MemoryUse::new())?;
/// # Ok(())
/// # }
/// ```
///
/// # Source
/// Linux `proc(5)`: `MemTotal`, `MemAvailable`; control groups: `memory.current` less `inactive_file` of `memory.max`,
/// in version 1 `memory.usage_in_bytes` less `total_inactive_file` of `memory.limit_in_bytes`.
#[derive(Debug)]
pub struct MemoryUse {
    root: PathBuf,
    watermark: Lock<Watermark>,
}

impl Default for MemoryUse {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryUse {
    /// Fails above 90% used.
    pub fn new() -> Self {
        Self { root: PathBuf::from("/"), watermark: Lock::new(Watermark::used_memory()) }
    }

    /// With other marks.
    #[must_use]
    pub fn with_watermark(mut self, watermark: Watermark) -> Self {
        self.watermark = Lock::new(watermark);
        self
    }

    /// Reads from the files below another root, such as the host's when it is mounted in a container.
    #[must_use]
    pub fn below(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// The used share of the limit that is nearest, 0 to 1.
    ///
    /// # Errors
    /// When `/proc/meminfo` cannot be read or lacks its figures.
    pub fn used_share(&self) -> io::Result<f64> {
        let machine = Meminfo::parse(&fs::read_to_string(self.root.join("proc/meminfo"))?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "MemTotal or MemAvailable is missing"))?;
        let groups = fs::read_to_string(self.root.join("proc/self/cgroup")).unwrap_or_default();
        let levels = groups.lines().filter_map(Group::parse).flat_map(|group| group.levels(&self.root));
        let shares = levels.filter_map(|level| level.used_share(machine.total));
        Ok(shares.fold(machine.used_share(), f64::max))
    }
}

impl Check for MemoryUse {
    async fn run(&self) -> Observation {
        observe(&self.watermark, "used memory", self.used_share())
    }
}

/// The machine's memory, in bytes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Meminfo {
    total: u64,
    available: u64,
}

impl Meminfo {
    fn parse(text: &str) -> Option<Self> {
        let kilobytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self { total: kilobytes("MemTotal:").filter(|total| *total > 0)?, available: kilobytes("MemAvailable:")? })
    }

    fn used_share(&self) -> f64 {
        share(self.total.saturating_sub(self.available), self.total)
    }
}

/// The files of one version of the memory controller.
#[derive(Debug, PartialEq, Eq)]
struct Files {
    mounts: &'static [&'static str],
    used: &'static str,
    limit: &'static str,
    inactive: &'static str,
}

const VERSION_1: Files = Files {
    mounts: &["sys/fs/cgroup/memory"],
    used: "memory.usage_in_bytes",
    limit: "memory.limit_in_bytes",
    inactive: "total_inactive_file",
};

const VERSION_2: Files = Files {
    mounts: &["sys/fs/cgroup", "sys/fs/cgroup/unified"],
    used: "memory.current",
    limit: "memory.max",
    inactive: "inactive_file",
};

/// A control group that this process is in.
#[derive(Debug, PartialEq, Eq)]
struct Group<'a> {
    path: &'a str,
    files: &'static Files,
}

impl<'a> Group<'a> {
    /// Parses a line of `/proc/self/cgroup`: `0::/path` in version 2, `4:memory:/path` in version 1.
    fn parse(line: &'a str) -> Option<Self> {
        let mut parts = line.splitn(3, ':');
        let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let files = if id == "0" && controllers.is_empty() {
            &VERSION_2
        } else if controllers.split(',').any(|controller| controller == "memory") {
            &VERSION_1
        } else {
            return None;
        };
        Some(Self { path, files })
    }

    /// The group and those above it. In a container the path may be the host's, which is not there: what is mounted is
    /// then the container's own group.
    fn levels(&self, root: &Path) -> Vec<Level> {
        let path = Path::new(self.path.trim_start_matches('/'));
        let mounts = self.files.mounts.iter().map(|mount| root.join(mount));
        mounts
            .flat_map(|mount| path.ancestors().map(move |above| mount.join(above)).collect::<Vec<_>>())
            .map(|folder| Level { folder, files: self.files })
            .collect()
    }
}

/// One control group's folder.
struct Level {
    folder: PathBuf,
    files: &'static Files,
}

impl Level {
    /// The used share of its limit; `None` where it has none below that of the machine.
    fn used_share(&self, machine: u64) -> Option<f64> {
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        // `max` in version 2 is no number, and version 1 writes a huge one.
        let limit = number(self.files.limit).filter(|limit| (1..machine).contains(limit))?;
        let used = number(self.files.used)?;
        let inactive = read("memory.stat").and_then(|stat| {
            let value = stat.lines().find_map(|line| line.strip_prefix(self.files.inactive)?.strip_prefix(' '))?;
            value.trim().parse::<u64>().ok()
        });
        Some(share(used.saturating_sub(inactive.unwrap_or(0)), limit))
    }
}

fn share(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share to a few digits")]
    {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root folder with the files of a test; removed at the end.
    struct Root(PathBuf);

    impl Root {
        fn with(name: &str, files: &[(&str, &str)]) -> Self {
            let root = Self(std::env::temp_dir().join(format!("seawall-memory-{name}-{}", std::process::id())));
            for (path, text) in files {
                let path = root.0.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            root
        }

        fn used_share(&self) -> f64 {
            MemoryUse::new().below(&self.0).used_share().unwrap()
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:        1000 kB\nMemFree:          10 kB\nMemAvailable:     600 kB\n");

    #[test]
    fn this_machine_has_a_share_that_is_used() {
        let used = MemoryUse::new().used_share().unwrap();

        assert!((0.0..=1.5).contains(&used) && used > 0.0, "{used}");
    }

    #[test]
    fn without_control_groups_the_machine_counts() {
        let root = Root::with("machine", &[MEMINFO]);

        assert!((root.used_share() - 0.4).abs() < 1e-9);
    }

    #[test]
    fn the_group_of_version_2_nearest_to_its_limit_counts_without_pages_that_can_be_dropped() {
        let root = Root::with(
            "v2",
            &[
                MEMINFO,
                ("proc/self/cgroup", "0::/shop/catalog\n"),
                ("sys/fs/cgroup/shop/catalog/memory.max", "max\n"),
                ("sys/fs/cgroup/shop/catalog/memory.current", "90000\n"),
                ("sys/fs/cgroup/shop/memory.max", "100000\n"),
                ("sys/fs/cgroup/shop/memory.current", "90000\n"),
                ("sys/fs/cgroup/shop/memory.stat", "anon 1\ninactive_file 20000\nactive_file 7\n"),
            ],
        );

        assert!((root.used_share() - 0.7).abs() < 1e-9);
    }

    #[test]
    fn in_a_container_of_version_2_the_mounted_group_counts() {
        let root = Root::with(
            "v2-container",
            &[
                MEMINFO,
                ("proc/self/cgroup", "0::/\n"),
                ("sys/fs/cgroup/memory.max", "100000\n"),
                ("sys/fs/cgroup/memory.current", "95000\n"),
            ],
        );

        assert!((root.used_share() - 0.95).abs() < 1e-9);
    }

    #[test]
    fn in_a_container_of_version_1_the_mounted_group_counts_though_its_path_is_the_hosts() {
        let root = Root::with(
            "v1",
            &[
                MEMINFO,
                ("proc/self/cgroup", "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "200000\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "120000\n"),
                ("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 20000\n"),
            ],
        );

        assert!((root.used_share() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_limit_above_the_machine_and_a_limit_of_0_are_none() {
        let root = Root::with(
            "no-limit",
            &[
                MEMINFO,
                ("proc/self/cgroup", "4:memory:/\n0::/\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1\n"),
                ("sys/fs/cgroup/memory.max", "0\n"),
                ("sys/fs/cgroup/memory.current", "9\n"),
            ],
        );

        assert!((root.used_share() - 0.4).abs() < 1e-9);
    }

    #[test]
    fn figures_that_are_missing_are_an_error() {
        let root = Root::with("empty", &[("proc/meminfo", "MemTotal: 0 kB\n")]);

        let error = MemoryUse::new().below(&root.0).used_share().unwrap_err();

        assert_eq!(error.to_string(), "MemTotal or MemAvailable is missing");
    }
}
