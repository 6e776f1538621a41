//! Views on disk: one file, replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::views::Views;

/// Why the views could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The file or its folder cannot be read or written.
    #[error("{} cannot be read or written", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} does not hold views", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// A file that holds a [`Views`]: either the one before or the one after, also when the machine stops in between.
#[derive(Debug, Clone)]
pub struct Snapshot {
    path: PathBuf,
}

impl Snapshot {
    /// `views.json` in this folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`SnapshotError::File`] when the folder cannot be made.
    pub fn in_folder(folder: &Path) -> Result<Self, SnapshotError> {
        fs::create_dir_all(folder).map_err(|source| SnapshotError::File { path: folder.to_owned(), source })?;
        Ok(Self { path: folder.join("views.json") })
    }

    /// What was written last; nothing before the first time.
    ///
    /// # Errors
    /// [`SnapshotError`] when the file is there but is not a snapshot.
    pub fn read(&self) -> Result<Views, SnapshotError> {
        let bytes = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Views::default()),
            read => read.map_err(|source| self.file(source))?,
        };
        serde_json::from_slice(&bytes).map_err(|source| SnapshotError::Content { path: self.path.clone(), source })
    }

    /// Replaces what was written before.
    ///
    /// # Errors
    /// [`SnapshotError::File`] when that fails; what was written before is still there then.
    pub fn write(&self, image: &Views) -> Result<(), SnapshotError> {
        let fresh = self.path.with_extension("json.fresh");
        let bytes =
            serde_json::to_vec(image).map_err(|source| SnapshotError::Content { path: fresh.clone(), source })?;
        let written = File::create(&fresh).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&fresh, &self.path)).map_err(|source| self.file(source))
    }

    /// Moves a file that does not hold views out of the way, so that it can be looked at.
    ///
    /// # Errors
    /// [`SnapshotError::File`] when it cannot be moved.
    pub fn set_aside(&self) -> Result<PathBuf, SnapshotError> {
        let aside = self.path.with_extension("json.broken");
        fs::rename(&self.path, &aside).map_err(|source| self.file(source))?;
        Ok(aside)
    }

    fn file(&self, source: io::Error) -> SnapshotError {
        SnapshotError::File { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::super::View;
    use super::*;

    fn image() -> Views {
        let mut views = Views::default();
        views.record(&View { user: Some("a".to_owned()), item: 1 }, std::time::SystemTime::UNIX_EPOCH);
        views
    }

    #[test]
    fn what_was_written_is_read_and_before_that_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = Snapshot::in_folder(&folder.path().join("new")).unwrap();

        assert_eq!(snapshot.read().unwrap(), Views::default());
        snapshot.write(&image()).unwrap();
        assert_eq!(snapshot.read().unwrap(), image());
    }

    #[test]
    fn a_file_that_holds_something_else_is_an_error_and_can_be_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = Snapshot::in_folder(folder.path()).unwrap();
        fs::write(folder.path().join("views.json"), "{\"heat\":").unwrap();

        let error = snapshot.read().unwrap_err();
        let aside = snapshot.set_aside().unwrap();

        assert_eq!(error.to_string(), format!("{} does not hold views", folder.path().join("views.json").display()));
        assert_eq!(aside, folder.path().join("views.json.broken"));
        assert_eq!(snapshot.read().unwrap(), Views::default());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let error = Snapshot::in_folder(Path::new("/dev/null/views")).unwrap_err();

        assert_eq!(error.to_string(), "/dev/null/views cannot be read or written");
    }
}
