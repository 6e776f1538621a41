use std::{
    io,
    path::{Path, PathBuf},
};

use super::{Lock, observe};
use crate::{Check, Observation, Watermark};

/// Checks the free space of the file system that holds a path: the share of its bytes, or of its inodes where that is
/// smaller, that is left to those who are not root.
///
/// The reading is one system call. It can block on a network file system that hangs; the check is then stuck.
///
/// # Examples
/// ```
/// use seawall_health::{CheckConfig, DiskSpace, Registry};
///
/// # fn main() -> Result<(), seawall_health::HealthError> {
/// let mut checks = Registry::new();
/// checks.register("disk:free", CheckConfig::disk_space(), DiskSpace::of("/"))?;
/// # Ok(())
/// # }
/// ```
///
/// # Source
/// POSIX `statvfs`: `f_bavail` of `f_blocks` less what is reserved, as `df` counts it.
#[derive(Debug)]
pub struct DiskSpace {
    path: PathBuf,
    what: String,
    watermark: Lock<Watermark>,
}

impl DiskSpace {
    /// Fails below 10% free.
    pub fn of(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let what = format!("free space of {}", path.display());
        Self { path, what, watermark: Lock::new(Watermark::free_disk()) }
    }

    /// With other marks.
    #[must_use]
    pub fn with_watermark(mut self, watermark: Watermark) -> Self {
        self.watermark = Lock::new(watermark);
        self
    }

    /// The share that is free, 0 to 1.
    ///
    /// # Errors
    /// That of the system call, as when there is no such path.
    pub fn free_share(path: &Path) -> io::Result<f64> {
        let stat = rustix::fs::statvfs(path)?;
        let used = stat.f_blocks.saturating_sub(stat.f_bfree);
        let bytes = share(stat.f_bavail, used.saturating_add(stat.f_bavail));
        let inodes = share(stat.f_favail, stat.f_files.saturating_sub(stat.f_ffree).saturating_add(stat.f_favail));
        Ok(bytes.min(inodes))
    }
}

impl Check for DiskSpace {
    async fn run(&self) -> Observation {
        observe(&self.watermark, &self.what, Self::free_share(&self.path))
    }
}

/// File systems without a limit report 0 of 0: they are never full.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 1.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a share to a few digits")]
    {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_disk_has_a_share_that_is_free() {
        let free = DiskSpace::free_share(Path::new("/")).unwrap();

        assert!((0.0..=1.0).contains(&free), "{free}");
    }

    #[test]
    fn no_limit_is_never_full_and_no_bytes_left_is() {
        for (part, whole, expected) in [(0, 0, 1.0), (0, 9, 0.0), (3, 4, 0.75)] {
            assert!((share(part, whole) - expected).abs() < 1e-9, "{part} of {whole}");
        }
    }

    #[tokio::test]
    async fn a_path_that_is_not_there_fails_and_is_named() {
        let observation = DiskSpace::of("/no/such/path").run().await;

        let output = observation.output().unwrap();
        assert!(output.starts_with("free space of /no/such/path cannot be read: "), "{output}");
    }

    #[tokio::test]
    async fn the_marks_can_be_set() {
        let never_enough = Watermark::below(1.0, 1.0).unwrap();

        let observation = DiskSpace::of("/proc").with_watermark(never_enough).run().await;

        assert_eq!(observation.value(), Some((100.0, "percent")));
        assert_eq!(observation.output(), None);
    }
}
