//! What has happened, in a ring that forgets the oldest.

use controller_core::protocol::{EVENTS_PER_REPLY, Event, EventKind};
use heapless::{Deque, Vec};

/// Events that are remembered.
pub const REMEMBERED: usize = 32;

/// The event log.
#[derive(Clone, Debug, Default)]
pub struct Log {
    events: Deque<Event, REMEMBERED>,
    next: u32,
}

impl Log {
    /// Adds an event.
    pub fn add(&mut self, uptime_ms: u32, kind: EventKind) {
        if self.events.is_full() {
            self.events.pop_front();
        }
        // There is room now, so nothing can be refused.
        let _ = self.events.push_back(Event { number: self.next, uptime_ms, kind });
        self.next = self.next.wrapping_add(1);
    }

    /// Number of the next event.
    #[must_use]
    pub const fn next(&self) -> u32 {
        self.next
    }

    /// The events from a number on, as many as one reply takes.
    #[must_use]
    pub fn read(&self, from: u32) -> Vec<Event, EVENTS_PER_REPLY> {
        // `collect` would bring in a panic for a list that is too long.
        let mut events = Vec::new();
        for event in self.events.iter().filter(|event| event.number >= from) {
            if events.push(*event).is_err() {
                break;
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_events_are_forgotten_and_numbers_stay() {
        let mut log = Log::default();
        for number in 0..100 {
            assert_eq!(log.next(), number);
            log.add(number * 10, EventKind::Configured);
        }
        let first = 100 - u32::try_from(REMEMBERED).unwrap();
        let numbers = |from| log.read(from).iter().map(|event| event.number).collect::<Vec<u32, EVENTS_PER_REPLY>>();
        assert!(numbers(0).iter().copied().eq(first..first + 8));
        assert!(numbers(97).iter().copied().eq(97..100));
        assert!(numbers(100).is_empty());
    }
}
