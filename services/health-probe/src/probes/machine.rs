//! Files of the kernel and file systems. A file system that hangs takes a thread, and never more than one for each target.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::finding::Finding;
use crate::domain::limits::Limits;
use crate::domain::machine::{
    FileSystem, Memory, control_group, group_limit, judge_disk, judge_memory, pressure, row,
};

/// Names of targets whose last look has not ended.
pub(super) type Busy = Arc<Mutex<BTreeSet<String>>>;

/// Looks on a thread of its own.
pub(super) async fn probe(
    busy: &Busy,
    name: &str,
    look: impl FnOnce() -> Finding + Send + 'static,
) -> Finding {
    let begun = busy
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(name.to_owned());
    if !begun {
        return Finding::failed("it has not answered the last look: the file system hangs");
    }
    let (busy, name) = (Arc::clone(busy), name.to_owned());
    let looking = tokio::task::spawn_blocking(move || {
        let finding = look();
        busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        finding
    });
    looking
        .await
        .unwrap_or_else(|error| Finding::unknown(format!("the look ended with: {error}")))
}

pub(super) fn disk(path: &Path, limits: &Limits) -> Finding {
    let found = match nix::sys::statvfs::statvfs(path) {
        Ok(found) => found,
        Err(errno) => return Finding::failed(format!("{}: {}", path.display(), errno.desc())),
    };
    let unit = found.fragment_size();
    let disk = FileSystem {
        bytes: found.blocks().saturating_mul(unit),
        bytes_available: found.blocks_available().saturating_mul(unit),
        inodes: found.files(),
        inodes_available: found.files_available(),
        is_read_only: found.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY),
    };
    judge_disk(&disk, limits).into()
}

/// The control group of version 2 if it has a limit, else the machine.
pub(super) fn memory(root: &Path, limits: &Limits) -> Finding {
    match of_group(root).or_else(|| of_machine(root)) {
        Some(memory) => judge_memory(&memory, limits).into(),
        None => Finding::unknown(format!(
            "neither a control group nor proc/meminfo can be read below {}",
            root.display()
        )),
    }
}

/// The nearest group with a limit: the one of this process, or one above it.
fn of_group(root: &Path) -> Option<Memory> {
    let top = root.join("sys/fs/cgroup");
    let groups = read(&root.join("proc/self/cgroup"))?;
    let mut group: PathBuf = top.join(control_group(&groups)?);
    loop {
        let limit = read(&group.join("memory.max")).and_then(|text| group_limit(&text));
        if let Some(allowed) = limit {
            let used = group_limit(&read(&group.join("memory.current"))?)?;
            let stat = read(&group.join("memory.stat")).unwrap_or_default();
            return Some(Memory {
                of: "the control group",
                used: used.saturating_sub(row(&stat, "inactive_file").unwrap_or_default()),
                allowed,
                pressure: read(&group.join("memory.pressure")).and_then(|text| pressure(&text)),
            });
        }
        if group == top || !group.pop() || !group.starts_with(&top) {
            return None;
        }
    }
}

fn of_machine(root: &Path) -> Option<Memory> {
    let text = read(&root.join("proc/meminfo"))?;
    let total = row(&text, "MemTotal")?;
    Some(Memory {
        of: "the machine",
        used: total.saturating_sub(row(&text, "MemAvailable")?),
        allowed: total,
        pressure: read(&root.join("proc/pressure/memory")).and_then(|text| pressure(&text)),
    })
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}
