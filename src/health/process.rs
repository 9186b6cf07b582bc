//! What the process uses, and what it may: from `/proc` and the control group.
//!
//! Owns the reading of these files. Invariants: what is not there, as on another system, reads as
//! nothing; both versions of control groups are known; an unlimited one has no limit.

use std::path::Path;

use rustix::process::{Resource, getrlimit};

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Resident memory in bytes.
    pub rss: Option<u64>,
    /// CPU time since the start in milliseconds.
    pub cpu_ms: Option<u64>,
    /// What counts against the container's limit, in bytes, and the limit.
    pub memory: Option<(u64, u64)>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
    /// How many there may be.
    pub most_descriptors: Option<u64>,
}

/// Kernel ticks a second, in what it tells programs; the same on every Linux.
const TICKS: u64 = 100;

pub(super) fn read() -> Used {
    // What the process that simulates uses differs from run to run, and with it what is told.
    #[cfg(feature = "simulation")]
    if crate::simulation::is_installed() {
        return Used::default();
    }
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    Used {
        rss: rss(&text("/proc/self/status")),
        cpu_ms: cpu_ms(&text("/proc/self/stat")),
        memory: memory(Path::new("/sys/fs/cgroup"), &text("/proc/self/cgroup")),
        descriptors: std::fs::read_dir("/proc/self/fd")
            .ok()
            // The one that reads the folder is among them.
            .map(|entries| entries.count().saturating_sub(1) as u64),
        most_descriptors: getrlimit(Resource::Nofile).current,
    }
}

fn rss(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn cpu_ms(stat: &str) -> Option<u64> {
    // The name in brackets may hold anything; user and system time are 14th and 15th.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * 1000 / TICKS)
}

/// What counts against the limit of the control group, and the limit.
fn memory(root: &Path, groups: &str) -> Option<(u64, u64)> {
    let number =
        |path: &Path| -> Option<u64> { std::fs::read_to_string(path).ok()?.trim().parse().ok() };
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let [mount, limit, used, cache] = match controllers {
            "" => ["", "memory.max", "memory.current", "inactive_file"],
            _ if controllers.split(',').any(|name| name == "memory") => [
                "memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            ],
            _ => continue,
        };
        let mount = root.join(mount);
        // In a namespace of its own the group is the mount itself, whatever its path says.
        for folder in [mount.join(path.trim_start_matches('/')), mount] {
            let Some(limit) = number(&folder.join(limit)).filter(|limit| *limit < 1 << 60) else {
                continue;
            };
            let Some(used) = number(&folder.join(used)) else {
                continue;
            };
            let stat = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
            // The kernel gives this back before it kills anybody.
            let spare: u64 = stat
                .lines()
                .find_map(|line| line.strip_prefix(cache)?.trim().parse().ok())
                .unwrap_or(0);
            return Some((used.saturating_sub(spare), limit));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> std::path::PathBuf {
        let root = std::env::temp_dir().join(format!("health-{:016x}", rand::random::<u64>()));
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_limit_of_either_kind_of_group_is_found() {
        let stat = "anon 5\ninactive_file 30\nactive_file 1\n";
        let second = folder(&[
            ("kubepods/pod1/memory.max", "1000\n"),
            ("kubepods/pod1/memory.current", "130\n"),
            ("kubepods/pod1/memory.stat", stat),
        ]);
        assert_eq!(memory(&second, "0::/kubepods/pod1\n"), Some((100, 1000)));
        assert_eq!(memory(&second, "0::/other\n"), None);
        let namespaced = folder(&[("memory.max", "1000"), ("memory.current", "7")]);
        assert_eq!(memory(&namespaced, "0::/../../x\n"), Some((7, 1000)));
        let unlimited = folder(&[("memory.max", "max\n"), ("memory.current", "7")]);
        assert_eq!(memory(&unlimited, "0::/\n"), None);
        let first = folder(&[
            ("memory/docker/a/memory.limit_in_bytes", "500"),
            ("memory/docker/a/memory.usage_in_bytes", "90"),
            (
                "memory/docker/a/memory.stat",
                "inactive_file 1\ntotal_inactive_file 40\n",
            ),
        ]);
        let groups = "12:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n0::/\n";
        assert_eq!(memory(&first, groups), Some((50, 500)));
        let huge = folder(&[("memory/memory.limit_in_bytes", "9223372036854771712")]);
        assert_eq!(memory(&huge, "4:memory:/\n"), None);
        for root in [second, namespaced, unlimited, first, huge] {
            std::fs::remove_dir_all(root).unwrap();
        }
    }

    #[test]
    fn a_program_whose_name_has_brackets_is_still_timed() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 250 51 0 0 20 0 1 0 9 9 9";
        assert_eq!(cpu_ms(stat), Some(3010));
        assert_eq!(cpu_ms("nothing"), None);
        assert_eq!(rss("Name:\tx\nVmRSS:\t    9216 kB\n"), Some(9216 * 1024));
        assert_eq!(rss("VmRSS: many kB"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_something() {
        let used = read();
        assert!(used.rss.is_some_and(|rss| rss > 100_000));
        assert!(used.descriptors.is_some_and(|count| count > 2));
        assert!(used.cpu_ms.is_some());
    }
}
