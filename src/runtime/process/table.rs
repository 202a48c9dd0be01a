//! The kernel's table of processes: who descends from whom, and who carries our marks.
#![expect(clippy::disallowed_methods, reason = "reads /proc")]

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::marks;

/// How long guards are given to end their trees before everything marked is killed.
const GUARDS: Duration = Duration::from_secs(3);
/// How long the killed are given to go.
const KILLED: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(20);

/// Parents by child. Empty where there is no /proc.
fn parents() -> BTreeMap<i32, i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
            // `PID (NAME) STATE PPID …`, where NAME may hold anything, parentheses too.
            let after = stat.iter().rposition(|b| *b == b')')? + 1;
            let rest = str::from_utf8(&stat[after..]).ok()?;
            Some((pid, rest.split_ascii_whitespace().nth(1)?.parse().ok()?))
        })
        .collect()
}

/// Everything that descends from this process.
pub(super) fn descendants() -> Vec<Pid> {
    let parents = parents();
    let own = std::process::id().cast_signed();
    let descends = |mut pid: i32| {
        // Bounded: the table was not read in one instant and could hold a ring.
        for _ in 0..parents.len() {
            match parents.get(&pid) {
                Some(parent) if *parent == own => return true,
                Some(parent) if *parent > 1 => pid = *parent,
                _ => return false,
            }
        }
        false
    };
    parents
        .keys()
        .copied()
        .filter(|pid| descends(*pid))
        .filter_map(Pid::from_raw)
        .collect()
}

/// Processes of this user whose environment holds `mark=value`; guards first.
///
/// This process and its ancestors are never among them: mcpd may itself have been started by one of its servers.
fn marked(mark: &str, value: &str) -> Vec<(Pid, bool)> {
    let parents = parents();
    let mut spared = vec![std::process::id().cast_signed()];
    while let Some(parent) = spared.last().and_then(|pid| parents.get(pid))
        && !spared.contains(parent)
    {
        spared.push(*parent);
    }
    let wanted = format!("{mark}={value}");
    let user = geteuid().as_raw();
    let mut found: Vec<(Pid, bool)> = parents
        .keys()
        .filter(|pid| !spared.contains(pid))
        .filter_map(|pid| {
            let meta = std::fs::metadata(format!("/proc/{pid}")).ok()?;
            if meta.uid() != user {
                return None;
            }
            let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
            let mut variables = environment.split(|b| *b == 0);
            let holds = variables.clone().any(|v| v == wanted.as_bytes());
            let guard = variables.any(|v| v.starts_with(marks::GUARD.as_bytes()));
            holds.then(|| Some((Pid::from_raw(*pid)?, guard)))?
        })
        .collect();
    found.sort_by_key(|(_, guard)| !guard);
    found
}

/// Ends every process that carries `mark=value` and says how many there were. Blocks.
pub(super) fn sweep(mark: &str, value: &str) -> usize {
    let first = marked(mark, value);
    let count = first.len();
    let mut left = first;
    let (mut waited, guards) = (Duration::ZERO, left.iter().any(|(_, guard)| *guard));
    if guards {
        // A guard knows its whole tree, also what has cleared its environment.
        for (pid, _) in left.iter().filter(|(_, guard)| *guard) {
            let _ = kill_process(*pid, Signal::USR1);
        }
        while left.iter().any(|(_, guard)| *guard) && waited < GUARDS {
            std::thread::sleep(STEP);
            waited += STEP;
            left = marked(mark, value);
        }
    }
    waited = Duration::ZERO;
    while !left.is_empty() && waited < KILLED {
        for (pid, _) in &left {
            let _ = kill_process(*pid, Signal::KILL);
        }
        std::thread::sleep(STEP);
        waited += STEP;
        left = marked(mark, value);
    }
    count
}

/// A text for the environment: NUL ends a variable there.
pub(super) fn is_mark(value: &std::ffi::OsStr) -> bool {
    !value.is_empty() && !value.as_bytes().contains(&0)
}
