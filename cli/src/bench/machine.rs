//! The machine that figures were taken on.

use std::fs;

use serde::Serialize;

/// What decides how fast things are. What the system does not say is empty or 0.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Machine {
    /// The processor's model.
    pub(super) cpu: String,
    /// Cores that may be used.
    pub(super) cores: usize,
    /// Main memory.
    pub(super) memory_bytes: u64,
    /// The operating system and its kernel.
    pub(super) system: String,
}

impl Machine {
    /// Looks at this one.
    pub(super) fn find() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, word: &str| {
            let line = text.lines().find(|line| line.starts_with(word));
            let value = line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()));
            value.unwrap_or_default()
        };
        let memory = after(&read("/proc/meminfo"), "MemTotal");
        let kib = memory
            .strip_suffix(" kB")
            .and_then(|kib| kib.trim().parse::<u64>().ok());
        let kernel = read("/proc/sys/kernel/osrelease");
        Self {
            cpu: after(&read("/proc/cpuinfo"), "model name"),
            cores: cores(),
            memory_bytes: kib.unwrap_or(0) * 1024,
            system: format!(
                "{} {} {}",
                std::env::consts::OS,
                kernel.trim(),
                std::env::consts::ARCH
            ),
        }
    }
}

/// Returns how many threads can run at once.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
