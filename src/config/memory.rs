//! How much memory this process may have: what its control group (v2 or v1) or else the machine grants. For
//! `limits.memory = "auto"`.

use std::fs;
use std::path::{Path, PathBuf};

/// Share of the granted memory that `auto` uses: the rest is for the kernel's socket buffers and others.
const AUTO_PERCENT: u64 = 70;
/// If nothing says how much memory there is.
const FALLBACK_BYTES: u64 = 1 << 30;

/// What `limits.memory = "auto"` stands for, in bytes.
pub(super) fn auto() -> u64 {
    share(granted(Path::new("/")).unwrap_or(FALLBACK_BYTES))
}

fn share(bytes: u64) -> u64 {
    (u128::from(bytes) * u128::from(AUTO_PERCENT) / 100) as u64
}

/// The tightest of the machine's memory and the limits of this process's control groups, under a file system
/// root (`/` but for tests).
fn granted(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    groups
        .lines()
        .filter_map(|line| limit_of(root, line))
        .chain(total(root))
        .min()
}

/// The tightest limit on the way from the group of one line of `/proc/self/cgroup` up to the top.
fn limit_of(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        v1 if v1.split(',').any(|c| c == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return None,
    };
    // Inside a container the group's own path may not be mounted; its limit is then found at the top.
    PathBuf::from(group.trim_start_matches('/'))
        .ancestors()
        .filter_map(|dir| fs::read_to_string(root.join(mount).join(dir).join(file)).ok())
        // "max" is no number; v1 writes "no limit" as a number near 2^63, which the machine's memory beats.
        .filter_map(|text| text.trim().parse().ok())
        .min()
}

fn total(root: &Path) -> Option<u64> {
    let info = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kb: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kb.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:       1000 kB\nMemFree: 1 kB\n");

    #[test]
    fn without_a_control_group_it_is_the_machine() {
        assert_eq!(granted(root(&[MEMINFO]).path()), Some(1000 * 1024));
        assert_eq!(granted(root(&[]).path()), None);
        assert_eq!(share(1000), 700);
        assert!(auto() > 0);
    }

    #[test]
    fn version_2_takes_the_tightest_of_its_ancestors() {
        let root = root(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.max", "5000\n"),
        ]);
        assert_eq!(granted(root.path()), Some(5000));
    }

    #[test]
    fn version_1_without_a_limit_leaves_the_machine() {
        let unlimited = "9223372036854771712\n";
        let groups = ("proc/self/cgroup", "4:cpu,memory:/docker/x\n3:cpu:/y\n");
        let none = root(&[
            MEMINFO,
            groups,
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", unlimited),
        ]);
        assert_eq!(granted(none.path()), Some(1000 * 1024));
        let some = root(&[
            MEMINFO,
            groups,
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "77\n"),
        ]);
        assert_eq!(granted(some.path()), Some(77));
    }
}
