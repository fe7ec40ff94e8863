//! Less clock for a board whose supply is at its end, or whose firmware throttles it.
//!
//! Heat is the supervisor's. Of current it sees the mean of half a second; what breaks a supply is shorter. The board's
//! firmware counts that: OC1, the input voltage sags, and OC2, the mean current is above its limit. One that rises, or
//! a unit that says it is throttled, takes one clock of the board's table away from the top, at most one every two seconds, in
//! which those counters are published; when nothing more was heard for a while they come back one by one. OC3 counts single
//! conversions, thousands an hour at no cost worth mentioning, and is not listened to.

use super::super::telemetry::{Channel, Quantity, Role, Sample};
use controller_core::time::{Duration, Instant};

/// The firmware publishes its counters this often; a step sooner would answer the same event twice.
const STEP: Duration = Duration::from_secs(2);

/// What was counted while a clock ran is known so long after it: published, sampled, looked at.
const RECENT: Duration = Duration::from_secs(4);

/// One clock is given back after so long without a word.
const QUIET: Duration = Duration::from_secs(30);

/// More counters than any board has.
const MOST: usize = 16;

/// What may be asked of the GPU, from what the board's hardware says.
#[derive(Clone, Debug)]
pub struct Relief {
    /// Ascending.
    clocks_hz: Vec<u64>,
    /// Place of the highest clock that may be set.
    ceiling: usize,
    /// Place of the clock that runs.
    running: usize,
    /// Place of a higher one that ran before, and until when: that of a prefill, or of the batch before a hold.
    ran: (usize, Instant),
    /// When the ceiling was moved last, or a strain was heard at its floor.
    moved: Option<Instant>,
    /// Counters as they were read last, in the order of their channels; the first reading of each is no event.
    counts: heapless::Vec<Option<i64>, MOST>,
    steps: u64,
}

impl Relief {
    /// For these clocks, ascending.
    #[must_use]
    pub const fn new(clocks_hz: Vec<u64>) -> Self {
        let top = clocks_hz.len().saturating_sub(1);
        Self {
            clocks_hz,
            ceiling: top,
            running: 0,
            ran: (0, Instant::ZERO),
            moved: None,
            counts: heapless::Vec::new(),
            steps: 0,
        }
    }

    /// The clock that may be set where this one is asked for, and will be.
    pub fn limit(&mut self, wanted_hz: u64, now: Instant) -> u64 {
        let allowed = self.clocks_hz.get(self.ceiling).copied().unwrap_or(wanted_hz);
        let limited = wanted_hz.min(allowed);
        let place = self.clocks_hz.partition_point(|hz| *hz <= limited).saturating_sub(1);
        if self.running > place && self.running >= self.recent(now) {
            self.ran = (self.running, now);
        }
        self.running = place;
        limited
    }

    /// Place of the highest clock that the present news may be of.
    fn recent(&self, now: Instant) -> usize {
        let (ran, until) = self.ran;
        if now.since(until) <= RECENT { ran.max(self.running) } else { self.running }
    }

    /// How often a clock was taken away.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Takes a sample in; true when it took a clock away. Allocates nothing.
    pub fn see(&mut self, sample: &Sample, channels: &[Channel], now: Instant) -> bool {
        let strained = self.is_strained(sample, channels);
        let since = self.moved.map(|moved| now.since(moved));
        if strained && since.is_none_or(|since| since >= STEP) {
            self.moved = Some(now);
            let lower = self.recent(now).min(self.ceiling).saturating_sub(1);
            let moves = lower < self.ceiling;
            self.ceiling = lower;
            self.steps += u64::from(moves);
            return moves;
        }
        let top = self.clocks_hz.len().saturating_sub(1);
        if !strained && self.ceiling < top && since.is_some_and(|since| since >= QUIET) {
            self.moved = Some(now);
            self.ceiling += 1;
        }
        false
    }

