//! Who holds a lease, and whether that process is known to have ended.
//!
//! A lease outlives the process that was killed with it. Whoever comes next would have to wait for it
//! to lapse, but for a process of this very machine: the system says at once that it is gone.

use std::fmt;
use std::fs;
use std::hash::{BuildHasher, RandomState};

/// A holder of leases: one for each folder that a program has open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// Tells it apart from all others.
    id: u64,
    /// The boot of the machine and the namespace of its process numbers; nothing where they are not known.
    machine: String,
    process: u32,
    /// When the process was started, in ticks since the boot: numbers are used again.
    started: u64,
}

impl Owner {
    /// Makes one of this process.
    pub(super) fn new() -> Self {
        let process = std::process::id();
        Self {
            id: RandomState::new().hash_one(process),
            machine: machine().unwrap_or_default(),
            process,
            started: started(process).unwrap_or_default(),
        }
    }

    /// Reads one as it is written.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let owner = Self {
            id: u64::from_str_radix(parts.next()?, 16).ok()?,
            machine: parts.next()?.replace('-', ""),
            process: parts.next()?.parse().ok()?,
            started: parts.next()?.parse().ok()?,
        };
        Some(owner)
    }

    /// Says whether it is known that its process has ended: only of processes of this machine.
    pub(super) fn has_ended(&self) -> bool {
        let is_here = !self.machine.is_empty() && machine().is_some_and(|here| here == self.machine);
        is_here && started(self.process) != Some(self.started)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = if self.machine.is_empty() {
            "-"
        } else {
            &self.machine
        };
        write!(f, "{:016x} {machine} {} {}", self.id, self.process, self.started)
    }
}

/// Tells this boot of this machine, as processes in this one's namespace see it; nothing where a process that
/// is there may not be seen.
fn machine() -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    if mounts.contains("hidepid") {
        return None;
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    let text = format!("{}{}", boot.trim(), namespace.display());
    Some(text.chars().filter(char::is_ascii_alphanumeric).collect())
}

/// Returns when a process was started; nothing where there is none, or one that has ended and is not yet waited for.
fn started(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in brackets, may have anything in it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let is_gone = matches!(fields.next()?, "Z" | "X");
    // The 22nd field; the state was the third.
    let started = fields.nth(18)?.parse().ok()?;
    (!is_gone).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_back() {
        let owner = Owner::new();
        assert_eq!(Owner::parse(&owner.to_string()), Some(owner.clone()));
        assert_ne!(Owner::new(), owner);
        assert_eq!(Owner::parse("x y"), None);
        let unknown = Owner {
            machine: String::new(),
            ..owner
        };
        assert_eq!(Owner::parse(&unknown.to_string()), Some(unknown.clone()));
        assert!(!unknown.has_ended());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_has_ended_is_known() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let owner = Owner {
            process: child.id(),
            started: started(child.id()).unwrap(),
            ..Owner::new()
        };
        assert!(!owner.has_ended());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(owner.has_ended());
        let elsewhere = Owner {
            machine: "another".into(),
            ..owner
        };
        assert!(!elsewhere.has_ended());
    }
}
