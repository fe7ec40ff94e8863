//! When to try again after somebody else has had his way.

use std::time::{Duration, Instant};

/// First pause.
pub const SHORTEST: Duration = Duration::from_secs(2);

/// Longest pause.
pub const LONGEST: Duration = Duration::from_secs(64);

/// Pauses that double from [`SHORTEST`] to [`LONGEST`] while conflicts follow each other, and start anew after as long a
/// peace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    last: Option<Conflict>,
}

#[derive(Clone, Copy, Debug)]
struct Conflict {
    at: Instant,
    pause: Duration,
}

impl Backoff {
    /// Somebody else has had his way.
    pub fn conflict(&mut self, now: Instant) {
        let again = |last: &Conflict| now.saturating_duration_since(last.at) < last.pause + LONGEST;
        let pause = self.last.filter(again).map_or(SHORTEST, |last| (last.pause * 2).min(LONGEST));
        self.last = Some(Conflict { at: now, pause });
    }

    /// A write that concedes nothing to the other must wait still.
    #[must_use]
    pub fn is_waiting(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now.saturating_duration_since(last.at) < last.pause)
    }

    /// A write towards the safe side must wait still: never longer than [`SHORTEST`].
    #[must_use]
    pub fn is_waiting_for_safety(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now.saturating_duration_since(last.at) < SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_start_anew_after_a_long_peace() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut backoff = Backoff::default();
        assert!(!backoff.is_waiting(at(0)));
        let mut now = 0;
        for pause in [2, 4, 8, 16, 32, 64, 64] {
            backoff.conflict(at(now));
            assert!(backoff.is_waiting(at(now + pause - 1)), "{pause}");
            assert!(!backoff.is_waiting_for_safety(at(now + 2)));
            assert!(!backoff.is_waiting(at(now + pause)));
            now += pause;
        }
        backoff.conflict(at(now + 1000));
        assert!(!backoff.is_waiting(at(now + 1002)));
    }
}