    fn is_strained(&mut self, sample: &Sample, channels: &[Channel]) -> bool {
        let (mut strained, mut counter) = (false, 0);
        let told = channels.iter().zip(&sample.readings).filter(|(channel, _)| channel.role == Role::Strain);
        for (channel, reading) in told {
            if channel.quantity != Quantity::Events {
                strained |= reading.value().is_some_and(|state| state > 0);
                continue;
            }
            if counter == self.counts.len() && self.counts.push(None).is_err() {
                break;
            }
            if let (Some(count), Some(before)) = (reading.value(), self.counts.get_mut(counter)) {
                strained |= before.replace(count).is_some_and(|before| count > before);
            }
            counter += 1;
        }
        strained
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::telemetry::Average;
    use super::*;
    use controller_core::telemetry::{Absence, Reading};

    const CLOCKS: [u64; 4] = [306, 408, 510, 612];

    fn channels() -> Vec<Channel> {
        let channel = |name: &str, quantity, role| Channel {
            name: name.to_owned(),
            quantity,
            role,
            average: Average::Moment,
            place: String::new(),
        };
        vec![
            channel("gpu-throttle-alert", Quantity::State, Role::Strain),
            channel("oc1", Quantity::Events, Role::Strain),
            channel("oc2", Quantity::Events, Role::Strain),
            channel("oc3", Quantity::Events, Role::Shown),
            channel("hot-surface-alert", Quantity::State, Role::Throttle),
        ]
    }

    fn see(relief: &mut Relief, second: u64, values: [Option<i64>; 5]) -> bool {
        let reading = |value: Option<i64>| {
            value.map_or(Reading::Absent(Absence::ReadFailed), |value| Reading::at(value, Instant::ZERO))
        };
        let sample = Sample { readings: values.map(reading).to_vec() };
        relief.see(&sample, &channels(), at(second))
    }

    fn calm(oc1: i64, oc2: i64, oc3: i64) -> [Option<i64>; 5] {
        [Some(0), Some(oc1), Some(oc2), Some(oc3), Some(1)]
    }

    fn at(second: u64) -> Instant {
        Instant::from_micros(second * 1_000_000)
    }

    #[test]
    fn a_counter_that_rises_takes_a_clock_and_quiet_gives_it_back() {
        let mut relief = Relief::new(CLOCKS.to_vec());
        assert!(!see(&mut relief, 0, calm(7, 15, 1000)), "what was counted before we came is no event");
        assert_eq!(relief.limit(1000, at(0)), 612);
        assert!(!see(&mut relief, 1, calm(7, 15, 9000)), "OC3 and a hot surface");
        assert!(see(&mut relief, 2, calm(7, 16, 9000)));
        assert_eq!(relief.limit(1000, at(2)), 510);
        assert!(!see(&mut relief, 3, calm(8, 16, 9000)), "one every two seconds");
        assert!(!see(&mut relief, 32, calm(8, 16, 9000)) && relief.limit(1000, at(32)) == 612, "after half a minute");
        assert_eq!(relief.steps(), 1);
    }

    /// What is heard after a change of the clock was counted before it.
    #[test]
    fn news_is_of_the_highest_clock_that_ran_a_moment_ago() {
        // Seconds after the last change, and what may be set then.
        for (after, expected) in [(2, 408), (20, 306)] {
            let mut relief = Relief::new(CLOCKS.to_vec());
            assert!(!see(&mut relief, 0, calm(0, 0, 0)));
            // Prefill, decode, and a hold, ten seconds each.
            for (second, hz) in [(0, 612), (10, 510), (20, 408)] {
                assert_eq!(relief.limit(hz, at(second)), hz);
            }
            assert!(see(&mut relief, 20 + after, calm(1, 0, 0)));
            assert_eq!(relief.limit(u64::MAX, at(20 + after)), expected);
        }
        let mut relief = Relief::new(CLOCKS.to_vec());
        assert!(!see(&mut relief, 0, calm(0, 0, 0)));
        for (second, hz) in [(0, 612), (1, 306), (2, 408), (3, 306)] {
            relief.limit(hz, at(second));
        }
        assert!(see(&mut relief, 4, calm(1, 0, 0)));
        assert_eq!(relief.limit(u64::MAX, at(4)), 510, "the first of them ran three seconds ago");
    }

    #[test]
    fn an_alert_takes_a_clock_every_two_seconds_and_never_the_last_one() {
        let mut relief = Relief::new(CLOCKS.to_vec());
        assert_eq!(relief.limit(u64::MAX, at(0)), 612);
        let alert = [Some(1), None, None, None, None];
        let mut ran = Vec::new();
        for second in 0..10 {
            see(&mut relief, second, alert);
            ran.push(relief.limit(u64::MAX, at(second)));
        }
        assert_eq!(ran, [510, 510, 408, 408, 306, 306, 306, 306, 306, 306]);
        assert_eq!(relief.steps(), 3);
    }

    #[test]
    fn a_counter_that_is_lost_or_starts_anew_is_no_event() {
        let mut relief = Relief::new(CLOCKS.to_vec());
        relief.limit(612, at(0));
        assert!(!see(&mut relief, 0, calm(7, 3, 0)));
        assert!(!see(&mut relief, 1, [None; 5]));
        assert!(!see(&mut relief, 2, calm(0, 3, 0)));
        assert!(see(&mut relief, 3, calm(1, 3, 0)));
        assert_eq!(Relief::new(Vec::new()).limit(5, at(0)), 5);
    }
}
