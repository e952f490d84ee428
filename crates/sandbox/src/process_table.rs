//! Who descends from whom, and who is stopped: read from `/proc`.

use nix::unistd::Pid;

/// Every living descendant of `root`, parents before children.
pub(crate) fn descendants(root: Pid) -> Vec<Pid> {
    let table = parents();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(table.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.remove(0);
    found
}

/// Whether the kernel reports `pid` as stopped (state `T`).
pub(crate) fn is_stopped(pid: Pid) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| state == 'T')
}

fn parents() -> Vec<(Pid, Pid)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .filter_map(|pid| state_and_parent(pid).map(|(_, parent)| (pid, parent)))
        .collect()
}

/// State and parent of a process. The second field of `stat` is the program's name in parentheses and may hold
/// anything, so the fields are counted from the last `)`.
fn state_and_parent(pid: Pid) -> Option<(char, Pid)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some((state, Pid::from_raw(parent)))
}

/// Whether `pid` is a process that still runs; a zombie does not.
pub(crate) fn exists(pid: Pid) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| state != 'Z')
}
