//! CPU time and memory of this process. CPU time stands still while other programs run, so on a shared machine it says
//! what a computation costs where a clock on the wall would not.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// CPU seconds of all threads since the process began.
#[must_use]
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)).as_secs_f64()
}

/// Bytes of memory in use (resident set), where the system tells.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    bytes_in("/proc/self/status", "VmRSS:")
}

/// Bytes of memory in use that no file holds, so that the system cannot drop and read them again as it likes: what a leak
/// grows. Where the system tells.
#[must_use]
pub fn anonymous_bytes() -> Option<u64> {
    bytes_in("/proc/self/status", "RssAnon:")
}

/// Bytes of memory that a program could still take before others are pushed out of it, where the system tells.
#[must_use]
pub fn available_bytes() -> Option<u64> {
    bytes_in("/proc/meminfo", "MemAvailable:")
}

fn bytes_in(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_cpu_time() {
        let before = cpu_seconds();
        let mut sum = 0_u64;
        while cpu_seconds() < before + 0.005 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(sum > 0);
    }

    #[test]
    fn memory_shows() {
        let before = resident_bytes().unwrap();
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert!(resident_bytes().unwrap() > before + (32 << 20), "{}", block.len());
        assert!((32 << 20..=resident_bytes().unwrap()).contains(&anonymous_bytes().unwrap()));
        assert!((1 << 20..1 << 50).contains(&available_bytes().unwrap()));
    }
}
