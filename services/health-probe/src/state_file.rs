//! [`StateFile`]: one file that is replaced as a whole.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where the state is. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StateFile {
    dir: PathBuf,
}

impl StateFile {
    const NAME: &str = "state.json";
    const NEW: &str = "state.json.new";
    /// Where a file that cannot be read is put, for a person to look at.
    const UNREADABLE: &str = "state.json.unreadable";

    /// The file in this directory.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join(Self::NAME)
    }

    /// Reads it; `None`: there is none yet.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read(&self) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.path()) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces it: after a crash it has the old content or the new one, and never a part.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let new = self.dir.join(Self::NEW);
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, self.path())?;
        File::open(&self.dir)?.sync_all()
    }

    /// Puts a file aside that cannot be understood.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn put_aside(&self) -> io::Result<()> {
        std::fs::rename(self.path(), self.dir.join(Self::UNREADABLE))
    }
}
