//! The data folder, which belongs to one stack at a time.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::config::ConfigError;

/// Keeps the data folder for this stack, until it is dropped or the process ends, however it does.
#[derive(Debug)]
pub(super) struct DataFolder {
    _lock: File,
}

/// Takes the data folder, if nobody has it and files can be kept there: processes would otherwise try in vain.
pub(super) fn claim(path: &Path) -> Result<DataFolder, ConfigError> {
    let failed = |cause| ConfigError::Path { field: "data", path: path.to_owned(), cause };
    fs::create_dir_all(path).map_err(failed)?;
    let lock = File::create(path.join("lock")).map_err(failed)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(ConfigError::FolderInUse { path: path.to_owned() }),
        locked => locked.map_err(|error| failed(error.into()))?,
    }
    let probe = path.join(".writable");
    fs::write(&probe, "").and_then(|()| fs::remove_file(&probe)).map_err(failed)?;
    Ok(DataFolder { _lock: lock })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_claimed_cannot_be_claimed_again_until_it_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new");

        let first = claim(&path).unwrap();
        let second = claim(&path).unwrap_err();
        drop(first);

        let text = format!("data {}: another four-plane uses this folder; choose another one", path.display());
        assert_eq!(second.to_string(), text);
        claim(&path).unwrap();
    }
}
