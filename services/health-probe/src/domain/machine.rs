//! [`judge_disk`] and [`judge_memory`]: what the kernel says of a file system and of memory.

use super::limits::Limits;
use super::observation::Seen;
use super::text::percent;
use super::verdict::Verdict;

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystem {
    /// Its size.
    pub bytes: u64,
    /// What a process without privileges may still use.
    pub bytes_available: u64,
    /// Files that it can hold; 0: it does not count them.
    pub inodes: u64,
    /// How many more.
    pub inodes_available: u64,
    /// Whether it refuses writes.
    pub is_read_only: bool,
}

/// Judges it.
#[must_use]
pub fn judge_disk(disk: &FileSystem, limits: &Limits) -> Verdict {
    let mut verdict = Verdict::default();
    if disk.is_read_only {
        verdict.add(Seen::Failed, "the file system is read-only");
    }
    let used = percent(disk.bytes.saturating_sub(disk.bytes_available), disk.bytes);
    verdict.grade(used, &limits.disk(), || {
        format!(
            "{used} % of its bytes are in use; {} are left",
            disk.bytes_available
        )
    });
    if disk.inodes > 0 {
        let used = percent(disk.inodes.saturating_sub(disk.inodes_available), disk.inodes);
        verdict.grade(used, &limits.disk(), || {
            format!(
                "{used} % of its inodes are in use; {} are left",
                disk.inodes_available
            )
        });
    }
    verdict
}

/// Memory, of a control group or of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// What is measured: `the control group`, `the machine`.
    pub of: &'static str,
    /// In use, without what the kernel can take back at once.
    pub used: u64,
    /// Allowed.
    pub allowed: u64,
    /// Share of the last minute in which some work waited for memory, hundredths of a percent; `None`: the kernel does not
    /// measure it.
    pub pressure: Option<u64>,
}

/// Judges it.
#[must_use]
pub fn judge_memory(memory: &Memory, limits: &Limits) -> Verdict {
    let mut verdict = Verdict::default();
    let (used, allowed, of) = (memory.used, memory.allowed, memory.of);
    let share = percent(used, allowed);
    verdict.grade(share, &limits.memory(), || {
        format!("{share} % of the memory of {of} is in use: {used} of {allowed} bytes")
    });
    if let Some(pressure) = memory.pressure {
        verdict.grade(pressure, &limits.pressure(), || {
            let (whole, part) = (pressure / 100, pressure % 100);
            format!("work in {of} waited for memory in {whole}.{part:02} % of the last minute")
        });
    }
    verdict
}

/// The directory of this process's group below `/sys/fs/cgroup`, from `/proc/self/cgroup`; `None`: version 1.
#[must_use]
pub fn control_group(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::/"))
}

/// A limit of a control group; `None`: there is none.
#[must_use]
pub fn group_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A row `name value` of `memory.stat`, or `name: value kB` of `/proc/meminfo`, in bytes.
#[must_use]
pub fn row(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()?.trim_end_matches(':') == name).then_some(())?;
        let value: u64 = words.next()?.parse().ok()?;
        match words.next() {
            Some("kB") => value.checked_mul(1024),
            _ => Some(value),
        }
    })
}

/// The average of the last minute of `some`, hundredths of a percent.
#[must_use]
pub fn pressure(text: &str) -> Option<u64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let average = some
        .split_ascii_whitespace()
        .find_map(|word| word.strip_prefix("avg60="))?;
    let (whole, part) = average.split_once('.').unwrap_or((average, "0"));
    let hundredths: u64 = format!("{part:0<2}").get(..2)?.parse().ok()?;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(100)?
        .checked_add(hundredths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_measured_by_bytes_inodes_and_whether_it_takes_writes() {
        let good = FileSystem {
            bytes: 1_000,
            bytes_available: 200,
            inodes: 100,
            inodes_available: 20,
            is_read_only: false,
        };
        let limits = Limits::defaults();
        assert_eq!(judge_disk(&good, &limits), Verdict::default());
        for (disk, seen, part) in [
            (
                FileSystem {
                    bytes_available: 199,
                    ..good
                },
                Seen::Degraded,
                "81 % of its bytes",
            ),
            (
                FileSystem {
                    bytes_available: 99,
                    ..good
                },
                Seen::Failed,
                "91 % of its bytes",
            ),
            (
                FileSystem {
                    inodes_available: 0,
                    ..good
                },
                Seen::Failed,
                "100 % of its inodes",
            ),
            (FileSystem { inodes: 0, ..good }, Seen::Good, ""),
            (
                FileSystem {
                    is_read_only: true,
                    ..good
                },
                Seen::Failed,
                "read-only",
            ),
        ] {
            let verdict = judge_disk(&disk, &limits);
            assert_eq!(verdict.seen(), seen, "{disk:?}");
            assert!(verdict.why().contains(part), "{}", verdict.why());
        }
    }

    #[test]
    fn memory_is_measured_by_use_and_by_pressure() {
        let memory = |used, pressure| Memory {
            of: "the machine",
            used,
            allowed: 1_000,
            pressure,
        };
        for (memory, seen) in [
            (memory(800, Some(1_000)), Seen::Good),
            (memory(801, None), Seen::Degraded),
            (memory(951, None), Seen::Failed),
            (memory(0, Some(1_001)), Seen::Degraded),
            (memory(0, Some(4_001)), Seen::Failed),
        ] {
            let verdict = judge_memory(&memory, &Limits::defaults());
            assert_eq!(verdict.seen(), seen, "{memory:?}");
        }
        let verdict = judge_memory(&memory(0, Some(1_005)), &Limits::defaults());
        assert!(verdict.why().contains("10.05 %"), "{}", verdict.why());
    }

    #[test]
    fn files_of_the_kernel_are_read() {
        assert_eq!(control_group("0::/\n"), Some(""));
        assert_eq!(
            control_group("12:cpu:/a\n0::/kubepods/pod1\n"),
            Some("kubepods/pod1")
        );
        assert_eq!(control_group("12:memory:/a\n"), None);
        assert_eq!((group_limit("max\n"), group_limit("4096\n")), (None, Some(4096)));
        assert_eq!(row("anon 5\ninactive_file 4096\n", "inactive_file"), Some(4096));
        assert_eq!(
            row("MemTotal:       16 kB\nMemFree: 1 kB", "MemTotal"),
            Some(16_384)
        );
        let text = "some avg10=0.00 avg60=12.34 avg300=0.10 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(pressure(text), Some(1_234));
        assert_eq!(pressure("some avg60=7.5"), Some(750));
        assert_eq!(pressure("nonsense"), None);
    }
}
