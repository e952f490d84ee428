//! [`ScratchDir`]: directories of tests, swept by the next run when their process died.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Uid;

use crate::error::SandboxError;

/// How long a directory that a failed test wanted to keep is kept.
const KEEP_FAILED: Duration = Duration::from_hours(24);

/// How many of them: each holds a whole data directory, and a bad afternoon has many failures.
const KEEP_AT_MOST: usize = 4;

/// A directory for one server or test, removed when dropped.
///
/// A static server is never dropped and a killed process drops nothing, so each directory also carries a locked
/// file: the kernel releases the lock with the process, and whoever makes the next scratch directory removes the
/// ones whose lock is free.
#[derive(Debug)]
pub struct ScratchDir {
    path: PathBuf,
    _lock: File,
}

impl ScratchDir {
    /// A new empty directory below `$TMPDIR/eidos-sandbox-<uid>`; `purpose` becomes part of its name. Others may
    /// traverse it (PostgreSQL runs as another user than root) but not list it.
    ///
    /// # Errors
    /// File errors, and [`SandboxError::ForeignDirectory`] when somebody else owns the parent.
    pub fn create(purpose: &str) -> Result<Self, SandboxError> {
        let root = root()?;
        // One at a time: between `mkdir` and the lock a directory looks abandoned to a sweeper.
        let turn = open_lock(&root.join("turn"))?;
        turn.lock().map_err(SandboxError::file("lock", &root))?;
        sweep(&root);
        let (path, lock) = first_free(&root, purpose)?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the directory for a day, for the person who looks into a failed test.
    pub fn keep(&self) {
        keep(&self.path);
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        if !self.path.join("keep").exists() {
            // What cannot be removed now is removed by the next sweep.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Marks a scratch directory to be kept for a day. Failing to mark it loses only a convenience.
pub(crate) fn keep(dir: &Path) {
    let _ = File::create(dir.join("keep"));
}

/// `$TMPDIR/eidos-sandbox-<uid>`, created when missing and refused when it is not ours: the name is predictable
/// and the parent is writable for everybody.
pub(crate) fn root() -> Result<PathBuf, SandboxError> {
    let uid = Uid::effective().as_raw();
    let root = std::env::temp_dir().join(format!("eidos-sandbox-{uid}"));
    make_own_dir(&root, uid)?;
    Ok(root)
}

/// Creates `dir` (mode 0711) or checks that it is a real directory of `uid`.
pub(crate) fn make_own_dir(dir: &Path, uid: u32) -> Result<(), SandboxError> {
    match DirBuilder::new().mode(0o711).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(SandboxError::file("create", dir)(error));
        }
        _ => {}
    }
    let meta = std::fs::symlink_metadata(dir).map_err(SandboxError::file("examine", dir))?;
    if meta.uid() == uid && meta.is_dir() {
        Ok(())
    } else {
        Err(SandboxError::ForeignDirectory {
            dir: dir.to_owned(),
            owner: meta.uid(),
            expected: uid,
        })
    }
}

pub(crate) fn open_lock(path: &Path) -> Result<File, SandboxError> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(SandboxError::file("open", path))
}

fn first_free(root: &Path, purpose: &str) -> Result<(PathBuf, File), SandboxError> {
    let pid = std::process::id();
    let mut number = 0_u32;
    loop {
        let path = root.join(format!("{purpose}-{pid}-{number}"));
        match DirBuilder::new().mode(0o711).create(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(SandboxError::file("create", &path)(error)),
            Ok(()) => {
                let lock_path = path.join("lock");
                let lock = open_lock(&lock_path)?;
                lock.lock().map_err(SandboxError::file("lock", &lock_path))?;
                return Ok((path, lock));
            }
        }
    }
}

/// Removes the directories of dead processes, but for the newest that failed tests wanted to keep. Errors are left
/// to the next sweep: a leftover directory must not keep a test from running.
fn sweep(root: &Path) {
    let Ok(entries) = std::fs::read_dir(root) else {
        return;
    };
    let mut kept = Vec::new();
    for dir in entries.flatten().map(|entry| entry.path()) {
        let Ok(lock) = File::options().write(true).open(dir.join("lock")) else {
            continue;
        };
        if lock.try_lock().is_ok() {
            match age_of_failure(&dir) {
                Some(age) if age < KEEP_FAILED => kept.push((age, dir)),
                _ => drop(std::fs::remove_dir_all(&dir)),
            }
        }
    }
    kept.sort();
    for (_, dir) in kept.into_iter().skip(KEEP_AT_MOST) {
        let _ = std::fs::remove_dir_all(dir);
    }
}

/// How long ago a test failed that wanted this directory kept; `None` when none did.
fn age_of_failure(dir: &Path) -> Option<Duration> {
    std::fs::metadata(dir.join("keep"))
        .ok()?
        .modified()
        .ok()?
        .elapsed()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::{File, KEEP_AT_MOST, Path, PathBuf, ScratchDir, open_lock, sweep};

    /// What a process leaves that ended without dropping anything.
    fn leave(root: &Path, name: &str, keep: bool) -> PathBuf {
        let dir = root.join(name);
        std::fs::create_dir_all(dir.join("data")).unwrap();
        File::create(dir.join("lock")).unwrap();
        if keep {
            File::create(dir.join("keep")).unwrap();
        }
        dir
    }

    #[test]
    fn the_dead_are_swept_the_living_and_the_newest_failures_are_not() {
        // A root of its own: tests that run at the same time sweep the real one.
        let scratch = ScratchDir::create("test").unwrap();
        let root = scratch.path().join("root");
        let (dead, failed, alive) = (
            leave(&root, "dead", false),
            leave(&root, "failed", true),
            leave(&root, "alive", false),
        );
        let held = open_lock(&alive.join("lock")).unwrap();
        held.lock().unwrap();
        sweep(&root);
        assert!(!dead.exists() && failed.exists() && alive.exists());

        let newer: Vec<_> = (0..KEEP_AT_MOST)
            .map(|number| leave(&root, &format!("newer{number}"), true))
            .collect();
        sweep(&root);
        assert!(!failed.exists());
        assert!(newer.iter().all(|dir| dir.exists()));
        drop(held);
        sweep(&root);
        assert!(!alive.exists());
    }
}
